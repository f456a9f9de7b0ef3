"""The stage `relight` on dark photos, and that it leaves others unchanged.

python benchmarks/light.py PHOTOS [--weights runs/relight] [--sheet light.png]

`dark-noisy`: the recipe, seed 0. Well lit: the unaltered photos. Blown out: the photos 1.6 times as bright, clipped;
the mean absolute change of pixels above 95 % luminance. Prints a Markdown table.
"""

import argparse
from pathlib import Path

import numpy as np

from bringback.degradations import degrade
from bringback.degradations.rng import photo_seed
from bringback.errors import PhotoError
from bringback.evaluation.runner import as_array, compare, contact_sheet, read_photos, rounded
from bringback.ops.color import luminance
from bringback.ops.metrics import psnr
from bringback.stages.relight import Relighter
from bringback.weights.checkpoints import Checkpoints

BRIGHT, EXPOSURE = 0.95, 1.6


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="folder, tar shard or folder of tar shards with clean photos")
    parser.add_argument("--weights", type=Path, help="checkpoints to lay over the shipped ones")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--sheet", type=Path, help="write dark | relit | truth to this PNG")
    options = parser.parse_args()
    stage = Relighter.from_checkpoints(Checkpoints(options.weights), "cpu")
    dark, lit, blown, cells = [], [], [], []
    for index, (_, photo) in enumerate(read_photos(options.photos, options.limit)):
        if isinstance(photo, PhotoError):
            continue
        aged = degrade(photo, "dark-noisy", [photo_seed(0, index)]).aged
        made = rounded(stage.relight(aged))
        dark.append([*compare(aged, photo, False, None)[:2], *compare(made, photo, False, None)[:2]])
        lit.append(float(psnr(stage.relight(photo), photo)))
        bright = rounded(photo * EXPOSURE)
        white = (luminance(bright) > BRIGHT).expand_as(bright)
        if white.any():
            blown.append(255 * float((rounded(stage.relight(bright)) - bright).abs()[white].mean()))
        cells.append([as_array(x) for x in (aged, made, photo)])
    before, like, after, alike = np.mean(dark, 0)
    print("| photos | measure | before | after |\n|---|---|---|---|")
    print(f"| {len(dark)} `dark-noisy` | PSNR, dB | {before:.2f} | {after:.2f} ({after - before:+.2f}) |")
    print(f"| | SSIM | {like:.3f} | {alike:.3f} |")
    print(f"| {len(lit)} well lit | PSNR to what came, dB: mean, least | | {np.mean(lit):.2f}, {min(lit):.2f} |")
    print(
        f"| {len(blown)} blown out | change above 95 %, /255: mean, most | | {np.mean(blown):.2f}, {max(blown):.2f} |"
    )
    if options.sheet:
        contact_sheet([left + right for left, right in zip(cells[::2], cells[1::2], strict=False)], options.sheet)


if __name__ == "__main__":
    main()
