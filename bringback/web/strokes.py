"""Strokes of the brush in the browser, and what they do to a damage mask at the photo's size."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from math import ceil, isfinite
from typing import Any, NamedTuple, Self

import numpy as np

MAX_STROKES, MAX_POINTS = 2000, 200_000  # of one photo, to bound what a visitor can ask for


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
        except (KeyError, TypeError, ValueError):
            raise ValueError("not a stroke") from None
        reach = 4 * max(height, width)  # a stroke may leave the photo
        if not points or not all(abs(value) <= reach for point in points for value in point):
            raise ValueError("a stroke without points near the photo")
        if not (isfinite(wide) and 0 < wide <= reach):
            raise ValueError(f"a stroke of the width {wide:g}")
        return cls(erases, wide, points)

    def box(self, height: int, width: int, margin: int = 0) -> tuple[slice, slice]:
        """Rows and columns of a photo of this size that the stroke can touch, with a margin; may be empty."""
        xs, ys = zip(*self.points, strict=True)
        reach = ceil(self.width / 2) + 1 + margin
        return _range(ys, reach, height), _range(xs, reach, width)

    def draw(self, box: tuple[slice, slice]) -> np.ndarray:
        """Which pixels of a box of the photo it covers, (h, w) bool."""
        rows, columns = box
        drawn = np.zeros((rows.stop - rows.start, columns.stop - columns.start), bool)
        points = np.array(self.points) - (columns.start, rows.start)
        radius = max(self.width / 2, 0.71)  # at least one pixel, wherever its center
        for begin, end in pairwise(points if len(points) > 1 else [points[0], points[0]]):
            low, high = np.minimum(begin, end) - radius, np.maximum(begin, end) + radius + 1
            (x0, y0), (x1, y1) = np.maximum(low, 0).astype(int), np.maximum(high, 0).astype(int)
            near = drawn[y0:y1, x0:x1]
            y, x = np.ogrid[y0 : y0 + near.shape[0], x0 : x0 + near.shape[1]]
            near |= _squared_distance(x + 0.5, y + 0.5, begin, end) <= radius**2
        return drawn

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


def _squared_distance(x: np.ndarray, y: np.ndarray, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Of points (1, w) and (h, 1) from a segment, (h, w)."""
    along = end - begin
    share = np.clip(((x - begin[0]) * along[0] + (y - begin[1]) * along[1]) / max(along @ along, 1e-9), 0, 1)
    return (x - begin[0] - share * along[0]) ** 2 + (y - begin[1] - share * along[1]) ** 2


def _range(values: Sequence[float], reach: int, size: int) -> slice:
    first = min(size, max(0, int(min(values)) - reach))
    return slice(first, max(first, min(size, ceil(max(values)) + reach)))
