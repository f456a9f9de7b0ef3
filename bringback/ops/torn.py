"""Find torn prints: two halves that lie apart, a corner or a bite that is missing, so that the ground shows inside.

Classical means only, in a small copy: what is not ground falls into pieces; around one or two of these a rectangle is
laid, and what is ground inside it must look like a tear. Two prints side by side have straight edges, a bright sky in a
print is not of the ground's very tone, or as flat, or without any contrast to what is around: in doubt nothing is torn.
"""

import math
from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np

from bringback.ops.ground import Plain, plain_ground
from bringback.ops.lines import Line, corners_of
from bringback.ops.rectify import back_to, ends_of, moved, seen_through, skew_of

COPY = 1200  # pixels of the longer side of the small copy
_EVEN = 0.8  # least share of the photo's edge that is ground
_PIECE, _PRINT, _MOST_PIECES = 0.003, 0.03, 12  # least shares of the photo of a piece and of a print; pieces looked at
_OFF = (
    0.013  # how far from a side, as a share of the longer one, the print may end there: halves may be turned a little
)
_SQUARE, _PLACES = 0.03, 200  # largest cosine of the angles at the corners; places along a side
_SHORTEST, _LONGEST = 40, 4.0  # pixels of the shortest side, and the longer one by the shorter
_SUPPORT, _ALL_ROUND = 0.45, 0.7  # least share of each side, and of all in the mean, where the print reaches it
_MISSING = 0.35  # most of a rectangle that is missing
_UNSURE = 0.05  # most of a rectangle at its sides that is of the ground's color, and for sure neither print nor tear
_SPECK = 0.0008  # share of the rectangle up to which something missing is not looked at
_TONE, _EVENER = 0.012, 0.006  # differences from the ground's tone and from its noise that still are the ground
_RINGING = 0.02  # the same of a narrow gap in a compressed photo
_CONTRAST, _LEAST_CONTRAST = 0.85, 0.5  # least share of a tear's edge that stands out, for bites and between halves
_NEARLY_ALL = 0.9  # of the pixels of something missing and of the ground, which are compared
_STANDS_OUT = 1.4  # how far from the ground, by its noise, a tear's edge is
_LIKE_GROUND = 0.005  # share of the rest of a print up to which it may be as flat and of the tone as the ground
_ROUGH, _LEAST_ROUGH = 0.007, 0.7  # least deviation of a tear from a straight line, by its length, and in pixels
_FIT_ROUGH = 0.003  # the same of two edges that fit each other
_ROUGHER = 2.0  # by how much a tear is rougher than the sides of the print
_FITS = 0.75  # least correlation of the facing edges of two halves
_SLANT, _PARALLEL = 0.07, 0.04  # slope to the sides by which a straight tear is told, and most between its edges
_ALONG, _MOVED = 0.6, 0.03  # least share of a tear where both edges are seen; how far, of it, halves moved along it
_STRAIGHT = 1.2  # pixels by which straight edges may not fit each other
_BESIDE = 3.0  # pixels beside its edges up to which a gap is masked
_WIDEST = 0.25  # of a gap, as a share of the longer side
_ALIKE = 1.5  # missing corners whose sizes differ by less are round or cut ones
_AXES, _LONG = 0.6, 0.15  # share of a tear in long runs along the sides from which on it is none; what is long


@dataclass(frozen=True)
class Torn:
    """A torn print: the corners (4, 2) of the whole, and what is missing of it, (h, w) bool, from `first` (x, y) on."""

    corners: np.ndarray
    first: tuple[int, int]
    missing: np.ndarray


@dataclass(frozen=True)
class _Seen:
    """A small copy (h, w, 3): its ground, that in its pixels (`bare`), and differences from it."""

    ground: Plain
    bare: np.ndarray
    noise: float  # of the middle one of its pixels
    farthest: float  # of nearly all


@dataclass(frozen=True)
class _Upright:
    """What is within a rectangle, upright: the pieces (h, w), 0 for the ground, from 1 on their number; see `_Seen`."""

    pieces: np.ndarray
    off: np.ndarray  # signed differences from the ground
    apart: np.ndarray
    back: np.ndarray
    sides: list[np.ndarray]  # for top, right, bottom, left: how far from it the print begins
    near: float


def find_torn(picture: np.ndarray, copy: np.ndarray) -> list[Torn]:
    """The torn prints in a photo (H, W, 3) in [0, 1], on a ground of one color that is seen all around them.

    `copy` is the photo with a longer side of at most `COPY` pixels.
    """
    seen = _look(copy) if min(copy.shape[:2]) >= _SHORTEST else None
    if seen is None:
        return []
    pieces = _pieces(seen)
    whole = pieces.size
    sizes = {number: int((pieces == number).sum()) for number in range(1, int(pieces.max()) + 1)}
    tried = [*combinations(sizes, 2), *((one,) for one in sizes)]
    found: list[Torn] = []
    taken: set[int] = set()
    for numbers in tried:
        if taken.intersection(numbers) or sum(sizes[one] for one in numbers) < _PRINT * whole:
            continue
        upright = _upright(seen, pieces, numbers)
        missing = None if upright is None else _missing(seen, upright, len(numbers))
        if upright is not None and missing is not None:
            taken.update(numbers)
            found.append(_at_full_size(picture, seen, upright, missing))
    return found


def _look(pixels: np.ndarray) -> _Seen | None:
    ground = plain_ground(pixels, lit=True)
    if ground.even < _EVEN:
        return None
    off = np.abs(ground.off[ground.ring])
    farthest = float(np.quantile(off.max(1), _NEARLY_ALL))
    return _Seen(ground, pixels - ground.off, float(np.median(off)), farthest)


def _pieces(seen: _Seen) -> np.ndarray:
    """(h, w) what is not ground, or within: the largest pieces from 1 on, ground 0."""
    ground = cv2.medianBlur((seen.ground.apart < 1).astype(np.uint8), 3)
    ground = cv2.copyMakeBorder(ground, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    around = cv2.connectedComponents(ground, connectivity=4)[1]
    inside = (around != around[0, 0])[1:-1, 1:-1].astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(inside, connectivity=4)
    order = [
        n for n in np.argsort(-stats[1:, cv2.CC_STAT_AREA]) + 1 if stats[n, cv2.CC_STAT_AREA] > _PIECE * inside.size
    ]
    pieces = np.zeros(inside.shape, np.uint8)
    for number, n in enumerate(order[:_MOST_PIECES], 1):
        pieces[labels == n] = number
    return pieces


# The rectangle


def _upright(seen: _Seen, pieces: np.ndarray, numbers: tuple[int, ...]) -> _Upright | None:
    """The rectangle around pieces; None if they do not reach its sides."""
    corners = _rectangle(np.isin(pieces, numbers))
    if corners is None:
        return None
    lengths = np.linalg.norm(corners - np.roll(corners, -1, 0), axis=1)
    size = round((lengths[0] + lengths[2]) / 2), round((lengths[1] + lengths[3]) / 2)
    if min(size) < _SHORTEST or max(size) > _LONGEST * min(size):
        return None
    back = back_to(corners, size)
    own = np.zeros_like(pieces)
    for number, one in enumerate(numbers, 1):
        own[pieces == one] = number
    own[(own > 0) & (cv2.medianBlur((seen.ground.apart < 1).astype(np.uint8), 3) > 0)] = 0  # holes
    own = seen_through(own, back, size, nearest=True)
    off = seen_through(seen.ground.off, back, size)
    near = max(2.0, _OFF * max(size))
    sides = []
    for turn in range(4):
        turned = np.rot90(own > 0, turn)
        sides.append(np.where(turned.any(0), turned.argmax(0), turned.shape[0]).astype(float))
    reached = [float((side <= near).mean()) for side in sides]
    if min(reached) < _SUPPORT or np.mean(reached) < _ALL_ROUND:
        return None
    return _Upright(own, off, np.abs(off).max(2) / seen.ground.most, back, sides, near)


def _rectangle(mask: np.ndarray) -> np.ndarray | None:
    """The corners (4, 2) of the rectangle around a mask, clockwise from the top left; None if there is none."""
    outlines = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    points = np.concatenate([one[:, 0] for one in outlines]).astype(np.float32)
    box = cv2.boxPoints(cv2.minAreaRect(points)).astype(float)
    box = np.roll(box, -int(box.sum(1).argmin()), 0)
    near = 2 + _OFF * float(np.linalg.norm(box - np.roll(box, -1, 0), axis=1).max())
    sides = [_side(points, box[k], box[(k + 1) % 4], near) for k in range(4)]
    known = [side for side in sides if side is not None]
    if len(known) < 4:
        return None
    found = corners_of(known) + 0.5  # coordinates from the outer edge of the first pixel
    return found if skew_of(found) <= _SQUARE else None


def _side(points: np.ndarray, first: np.ndarray, last: np.ndarray, near: float) -> Line | None:
    """The line that an outline (n, 2) follows near a side of the box around it; None if there is none."""
    length = max(float(np.linalg.norm(last - first)), 1e-6)
    along = (last - first) / length
    inward = np.array([-along[1], along[0]])
    place = np.clip(((points - first) @ along / length * _PLACES).astype(int), 0, _PLACES - 1)
    depth = np.full(_PLACES, np.inf)  # of the outermost point in each place
    np.minimum.at(depth, place, (points - first) @ inward)
    at = np.flatnonzero(depth <= 2 * near)
    if len(at) < _PLACES // 10:
        return None
    x, y = (at + 0.5) * length / _PLACES, depth[at]
    slope, begin = np.polyfit(x, y, 1)
    for _ in range(4):
        off = np.abs(y - slope * x - begin)
        kept = off <= max(2.5 * float(np.median(off)), 0.5)
        if kept.sum() < _PLACES // 10:
            break
        x, y = x[kept], y[kept]
        slope, begin = np.polyfit(x, y, 1)
    start = first + (begin - 0.5) * inward  # from the centers of the outermost pixels to their edges
    return Line(start, start + (along + slope * inward) * length, len(at) / _PLACES)


# What is missing


def _missing(seen: _Seen, upright: _Upright, count: int) -> np.ndarray | None:
    """(h, w) what is missing in an upright rectangle with one piece or two; None if nothing is, or it may be whole."""
    whole = upright.pieces > 0
    for turn, side in enumerate(upright.sides):  # slivers between side and print are ground around it
        turned = np.rot90(whole, turn)
        rows = np.arange(turned.shape[0])[:, None]
        turned |= (side <= upright.near) & (rows < side)
    labels, stats = cv2.connectedComponentsWithStats((~whole).astype(np.uint8), connectivity=8)[1:3]
    least = max(_SPECK * whole.size, 12.0)
    parts = [labels == n for n in range(1, len(stats)) if stats[n, cv2.CC_STAT_AREA] >= least]
    gaps, bites, unsure = list[np.ndarray](), list[np.ndarray](), 0
    for part in parts:
        beside = set(np.unique(upright.pieces[_wider(part, 2)])) - {0}
        gap = _between(upright, part) if len(beside) == 2 else None
        if gap is not None and _is_ground(seen, upright, gap, between=True):
            gaps.append(gap)
        elif len(beside) == 1 and _is_ground(seen, upright, part, between=False) and _is_torn(upright, part):
            bites.append(part)
        elif _at_sides(part):
            unsure += int(part.sum())
    if (count == 2 and not gaps) or unsure > _UNSURE * whole.size:
        return None
    corners = [int(part.sum()) for part in bites if _at_sides(part) == 2]
    round_ = any(max(pair) < _ALIKE * min(pair) for pair in combinations(corners, 2))
    if bites and (round_ or _like_ground(seen, upright, [*gaps, *bites]) > _LIKE_GROUND):
        bites = []
    found = [*gaps, *bites]
    missing = np.logical_or.reduce(found) if found else np.zeros_like(whole)
    return missing if 0 < missing.sum() <= _MISSING * whole.size else None


def _wider(part: np.ndarray, by: int) -> np.ndarray:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * by + 1, 2 * by + 1))
    return cv2.dilate(part.astype(np.uint8), kernel) > 0


def _at_sides(part: np.ndarray) -> int:
    """How many of the four sides a part reaches."""
    return sum(bool(side.any()) for side in (part[0], part[-1], part[:, 0], part[:, -1]))


def _is_ground(seen: _Seen, upright: _Upright, part: np.ndarray, *, between: bool) -> bool:
    """Whether a part has the tone of the ground and its noise, and stands out from the print around it."""
    inner = next((one for one in (~_wider(~part, by) for by in (4, 2, 1)) if one.sum() >= 20), part)
    off = upright.off[inner]
    if np.abs(np.median(off, 0)).max() > _TONE:
        return False
    share, more, least = (0.5, _RINGING, _LEAST_CONTRAST) if between else (_NEARLY_ALL, _EVENER, _CONTRAST)
    if float(np.quantile(np.abs(off).max(1), share)) > seen.farthest + more:
        return False
    around = _wider(part, 3) & ~_wider(part, 1)
    return bool(around.any()) and float((upright.apart[around] > _STANDS_OUT).mean()) >= least


def _like_ground(seen: _Seen, upright: _Upright, parts: list[np.ndarray]) -> float:
    """The share of a print that is of the tone of the ground and as flat, beside what is missing."""
    mean = cv2.blur(upright.off, (5, 5))
    spread = np.sqrt(np.maximum(cv2.blur(upright.off**2, (5, 5)) - mean**2, 0)).max(2)
    like = (np.abs(mean).max(2) <= _TONE) & (spread <= 2.5 * seen.noise + _EVENER)
    if (
        seen.ground.clipped
    ):  # nothing but a gap in the tones tells a ground from a part of the print that is white or black
        like |= np.abs(mean).max(2) < 2 * seen.ground.most
    rest = ~_wider(np.logical_or.reduce(parts), 4)
    edge = math.ceil(upright.near) + 2
    return float(like[edge:-edge, edge:-edge][rest[edge:-edge, edge:-edge]].mean())


def _edge(upright: _Upright, part: np.ndarray, number: int | None = None) -> np.ndarray:
    """The pixels (n, 2), as (x, y), of the print, or of one of its pieces, beside a part."""
    own = upright.pieces > 0 if number is None else upright.pieces == number
    y, x = np.nonzero(cv2.dilate(part.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool) & own)
    return np.stack([x, y], 1).astype(float)


def _side_roughness(upright: _Upright) -> float:
    rest = []
    for side in upright.sides:
        x = np.flatnonzero(side <= upright.near)
        y = side[x]
        left = y - np.polyval(np.polyfit(x, y, 1), x)
        rest.append(float(np.median(np.abs(left))) * 1.48)
    return float(np.median(rest))


def _is_torn(upright: _Upright, part: np.ndarray) -> bool:
    """Whether the edge of a bite, a corner or a hole is rough or curved, and does not run along the sides."""
    touched = _at_sides(part)
    if touched > 2 or part.sum() > 0.25 * part.size:
        return False
    if touched == 2 and not (part[0, 0] or part[0, -1] or part[-1, 0] or part[-1, -1]):
        return False
    edge = _edge(upright, part)
    if len(edge) < 8:
        return False
    middle = edge - edge.mean(0)
    values, axes = np.linalg.eigh(middle.T @ middle / len(edge))
    length = float(np.ptp(middle @ axes[:, 1]))
    rough = float(np.sqrt(max(values[0], 0)))
    if rough < max(_LEAST_ROUGH, _ROUGH * length, _ROUGHER * _side_roughness(upright)):
        return False
    contour = max(cv2.findContours(part.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0], key=len)
    turns = cv2.approxPolyDP(contour, 1.2, True)[:, 0].astype(float)
    height, width = part.shape
    total = straight = 0.0
    for one, other in zip(turns, np.roll(turns, -1, 0), strict=True):
        if any(one[a] == other[a] == end for a, end in ((0, 0), (0, width - 1), (1, 0), (1, height - 1))):
            continue  # at a side of the print
        step = np.abs(other - one)
        run = float(np.hypot(*step))
        total += run
        straight += run if step.min() <= 0.05 * step.max() and run >= 3 else 0.0
    return total > 0 and straight <= _AXES * total


def _between(upright: _Upright, gap: np.ndarray) -> np.ndarray | None:
    """The gap between the facing edges of two pieces; None if these are not the edges of one tear."""
    edges = [_edge(upright, gap, number) for number in (1, 2)]
    if min(map(len, edges)) < 20:
        return None
    both = np.concatenate(edges)
    center = both.mean(0)
    along = np.linalg.eigh(np.cov((both - center).T))[1][:, 1]
    normal = np.array([-along[1], along[0]])
    if normal @ (edges[1].mean(0) - edges[0].mean(0)) < 0:
        normal = -normal
    ends = [np.ptp(edge @ along) for edge in edges]
    if min(ends) < _ALONG * max(ends):
        return None
    start = (both @ along).min()
    length = int((both @ along).max() - start) + 1
    # for each place along the gap, where the first piece ends and the second begins
    one = _profile((edges[0] @ along - start).astype(int), (edges[0] - center) @ normal, length)
    other = -_profile((edges[1] @ along - start).astype(int), -((edges[1] - center) @ normal), length)
    surely = _narrow(other - one)
    fit = _fit(one, other, surely)
    if fit is None:
        return None
    width = float(np.median((other - one)[surely]))
    if not 0 < width <= _WIDEST * max(gap.shape) or fit.slope > _PARALLEL:
        return None
    rough = fit.rough >= max(_LEAST_ROUGH, _FIT_ROUGH * length, _ROUGHER * _side_roughness(upright))
    rough = rough and fit.like >= _FITS
    course = along + fit.course * normal
    slanted = np.abs(course).min() >= _SLANT * np.linalg.norm(course) and fit.apart <= max(_STRAIGHT, _ROUGH * length)
    if not rough and not slanted:
        return None
    # parts of the print that are of the ground's tone may join the gap
    y, x = np.nonzero(gap)
    points = np.stack([x, y], 1).astype(float)
    places, depths = points @ along - start, (points - center) @ normal
    known = np.flatnonzero(surely)
    kept = depths >= np.interp(places, known, one[surely]) - _BESIDE
    kept &= depths <= np.interp(places, known, other[surely]) + _BESIDE
    between = np.zeros_like(gap)
    between[y[kept], x[kept]] = True
    return between


def _profile(places: np.ndarray, depths: np.ndarray, length: int) -> np.ndarray:
    """(length,) the largest depth at each place; NaN where there is none."""
    found = np.full(length, -np.inf)
    np.maximum.at(found, places, depths)
    return np.where(np.isfinite(found), found, np.nan)


def _narrow(wide: np.ndarray) -> np.ndarray:
    """Where a gap is known, and not wider than elsewhere because the print beside it is of the ground's tone."""
    middle = np.nanmedian(wide) if np.isfinite(wide).any() else 0.0
    spread = np.nanmedian(np.abs(wide - middle)) if np.isfinite(wide).any() else 0.0
    return np.isfinite(wide) & (wide < middle + 3 * 1.48 * max(float(spread), 1.0))


@dataclass(frozen=True)
class _Fit:
    """How alike two edges are (correlation), how rough both, how far apart in shape, and by how much
    their slopes, of which `course` is the mean."""

    like: float
    rough: float
    apart: float
    slope: float
    course: float


def _fit(one: np.ndarray, other: np.ndarray, surely: np.ndarray) -> _Fit | None:
    """The edges of two halves compared, moved along each other to where they fit best; None if little is known."""
    length, best = len(one), None
    if surely.sum() < _ALONG * length:
        return None
    reach = max(round(_MOVED * length), 2)
    for shift in range(-reach, reach + 1):
        a, b = one[max(0, shift) : length + min(0, shift)], other[max(0, -shift) : length - max(0, shift)]
        use = _narrow(b - a)
        if use.sum() < _ALONG * length:
            continue
        place, a, b = np.flatnonzero(use), a[use], b[use]
        lines = np.polyfit(place, a, 1), np.polyfit(place, b, 1)
        a, b = a - np.polyval(lines[0], place), b - np.polyval(lines[1], place)
        like = float((a * b).mean() / max(a.std() * b.std(), 1e-6))
        if best is None or like > best.like:
            slope = float(abs(lines[0][0] - lines[1][0]))
            best = _Fit(
                like, float(min(a.std(), b.std())), float((a - b).std()), slope, float(lines[0][0] + lines[1][0]) / 2
            )
    return best


# Back in the photo


def _at_full_size(picture: np.ndarray, seen: _Seen, upright: _Upright, missing: np.ndarray) -> Torn:
    """The print in the photo: what is missing ends where the ground does there, not in the small copy."""
    height, width = picture.shape[:2]
    small = seen.bare.shape
    to_full = np.diag([width / small[1], height / small[0], 1.0])
    back = to_full @ upright.back
    corners = moved(ends_of(*missing.shape[::-1]), back).clip(0, (width, height))
    first = np.floor(corners.min(0)).astype(int)
    last = np.minimum(np.ceil(corners.max(0)).astype(int), (width, height))
    near = _wider(missing, 2) & (missing | (upright.pieces > 0))
    to_box = np.array([(1, 0, -first[0]), (0, 1, -first[1]), (0, 0, 1)])
    size = int(last[0] - first[0]), int(last[1] - first[1])
    place = seen_through(near.astype(np.uint8), to_box @ back, size, nearest=True, inverse=False)
    # the ground is smooth
    ground = seen_through(seen.bare, np.linalg.inv(to_full) @ np.linalg.inv(to_box), size)
    off = np.abs(cv2.blur(picture[first[1] : last[1], first[0] : last[0]], (3, 3)) - ground).max(2)
    bare = (place > 0) & (off < 1.5 * seen.ground.most)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    bare = cv2.morphologyEx(bare.astype(np.uint8), cv2.MORPH_CLOSE, kernel) > 0
    return Torn(corners, (int(first[0]), int(first[1])), _wider(bare, 2) & (place > 0))
