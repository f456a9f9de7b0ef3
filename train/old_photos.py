"""Make lessons of real old photos for `scratches`: their damage is filled, what only looks like damage is left.

python train/old_photos.py old-train-*.tar -o old-lessons

A detector that has seen nothing but modern photos takes much in old ones for damage: seams, collars, hair, poles. Of
what the shipped one marks, only what an eye has seen to be damage is filled. `old_photos.csv` has a box (x, y, width
and height in pixels) for each such mark, and photos without a box that are left out, as much of their damage is not
found. Photos held out for judging are not used. Writes PNG files: each photo into `all`, and those in which something
was mistaken into `mistaken`, too, so that they can be drawn more often. A few minutes on a CPU.
"""

import argparse
import csv
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePath

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bringback.images.photo import Photo
from bringback.images.shards import held_out, read_shards
from bringback.ops.masks import SOUND
from bringback.pipeline import Pipeline
from bringback.stages.record import Restoration

BOXES = Path(__file__).with_suffix(".csv")
MARGIN = 4  # pixels around a mark that are filled with it: its rim
MISTAKEN = 30  # marked pixels outside all boxes, from which on a photo teaches something

Boxes = dict[str, list[tuple[slice, slice]]]  # rows and columns, by the name of the photo; no box: it is left out


def read_boxes(file: Path) -> Boxes:
    """The places of true damage in photos that are marked or left out."""
    boxes: Boxes = defaultdict(list)
    with file.open(encoding="utf-8", newline="") as lines:
        for name, *numbers in csv.reader(lines):
            places = boxes[name]
            if numbers:
                x, y, width, height = map(int, numbers)
                near = max(y - MARGIN, 0), max(x - MARGIN, 0)
                places.append((slice(near[0], y + height + MARGIN), slice(near[1], x + width + MARGIN)))
    return boxes


def mended(pixels: np.ndarray, places: list[tuple[slice, slice]], pipeline: Pipeline) -> tuple[np.ndarray, int]:
    """A photo (H, W, 3) in [0, 1] with the damage in those places filled, and how many other pixels are marked."""
    others = 0

    def believe(name: str, restoration: Restoration) -> None:
        nonlocal others
        if name == "scratches":
            marks, true = restoration.damage(), torch.zeros_like(restoration.damage())
            for rows, columns in places:
                true[..., rows, columns] = 1
            others = int(torch.count_nonzero((marks > SOUND) & (true == 0)))
            restoration.mask = marks * true

    result: Tensor = pipeline.restore(Photo.from_array(pixels), on_stage=believe).pixels
    return result[0].permute(1, 2, 0).numpy(), others


def lessons(shards: list[Path], boxes: Boxes, pipeline: Pipeline) -> Iterator[tuple[str, np.ndarray, int]]:
    """Stem, mended photo and number of mistaken pixels of each photo that is neither held out nor left out."""
    for shard in shards:
        for name, data in read_shards(shard):
            places = boxes.get(PurePath(name).name)
            if not held_out(name) and places != []:
                yield PurePath(name).stem, *mended(Photo.decode(data, name).pixels, places or [], pipeline)


def main() -> None:
    """Parse arguments, mend, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", type=Path, nargs="+", help="tar shards of real old photos")
    parser.add_argument("-o", "--out", type=Path, required=True, help="a folder for the lessons")
    parser.add_argument("--boxes", type=Path, default=BOXES, help="where the damage is that an eye has seen")
    parser.add_argument("--weights", type=Path, help="checkpoints to lay over the shipped ones")
    arguments = parser.parse_args()
    pipeline = Pipeline.from_pretrained(arguments.weights, stages=("scratches", "fill"))
    folders = [arguments.out / "all", arguments.out / "mistaken"]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    count = mistaken = 0
    for stem, pixels, others in lessons(arguments.shards, read_boxes(arguments.boxes), pipeline):
        picture = Image.fromarray(np.rint(pixels * 255).astype(np.uint8))
        for folder in folders if others >= MISTAKEN else folders[:1]:
            picture.save(folder / f"{stem}.png")
        count, mistaken = count + 1, mistaken + (others >= MISTAKEN)
    print(f"{count} photos, something mistaken in {mistaken} of them -> {arguments.out}")


if __name__ == "__main__":
    main()
