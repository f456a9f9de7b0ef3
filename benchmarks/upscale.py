"""The stage `upscale` against nearest, bicubic and Lanczos enlargement, on photos that were shrunk by area.

python benchmarks/upscale.py PHOTOS [--weights runs/upscale] [--backbone FILE] [--model FILE] [--limit N]
[--factors 2 4] [--sheets DIR]

Clean: the shrunk photo, rounded to 8 bits. Worn: degraded after that by the recipe `slightly-worn`, with which the
network was trained; foreign: by the foreign program at a quarter of its severity, which it never saw. `--model` adds
a model of another program. Time and memory of whole photos: `python benchmarks/memory.py -- --stages upscale`.
Prints a Markdown table of PSNR, SSIM and perceptual distance to the photo.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.degradations import degrade
from bringback.degradations.rng import photo_seed
from bringback.errors import PhotoError
from bringback.evaluation.foreign_wear import wear
from bringback.evaluation.runner import SHEET_ROWS, as_array, compare, contact_sheet, read_photos, rounded
from bringback.models.upscale import UpscaleNet
from bringback.ops.color import grayed
from bringback.stages.upscale import Upscaler
from bringback.weights.backbones import load_distance
from bringback.weights.checkpoints import Checkpoints
from bringback.weights.foreign import ForeignUpscaler

FACTORS = (2, 4)
LIGHT = 0.25  # severity of the foreign program
SIMPLE = {"nearest": cv2.INTER_NEAREST, "bicubic": cv2.INTER_CUBIC, "Lanczos": cv2.INTER_LANCZOS4}
CROP = 320  # side of the crops on sheets, in pixels of the result


def ways(network: UpscaleNet, model: Path | None, factor: int) -> dict[str, Callable[[Tensor], Tensor]]:
    """The ways to enlarge by a factor, by name."""

    def simple(kernel: int) -> Callable[[Tensor], Tensor]:
        def enlarge(small: Tensor) -> Tensor:
            array = np.ascontiguousarray(small[0].permute(1, 2, 0).numpy())
            large = cv2.resize(array, None, fx=factor, fy=factor, interpolation=kernel).clip(0, 1)
            return torch.from_numpy(large).permute(2, 0, 1)[None]

        return enlarge

    found = {name: simple(kernel) for name, kernel in SIMPLE.items()}
    found["ours"] = Upscaler(network, factor=factor).upscale
    if model:
        other = ForeignUpscaler.read(model)
        found[other.architecture] = Upscaler(other, factor=factor).upscale
    return found


def shrunk(photo: Tensor, factor: int, index: int) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Small photos, by how they are worn, and the truth of each."""
    seed = photo_seed(0, index)
    small = rounded(F.avg_pool2d(photo, factor))
    yield "clean", small, photo
    aged = degrade(small, "slightly-worn", [seed])
    yield "worn", rounded(grayed(aged.aged, aged.gray)), grayed(photo, aged.gray)
    foreign = wear((as_array(small) * 255).round().astype(np.uint8), seed, LIGHT)
    yield "foreign", torch.from_numpy(foreign).permute(2, 0, 1)[None] / 255, photo


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="folder, tar shard or folder of tar shards with clean photos")
    parser.add_argument("--weights", type=Path, help="checkpoints to lay over the shipped ones")
    parser.add_argument("--backbone", help="as in `bringback evaluate`: adds the perceptual distance")
    parser.add_argument("--model", type=Path, help="a model of another program, as for --upscale-model")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--factors", type=int, nargs="+", choices=FACTORS, default=FACTORS)
    parser.add_argument("--sheets", type=Path, help="write input | bicubic | ours | truth, at 100 %%, to this folder")
    options = parser.parse_args()
    network = Checkpoints(options.weights).load("upscale", UpscaleNet)
    distance = load_distance(options.backbone) if options.backbone else None
    rows: dict[tuple[str, int, str], list[list[float]]] = defaultdict(list)
    cells = defaultdict(list)
    methods = {factor: ways(network, options.model, factor) for factor in options.factors}
    for index, (_, photo) in enumerate(read_photos(options.photos, options.limit)):
        if isinstance(photo, PhotoError):
            continue
        height, width = (side // max(FACTORS) * max(FACTORS) for side in photo.shape[-2:])
        photo = photo[..., :height, :width]
        for factor in options.factors:
            for case, small, truth in shrunk(photo, factor, index):
                shown = {}
                for name, enlarge in methods[factor].items():
                    begin = time.perf_counter()
                    made = rounded(enlarge(small))
                    seconds = time.perf_counter() - begin
                    like = [value or 0.0 for value in compare(made, truth, False, distance)]
                    rows[case, factor, name].append([*like, seconds])
                    shown[name] = made
                pictures = [shown["nearest"], shown["bicubic"], shown["ours"], truth]
                cells[case, factor].append([as_array(middle(x)) for x in pictures])
    print("| photos | method | PSNR, dB | SSIM | perceptual distance | seconds |\n|---|---|---|---|---|---|")
    for (case, factor, name), values in rows.items():
        decibel, like, apart, seconds = np.mean(values, 0)
        gain = decibel - np.mean(rows[case, factor, "bicubic"], 0)[0]
        what = f"{len(values)} {case}, {factor} times"
        said = f"{apart:.3f}" if distance else ""
        print(f"| {what} | {name} | {decibel:.2f} ({gain:+.2f}) | {like:.4f} | {said} | {seconds:.2f} |")
    if options.sheets:
        options.sheets.mkdir(parents=True, exist_ok=True)
        for (case, factor), pictures in cells.items():
            contact_sheet(pictures[:SHEET_ROWS], options.sheets / f"{case}-{factor}.png")


def middle(photo: Tensor) -> Tensor:
    """The crop in the middle, no larger than a sheet shows at 100 %."""
    height, width = photo.shape[-2:]
    tall, wide = min(height, CROP), min(width, CROP)
    top, left = (height - tall) // 2, (width - wide) // 2
    return photo[..., top : top + tall, left : left + wide]


if __name__ == "__main__":
    main()
