"""Writing and type on a photo: strokes of one tone and one width that stand in lines. Damage does not."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Self

import cv2
import numpy as np
import torch
from torch import Tensor

from bringback.ops.letters import CONTRAST, LEAST, MARKED, STROKES, TONES, Letters, Look, letters_of, side_by_side
from bringback.ops.masks import lower_where_, marked_at, opened
from bringback.ops.views import View

_SEEN = 1 << 20  # pixels at which writing is looked for; larger photos are averaged first
_HALVED = 3  # looks, each at half the size of the one before: strokes of 1 to about 30 pixels
_SMALLEST = 60  # pixels of the shorter side of the last look
_STEEPEST = 0.36  # slope of a line
_ON_LINE = 0.12  # of the height, a pixel or more: how far letters end from their line
# How much speaks for a line of writing, see `_evidence`: a logistic regression on 313 lines of type and handwriting
# drawn on training photos, against 1,232 groups of damage in 92 others. Of the latter five are taken for writing.
_WEIGHTS = np.array([2.6, 1.9, -4.6, -61.4, -2.0, -1.0, -4.7, -3.0, 2.2])
_SURE = 3.8
_PER_HEIGHT = 1.6  # strokes that a line crosses in writing, on the length of its height
# A line goes on over gaps of so many heights, with letters of its tone and stroke which fill so much of its height.
_SPACE, _FILLED = 3.0, 0.5
_BEYOND, _UP, _DOWN = 1.2, 0.9, 0.7  # of the height: how far a line reaches beyond its letters
_ALIKE = 0.15  # luminance up to which something in a line is of its ink
_IS_INK = 0.3  # share of what is marked in a line that is ink, else it is damage across it
_READ = 0.2  # share of the letters of a line that are marked, below which marks there are not those of its letters


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of writing from `start` to `end`: at x its foot is at slope * x + foot; what else it has are medians."""

    start: int
    end: int
    slope: float
    foot: float
    height: float
    tone: float
    stroke: float

    def taken(self, letters: Letters) -> np.ndarray:
        """Which letters (n,) may be of this line: alike, and filling most of its height."""
        foot = self.slope * (letters.left + letters.right) / 2 + self.foot
        top = foot - self.height
        filled = np.minimum(letters.bottom, foot) - np.maximum(letters.top, top)
        like = (np.abs(letters.tone - self.tone) < TONES) & (filled > _FILLED * self.height)
        like &= (letters.bottom < foot + self.height) & (letters.top > top - 1.2 * self.height)
        return like & (np.maximum(letters.stroke, self.stroke) < STROKES * np.minimum(letters.stroke, self.stroke))

    def longer(self, letters: Letters) -> tuple[Self, Letters]:
        """With what other letters continue it on both sides, and all of them."""
        like, start, end, space = self.taken(letters), float(self.start), float(self.end), _SPACE * self.height
        while True:
            near = like & (letters.left < end + space) & (letters.right > start - space)
            wider = letters.left[near].min(initial=start), letters.right[near].max(initial=end)
            if wider == (start, end):
                return replace(self, start=int(start), end=int(end)), letters[near]
            start, end = wider

    def row(self, look: Look, share: float, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns at a share of the height; outside the picture they are those of its edge."""
        x = np.arange(max(start, 0), min(end, look.ink.shape[1]))
        y = np.rint(self.slope * x + self.foot - share * self.height).astype(int)
        return y, x

    def ink(self, look: Look, share: float) -> np.ndarray:
        """Where there is ink at a share of the height: (end - start,) bool. Nobody knows what is beyond the picture."""
        y, x = self.row(look, share, self.start, self.end)
        inside = (y >= 0) & (y < look.ink.shape[0])
        y = y.clip(0, look.ink.shape[0] - 1)
        return ~inside | ((look.ink[y, x] > 0) & (np.abs(look.bright[y, x] - self.tone) < _ALIKE))

    def place(self, look: Look) -> np.ndarray:
        """Where its writing may be: (h, w) uint8."""
        beyond = round(_BEYOND * self.height)
        y, x = self.row(look, 0, self.start - beyond, self.end + beyond)
        outline = [(x, y + _DOWN * self.height), (x[::-1], (y - (1 + _UP) * self.height)[::-1])]
        points = np.concatenate([np.stack(side, 1) for side in outline])
        return cv2.fillPoly(np.zeros(look.ink.shape, np.uint8), [np.rint(points).astype(np.int32)], 1)


def _fitted(letters: Letters) -> _Line | None:
    """The line on which letters stand (Theil and Sen); None if it is steep."""
    x, foot = (letters.left + letters.right) / 2, letters.bottom
    one, other = np.triu_indices(len(x), 1)
    apart = np.abs(x[one] - x[other]) > 1
    if not apart.any():
        return None
    slope = float(np.median(((foot[one] - foot[other])[apart]) / (x[one] - x[other])[apart]))
    at = float(np.median(foot - slope * x))
    height = max(at - float(np.median(letters.top - slope * x)), 3.0)
    ends = int(letters.left.min()), int(letters.right.max())
    line = _Line(*ends, slope, at, height, float(np.median(letters.tone)), float(np.median(letters.stroke)))
    return None if abs(slope) > _STEEPEST else line


def _evidence(look: Look, letters: Letters, line: _Line) -> float:
    """Log odds that this is writing.

    Letters end on a line, which crosses many strokes, at regular distances and neither close nor far for its height; it
    is about level, and of one tone, and there is none of it right above and below; the letters are not much taller than
    their strokes are wide.
    """
    middle = [line.ink(look, share) for share in (0.25, 0.5, 0.75)]
    crossed = float(np.median([np.count_nonzero(np.diff(row.astype(int)) == 1) for row in middle]))
    inside = max(float(np.mean([row.mean() for row in middle])), 0.02)
    around = [np.mean([line.ink(look, share).mean() for share in rows]) for rows in ((-0.45, -0.3), (1.45, 1.75))]
    apart = np.diff(np.flatnonzero(np.diff(middle[1].astype(int)) == 1))
    tall = float(np.median(letters.bottom - letters.top))
    off = letters.bottom - line.slope * (letters.left + letters.right) / 2 - line.foot
    per_height = (crossed + 0.05) * line.height / (line.end - line.start)
    numbers = [
        (np.abs(off) <= max(_ON_LINE * tall, 1)).mean(),
        math.log(crossed + 1),
        sum(min(one / inside, 1) for one in around),
        letters.tone.std(),
        min(apart.std() / apart.mean(), 1.5) if len(apart) else 0.0,
        math.log(tall / float(np.median(letters.stroke))),
        abs(line.slope),
        abs(math.log(per_height / _PER_HEIGHT)),
        math.log(len(letters.left)),
    ]
    return float(_WEIGHTS @ numbers - _SURE)


def _written(look: Look, known: Iterable[_Line] = ()) -> Iterator[_Line]:
    """The lines of writing that are marked, in part, and what is `known` of them, which may be longer here."""
    if not (look.marked[look.ink > 0] > MARKED).any() or (letters := letters_of(look)) is None:
        return
    for line in known:
        yield line.longer(letters)[0]
    for group in side_by_side(letters):
        if (fitted := _fitted(group)) is not None:
            line, every = fitted.longer(letters)
            if len(every.left) >= LEAST and every.marked.mean() > _READ and _evidence(look, every, line) > 0:
                yield line


def _covered(look: Look) -> np.ndarray | None:
    """The ink of lines (h, w), uint8, with the rims of its strokes; None without."""
    found: np.ndarray | None = None
    lines = list(_written(look))
    # there may be more of the same ink, which touches what is of other tones
    for tone in dict.fromkeys(line.tone for line in lines):
        ink = look.ink * (np.abs(look.bright - tone) < TONES)
        lines += _written(replace(look, ink=ink), [line for line in lines if line.tone == tone])
    for line in lines:
        place = line.place(look)
        ink = (look.above > CONTRAST) & (np.abs(look.bright - line.tone) < _ALIKE) & (place > 0)
        marked = (look.marked > 0.5) & (place > 0)
        ink &= ~opened(look.marked > 0.5, line.stroke + 2)  # a stain on writing, or on what looks like it
        if np.count_nonzero(marked & ink) >= _IS_INK * np.count_nonzero(marked):
            rim = max(2, round(0.7 * line.stroke))
            wide = cv2.dilate(ink.astype(np.uint8), np.ones((2 * rim + 1, 2 * rim + 1), np.uint8))
            found = wide if found is None else np.maximum(found, wide)
    return found


def find_writing(light: np.ndarray, marked: np.ndarray) -> np.ndarray | None:
    """Where writing is among the marks of a photo: (h, w) bool, with the rims of its strokes; None without any.

    Args: light: luminance (h, w), float32 in [0, 1]; marked: (h, w) bool. Looked for are lines that hold marks, light
    or dark, along the picture or down it, at most 20 degrees askew.
    """
    found: np.ndarray | None = None
    looked, some = light, marked.astype(np.float32)
    for look in range(_HALVED):
        if look:
            half = (max(1, looked.shape[1] // 2), max(1, looked.shape[0] // 2))
            looked = cv2.resize(looked, half, interpolation=cv2.INTER_AREA).astype(np.float32)
            some = cv2.resize(some, half, interpolation=cv2.INTER_AREA).astype(np.float32)
        if min(looked.shape) < _SMALLEST:
            break
        for bright in (looked, 1 - looked):
            across = Look.of(bright, some)
            for seen, down in ((across, False), (across.transposed, True)):
                if (covered := _covered(seen)) is not None:
                    covered = np.ascontiguousarray(covered.T) if down else covered
                    whole = cv2.resize(covered, light.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
                    found = whole if found is None else found | whole
    return found


def lower_writing_(odds: Tensor, view: View) -> float:
    """Lower a detector's log odds (1, 1, H, W), in place, to 0 or less in writing and type on a photo.

    At most a megapixel is looked at. Returns the share of the photo that was marked and no longer is.
    """
    size = view.size(_SEEN)
    marked = marked_at(odds, size)
    if not marked.any():
        return 0.0
    written = find_writing(view.light(size), marked)
    return 0.0 if written is None else lower_where_(odds, torch.from_numpy(written)[None, None].float())
