"""What the choices in training the mapping are worth: the same small mapping, trained again with one of them undone.

python benchmarks/ablation_training.py run --data-dir DATA --backbone squeezenet1_1_features.safetensors -o RUNS
python benchmarks/ablation_training.py table -o RUNS
python benchmarks/ablation_training.py shipped --data-dir DATA --backbone squeezenet1_1_features.safetensors -o RUNS
python benchmarks/ablation_training.py sheet --data-dir DATA -o RUNS --variants base white gan

All variants learn for as many steps, from the same pictures; then each takes the shipped mapping's place and restores
the protocol's cases U, S and M. A run is one line in `results.jsonl`; those that are there are not done again, so that
several calls can share a folder, each with variants of its own.
"""

import argparse
import json
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from bringback.degradations import OverlayBank, age
from bringback.degradations.rng import photo_seed
from bringback.errors import PhotoError
from bringback.evaluation.protocol import PROTOCOLS, SEED
from bringback.evaluation.runner import contact_sheet, evaluate, read_photos
from bringback.images.photo import Photo
from bringback.models.discriminators import PatchDiscriminator
from bringback.models.translation.partial_nonlocal import PartialNonLocal
from bringback.pipeline import Pipeline
from bringback.training.adversarial import feature_matching, fooling, hinge
from bringback.training.config import TrainConfig, load_config
from bringback.training.loop import train
from bringback.training.task import Losses
from bringback.training.tasks.mapping import MappingTask

CONFIG = Path(__file__).parents[1] / "configs" / "mapping.yaml"
SMALL = (
    "network={widths: [48, 96, 128], blocks: [2, 2, 2]}",
    "resolution=96",
    "validation_data=[]",
    "validation_overlays=",
    "max_train_minutes=1e9",
)
CASES = {case: PROTOCOLS["default"][case] for case in "USM"}
ADVERSARIAL, MATCHING, JUDGE_WIDTH = 0.01, 0.5, 24
LAST_LEG = 3  # a second leg is one in so many of the steps, and learns so many times slower


class WithoutAttention(MappingTask):
    """The partial non-local block begins by adding zeros; frozen, it never adds anything."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.net.attention.requires_grad_(False)


class AgainstJudge(MappingTask):
    """The base's losses, feature matching and the hinge loss of a discriminator of what is decoded."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.judge: PatchDiscriminator = PatchDiscriminator(JUDGE_WIDTH)
        self._made: Tensor
        self._pair: tuple[Tensor, Tensor]

    def _decode(self, latent: Tensor, pixels: Tensor) -> Tensor:
        made = super()._decode(latent, pixels)
        if torch.is_grad_enabled():  # not the second time, for trust
            self._made = made.float()
        return made

    def forward(self, phase: str, prepared: tuple[Tensor, Tensor, Tensor]) -> Losses:
        if phase == "discriminator":
            truth, made = self._pair
            return Losses(hinge(self.judge(truth), self.judge(made)))
        losses, truth = super().forward(phase, prepared), prepared[-1]
        self._pair = truth, self._made.detach()
        judged = self.judge(self._made)
        losses.parts["adversarial"] = fooling(judged)
        losses.parts["matching"] = feature_matching(self.judge(truth), judged)
        losses.total = losses.total + ADVERSARIAL * losses.parts["adversarial"] + MATCHING * losses.parts["matching"]
        return losses


@dataclass(frozen=True, slots=True)
class Variant:
    """`last`: settings of a second leg, the last third of the steps (None: one leg); `white`: holes painted white."""

    says: str
    kind: type[MappingTask] = MappingTask
    settings: tuple[str, ...] = ()
    last: tuple[str, ...] | None = None
    white: bool = False


VARIANTS = {
    "base": Variant("base"),
    "no-attention": Variant("without the partial non-local block", WithoutAttention),
    "white": Variant("holes painted white instead of filled", white=True),
    "no-perceptual": Variant("without the perceptual loss", settings=("backbone=",)),
    "gan": Variant("perceptual, feature matching and hinge GAN", AgainstJudge),
    "two-legs": Variant("a last third at a third of the rate, VAEs frozen", last=()),
}


def _paint_white(pixels: Tensor, mask: Tensor) -> Tensor:
    return torch.lerp(pixels, torch.ones_like(pixels), mask.to(pixels.dtype))


@contextmanager
def filled_by(variant: Variant) -> Iterator[None]:
    """Let a variant's way of filling holes be that of training and of the stage `fill`."""
    if not variant.white:
        yield
        return
    with (
        patch("bringback.training.tasks.mapping.fill", _paint_white),
        patch("bringback.ops.tiled_fill.push_pull", _paint_white),
    ):
        yield


def learn(variant: Variant, seed: int, steps: int, out: Path, settings: Sequence[str]) -> Path:
    """Train a variant; returns the folder of its weights. What a folder holds is not learned again."""

    def leg(folder: Path, steps: int, seed: int, *more: str) -> TrainConfig:
        own = (f"output_dir={folder}", f"max_train_steps={steps}", f"checkpointing_steps={steps}", f"seed={seed}")
        return load_config(CONFIG, [*SMALL, *settings, *variant.settings, *own, *more])

    if variant.last is None:
        return _train(variant, leg(out, steps, seed))
    second, begun = steps // LAST_LEG, out.parent / f"first-leg-{seed}"
    first = leg(begun, steps - second, seed)
    _train(variant, first)
    more = (f"init_from={begun}", f"learning_rate={first.learning_rate / LAST_LEG}", *variant.last)
    # another seed: other pictures than those the first leg began with
    return _train(variant, leg(out, second, seed + 1000, *more))


def _train(variant: Variant, config: TrainConfig) -> Path:
    if (out := Path(config.output_dir) / "mapping").is_dir():
        return out.parent
    torch.manual_seed(config.seed)
    with filled_by(variant):
        return train(variant.kind(config), config)


def judge(
    variant: Variant,
    weights: Path | None,
    data: Path,
    backbone: str,
    limit: int,
    cases: dict[str, str] = CASES,
) -> dict[str, dict[str, float]]:
    """Means of photos for each case, before and after; without `weights` of what ships."""
    numbers = {}
    for case, recipe in cases.items():
        with filled_by(variant):
            report = evaluate(
                data / "photos-val-000.tar",
                recipe,
                SEED,
                overlays=[data / "damage-val-000.tar"],
                weights=weights,
                backbone=backbone,
                limit=limit,
            )
        summary = report.summary()
        keys = [f"{what}_{when}" for what in ("psnr", "ssim", "perceptual") for when in ("before", "after")]
        numbers[case] = {key: summary[key] for key in keys}
    return numbers


def read_results(out: Path) -> list[dict[str, Any]]:
    """The runs that are done."""
    file = out / "results.jsonl"
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def run(options: argparse.Namespace) -> None:
    """Train and judge what has not been, seed by seed."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options.out.mkdir(parents=True, exist_ok=True)
    settings = [f"data_dir={options.data_dir}", f"backbone={options.backbone}", *options.set]
    for seed in options.seeds:
        for name in options.variants:
            wanted = {"variant": name, "seed": seed, "steps": options.steps, "photos": options.limit}
            if any(wanted.items() <= row.items() for row in read_results(options.out)):
                continue
            variant, begun = VARIANTS[name], time.monotonic()
            weights = learn(variant, seed, options.steps, options.out / f"{name}-{seed}", settings)
            minutes = (time.monotonic() - begun) / 60
            cases = judge(variant, weights, options.data_dir, options.backbone, options.limit)
            with (options.out / "results.jsonl").open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(wanted | {"minutes": minutes, "cases": cases}) + "\n")


def _cell(rows: list[dict[str, float]], when: str) -> str:
    db, *others = ([row[f"{what}_{when}"] for row in rows] for what in ("psnr", "ssim", "perceptual"))
    spread = f" ± {stdev(db):.2f}" if len(set(db)) > 1 else ""
    return f"{mean(db):.2f}{spread}, {mean(others[0]):.3f}, {mean(others[1]):.2f}"


def table(results: list[dict[str, Any]]) -> str:
    """Markdown: a row a variant, a cell a case: PSNR (± deviation over seeds), SSIM, perceptual distance."""
    lines = [f"| variant | seeds | {' | '.join(CASES)} |", "|---" * (2 + len(CASES)) + "|"]
    before = [_cell([row["cases"][case] for row in results[:1]], "before") for case in CASES]
    lines.append(f"| as aged | | {' | '.join(before)} |")
    for name, variant in VARIANTS.items():
        if rows := [row for row in results if row["variant"] == name]:
            cells = [_cell([row["cases"][case] for row in rows], "after") for case in CASES]
            lines.append(f"| {variant.says} | {len(rows)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def shipped(options: argparse.Namespace) -> None:
    """The shipped mapping with its partial non-local block, then without, not trained again: S, M and H."""
    cases = {case: PROTOCOLS["default"][case] for case in "SMH"}
    print(f"| block | {' | '.join(cases)} |\n" + "|---" * (1 + len(cases)) + "|")
    given = (VARIANTS["base"], None, options.data_dir, options.backbone, options.limit, cases)
    for name in ("with", "without"):
        off = (
            patch.object(PartialNonLocal, "forward", lambda block, x, mask, seen=None: x)
            if name == "without"
            else nullcontext()
        )
        with off:
            numbers = judge(*given)
        print(f"| {name} | {' | '.join(_cell([numbers[case]], 'after') for case in cases)} |", flush=True)


def sheet(options: argparse.Namespace) -> None:
    """A picture: crops of the first photos under S, then M; aged, by each variant's first seed, the truth."""
    bank = OverlayBank.from_shards([options.data_dir / "damage-val-000.tar"])
    folders = [(VARIANTS[name], options.out / f"{name}-{options.seeds[0]}") for name in options.variants]
    pipelines = [(variant, Pipeline.from_pretrained(folder)) for variant, folder in folders]
    rows = []
    for recipe in ("structured", "mixed"):
        for index, (_, clean) in enumerate(read_photos(options.data_dir / "photos-val-000.tar", options.photos)):
            if isinstance(clean, PhotoError):
                continue
            sample = age(clean, recipe, [photo_seed(SEED, index)], bank)
            shown = [sample.aged]
            for variant, pipeline in pipelines:
                with filled_by(variant):
                    shown.append(pipeline.restore(Photo.from_array(_array(sample.aged))).pixels)
            rows.append([_middle(_array(pixels)) for pixels in (*shown, sample.truth)])
    contact_sheet(rows, options.out / "sheet.png")
    print("columns: aged,", ", ".join(options.variants) + ", truth")


def _array(pixels: Tensor) -> np.ndarray:
    return np.ascontiguousarray(pixels[0].clamp(0, 1).numpy().transpose(1, 2, 0))


def _middle(picture: np.ndarray, side: int = 256) -> np.ndarray:
    top, left = (max(0, (length - side) // 2) for length in picture.shape[:2])
    return picture[top : top + side, left : left + side]


def main() -> None:
    """Read the arguments; train and judge, print the table or draw the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("run", "table", "sheet", "shipped"))
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--backbone", default="squeezenet1_1", help="for the perceptual loss and for judging")
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--limit", type=int, default=12, help="judge by so many photos")
    parser.add_argument("--photos", type=int, default=3, help="show so many photos a case on the sheet")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="lay over the settings")
    options = parser.parse_args()
    if options.command == "run":
        run(options)
    elif options.command == "table":
        print(table(read_results(options.out)))
    elif options.command == "shipped":
        shipped(options)
    else:
        sheet(options)


if __name__ == "__main__":
    main()
