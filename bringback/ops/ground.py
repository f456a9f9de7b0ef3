"""What prints lie on: paper, a scanner's lid, a table. The edge of the picture shows it.

Its light is a smooth surface, and what is left of its colors a few clusters, so that paper may be patterned and a table
grained.
"""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

RING = 0.015  # width of the edge that shows the ground, as a share of the longer side
_CLUSTERS = 4  # colors of a ground, once its light is even
_SEGMENTS, _AROUND = 24, 0.55  # parts of the edge, and the share of them where a color of the ground is seen
_ALIKE = 0.08  # how far colors, in Lab by 100, may be apart that count as one in this
_NOISE = 0.025  # least distance from the ground's colors, in Lab by 100
_LEAST, _MOST = 0.05, 0.12  # difference from a ground's color from which on something else begins, by its noise
_CLIPPED = 0.012  # distance from white and black within which a ground is that
_EVEN = 0.5  # least share of the edge that is ground


def apart_from_ground(seen: np.ndarray) -> np.ndarray | None:
    """(h, w) how far each pixel of a picture (h, w, 3), in Lab by 100, is from the colors of the ground, by its noise.

    None if the edge of the picture shows no ground.
    """
    height, width = seen.shape[:2]
    ring = ring_of(seen.shape)
    smooth = cv2.medianBlur(seen, 3)
    surface = surface_through(smooth, ring)
    rest = smooth - surface
    y, x = np.nonzero(ring)
    colors = rest[y, x]
    every = max(1, len(colors) // 6000)
    cv2.setRNGSeed(0)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_MAX_ITER, 20, 1e-3)
    labels = np.empty(0, np.int32)
    _, _, centers = cv2.kmeans(colors[::every].copy(), _CLUSTERS, labels, criteria, 2, cv2.KMEANS_PP_CENTERS)
    nearest = np.linalg.norm(colors[:, None] - centers, axis=2).argmin(1)
    turn = np.arctan2(y - height / 2, x - width / 2)
    segment = ((turn + np.pi) / (2 * np.pi) * _SEGMENTS).astype(int) % _SEGMENTS
    apart, ground = np.full((height, width), np.inf, np.float32), np.zeros(len(colors), bool)
    sizes = np.bincount(segment, minlength=_SEGMENTS)
    parts = [np.bincount(segment[nearest == k], minlength=_SEGMENTS) > 0.05 * sizes for k in range(len(centers))]
    for k, center in enumerate(centers):
        alike = [part for part, one in zip(parts, centers, strict=True) if np.abs(center - one).max() <= _ALIKE]
        if np.any(alike, axis=0).mean() < _AROUND:
            continue  # a print that lies at the edge
        its = nearest == k
        spread = _NOISE + 3 * 1.48 * np.median(np.abs(colors[its] - center), 0)
        apart = np.minimum(apart, np.sqrt((((rest - center) / spread) ** 2).sum(2)))
        ground |= its
    return apart if ground.mean() >= _EVEN else None


@dataclass(frozen=True)
class Plain:
    """A ground of one color around what a picture (h, w, 3) shows.

    `color` (3,) is its middle one, `off` (h, w, 3) are the signed differences of the pixels from it, and `most` that up
    to which noise is expected; `even` is the share of the picture's edge, `ring` (h, w), within.
    """

    ring: np.ndarray
    color: np.ndarray
    off: np.ndarray
    most: float
    even: float

    @cached_property
    def apart(self) -> np.ndarray:
        """(h, w) how far each pixel is from the ground, from 1 on it is something else."""
        return np.abs(self.off).max(2) / self.most

    @property
    def clipped(self) -> bool:
        """Whether it is white or black, so that it has no noise by which it could be told."""
        return bool((self.color > 1 - _CLIPPED).all() or (self.color < _CLIPPED).all())


def plain_ground(picture: np.ndarray, share: float = RING, *, lit: bool = False) -> Plain:
    """The ground that the edge of a picture shows, so much of its longer side wide; under uneven light with `lit`."""
    ring = ring_of(picture.shape, share)
    rest = picture - surface_through(cv2.medianBlur(picture, 3), ring) if lit else picture
    color, most, even = middle_color(rest[ring])
    off = rest - color
    return Plain(ring, np.median((picture - off)[ring], 0) if lit else color, off, most, even)


def ring_of(shape: tuple[int, ...], share: float = RING) -> np.ndarray:
    """Which pixels of a picture of this shape (h, w, ...) are its edge, so much of the longer side wide: (h, w)."""
    height, width = shape[:2]
    edge = max(round(share * max(height, width)), 2)
    ring = np.ones((height, width), bool)
    ring[edge:-edge, edge:-edge] = False
    return ring


def middle_color(pixels: np.ndarray) -> tuple[np.ndarray, float, float]:
    """The middle color of pixels (n, 3), the distance from it up to which noise is expected, and the share within."""
    color = np.median(pixels, axis=0)
    off = np.abs(pixels - color).max(1)
    most = float(np.clip(0.02 + 4 * np.median(off), _LEAST, _MOST))
    return color, most, float((off < most).mean())


def surface_through(smooth: np.ndarray, ring: np.ndarray) -> np.ndarray:
    """The light of the ground: a quadratic surface (h, w, 3) through the middle colors of the ring."""
    height, width = ring.shape
    down, across = (side.astype(np.float32) for side in np.mgrid[:height, :width])
    across, down = across / width - 0.5, down / height - 0.5
    terms = np.stack([np.ones_like(across), across, down, across * down, across**2, down**2], 2)
    points, colors = terms[ring][::3], smooth[ring][::3]
    weight = np.ones(len(points), np.float32)
    fit = np.zeros((6, 3), np.float32)
    fit[0] = np.median(colors, 0)
    for _ in range(8):
        off = np.linalg.norm(colors - points @ fit, axis=1)
        limit = max(3 * 1.48 * float(np.median(off)), _NOISE)
        weight = np.clip(1 - (off / limit) ** 2, 0, 1) ** 2
        ridge = np.diag([1e-6, *[1e-2] * 5]) * weight.sum()
        fit = np.linalg.solve(points.T @ (points * weight[:, None]) + ridge, points.T @ (colors * weight[:, None]))
    return (terms @ fit).astype(np.float32)
