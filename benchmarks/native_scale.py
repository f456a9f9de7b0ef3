"""Native scale: how well it is estimated, what damage is found at each width, and what a soft scan gains and takes.

    python benchmarks/native_scale.py estimate --photos photos-val-000.tar [--overlays damage-val-000.tar] [--every 1]
    python benchmarks/native_scale.py widths --photos photos-val-000.tar [--every 4] [--times 1 2 4]
    python benchmarks/native_scale.py seconds --photos photos-val-000.tar [--megapixels 12] [--stages translate]
    python benchmarks/native_scale.py gains --photos photos-val-000.tar [--side 192] [--times 1 2 4 8] [--cases S M]
    python benchmarks/native_scale.py small --photos photos-val-000.tar [--every 2]

`estimate` scans clean and aged photos at 1, 2, 4 and 8 times their resolution (`evaluation.scan`) and prints the
quantiles of what is found. `widths` draws strokes of 1 to 64 pixels on such scans, their middle megapixel, and prints
the share of their pixels that is found, and of sound pixels that is flagged. `seconds` restores one scan of native
scale 4, and one that is sharp to the pixel, with `scale="auto"` and with `scale=1`, in turn, in one process. `gains`
restores the middle of photos, of `--side` pixels, as scanners of 1, 2, 4 and 8 times the resolution give it, and
compares after shrinking. `small` shrinks sound photos to a long side of 40 to 128 pixels and prints how far from them
the results are.
"""

import argparse
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from bringback.degradations import OverlayBank
from bringback.degradations.rng import photo_seed
from bringback.errors import PhotoError
from bringback.evaluation import scan
from bringback.evaluation.protocol import SEED
from bringback.evaluation.runner import aged_photo, as_array, compare, read_photos, rounded
from bringback.images.photo import Photo
from bringback.ops.scale import shrink
from bringback.pipeline import Pipeline

CASES = {"C": "clean", "S": "structured", "U": "unstructured", "M": "mixed"}
LARGEST = 1024  # side of the scans on which strokes are drawn
WIDTHS = (1, 2, 4, 8, 16, 32, 64)


def photos(options: argparse.Namespace) -> Iterator[tuple[int, Tensor]]:
    """Number and pixels of every n-th photo."""
    for number, (_, pixels) in islice(enumerate(read_photos(options.photos)), 0, None, options.every):
        if not isinstance(pixels, PhotoError):
            yield number, pixels


def estimate(options: argparse.Namespace) -> None:
    """Print the table of estimates."""
    pipeline = Pipeline.from_pretrained(options.weights, stages=["translate"], device="cpu")
    bank = OverlayBank.from_shards(options.overlays) if options.overlays else None
    print("| case | scanned | photos | found: 5 % | 25 % | median | 75 % | 95 % | left at 1 |\n" + "|---" * 9 + "|")
    for case, recipe in CASES.items():
        for times in (1, 2, 4, 8):
            found = []
            for number, clean in photos(options):
                seed = photo_seed(SEED, number)
                aged = rounded(aged_photo(clean, recipe, seed, bank).aged)
                if times > 4:  # the middle of it: enough to see
                    height, width = (side // 4 for side in aged.shape[-2:])
                    aged = aged[..., height : 3 * height, width : 3 * width].contiguous()
                found.append(pipeline.native_scale(scan.scanned(aged, times, seed) if times > 1 else aged))
            shares = " | ".join(f"{value:.2f}" for value in np.quantile(found, (0.05, 0.25, 0.5, 0.75, 0.95)))
            print(f"| {case} | {times}x | {len(found)} | {shares} | {np.mean(np.array(found) == 1):.0%} |", flush=True)


def widths(options: argparse.Namespace) -> None:
    """Print recall by width of the damage."""
    pipeline = Pipeline.from_pretrained(options.weights, stages=["scratches"], device="cpu")
    print("| scanned | " + " | ".join(f"{width} px" for width in WIDTHS) + " |\n" + "|---" * (len(WIDTHS) + 1) + "|")
    for times in options.times:
        cells = []
        for width in WIDTHS:
            counts = np.zeros(4)
            for number, clean in photos(options):
                random = np.random.default_rng(number)
                soft = scan.scanned(_middle(clean, LARGEST // times), times, number) if times > 1 else clean
                spoilt, mask = strokes(as_array(soft), width, random)
                found = pipeline.restore(Photo.from_array(spoilt)).damage()[0, 0].numpy() > 0.5
                counts += [(found & mask).sum(), mask.sum(), (found & ~mask).sum(), (~mask).sum()]
            cells.append(f"{counts[0] / counts[1]:.2f} ({counts[2] / counts[3]:.1%})")
        print(f"| {times}x | {' | '.join(cells)} |", flush=True)


def strokes(photo: np.ndarray, width: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A photo (H, W, 3) with straight strokes of this width, and where they are (H, W)."""
    height, across = photo.shape[:2]
    cover = np.zeros((height, across), np.float32)
    for _ in range(3):
        start, angle = random.uniform(0, [across, height]), random.uniform(0, np.pi)
        end = start + max(2 * width, min(height, across) / 4) * np.array([np.cos(angle), np.sin(angle)])
        cv2.line(cover, start.astype(int).tolist(), end.astype(int).tolist(), 1.0, width, cv2.LINE_AA)
    tone = random.choice([0.95, 0.85, 0.1])
    alpha = cover[..., None] * random.uniform(0.8, 1)
    return (photo * (1 - alpha) + tone * alpha).astype(np.float32), cover > 0.5


def gains(options: argparse.Namespace) -> None:
    """Print PSNR before and after, and the scales that were estimated."""
    stages = options.stages.split(",") if options.stages else None
    pipeline = Pipeline.from_pretrained(options.weights, stages=stages, device="cpu")
    bank = OverlayBank.from_shards(options.overlays) if options.overlays else None
    print("| case | scanned | photos | before | after | gain | scales found |\n" + "|---" * 7 + "|")
    for case in options.cases:
        for times in options.times:
            rows, scales = [], []
            for number, clean in photos(options):
                seed = photo_seed(SEED, number)
                sample = aged_photo(clean, CASES[case], seed, bank)
                aged, truth = (_middle(part, options.side) for part in (rounded(sample.aged), sample.truth))
                if times > 1:
                    truth = scan.truth(truth, times, seed) if case == "C" else truth
                    aged = scan.scanned(aged, times, seed)
                done = pipeline.restore(Photo.from_array(as_array(aged)))
                seen = (scan.shrunk(part, times) for part in (aged, rounded(done.pixels)))
                rows.append([compare(part, truth, bool(sample.gray[0]), None)[0] for part in seen])
                scales.append(done.scale)
            before, after = np.mean(rows, 0)
            found = " ".join(f"{scale:.3g}" for scale in sorted(scales))
            line = f"| {case} | {times}x | {len(rows)} | {before:.2f} | {after:.2f} | {after - before:+.2f} | {found} |"
            print(line, flush=True)


def small(options: argparse.Namespace) -> None:
    """Print the PSNR of results to small sound photos: mean and least."""
    stages = options.stages.split(",") if options.stages else None
    pipeline = Pipeline.from_pretrained(options.weights, stages=stages, device="cpu")
    for side in (40, 60, 80, 100, 128):
        far = []
        for _, clean in photos(options):
            photo = rounded(shrink(clean, max(clean.shape[-2:]) / side))
            done = pipeline.restore(Photo.from_array(as_array(photo)))
            far.append(min(compare(rounded(done.pixels), photo, False, None)[0], 60.0))
        print(f"{side} pixels, {len(far)} photos: {np.mean(far):.1f} dB, least {min(far):.1f}", flush=True)


def seconds(options: argparse.Namespace) -> None:
    """Print the seconds of each stage, the smaller of two runs."""
    stages = options.stages.split(",") if options.stages else None
    sharp = np.concatenate([as_array(pixels) for pixels in _columns(options)], 1)
    for name, times in (("native scale 4", 4), ("sharp to the pixel", 1)):
        side = round((options.megapixels * 1e6 * 0.75) ** 0.5 / times)
        picture = _sized(sharp, side, side * 4 // 3)
        tensor = torch.from_numpy(picture.transpose(2, 0, 1).copy())[None]
        photo = Photo.from_array(as_array(scan.scanned(tensor, times, 0)))
        best: dict[str, dict[str, float]] = {}
        for _ in range(2):
            for scale in ("auto", 1.0):
                pipeline = Pipeline.from_pretrained(options.weights, stages=stages, device="cpu", scale=scale)
                begin = time.perf_counter()
                done = pipeline.restore(photo)
                took = {"all": time.perf_counter() - begin}
                took |= {stage: notes["seconds"] for stage, notes in done.notes.items()}
                key = f"{scale} ({done.scale:g})"
                best[key] = {stage: min(value, best.get(key, took)[stage]) for stage, value in took.items()}
        for key, took in best.items():
            shown = ", ".join(f"{stage} {value:.2f}" for stage, value in took.items())
            print(f"{name}, {photo.pixels.shape[1]}x{photo.pixels.shape[0]}, scale {key}: {shown}", flush=True)


def _middle(pixels: Tensor, side: int) -> Tensor:
    """The middle square of a photo, of this side or that of the photo."""
    side = min(side, *pixels.shape[-2:])
    y, x = ((length - side) // 2 for length in pixels.shape[-2:])
    return pixels[..., y : y + side, x : x + side]


def _columns(options: argparse.Namespace) -> list[Tensor]:
    """Photos of one height."""
    found = [pixels for _, pixels in photos(options)]
    height = min(pixels.shape[-2] for pixels in found)
    return [pixels[..., :height, :] for pixels in found[:12]]


def _sized(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """A picture of this size, repeated by mirroring where it is too small."""
    down, across = (max(0, wanted - side) for wanted, side in zip((height, width), picture.shape[:2], strict=True))
    return np.pad(picture, ((0, down), (0, across), (0, 0)), mode="symmetric")[:height, :width]


def main() -> None:
    """Parse arguments and run one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("estimate", "widths", "seconds", "gains", "small"))
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--overlays", type=Path, nargs="*", default=[])
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--megapixels", type=float, default=12.0)
    parser.add_argument("--stages")
    parser.add_argument("--side", type=int, default=192)
    parser.add_argument("--times", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    options = parser.parse_args()
    run = {"estimate": estimate, "widths": widths, "seconds": seconds, "gains": gains, "small": small}
    run[options.what](options)


if __name__ == "__main__":
    main()
