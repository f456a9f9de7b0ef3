"""Color accuracy of the stage `colorize` on photos converted to gray.

python benchmarks/color.py PHOTOS [--weights runs/colorize] [--sheet color.png]

Baselines: the gray photo, a sepia one (the middle of our sepia range) and one in the mean color of the training photos,
each with the photo's luminance. Errors are root mean square distances in a*b*; colorfulness (Hasler and Süsstrunk 2003)
is relative to the photo's own. Prints a Markdown table.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

from bringback.errors import PhotoError
from bringback.evaluation.runner import as_array, contact_sheet, read_photos, rounded
from bringback.ops.color import chroma, luminance, tinged
from bringback.ops.metrics import color_error, colorfulness, psnr
from bringback.stages.colorize import Colorizer
from bringback.weights.checkpoints import Checkpoints

SEPIA = (6.0, 22.0)  # a*, b*
MEAN = (2.3, 6.6)  # of 321 training photos


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="folder, tar shard or folder of tar shards with clean photos")
    parser.add_argument("--weights", type=Path, help="checkpoints to lay over the shipped ones")
    parser.add_argument("--saturation", type=float, default=1.0)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--sheet", type=Path, help="write grey | coloured | truth to this PNG")
    options = parser.parse_args()
    stage = Colorizer.from_checkpoints(Checkpoints(options.weights), "cpu", options.saturation)
    rows: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    cells = []
    for _, photo in read_photos(options.photos, options.limit):
        if isinstance(photo, PhotoError):
            continue
        light = luminance(photo)
        gray = light.expand_as(photo).contiguous()
        made = {"grey": gray, "`colorize`": stage.colorize(gray)}
        for name, tint in (("sepia", SEPIA), ("mean colour", MEAN)):
            made[name] = tinged(
                light, chroma(light, torch.tensor(tint).view(1, 2, 1, 1).expand(-1, -1, *light.shape[-2:]))
            )
        for name, pixels in made.items():
            pixels = rounded(pixels)
            ratio = float(colorfulness(pixels) / colorfulness(photo))
            drift = float((luminance(pixels) - light).abs().max())
            rows[name].append((float(color_error(pixels, photo)), ratio, float(psnr(pixels, photo)), 255 * drift))
        cells.append([as_array(x) for x in (gray, made["`colorize`"], photo)])
    print("| | a*b* error | colourfulness / true (mean, median) | PSNR, dB | largest change of luminance, /255 |")
    print("|---" * 5 + "|")
    for name, numbers in rows.items():
        error, ratio, near, drift = np.array(numbers).T
        full = f"{ratio.mean():.2f}, {np.median(ratio):.2f}"
        print(f"| {name} | {error.mean():.2f} | {full} | {near.mean():.2f} | {drift.max():.2f} |")
    ours, none = (np.array(rows[name])[:, 0] for name in ("`colorize`", "grey"))
    print(f"\n{len(ours)} photos; nearer to the truth than grey: {(ours < none).sum()}")
    if options.sheet:
        two = [left + right for left, right in zip(cells[::2], cells[1::2], strict=False)]
        contact_sheet(two, options.sheet)


if __name__ == "__main__":
    main()
