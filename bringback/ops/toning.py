"""The toning of a print without colors: which green and blue go with each red, changing slowly over the sheet."""

from dataclasses import dataclass
from typing import Self

import numpy as np

_BINS, _LEAST_WIDE = 24, 1 / 512  # tones for which green and blue are told, and how far apart they are at least
_ENDS = 0.002, 0.01  # shares of the darkest, and of the brightest, that are told by themselves: there curves end
_ROUNDS, _SAMPLES = 3, 20000  # of fitting curve and slow change in turn; pixels that are enough for that
_FAR = 4.0  # times the typical distance from the curve, from which on a pixel does not count for the slow change


@dataclass(frozen=True, slots=True)
class Toning:
    """Green and blue less red, `beyond` (k, 2), for each `red` (k,), and a quadratic of place: `change` (5, 2).

    `middle` (5,) are its mean terms.
    """

    red: np.ndarray
    beyond: np.ndarray
    change: np.ndarray
    middle: np.ndarray

    @classmethod
    def fit(cls, seen: np.ndarray, free: np.ndarray) -> Self:
        """The toning of a print (h, w, 3) by its pixels that are `free` (h, w), bool, of stains: by their majority."""
        places = np.flatnonzero(free)
        places = places[:: max(1, len(places) // _SAMPLES)]
        colors, terms = seen.reshape(-1, 3)[places], _terms(seen.shape[:2]).reshape(-1, 5)[places]
        red, beyond = colors[:, 0], colors[:, 1:] - colors[:, :1]
        change, middle = np.zeros((5, 2), np.float32), terms.mean(0)
        tones, groups = _grouped(red)
        for _ in range(_ROUNDS):
            even = beyond - (terms - middle) @ change
            values = np.array([_median(even[group]) for group in groups])
            left = beyond - np.stack([np.interp(red, tones, values[:, one]) for one in (0, 1)], 1)
            far = np.linalg.norm(left - (terms - middle) @ change, axis=1)
            near = np.clip(1 - (far / (_FAR * max(1.48 * float(np.median(far)), 1 / 255))) ** 2, 0, 1)[:, None]
            middle = (terms * near).sum(0) / max(near.sum(), 1e-6)
            change = np.linalg.lstsq((terms - middle) * near, left * near, rcond=None)[0].astype(np.float32)
        return cls(tones, values, change, middle)

    def of(self, red: np.ndarray) -> np.ndarray:
        """Green and blue less red, (..., 2), that go with this red (...)."""
        return np.stack([np.interp(red, self.red, self.beyond[:, one]) for one in (0, 1)], -1).astype(np.float32)

    def slow(self, size: tuple[int, int]) -> np.ndarray:
        """(2, h, w) how green and blue differ from that by the place, for a print of this size (h, w)."""
        return ((_terms(size) - self.middle) @ self.change).astype(np.float32).transpose(2, 0, 1)


def _grouped(red: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """The medians (k,) of groups of like tones (n,), and the numbers of the tones in each."""
    order = np.argsort(red, kind="stable")
    tones, groups = list[float](), list[np.ndarray]()
    ends = [share * len(order) for share in _ENDS]
    cuts = [*ends, *(len(order) * k / _BINS for k in range(1, _BINS)), *(len(order) - end for end in reversed(ends))]
    for group in np.split(order, np.array(cuts, int)):
        if not len(group):
            continue
        tone = float(_median(red[group]))
        if not tones or tone - tones[-1] > _LEAST_WIDE:
            tones.append(tone)
            groups.append(group)
    return np.array(tones), groups


def _median(values: np.ndarray) -> np.ndarray:
    """The median along the first axis; of a few hundred values numpy's own takes several times as long."""
    ordered = np.sort(values, 0)
    return (ordered[(len(values) - 1) // 2] + ordered[len(values) // 2]) / 2


def _terms(size: tuple[int, int]) -> np.ndarray:
    """(h, w, 5) the terms of a quadratic of place, but the constant."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, side, dtype=np.float32) for side in size), indexing="ij")
    return np.stack([x, y, x * x, x * y, y * y], -1)
