"""Letters: connected strokes of one tone that stand out from their ground, and which of them stand side by side."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np

# A stroke stands out from what an opening leaves, a square wider than it, by so much, and by half of the most nearby.
_SQUARE, _NEARBY, CONTRAST = 11, 9, 0.1
MARKED = 0.3  # share of a letter that is marked, from which on it counts
_LOW, _TALL, _MOST_TALL = 6, 2.6, 0.4  # height of letters in pixels, in strokes, and as a share of the side at most
_WIDE = 8  # pixels of the widest strokes
_PIECE = 0.7  # of its height: what is longer, a word of joined letters, counts as so many letters
_UNEVEN = 0.15  # standard deviation of the luminance in a letter
# Letters side by side: gap and overlap as shares of the height; ratios of heights and strokes; luminance.
_GAP, _BEFORE, _BESIDE, _HEIGHTS, STROKES, TONES = 1.0, -0.5, 0.4, 2.3, 1.7, 0.12
_MOST, LEAST = 1200, 3  # letters that are compared with each other, and that stand together


@dataclass(frozen=True, slots=True)
class Look:
    """The strokes of one polarity at one size, (h, w) each.

    `bright` is luminance or its negative, `above` how far it is above its ground, `ink` uint8, 1 in strokes, and
    `marked` the share that is.
    """

    bright: np.ndarray
    above: np.ndarray
    ink: np.ndarray
    marked: np.ndarray

    @classmethod
    def of(cls, bright: np.ndarray, marked: np.ndarray) -> Self:
        """The light strokes of luminance (h, w), float32 in [0, 1]; `marked` (h, w) in [0, 1] is kept."""
        above = bright - cv2.morphologyEx(bright, cv2.MORPH_OPEN, np.ones((_SQUARE, _SQUARE), np.uint8))
        most = cv2.dilate(above, np.ones((_NEARBY, _NEARBY), np.uint8))
        ink = ((above > most / 2) & (above > CONTRAST)).astype(np.uint8)
        return cls(bright, above, ink, marked)

    @property
    def transposed(self) -> Self:
        """For writing that runs down."""
        return type(self)(*(np.ascontiguousarray(one.T) for one in (self.bright, self.above, self.ink, self.marked)))


@dataclass(frozen=True, slots=True)
class Letters:
    """Boxes (n,) in pixels, the luminance and width of strokes, and the share that is marked."""

    left: np.ndarray
    right: np.ndarray
    top: np.ndarray
    bottom: np.ndarray
    tone: np.ndarray
    stroke: np.ndarray
    marked: np.ndarray

    def __getitem__(self, chosen: np.ndarray) -> Self:
        return type(self)(*(getattr(self, name)[chosen] for name in self.__slots__))


def letters_of(look: Look) -> Letters | None:
    """What may be letters: connected strokes; long ones are cut into pieces. None without any."""
    count, label, boxes, _ = cv2.connectedComponentsWithStats(look.ink, connectivity=8)
    left, _, wide, tall, area = boxes.T.astype(float)
    chosen = (tall >= _LOW) & (tall < _MOST_TALL * look.ink.shape[0]) & (area >= _LOW)
    chosen[0] = False
    if not chosen.any():
        return None
    y, x = np.nonzero(chosen[label])
    own = label[y, x]
    depth = cv2.distanceTransform(look.ink, cv2.DIST_L2, 3)[y, x]
    # the mean distance from the edge is a fourth of the width, and the edge lies half a pixel out
    stroke = np.maximum(4 * np.bincount(own, depth, count) / np.maximum(np.bincount(own, minlength=count), 1) - 1, 1.0)
    pieces = np.where(chosen, np.maximum(1, np.rint(wide / np.maximum(_PIECE * tall, 1))), 0).astype(int)
    first = np.cumsum(pieces) - pieces
    piece = first[own] + np.minimum(((x - left[own]) * pieces[own] / wide[own]).astype(int), pieces[own] - 1)
    total = int(pieces.sum())

    def mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return np.bincount(piece, values * weights, total) / np.maximum(np.bincount(piece, weights, total), 1e-9)

    def extreme(best: np.ufunc, values: np.ndarray, start: int) -> np.ndarray:
        result = np.full(total, start)
        best.at(result, piece, values)
        return result.astype(float)

    bright, inner = look.bright[y, x].astype(float), np.where(depth >= np.minimum(0.4 * stroke[own], 3), 1, 0.02)
    tone = mean(bright, inner)
    uneven = np.sqrt(np.maximum(mean(bright * bright, inner) - tone * tone, 0))
    low, high = extreme(np.minimum, y, 1 << 30), extreme(np.maximum, y, -1) + 1
    ends = extreme(np.minimum, x, 1 << 30), extreme(np.maximum, x, -1) + 1
    width = np.repeat(stroke, pieces)
    every = Letters(*ends, low, high, tone, width, mean(look.marked[y, x] > MARKED, np.ones_like(bright)))
    likely = (high - low >= np.maximum(_LOW, _TALL * width)) & (uneven < _UNEVEN) & (width < _WIDE)
    return every[likely]


def side_by_side(letters: Letters) -> Iterator[Letters]:
    """Letters that stand side by side and are alike, some of them marked."""
    if len(letters.left) > _MOST:
        letters = letters[np.argsort(-letters.marked, kind="stable")[:_MOST]]

    def pairs(best: np.ufunc, values: np.ndarray) -> np.ndarray:
        return best(values[:, None], values)

    height = letters.bottom - letters.top
    gap = pairs(np.maximum, letters.left) - pairs(np.minimum, letters.right)
    beside = pairs(np.minimum, letters.bottom) - pairs(np.maximum, letters.top)
    taller, lower = pairs(np.maximum, height), pairs(np.minimum, height)
    linked = (gap < _GAP * taller) & (gap > _BEFORE * taller) & (beside > _BESIDE * lower)
    linked &= (taller < _HEIGHTS * lower) & (np.abs(pairs(np.subtract, letters.tone)) < TONES)
    linked &= pairs(np.maximum, letters.stroke) < STROKES * pairs(np.minimum, letters.stroke)
    line = before = np.arange(len(height))
    while True:  # the lowest number of a neighbor, and of that one's
        line = np.minimum(np.where(linked, line, len(line)).min(1, initial=len(line)), line)
        line = np.minimum(line, line[line])
        if (line == before).all():
            break
        before = line
    for number in np.unique(line):
        own = line == number
        if np.count_nonzero(own) >= LEAST and (letters.marked[own] > MARKED).any():
            yield letters[own]
