"""Marks that lie on circles around one point: the trails of stars, ripples, a turning wheel. Damage does not lie so."""

import math
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
import torch
from torch import Tensor

from bringback.ops.masks import lower_where_, marked_at
from bringback.ops.views import View
from bringback.ops.windows import window_maxima

_SEEN = 1 << 20  # pixels at which marks are looked at; larger photos are averaged first
_LONG, _THIN = 6.0, 2.5  # pixels from end to end, and how many times as long as wide, from which a mark has a direction
_LEAST = 16  # such marks
_NEAR = math.sin(math.radians(8))  # sine of the angle to its circle below which a mark lies on it
_APART = (
    0.5  # of a mark's width, 2 pixels or more: the deviation of its pixels' distances from the center; chords have more
)
# Of the marks, by the root of their length, and the more the fewer there are, as few lie on circles by chance: all in
# trails of stars, 0.65 of 88 with damage among them. Of 1,000 drawings of damage by four programs three have as much,
# all of parallel lines (0.98 and more).
_SHARE, _CHANCE = 0.5, 0.8
_TURNED = 0.85  # mean resultant length of their directions, above which they are parallel: the center is too far away
_SPREAD = 0.1  # standard deviation of the radii as a share of their mean: the pieces of one ring are a stain
_PAIRS = 600  # of marks whose normals are crossed to find the center
_AT_ONCE = 1 << 16  # pairs of a mark and a center that are compared at once: 5 MB
_FRINGE = 2  # pixels around a trail that go with it


@dataclass(frozen=True, slots=True)
class _Marks:
    """Connected marks: `label` (h, w); each one's middle (n, 2), direction (n, 2), length and width (n,) in pixels."""

    label: np.ndarray
    middle: np.ndarray
    direction: np.ndarray
    length: np.ndarray
    width: np.ndarray

    @classmethod
    def of(cls, on: np.ndarray) -> Self:
        count, label = cv2.connectedComponents(on.astype(np.uint8))
        y, x = np.nonzero(on)
        own = label[y, x]

        def mean(values: np.ndarray) -> np.ndarray:
            return np.bincount(own, values, count)[1:] / area

        area = np.bincount(own, minlength=count)[1:].astype(float)
        cx, cy = mean(x), mean(y)
        xx, yy, xy = mean(x * x) - cx * cx, mean(y * y) - cy * cy, mean(x * y) - cx * cy
        angle, apart = 0.5 * np.arctan2(2 * xy, xx - yy), np.hypot(xx - yy, 2 * xy)
        length, width = (np.sqrt(6 * np.maximum(xx + yy + sign * apart, 0) + 1) for sign in (1, -1))
        return cls(label, np.stack([cx, cy], 1), np.stack([np.cos(angle), np.sin(angle)], 1), length, width)

    def spread(self, center: np.ndarray) -> np.ndarray:
        """The standard deviation (n,) of the distances of each one's pixels from a point (2,)."""
        y, x = np.nonzero(self.label)
        own, far = self.label[y, x], np.hypot(x - center[0], y - center[1])
        count = np.bincount(own)[1:]
        mean, square = (np.bincount(own, values)[1:] / count for values in (far, far * far))
        return np.sqrt(np.maximum(square - mean * mean, 0))


def _off(center: np.ndarray, middle: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """The sines of the angles between marks (n, 2) and their circles around centers (..., 1, 2): (..., n)."""
    radius = middle - center
    far = np.hypot(radius[..., 0], radius[..., 1])
    return np.abs((radius * direction).sum(-1)) / np.maximum(far, 1e-6)


def _center(middle: np.ndarray, direction: np.ndarray, weight: np.ndarray) -> np.ndarray | None:
    """The point (2,) around which most marks lie; None if there is none."""
    first, second = np.random.default_rng(0).choice(len(weight), (2, _PAIRS), p=weight / weight.sum())
    a, b = direction[first], direction[second]
    turn = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    crossing = np.abs(turn) > 0.1
    if not crossing.any():
        return None
    a, b, first, second, turn = (one[crossing] for one in (a, b, first, second, turn))
    da, db = (middle[first] * a).sum(1), (middle[second] * b).sum(1)
    centers = np.stack([da * b[:, 1] - db * a[:, 1], db * a[:, 0] - da * b[:, 0]], 1) / turn[:, None]
    # a few centers at a time: all of them and thousands of marks would take more memory than the photo
    parts = np.array_split(centers, max(1, len(centers) * len(weight) // _AT_ONCE))
    support = [(weight * (_off(part[:, None], middle, direction) < _NEAR)).sum(1) for part in parts]
    center = centers[np.concatenate(support).argmax()]
    for _ in range(3):
        on = _off(center, middle, direction) < _NEAR
        far = np.hypot(*(middle[on] - center).T)
        rows = direction[on] * (weight[on] / np.maximum(far, 1.0))[:, None]
        center = np.linalg.lstsq(rows, (rows * middle[on]).sum(1), rcond=None)[0]
    return center


def lower_trails_(odds: Tensor, view: View) -> float:
    """Lower a detector's log odds (1, 1, H, W), in place, to 0 or less in marks that lie on circles around one point.

    Marks across them stay, and those too short to have a direction go with the rest: among trails they are short ones.
    At most a megapixel is looked at. Returns the share of the photo that was marked and no longer is.
    """
    trails = find_trails(marked_at(odds, view.size(_SEEN)))
    if trails is None:
        return 0.0
    around = window_maxima(torch.from_numpy(trails)[None, None].float(), 2 * _FRINGE + 1)
    return lower_where_(odds, around)


def find_trails(on: np.ndarray) -> np.ndarray | None:
    """Which of the marks `on` (h, w), bool, lie on circles around one point, bool; None if most do not.

    Marks too short to have a direction go with the rest.
    """
    marks = _Marks.of(on)
    long = (marks.length >= _LONG) & (marks.length >= _THIN * marks.width)
    if np.count_nonzero(long) < _LEAST:
        return None
    middle, direction, weight = marks.middle[long], marks.direction[long], np.sqrt(marks.length[long])
    center = _center(middle, direction, weight)
    if center is None:
        return None
    around = (_off(center, middle, direction) < _NEAR) & (marks.spread(center) < _APART * np.maximum(marks.width, 2))[
        long
    ]
    if weight[around].sum() < (_SHARE + _CHANCE / math.sqrt(len(weight))) * weight.sum():
        return None
    twice = 2 * np.arctan2(direction[around, 1], direction[around, 0])
    radii = np.hypot(*(middle[around] - center).T)
    if abs(np.average(np.exp(1j * twice), weights=weight[around])) > _TURNED or radii.std() < _SPREAD * radii.mean():
        return None
    own = marks.length < _LONG
    own[long] = around
    return np.concatenate([[False], own])[marks.label]
