"""The result of a photo: its files, and places in it that are mended without restoring all of it again."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bringback.images.photo import Photo
from bringback.ops.areas import Area
from bringback.runtime.files import write_beside
from bringback.stages import FAMILIES
from bringback.stages.record import Face
from bringback.web.areas import Areas
from bringback.web.copies import PREVIEW, jpeg
from bringback.web.pipelines import Choices, Pipelines
from bringback.web.strokes import Box, Stroke, shared

# Pixels at the native scale: around a place from which it is filled; sides of the pieces in which long strokes are
MARGIN, PIECE = 32, 192


class Mend(NamedTuple):
    """A place that was mended: rows and columns of the result, `where` in it, and the pixels (n, 3) there before."""

    box: Box
    where: tuple[np.ndarray, ...]  # rows and columns
    before: np.ndarray


@dataclass
class Outcome:
    """The result of a photo, with the choices, strokes and areas behind it; the files have the name of the upload.

    All is of the photo's own size; `enlarge` is what makes the files larger, as the choices say.

    `kind` is the result without its pixels, alpha and metadata. `pixels` is a file of numpy's with (H, W, 3) float32:
    what was not mended stays the same to the bit.
    """

    choices: Choices
    strokes: tuple[Stroke, ...]
    by_hand: Areas
    notes: Mapping[str, Mapping[str, Any]]
    warnings: list[str]
    kind: Photo
    scale: float
    areas: tuple[Area, ...]
    stamp: Mapping[str, str]  # provenance for the file
    faces: list[Face]
    crops: list[tuple[bytes, bytes]]  # of each face, before and after: small JPEGs
    pixels: Path
    preview: Path
    file: Path
    bare: Path  # without EXIF, XMP, IPTC and texts
    enlarge: Callable[[Photo], Photo] | None = None
    mends: list[list[Mend]] = field(default_factory=list)  # of the last strokes, [] of one that covers nothing
    changed: bool = False  # since the files were written

    def write(self, photo: Photo) -> None:
        """Write all files; `photo` is the photo as it came, for its metadata and alpha."""
        levels = photo.levels if self.kind.gray == photo.gray else None
        result = replace(photo, pixels=np.load(self.pixels), gray=self.kind.gray, icc=self.kind.icc, levels=levels)
        made = {self.preview: jpeg(result)}
        if self.enlarge:
            result = self.enlarge(result)
        made |= {self.file: result.encode(self.stamp), self.bare: result.encode(strip=True)}
        for path, data in made.items():
            write_beside(path, data)  # a download may be reading it
        self.changed = False

    def follow(self, strokes: tuple[Stroke, ...], pipelines: Pipelines) -> Iterator[Box]:
        """Bring the result to these strokes as far as mending can: fill new ones, take back those undone.

        Yields each box that changed. What it cannot follow, `self.strokes` does not have: strokes that erase, and
        strokes undone that were in the restoration itself. The files are left for `write`.
        """
        common = shared(self.strokes, strokes)
        if len(self.strokes) - common > len(self.mends):
            return
        pixels = np.load(self.pixels, mmap_mode="r+")
        while len(self.strokes) > common:
            yield from self._undo(pixels)
        for stroke in strokes[common:]:
            if stroke.erases:
                break
            self.strokes += (stroke,)
            self.mends.append([])
            try:
                for mend in self._mended(stroke, pixels, pipelines):
                    self.mends[-1].append(mend)
                    self.changed = True
                    yield mend.box
            except Exception:  # half a stroke is none
                list(self._undo(pixels))
                raise

    def patch(self, box: tuple[slice, slice]) -> bytes:
        """A JPEG of a box of the result, at the scale of the preview."""
        pixels = np.load(self.pixels, mmap_mode="r")
        part = np.array(pixels[box])
        side = max(part.shape[:2]) * min(1.0, PREVIEW / max(pixels.shape[:2]))
        return jpeg(self.kind.with_pixels(part), max(1, round(side)))

    def _undo(self, pixels: np.ndarray) -> Iterator[Box]:
        """Take the last stroke back; yields the boxes that changed."""
        mends, self.strokes = self.mends.pop(), self.strokes[:-1]
        for mend in reversed(mends):
            pixels[mend.box][mend.where] = mend.before
            self.changed = True
            yield mend.box

    def _mended(self, stroke: Stroke, pixels: np.ndarray, pipelines: Pipelines) -> Iterator[Mend]:
        """Fill what a stroke covers in the pixels (H, W, 3), piece by piece; pieces that are done count as sound."""
        size = pixels.shape[0], pixels.shape[1]
        margin = round(MARGIN * self.scale)
        rows, columns = box = stroke.box(*size, margin=margin)
        if not pixels[box].size:
            return
        left = stroke.draw(box)
        for cell, part in _pieces(left, round(PIECE * self.scale), margin):
            inside = np.zeros_like(left[part])
            inside[_within(cell, part)] = True
            place = _moved(part[0], rows.start), _moved(part[1], columns.start)
            before = np.array(pixels[place])
            filled, weight = self._filled(before, left[part], pipelines)
            where = np.nonzero(weight * inside)
            kept = before[where]
            pixels[place][where] = kept + weight[where][:, None] * (filled[where] - kept)
            left[cell] = False
            yield Mend(place, where, kept)

    def _filled(self, pixels: np.ndarray, mask: np.ndarray, pipelines: Pipelines) -> tuple[np.ndarray, np.ndarray]:
        """A part (h, w, 3) of the result with the mask filled, and the share (h, w) to which each pixel was."""
        stages = tuple(name for name in ("fill", "translate") if name in FAMILIES[pipelines.config.family])
        with pipelines.lock:
            pipeline = pipelines.of(Choices(stages, scale=f"{self.scale:g}"))
            restoration = pipeline.restore(self.kind.with_pixels(pixels), mask.astype(np.float32), areas=())
        share = restoration.damage() if restoration.filled is None else restoration.filled
        return restoration.result().pixels, share[0, 0].float().cpu().numpy()


def _pieces(mask: np.ndarray, side: int, margin: int) -> Iterator[tuple[Box, Box]]:
    """Cells of about this side that hold some of a mask (h, w), and what is to be seen for each: that and a margin."""
    tall, wide = mask.shape
    for top, bottom in _cut(tall, side):
        for left, right in _cut(wide, side):
            found = np.nonzero(mask[top:bottom, left:right])
            if len(found[0]):
                (y, x), (last_y, last_x) = np.min(found, 1).tolist(), np.max(found, 1).tolist()
                rows = slice(max(0, top + y - margin), min(tall, top + last_y + 1 + margin))
                columns = slice(max(0, left + x - margin), min(wide, left + last_x + 1 + margin))
                yield (slice(top, bottom), slice(left, right)), (rows, columns)


def _cut(length: int, side: int) -> list[tuple[int, int]]:
    """A length in equal parts of about this side."""
    ends = np.linspace(0, length, max(1, round(length / side)) + 1).round().astype(int).tolist()
    return list(pairwise(ends))


def _within(cell: Box, part: Box) -> Box:
    """What of a cell is in a part, in the part's own rows and columns."""
    rows, columns = (
        slice(max(0, one.start - other.start), max(0, min(one.stop, other.stop) - other.start))
        for one, other in zip(cell, part, strict=True)
    )
    return rows, columns


def _moved(one: slice, by: int) -> slice:
    return slice(one.start + by, one.stop + by)
