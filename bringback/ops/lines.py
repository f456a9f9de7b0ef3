"""Fit the sides of a quadrilateral to the sharp straight edges near them."""

from dataclasses import dataclass

import cv2
import numpy as np

_STEP = 0.5  # pixels between the points of a profile
_PLACES = 240  # most profiles along a side
_LEAST = 0.012  # least step of color, in Lab by 100
_ABOVE = 1.5  # how many times a step must be what is usual outside
_SHARP = 0.6  # least share of a step that is made within three pixels; the edges of shadows are softer
_PEAKS = 6  # steps of a profile that are looked at
_NEAR = 0.8  # pixels from a line within which a step is on it
_LINES = 5  # lines that are looked at
_PAIRS = 400  # pairs of steps, through which lines are tried
_STEEPEST = 0.06  # slope against the side that is looked at
# Share of the best line's support that an outer line must have, and one of higher steps, and share of all places
_AS_GOOD, _HIGHER, _ENOUGH = 0.65, 0.45, 0.4
_CERTAIN = 0.75  # support that a line must have which lies well within the side
_AT_EDGE = 0.6  # support of the edge of the picture as a side
_CLOSE, _LOW = 0.16, 0.5  # how close, as a share of the reach, a line of lower steps is to the line whose shadow it is
_ENDS = 0.03  # share of a side at its ends that is not looked at
_BAND = 4.0  # pixels within a line where there must be something,
_FULL = 0.6  # at so many of the places


@dataclass(frozen=True)
class Line:
    """A line through `start` and `end`, both (x, y), and the share of the places along it where there is a step."""

    start: np.ndarray
    end: np.ndarray
    support: float


def side_line(picture: np.ndarray, corners: np.ndarray, k: int, reach: float, kinds: np.ndarray | None = None) -> Line:
    """The outermost sharp line within `reach` pixels of the side k of a quadrilateral (4, 2), given clockwise.

    `picture` is (h, w, 3) in Lab by 100. `kinds` (h, w) is 0 on the ground, which does not lie within a line, 1 on what
    may belong to the quadrilateral, and 2 on other things, whose edges are not looked at. A side on the edge of the
    picture is this edge, if there is no line; any other is left as it is, with a support of 0.
    """
    start, end = corners[k], corners[(k + 1) % 4]
    length = float(np.linalg.norm(end - start))
    along = (end - start) / length
    inward = np.array([-along[1], along[0]])  # clockwise in a picture whose y points down
    count = int(np.clip(length / 2, 30, _PLACES))
    s = np.linspace(_ENDS, 1 - _ENDS, count) * length
    t = np.arange(-reach, reach + _STEP, _STEP)
    x, y = (start[c] + s[:, None] * along[c] + t * inward[c] - 0.5 for c in (0, 1))
    steps, outside = _steps(picture, x, y)
    if kinds is not None:
        there = _sampled(kinds.astype(np.float32), x, y)
        steps[(there > 1.5) | ~_full_within(there > 0.5)] = 0
    place, depth = _peaks(steps, t, outside)
    at = np.rint((depth - t[0]) / _STEP).astype(int).clip(0, len(t) - 1)
    fitted = _outermost(s[place], depth, steps[place, at], s, _CLOSE * reach)
    if fitted is None:
        return _edge(picture.shape, start, end, reach) or Line(start, end, 0.0)
    slope, offset, support = fitted
    if support < _CERTAIN and offset + slope * length / 2 > _CLOSE * reach:
        return Line(start, end, support)  # it may be one of the picture's; too much is better than too little
    ends = [start + at * along + (slope * at + offset) * inward for at in (0.0, length)]
    return Line(ends[0], ends[1], support)


def corners_of(lines: list[Line]) -> np.ndarray:
    """The corners (4, 2) of a quadrilateral from the lines of its sides."""
    result = []
    for before, after in zip([lines[-1], *lines], lines, strict=False):
        into, out = before.end - before.start, after.end - after.start
        t = np.linalg.solve(np.column_stack([into, -out]), after.start - before.start)[0]
        result.append(before.start + t * into)
    return np.array(result)


def _sampled(picture: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    maps = x.astype(np.float32), y.astype(np.float32)
    return cv2.remap(picture, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _steps(picture: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
    """(n, m) how sharply the color changes across the side, and what is usual at its outer end."""
    profile = cv2.blur(_sampled(picture, x, y), (1, 3))  # along the side, against noise
    near, far = _change(profile, 1.5), _change(profile, 4.0)
    # highest where the color changes; `near` alone is level around a sharp edge
    steps = (near + _change(profile, 1.0) + _change(profile, 0.5)) / 3
    usual = float(np.median(steps[:, : steps.shape[1] // 4]))
    steps[near < _SHARP * far] = 0
    height, width = picture.shape[:2]
    steps[(x < 1) | (y < 1) | (x > width - 2) | (y > height - 2)] = 0
    return steps, usual


def _full_within(there: np.ndarray) -> np.ndarray:
    """Whether there is something just within each point of profiles (n, m), at most places nearby along the side."""
    off = round(_BAND / _STEP)
    padded = np.pad(there.astype(np.float32), ((0, 0), (0, off)), mode="edge")
    within = np.stack([padded[:, k : k + there.shape[1]] for k in range(2, off + 1)]).mean(0)
    return within >= _FULL


def _change(profile: np.ndarray, distance: float) -> np.ndarray:
    """How far the colors so many pixels before and behind each point of profiles (n, m, 3) differ."""
    off = round(distance / _STEP)
    padded = np.pad(profile, ((0, 0), (off, off), (0, 0)), mode="edge")
    return np.linalg.norm(padded[:, 2 * off :] - padded[:, : -2 * off], axis=2)


def _peaks(steps: np.ndarray, t: np.ndarray, usual: float) -> tuple[np.ndarray, np.ndarray]:
    """The number of the profile and the depth of each step that stands out."""
    inner = steps[:, 1:-1]
    top = (inner >= steps[:, :-2]) & (inner > steps[:, 2:]) & (inner > max(_LEAST, _ABOVE * usual))
    ranked = np.where(top, inner, 0)
    least = np.partition(ranked, -_PEAKS, axis=1)[:, -_PEAKS]
    place, at = np.nonzero(top & (inner >= least[:, None]))
    before, here, after = steps[place, at], steps[place, at + 1], steps[place, at + 2]
    curve = np.where((before > 0) & (after > 0), before - 2 * here + after, -np.inf)
    return place, t[at + 1] + _STEP * np.clip(0.5 * (before - after) / np.minimum(curve, -1e-9), -0.5, 0.5)


def _outermost(
    s: np.ndarray, depth: np.ndarray, heights: np.ndarray, places: np.ndarray, close: float
) -> tuple[float, float, float] | None:
    """Slope, offset and support of the outermost line through steps of these heights that is about as good as the best.

    A line that lies `close` before one of much higher steps is the edge of its shadow.
    """
    found: list[tuple[float, float, float, float]] = []
    left = np.ones(len(s), bool)
    for _ in range(_LINES):
        if (line := _line(s[left], depth[left], heights[left], places)) is None:
            break
        found.append(line)
        left &= np.abs(depth - (line[0] * s + line[1])) > 2 * _NEAR
    if not found:
        return None
    best = max(found, key=lambda line: line[2])

    def enough(line: tuple[float, float, float, float]) -> bool:
        share = _HIGHER if line[3] > 1.2 * best[3] else _AS_GOOD
        return line[2] >= max(share * best[2], _ENOUGH)

    middle = places.mean()
    good = sorted(filter(enough, found), key=lambda line: line[0] * middle + line[1])
    while len(good) > 1:
        (slope, offset, _, height), after = good[0], good[1]
        apart = (after[0] - slope) * middle + after[1] - offset
        if apart > close or height > _LOW * after[3]:
            break
        good = good[1:]
    return good[0][:3] if good else None


def _line(
    s: np.ndarray, depth: np.ndarray, heights: np.ndarray, places: np.ndarray
) -> tuple[float, float, float, float] | None:
    """Slope and offset of the line on which most steps lie, its support and its middle height; None if they are few."""
    if len(s) < 0.2 * len(places):
        return None
    first, second = np.random.default_rng(0).integers(0, len(s), (2, _PAIRS))
    apart = np.abs(s[first] - s[second]) > 0.2 * np.ptp(places)
    first, second = first[apart], second[apart]
    slopes = (depth[second] - depth[first]) / (s[second] - s[first])
    flat = np.abs(slopes) <= _STEEPEST
    slopes, first = slopes[flat], first[flat]
    if not len(slopes):
        return None
    on = np.abs(depth - (slopes[:, None] * (s - s[first][:, None]) + depth[first][:, None])) <= _NEAR
    best = on[on.sum(1).argmax()]
    for _ in range(3):
        if len(np.unique(s[best])) < 3:
            return None
        slope, offset = np.polyfit(s[best], depth[best], 1)
        best = np.abs(depth - (slope * s + offset)) <= _NEAR
    if not best.any():
        return None
    return float(slope), float(offset), len(np.unique(s[best])) / len(places), float(np.median(heights[best]))


def _edge(shape: tuple[int, ...], start: np.ndarray, end: np.ndarray, reach: float) -> Line | None:
    """The edge of the picture as a line, if a side lies there."""
    for axis, far in ((0, shape[1]), (1, shape[0])):
        for place in (0.0, float(far)):
            if max(abs(start[axis] - place), abs(end[axis] - place)) <= max(reach / 2, 2):
                start, end = start.copy(), end.copy()
                start[axis] = end[axis] = place
                return Line(start, end, _AT_EDGE)
    return None
