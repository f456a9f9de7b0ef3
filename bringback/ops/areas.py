"""Find the picture areas of a photo: where the image is inside border, mount, album page or scanner lid.

Classical means only. A frame is peeled off layer by layer (lid, then the white border of the print): each of its sides
must be of one color from the edge of the photo inwards and end in a straight line. All is done on small copies.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from bringback.ops.ground import middle_color
from bringback.ops.strips import strips
from bringback.ops.torn import Torn, find_torn

_SIDE = 512  # pixels of the longer side of the small copy
_LEAST_SIDE = 32  # pixels there of the shorter side, below which nothing is looked for
_LAYERS = 4  # most frames in frames: lid, page, border, key line
_STARTS = (0.0, 0.012, 0.03)  # where a border may begin, as shares of the height: uneven edges come before it
_EVEN = 0.8  # share of a line along the edge that must be of one color; the rest may be a caption or dirt
_STEEPEST = 0.2  # slope of a side's line: about 11 degrees
_THIN, _DEEP = 0.004, 0.75  # least depth of a border and the most, as shares of the height
_OFF = 0.006  # distance from the line, as a share of the height, up to which a place counts as on it
_PAIRS = 200  # pairs of places, through which lines are tried
_SPAN = 0.3  # least length of a side, as a share of the photo's
_SMALLEST = 0.05  # least share of the photo that an area fills
_MARGIN = 0.015  # of the page around a print that is looked at with it, as a share of the page's longer side
_SQUARE = {4: 0.09, 3: 0.03, 2: 0.03}  # largest cosine of the angles at the corners, by the sides that have a border
_ALIKE = 0.16  # largest difference between the colors of a frame's sides
# How many of the places along a side must lie on its line, and how much of the border must be of its color, by the
# number of the sides that have a border: with a border all around, neither has to be so sure, unless it is broad.
_ON_LINE = {4: 0.4, 3: 0.75, 2: 0.8}
_OF_COLOR = {4: 0.75, 3: 0.9, 2: 0.97}
_NARROW, _BROAD = 0.012, 0.25  # least depth of a border on two sides only, and depth from which on each must be sure
_SOLID = 0.4  # least share of a print's box on a page that is not of the color of the page
_OF_PRINTS = 0.6  # least share of what is not of the color of a page that belongs to its prints
_SAME = 0.5  # share of the smaller one that an area has in common with a torn print from which on it is that
_ON_PAGE = 0.7  # least share of the places along each side of one of several prints that is on its line


@dataclass(frozen=True, slots=True)
class Area:
    """Where a picture is in a photo: its four corners (x, y) in pixels, from the top left one clockwise.

    Coordinates count from the outer edge of the first pixel: a whole photo has the corners (0, 0) and (width, height).
    Of a torn print, `missing` says which pixels of the box show the ground instead: (1, 1, height, width), bool.
    """

    corners: tuple[tuple[float, float], ...]
    missing: Tensor | None = field(default=None, compare=False, repr=False)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(left, top, right, bottom): the rectangle of whole pixels around the area."""
        x, y = zip(*self.corners, strict=True)
        return round(min(x)), round(min(y)), round(max(x)), round(max(y))

    @property
    def part(self) -> tuple[Any, slice, slice]:
        """The index of the box in pixels (..., H, W)."""
        left, top, right, bottom = self.box
        return ..., slice(top, bottom), slice(left, right)

    def as_dict(self) -> dict[str, Any]:
        """For manifests: `box`, and the `corners` in tenths of a pixel."""
        return {"box": list(self.box), "corners": [[round(x, 1), round(y, 1)] for x, y in self.corners]}

    def inside(self) -> Tensor:
        """Which pixels of the box are in the area: (1, 1, height, width), bool."""
        left, top, right, bottom = self.box
        mask = np.zeros((bottom - top, right - left), np.uint8)
        # OpenCV counts from the center of the first pixel, and its shift is that of fixed-point numbers
        corners = np.array(self.corners) - (left, top) - 0.5
        cv2.fillConvexPoly(mask, np.rint(corners * 256).astype(np.int32), 1, lineType=cv2.LINE_8, shift=8)
        return torch.from_numpy(mask.view(bool))[None, None]

    def keep_around_(self, changed: Tensor, before: Tensor) -> None:
        """Set `changed`, pixels (..., h, w) of the box, back to `before` where they are outside the area, in strips."""
        inside = self.inside().to(changed.device)
        for rows in strips(changed):
            part = changed[..., rows, :]
            changed[..., rows, :] = torch.where(inside[..., rows, :], part, before[..., rows, :])


@dataclass(frozen=True)
class _Border:
    """One side of a frame, in a picture that was turned so that it lies on top; the line is y = slope * x + start."""

    slope: float
    start: float
    color: np.ndarray
    apart: np.ndarray  # (h, w) distance from the color, relative to the largest that belongs to the border
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


def find_areas(pixels: Tensor, *, torn: bool = True) -> tuple[Area, ...]:
    """The picture areas of a photo (1, 3, H, W) in [0, 1]; () if it has no frame, so the image is the whole photo.

    Areas are what is left within lid, page, border or mount, tilted by any small angle; of a page with several prints,
    each of these, if the page is of one color and can be seen all around them. With `torn`, halves of a print that lie
    apart are one area, and what is missing of prints is told.
    """
    picture = np.ascontiguousarray(pixels[0].detach().cpu().permute(1, 2, 0).numpy(), np.float32)
    height, width = picture.shape[:2]
    prints = find_torn(picture) if torn else []
    if prints:
        picture = _mended(picture, prints)
    inside = [corners.clip(0, (width, height)) for corners in _search(picture, _LAYERS)]
    sound = [_area(corners) for corners in inside if not any(_share(corners, one.corners) > _SAME for one in prints)]
    return (*sound, *(_torn_area(one) for one in prints))


def _area(corners: np.ndarray) -> Area:
    return Area(tuple((float(x), float(y)) for x, y in corners))


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


def _share(one: np.ndarray, other: np.ndarray) -> float:
    """What two quadrilaterals share, as a share of the smaller one."""
    one, other = one.astype(np.float32), other.astype(np.float32)
    smaller = max(min(cv2.contourArea(one), cv2.contourArea(other)), 1.0)
    return float(cv2.intersectConvexConvex(one, other)[0]) / smaller


def outside(areas: tuple[Area, ...], height: int, width: int) -> Tensor:
    """Which pixels of a photo of this size are in none of its areas: (1, 1, H, W), bool."""
    frame = torch.ones(1, 1, height, width, dtype=torch.bool)
    for area in areas:
        frame[area.part] &= ~area.inside()
    return frame


def missing(areas: tuple[Area, ...], height: int, width: int) -> Tensor | None:
    """Damage mask (1, 1, H, W), 0 or 1, of what is missing of torn prints in a photo; None if nothing is."""
    if all(area.missing is None for area in areas):
        return None
    mask = torch.zeros(1, 1, height, width)
    for area in areas:
        if area.missing is not None:
            mask[area.part] = torch.maximum(mask[area.part], area.missing.float())
    return mask


def fill_inside(pixels: Tensor, target: Tensor, areas: tuple[Area, ...], fill: Callable[[Tensor, Tensor], Any]) -> None:
    """Fill photos in place by `fill(pixels, target)`, but torn prints from their inside only, not from the ground."""
    rest = target
    for area in areas:
        if area.missing is None:
            continue
        inside = area.inside().to(pixels.device)
        own = pixels[area.part].clone()
        fill(own, target[area.part].masked_fill(~inside.to(target.device), 1))
        pixels[area.part] = torch.where(inside & (target[area.part].to(pixels.device) > 0), own, pixels[area.part])
        rest = rest.clone() if rest is target else rest
        rest[area.part] = rest[area.part].masked_fill(inside.to(rest.device), 0)
    if rest is target or rest.any():
        fill(pixels, rest)


def _search(picture: np.ndarray, layers: int) -> list[np.ndarray]:
    """The corners (4, 2) of each picture area within at most so many frames; [] if there is no frame."""
    height, width = picture.shape[:2]
    scale = max(1.0, max(height, width) / _SIDE)
    small = (round(width / scale), round(height / scale))
    if min(small) < _LEAST_SIDE:
        return []
    seen = cv2.resize(picture, small, interpolation=cv2.INTER_AREA)
    back, found = np.diag([width / small[0], height / small[1], 1.0]), list[np.ndarray]()
    for layer in range(layers, 0, -1):
        if min(seen.shape[:2]) < _LEAST_SIDE:
            break
        prints = [cv2.perspectiveTransform(one[None], back)[0] for one in _prints(seen)]
        if prints:
            return [inner for one in prints for inner in _searched_again(picture, one, layer - 1)]
        peeled = _peeled(seen)
        if peeled is None:
            break
        found = [cv2.perspectiveTransform(peeled[1][None], back)[0]]
        seen, to_outer = straightened_small(seen, peeled[1])
        back = back @ to_outer
    return found


def _searched_again(picture: np.ndarray, corners: np.ndarray, layers: int) -> list[np.ndarray]:
    """The picture areas of one of several prints, whose corners are known: it is seen more closely, with some page."""
    margin = _MARGIN * max(picture.shape[:2])
    first = np.maximum(corners.min(0) - margin, 0).astype(int)
    last = (corners.max(0) + margin).astype(int)
    inner = _search(np.ascontiguousarray(picture[first[1] : last[1], first[0] : last[0]]), layers)
    return [one + first for one in inner] or [corners]


def _prints(picture: np.ndarray) -> list[np.ndarray]:
    """The corners (4, 2) of each of several prints on a page of one color; [] if there are not several."""
    height, width = picture.shape[:2]
    edge = max(round(_STARTS[1] * max(height, width)), 1)
    ring = np.ones((height, width), bool)
    ring[edge:-edge, edge:-edge] = False
    color, most, even = middle_color(picture[ring])
    if even < _EVEN:
        return []
    other = (np.abs(picture - color).max(2) >= most).astype(np.uint8)
    joined = cv2.morphologyEx(cv2.medianBlur(other, 3), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    stats = cv2.connectedComponentsWithStats(joined, connectivity=8)[2][1:]
    margin = max(round(_MARGIN * max(height, width)), 2)
    solid = stats[:, cv2.CC_STAT_AREA] > _SOLID * stats[:, 2] * stats[:, 3]
    prints = stats[(stats[:, 2:4] > _LEAST_SIDE).all(1) & solid]
    if len(prints) < 2 or prints[:, cv2.CC_STAT_AREA].sum() < _OF_PRINTS * joined.sum():
        return []
    found = []
    for left, top, wide, high in prints[:, :4].tolist():
        first = np.array([max(left - margin, 0), max(top - margin, 0)])
        inner = _peeled(picture[first[1] : top + high + margin, first[0] : left + wide + margin])
        if inner is None or inner[0] < 4 * _ON_PAGE:
            return []  # it would be left out
        found.append(inner[1] + first)
    return found


def straightened_small(picture: np.ndarray, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is within four corners as an upright picture, and the matrix that takes its coordinates back."""
    sides = np.linalg.norm(corners - np.roll(corners, -1, 0), axis=1)
    size = max(round((sides[0] + sides[2]) / 2), 1), max(round((sides[1] + sides[3]) / 2), 1)
    target = np.array([(0, 0), (size[0], 0), size, (0, size[1])], np.float32)
    back = cv2.getPerspectiveTransform(target, corners.astype(np.float32))
    half = np.array([(1, 0, 0.5), (0, 1, 0.5), (0, 0, 1)])  # OpenCV counts from the center of the first pixel
    matrix = np.linalg.inv(half) @ back @ half
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpPerspective(picture, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), back


def _peeled(picture: np.ndarray) -> tuple[float, np.ndarray] | None:
    """What a frame of one color leaves of a picture (h, w, 3): how sure that is, and its corners; None without a frame.

    For the sureness see `_frame`.
    """
    height, width = picture.shape[:2]
    sides = [_border(np.ascontiguousarray(np.rot90(picture, k))) for k in range(4)]  # top, right, bottom, left
    found = [k for k in range(4) if sides[k] is not None]
    for count in (4, 3, 2):  # a side may have been taken for a border that is none
        tried = [
            _frame([sides[k] if k in chosen else None for k in range(4)], height, width, count)
            for chosen in combinations(found, count)
        ]
        good = [one for one in tried if one is not None]
        if good:
            return max(good, key=lambda one: one[0])
    return None


def _frame(sides: list[_Border | None], height: int, width: int, count: int) -> tuple[float, np.ndarray] | None:
    """How many sides have a border, each counted by how straight it is, and the corners within; None for no frame.

    Sides are None where there is no border.
    """
    found = [one for one in sides if one is not None]
    if any(np.abs(one.color - other.color).max() > _ALIKE for one, other in combinations(found, 2)):
        return None
    lines = [_turned_back(one, k, height, width) for k, one in enumerate(sides)]
    corners = np.array([_crossing(lines[k - 1], lines[k]) for k in range(4)])
    along = np.roll(corners, -1, 0) - corners
    lengths = np.linalg.norm(along, axis=1)
    if (lengths < _SPAN * np.array([width, height, width, height])).any():
        return None
    along /= lengths[:, None]
    if (np.abs((along * np.roll(along, -1, 0)).sum(1)) > _SQUARE[count]).any():
        return None
    if cv2.contourArea(corners.astype(np.float32)) < _SMALLEST * height * width:
        return None
    if count == 2 and min(one.depth for one in found) < _NARROW:
        return None
    on_line = []
    for k, one in enumerate(sides):
        if one is None:
            continue
        first, last = _span(corners, k, height, width)
        on_line.append(one.on_line(first, last))
        least = 2 if one.depth > _BROAD else count
        if on_line[-1] < _ON_LINE[least] or one.of_color(first, last) < _OF_COLOR[least]:
            return None
    return sum(on_line), corners


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


def _border(picture: np.ndarray) -> _Border | None:
    """The border on top of a picture (h, w, 3); None if there is none that ends in a straight line."""
    height, width = picture.shape[:2]
    row, color, most, even = max((_start(picture, share) for share in _STARTS), key=lambda start: start[3])
    if even < _EVEN:
        return None
    apart = np.abs(picture - color).max(2) / most
    # specks, and strokes of writing, do not end a border
    wide = np.ones((1, 5), np.uint8)
    within = cv2.morphologyEx((apart < 1).astype(np.uint8), cv2.MORPH_CLOSE, wide)
    depths = _depths(within.astype(bool), apart, row)
    fitted = _line(depths, height, width)
    if fitted is None:
        return None
    slope, start = fitted
    ends = np.array([start, start + slope * width])
    if ends.mean() < max(1.0, _THIN * height) or ends.min() < -0.5 or ends.max() > _DEEP * height:
        return None
    return _Border(slope, start, color, apart, depths)


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
