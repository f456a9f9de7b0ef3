"""Aging time per crop in milliseconds, by recipe.

python benchmarks/aging_speed.py second-order training --size 128 --batch 16 --threads 1 --device cpu

Pictures are smooth random fields, each batch has its own seeds, damage is procedural. Prints a Markdown table: median
and minimum of the wall time over batches, and the median CPU time of the process, which is less affected by other load
(on a GPU it measures kernel launches).
"""

import argparse
import time
from statistics import median

import torch
import torch.nn.functional as F

from bringback.degradations import RECIPES, degrade

WARMUP = 4  # batches that are not measured


def timings(recipe: str, pictures: torch.Tensor, batches: int) -> tuple[list[float], list[float]]:
    """Milliseconds per crop for each batch: wall time and CPU time of the process."""
    clock, own = [], []
    for number in range(-WARMUP, batches):
        seeds = range((number + WARMUP) * len(pictures), (number + WARMUP + 1) * len(pictures))
        began, own_began = time.perf_counter(), time.process_time()
        degrade(pictures, recipe, seeds)
        if pictures.is_cuda:
            torch.cuda.synchronize()
        if number >= 0:
            clock.append((time.perf_counter() - began) * 1e3 / len(pictures))
            own.append((time.process_time() - own_began) * 1e3 / len(pictures))
    return clock, own


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", default=["second-order"], metavar="RECIPE", help=", ".join(RECIPES))
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    knots = torch.rand(options.batch, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    pictures = F.interpolate(knots, (options.size, options.size), mode="bicubic").clamp(0, 1).to(options.device)
    print("| recipe | median, ms a crop | quickest | median, own time |\n|---|---|---|---|")
    for recipe in options.recipes:
        clock, own = timings(recipe, pictures, options.batches)
        print(f"| {recipe} | {median(clock):.2f} | {min(clock):.2f} | {median(own):.2f} |")


if __name__ == "__main__":
    main()
