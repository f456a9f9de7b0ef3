"""Find the picture areas of a photo: where the image is inside border, mount, album page or scanner lid.

Classical means only. A frame is peeled off layer by layer (lid, then the white border of the print): each of its sides
must be of one color from the edge of the photo inwards and end in a straight line. What is left may be oval, or have
round corners (`rounded`). All is done on small copies.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, product

import cv2
import numpy as np
import torch
from torch import Tensor

from bringback.ops.areas import Area
from bringback.ops.ground import middle_color, plain_ground
from bringback.ops.rectify import ends_of, moved, shrunk, skew_of, upright
from bringback.ops.rounded import oval_in, radius_in
from bringback.ops.torn import COPY, Torn, find_torn

_SIDE = 512  # pixels of the longer side of the small copy
_LEAST_SIDE = 32  # pixels there of the shorter side, below which nothing is looked for
_LAYERS = 4  # most frames in frames: lid, page, border, key line
_STARTS = (0.0, 0.012, 0.03)  # where a border may begin, as shares of the height: uneven edges come before it
_EVEN = 0.8  # share of a line along the edge that must be of one color; the rest may be a caption or dirt
_STEEPEST = 0.2  # slope of a side's line: about 11 degrees
_THIN, _DEEP = 0.004, 0.75  # least depth of a border and the most, as shares of the height
_OFF = 0.006  # distance from the line, as a share of the height, up to which a place counts as on it
# A line of writing: its height at most, as a share of that of the scan; what is seen between its letters at least, and
# beyond it, as shares of its length; and most of its lines in a border.
_HIGH, _GAPS, _ALL, _LINES = 0.1, 0.03, 0.95, 3
_PAIRS = 200  # pairs of places, through which lines are tried
_SPAN = 0.3  # least length of a side, as a share of the photo's
_SMALLEST = 0.05  # least share of the photo that an area fills
_MARGIN = 0.015  # of the page around a print that is looked at with it, as a share of the page's longer side
_SQUARE = {4: 0.09, 3: 0.03, 2: 0.03}  # largest cosine of the angles at the corners, by the sides that have a border
_ALIKE, _NEARLY = 0.16, 0.05  # largest difference between the colors of a frame's sides, and one that is usual
# How many of the places along a side must lie on its line, and how much of the border must be of its color, by the
# number of the sides that have a border: with a border all around, neither has to be so sure, unless it is broad.
_ON_LINE = {4: 0.4, 3: 0.75, 2: 0.8}
_OF_COLOR = {4: 0.7, 3: 0.9, 2: 0.97}
_HIDDEN = 0.15  # the former for one of four sides, if nothing is beyond it and the others are sure
_NARROW, _BROAD = 0.012, 0.25  # least depth of a border on two sides only, and depth from which on each must be sure
# A side whose picture is nearly of the border's color: its parts, in how many of them its step has to be seen, how many
# times what rows of the border differ by (not less than what rounding to 8 bits makes), and how deep it may lie, as
# shares of the mean of the three other sides.
_PARTS, _SEEN, _CLEAR, _ROUNDED, _FAINT = 8, 7, 4.0, 1 / 255, (0.4, 2.5)
_SOLID = 0.4  # least share of a print's box on a page that is not of the color of the page
_OF_PRINTS = 0.6  # least share of what is not of the color of a page that belongs to its prints
_SAME = 0.5  # share of the smaller one that an area has in common with a torn print from which on it is that
_ON_PAGE = 0.7  # least share of the places along each side of one of several prints that is on its line


@dataclass(frozen=True)
class _Border:
    """One side of a frame, in a picture that was turned so that it lies on top; the line is y = slope * x + start."""

    slope: float
    start: float
    color: np.ndarray
    most: float  # largest distance from the color that belongs to the border
    apart: np.ndarray  # (h, w) distance from the color, relative to that
    depths: np.ndarray  # (w,) where the border ends, NaN where that is not known

    def line(self, x: np.ndarray | float) -> np.ndarray:
        return self.slope * np.asarray(x, float) + self.start

    def on_line(self, first: int, last: int) -> float:
        """Share of the places between two columns that are on the line."""
        x = np.arange(first, last)
        return float((np.abs(self.depths[first:last] - self.line(x)) <= self.near).mean()) if last > first else 0.0

    def of_color(self, first: int, last: int) -> float:
        """Share of the border between two columns that is of its color."""
        rows = np.arange(self.apart.shape[0])[:, None]
        outside = rows + 0.5 < self.line(np.arange(first, last) + 0.5) - 1
        return float((self.apart[:, first:last][outside] < 1).mean()) if outside.any() else 1.0

    @property
    def depth(self) -> float:
        """In the middle, as a share of the height."""
        height, width = self.apart.shape
        return float(self.line(width / 2)) / height

    @cached_property
    def near(self) -> float:
        return max(1.0, _OFF * self.apart.shape[0])


@dataclass(frozen=True)
class _Peeled:
    """What a frame leaves of a picture: its corners (4, 2), the color of the frame and the largest distance from it.

    `sure` is how many sides have a border, each counted by how straight it is.
    """

    corners: np.ndarray
    sure: float
    color: np.ndarray
    most: float


def find_areas(pixels: Tensor, *, torn: bool = True) -> tuple[Area, ...]:
    """The picture areas of a photo (1, 3, H, W) in [0, 1]; () if it has no frame, so the image is the whole photo.

    Areas are what is left within lid, page, border or mount, tilted by any small angle, oval or with round corners; of
    a page with several prints, each of these, if the page is of one color and can be seen all around them. With `torn`,
    halves of a print that lie apart are one area, and what is missing of prints is told.
    """
    picture = np.ascontiguousarray(pixels[0].detach().cpu().permute(1, 2, 0).numpy(), np.float32)
    height, width = picture.shape[:2]
    copy, back = shrunk(picture, COPY)
    prints = find_torn(picture, copy) if torn else []
    if prints:
        copy, back = shrunk(_mended(picture, prints), COPY)
    inside = [_within(_through(area, back), height, width) for area in _search(copy, _LAYERS)]
    sound = [area for area in inside if not any(_share(area, one) > _SAME for one in prints)]
    return (*sound, *(_torn_area(one) for one in prints))


def _area(corners: np.ndarray, radii: np.ndarray | tuple[float, float] = (0.0, 0.0)) -> Area:
    across, down = map(float, radii)
    return Area(tuple((float(x), float(y)) for x, y in corners), (across, down))


def _through(area: Area, matrix: np.ndarray) -> Area:
    """An area in other coordinates."""
    there = _area(moved(np.array(area.corners), matrix))
    return _area(np.array(there.corners), area.radii * there.sides / area.sides)


def _within(area: Area, height: int, width: int) -> Area:
    """An area without what is beyond the photo; that beyond round corners may be."""
    outline = area.outline
    if any(area.radii) and (outline >= -0.5).all() and (outline <= (width + 0.5, height + 0.5)).all():
        return area
    return _area(np.array(area.corners).clip(0, (width, height)))


def _torn_area(one: Torn) -> Area:
    """The area of a torn print, the whole of it."""
    area = _area(one.corners)
    left, top, right, bottom = area.box
    missing = np.zeros((bottom - top, right - left), bool)
    x, y = one.first[0] - left, one.first[1] - top  # at most one pixel before the box, which is rounded
    own = one.missing[max(-y, 0) :, max(-x, 0) :][: bottom - top - max(y, 0), : right - left - max(x, 0)]
    missing[max(y, 0) :, max(x, 0) :][: own.shape[0], : own.shape[1]] = own
    return replace(area, missing=torch.from_numpy(missing)[None, None] & area.inside())


def _mended(picture: np.ndarray, prints: list[Torn]) -> np.ndarray:
    """The picture with what is missing in the middle color of its print, as if that were whole."""
    mended = picture.copy()
    for one in prints:
        (x, y), (height, width) = one.first, one.missing.shape
        part = mended[y : y + height, x : x + width]
        part[one.missing] = np.median(part[~one.missing][::7], 0)
    return mended


def _share(area: Area, one: Torn) -> float:
    """What an area and a torn print share, as a share of the smaller one."""
    first, second = area.outline.astype(np.float32), one.corners.astype(np.float32)
    smaller = max(min(cv2.contourArea(first), cv2.contourArea(second)), 1.0)
    return float(cv2.intersectConvexConvex(first, second)[0]) / smaller


def _search(picture: np.ndarray, layers: int) -> list[Area]:
    """Each picture area within at most so many frames; [] if there is no frame."""
    seen, back = shrunk(picture, _SIDE)
    found = list[tuple[Area, _Peeled]]()
    for layer in range(layers, 0, -1):
        if min(seen.shape[:2]) < _LEAST_SIDE:
            break
        prints = [_through(one, back) for one in _prints(seen)]
        if prints:
            return [inner for one in prints for inner in _searched_again(picture, one, layer - 1)]
        oval = oval_in(seen)
        if oval is not None:
            return [_through(_oval(oval), back)]
        peeled = _peeled(seen)
        if peeled is None:
            break
        seen, to_outer = upright(seen, peeled.corners)
        back = back @ to_outer
        found = [(_through(_area(ends_of(*seen.shape[1::-1])), back), peeled)]
    return [_with_radius(picture, area, frame) for area, frame in found]


def _with_radius(picture: np.ndarray, area: Area, frame: _Peeled) -> Area:
    """An area with the radius of its corners in this frame."""
    inside, _ = upright(picture, np.array(area.corners))
    radius = radius_in(inside, frame.color, frame.most)
    return replace(area, radii=(radius, radius))


def _oval(corners: np.ndarray) -> Area:
    """The oval that touches the sides of a rectangle."""
    return _area(corners, _area(corners).sides / 2)


def _searched_again(picture: np.ndarray, area: Area, layers: int) -> list[Area]:
    """The picture areas of one of several prints, whose place is known: it is seen more closely, with some page."""
    margin, outline = _MARGIN * max(picture.shape[:2]), area.outline
    first = np.maximum(outline.min(0) - margin, 0).astype(int)
    last = (outline.max(0) + margin).astype(int)
    inner = _search(np.ascontiguousarray(picture[first[1] : last[1], first[0] : last[0]]), layers)
    back = np.array([(1, 0, first[0]), (0, 1, first[1]), (0, 0, 1.0)])
    return [_through(one, back) for one in inner] or [area]


def _prints(picture: np.ndarray) -> list[Area]:
    """Each of several prints on a page of one color; [] if there are not several."""
    height, width = picture.shape[:2]
    ground = plain_ground(picture, _STARTS[1])
    if ground.even < _EVEN:
        return []
    other = (ground.apart >= 1).astype(np.uint8)
    joined = cv2.morphologyEx(cv2.medianBlur(other, 3), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    stats = cv2.connectedComponentsWithStats(joined, connectivity=8)[2][1:]
    margin = max(round(_MARGIN * max(height, width)), 2)
    solid = stats[:, cv2.CC_STAT_AREA] > _SOLID * stats[:, 2] * stats[:, 3]
    first, last = stats[:, :2], stats[:, :2] + stats[:, 2:4]
    # of a page around a border of the color of what is around the page, what is in the border is no print beside it
    within = np.all((first[:, None] > first) & (last[:, None] < last), axis=2).any(axis=1)
    prints = stats[(stats[:, 2:4] > _LEAST_SIDE).all(1) & solid & ~within]
    if len(prints) < 2 or prints[:, cv2.CC_STAT_AREA].sum() < _OF_PRINTS * joined.sum():
        return []
    found = []
    for left, top, wide, high in prints[:, :4].tolist():
        x, y = max(left - margin, 0), max(top - margin, 0)
        part = picture[y : top + high + margin, x : left + wide + margin]
        oval, inner = oval_in(part), _peeled(part)
        if oval is not None:
            one = _oval(oval)
        elif inner is not None and inner.sure >= 4 * _ON_PAGE:
            one = _area(inner.corners)
        else:
            return []  # it would be left out
        found.append(_through(one, np.array([(1, 0, x), (0, 1, y), (0, 0, 1.0)])))
    return found


def _peeled(picture: np.ndarray) -> _Peeled | None:
    """What a frame of one color leaves of a picture (h, w, 3); None without a frame."""
    height, width = picture.shape[:2]
    sides = _sides(picture)
    found = [k for k in range(4) if sides[k] is not None]
    for count in (4, 3, 2):  # a side may have been taken for a border that is none
        tried = [
            _frame([sides[k] if k in chosen else None for k in range(4)], height, width, count)
            for chosen in combinations(found, count)
        ]
        good = [one for one in tried if one is not None]
        if good:
            return max(good, key=lambda one: one.sure)
    for k in range(4):  # three sides tell where the fourth may be, and that there is one
        others = [sides[(k + turn) % 4] for turn in (1, 2, 3)]
        if (faint := _faint(np.ascontiguousarray(np.rot90(picture, k)), others)) is not None:
            frame = _frame([faint if side == k else sides[side] for side in range(4)], height, width, 4)
            if frame is not None:
                return frame
    return None


def _faint(picture: np.ndarray, others: list[_Border | None]) -> _Border | None:
    """The border on top of a picture nearly of its color, as a pale sky in yellowed paper is: a step along a row.

    The others are the borders at its right, its bottom and its left.
    """
    right, bottom, left = others
    if right is None or bottom is None or left is None or _unlike(others) > _NEARLY:
        return None
    width = picture.shape[1]
    depth = float(np.mean([one.line(one.apart.shape[1] / 2) for one in (right, bottom, left)]))
    first, last = (float(one.line(np.array([0, one.apart.shape[1]])).max()) for one in (left, right))
    if width - first - last < _SPAN * width:
        return None
    inner = picture[:, int(first) + 2 : width - int(last) - 2].mean(2)
    rows = np.stack([part.mean(1) for part in np.array_split(inner, _PARTS, axis=1)])
    summed = np.cumsum(np.pad(rows, ((0, 0), (1, 0))), 1)
    steps = summed[:, 6:] - 2 * summed[:, 3:-3] + summed[:, :-6]  # three rows after less three before row 3, 4 ...
    lowest, deepest = (max(round(share * depth) - 3, 0) for share in _FAINT)
    if lowest < 3:
        return None
    clear = steps / np.abs(steps[:, :lowest]).mean(1, keepdims=True).clip(_ROUNDED)  # white borders differ by nothing
    seen = np.maximum((clear > _CLEAR).sum(0), (clear < -_CLEAR).sum(0)) >= _SEEN
    seen[:lowest] = seen[deepest:] = False
    if not seen.any():
        return None
    start = 3.0 + float(np.where(seen, np.abs(np.median(steps, 0)), 0).argmax())
    apart = np.abs(picture - bottom.color).max(2) / bottom.most
    return _Border(0.0, start, bottom.color, bottom.most, apart, np.full(width, start))


def _sides(picture: np.ndarray) -> list[_Border | None]:
    """The borders at the top, the right, the bottom and the left, None where there is none.

    Where they differ, because a shadow or the teeth of a deckled edge come first, those of the most alike colors.
    """
    turned = [_borders(np.ascontiguousarray(np.rot90(picture, k))) for k in range(4)]
    first = [next(borders, None) for borders in turned]
    if _unlike(first) <= _NEARLY:
        return first
    every = [[one, *rest] for one, rest in zip(first, turned, strict=True)]
    return list(min(product(*every), key=lambda sides: max(_unlike(sides), _NEARLY)))


def _unlike(sides: Iterable[_Border | None]) -> float:
    """The largest difference between the colors of borders."""
    colors = np.array([one.color for one in sides if one is not None])
    return float(np.ptp(colors, 0).max()) if len(colors) > 1 else 0.0


def _frame(sides: list[_Border | None], height: int, width: int, count: int) -> _Peeled | None:
    """What borders leave of a picture; None if they are no frame. Sides are None where there is no border."""
    found = [one for one in sides if one is not None]
    if _unlike(found) > _ALIKE:
        return None
    lines = [_turned_back(one, k, height, width) for k, one in enumerate(sides)]
    corners = np.array([_crossing(lines[k - 1], lines[k]) for k in range(4)])
    lengths = np.linalg.norm(np.roll(corners, -1, 0) - corners, axis=1)
    if (lengths < _SPAN * np.array([width, height, width, height])).any() or skew_of(corners) > _SQUARE[count]:
        return None
    if cv2.contourArea(corners.astype(np.float32)) < _SMALLEST * height * width:
        return None
    if count == 2 and min(one.depth for one in found) < _NARROW:
        return None
    on_line, sure = [], True
    for k, one in enumerate(sides):
        if one is None:
            continue
        first, last = _span(corners, k, height, width)
        on_line.append(one.on_line(first, last))
        least = 2 if one.depth > _BROAD else count
        of_color = one.of_color(first, last)
        if of_color < _OF_COLOR[least]:
            return None
        if on_line[-1] < _ON_LINE[least]:
            # a dark picture in a dark frame: the others tell that there is one
            if count < 4 or not sure or on_line[-1] < _HIDDEN or of_color < _OF_COLOR[2]:
                return None
            sure = False
    if not sure and sum(on_line) - min(on_line) < 3 * _ON_LINE[2]:
        return None
    return _Peeled(corners, sum(on_line), np.mean([one.color for one in found], 0), min(one.most for one in found))


def _span(corners: np.ndarray, k: int, height: int, width: int) -> tuple[int, int]:
    """The columns between which the side k of the corners lies, in the picture that was turned k times."""
    start, end = corners[k], corners[(k + 1) % 4]
    across = {0: (start[0], end[0]), 1: (start[1], end[1]), 2: (width - start[0], width - end[0])}
    first, last = across.get(k, (height - start[1], height - end[1]))
    wide = width if k % 2 == 0 else height
    return max(round(first) + 1, 0), min(round(last) - 1, wide)


def _turned_back(one: _Border | None, k: int, height: int, width: int) -> tuple[float, float, float]:
    """The line of a side that was found in the picture turned k times, as (a, b, c) of a * x + b * y = c."""
    slope, start = (one.slope, one.start) if one is not None else (0.0, 0.0)
    # turned coordinates (u, v) with v = slope * u + start, by k: (x, y), (y, w - x), (w - x, h - y), (h - y, x)
    if k == 0:
        return -slope, 1.0, start
    if k == 1:
        return 1.0, slope, width - start
    if k == 2:
        return -slope, 1.0, height - start - slope * width
    return 1.0, slope, start + slope * height


def _crossing(one: tuple[float, float, float], other: tuple[float, float, float]) -> np.ndarray:
    return np.linalg.solve([one[:2], other[:2]], [one[2], other[2]])


def _borders(picture: np.ndarray) -> Iterator[_Border]:
    """The borders on top of a picture (h, w, 3) that end in a straight line, by the rows where they may begin."""
    for row, color, most, even in sorted((_start(picture, share) for share in _STARTS), key=lambda start: -start[3]):
        if even >= _EVEN and (found := _border_from(picture, row, color, most)) is not None:
            yield found


def _border_from(picture: np.ndarray, row: int, color: np.ndarray, most: float) -> _Border | None:
    """The border that begins in this row with this color, see `_start`; None if it does not end in a straight line."""
    height, width = picture.shape[:2]
    apart = np.abs(picture - color).max(2) / most
    # specks, and strokes of writing, do not end a border
    wide = np.ones((1, 5), np.uint8)
    within = cv2.morphologyEx((apart < 1).astype(np.uint8), cv2.MORPH_CLOSE, wide).astype(bool)
    depths = _depths(within, apart, row)
    fitted = _line(depths, height, width)
    for _ in range(_LINES):
        if fitted is None or (beyond := _beyond_writing(apart, depths, *fitted)) is None:
            break
        within |= np.arange(height)[:, None] < beyond
        depths = _depths(within, apart, row)
        fitted = _line(depths, height, width)
    if fitted is None:
        return None
    slope, start = fitted
    ends = np.array([start, start + slope * width])
    if ends.mean() < max(1.0, _THIN * height) or ends.min() < -0.5 or ends.max() > _DEEP * height:
        return None
    return _Border(slope, start, color, most, apart, depths)


def _beyond_writing(apart: np.ndarray, depths: np.ndarray, slope: float, start: float) -> np.ndarray | None:
    """Where a border goes on, (w,), behind the foot or the head of a caption that this line is; None if it is not.

    Between the first and the last letter, the border is seen in the gaps, and soon all along.
    """
    height, width = apart.shape
    line = slope * (np.arange(width) + 0.5) + start
    on = np.flatnonzero(np.abs(depths - line) <= max(1.0, _OFF * height))
    if len(on) < 2:
        return None
    columns = np.arange(on[0], on[-1] + 1)
    rows = np.rint(line[columns] + np.arange(1, round(_HIGH * height))[:, None]).astype(int)
    own = (apart[rows.clip(0, height - 1), columns] < 1) & (rows < height)
    through = np.logical_and.accumulate(own, 0).mean(1) >= _GAPS
    behind = np.flatnonzero(through & (own.mean(1) >= _ALL))
    return line + behind[0] + 1 if len(behind) else None


def _start(picture: np.ndarray, share: float) -> tuple[int, np.ndarray, float, float]:
    """A row where a border may begin: its number, color, the largest distance from that which is still border, and the
    share of the row that is; reduced a little with the depth, so that of two even rows the outer one is taken.
    """
    row = round(share * len(picture))
    color, most, even = middle_color(picture[row : row + 2].reshape(-1, 3))
    return row, color, most, even - share


def _depths(within: np.ndarray, apart: np.ndarray, row: int) -> np.ndarray:
    """Where the border ends in each column, from the given row on; NaN where it does not, or does not begin."""
    height = len(within)
    first = np.argmin(within[row:], 0) + row
    columns = np.arange(within.shape[1])
    known = within[row] & ~within[first, columns]
    full = apart[np.minimum(first + 1, height - 1), columns]
    part = np.clip(apart[first, columns] / np.maximum(full, 1e-3), 0, 1)  # of the pixel that is no longer border
    return np.where(known & (first < _DEEP * height * 1.1), first + 1 - part, np.nan)


def _line(depths: np.ndarray, height: int, width: int) -> tuple[float, float] | None:
    """Slope and start of the straight line on which most of the depths lie; None if they are few."""
    x = np.flatnonzero(~np.isnan(depths))
    if len(x) < _SPAN * width:
        return None
    y = depths[x]
    draws = np.random.default_rng(0).integers(0, len(x), (2, _PAIRS))
    step = x[draws[1]] - x[draws[0]]
    draws = draws[:, np.abs(step) > 0.2 * width]
    slopes = (y[draws[1]] - y[draws[0]]) / (x[draws[1]] - x[draws[0]])
    draws, slopes = draws[:, np.abs(slopes) <= _STEEPEST], slopes[np.abs(slopes) <= _STEEPEST]
    if not len(slopes):
        return None
    starts = y[draws[0]] - slopes * x[draws[0]]
    near = max(1.0, _OFF * height)
    on = np.abs(y - (slopes[:, None] * x + starts[:, None])) <= near
    best = on[on.sum(1).argmax()]
    if best.sum() < 0.5 * _SPAN * width:
        return None
    slope, start = np.polyfit(x[best] + 0.5, y[best], 1)
    return float(slope), float(start)
