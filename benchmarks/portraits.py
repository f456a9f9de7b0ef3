"""Whole portraits through the whole pipeline, with and without the stage `faces`.

    python benchmarks/portraits.py faces-val-000.tar --recipe foreign-wear --weights runs/mine --sheet faces.png
    python benchmarks/portraits.py faces-val-000.tar --recipe foreign-wear --times 2

Portrait number k is aged as `bringback evaluate` ages it, by one of our recipes or a foreign program, and restored
without faces; from there the stage `faces` goes on with the shipped weights and with those of each folder. The largest
face of the clean portrait says where to measure. `photo` and `face` are PSNR over the whole portrait and over the
aligned crop; `identity` is the distance of dlib's descriptors to the truth's, `farthest` the largest; `better`: the
share of faces nearer to the truth than without the stage, in PSNR and in identity; `change`: PSNR of the crop to what
came into the stage; `seam`: how much the gradient along the border of the pasted area grows. With `--times` the aged
portrait is restored as a scanner of so many times its resolution gives it (`evaluation.scan`), and compared after
shrinking; the scales that were estimated follow the table, and the crops' PSNR to the truth as the same scanner gives
it.
"""

import argparse
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from faces import seam

from bringback.degradations import OverlayBank
from bringback.degradations.rng import photo_seed
from bringback.errors import PhotoError
from bringback.evaluation import scan
from bringback.evaluation.runner import aged_photo, as_array, contact_sheet, read_photos, rounded
from bringback.images.photo import Photo
from bringback.ops.metrics import psnr
from bringback.pipeline import Pipeline
from bringback.stages.faces.alignment import align, similarity
from bringback.stages.faces.detector import FaceFinder
from bringback.stages.faces.identity import identity_distances
from bringback.stages.faces.stage import FaceRefiner
from bringback.stages.record import Restoration
from bringback.stages.run import finalize, run_stage
from bringback.weights.checkpoints import Checkpoints

AS_IT_CAME, WITHOUT = "as it came", "without faces"
SHEET_ROWS = 12
Measured = dict[str, list[dict[str, float]]]


def crop_of(pixels: torch.Tensor, points: np.ndarray) -> torch.Tensor:
    """The aligned crop (1, 3, 256, 256) of a photo (1, 3, H, W), rounded to 8 bits."""
    crop = align(as_array(rounded(pixels)), similarity(points))
    return torch.from_numpy(crop.transpose(2, 0, 1).copy())[None]


def table(title: str, measured: Measured) -> str:
    """Markdown: one line for each state of the faces, means over them."""
    lines = [
        f"| {title} | photo, dB | face, dB | identity | farthest | better | change, dB | seam |",
        "|---" * 8 + "|",
    ]
    base = measured[WITHOUT]
    for name, rows in measured.items():
        mean = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        farthest = max(row["identity"] for row in rows)
        cells = [f"{mean['photo']:.2f}", f"{mean['face']:.2f}", f"{mean['identity']:.4f}", f"{farthest:.3f}"]
        if name in (AS_IT_CAME, WITHOUT):
            cells += ["", "", ""]
        else:
            wins = (np.mean([row[key] * sign > old[key] * sign for row, old in zip(rows, base, strict=True)])
                    for key, sign in (("face", 1), ("identity", -1)))  # fmt: skip
            cells += [", ".join(f"{share:.0%}" for share in wins), f"{mean['change']:.2f}"]
            seams = [row["seam"] for row in rows if row["seam"] > 0]
            cells += [f"{np.mean(seams):.3f} (largest {max(seams):.3f})" if seams else ""]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


@torch.inference_mode()
def main() -> None:
    """Parse arguments, age, restore, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("portraits", type=Path, help="a tar shard of pictures with faces, not aligned")
    parser.add_argument("--recipe", default="foreign-wear")
    parser.add_argument("--overlays", type=Path, nargs="*", default=[], help="tar shards of damage to lay on")
    parser.add_argument("--weights", type=Path, nargs="*", default=[], help="folders with other checkpoints `faces`")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--times", type=int, default=1, help="the resolution of the scanner, in that of the portraits")
    parser.add_argument("--skip", type=int, default=0, help="portraits to leave out at the beginning")
    parser.add_argument("--every", type=int, default=1, help="take every n-th portrait from there on")
    parser.add_argument("--limit", type=int, default=40, help="the last portrait")
    parser.add_argument("--sheet", type=Path, help="a PNG file for the first faces: came, without, with each, truth")
    arguments = parser.parse_args()

    cv2.setNumThreads(1)
    pipeline = Pipeline.from_pretrained()
    plain = Pipeline([one for one in pipeline.stages if one.name != "faces"], scale=pipeline.scale)
    last = plain.stages[-1].name
    refiners = {"shipped": FaceRefiner.from_checkpoints(Checkpoints(), pipeline.compute)}
    for folder in arguments.weights:
        refiners[folder.name] = FaceRefiner.from_checkpoints(Checkpoints(folder), pipeline.compute)
    bank = OverlayBank.from_shards(arguments.overlays) if arguments.overlays else None
    finder, cells, scales = FaceFinder(), list[list[np.ndarray]](), list[float]()
    measured: Measured = defaultdict(list)
    by_scanner: dict[str, list[float]] = defaultdict(list)
    for index, (_, clean) in enumerate(read_photos(arguments.portraits, arguments.limit)):
        left_out = index < arguments.skip or (index - arguments.skip) % arguments.every
        if left_out or isinstance(clean, PhotoError):
            continue
        sample = aged_photo(clean, arguments.recipe, photo_seed(arguments.seed, index), bank)
        found = finder.find(as_array(sample.truth))
        if not found:
            continue
        aged, truth, points = rounded(sample.aged), sample.truth, found[0].points
        kept: list[Restoration] = []

        def keep(name: str, one: Restoration, into: list[Restoration] = kept) -> None:
            if name == last:
                into.append(replace(one, pixels=one.pixels.clone()))

        seen = scan.scanned(aged, arguments.times, photo_seed(arguments.seed, index)) if arguments.times > 1 else aged
        before = plain.restore(Photo.from_array(as_array(seen)), on_stage=keep).pixels
        scales.append(kept[0].scale)
        pictures = {AS_IT_CAME: seen, WITHOUT: before}
        seams = dict.fromkeys(pictures, 0.0)
        for name, refiner in refiners.items():
            (one,) = run_stage(refiner, [replace(kept[0], pixels=kept[0].pixels.clone(), notes={}, warnings=[])])
            finalize(one)
            pictures[name], seams[name] = one.pixels, 0.0
            for face in one.faces[:1]:
                if face.status.startswith("refined"):
                    seams[name] = seam(as_array(before), as_array(one.pixels), face.points)[0]
        pictures = {name: scan.shrunk(picture, arguments.times) for name, picture in pictures.items()}
        crops = {name: crop_of(picture, points) for name, picture in pictures.items()}
        wanted = crop_of(truth, points)
        if arguments.times > 1:
            seen_truth = scan.truth(truth, arguments.times, photo_seed(arguments.seed, index))
            for name, crop in crops.items():
                by_scanner[name].append(float(psnr(crop, crop_of(seen_truth, points))))
        for name, crop in crops.items():
            measured[name].append(
                {
                    "photo": float(psnr(rounded(pictures[name]), truth)),
                    "face": float(psnr(crop, wanted)),
                    "identity": identity_distances(crop, wanted)[0],
                    "change": float(psnr(crop, crops[WITHOUT])),
                    "seam": seams[name],
                }
            )
        if len(cells) < SHEET_ROWS:
            cells.append([as_array(crop) for crop in (*crops.values(), wanted)])
    print(table(f"{len(measured[WITHOUT])} portraits, {arguments.recipe}, {arguments.times}x", measured))
    print("scales found: " + " ".join(f"{scale:.3g}" for scale in scales))
    if by_scanner:
        print("to the scanner's truth: " + ", ".join(f"{name} {np.mean(far):.2f}" for name, far in by_scanner.items()))
    if arguments.sheet:
        contact_sheet(cells, arguments.sheet)


if __name__ == "__main__":
    main()
