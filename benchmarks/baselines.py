"""What the restoration must beat: simple means, on the very photos the protocol ages.

python benchmarks/baselines.py PHOTOS --overlays damage-val-000.tar --backbone squeezenet1_1_features.safetensors

`Fill + non-local means` (Buades et al. 2005) fills what our detector found by our stage `fill`, then denoises with
OpenCV, once with its default strength 3 and once with the strength that gets the best mean PSNR of the case, a choice
nobody has who does not know the truth. Telea (2004) and Navier-Stokes (Bertalmio et al. 2001) are OpenCV's inpainting
where the same detector says more than 0.5. In H all are given the mask: the fill as it is, OpenCV every pixel of which
something is missing. Prints a Markdown table, then where ours is not the best.
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
from bringback.ops.masks import firm
from bringback.pipeline import Pipeline
from bringback.stages.fill import HoleFiller
from bringback.weights.backbones import load_distance

STRENGTHS = (1, 3, 6, 10)  # of non-local means, for luminance and colour alike
DEFAULT_STRENGTH = 3  # OpenCV's
PATCH, SEARCH = 7, 21  # pixels, OpenCV's too
RADIUS = 3  # pixels around a hole that inpainting looks at
AGED, OURS, BEST = "as aged", "ours", "fill + non-local means, best strength"
MEASURES = {"PSNR": 1, "SSIM": 1, "perceptual distance": -1}  # 1 = more is better

Means = dict[str, dict[str, np.ndarray]]  # by means and case: the three measures


def _of_array(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels.transpose(2, 0, 1))[None].float() / 255


def _eight_bit(pixels: Tensor) -> np.ndarray:
    return np.rint(as_array(rounded(pixels)) * 255).astype(np.uint8)


def denoised(pixels: Tensor, strength: float) -> Tensor:
    """Non-local means of a picture (1, 3, H, W)."""
    return _of_array(cv2.fastNlMeansDenoisingColored(_eight_bit(pixels), None, strength, strength, PATCH, SEARCH))


def inpainted(pixels: Tensor, chosen: Tensor, method: int) -> Tensor:
    """OpenCV's inpainting of a picture (1, 3, H, W) where `chosen`, (1, 1, H, W), is true."""
    return _of_array(cv2.inpaint(_eight_bit(pixels), chosen[0, 0].numpy().astype(np.uint8), RADIUS, method))


def name_of(strength: int) -> str:
    """What the table calls fill + non-local means of a strength."""
    return f"fill + non-local means, strength {strength}"


def pictures(pipeline: Pipeline, aged: Tensor, case: str, given: Tensor) -> dict[str, Tensor]:
    """One aged photo by every means; `given` is the true mask, told in H only."""
    told = case == "H"
    restoration = pipeline.restore(Photo.from_array(as_array(aged)), given[0, 0].numpy() if told else None)
    mask = firm(given) if told else restoration.damage().cpu()
    filled = HoleFiller().fill(aged, mask)
    made = {AGED: aged, OURS: rounded(restoration.pixels.cpu())}
    made |= {name_of(strength): denoised(filled, strength) for strength in STRENGTHS}
    if case in "SMHF":
        chosen = mask > (0 if told else FLAGGED)
        made["Telea"] = inpainted(aged, chosen, cv2.INPAINT_TELEA)
        made["Navier-Stokes"] = inpainted(aged, chosen, cv2.INPAINT_NS)
    return made


def measure(options: argparse.Namespace) -> Means:
    """Mean PSNR, SSIM and perceptual distance by means and case; raises ValueError when there is no photo."""
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
                rows[name][case].append(compare(made, sample.truth, bool(sample.grey[0]), distance))
    if not rows:
        raise ValueError(f"{options.photos}: no readable photo there")
    return {name: {case: np.mean(row, 0) for case, row in by_case.items()} for name, by_case in rows.items()}


def table(means: Means) -> str:
    """Markdown: a row for each means, PSNR / SSIM / perceptual distance for each case, best strengths in brackets."""
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
    """Where ours is no better than another means: a line each."""
    lines = []
    for name in (name for name in means if name != OURS):
        for case, numbers in means[name].items():
            signs = np.array(list(MEASURES.values()))
            lost = np.flatnonzero(signs * (means[OURS][case] - numbers) <= 0)
            if lost.size:
                lines.append(f"{case}: {name} is as good or better by {', '.join(list(MEASURES)[i] for i in lost)}")
    return lines


def main() -> None:
    """Read the arguments; exits 2 with one line when something is wrong with them."""
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
