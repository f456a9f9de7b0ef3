"""Train `marks`, the second opinion on what the detector marks, through the detector that ships.

python train/marks.py photos-train-*.tar --overlays damage-train-*.tar -o runs/marks [--pictures 650]

Crops of clean photos get innocent things, damage or both; what `scratches` marks there is learned: damage are marks
whose pixels are covered. A few minutes on a CPU; writes `config.json` and `model.safetensors`.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.degradations import OverlayBank, degrade
from bringback.degradations.drawn import lettering, scenery
from bringback.degradations.drawn.canvas import Canvas
from bringback.degradations.drawn.damage import damaged
from bringback.degradations.drawn.innocents import KINDS, _depth
from bringback.errors import PhotoError
from bringback.evaluation.runner import read_photos
from bringback.models.marks import MarkJudge
from bringback.ops.color import luminance
from bringback.ops.marks import Marks
from bringback.stages.scratches import ScratchDetector
from bringback.weights.checkpoints import Checkpoints, save_network

SIDE, SMALLEST = 384, 300  # pixels of the crops; of the photos' shorter side
COVERED = 0.12  # coverage from which a pixel is damaged
OFTEN = {
    **{lettering.writing: 9, lettering.printed: 7, lettering.stamp: 2, lettering.date: 2, scenery.snow: 5},
    **{scenery.stars: 4, scenery.lattice: 5, scenery.wires: 2.5, scenery.rain: 1.5, scenery.fence: 2},
    **{scenery.net: 1.5, scenery.twigs: 2},
}  # how often innocent things are drawn where it is not as in the lessons of the detector
BATCH, RATE, DECAY, NOISE, KEPT = 4096, 6e-3, 0.2, 0.25, 0.99
_place = lettering._place


@dataclass(frozen=True, slots=True)
class Lesson:
    """The marks of one picture: facts (N, 112), the share of each that is damage (N,), its pixels (N,)."""

    facts: np.ndarray
    damage: np.ndarray
    areas: np.ndarray


def _anywhere(canvas: Canvas, size: np.ndarray, centered: float = 0.2) -> tuple[np.ndarray, float]:
    """As `lettering._place`; every other caption anywhere on the picture."""
    return _place(canvas, size, centered if canvas.random.random() < 0.5 else 1.0)


def crop(photo: Tensor, random: np.random.Generator) -> Tensor | None:
    """A piece (1, 3, h, w) of a photo, often shrunk, mirrored or not; None of small ones."""
    shrunk = float(random.choice([1.0, 1.0, 0.75, 0.6]))
    if shrunk < 1 and min(photo.shape[-2:]) * shrunk >= SIDE:
        photo = F.interpolate(photo, scale_factor=shrunk, mode="bicubic", antialias=True).clamp(0, 1)
    if min(photo.shape[-2:]) < SMALLEST:
        return None
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
    canvas, cover = Canvas(random, height, width, min(unit, 6.0)), np.zeros((height, width), np.float32)
    if way < 0.55:
        kinds = list(KINDS)
        chances = np.array([OFTEN.get(kind, KINDS[kind]) for kind in kinds])
        drawn = {kinds[random.choice(len(kinds), p=chances / chances.sum())] for _ in range(random.integers(1, 3))}
        with patch.object(lettering, "_place", _anywhere):
            for kind in sorted(drawn, key=_depth):
                picture = kind(canvas, picture)
    if way >= 0.55 or random.random() < 0.45:
        picture, cover = damaged(canvas, picture, float(random.uniform(0.5, 1.6)))
    levels = (picture.clip(0, 1) * 255).round().astype(np.uint8)
    if random.random() < 0.4:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(55, 97))]
        levels = cv2.imdecode(cv2.imencode(".jpg", levels[..., ::-1], quality)[1], cv2.IMREAD_COLOR)[..., ::-1]
    return torch.from_numpy(np.ascontiguousarray(levels.transpose(2, 0, 1)))[None].float() / 255, cover


@torch.inference_mode()
def lesson(picture: Tensor, cover: np.ndarray, detector: ScratchDetector) -> Lesson | None:
    """What is to be learned of a picture (1, 3, H, W); None if nothing is marked there."""
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


def main() -> None:
    """Parse arguments, draw, detect, learn, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="+", help="folders or tar shards of clean photos")
    parser.add_argument("--overlays", type=Path, nargs="+", required=True, help="shards of real damage")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=650)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random, bank = np.random.default_rng(options.seed), OverlayBank.from_shards(options.overlays)
    torch.manual_seed(options.seed)
    detector = ScratchDetector.from_checkpoints(Checkpoints(), "cpu")
    detector.judge = None
    photos = [photo for place in options.photos for _, photo in read_photos(place) if not isinstance(photo, PhotoError)]
    lessons: list[Lesson] = []
    while len(lessons) < options.pictures:
        piece = crop(photos[random.integers(len(photos))], random)
        if piece is not None and (learned := lesson(*aged(piece, random, bank), detector)) is not None:
            lessons.append(learned)
    print(f"{len(lessons)} pictures, {sum(map(len, (x.areas for x in lessons)))} marks")
    print(save_network(fit(lessons, options.epochs), options.out))


if __name__ == "__main__":
    main()
