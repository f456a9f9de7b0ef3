"""Strokes of the brush in the browser, and what they do to a damage mask at the photo's size."""

from collections.abc import Iterable, Mapping, Sequence
from math import ceil, isfinite
from typing import Any, NamedTuple, Self

import cv2
import numpy as np

MAX_STROKES, MAX_POINTS = 2000, 200_000  # of one photo, to bound what a visitor can ask for
LONGEST, FULLEST = 1000, 500  # length of all strokes by the photo's height and width, what they cover by its pixels
THICKEST = 32767  # of OpenCV's lines

Box = tuple[slice, slice]  # rows and columns


class Stroke(NamedTuple):
    """One stroke: its `width` and its `points` (x, y) in pixels of the photo; it erases from the mask or adds to it."""

    erases: bool
    width: float
    points: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, given: Mapping[str, Any], height: int, width: int) -> Self:
        """From what a browser sent for a photo of this size; raises ValueError for anything but a stroke."""
        try:
            points = tuple((float(x), float(y)) for x, y in given["points"])
            wide, erases = float(given["width"]), bool(given["erases"])
        except (KeyError, OverflowError, TypeError, ValueError):
            raise ValueError("not a stroke") from None
        reach = 4 * max(height, width)  # a stroke may leave the photo
        if not points or not all(abs(value) <= reach for point in points for value in point):
            raise ValueError("a stroke without points near the photo")
        if not (isfinite(wide) and 0 < wide <= reach):
            raise ValueError(f"a stroke of the width {wide:g}")
        return cls(erases, wide, _thinned(points, max(0.25, wide / 16)))

    @property
    def length(self) -> float:
        """In pixels of the photo."""
        return float(np.hypot(*np.diff(np.array(self.points), axis=0).T).sum()) if len(self.points) > 1 else 0.0

    def box(self, height: int, width: int, margin: int = 0) -> Box:
        """Rows and columns of a photo of this size that the stroke can touch, with a margin; may be empty."""
        xs, ys = zip(*self.points, strict=True)
        reach = ceil(self.width / 2) + 2 + margin
        return _range(ys, reach, height), _range(xs, reach, width)

    def draw(self, box: Box) -> np.ndarray:
        """Which pixels of a box of the photo it covers, (h, w) bool."""
        rows, columns = box
        drawn = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
        points = np.array([*self.points, self.points[-1]])  # a dot has two points, too
        centered = points - (columns.start + 0.5, rows.start + 0.5)  # OpenCV counts from centers of pixels
        sixteenths = np.rint(centered * 16).astype(np.int32)
        thickness = min(max(2 * int(self.width / 2), 1), THICKEST)  # of an even thickness, OpenCV draws a pixel more
        return cv2.polylines(drawn, [sixteenths], False, 1, thickness, shift=4).astype(bool)

    def sent(self) -> dict[str, Any]:
        """As a browser takes it."""
        return {"erases": self.erases, "width": self.width, "points": self.points}


def read(given: Any, height: int, width: int) -> tuple[Stroke, ...]:
    """All strokes that a browser sent for a photo of this size; raises ValueError for too many, or anything else."""
    if not isinstance(given, list) or len(given) > MAX_STROKES:
        raise ValueError(f"no list of at most {MAX_STROKES} strokes")
    strokes = tuple(Stroke.of(one, height, width) for one in given)
    if sum(len(one.points) for one in strokes) > MAX_POINTS:
        raise ValueError(f"more than {MAX_POINTS} points")
    lengths = [one.length for one in strokes]
    covered = sum(long * one.width for long, one in zip(lengths, strokes, strict=True))
    round_ends = sum(len(one.points) * one.width**2 for one in strokes)
    if sum(lengths) > LONGEST * (height + width) or covered + round_ends > FULLEST * height * width:
        raise ValueError("so many strokes that they cover the photo many times: erase, or undo some")
    return strokes


def apply(strokes: Iterable[Stroke], mask: np.ndarray) -> np.ndarray:
    """Draw the strokes into a damage mask (H, W) float32, in their order: 1 where they add, 0 where they erase."""
    height, width = mask.shape
    for stroke in strokes:
        box = stroke.box(height, width)
        if mask[box].size:
            mask[box][stroke.draw(box)] = not stroke.erases
    return mask


def shared(one: Sequence[Stroke], other: Sequence[Stroke]) -> int:
    """How many strokes both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((number for number, (a, b) in pairs if a != b), min(len(one), len(other)))


def _thinned(points: tuple[tuple[float, float], ...], apart: float) -> tuple[tuple[float, float], ...]:
    """The first and the last point, and of those between only what is so many pixels away from the one before."""
    kept = [points[0]]
    for x, y in points[1:-1]:
        if abs(x - kept[-1][0]) + abs(y - kept[-1][1]) >= apart:
            kept.append((x, y))
    return (*kept, points[-1]) if len(points) > 1 else points


def _range(values: Sequence[float], reach: int, size: int) -> slice:
    first = min(size, max(0, int(min(values)) - reach))
    return slice(first, max(first, min(size, ceil(max(values)) + reach)))
