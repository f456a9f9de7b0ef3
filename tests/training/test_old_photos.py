"""Lessons made of real old photos: true damage is filled, what only looks like it is left."""

import io
import runpy
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from bringback.images.photo import Photo
from bringback.images.shards import held_out
from bringback.stages.fill import HoleFiller
from bringback.stages.record import Restoration

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "train" / "old_photos.py"))
TRUE, FALSE = (slice(10, 14), slice(20, 24)), (slice(30, 40), slice(40, 50))


class Detects:
    """A pipeline whose detector marks what is white."""

    def restore(self, photo: Photo, on_stage) -> Restoration:
        restoration = Restoration.start(photo)
        restoration.mask = (restoration.pixels.amin(1, keepdim=True) > 0.9).float()
        on_stage("scratches", restoration)
        return HoleFiller()(restoration)


def old_photo() -> np.ndarray:
    pixels = np.full((60, 64, 3), 0.4, np.float32)
    for place in (TRUE, FALSE):
        pixels[place] = 1
    return pixels


def test_only_marks_in_boxes_are_filled() -> None:
    pixels = old_photo()
    result, others = SCRIPT["mended"](pixels, [TRUE], Detects())
    assert np.abs(result[TRUE] - 0.4).max() < 0.01 and np.array_equal(result[FALSE], pixels[FALSE])
    assert others == 100
    assert SCRIPT["mended"](pixels, [TRUE, FALSE], Detects())[1] == 0
    untouched, others = SCRIPT["mended"](pixels, [], Detects())
    assert np.array_equal(untouched, pixels) and others == 116


def test_photos_held_out_or_left_out_are_no_lessons(tmp_path: Path) -> None:
    numbers = range(100)
    held = next(f"{number}.png" for number in numbers if held_out(f"{number}.png"))
    own, left, plain = [f"{number}.png" for number in numbers if not held_out(f"{number}.png")][:3]
    with tarfile.open(tmp_path / "old.tar", "w") as tar:
        for name in (held, own, left, plain):
            picture = io.BytesIO()
            Image.fromarray((old_photo() * 255).astype(np.uint8)).save(picture, "PNG")
            entry = tarfile.TarInfo(name)
            entry.size = picture.tell()
            picture.seek(0)
            tar.addfile(entry, picture)
    (tmp_path / "boxes.csv").write_text(f"{left}\n{own},20,10,4,4\n")
    boxes = SCRIPT["read_boxes"](tmp_path / "boxes.csv")
    assert boxes[left] == [] and boxes[own] == [(slice(6, 18), slice(16, 28))]
    found = {stem: others for stem, _, others in SCRIPT["lessons"]([tmp_path / "old.tar"], boxes, Detects())}
    assert found == {Path(own).stem: 100, Path(plain).stem: 116}


def test_the_boxes_can_be_read() -> None:
    boxes = SCRIPT["read_boxes"](SCRIPT["BOXES"])
    assert len(boxes) > 100 and sum(not places for places in boxes.values()) == 30
    assert not any(held_out(name) for name in boxes)
    assert all(rows.start >= 0 and columns.start >= 0 for places in boxes.values() for rows, columns in places)
