"""Which marks of brown and yellow on a print are stains, and what light they take: layers through which it is seen."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

_LEAST = 8  # pixels of a mark that are surely stained
_HUE = 0.2  # how far green is from blue towards red in a brown, at least; red dyes and ink have less
# Foxing: so many spots at least, each round enough and small, most of what is marked and not most of the print
_SPOTS, _SOLID, _LONG, _SMALL, _MOST, _COVERED = 10, 0.75, 3.0, 0.02, 0.6, 0.15
_CELLS, _EVEN = 4, 0.7  # parts a side, of which they are in as large a share as if each lay anywhere
# Tape: fills its rectangle, is long and wide, as shares of the width and of the shorter side
_FULL, _LONGER, _WIDE, _WIDEST = 0.82, 2.2, 0.025, 0.35
_PIECE = 0.004  # share of a print that is the least of a tape
_SOFT = 0.7  # pixels: how blurred its edges are
_ALIKE = 0.5  # least correlation of the picture beside the edges of a tape with that under it
_CLOUDED = 3.0  # times the contrast under a tape that the picture has at most
_CELL, _PAIRS = 4, 6  # pixels along an edge that are looked at together, and how many of these at least
_BESIDE = 3  # pixels beside the edge of a tape, which show both
_REACH = 5  # pixels around a spot where it may still be
_EDGES = 1.5  # times as steep as around it the print is at most at the rims of spots, once they are gone
_SPREADS = 4.0, 10.0  # pixels from which the picture is continued into spots
_THINNEST = 0.3  # of the picture at least shows through a spot
_BETTER = 0.9  # of what is left of the differences, with one more factor to explain them
_ROUNDS = 6  # of a fit that heeds outliers less

_Box = tuple[Any, Any, float]  # center, sides and turn of a rectangle


@dataclass(frozen=True, slots=True)
class Found:
    """`planes` (3, h, w): weight in [0, 1], what of red and what beside is to be added to red; how many stains."""

    planes: np.ndarray
    spots: int
    tapes: int


@dataclass(frozen=True, slots=True)
class _Mark:
    """Its label, its pixels, how much of its hull it fills, how many times as long as wide it is, in which cell of 4x4
    it is."""

    number: int
    area: int
    solid: float
    long: float
    cell: tuple[int, int]


def find(seen: np.ndarray, lost: np.ndarray, rim: np.ndarray, sure: np.ndarray) -> Found | None:
    """The stains of a print (h, w, 3), smooth, by what it has `lost` (h, w) of green and blue, and where it has: in the
    marks `rim` with what is `sure`, (h, w), uint8. None without any."""
    labels, marks, total = _marks(seen, lost, rim, sure)
    tapes, straight = _tapes(seen[..., 0], lost, labels, marks)
    spots = [m for m in marks if m.solid >= _SOLID and m.long < _LONG and m.area < _SMALL * lost.size]
    area, cells = sum(m.area for m in spots), _CELLS * _CELLS
    if straight < _MOST * (total - area):
        tapes = []
    if (
        len(spots) < _SPOTS
        or area < _MOST * (total - straight)
        or area > _COVERED * lost.size
        or len({m.cell for m in spots}) < _EVEN * cells * (1 - (1 - 1 / cells) ** len(spots))
        or (layers := _through_spots(seen[..., 0], lost, np.isin(labels, [m.number for m in spots]))) is None
    ):
        layers, spots = np.zeros((3, *lost.shape), np.float32), []
    for tape in tapes:
        layers = np.where(tape[:1] > 0, tape, layers)
    return Found(layers, len(spots), len(tapes)) if tapes or spots else None


def _tapes(red: np.ndarray, lost: np.ndarray, labels: np.ndarray, marks: list[_Mark]) -> tuple[list[np.ndarray], int]:
    """`Found.planes` of each tape, and how many pixels all marks cover that are straight and wide as tape is."""
    found, straight, side = [], 0, min(lost.shape)
    for mark in marks:
        if mark.area < _PIECE * lost.size:
            continue
        own = _shape(labels == mark.number, lost)
        box, full = _rectangle(own)
        wide, long = sorted(box[1])
        if full < _FULL or long < _LONGER * wide or not _WIDE * side < wide < _WIDEST * side:
            continue
        straight += mark.area
        if layer := _through_tape(red, box):
            soft = cv2.GaussianBlur(own.astype(np.float32), (0, 0), _SOFT)
            found.append(soft * np.array([1.0, *layer], np.float32)[:, None, None])
    return found, straight


def _marks(
    seen: np.ndarray, lost: np.ndarray, rim: np.ndarray, sure: np.ndarray
) -> tuple[np.ndarray, list[_Mark], int]:
    """The labels (h, w) of all marks, those that are brown or yellow where strongest, and the pixels of all."""
    count, labels, boxes, centers = cv2.connectedComponentsWithStats(rim, connectivity=4)
    certain = np.bincount(labels.ravel(), sure.ravel(), count)
    strength = np.where(sure, lost, 0).ravel()
    red, green, blue = (np.bincount(labels.ravel(), seen[..., one].ravel() * strength, count) for one in range(3))
    brown = (green - blue > _HUE * (red - blue)) & (red > blue)
    height, width = lost.shape
    found = []
    certain[0] = 0
    total = int(boxes[certain >= _LEAST, cv2.CC_STAT_AREA].sum())
    for number in np.flatnonzero((certain >= _LEAST) & brown):
        left, top, across, down, area = boxes[number].tolist()
        own = (labels[top : top + down, left : left + across] == number).astype(np.uint8)
        (_, sides, _), _ = _rectangle(own)
        hull = cv2.contourArea(cv2.convexHull(cv2.findNonZero(own))) + 2 * np.sqrt(area)
        cell = int(_CELLS * centers[number][1] / height), int(_CELLS * centers[number][0] / width)
        found.append(_Mark(int(number), area, area / hull, max(sides) / min(sides), cell))
    return labels, found, total


def _rectangle(own: np.ndarray) -> tuple[_Box, float]:
    """The least rectangle around a mark (h, w), uint8, and the share of it that the mark is."""
    center, sides, turn = cv2.minAreaRect(cv2.findNonZero(own))
    across, down = sides[0] + 1, sides[1] + 1
    return (center, (across, down), turn), np.count_nonzero(own) / (across * down)


def _shape(own: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """(h, w), uint8, where a tape is, whose mark is `own`, bool: to where it has lost half as much as in its middle."""
    half = (own & (lost > np.median(lost[own]) / 2)) | (cv2.erode(own.astype(np.uint8), _disk(4)) > 0)
    return cv2.morphologyEx(half.astype(np.uint8), cv2.MORPH_CLOSE, _disk(4))


def _through_tape(red: np.ndarray, box: _Box) -> tuple[float, float] | None:
    """What is to be added to the red (h, w) in a tape: a share of it, and how much beside; None if it is no tape.

    The picture goes on under a tape: what lies just inside its long edges is like what lies just outside.
    """
    (x, y), (across, down), turn = box
    if across < down:
        across, down, turn = down, across, turn + 90
    long, wide = int(across), int(down)
    band = max(3, wide // 6)
    margin = _BESIDE + band + 1
    matrix = cv2.getRotationMatrix2D((x, y), turn, 1.0)
    matrix[:, 2] += (long - 1) / 2 - x, (wide - 1) / 2 + margin - y
    size = long, wide + 2 * margin
    seen = cv2.warpAffine(red, matrix, size, flags=cv2.INTER_LINEAR, borderValue=-1)
    pairs = []
    for one in (seen, seen[::-1]):
        outside, within = one[1 : 1 + band], one[margin + _BESIDE : margin + _BESIDE + band]
        whole = np.flatnonzero((outside.min(0) >= 0) & (within.min(0) >= 0))
        cells = whole[: len(whole) // _CELL * _CELL].reshape(-1, _CELL)
        if len(whole) < long / 2 or len(cells) < _PAIRS:
            return None
        pairs.append(np.stack([within.mean(0)[cells].mean(1), outside.mean(0)[cells].mean(1)]))
        if np.ptp(pairs[-1], 1).min() == 0 or np.corrcoef(pairs[-1])[0, 1] < _ALIKE / 2:
            return None
    inside, outside = np.concatenate(pairs, 1)
    if np.corrcoef(inside, outside)[0, 1] < _ALIKE:
        return None
    on = np.ones(len(inside), bool)
    gain = lift = 0.0
    for _ in range(_ROUNDS):
        spread = inside[on].std(), outside[on].std()
        gain = float(np.clip(spread[1] / max(spread[0], 1e-4), 0.8, _CLOUDED))
        lift = float(outside[on].mean() - gain * inside[on].mean())
        off = np.abs(gain * inside + lift - outside)
        on = off <= np.quantile(off, 0.8)
    return gain - 1, lift


def _through_spots(red: np.ndarray, lost: np.ndarray, spots: np.ndarray) -> np.ndarray | None:
    """`Found.planes` of spots (h, w), bool, that are of one kind: what they add to the red (h, w) and take of it is in
    proportion to what they take of green and blue. None if they have edges of the picture."""
    marks = spots.astype(np.uint8)
    wide = cv2.dilate(marks, _disk(_REACH)) > 0
    weight = cv2.GaussianBlur(wide.astype(np.float32), (0, 0), 2)
    strength = cv2.GaussianBlur(np.maximum(lost, 0), (0, 0), 1)
    around = _continued(red, wide)
    count, label = cv2.connectedComponents(marks, connectivity=4)
    label[np.isnan(around)] = 0
    around[np.isnan(around)] = 0

    def total(plane: np.ndarray) -> np.ndarray:
        return np.bincount(label.ravel(), plane.ravel(), count)[1:]

    heaviness = np.sqrt(total(strength * strength)) + 1e-6
    wanted, even = total(strength * (around - red)) / heaviness, total(strength * strength) / heaviness
    factors = _fit(wanted, total(strength * strength * around) / heaviness, even)
    beyond = (cv2.dilate(marks, _disk(12)) > 0) & ~wide
    if not beyond.any():
        return None
    outside = _steep(red)[beyond].mean()
    rims = (cv2.dilate(marks, _disk(1)) > 0) & (cv2.erode(marks, _disk(2)) == 0)
    for share, beside in factors:
        through = 1 / np.clip(1 - share * strength, _THINNEST, 2)
        layers = np.stack([weight, through - 1, beside * strength * through])
        steep = _steep(red + weight * (layers[1] * red + layers[2]))
        if max(steep[rims].mean(), steep[marks > 0].mean()) <= _EDGES * outside + 1 / 255:
            return layers.astype(np.float32)
    return None


def _continued(plane: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """A plane (h, w) continued into the holes (h, w), bool, from near around them; NaN where nothing is near."""
    known = (~holes).astype(np.float32)
    result = np.full_like(plane, np.nan)
    for spread in _SPREADS:
        seen = cv2.GaussianBlur(known, (0, 0), spread)
        near = cv2.GaussianBlur(plane * known, (0, 0), spread) / np.maximum(seen, 1e-6)
        result = np.where(np.isnan(result) & (seen > 0.05), near, result)
    return result


def _fit(wanted: np.ndarray, share: np.ndarray, even: np.ndarray) -> list[tuple[float, float]]:
    """The factors of `share` and of `even` that sum to what is `wanted`, all (n,); what is far off is heeded less.

    The better guess first: with both only if that explains much more, or else with `even` alone.
    """
    found, left = list[tuple[float, float]](), list[float]()
    for terms in (np.stack([share, even], 1).astype(np.float64), even[:, None].astype(np.float64)):
        heed, factors = np.ones(len(wanted)), np.zeros(terms.shape[1])
        for _ in range(_ROUNDS):
            weighted = terms * heed[:, None]
            normal = weighted.T @ terms
            factors = np.linalg.solve(normal + 1e-4 * np.trace(normal) * np.eye(len(factors)), weighted.T @ wanted)
            off = np.abs(terms @ factors - wanted)
            heed = 1 / (1 + (off / max(2 * float(np.median(off)), 1e-4)) ** 2)
        found.append((float(factors[0]) if len(factors) == 2 else 0.0, float(factors[-1])))
        left.append(float(np.abs(off).mean()))
    return found if left[0] < _BETTER * left[1] and found[0][0] > 0 else found[1:]


def _steep(plane: np.ndarray) -> np.ndarray:
    return np.hypot(*(cv2.Sobel(plane, cv2.CV_32F, x, y, scale=1 / 8) for x, y in ((1, 0), (0, 1))))


def _disk(reach: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
