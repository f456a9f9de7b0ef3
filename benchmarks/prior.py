"""The deep image prior compared with classical inpainting, with a known mask.

python benchmarks/prior.py photos-val-000.tar --threads 2 --sheet prior.png

Uses the central 256x256 pixels of the six photos named below (every seventh validation photo by name); 30 % of their
8x8 blocks are missing, drawn with seed 0. Telea (2004) and Navier-Stokes (Bertalmio et al. 2001) are OpenCV's, with a
radius of 5; push-pull is our stage `fill`. `alone` is the network's output in the holes, `prior` the result of `--fill
prior`: a blend with push-pull whose weight is validated on held-back blocks. Prints one Markdown table with PSNR in dB
of the whole crop / of its holes, and one about the fits.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from bringback.evaluation.runner import as_array, contact_sheet, read_photos
from bringback.ops.metrics import psnr
from bringback.ops.push_pull import push_pull
from bringback.stages.prior.fit import blended, expected
from bringback.stages.prior.settings import FORMS, PriorSettings, Progress

PHOTOS = (
    "codec_corpus_CID22__1025469-cb15b8",
    "codec_corpus_CID22__1531677-e274f7",
    "codec_corpus_CID22__2190188-937362",
    "codec_corpus_CID22__2887497-eb217a",
    "codec_corpus_CID22__373965-0c2fd8",
    "codec_corpus_CID22__6292444-e7e524",
)
SIDE, BLOCK, MISSING, SEED = 256, 8, 0.3, 0  # pixels, pixels, share of the blocks, seed
RADIUS = 5  # OpenCV's inpainting radius in pixels
TELEA = "Telea"


def holes() -> Tensor:
    """The mask (1, 1, 256, 256), 1 = missing."""
    count = SIDE // BLOCK
    order = torch.randperm(count**2, generator=torch.Generator().manual_seed(SEED))
    blocks = torch.zeros(count**2).index_fill_(0, order[: round(MISSING * count**2)], 1)
    return blocks.reshape(1, 1, count, count).repeat_interleave(BLOCK, 2).repeat_interleave(BLOCK, 3)


def middle(pixels: Tensor) -> Tensor:
    """The central 256x256 pixels of a photo (1, 3, H, W)."""
    top, left = ((side - SIDE) // 2 for side in pixels.shape[-2:])
    return pixels[..., top : top + SIDE, left : left + SIDE].contiguous()


def opencv(pixels: Tensor, mask: Tensor, method: int) -> Tensor:
    """OpenCV's inpainting of a crop."""
    eight_bit = np.rint(as_array(pixels) * 255).astype(np.uint8)
    made = cv2.inpaint(eight_bit, mask[0, 0].numpy().astype(np.uint8), RADIUS, method)
    return torch.from_numpy(made.transpose(2, 0, 1))[None].float() / 255


def compare(made: Tensor, truth: Tensor, mask: Tensor) -> tuple[float, float]:
    """PSNR in dB of the whole crop and of its holes."""
    chosen = mask[0, 0] > 0
    return psnr(made, truth).item(), psnr(made[..., chosen][..., None], truth[..., chosen][..., None]).item()


def measure(options: argparse.Namespace) -> tuple[str, str]:
    """Both tables; raises ValueError if one of the photos is missing."""
    every = read_photos(options.photos)
    found = {Path(name).stem: pixels for name, pixels in every if isinstance(pixels, Tensor)}
    missing = [name for name in PHOTOS if name not in found]
    if missing:
        raise ValueError(f"{options.photos}: no photo {missing[0]!r} there")
    mask = holes()
    told: list[str] = []
    scores: dict[str, list[tuple[float, float]]] = {}
    sheet: list[list[np.ndarray]] = []
    for name in PHOTOS:
        truth = middle(found[name])
        ways: dict[str, Callable[[Tensor], Tensor]] = {
            TELEA: lambda seen: opencv(seen, mask, cv2.INPAINT_TELEA),
            "Navier-Stokes": lambda seen: opencv(seen, mask, cv2.INPAINT_NS),
            "push-pull": lambda seen: push_pull(seen, mask),
        }
        made = {way: function(truth * (1 - mask)) for way, function in ways.items()}
        for form in options.forms:
            steps: list[Progress] = []
            settings = PriorSettings(form, options.iterations, options.seconds, options.seed)
            begin = time.perf_counter()
            seen = truth * (1 - mask)
            surface, share = expected(seen, mask, settings=settings, on_step=steps.append)
            made[f"{form} alone"] = torch.where(mask > 0, surface, seen)
            made[f"prior, {form}"] = blended(seen, surface, mask, share)
            seconds = time.perf_counter() - begin
            last = steps[-1]
            early = "yes" if last.stopped_early else "no"
            cells = [last.iteration, last.best, early, f"{last.held_back:.2f}", f"{last.share:.2f}", f"{seconds:.0f}"]
            told.append(f"| {name} | {form} | " + " | ".join(map(str, cells)) + " |")
            print(told[-1], file=sys.stderr, flush=True)
        for way, result in made.items():
            scores.setdefault(way, []).append(compare(result, truth, mask))
        sheet.append([as_array(x) for x in (truth * (1 - mask), *made.values(), truth)])
    if options.sheet:
        contact_sheet(sheet, options.sheet)
    return table(scores), "\n".join(
        [
            "| photo | form | iterations | best | stopped early | held back, dB | share | seconds |",
            "|---" * 8 + "|",
            *told,
        ]
    )


def table(scores: dict[str, list[tuple[float, float]]]) -> str:
    """Markdown: one row per photo, one column per method; then means and differences to Telea."""
    lines = ["| photo | " + " | ".join(scores) + " |", "|---" * (len(scores) + 1) + "|"]
    means = {way: np.mean(rows, 0) for way, rows in scores.items()}
    rows = [*zip(PHOTOS, zip(*scores.values(), strict=True), strict=True), ("mean", tuple(means.values()))]
    for name, cells in rows:
        lines.append(f"| {name} | " + " | ".join(f"{whole:.2f} / {inside:.2f}" for whole, inside in cells) + " |")
    gains = (means[way] - means[TELEA] for way in scores)
    lines.append(f"| over {TELEA} | " + " | ".join(f"{whole:+.2f} / {inside:+.2f}" for whole, inside in gains) + " |")
    return "\n".join(lines)


def main() -> None:
    """Parse arguments and run; exits with 2 and one line on bad arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="folder or tar shard with the validation photos")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--iterations", type=int, default=PriorSettings().iterations)
    parser.add_argument("--seconds", type=float, default=170, help="for each crop and form")
    parser.add_argument("--seed", type=int, default=0, help="of the prior")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sheet", type=Path, help="write the pictures to this file, a row for each crop")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    try:
        print("\n\n".join(measure(options)))
    except (OSError, ValueError) as error:
        parser.exit(2, f"prior: {error}\n")


if __name__ == "__main__":
    main()
