"""What the infrared channel of a film scan is worth: scans are made with dust, and filled by different masks.

python benchmarks/infrared.py PHOTOS.tar [--count 8] [--side 512] [--dyes 0.03] [--off 0] [--seed 0]

Prints the PSNR (dB, mean of the photos) of the scan, and of what is filled by the detector's mask, by infrared alone,
by both as the stage unites them, and by the exact mask; and the shares of the dust that are marked, and of the photo
that is marked farther than 3 pixels from dust. `--dyes` is how dense dyes are in infrared, as a share of the density of
red; `--off` by how many pixels infrared is out of register.
"""

import argparse
from collections import defaultdict
from dataclasses import replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch

from bringback.images.photo import Photo
from bringback.images.shards import read_shards
from bringback.ops.infrared import find_dust
from bringback.ops.metrics import psnr
from bringback.stages.fill import HoleFiller
from bringback.stages.record import Restoration
from bringback.stages.scratches import ScratchDetector


def dust(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Specks and hairs on a good percent of a scan: float32 (H, W) in [0, 1], how opaque they are."""
    drawn = np.zeros((height, width), np.uint8)
    for _ in range(height * width // 4000):
        center = int(rng.integers(width)), int(rng.integers(height))
        cv2.ellipse(drawn, center, tuple(map(int, rng.integers(1, 4, 2))), float(rng.integers(180)), 0, 360, 255, -1)
    for _ in range(height * width // 30_000):
        turns = np.cumsum(rng.normal(0, 0.15, 40)) + rng.uniform(0, 2 * np.pi)
        points = rng.uniform((0, 0), (width, height)) + np.cumsum(np.stack([np.cos(turns), np.sin(turns)], 1) * 2, 0)
        cv2.polylines(
            drawn, [np.rint(points * 16).astype(np.int32)], False, 255, int(rng.integers(1, 3)), cv2.LINE_AA, 4
        )
    return cv2.GaussianBlur(drawn.astype(np.float32) / 255, (0, 0), 0.5)


def scan(photo: np.ndarray, opaque: np.ndarray, dyes: float, off: int, rng: np.random.Generator) -> Photo:
    """The photo (H, W, 3) in [0, 1] as a scanner gives it, under dust, with its infrared channel."""
    tone = float(rng.choice((0.03, 0.97)))
    shown = np.clip(photo * (1 - opaque[..., None]) + tone * opaque[..., None], 0, 1)
    infrared = np.maximum(photo[..., 0], 1 / 64) ** dyes * (1 - 0.85 * opaque)
    infrared = np.roll(cv2.GaussianBlur(infrared.astype(np.float32), (0, 0), 0.7), off, 1)
    infrared = np.clip(0.8 * infrared + rng.normal(0, 0.005, infrared.shape), 0, 1)
    made = Photo.from_array(np.rint(shown * 255).astype(np.uint8))
    return replace(made, infrared=np.rint(infrared * 65535).astype(np.uint16))


def main(arguments: list[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--dyes", type=float, default=0.03)
    parser.add_argument("--off", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    rng = np.random.default_rng(given.seed)
    detector, filler = ScratchDetector.from_pretrained(), HoleFiller()
    gains, shares = defaultdict(list), defaultdict(list)
    for name, data in islice(read_shards(given.photos), given.count):
        pixels = Photo.decode(data, name).pixels[: given.side, : given.side]
        opaque = dust(*pixels.shape[:2], rng)
        made = scan(pixels, opaque, given.dyes, given.off, rng)
        truth, start = torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy()), Restoration.start(made)
        exact = torch.from_numpy(opaque > 0.1)[None, None]
        alone = find_dust(made.infrared, start.pixels)
        masks = {
            "scan": torch.zeros_like(truth[:, :1]),
            "detector": detector(Restoration.start(replace(made, infrared=None))).damage(),
            "infrared": alone.mask if alone.mask is not None else torch.zeros_like(truth[:, :1]),
            "both": detector(start).damage(),
            "exact": exact.float(),
        }
        near = torch.nn.functional.max_pool2d(exact.float(), 7, 1, 3) > 0
        for means, mask in masks.items():
            filled = filler.fill(torch.from_numpy(made.pixels.transpose(2, 0, 1)[None].copy()), mask)
            gains[means].append(float(psnr(filled, truth)))
            marked = mask > 0.5
            found = (marked & exact).sum() / exact.sum()
            shares[means].append((float(found), float((marked & ~near).float().mean())))
    for name in gains:
        found, false = np.mean(shares[name], 0)
        print(f"{name:9} {np.mean(gains[name]):6.2f} dB, found {found:.3f}, false {100 * false:.2f} % of the photo")


if __name__ == "__main__":
    main()
