"""Ablation of the mapping's training: the same small mapping, trained with one design choice undone at a time.

python benchmarks/ablation_training.py run --data-dir DATA --backbone squeezenet1_1_features.safetensors -o RUNS
python benchmarks/ablation_training.py table -o RUNS
python benchmarks/ablation_training.py shipped --data-dir DATA --backbone squeezenet1_1_features.safetensors -o RUNS
python benchmarks/ablation_training.py sheet --data-dir DATA -o RUNS --variants base white gan

All variants train for the same number of steps on the same pictures. Then each replaces the shipped mapping and
restores the protocol's cases U, S and M. Each run is one line in `results.jsonl`. Runs that are there already are
skipped, so that several processes can share a folder, each with its own variants.
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

from bringback.degradations import OverlayBank, degrade
from bringback.degradations.rng import photo_seed
from bringback.errors import PhotoError
from bringback.evaluation.protocol import PROTOCOLS, SEED
from bringback.evaluation.runner import contact_sheet, evaluate, read_photos
from bringback.images.photo import Photo
from bringback.models.discriminators import PatchDiscriminator
from bringback.models.translation.partial_nonlocal import PartialNonLocal
from bringback.pipeline import Pipeline
from bringback.training.adversarial import discriminator_loss, feature_matching, generator_loss
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
ADVERSARIAL, MATCHING, DISCRIMINATOR_WIDTH = 0.01, 0.5, 24
SECOND_RUN = 3  # a second run has 1 / 3 of the steps and of the learning rate


class WithoutAttention(MappingTask):
    """The partial non-local block adds zeros at first; frozen, it always does."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.net.attention.requires_grad_(False)


class WithDiscriminator(MappingTask):
    """The losses of the base, feature matching, and the hinge loss of a discriminator on the decoded pictures."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.discriminator: PatchDiscriminator = PatchDiscriminator(DISCRIMINATOR_WIDTH)
        self._made: Tensor
        self._pair: tuple[Tensor, Tensor]

    def _decode(self, latent: Tensor, pixels: Tensor) -> Tensor:
        made = super()._decode(latent, pixels)
        if torch.is_grad_enabled():  # not the second call, for the gate
            self._made = made.float()
        return made

    def forward(self, phase: str, prepared: tuple[Tensor, Tensor, Tensor]) -> Losses:
        if phase == "discriminator":
            real, fake = self._pair
            return Losses(discriminator_loss(self.discriminator(real), self.discriminator(fake)))
        losses, truth = super().forward(phase, prepared), prepared[-1]
        self._pair = truth, self._made.detach()
        fake = self.discriminator(self._made)
        losses.parts["adversarial"] = generator_loss(fake)
        losses.parts["matching"] = feature_matching(self.discriminator(truth), fake)
        losses.total = losses.total + ADVERSARIAL * losses.parts["adversarial"] + MATCHING * losses.parts["matching"]
        return losses


@dataclass(frozen=True, slots=True)
class Variant:
    """`second`: settings of a second run, with a third of the steps (None: one run); `white`: holes painted white."""

    says: str
    kind: type[MappingTask] = MappingTask
    settings: tuple[str, ...] = ()
    second: tuple[str, ...] | None = None
    white: bool = False


VARIANTS = {
    "base": Variant("base"),
    "no-attention": Variant("without the partial non-local block", WithoutAttention),
    "white": Variant("holes painted white instead of filled", white=True),
    "no-perceptual": Variant("without the perceptual loss", settings=("backbone=",)),
    "gan": Variant("perceptual, feature matching and hinge GAN", WithDiscriminator),
    "two-legs": Variant("a last third at a third of the rate, VAEs frozen", second=()),
}


def _paint_white(pixels: Tensor, mask: Tensor, *, plain: int = 0) -> Tensor:
    """In place of `push_pull`; white has no levels, so that some are `plain` changes nothing."""
    return torch.lerp(pixels, torch.ones_like(pixels), mask.to(pixels.dtype))


@contextmanager
def filled_by(variant: Variant) -> Iterator[None]:
    """Make training and the stage `fill` fill holes in the way of a variant."""
    if not variant.white:
        yield
        return
    with (
        patch("bringback.training.tasks.filled.fill", _paint_white),
        patch("bringback.ops.tiled_fill.push_pull", _paint_white),
    ):
        yield


def learn(variant: Variant, seed: int, steps: int, out: Path, settings: Sequence[str]) -> Path:
    """Train a variant; returns the folder of its weights. Runs whose weights are there are skipped."""

    def config(folder: Path, steps: int, seed: int, *more: str) -> TrainConfig:
        own = (f"output_dir={folder}", f"max_train_steps={steps}", f"checkpointing_steps={steps}", f"seed={seed}")
        return load_config(CONFIG, [*SMALL, *settings, *variant.settings, *own, *more])

    if variant.second is None:
        return _train(variant, config(out, steps, seed))
    second_steps, first_out = steps // SECOND_RUN, out.parent / f"first-leg-{seed}"
    first = config(first_out, steps - second_steps, seed)
    _train(variant, first)
    more = (f"init_from={first_out}", f"learning_rate={first.learning_rate / SECOND_RUN}", *variant.second)
    # another seed, so that the second run does not see the pictures of the first one again
    return _train(variant, config(out, second_steps, seed + 1000, *more))


def _train(variant: Variant, config: TrainConfig) -> Path:
    if (out := Path(config.output_dir) / "mapping").is_dir():
        return out.parent
    torch.manual_seed(config.seed)
    with filled_by(variant):
        return train(variant.kind(config), config)


def measure(
    variant: Variant,
    weights: Path | None,
    data: Path,
    backbone: str,
    limit: int,
    cases: dict[str, str] = CASES,
) -> dict[str, dict[str, float]]:
    """Mean metrics over photos for each case, before and after; `weights` None: of the shipped weights."""
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
    """The results of the runs so far."""
    file = out / "results.jsonl"
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def run(options: argparse.Namespace) -> None:
    """Train and measure the missing variants, seed by seed."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options.out.mkdir(parents=True, exist_ok=True)
    settings = [f"data_dir={options.data_dir}", f"backbone={options.backbone}", *options.set]
    for seed in options.seeds:
        for name in options.variants:
            key = {"variant": name, "seed": seed, "steps": options.steps, "photos": options.limit}
            if any(key.items() <= row.items() for row in read_results(options.out)):
                continue
            variant, started = VARIANTS[name], time.monotonic()
            weights = learn(variant, seed, options.steps, options.out / f"{name}-{seed}", settings)
            minutes = (time.monotonic() - started) / 60
            cases = measure(variant, weights, options.data_dir, options.backbone, options.limit)
            with (options.out / "results.jsonl").open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(key | {"minutes": minutes, "cases": cases}) + "\n")


def _cell(rows: list[dict[str, float]], when: str) -> str:
    db, *others = ([row[f"{what}_{when}"] for row in rows] for what in ("psnr", "ssim", "perceptual"))
    spread = f" ± {stdev(db):.2f}" if len(set(db)) > 1 else ""
    return f"{mean(db):.2f}{spread}, {mean(others[0]):.3f}, {mean(others[1]):.2f}"


def table(results: list[dict[str, Any]]) -> str:
    """A Markdown table of variants and cases: PSNR (± deviation over seeds), SSIM, perceptual distance."""
    lines = [f"| variant | seeds | {' | '.join(CASES)} |", "|---" * (2 + len(CASES)) + "|"]
    before = [_cell([row["cases"][case] for row in results[:1]], "before") for case in CASES]
    lines.append(f"| as aged | | {' | '.join(before)} |")
    for name, variant in VARIANTS.items():
        if rows := [row for row in results if row["variant"] == name]:
            cells = [_cell([row["cases"][case] for row in rows], "after") for case in CASES]
            lines.append(f"| {variant.says} | {len(rows)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def shipped(options: argparse.Namespace) -> None:
    """Print S, M and H of the shipped mapping with and without its partial non-local block, without retraining."""
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
            numbers = measure(*given)
        print(f"| {name} | {' | '.join(_cell([numbers[case]], 'after') for case in cases)} |", flush=True)


def sheet(options: argparse.Namespace) -> None:
    """A contact sheet of the first photos under S, then M: degraded, by each variant with the first seed, the truth."""
    bank = OverlayBank.from_shards([options.data_dir / "damage-val-000.tar"])
    folders = [(VARIANTS[name], options.out / f"{name}-{options.seeds[0]}") for name in options.variants]
    pipelines = [(variant, Pipeline.from_pretrained(folder)) for variant, folder in folders]
    rows = []
    for recipe in ("structured", "mixed"):
        for index, (_, clean) in enumerate(read_photos(options.data_dir / "photos-val-000.tar", options.photos)):
            if isinstance(clean, PhotoError):
                continue
            sample = degrade(clean, recipe, [photo_seed(SEED, index)], bank)
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
    """Run the command in the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("run", "table", "sheet", "shipped"))
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--backbone", default="squeezenet1_1", help="for the perceptual loss and distance")
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--limit", type=int, default=12, help="number of photos to measure with")
    parser.add_argument("--photos", type=int, default=3, help="photos per case on the sheet")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override values of the config")
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
