"""Find the prints on an album page, on a scanner's glass or on a table: the corners of each.

Classical means only. In a small copy, what is not ground falls into pieces, at several thresholds, since shadows join
what lies close; around these, quadrilaterals are laid. Their sides are then the outermost sharp straight lines nearby,
fitted at full resolution.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from torch import Tensor

from bringback.ops.areas import Area
from bringback.ops.ground import RING, apart_from_ground
from bringback.ops.lines import corners_of, side_line
from bringback.ops.rectify import moved, shrunk, skew_of, upright

_SIDE, _FINER = 800, 2000  # pixels of the longer side of the copy where pieces are found, and of that for their sides
_LEVELS = (1.0, 1.6, 2.5, 4.0)  # thresholds, by the noise
_OPENED = (1, 4, 9)  # pixels by which pieces are opened, to take bridges and specks away
_SMALLEST, _LARGEST = 0.07, 0.97  # sides of a print, as a share of the longer side; area, as a share of the picture's
_LONGEST, _ALL = 4.0, 0.05  # a print's longer side by its shorter; area of all prints, as a share of the picture's
_SOLID, _FULL = 0.7, 0.86  # least share of a quadrilateral that is not ground, and that from which on it counts as full
_SAME = 0.97  # share that pieces have in common which are looked at once
_COVERED = 0.75  # share of a piece that prints in it cover from which on it is no print itself
_PAGE = 0.4  # least share of the picture that a page fills which is looked into
_SQUARE = 0.26  # largest cosine of the angles at the corners
_REACH = 0.025  # how far from a piece its sides are looked for, as a share of the longer side
_SUPPORT, _ALL_ROUND = 0.4, 0.6  # least share of a side, and of all sides in the mean, that is on its line
_SURELY = 0.8  # this of a print that is not full
_AROUND = 0.8  # least share of what is around all prints that is ground
_EDGE, _EDGE_IS_GROUND = 0.02, 0.97  # width of a picture's edge, as a share of its longer side; share of it in a page


@dataclass
class _Piece:
    """A quadrilateral (4, 2), the share of it that is not ground, and the share of its sides that is seen."""

    corners: np.ndarray
    solid: float
    area: float
    support: float = 0.0


def find_prints(pixels: Tensor) -> tuple[Area, ...]:
    """The prints in a picture (1, 3, H, W) in [0, 1], in the order of reading; () if none is seen.

    A print is what is seen of its paper, with a white border if it has one. It may be tilted, and seen in perspective.
    A page on which several prints are found is no print.
    """
    picture = np.ascontiguousarray(pixels[0].detach().cpu().permute(1, 2, 0).numpy(), np.float32)
    height, width = picture.shape[:2]
    if min(height, width) < _SMALLEST * _SIDE:
        return ()
    finer = shrunk(picture, _FINER)[0]
    times = np.array([width, height]) / finer.shape[1::-1]
    found = []
    for corners in _search(finer):
        corners = corners * times
        if max(times) > 1:
            corners = _closer(picture, corners, max(times))
        found.append(corners.clip(0, (width, height)))
    return tuple(Area(tuple((float(x), float(y)) for x, y in corners)) for corners in in_order(found))


def is_more(pixels: Tensor, prints: tuple[Area, ...]) -> bool:
    """Whether something as large as a print is on the ground of a picture (1, 3, H, W) beside the prints in it."""
    picture = np.ascontiguousarray(pixels[0].detach().cpu().permute(1, 2, 0).numpy(), np.float32)
    _, something = _pieces_of(shrunk(picture, _SIDE)[0])
    scale = something.shape[1] / picture.shape[1]
    margin = round(_REACH * max(something.shape))
    for area in prints:
        corners = np.rint(np.array(area.corners) * scale).astype(np.int32)
        cv2.fillConvexPoly(something, corners, 0)
        cv2.polylines(something, [corners], True, 0, 2 * margin)  # shadows
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (margin, margin))
    stats = cv2.connectedComponentsWithStats(cv2.morphologyEx(something, cv2.MORPH_OPEN, kernel))[2][1:]
    return bool((stats[:, cv2.CC_STAT_AREA] > (_SMALLEST * max(something.shape)) ** 2).any())


def _search(finer: np.ndarray, *, pages: bool = True) -> list[np.ndarray]:
    """The corners of each print in a copy (h, w, 3); with `pages`, prints may lie on a page that does not fill it."""
    candidates, something = _pieces_of(shrunk(finer, _SIDE)[0])
    if not candidates:
        return []
    found = []
    for corners in _with_sides(_lab(finer), candidates, something):
        inner = []
        if pages and cv2.contourArea(corners.astype(np.float32)) > _PAGE * finer[..., 0].size:
            page, back = upright(finer, corners)
            inner = _search(page, pages=False)
        found += [moved(one, back) for one in inner] if len(inner) > 1 else [corners]
    return found


def in_order(found: list[np.ndarray]) -> list[np.ndarray]:
    """Quadrilaterals in the order of reading: by rows, each from left to right."""
    rows: list[list[np.ndarray]] = []
    for one in sorted(found, key=lambda corners: corners[:, 1].mean()):
        high, middle = np.ptp(one[:, 1]), one[:, 1].mean()
        last = rows[-1] if rows else []
        if last and abs(middle - np.mean([other[:, 1].mean() for other in last])) < high / 2:
            last.append(one)
        else:
            rows.append([one])
    return [one for row in rows for one in sorted(row, key=lambda corners: corners[:, 0].mean())]


def _lab(picture: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(picture.clip(0, 1), cv2.COLOR_RGB2LAB) / 100


def _pieces_of(small: np.ndarray) -> tuple[list[_Piece], np.ndarray]:
    """What may be prints in a small copy (h, w, 3), and (h, w) where it is not ground."""
    apart = apart_from_ground(_lab(small))
    if apart is None:
        return [], np.zeros(small.shape[:2], np.uint8)
    return _candidates(apart), cv2.medianBlur((apart >= _LEVELS[0]).astype(np.uint8), 5)


def _with_sides(lab: np.ndarray, pieces: list[_Piece], something: np.ndarray) -> list[np.ndarray]:
    """The corners, in the finer copy (h, w, 3), of those pieces that are prints, whose sides are seen."""
    height, width = lab.shape[:2]
    times = np.array([width, height]) / something.shape[::-1]
    there = cv2.resize(something, (width, height), interpolation=cv2.INTER_NEAREST)
    pieces = [replace(piece, corners=piece.corners * times, area=piece.area * times.prod()) for piece in pieces]
    fitted = [(found, piece) for piece in pieces if (found := _fitted(lab, piece, there)) is not None]
    rough = {id(found): piece for found, piece in fitted}
    prints = _chosen([found for found, _ in fitted])
    result = []
    for one in prints:  # once more, now that the others are known
        kinds = there.copy()
        for other in prints:
            if other is not one:
                corners = np.rint(rough[id(other)].corners - 0.5).astype(np.int32)
                cv2.fillConvexPoly(kinds, corners, 2)
                cv2.polylines(kinds, [corners], True, 2, 7)
        own = cv2.fillConvexPoly(np.zeros_like(there), np.rint(rough[id(one)].corners - 0.5).astype(np.int32), 1)
        kinds[own > 0] = there[own > 0]
        result.append((_fitted(lab, rough[id(one)], kinds) or one).corners)
    return result if _on_ground(result, [piece.corners for piece in pieces], there) else []


def _on_ground(prints: list[np.ndarray], pieces: list[np.ndarray], something: np.ndarray) -> bool:
    """Whether there is little else around the prints; else these are parts of a picture.

    Where the picture's edge is ground all round, another of the `pieces` may be a print too, whose sides are not seen.
    """
    around = _without(np.ones_like(something), prints)
    if 1 - around.mean() < _ALL:
        return False
    shadow = np.ones([round(2 * RING * max(around.shape))] * 2, np.uint8)
    if _ground_share(something, cv2.erode(around, shadow)) >= _AROUND:
        return True
    width = round(_EDGE * max(around.shape))
    edge = np.pad(np.zeros(np.subtract(around.shape, 2 * width), np.uint8), width, constant_values=1)
    if _ground_share(something, edge) < _EDGE_IS_GROUND:
        return False
    return _ground_share(something, cv2.erode(_without(around, pieces), shadow)) >= _AROUND


def _without(places: np.ndarray, quadrilaterals: list[np.ndarray]) -> np.ndarray:
    for corners in quadrilaterals:
        cv2.fillConvexPoly(places, np.rint(corners).astype(np.int32), 0)
    return places


def _ground_share(something: np.ndarray, places: np.ndarray) -> float:
    """The share of `places` (h, w) that is ground; 0 without any."""
    return float((something[places > 0] == 0).mean()) if places.any() else 0.0


# Pieces


def _candidates(apart: np.ndarray) -> list[_Piece]:
    """Quadrilaterals of what is not ground, at all thresholds."""
    found = []
    for level in _LEVELS:
        other = cv2.medianBlur((apart >= level).astype(np.uint8), 5)
        for radius in _OPENED:
            kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
            closed = cv2.morphologyEx(other, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
            outlines, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            filled = cv2.drawContours(np.zeros_like(closed), outlines, -1, 1, cv2.FILLED)
            opened = cv2.morphologyEx(
                cv2.copyMakeBorder(filled, radius, radius, radius, radius, cv2.BORDER_REPLICATE), cv2.MORPH_OPEN, kernel
            )
            opened = opened[radius:-radius, radius:-radius]
            outlines, _ = cv2.findContours(np.ascontiguousarray(opened), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            found += [piece for one in outlines for piece in _pieces(one, apart.shape)]
    kept: list[_Piece] = []
    for one in sorted(found, key=lambda piece: -piece.solid):
        if not any(_shared(one, other) > _SAME * max(one.area, other.area) for other in kept):
            kept.append(one)
    return kept


def _pieces(outline: np.ndarray, shape: tuple[int, ...]) -> list[_Piece]:
    """The quadrilaterals around an outline that look like a print in a picture of this shape (h, w).

    The smallest one, and the smallest rectangle: that of a print with a corner of the color of the ground.
    """
    filled = cv2.contourArea(outline)
    if filled < (_SMALLEST * max(shape)) ** 2:
        return []
    found = [_quadrilateral(cv2.convexHull(outline)[:, 0].astype(float)), cv2.boxPoints(cv2.minAreaRect(outline))]
    tried = (_piece(_from_top_left(quad + 0.5), filled, shape) for quad in found if quad is not None)
    return [one for one in tried if one is not None]


def _piece(corners: np.ndarray, filled: float, shape: tuple[int, ...]) -> _Piece | None:
    sides = np.linalg.norm(np.roll(corners, -1, 0) - corners, axis=1)
    area = cv2.contourArea(corners.astype(np.float32))
    if sides.min() < max(_SMALLEST * max(shape), sides.max() / _LONGEST) or area > _LARGEST * shape[0] * shape[1]:
        return None
    if skew_of(corners) > _SQUARE:
        return None
    solid = min(filled / area, 1.0)
    return _Piece(corners, solid, area) if solid >= _SOLID else None


def _quadrilateral(hull: np.ndarray) -> np.ndarray | None:
    """The sides of a convex polygon (n, 2) are extended over the shortest others until four are left."""
    points = cv2.approxPolyDP(hull.astype(np.float32)[:, None], 1.0, True)[:, 0].astype(float)
    while len(points) > 4:
        best = None
        for k in range(len(points)):
            before, start, end, after = (points[(k + step) % len(points)] for step in (-1, 0, 1, 2))
            into, out = start - before, after - end
            cross = into[0] * out[1] - into[1] * out[0]
            if abs(cross) < 1e-9:
                continue
            t = ((end - start)[0] * out[1] - (end - start)[1] * out[0]) / cross
            if t < 0:
                continue
            meeting = start + t * into
            base, side = end - start, meeting - start
            added = abs(base[0] * side[1] - base[1] * side[0]) / 2
            if best is None or added < best[0]:
                best = added, k, meeting
        if best is None:
            return None
        _, k, meeting = best
        points[k] = meeting
        points = np.delete(points, (k + 1) % len(points), 0)
    return points if len(points) == 4 else None


def _from_top_left(corners: np.ndarray) -> np.ndarray:
    """Four corners clockwise, from that which is most to the top left."""
    middle = corners.mean(0)
    turned = corners[np.argsort(np.arctan2(*(corners - middle).T[::-1]))]
    # the first side is the one that points most to the right
    along = np.roll(turned, -1, 0) - turned
    return np.roll(turned, -int((along[:, 0] / np.linalg.norm(along, axis=1)).argmax()), 0)


def _chosen(fitted: list[_Piece]) -> list[_Piece]:
    """The prints: of pieces of one place that whose sides are seen best, and none that holds several."""
    kept: list[_Piece] = []
    for one in sorted(fitted, key=lambda piece: (-round(piece.support * piece.solid, 2), -piece.area)):
        if all(_shared(one, other) < 0.6 * max(one.area, other.area) for other in kept):
            kept.append(one)
    kept.sort(key=lambda piece: piece.area)
    prints: list[_Piece] = []
    for one in kept:
        within = [other for other in prints if _shared(one, other) > 0.8 * other.area]
        share = sum(other.area for other in within) / one.area
        if len(within) > 1 and (
            share >= _COVERED or (one.area > 0.5 * max(piece.area for piece in kept) and share > 0.3)
        ):
            continue  # several that their shadows join, or the page on which they lie
        prints = [other for other in prints if not any(other is inner for inner in within)] + [one]
    return prints


def _shared(one: _Piece, other: _Piece) -> float:
    return float(cv2.intersectConvexConvex(one.corners.astype(np.float32), other.corners.astype(np.float32))[0])


# Sides


def _fitted(lab: np.ndarray, piece: _Piece, kinds: np.ndarray) -> _Piece | None:
    """The piece with sides on the outermost sharp lines near its corners; None if there are too few of such."""
    reach = _REACH * max(lab.shape[:2])
    lines = [side_line(lab, piece.corners, k, reach, kinds) for k in range(4)]
    supports = [line.support for line in lines]
    mean = float(np.mean(supports))
    if min(supports) < _SUPPORT or mean < (_ALL_ROUND if piece.solid >= _FULL else _SURELY):
        return None
    fitted = corners_of(lines)
    return _Piece(fitted, piece.solid, cv2.contourArea(fitted.astype(np.float32)), mean)


def _closer(picture: np.ndarray, corners: np.ndarray, scale: float) -> np.ndarray:
    """Corners that were found in a small copy, fitted in the picture itself."""
    left, top = np.maximum(np.floor(corners.min(0) - 6 * scale), 0).astype(int)
    right, bottom = np.ceil(corners.max(0) + 6 * scale).astype(int)
    part = _lab(picture[top:bottom, left:right])
    moved = corners - (left, top)
    lines = [side_line(part, moved, k, 2.5 * scale) for k in range(4)]
    if min(line.support for line in lines) < _SUPPORT:
        return corners
    return corners_of(lines) + np.array([left, top])
