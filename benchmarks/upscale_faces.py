"""What `--upscale` makes of faces: portraits that were shrunk by area and worn a little, restored, then enlarged.

    python benchmarks/upscale_faces.py faces-val-000.tar [--factor 2] [--shrink 1] [--recipe slightly-worn]
        [--backbone FILE] [--limit N] [--sheet FACES.png]

`--shrink` makes the portraits smaller first, truth and all: faces of the size of groups'.
Each is restored by the default stages, with and without `faces`, and enlarged by bicubic and by the stage `upscale`;
`photo's detail only`: without what the refined crops have that is finer than the small photo. Measured in the boxes of
the faces that were refined. Prints a Markdown table of PSNR, SSIM and perceptual distance to the portrait.
"""

import argparse
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.degradations.rng import photo_seed
from bringback.errors import PhotoError
from bringback.evaluation.runner import aged_photo, as_array, compare, contact_sheet, read_photos, rounded
from bringback.images.photo import Photo
from bringback.ops.color import grayed
from bringback.pipeline import Pipeline
from bringback.stages.record import Restoration
from bringback.stages.upscale import Upscaler
from bringback.weights.backbones import load_distance
from bringback.weights.checkpoints import Checkpoints

SHEET_ROWS = 12


def bicubic(pixels: Tensor, factor: int) -> Tensor:
    """Enlarged by OpenCV's bicubic."""
    large = cv2.resize(as_array(pixels), None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    return torch.from_numpy(large.clip(0, 1)).permute(2, 0, 1)[None]


def enlarged(stage: Upscaler, one: Restoration, *, finer: bool) -> Tensor:
    """The restoration's pixels enlarged by the stage, with the detail of refined faces or without; a copy."""
    faces = [replace(face, light=face.light if finer else None) for face in one.faces]
    return stage(replace(one, faces=faces, notes={}, warnings=[])).pixels


@torch.inference_mode()
def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("portraits", type=Path, help="a tar shard of pictures with faces, not aligned")
    parser.add_argument("--factor", type=int, default=2)
    parser.add_argument("--shrink", type=int, default=1, help="how many times to shrink the portraits before all else")
    parser.add_argument("--recipe", default="slightly-worn", help="one of ours or a foreign program; `clean` for none")
    parser.add_argument("--backbone", help="as in `bringback evaluate`: adds the perceptual distance")
    parser.add_argument("--limit", type=int)
    parser.add_argument(
        "--sheet", type=Path, help="a PNG file of the first faces: the ways of the table, then the truth"
    )
    options = parser.parse_args()
    cv2.setNumThreads(1)
    pipeline = Pipeline.from_pretrained()
    stage = Upscaler.from_checkpoints(Checkpoints(), pipeline.compute, factor=options.factor)
    distance = load_distance(options.backbone) if options.backbone else None
    rows: dict[str, list[list[float]]] = defaultdict(list)
    cells, widths = list[list[np.ndarray]](), list[float]()
    for index, (_, photo) in enumerate(read_photos(options.portraits, options.limit)):
        if isinstance(photo, PhotoError):
            continue
        whole = options.factor * options.shrink
        height, width = (side // whole * whole for side in photo.shape[-2:])
        photo = F.avg_pool2d(photo[..., :height, :width], options.shrink)
        small = rounded(F.avg_pool2d(photo, options.factor))
        worn = aged_photo(small, options.recipe, photo_seed(0, index))
        truth, before = grayed(photo, worn.gray), list[Tensor]()

        def keep(name: str, one: Restoration, into: list[Tensor] = before) -> None:
            if name == "translate":
                into.append(one.pixels.clone())

        aged = Photo.from_array(as_array(rounded(grayed(worn.aged, worn.gray))))
        one = pipeline.restore(aged, on_stage=keep)
        made = {
            "without faces, bicubic": bicubic(before[0], options.factor),
            "bicubic": bicubic(one.pixels, options.factor),
            "--upscale, photo's detail only": enlarged(stage, one, finer=False),
            "--upscale": enlarged(stage, one, finer=True),
        }
        for face in one.faces:
            if face.light is None:
                continue
            box = replace(face, box=tuple(side * options.factor for side in face.box)).place()
            widths.append(face.box[2] - face.box[0])
            for name, pixels in made.items():
                like = compare(rounded(pixels)[..., *box], truth[..., *box], bool(worn.gray.all()), distance)
                rows[name].append([value or 0.0 for value in like])
            cells.append([as_array(pixels[..., *box]) for pixels in (*made.values(), truth)])
    print(
        f"{len(widths)} faces, {np.mean(widths):.0f} pixels wide when small ({min(widths):.0f} to {max(widths):.0f})\n"
    )
    print("| faces | PSNR, dB | SSIM | perceptual distance | nearer than by bicubic |\n|---|---|---|---|---|")
    plain = np.array(rows["bicubic"])
    for name, values in rows.items():
        decibel, like, apart = np.mean(values, 0)
        better = (np.array(values) - plain)[:, 0] > 0
        print(f"| {name} | {decibel:.2f} | {like:.4f} | {apart:.3f} | {better.mean():.0%} |")
    if options.sheet:
        contact_sheet(cells[:SHEET_ROWS], options.sheet)


if __name__ == "__main__":
    main()
