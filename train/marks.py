"""Train `marks`, the second opinion on what the detector marks, through the detector that ships.

python train/marks.py data/photos-train-*.tar --overlays data/damage-train-*.tar -o runs/mine

Crops of clean photos get innocent things, damage or both; what `scratches` marks there is learned: damage are marks
whose pixels are covered. A few minutes on a CPU; writes the checkpoint folder `runs/mine/marks`.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.degradations import OverlayBank, degrade
from bringback.degradations.drawn import lettering, scenery
from bringback.degradations.drawn.canvas import Canvas
from bringback.degradations.drawn.damage import damaged
from bringback.degradations.drawn.innocents import KINDS, Kind, with_kinds
from bringback.images.shards import find_entries
from bringback.models.marks import MarkJudge
from bringback.models.registry import MARKS
from bringback.ops.color import luminance
from bringback.ops.marks import Marks
from bringback.stages.scratches import ScratchDetector
from bringback.training.pictures import Pictures
from bringback.weights.checkpoints import Checkpoints, save_network

SIDE, SMALLEST = 384, 300  # pixels of the crops; of the photos' shorter side
COVERED = 0.12  # coverage from which a pixel is damaged
OFTEN: dict[Kind, float] = {
    **{lettering.writing: 9, lettering.printed: 7, lettering.stamp: 2, lettering.date: 2, scenery.snow: 5},
    **{scenery.stars: 4, scenery.lattice: 5, scenery.wires: 2.5, scenery.rain: 1.5, scenery.fence: 2},
    **{scenery.net: 1.5, scenery.twigs: 2},
}  # how often innocent things are drawn where it is not as in the lessons of the detector
ANYWHERE = 0.5  # share of the captions that are not where captions usually are
BATCH, RATE, DECAY, NOISE, KEPT = 4096, 6e-3, 0.2, 0.25, 0.99
CARD = """---
license: apache-2.0
sha256: {weights}
library_name: bringback
---
# marks

Facts (N, 112) of marks, see `ops.marks` -> log odds (N,) that they are damage. A second opinion on what `scratches`
marks.

SHA-256 of the weights: `{weights}`.

## Training

| | |
|---|---|
| reproduce with | `{command}` |
| lessons | {marks} marks in {lessons} pictures, {damage:.0%} of them damage |
| parents | scratches `{parent}`, which marked the pictures |
"""


@dataclass(frozen=True, slots=True)
class Lesson:
    """The marks of one picture: facts (N, 112), the share of each that is damage (N,), its pixels (N,)."""

    facts: np.ndarray
    damage: np.ndarray
    areas: np.ndarray


def crop(photo: Tensor, random: np.random.Generator) -> Tensor:
    """A piece (1, 3, h, w) of a photo (1, 3, H, W), often shrunk, mirrored or not."""
    shrunk = float(random.choice([1.0, 1.0, 0.75, 0.6]))
    if shrunk < 1 and min(photo.shape[-2:]) * shrunk >= SIDE:
        photo = F.interpolate(photo, scale_factor=shrunk, mode="bicubic", antialias=True).clamp(0, 1)
    height, width = (min(SIDE, side) for side in photo.shape[-2:])
    top, left = (
        int(random.integers(0, side - own + 1)) for side, own in zip(photo.shape[-2:], (height, width), strict=True)
    )
    photo = photo[..., top : top + height, left : left + width]
    return (photo.flip(-1) if random.random() < 0.5 else photo).contiguous()


def aged(photo: Tensor, random: np.random.Generator, bank: OverlayBank) -> tuple[Tensor, np.ndarray]:
    """The photo (1, 3, H, W) with innocent things, damage or both, in 8 bits; the coverage (H, W) of the damage."""
    way = random.random()
    if way >= 0.75:
        recipe = "structured" if way < 0.85 else "marked" if way < 0.93 else "clean"
        batch = degrade(photo, recipe, [int(random.integers(2**60))], bank)
        return (batch.aged.clamp(0, 1) * 255).round() / 255, batch.mask[0, 0].numpy()
    if random.random() < 0.45:
        photo = luminance(photo).expand(-1, 3, -1, -1)
    picture = np.ascontiguousarray(photo[0].permute(1, 2, 0).numpy())
    height, width = picture.shape[:2]
    soft = float(2.5 ** random.random()) if random.random() < 0.3 else 1.0
    if soft > 1:
        rows, columns = (int(np.ceil(side / soft)) for side in (height, width))
        picture = cv2.resize(picture[:rows, :columns], (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    unit = float(0.6 * 6 ** random.random()) * (soft if random.random() < 0.5 else 1.0)
    canvas = Canvas(random, height, width, min(unit, 6.0), ANYWHERE)
    cover = np.zeros((height, width), np.float32)
    if way < 0.55:
        kinds = list(KINDS)
        chances = np.array([OFTEN.get(kind, KINDS[kind]) for kind in kinds])
        drawn = {kinds[random.choice(len(kinds), p=chances / chances.sum())] for _ in range(random.integers(1, 3))}
        picture = with_kinds(canvas, picture, drawn)
    if way >= 0.55 or random.random() < 0.45:
        picture, cover = damaged(canvas, picture, float(random.uniform(0.5, 1.6)))
    levels = (picture.clip(0, 1) * 255).round().astype(np.uint8)
    if random.random() < 0.4:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(55, 97))]
        levels = cv2.imdecode(cv2.imencode(".jpg", levels[..., ::-1], quality)[1], cv2.IMREAD_COLOR)[..., ::-1]
    return torch.from_numpy(np.ascontiguousarray(levels.transpose(2, 0, 1)))[None].float() / 255, cover


@torch.inference_mode()
def lesson(picture: Tensor, cover: np.ndarray, detector: ScratchDetector) -> Lesson | None:
    """What is to be learned of a picture (1, 3, H, W); None if nothing is marked there.

    The detector, which has no judge, looks as often and at as many scales as it does in use.
    """
    odds = detector.detect(picture).clamp(1e-5, 1 - 1e-5).logit()
    marks = Marks.of(picture[0].contiguous().numpy(), odds[0, 0].contiguous().numpy())
    if marks is None:
        return None
    hit = np.bincount(marks.labels.ravel(), (cover > COVERED).ravel(), len(marks.facts) + 1)[1:]
    return Lesson(marks.facts, (hit / marks.areas).astype(np.float32), marks.areas)


def fit(lessons: Sequence[Lesson], epochs: int) -> MarkJudge:
    """Learn: weights of marks grow with the root of their area, less in a picture that has many."""
    facts, damage = (
        torch.from_numpy(np.concatenate([getattr(x, key) for x in lessons])) for key in ("facts", "damage")
    )
    roots = [np.sqrt(x.areas) for x in lessons]
    weights = torch.from_numpy(np.concatenate([root / np.sqrt(root.sum()) for root in roots]))
    weights /= weights.mean()
    network = MarkJudge()
    network.mean.copy_(facts.mean(0))
    network.deviation.copy_(facts.std(0) + 0.01)
    for member in network.members:
        _learn(member, facts, damage, weights, network, epochs)
    return network.eval()


def _learn(
    member: torch.nn.Module, facts: Tensor, damage: Tensor, weights: Tensor, network: MarkJudge, epochs: int
) -> None:
    """Train one of the networks; it becomes the moving average of its weights."""
    first, _, second, _, answer = member
    learning = torch.nn.Sequential(
        *(first, torch.nn.GELU(), torch.nn.Dropout(0.1), second, torch.nn.GELU(), torch.nn.Dropout(0.1), answer)
    )
    optimizer = torch.optim.AdamW(member.parameters(), RATE, weight_decay=DECAY)
    steps = epochs * max(len(facts) // BATCH, 1)
    mean = {key: value.clone() for key, value in member.state_dict().items()}
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = RATE * min(1, (step + 1) / 100) * (0.5 + 0.5 * np.cos(np.pi * step / steps))
        some = torch.randint(0, len(facts), (BATCH,))
        noisy = facts[some] + NOISE * network.deviation * torch.randn(BATCH, facts.shape[1])
        odds = learning(((noisy - network.mean) / network.deviation).clamp(-4, 4))[:, 0]
        loss = (F.binary_cross_entropy_with_logits(odds, damage[some], reduction="none") * weights[some]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for key, value in member.state_dict().items():
            mean[key].lerp_(value, 1 - KEPT)
    member.load_state_dict(mean)


def lessons_of(
    places: Sequence[Path], count: int, detector: ScratchDetector, bank: OverlayBank, random: np.random.Generator
) -> Iterator[Lesson]:
    """What `count` pictures teach; those in which nothing is marked teach nothing.

    Raises ValueError if no photo is large enough, and as `find_entries` does.
    """
    with ThreadPool(1) as pool:
        photos = Pictures((entry for place in places for entry in find_entries(place)), None, pool)
        large = [number for number, size in enumerate(photos.sizes) if min(size) >= SMALLEST]
        if not large:
            raise ValueError(f"no photo has a shorter side of {SMALLEST} pixels or more")
        for _ in range(count):
            photo = photos[int(random.choice(large))]
            if photo is not None:
                pixels = torch.from_numpy(photo.transpose(2, 0, 1))[None].float() / 255
                learned = lesson(*aged(crop(pixels, random), random, bank), detector)
                if learned is not None:
                    yield learned


def main() -> None:
    """Parse arguments, draw, detect, learn, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="+", help="folders or tar shards of clean photos")
    parser.add_argument("--overlays", type=Path, nargs="+", required=True, help="shards of real damage")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the checkpoint is written to OUT/marks")
    parser.add_argument("--weights", type=Path, help="a folder with the detector to be judged, if not the shipped one")
    parser.add_argument("--pictures", type=int, default=1000, help="how many are drawn; three in five teach")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    random, checkpoints = np.random.default_rng(options.seed), Checkpoints(options.weights)
    try:
        bank = OverlayBank.from_shards(options.overlays)
        detector = ScratchDetector.from_checkpoints(checkpoints, torch.device("cpu"))
        detector.judge = None
        lessons = list(lessons_of(options.photos, options.pictures, detector, bank, random))
        damage = np.concatenate([x.damage for x in lessons]) if lessons else np.zeros(0)
        if not len(damage):
            raise ValueError("the detector marked nothing, so there is nothing to learn: raise --pictures")
    except (ValueError, OSError) as error:
        parser.exit(2, f"error: {error}\n")
    print(f"{len(damage)} marks in {len(lessons)} of {options.pictures} pictures, {damage.mean():.0%} damage")
    weights = save_network(fit(lessons, options.epochs), options.out / MARKS)
    command = "python train/marks.py {} --overlays {} -o RUN --pictures {} --epochs {} --seed {}".format(
        *(" ".join(place.name for place in places) for places in (options.photos, options.overlays)),
        *(options.pictures, options.epochs, options.seed),
    )
    parent = checkpoints.hashes(["scratches"])["scratches"][:16]
    facts = {"marks": len(damage), "lessons": len(lessons), "damage": damage.mean(), "parent": parent}
    card = CARD.format(weights=weights, command=command, **facts)
    (options.out / MARKS / "README.md").write_text(card, encoding="utf-8")
    print(options.out / MARKS)


if __name__ == "__main__":
    main()
