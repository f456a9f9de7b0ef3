"""Simple baselines for the restoration, on the photos of the protocol.

python benchmarks/baselines.py PHOTOS --overlays damage-val-000.tar --backbone squeezenet1_1_features.safetensors

`Fill + non-local means` (Buades et al. 2005) fills what our detector found with our stage `fill`, then denoises with
OpenCV: once with its default strength 3, once with the strength of the best mean PSNR per case, an oracle choice. Telea
(2004) and Navier-Stokes (Bertalmio et al. 2001) are OpenCV's inpainting where the same detector scores above 0.5. In H
all get the mask: the fill as is, OpenCV all pixels with any damage. Prints a Markdown table, then where ours is not the
best.
"""

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from bringback.degradations import OverlayBank
from bringback.degradations.rng import photo_seed
from bringback.errors import PhotoError
from bringback.evaluation.protocol import PROTOCOLS, SEED
from bringback.evaluation.runner import FLAGGED, aged_photo, as_array, compare, read_photos, rounded
from bringback.images.photo import Photo
from bringback.ops.masks import dilate_edges
from bringback.pipeline import Pipeline
from bringback.stages.fill import HoleFiller
from bringback.weights.backbones import load_distance

STRENGTHS = (1, 3, 6, 10)  # of non-local means, the same for luminance and color
DEFAULT_STRENGTH = 3  # OpenCV's
PATCH, SEARCH = 7, 21  # pixels, OpenCV's defaults
RADIUS = 3  # inpainting radius in pixels
AGED, OURS, BEST = "as aged", "ours", "fill + non-local means, best strength"
MEASURES = {"PSNR": 1, "SSIM": 1, "perceptual distance": -1}  # 1 = higher is better

Means = dict[str, dict[str, np.ndarray]]  # by method and case: the three measures


def _of_array(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels.transpose(2, 0, 1))[None].float() / 255


def _eight_bit(pixels: Tensor) -> np.ndarray:
    return np.rint(as_array(rounded(pixels)) * 255).astype(np.uint8)


def denoised(pixels: Tensor, strength: float) -> Tensor:
    """Non-local means on a picture (1, 3, H, W)."""
    return _of_array(cv2.fastNlMeansDenoisingColored(_eight_bit(pixels), None, strength, strength, PATCH, SEARCH))


def inpainted(pixels: Tensor, chosen: Tensor, method: int) -> Tensor:
    """OpenCV's inpainting of a picture (1, 3, H, W) where `chosen` (1, 1, H, W) is true."""
    return _of_array(cv2.inpaint(_eight_bit(pixels), chosen[0, 0].numpy().astype(np.uint8), RADIUS, method))


def name_of(strength: int) -> str:
    """The table label of fill + non-local means with this strength."""
    return f"fill + non-local means, strength {strength}"


def pictures(pipeline: Pipeline, aged: Tensor, case: str, given: Tensor) -> dict[str, Tensor]:
    """One aged photo restored by every method; `given` is the true mask, used in H only."""
    told = case == "H"
    restoration = pipeline.restore(Photo.from_array(as_array(aged)), given[0, 0].numpy() if told else None)
    mask = dilate_edges(given) if told else restoration.damage().cpu()
    filled = HoleFiller().fill(aged, mask)
    made = {AGED: aged, OURS: rounded(restoration.pixels.cpu())}
    made |= {name_of(strength): denoised(filled, strength) for strength in STRENGTHS}
    if case in "SMHF":
        chosen = mask > (0 if told else FLAGGED)
        made["Telea"] = inpainted(aged, chosen, cv2.INPAINT_TELEA)
        made["Navier-Stokes"] = inpainted(aged, chosen, cv2.INPAINT_NS)
    return made


def measure(options: argparse.Namespace) -> Means:
    """Mean PSNR, SSIM and perceptual distance by method and case; raises ValueError without readable photos."""
    pipeline = Pipeline.from_pretrained(options.weights, device=options.device)
    bank = OverlayBank.from_shards(options.overlays)
    distance = load_distance(options.backbone)
    rows: dict[str, dict[str, list[tuple]]] = defaultdict(lambda: defaultdict(list))
    for case, recipe in PROTOCOLS["default"].items():
        print(f"{case} {recipe}", file=sys.stderr)
        for index, (_, clean) in enumerate(read_photos(options.photos, options.limit)):
            if isinstance(clean, PhotoError):
                continue
            sample = aged_photo(clean, recipe, photo_seed(SEED, index), bank)
            for name, made in pictures(pipeline, rounded(sample.aged), case, sample.mask).items():
                rows[name][case].append(compare(made, sample.truth, bool(sample.gray[0]), distance))
    if not rows:
        raise ValueError(f"{options.photos}: no readable photo there")
    return {name: {case: np.mean(row, 0) for case, row in by_case.items()} for name, by_case in rows.items()}


def table(means: Means) -> str:
    """Markdown: one row per method, PSNR / SSIM / perceptual distance per case, best strengths in parentheses."""
    best = {case: max(STRENGTHS, key=lambda strength: means[name_of(strength)][case][0]) for case in means[AGED]}
    chosen = {case: means[name_of(strength)][case] for case, strength in best.items()}
    shown = {AGED: means[AGED], OURS: means[OURS], name_of(DEFAULT_STRENGTH): means[name_of(DEFAULT_STRENGTH)]}
    shown |= {BEST: chosen} | {name: means[name] for name in ("Telea", "Navier-Stokes")}
    lines = ["| | " + " | ".join(means[AGED]) + " |", "|---" * (len(means[AGED]) + 1) + "|"]
    for name, by_case in shown.items():
        cells = []
        for case in means[AGED]:
            numbers = by_case.get(case)
            cell = "" if numbers is None else f"{numbers[0]:.2f} / {numbers[1]:.3f} / {numbers[2]:.2f}"
            cells.append(f"{cell} ({best[case]})" if name == BEST else cell)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def defeats(means: Means) -> list[str]:
    """One line for each method and case where ours is not better."""
    lines = []
    for name in (name for name in means if name != OURS):
        for case, numbers in means[name].items():
            signs = np.array(list(MEASURES.values()))
            lost = np.flatnonzero(signs * (means[OURS][case] - numbers) <= 0)
            if lost.size:
                lines.append(f"{case}: {name} is as good or better by {', '.join(list(MEASURES)[i] for i in lost)}")
    return lines


def main() -> None:
    """Parse arguments and run; exits with 2 and one line on bad arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="folder, tar shard or folder of tar shards with clean photos")
    parser.add_argument("--overlays", type=Path, nargs="+", required=True, help="tar shards of damage to lay on")
    parser.add_argument("--backbone", type=Path, required=True, help="SqueezeNet features, for the perceptual distance")
    parser.add_argument("--weights", type=Path, help="checkpoints to lay over the shipped ones")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--limit", type=int, help="use only so many photos")
    options = parser.parse_args()
    try:
        means = measure(options)
    except (OSError, ValueError) as error:
        parser.exit(2, f"baselines: {error}\n")
    print(table(means))
    print("\n".join(["", *defeats(means)]))


if __name__ == "__main__":
    main()
