"""Recall and false positives of the face detector.

python benchmarks/find_faces.py --portraits faces-val-000.tar --old-photos old-train-*.tar --nobody photos-*.tar

Recall: the share of the portraits, and of a hundred old ones, in which a face is found; profiles, which dlib's detector
does not target, count as missed. Old portraits come from the sources with portraits only: first those held out from all
training, then others in order of the checksum of their name (no face network is trained on old photos). False
positives: in the hundred photos listed in benchmarks/no_people.txt, which were checked by hand to show nobody.
"""

import argparse
import sys
import time
import zlib
from pathlib import Path

import cv2

from bringback.images.photo import Photo
from bringback.images.shards import held_out, read_shards
from bringback.stages.faces.detector import FaceFinder

NO_PEOPLE = Path(__file__).with_name("no_people.txt")
PORTRAITS = ("kensanata", "voteview")  # name prefixes of old portraits
COUNT = 100

Pictures = list[tuple[str, bytes]]


def held_out_first(pictures: Pictures, count: int) -> Pictures:
    """Up to `count` old portraits, those held out from training first."""
    portraits = [picture for picture in pictures if picture[0].startswith(PORTRAITS)]
    return sorted(portraits, key=lambda picture: (not held_out(picture[0]), zlib.crc32(picture[0].encode())))[:count]


def report(title: str, pictures: Pictures, finder: FaceFinder, *, expected: bool) -> str:
    """One summary line, then the names of failures."""
    begin, wrong, total = time.perf_counter(), [], 0
    for name, data in pictures:
        found = len(finder.find(Photo.decode(data, name).pixels))
        total += found
        if (found > 0) != expected:
            wrong.append(name)
    each = 1000 * (time.perf_counter() - begin) / max(len(pictures), 1)
    share = f"a face in {1 - len(wrong) / max(len(pictures), 1):.1%}" if expected else f"{total} false faces"
    return "\n".join([f"{title}: {len(pictures)} photos, {share}, {each:.0f} ms a photo", *(f"  {n}" for n in wrong)])


def main() -> int:
    """Parse arguments, detect faces, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--portraits", type=Path, nargs="*", default=[], help="tar shards, a face in every picture")
    parser.add_argument("--old-photos", type=Path, nargs="*", default=[], help="tar shards of real old photos")
    parser.add_argument(
        "--nobody", type=Path, nargs="*", default=[], help="tar shards that hold the people-free photos"
    )
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    finder = FaceFinder()

    def read(shards: list[Path]) -> Pictures:
        return [picture for shard in shards for picture in read_shards(shard)]

    names = set(NO_PEOPLE.read_text(encoding="utf-8").split())
    old = held_out_first(read(arguments.old_photos), COUNT)
    nobody = [picture for picture in read(arguments.nobody) if picture[0] in names]
    for title, pictures, expected in (
        ("portraits", read(arguments.portraits), True),
        ("old portraits", old, True),
        ("nobody there", nobody, False),
    ):
        if pictures:
            print(report(title, pictures, finder, expected=expected))
    return 0


if __name__ == "__main__":
    sys.exit(main())
