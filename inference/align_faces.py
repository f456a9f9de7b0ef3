"""Cut the largest face of each picture to the 256x256 template: the training pictures of the face network.

python inference/align_faces.py faces-train-000.tar faces-train-001.tar -o aligned.tar
"""

import argparse
import io
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from bringback.alignment import EYE_DISTANCE, align, scale, similarity
from bringback.face_finder import FaceFinder

PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"}


def pictures(inputs: list[Path]) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of every picture in folders and tar shards, in order."""
    for path in inputs:
        if path.is_dir():
            for file in sorted(path.rglob("*")):
                if file.suffix.lower() in PICTURES:
                    yield file.relative_to(path).as_posix(), file.read_bytes()
        else:
            with tarfile.open(path) as shard:
                for member in shard:
                    stream = shard.extractfile(member)
                    if stream is not None and Path(member.name).suffix.lower() in PICTURES:
                        yield member.name, stream.read()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", nargs="+", type=Path, help="folders and tar shards of pictures")
    parser.add_argument("-o", "--output", required=True, type=Path, help="the tar shard to write")
    parser.add_argument("--quality", type=int, default=95, help="WebP quality (default 95)")
    parser.add_argument(
        "--least", type=float, default=40, help="eye distance in pixels below which a face is too small to teach (40)"
    )
    arguments = parser.parse_args()

    cv2.setNumThreads(1)
    finder = FaceFinder()
    total = kept = small = faceless = 0
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(arguments.output, "w") as shard:
        for name, data in pictures(arguments.inputs):
            total += 1
            try:
                image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
            except OSError:
                print(f"{name}: left out, not a readable picture", file=sys.stderr)
                continue
            pixels = np.asarray(image, dtype=np.float32) / 255
            found = finder.find(pixels)
            if not found:
                faceless += 1
                continue
            matrix = similarity(found[0].points)
            if EYE_DISTANCE / scale(matrix) < arguments.least:
                small += 1
                continue
            crop = align(pixels, matrix)
            stream = io.BytesIO()
            Image.fromarray((crop * 255).round().astype(np.uint8)).save(stream, "WEBP", quality=arguments.quality)
            member = tarfile.TarInfo(Path(name).with_suffix(".webp").as_posix())
            member.size = stream.tell()
            stream.seek(0)
            shard.addfile(member, stream)
            kept += 1
    print(f"{kept} faces from {total} pictures, {faceless} without a face, {small} too small")


if __name__ == "__main__":
    main()
