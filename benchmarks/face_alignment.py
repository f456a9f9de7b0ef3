"""Difference between our face alignment (eye corners, nose base) and the original's (eyes, nose tip, mouth).

python benchmarks/face_alignment.py faces-val-000.tar

The original's landmark model has training data under a noncommercial license and is never loaded here, so nose tip and
mouth corners of eight faces were annotated by hand, in our crops, to about two pixels. The similarity from these and
the eye centers to the original's template is the original's transform relative to ours. Prints its scale and rotation
and how far it moves the template's five points, in pixels of a 256x256 crop.
"""

import argparse
import tarfile
from pathlib import Path

import numpy as np
from skimage import data

from bringback.images.photo import Photo
from bringback.stages.faces.alignment import EYES, similarity
from bringback.stages.faces.detector import FaceFinder

TEMPLATE = np.array([*EYES, (128, 147.5), (104.6, 195.9), (151.4, 195.9)])  # the original's nose tip and mouth
# (nose tip, left and right mouth corner), by suffix of the file name; "" is scikit-image's astronaut
MARKS = {
    "": ((128.6, 152.4), (90.8, 178.9), (166.8, 178.5)),
    "bruce-rauner-28c442.webp": ((127.8, 149.3), (97.8, 199.6), (181.2, 191.4)),
    "daniel-meuser-e80fc6.webp": ((126.7, 151.6), (86.5, 186.7), (175.4, 185.9)),
    "dana-rohrabacher-c3a948.webp": ((127.8, 147.7), (100.5, 197.2), (162.9, 196.4)),
    "matches_011-124e42.webp": ((128.6, 146.6), (103.3, 194.5), (161.0, 194.5)),
    "top_1_049-14c577.webp": ((127.8, 150.5), (92.0, 201.1), (168.7, 201.1)),
    "ma_016-0e0d3f.webp": ((123.9, 152.8), (104.1, 196.4), (159.8, 195.7)),
    "Characteristic_014-1294df.webp": ((127.8, 149.7), (86.9, 198.4), (166.8, 198.4)),
}


def beyond(points: np.ndarray, marks: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Scale, rotation in degrees and point displacements (5,) in pixels of the original's alignment relative to ours.

    `points` are the five of our finder, `marks` (3, 2) nose tip and mouth corners, both in the crop.
    """
    source = np.concatenate([[points[:2].mean(0), points[2:4].mean(0)], marks]) @ (1, 1j)
    target = TEMPLATE @ (1, 1j)
    centered = source - source.mean()
    turn = np.vdot(centered, target) / np.vdot(centered, centered).real
    return (
        abs(turn),
        float(np.degrees(np.angle(turn))),
        abs(turn * target + target.mean() - turn * source.mean() - target),
    )


def pictures(shard: Path) -> dict[str, np.ndarray]:
    found = {"": data.astronaut().astype(np.float32) / 255}
    with tarfile.open(shard) as archive:
        for member in archive:
            for name in MARKS:
                if name and member.name.endswith(name):
                    found[name] = Photo.decode(archive.extractfile(member).read(), name).pixels
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path, help="tar shard of the validation faces")
    finder, rows = FaceFinder(), []
    for name, pixels in pictures(parser.parse_args().faces).items():
        face = max(finder.find(np.ascontiguousarray(pixels)), key=lambda face: face.box[2] - face.box[0])
        points = np.c_[face.points, np.ones(5)] @ similarity(face.points).T
        scale, turn, moves = beyond(points, np.array(MARKS[name]))
        rows.append((scale, turn, moves.mean(), moves.max()))
        print(
            f"{name or 'astronaut':32} scale {scale:.3f}  turn {turn:4.1f}  moves {moves.mean():.1f}, {moves.max():.1f}"
        )
    mean = np.abs(rows).mean(0)
    print(f"{'mean':32} scale {mean[0]:.3f}  turn {mean[1]:4.1f}  moves {mean[2]:.1f}, {mean[3]:.1f}")


if __name__ == "__main__":
    main()
