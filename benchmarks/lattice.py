"""Grid artifacts of the translation: the spectrum of noisy flat skies, where a network's stride would show.

python benchmarks/lattice.py [--weights DIR] [--sheet FILE]

Skies are smooth gradients with seeded Gaussian noise, white or enlarged. A network of stride S can leave a pattern of
period S pixels: peaks of the spectrum at multiples of 1/S cycles per pixel along an axis. For each period, reports the
power there over the median of its neighborhood, in dB, for the worse axis, averaged over skies, before and after: plain
noise has 3 to 6 by chance, visible patterns 10 and more. Also reports the remaining noise.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from bringback.pipeline import Pipeline

SIDE, SKIES, SIGMA = 512, 8, 8 / 255
PERIODS = (2, 4, 8, 16)
AROUND = 6  # bins to either side in the neighborhood, without the nearest two


def sky(number: int) -> tuple[Tensor, Tensor]:
    """A clean sky and a noisy one, (1, 3, SIDE, SIDE)."""
    random = torch.Generator().manual_seed(number)
    corners = torch.rand(1, 3, 2, 2, generator=random) * 0.15 + torch.tensor([0.45, 0.6, 0.75]).view(1, 3, 1, 1)
    clean = F.interpolate(corners, (SIDE, SIDE), mode="bilinear", align_corners=True)
    side = SIDE // (1 + number % 4)
    noise = torch.randn(1, 3 if number % 2 else 1, side, side, generator=random) * SIGMA
    return clean, (clean + F.interpolate(noise, (SIDE, SIDE), mode="bicubic")).clamp(0, 1)


def peaks(field: Tensor) -> dict[int, float]:
    """For each period, its power over the median around it, in dB; the field (H, W) has mean 0."""
    window = torch.hann_window(SIDE, periodic=False)
    power = torch.fft.fft2(field * window * window[:, None]).abs().square()
    rows, columns = power[:, :3].mean(1), power[:3].mean(0)  # periodic along one axis, constant along the other
    found = {}
    for period in PERIODS:
        ratios = []
        for line in (rows, columns):
            at = SIDE // period
            near = [line[(at + d) % SIDE] for d in range(-AROUND, AROUND + 1) if abs(d) > 2]
            ratios.append(10 * torch.log10(line[at] / torch.stack(near).median()))
        found[period] = float(torch.stack(ratios).max())
    return found


def main() -> None:
    """Parse arguments, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--sheet", type=Path, help="a picture of four skies, before over after, contrast times eight")
    given = parser.parse_args()
    pipeline = Pipeline.from_pretrained(given.weights, stages=["translate"])
    found: dict[str, list[dict[int, float]]] = {"before": [], "after": []}
    left, shown = [], []
    for number in range(SKIES):
        clean, noisy = sky(number)
        restored = pipeline(noisy).clamp(0, 1)
        errors = [(x - clean).mean(1)[0] for x in (noisy, restored)]
        for when, error in zip(found, errors, strict=True):
            found[when].append(peaks(error - error.mean()))
        left.append(float(errors[1].std() / errors[0].std()))
        shown.append(torch.cat([(8 * error[:256, :256] + 0.5).clamp(0, 1) for error in errors]))
    print("| period, pixels | " + " | ".join(map(str, PERIODS)) + " |\n" + "|---" * (1 + len(PERIODS)) + "|")
    for when, skies in found.items():
        cells = [f"{np.mean([one[period] for one in skies]):.1f}" for period in PERIODS]
        print(f"| {when}, dB | {' | '.join(cells)} |")
    print(f"\nnoise left: {np.mean(left):.2f} of its deviation")
    if given.sheet:
        Image.fromarray((torch.cat(shown[:4], 1).numpy() * 255).astype(np.uint8)).save(given.sheet)


if __name__ == "__main__":
    main()
