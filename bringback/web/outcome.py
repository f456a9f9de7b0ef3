"""The result of a photo: its files, and places in it that are mended without restoring all of it again."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bringback.images.photo import Photo
from bringback.ops.areas import Area
from bringback.runtime.files import write_beside
from bringback.stages import FAMILIES
from bringback.stages.record import Face
from bringback.web.copies import PREVIEW, jpeg
from bringback.web.pipelines import Choices, Pipelines
from bringback.web.strokes import Stroke, shared

MARGIN = 32  # pixels at the native scale around a stroke from which it is filled


class Mend(NamedTuple):
    """A place that was mended: rows and columns of the result, `where` in it, and the pixels (n, 3) there before."""

    box: tuple[slice, slice]
    where: tuple[np.ndarray, ...]  # rows and columns
    before: np.ndarray


@dataclass
class Outcome:
    """The result of a photo, with the choices and strokes behind it; the files have the name of the upload.

    `kind` is the result without its pixels, alpha and metadata. `pixels` is a file of numpy's with (H, W, 3) float32:
    what was not mended stays the same to the bit.
    """

    choices: Choices
    strokes: tuple[Stroke, ...]
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
    mends: list[Mend | None] = field(default_factory=list)  # of the last strokes; None where one covers nothing
    changed: bool = False  # since the files were written

    def write(self, photo: Photo) -> None:
        """Write all files; `photo` is the photo as it came, for its metadata and alpha."""
        levels = photo.levels if self.kind.gray == photo.gray else None
        result = replace(photo, pixels=np.load(self.pixels), gray=self.kind.gray, icc=self.kind.icc, levels=levels)
        made = {self.preview: jpeg(result), self.file: result.encode(self.stamp), self.bare: result.encode(strip=True)}
        for path, data in made.items():
            write_beside(path, data)  # a download may be reading it
        self.changed = False

    def follow(self, strokes: tuple[Stroke, ...], pipelines: Pipelines) -> Iterator[tuple[slice, slice]]:
        """Bring the result to these strokes as far as mending can: fill new ones, take back those undone.

        Yields each box that changed. What it cannot follow, `self.strokes` does not have: strokes that erase, and
        strokes undone that were in the restoration itself. The files are left for `write`.
        """
        common = shared(self.strokes, strokes)
        if len(self.strokes) - common > len(self.mends):
            return
        pixels = np.load(self.pixels, mmap_mode="r+")
        while len(self.strokes) > common:
            mend, self.strokes = self.mends.pop(), self.strokes[:-1]
            if mend:
                pixels[mend.box][mend.where] = mend.before
                self.changed = True
                yield mend.box
        for stroke in strokes[common:]:
            if stroke.erases:
                break
            mend = self._mend(stroke, pixels, pipelines)
            self.mends.append(mend)
            self.strokes += (stroke,)
            if mend:
                self.changed = True
                yield mend.box

    def patch(self, box: tuple[slice, slice]) -> bytes:
        """A JPEG of a box of the result, at the scale of the preview."""
        pixels = np.load(self.pixels, mmap_mode="r")
        part = np.array(pixels[box])
        side = max(part.shape[:2]) * min(1.0, PREVIEW / max(pixels.shape[:2]))
        return jpeg(self.kind.with_pixels(part), max(1, round(side)))

    def _mend(self, stroke: Stroke, pixels: np.ndarray, pipelines: Pipelines) -> Mend | None:
        """Fill what a stroke covers, in the pixels (H, W, 3); None if it covers nothing."""
        size = pixels.shape[0], pixels.shape[1]
        box = stroke.box(*size, margin=round(MARGIN * self.scale))
        mask = stroke.draw(box) if pixels[box].size else np.zeros((0, 0), bool)
        if not mask.any():
            return None
        before = np.array(pixels[box])
        family = FAMILIES[pipelines.config.family]
        stages = tuple(name for name in ("fill", "translate") if name in family)
        with pipelines.lock:
            pipeline = pipelines.of(Choices(stages, scale=f"{self.scale:g}"))
            restoration = pipeline.restore(self.kind.with_pixels(before), mask.astype(np.float32))
        share = restoration.damage() if restoration.filled is None else restoration.filled
        weight = share[0, 0].float().cpu().numpy()
        where = np.nonzero(weight)
        kept = before[where]
        pixels[box][where] = kept + weight[where][:, None] * (restoration.result().pixels[where] - kept)
        return Mend(box, where, kept)
