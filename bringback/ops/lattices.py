"""Lattices: towers, trusses and scaffolds are many straight bars that end at each other. Scratches cross and go on."""

from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
import torch
from torch import Tensor

from bringback.ops.masks import away, lower_where_, marked_at, opened
from bringback.ops.views import View

_SEEN = 1 << 20  # pixels at which bars are looked for; larger photos are averaged first
_THIN = 8  # pixels of the widest bars
_NEAR = 14  # pixels around thin marks in which bars are looked for
_WINDOW, _FLOOR, _GAIN = 17, 0.02, 50  # pixels in which contrast is evened out, the least that is, and levels of it
_SHORT = 8  # pixels of the shortest edges
_MOST = 1000  # edges that are compared with each other, the longest
_OPPOSITE = -0.97  # cosine of the angle between both edges of a bar, at most
_BESIDE = 0.5  # of the shorter edge that runs along the other one
_CONTRAST = 0.02  # of a bar with what is beside it, in luminance
_GAP = 3  # pixels between bars that meet
_TONES, _WIDTHS = 0.15, 3.0  # luminance by which bars that meet differ, and ratio of their widths
_TURNED = 0.2  # sine of the angle between bars that meet
# Bars of a lattice, and how many others each of them meets in the mean.
_LEAST, _MEETS = 20, 2.2
_STOPS = 0.45  # ends of a bar, of two, that stop at another one; crossing scratches go on
_READ = 0.1  # share of its bars that is marked, below which marks there are not those of its bars
_FRINGE = 2  # pixels beside a bar that go with it


@dataclass(frozen=True, slots=True)
class _Bars:
    """Straight strokes: `start` and `end` (n, 2) of their middle lines, x and y in pixels; `width`, their luminance
    `tone` and its contrast with what is beside them, (n,) each."""

    start: np.ndarray
    end: np.ndarray
    width: np.ndarray
    tone: np.ndarray
    contrast: np.ndarray

    def __getitem__(self, chosen: np.ndarray) -> Self:
        return type(self)(*(getattr(self, name)[chosen] for name in self.__slots__))


def _edges(light: np.ndarray, far: np.ndarray) -> np.ndarray:
    """Straight edges (n, 4), float32, of luminance (h, w) where marks are not `far`, (h, w) in pixels: x and y of ends.

    Light is on the same side of all, seen from the start. Faint ones count like strong ones.
    """
    window = (_WINDOW, _WINDOW)
    above = light - cv2.blur(light, window)
    even = above / (np.sqrt(np.maximum(cv2.blur(above * above, window), 0)) + _FLOOR)
    levels = np.where(far <= _NEAR, (even * _GAIN + 128).clip(0, 255), 128).astype(np.uint8)
    found = cv2.createLineSegmentDetector(cv2.LSD_REFINE_STD).detect(levels)[0]
    if found is None:
        return np.zeros((0, 4), np.float32)
    edges = found.reshape(-1, 4)
    length = np.hypot(*(edges[:, 2:] - edges[:, :2]).T)
    true = (length >= _SHORT) & (_seen(far, edges[:, :2], edges[:, 2:]) < _NEAR - 2)  # not where looking ends
    return edges[true][np.argsort(-length[true], kind="stable")[:_MOST]]


def _axes(start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lengths (n,), directions (n, 2) and normals (n, 2) of lines (n, 2)."""
    length = np.hypot(*(end - start).T)
    along = (end - start) / length[:, None]
    return length, along, np.stack([-along[:, 1], along[:, 0]], 1)


def _bars(light: np.ndarray, edges: np.ndarray) -> _Bars:
    """The bars of luminance (h, w): each is between an edge (n, 4) and the nearest one that runs the other way."""
    start, end = edges[:, :2], edges[:, 2:]
    length, along, normal = _axes(start, end)
    one, other = np.nonzero(np.triu(along @ along.T < _OPPOSITE, 1))
    apart = ((start[other] + end[other] - start[one] - end[one]) / 2 * normal[one]).sum(1)
    near = np.abs(apart) <= _THIN
    one, other, apart = one[near], other[near], apart[near]
    first, last = (((ends[other] - start[one]) * along[one]).sum(1) for ends in (end, start))
    shared = np.minimum(last, length[one]) - np.maximum(first, 0)
    beside = shared >= _BESIDE * np.minimum(length[one], length[other])
    one, other, apart, first, last = (values[beside] for values in (one, other, apart, first, last))
    nearest = np.full(len(edges), np.inf)
    for side in (one, other):
        np.minimum.at(nearest, side, np.abs(apart))
    pair = np.abs(apart) <= np.maximum(nearest[one], nearest[other])
    one, apart, first, last = (values[pair] for values in (one, apart, first, last))
    middle = start[one] + normal[one] * (apart / 2)[:, None]
    from_, to = (middle + along[one] * at[:, None] for at in (np.minimum(first, 0), np.maximum(last, length[one])))
    beyond = normal[one] * (np.abs(apart) / 2 + 2.5)[:, None]
    tone = _seen(light, from_, to)
    around = (_seen(light, from_ + beyond, to + beyond) + _seen(light, from_ - beyond, to - beyond)) / 2
    every = _Bars(from_, to, np.abs(apart), tone, tone - around)
    return _each_once(every[np.abs(every.contrast) > _CONTRAST])


def _each_once(bars: _Bars) -> _Bars:
    """The bars without those that lie along longer ones.

    Beside one edge there may be several short ones, as the rims of a scratch are uneven: it is one bar for all of that.
    """
    length, along, normal = _axes(bars.start, bars.end)
    from_middle = (bars.start + bars.end)[None] / 2 - bars.start[:, None]  # of each bar (rows), to all others (columns)
    at, off = ((from_middle * axis[:, None]).sum(2) for axis in (along, normal))
    rank = np.argsort(np.argsort(-length, kind="stable"))
    within = (at > 0) & (at < length[:, None]) & (np.abs(off) < 1 + bars.width[:, None] / 2)
    within &= (np.abs(along @ normal.T) < _TURNED) & (rank[:, None] < rank)
    return bars[~within.any(0)]


def _seen(plane: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The mean (n,) of a plane (h, w) along lines (n, 2)."""
    at = start[:, None] + (end - start)[:, None] * np.linspace(0.1, 0.9, 9, dtype=np.float32)[:, None]
    x, y = (np.rint(at[..., axis]).astype(int).clip(0, plane.shape[1 - axis] - 1) for axis in (0, 1))
    return plane[y, x].mean(1)


def _meeting(bars: _Bars) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which bars touch another that is alike, (n, n) bool, which of them meet it at an angle, and how many of the ends
    of each, (n,), stop at such a bar: the bar does not go on beyond it, as a scratch does."""
    length, along, normal = _axes(bars.start, bars.end)
    reach = (_GAP + bars.width / 2)[:, None]
    turned = np.abs(along @ normal.T)
    like = np.abs(bars.tone[:, None] - bars.tone) < _TONES
    like &= (bars.contrast[:, None] > 0) == (bars.contrast > 0)
    like &= np.maximum(bars.width[:, None], bars.width) < _WIDTHS * np.minimum(bars.width[:, None], bars.width)
    np.fill_diagonal(like, False)
    # along and across each bar (rows), where the ends of all others (columns) are
    at = [((ends[None] - bars.start[:, None]) * along[:, None]).sum(2) for ends in (bars.start, bars.end)]
    off = [((ends[None] - bars.start[:, None]) * normal[:, None]).sum(2) for ends in (bars.start, bars.end)]
    cross = off[0] * off[1] < 0
    ends_on = [
        like & (np.abs(far) < reach) & (place > -reach) & (place < length[:, None] + reach)
        for place, far in zip(at, off, strict=True)
    ]
    touch = (like & cross & cross.T) | ends_on[0] | ends_on[1]
    touch |= touch.T
    stops = np.zeros(len(length))
    first = np.abs(off[0]) < np.abs(off[1])
    for outward, start, on in ((-1, 0.0, ends_on[0]), (1, length[:, None], ends_on[1])):
        beyond = np.stack([outward * (place - start) for place in at])
        goes_on = like & (turned < _TURNED) & (np.where(first, np.abs(off[0]), np.abs(off[1])) < reach)
        goes_on &= (beyond.max(0) > reach) & (beyond.min(0) < 4 * reach)
        stops += (on & (turned.T > _TURNED)).any(0) & ~goes_on.any(1)
    return touch, touch & (turned > _TURNED), stops


def find_lattices(light: np.ndarray, marked: np.ndarray) -> np.ndarray | None:
    """Where the bars of lattices are among the marks of a photo: (h, w) uint8; None without any.

    Args: light: luminance (h, w), float32 in [0, 1]; marked: (h, w) bool.
    """
    thin = marked & ~opened(marked, _THIN / 2 + 1)
    if not thin.any():
        return None
    edges = _edges(light, away(thin))
    if len(edges) < 2 * _LEAST:
        return None
    bars = _bars(light, edges)
    if len(bars.width) < _LEAST:
        return None
    touch, meet, stops = _meeting(bars)
    read, found = _seen(marked.astype(np.float32), bars.start, bars.end), None
    for own in _together(touch):
        many = np.count_nonzero(own) >= _LEAST and read[own].mean() > _READ and stops[own].mean() > _STOPS
        if many and meet[np.ix_(own, own)].sum(1).mean() >= _MEETS:
            found = np.zeros(light.shape, np.uint8) if found is None else found
            _draw(bars[own], found)
    return found


def _together(linked: np.ndarray) -> list[np.ndarray]:
    """The connected groups, (n,) bool each, of what is linked (n, n)."""
    group = before = np.arange(len(linked))
    while True:
        group = np.minimum(np.where(linked, group, len(group)).min(1, initial=len(group)), group)
        group = group[group]
        if (group == before).all():
            return [group == number for number in np.unique(group)]
        before = group


def _draw(bars: _Bars, canvas: np.ndarray) -> None:
    for start, end, width in zip(bars.start, bars.end, bars.width, strict=True):
        first, last = (np.rint(16 * point).astype(int).tolist() for point in (start, end))
        cv2.line(canvas, first, last, 1, round(width) + 2 * _FRINGE, shift=4)


def lower_lattices_(odds: Tensor, view: View) -> float:
    """Lower a detector's log odds (1, 1, H, W), in place, to 0 or less in the bars of lattices.

    At most a megapixel is looked at. Returns the share of the photo that was marked and no longer is.
    """
    size = view.size(_SEEN)
    marked = marked_at(odds, size)
    if not marked.any() or (bars := find_lattices(view.light(size), marked)) is None:
        return 0.0
    return lower_where_(odds, torch.from_numpy(bars)[None, None].float())
