"""Generalization to damage by another program, drawn with OpenCV and without any of our code.

python benchmarks/other_damage.py PHOTOS --weights checkpoints

PHOTOS are clean photos, a folder or a tar shard. `S`: lines, hairs, specks, cracks, blots, stains, creases and torn
corners, light and dark, then mild JPEG; `M`: the same on a soft, grainy, faded print, half of them gray. Prints mean
PSNR before and after, the detector's ROC AUC (damaged: more than 12 % covered), its recall at 0.5 by kind, and how much
of what it finds with 0 to 0.1, to 0.2 and so on is damaged.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch

from bringback.errors import PhotoError
from bringback.evaluation.runner import BINS, contact_sheet, read_photos
from bringback.images.photo import Photo
from bringback.ops.metrics import auc_of_counts, psnr, reliability_of_counts
from bringback.pipeline import Pipeline
from bringback.pipeline_config import DEFAULT

COVERED = 0.12
Random = np.random.Generator
Kind = Callable[[np.ndarray, Random], None]


def _path(canvas: np.ndarray, rng: Random, turn: float, steps: int, step: float, width: int) -> None:
    """Draw a random walk on the canvas; a larger `turn` bends it more."""
    h, w = canvas.shape
    place, angle = np.array([rng.uniform(0, w), rng.uniform(0, h)]), rng.uniform(0, 2 * np.pi)
    points = [place]
    for _ in range(steps):
        angle += rng.normal(0, turn)
        points.append(points[-1] + step * np.array([np.cos(angle), np.sin(angle)]))
    for a, b in pairwise(np.rint(points).astype(int).tolist()):
        cv2.line(canvas, a, b, 255, width, cv2.LINE_AA)


def _lines(canvas: np.ndarray, rng: Random) -> None:
    for _ in range(rng.integers(2, 9)):
        _path(canvas, rng, 0.004, int(rng.integers(10, 60)), 10, int(rng.integers(1, 4)))


def _hairs(canvas: np.ndarray, rng: Random) -> None:
    for _ in range(rng.integers(1, 6)):
        _path(canvas, rng, 0.12, int(rng.integers(15, 60)), 4, int(rng.integers(1, 3)))


def _cracks(canvas: np.ndarray, rng: Random) -> None:
    for _ in range(rng.integers(2, 7)):
        _path(canvas, rng, 0.6, int(rng.integers(20, 80)), 5, int(rng.integers(1, 3)))


def _specks(canvas: np.ndarray, rng: Random) -> None:
    h, w = canvas.shape
    for _ in range(rng.integers(20, 200)):
        cv2.circle(canvas, (int(rng.integers(w)), int(rng.integers(h))), int(rng.integers(0, 4)), 255, -1, cv2.LINE_AA)


def _blots(canvas: np.ndarray, rng: Random) -> None:
    h, w = canvas.shape
    for _ in range(rng.integers(1, 4)):
        center, size = rng.uniform((0, 0), (w, h)), min(h, w) * rng.uniform(0.03, 0.12)
        turns = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        radius = size * (1 + 0.35 * np.convolve(np.tile(rng.normal(size=24), 3), np.ones(5) / 5, "same")[24:48])
        outline = center + radius[:, None] * np.stack([np.cos(turns), np.sin(turns)], 1)
        cv2.fillPoly(canvas, [np.rint(outline).astype(np.int32)], 255, cv2.LINE_AA)


def _stains(canvas: np.ndarray, rng: Random) -> None:
    _blots(canvas, rng)
    canvas[:] = cv2.GaussianBlur(canvas, (0, 0), float(rng.uniform(4, 15))) * rng.uniform(0.3, 0.9)


def _creases(canvas: np.ndarray, rng: Random) -> None:
    h, w = canvas.shape
    at, width = rng.uniform(0.2, 0.8), int(rng.integers(1, 5))
    ends = [(int(at * w), 0), (int((at + rng.normal(0, 0.03)) * w), h)]
    if rng.random() < 0.5:
        ends = [(0, int(at * h)), (w, int((at + rng.normal(0, 0.03)) * h))]
    cv2.line(canvas, *ends, 255, width, cv2.LINE_AA)
    worn = cv2.GaussianBlur(rng.random((h, w), np.float32), (0, 0), 2.0)
    canvas[(worn > 0.53) & (cv2.dilate(canvas, np.ones((7, 7))) > 0)] = 255


def _corners(canvas: np.ndarray, rng: Random) -> None:
    h, w = canvas.shape
    a, b = rng.uniform(0.05, 0.25, 2)
    corner = np.array([[0, 0], [a * w, 0], [rng.uniform(0.3, 0.7) * a * w, 0.5 * b * h], [0, b * h]])
    if rng.random() < 0.5:
        corner[:, 0] = w - 1 - corner[:, 0]
    if rng.random() < 0.5:
        corner[:, 1] = h - 1 - corner[:, 1]
    cv2.fillPoly(canvas, [np.rint(corner).astype(np.int32)], 255, cv2.LINE_AA)


KINDS: dict[str, tuple[Kind, float]] = {
    "lines": (_lines, 0.8), "hairs": (_hairs, 0.5), "specks": (_specks, 0.6), "cracks": (_cracks, 0.35),
    "blots": (_blots, 0.35), "stains": (_stains, 0.3), "creases": (_creases, 0.35), "corners": (_corners, 0.25),
}  # fmt: skip


def age_print(pixels: np.ndarray, rng: Random) -> np.ndarray:
    """Blur and fade with a cast, as in M without damage."""
    pixels = cv2.GaussianBlur(pixels, (0, 0), float(rng.uniform(0.3, 1.3)))
    black, white = rng.uniform(0, 0.2, 3), rng.uniform(0.75, 1, 3)
    return black + (white - black) * pixels ** rng.uniform(0.7, 1.4)


def spoil(truth: np.ndarray, case: str, rng: Random) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The aged photo (H, W, 3) in [0, 1], and the coverage (H, W) of each kind of damage in it."""
    aged = age_print(truth, rng) if case == "M" else truth.copy()
    covers: dict[str, np.ndarray] = {}
    for name, (draw, chance) in KINDS.items():
        if rng.random() < chance:
            canvas = np.zeros(truth.shape[:2], np.uint8)
            draw(canvas, rng)
            cover = cv2.GaussianBlur(canvas, (0, 0), 0.6).astype(np.float64) / 255 * rng.uniform(0.6, 1)
            light = rng.uniform(0.7, 1) if rng.random() < 0.6 else rng.uniform(0, 0.3)
            color = np.clip(light + rng.normal(0, 0.05, 3), 0, 1)
            aged = aged + cover[..., None] * (color - aged)
            covers[name] = cover
    if case == "M":
        aged = aged + cv2.GaussianBlur(rng.normal(size=truth.shape[:2]), (0, 0), 0.7)[..., None] * rng.uniform(0, 0.08)
    quality = int(rng.integers(50, 95) if case == "M" else rng.integers(80, 98))
    eight = np.rint(aged.clip(0, 1) * 255).astype(np.uint8)
    eight = cv2.imdecode(cv2.imencode(".jpg", eight, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
    return eight / 255, covers


def _decibels(a: np.ndarray, b: np.ndarray) -> float:
    return psnr(*(torch.from_numpy(pixels.transpose(2, 0, 1))[None] for pixels in (a, b))).item()


def main() -> None:
    """Parse arguments and run; exits with 2 and one line on bad arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--weights", type=Path, help="a folder of checkpoints laid over the shipped ones")
    parser.add_argument("--stages", default=",".join(DEFAULT))
    parser.add_argument("--limit", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", type=Path, help="picture file: aged, found, restored, truth of the first photos")
    options = parser.parse_args()
    try:
        run(options)
    except (OSError, ValueError) as error:
        parser.exit(2, f"other_damage: {error}\n")


def run(options: argparse.Namespace) -> None:
    """Age, restore, compare, print; raises ValueError without readable photos."""
    pipeline = Pipeline.from_pretrained(options.weights, stages=options.stages.split(","))
    print("   photos  PSNR before  after   gain  scratch AUC  recall at 0.5")
    rows = []
    for case in ("S", "M"):
        before, after = [], []
        counts = np.zeros((2, BINS), np.int64)
        found_of, all_of = defaultdict(int), defaultdict(int)
        for index, (_, clean) in enumerate(read_photos(options.photos, options.limit)):
            if isinstance(clean, PhotoError):
                continue
            rng = np.random.default_rng((options.seed, ord(case), index))
            truth = clean[0].permute(1, 2, 0).double().numpy()
            if case == "M" and rng.random() < 0.5:
                truth = np.repeat(truth.mean(2, keepdims=True), 3, 2)
            aged, covers = spoil(truth, case, rng)
            restoration = pipeline.restore(Photo.from_array(aged.astype(np.float32)))
            restored = restoration.pixels[0].permute(1, 2, 0).double().numpy()
            found = restoration.damage()[0, 0].numpy()
            before.append(_decibels(aged, truth))
            after.append(_decibels(restored, truth))
            bins = np.rint(found * (BINS - 1)).astype(int)
            union = 1 - np.prod([1 - cover for cover in covers.values()] or [np.zeros_like(found)], 0)
            for which in (0, 1):
                counts[which] += np.bincount(bins[(union > COVERED) == which], minlength=BINS)
            for name, cover in covers.items():
                found_of[name] += int((found[cover > COVERED] > 0.5).sum())
                all_of[name] += int((cover > COVERED).sum())
            if options.sheet and index < 4:
                rows.append([aged, np.repeat(found[..., None], 3, 2), restored, truth])
        if not before:
            raise ValueError(f"{options.photos}: no readable photo there")
        histograms = [torch.from_numpy(count) for count in counts[::-1]]
        area = auc_of_counts(*histograms)
        recall = ", ".join(f"{name} {found_of[name] / all_of[name]:.2f}" for name in KINDS if all_of[name])
        mean = np.mean(before), np.mean(after)
        print(
            f"{case}  {len(before):6} {mean[0]:12.2f} {mean[1]:6.2f} {mean[1] - mean[0]:+6.2f} {area:12.3f}  {recall}"
        )
        steps = [f"{hits:.2f}" for hits in reliability_of_counts(*histograms)]
        print(f"{case}  damaged of those found with 0 to 0.1, to 0.2, ... to 1: {' '.join(steps)}")
    if options.sheet:
        contact_sheet(rows, options.sheet)


if __name__ == "__main__":
    main()
