"""Crop the largest face of each picture to the 256x256 template, as training data of the face network.

python inference/align_faces.py faces-train-000.tar faces-train-001.tar -o aligned.tar
"""

import argparse
import io
import sys
import tarfile
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from bringback.errors import PhotoError
from bringback.images.photo import Photo
from bringback.images.shards import read_shards
from bringback.stages.faces.alignment import EYE_DISTANCE, align, scale, similarity
from bringback.stages.faces.detector import FaceFinder


def crop_faces(inputs: list[Path], shard: tarfile.TarFile, quality: int, least: float) -> Counter[str]:
    """Write the crops into the shard; returns the numbers of pictures: total, kept, faceless and small."""
    finder = FaceFinder()
    counts: Counter[str] = Counter()
    for name, data in (picture for place in inputs for picture in read_shards(place)):
        counts["total"] += 1
        try:
            pixels = Photo.decode(data, name).pixels
        except PhotoError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        found = finder.find(pixels)
        matrix = similarity(found[0].points) if found else None
        if matrix is None:
            counts["faceless"] += 1
        elif EYE_DISTANCE / scale(matrix) < least:
            counts["small"] += 1
        else:
            stream = io.BytesIO()
            crop = (align(pixels, matrix) * 255).round().astype(np.uint8)
            Image.fromarray(crop).save(stream, "WEBP", quality=quality)
            member = tarfile.TarInfo(Path(name).with_suffix(".webp").as_posix())
            member.size = stream.tell()
            stream.seek(0)
            shard.addfile(member, stream)
            counts["kept"] += 1
    return counts


def main() -> int:
    """Read the arguments, write the shard completely or not at all, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", nargs="+", type=Path, help="folders and tar shards of pictures")
    parser.add_argument("-o", "--output", required=True, type=Path, help="the tar shard to write")
    parser.add_argument("--quality", type=int, default=95, help="WebP quality (default 95)")
    parser.add_argument(
        "--least",
        type=float,
        default=40,
        help="eye distance in pixels below which a face is too small for training (40)",
    )
    arguments = parser.parse_args()

    cv2.setNumThreads(1)
    output: Path = arguments.output
    partial = output.with_name(f"{output.name}.part")
    try:
        if output.resolve() in [path.resolve() for path in arguments.inputs]:
            raise ValueError(f"{output} is an input itself: choose another output")
        output.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(partial, "w") as shard:
            counts = crop_faces(arguments.inputs, shard, arguments.quality, arguments.least)
        partial.replace(output)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        print(f"align_faces: {error}", file=sys.stderr)
        return 2
    finally:
        if partial.is_file():
            partial.unlink()
    print(
        f"{counts['kept']} faces from {counts['total']} pictures, {counts['faceless']} without a face, "
        f"{counts['small']} too small"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
