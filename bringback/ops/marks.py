"""The marks in a damage mask, each told by its shape, its tones, its edges and the marks around it."""

from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np

REACH = 6  # pixels around a mark in which its ground is seen
NEAREST = 12  # marks around one that are compared with it
MOST = 5000  # marks of a photo that are told; smaller ones beyond are left out
_CHUNK = 64  # marks whose distances to all others are held at once
_SHAPES = 51  # facts of a mark alone, see `_alone`
_BESIDE = 14  # facts of two marks, see `_pairs`
FACTS = _SHAPES + 4 * _BESIDE + 5


@dataclass(frozen=True, slots=True)
class Marks:
    """The connected marks of a mask: `labels` (H, W) int32, 0 where there is none; `facts` (N, 112) float32 of each.

    `areas` (N,) are their pixels. Marks beyond the `MOST` largest have label 0.
    """

    labels: np.ndarray
    facts: np.ndarray
    areas: np.ndarray

    @classmethod
    def of(cls, planes: np.ndarray, odds: np.ndarray) -> Self | None:
        """The marks of a photo (3, H, W) float32 in [0, 1] where log odds (H, W) are above 0; None without any."""
        on = (odds > 0).astype(np.uint8)
        count, labels, boxes, centers = cv2.connectedComponentsWithStats(on, connectivity=8)
        if count - 1 > MOST:
            kept = np.sort(np.argsort(-boxes[1:, cv2.CC_STAT_AREA], kind="stable")[:MOST]) + 1
            table = np.zeros(count, np.int32)
            table[kept] = np.arange(1, MOST + 1)
            labels, boxes, centers, count = table[labels], boxes[[0, *kept]], centers[[0, *kept]], MOST + 1
            on = (labels > 0).astype(np.uint8)
        if count == 1:
            return None
        alone, places = _alone(planes, odds, on, labels, boxes[1:].astype(float), centers[1:])
        areas = boxes[1:, cv2.CC_STAT_AREA].astype(np.float32)
        return cls(labels, np.concatenate([alone, _around(places)], 1).astype(np.float32), areas)


def _log(values: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(values, 1e-3))


class _Sums:
    """Sums over the chosen pixels (H, W) of each mark, which `owners` (H, W) numbers from 1 to `count`."""

    def __init__(self, chosen: np.ndarray, owners: np.ndarray, count: int) -> None:
        self.at = np.flatnonzero(chosen).astype(np.int32)
        self.owners, self.count = owners.ravel()[self.at], count
        self.pixels = np.maximum(np.bincount(self.owners, minlength=count + 1)[1:], 1e-3)

    def pick(self, plane: np.ndarray) -> np.ndarray:
        """Their values in a contiguous plane (H, W)."""
        return plane.ravel()[self.at]

    def mean(self, picked: np.ndarray) -> np.ndarray:
        return np.bincount(self.owners, picked, self.count + 1)[1:] / self.pixels

    def spread(self, picked: np.ndarray) -> np.ndarray:
        return np.sqrt(np.maximum(self.mean(picked * picked) - self.mean(picked) ** 2, 0))

    def most(self, picked: np.ndarray) -> np.ndarray:
        result = np.full(self.count + 1, -np.inf, np.float32)
        np.maximum.at(result, self.owners, picked)
        return result[1:]


def _alone(
    planes: np.ndarray, odds: np.ndarray, on: np.ndarray, labels: np.ndarray, boxes: np.ndarray, centers: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Facts of each mark (N, 51), and what others compare with: (N, 13)."""
    (height, width), count = odds.shape, len(boxes)
    short, light = min(height, width), 0.299 * planes[0] + 0.587 * planes[1] + 0.114 * planes[2]
    away, near = cv2.distanceTransformWithLabels(1 - on, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_CCOMP)
    table = np.zeros(near.max() + 1, np.int32)
    table[near[on > 0]] = labels[on > 0]
    near = table[near]  # the mark that is nearest to each pixel
    depth = np.minimum(cv2.distanceTransform(on, cv2.DIST_L2, 5), short)  # endless where all of a photo is marked
    inner = _Sums(on > 0, labels, count)
    rim = _Sums((on == 0) & (away <= 1.5), near, count)
    ground = _Sums((on == 0) & (away > 1.5) & (away < REACH), near, count)
    edge = _Sums(((on == 0) & (away <= 1.5)) | ((on > 0) & (depth < 1.5)), near, count)
    ridge = _Sums((on > 0) & (depth >= cv2.dilate(depth, np.ones((3, 3), np.uint8)) - 1e-4), labels, count)
    del away, near

    area, deep, ridges = inner.pixels, inner.pick(depth), ridge.pick(depth)
    broad, broadest = 4 * inner.mean(deep), 2 * inner.most(deep)  # the mean depth of a band is a quarter of its width
    uneven = ridge.spread(ridges) / (ridge.mean(ridges) + 1e-3)
    x, y = centers.T
    rows, columns = (axis.astype(np.float32) for axis in np.divmod(inner.at, width))
    xx, yy = (inner.mean(a * a) - b**2 + 1 / 12 for a, b in ((columns, x), (rows, y)))
    xy = inner.mean(columns * rows) - x * y
    root = np.sqrt(np.maximum((xx - yy) ** 2 / 4 + xy**2, 0))
    major, minor = (3.46 * np.sqrt(np.maximum((xx + yy) / 2 + sign * root, 1 / 12)) for sign in (1, -1))
    angle = 0.5 * np.arctan2(2 * xy, xx - yy)
    around, hull, rough, holes, hollow, varied = _outlines(on, labels, count)

    lit, paler = inner.pick(light), ground.pick(light)
    tone, below = inner.mean(lit), ground.mean(paler)
    contrast, spread, busy = tone - below, inner.spread(lit), ground.spread(paler)
    strong = np.abs(contrast) + 0.02
    color, paper = (np.stack([one.mean(one.pick(plane)) for plane in planes], 1) for one in (inner, ground))
    across, down = (cv2.Sobel(light, cv2.CV_32F, *way, scale=1 / 8) for way in ((1, 0), (0, 1)))
    slope, steps = np.hypot(edge.pick(across), edge.pick(down)), 2 * np.arctan2(edge.pick(down), edge.pick(across))
    steep, total = edge.mean(slope), np.maximum(edge.mean(slope), 1e-4 / edge.pixels)
    one, two = (
        np.hypot(edge.mean(slope * np.cos(fold * steps)), edge.mean(slope * np.sin(fold * steps))) / total
        for fold in (1, 2)
    )
    left, top, wide, tall = boxes[:, :4].T
    border = np.minimum.reduce([left, top, width - left - wide, height - top - tall]) / short
    shape = [
        *(_log(area), _log(major), _log(minor), _log(major / minor), _log(broad), _log(broadest)),
        *(_log(broadest / broad), uneven, _log(area / np.maximum(broad, 1) / np.maximum(major, 1)), _log(area / hull)),
        *(_log(area / (wide * tall)), _log(around**2 / area), rough, np.log1p(holes), _log(hollow / area + 0.01)),
        *(varied, np.log1p(hollow / np.maximum(holes, 1)), _log(major / short), _log(broad / short * 100)),
        _log(wide / tall),
    ]
    tones = [
        *(
            tone,
            below,
            contrast,
            np.abs(contrast),
            tone - rim.mean(rim.pick(light)),
            spread,
            busy,
            _log(spread / strong),
        ),
        *(_log(busy / strong), inner.most(lit), -inner.most(-lit), np.ptp(color, axis=1), np.ptp(paper, axis=1)),
        np.abs((color - tone[:, None]) - (paper - below[:, None])).max(1),
        *(color[:, 0] - color[:, 2], paper[:, 0] - paper[:, 2]),
    ]
    seen = [
        *(inner.mean(inner.pick(odds)) / 4, inner.most(inner.pick(odds)) / 4),
        *(rim.mean(rim.pick(odds)) / 4, ground.mean(ground.pick(odds)) / 4),
    ]
    edges = [
        steep * 10,
        _log(steep / strong),
        ground.mean(np.hypot(ground.pick(across), ground.pick(down))) * 20,
        one,
        two,
    ]
    place = [
        *(np.abs(np.cos(angle)), np.abs(np.cos(2 * angle)), np.minimum(border * 5, 1), border <= 0),
        *(np.minimum(x, width - x) / width, np.minimum(y, height - y) / height),
    ]
    compared = [
        *(x, y, wide, tall, _log(major), _log(broad), tone, contrast, np.cos(2 * angle), np.sin(2 * angle)),
        *(_log(area), color[:, 0] - color[:, 2], _log(steep / strong)),
    ]
    return np.stack([*shape, *tones, *seen, *edges, *place], 1), np.stack(compared, 1)


def _outlines(on: np.ndarray, labels: np.ndarray, count: int) -> tuple[np.ndarray, ...]:
    """Of each mark: circumference, area of its hull, how rough it is; number, area and unevenness of its holes."""
    around, hull, rough, holes, hollow, squares = np.zeros((6, count + 1))
    contours, tree = cv2.findContours(on, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for outline, parent in zip(contours, tree[0, :, 3], strict=True):
        mark = labels[outline[0, 0, 1], outline[0, 0, 0]]
        if parent >= 0:
            if (area := cv2.contourArea(outline)) > 2:
                holes[mark] += 1
                hollow[mark] += area
                squares[mark] += area * area
            continue
        convex = cv2.convexHull(outline)
        around[mark], length = cv2.arcLength(outline, True), cv2.arcLength(convex, True)
        hull[mark], rough[mark] = cv2.contourArea(convex) + 0.5 * length + 1, around[mark] / max(length, 1)
    mean = hollow / np.maximum(holes, 1)
    varied = np.sqrt(np.maximum(squares / np.maximum(holes, 1) - mean**2, 0)) / (mean + 1)
    return around[1:], hull[1:], rough[1:], holes[1:], hollow[1:], varied[1:]


def _around(places: np.ndarray) -> np.ndarray:
    """How each mark compares with the nearest ones: (N, 61).

    Mean, least, greatest and least absolute value of each fact in `_pairs`; then the share of the nearest that are
    alike, alike and in a row with it as letters are, parallel, across; and how many of `NEAREST` there are.
    """
    count, near = len(places), min(NEAREST, len(places) - 1)
    result = np.zeros((count, 4 * _BESIDE + 5), np.float32)
    result[:, _BESIDE : 2 * _BESIDE], result[:, 2 * _BESIDE : 3 * _BESIDE] = 9, -9
    result[:, 3 * _BESIDE : 4 * _BESIDE] = 9
    if not near:
        return result
    for first in range(0, count, _CHUNK):
        chunk = slice(first, min(first + _CHUNK, count))
        facts = _pairs(places, chunk, near)
        alike = (np.abs(facts[..., 6]) < 0.5) & (np.abs(facts[..., 7]) < 0.35) & (np.abs(facts[..., 8]) < 0.25)
        in_row = alike & ((facts[..., 4] > 0.5) | (facts[..., 5] > 0.5)) & (facts[..., 1] < 0.5)
        shares = [alike, in_row, facts[..., 10] > 0.9, facts[..., 10] < -0.3, np.ones_like(alike)]
        result[chunk] = np.concatenate(
            [
                facts.mean(1),
                np.clip(facts.min(1), -9, 9),
                np.clip(facts.max(1), -9, 9),
                np.minimum(np.abs(facts).min(1), 9),
                np.stack([share.sum(1) / NEAREST for share in shares], 1),
            ],
            1,
        )
    return result


def _pairs(places: np.ndarray, chunk: slice, near: int) -> np.ndarray:
    """Facts of some marks and the `near` ones nearest to each: (n, near, 14)."""
    x, y, wide, tall = places[:, :4].T
    some = np.arange(chunk.start, chunk.stop)[:, None]
    right, down = x - x[some], y - y[some]
    apart = [np.maximum(np.abs(d) - (s + s[some]) / 2, 0) for d, s in ((right, wide), (down, tall))]
    far = apart[0] + apart[1] + 0.1 * (np.abs(right) + np.abs(down))
    far[np.arange(len(some)), some[:, 0]] = np.inf
    other = np.argpartition(far, near - 1, 1)[:, :near]
    right, down, gap = (np.take_along_axis(v, other, 1) for v in (right, down, apart[0] + apart[1]))
    large = np.exp(places[:, 4]) + 2
    squared = (np.hypot(right, down) + 1e-3) ** 2
    along, aside = (right * right - down * down) / squared, 2 * right * down / squared
    cosine, sine = places[:, 8], places[:, 9]
    rows, columns = (_overlap(v[some], size[some], v[other], size[other]) for v, size in ((y, tall), (x, wide)))
    differ = places[other] - places[some]
    facts = [
        *(np.log1p(gap / 4), np.log((gap + 1) / np.minimum(large[some], large[other])), along),
        *(cosine[some] * along + sine[some] * aside, np.maximum(rows, -2), np.maximum(columns, -2)),
        *(differ[..., 4], differ[..., 5], differ[..., 6] * 3, differ[..., 7] * 3),
        *(cosine[other] * cosine[some] + sine[other] * sine[some], np.log(tall[other] / tall[some])),
        *(differ[..., 11] * 3, differ[..., 12]),
    ]
    return np.stack(facts, -1)


def _overlap(center: np.ndarray, size: np.ndarray, other: np.ndarray, their: np.ndarray) -> np.ndarray:
    """How much of the smaller of two intervals both cover; below 0 how far they are apart, in its sizes."""
    last, first = (
        pick(center + s * size / 2, other + s * their / 2) for pick, s in ((np.minimum, 1), (np.maximum, -1))
    )
    return (last - first) / np.minimum(size, their)
