"""Ruled lines among the marks of a photo: a painted court, spokes, a grid. Scratches are shorter, fewer or parallel."""

import math

import cv2
import numpy as np
import torch
from torch import Tensor

from bringback.ops.masks import lower_where_, marked_at, opened
from bringback.ops.views import View

_SEEN = 1 << 20  # pixels at which marks are looked at; larger photos are averaged first
_BROAD = 5  # pixels from the edge of a mark to its middle, from which on it is no line
_SOFT = 0.8  # pixels: the stairs of a mask would break straight edges
_LONG, _SHORT = 0.08, 0.05  # of the root of the photo's area: edges that are counted, and those that are a line's
# Of what is marked so much is within long lines, of which there are so many, or so many pieces, and together so many
# times the root of the area, without what they have of one direction, as film is scratched along all its length; or
# fewer, but at right angles. In 868 drawings of the lines, hairs, cracks and creases of a foreign program, and in 100
# of `structured`, it is at most 4.1 times; of those of 2.8 and more at right angles, none has so many pieces. The
# painted court has 3.4, the spokes of a wheel 6.5, a chart 9.7, of 13 to 23 lines; a print folded three times each way
# has 4.2 to 5.3, of up to 8 lines.
_SHARE, _LEAST, _PIECES = 0.4, 12, 18
_SAME = 0.03  # of that root: pieces that lie no farther from a line are its own
_MANY, _SQUARE = 5.0, 2.8
_ANGLED, _ONE_WAY = 0.78, 0.5  # mean resultant length of four times their angles, at least, and of twice, at most
_BESIDE = 7  # pixels of width that an edge stands for
_OWN = 0.25  # share of a mark that is within lines, from which on it goes with them


def find_ruled(marked: np.ndarray) -> np.ndarray | None:
    """Which of the marks (h, w), bool, are ruled lines, bool; None if they are not most of what is marked."""
    thin = marked & ~opened(marked, _BROAD)
    if not thin.any():
        return None
    soft = cv2.GaussianBlur(thin * np.float32(255), (0, 0), _SOFT).astype(np.uint8)
    edges = cv2.createLineSegmentDetector(cv2.LSD_REFINE_STD).detect(soft)[0]
    if edges is None:
        return None
    start, end = edges.reshape(-1, 2, 2).transpose(1, 0, 2)
    side, (across, down) = math.sqrt(marked.size), (end - start).T
    length = np.hypot(across, down) / side
    long = length >= _LONG
    if np.count_nonzero(long) < 2 * _PIECES or not _are_many(length[long], np.arctan2(down, across)[long]):
        return None
    if _count(start[long], end[long], _SAME * side) < _LEAST:
        return None
    lines = [_drawn(start[some], end[some], marked.shape) & thin for some in (long, length >= _SHORT)]
    if np.count_nonzero(lines[0]) < _SHARE * np.count_nonzero(marked):
        return None
    count, labels = cv2.connectedComponents(marked.astype(np.uint8), connectivity=8)
    within, area = (np.bincount(labels[some], minlength=count) for some in (lines[1], marked))
    ruled: np.ndarray = (within > _OWN * area)[labels] & marked
    return ruled


def _are_many(length: np.ndarray, angle: np.ndarray) -> bool:
    """Whether lines whose edges have these lengths and angles (n,) are as many as scratches never are."""
    total = length.sum() / 2  # each has two edges
    square, one_way = (abs((length * np.exp(k * 1j * angle)).sum()) / length.sum() for k in (4, 2))
    many = total * (1 - one_way) >= _MANY or (total >= _SQUARE and square >= _ANGLED)
    return bool(many and one_way <= _ONE_WAY)


def _count(start: np.ndarray, end: np.ndarray, reach: float) -> int:
    """How many lines have these pieces (n, 2), which lie within `reach` pixels of a longer one's line."""
    count, left = 0, np.argsort(-np.hypot(*(end - start).T))
    while len(left):
        along = end[left[0]] - start[left[0]]
        normal = np.array([-along[1], along[0]]) / np.hypot(*along)
        far = np.maximum(*(abs((points[left] - start[left[0]]) @ normal) for points in (start, end)))
        count, left = count + 1, left[far > reach]
    return count


def _drawn(start: np.ndarray, end: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Where edges (n, 2) have their lines: (h, w) bool."""
    canvas = np.zeros(shape, np.uint8)
    for points in np.rint(16 * np.concatenate([start, end], 1)).astype(int).tolist():
        cv2.line(canvas, points[:2], points[2:], 1, _BESIDE, shift=4)
    return canvas > 0


def lower_ruled_(odds: Tensor, view: View) -> float:
    """Lower a detector's log odds (1, 1, H, W), in place, to 0 or less in ruled lines.

    At most a megapixel is looked at. Returns the share of the photo that was marked and no longer is.
    """
    ruled = find_ruled(marked_at(odds, view.size(_SEEN)))
    return 0.0 if ruled is None else lower_where_(odds, torch.from_numpy(ruled)[None, None].float())
