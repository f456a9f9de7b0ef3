"""Blends refined faces into their photo, without seams and with the photo's own grain."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from typing import Self

import cv2
import numpy as np
from torch import Tensor

from bringback.stages.faces.alignment import CROP, align, footprint, scale, similarity, warp

# The part of the template's crop that may change: a superellipse from below the hair to the chin.
MIDDLE, RADII, SHOULDERS = (128.0, 144.0), (100.0, 110.0), 2.4
RAMP = 0.38  # share of the radius over which it fades
PASTED = (24, 32, 232, 256)  # the box of all that may change, the same when mirrored; whole places of the generator
KEPT_GRAIN = 0.6  # share of the grain's deviation that a face keeps; all of it would undo the denoising
OCTAVES = (0.8, 1.6)  # deviations in pixels of the blurs that split the grain into bands
REACH = sum((round(8 * sigma + 1) | 1) // 2 for sigma in OCTAVES)  # pixels that enter a band on each side, by OpenCV
STRIP = 1 << 19  # pixels that are pasted at a time
# A face is warped once, not twice and strip by strip, if its box has at most so many pixels for one of its crop.
KEPT_WARPED = 2
SPARSE = 2  # of every so many rows and columns one tells how strong grain is
FLAT = 0.3  # the quantile of a band's absolute values that gives its deviation: flat areas, not edges
FLAT_OF_NORMAL = 0.385  # that quantile of a normal distribution of deviation 1
# Of two guesses at what is finer than a small photo, a refined crop's and an upscaler's, this share of the crop's: a
# mean is nearer to the truth than both. Crops that are less than so many times finer than the photo gain nothing.
FINER_SHARE, FINER = 0.6, 2.0

# A face's masked change and its mask, four planes (h, w), and their box in the photo (left, top, right, bottom).
Planes = list[np.ndarray]  # with colors last numpy takes three times as long
Layer = tuple[Planes, tuple[int, int, int, int]]


def channels_last(pixels: Tensor) -> np.ndarray:
    """(3, H, W) as an array (H, W, 3), without its gradient: a view, if the channels are last in memory."""
    return np.ascontiguousarray(pixels.detach().permute(1, 2, 0).cpu().numpy())


def paste(pixels: np.ndarray, changes: Sequence[np.ndarray], matrices: Sequence[np.ndarray]) -> np.ndarray:
    """Add changes (size, size, 3), made in the crops of `matrices`, under `feather` to the photo (H, W, 3), in place.

    Pixels outside the masks stay the same. Only the change is added, so the photo keeps detail that a crop cannot hold;
    part of the grain that a change removes is restored. Overlapping faces are weighted by their masks. Works in strips
    of rows, as a face may fill a large scan. Returns `pixels`.
    """
    faces = [_Face.of(pixels, change, matrix) for change, matrix in zip(changes, matrices, strict=True)]
    height, width = pixels.shape[:2]
    above = pixels[:0].copy()  # the rows above the strip as they came
    for rows in _strips(0, height, width):
        layers = [face.layer(pixels, rows, above) for face in faces if face.reaches(rows)]
        above = pixels[max(rows.stop - REACH, 0) : rows.stop].copy()
        for one, other in combinations(layers, 2):
            _merge(one, other)
        for (*added, mask), (left, top, right, bottom) in layers:
            place = pixels[top:bottom, left:right]
            for color, plane in enumerate(added):
                place[..., color] += plane / np.maximum(mask, 1) if len(layers) > 1 else plane
            place.clip(0, 1, out=place)
    return pixels


def paste_finer(
    pixels: np.ndarray, lights: Sequence[np.ndarray], points: Sequence[np.ndarray], times: tuple[float, float]
) -> np.ndarray:
    """Give refined faces the detail of their crops in a photo (H, W, 3) that was enlarged, in place. Returns `pixels`.

    A face that is smaller than its crop lost what is finer than the photo's pixels when it was put back. A mean of
    that, as luminance, and of what is as fine in the enlarged photo replaces the latter; all else stays.

    Args: lights: luminance (S, S) of the refined crops; points: landmarks (5, 2) in the enlarged photo; times: how many
    times it was enlarged, across and down.
    """
    height, width = pixels.shape[:2]
    before = round(height / times[1]), round(width / times[0])
    changes, matrices = list[np.ndarray](), list[np.ndarray]()
    for light, places in zip(lights, points, strict=True):
        size = len(light)
        matrix, small = similarity(places, size), similarity((places + 0.5) / times - 0.5, size)
        if scale(small) >= FINER:
            now = cv2.cvtColor(align(pixels, matrix, size), cv2.COLOR_RGB2GRAY)  # Rec. 601, as in `luminance`
            change = FINER_SHARE * (light.astype(np.float32) - now)
            changes.append(np.repeat((change - _as_coarse(change, small, before))[..., None], 3, axis=2))
            matrices.append(matrix)
    return paste(pixels, changes, matrices)


def _as_coarse(plane: np.ndarray, matrix: np.ndarray, before: tuple[int, int]) -> np.ndarray:
    """What is left of a plane (S, S) of a crop after it was put into the photo of this height and width."""
    size = len(plane)
    left, top, right, bottom = footprint(matrix, size, *before, margin=4)
    moved = matrix.copy()
    moved[:, 2] += matrix[:, :2] @ (left, top)
    there = (right - left, bottom - top)
    small = warp(plane, cv2.invertAffineTransform(moved), there, cv2.BORDER_REFLECT_101)
    return warp(small, moved, (size, size), cv2.BORDER_REFLECT_101)


@dataclass(frozen=True, slots=True)
class _Face:
    """A change and its mask (size, size, 4), the matrix (2, 3) from there to its `box` in the photo, see `footprint`,
    and how much of its grain comes back, see `grain_shares`. `whole` is what `_warped` gives for all rows of the box,
    None for a face that is much larger than its crop.
    """

    change: np.ndarray
    back: np.ndarray
    box: tuple[int, int, int, int]
    shares: Sequence[float] = ()
    whole: Planes | None = None

    @classmethod
    def of(cls, pixels: np.ndarray, change: np.ndarray, matrix: np.ndarray) -> Self:
        size = change.shape[0]
        box = footprint(matrix, size, *pixels.shape[:2])
        face = cls(np.dstack([change, feather(size)]), cv2.invertAffineTransform(matrix), box)
        if (box[2] - box[0]) * (box[3] - box[1]) <= KEPT_WARPED * size**2:
            face = replace(face, whole=face._warped(slice(box[1], box[3])))
        return replace(face, shares=grain_shares(face._parts(pixels)))

    def reaches(self, rows: slice) -> bool:
        return self.box[1] < rows.stop and rows.start < self.box[3]

    def layer(self, pixels: np.ndarray, rows: slice, above: np.ndarray) -> Layer:
        """What is to be added in these rows of the photo, `above` which are others as they came. Ask only once."""
        left, top, right, bottom = self.box
        rows = slice(max(rows.start, top), min(rows.stop, bottom))
        layer = self._warped(rows)
        if any(self.shares):
            wide = self._with_rim(rows)
            over = rows.start - wide.start
            before = pixels[rows.start : wide.stop, left:right]
            if over:
                before = np.concatenate([above[len(above) - over :, left:right], before])
            *added, mask = layer
            for plane, speckle in zip(added, cv2.split(grain(before, self.shares)), strict=True):
                plane += mask * speckle[over : over + len(mask)]
        return layer, (left, rows.start, right, rows.stop)

    def _parts(self, pixels: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, slice]]:
        """Green before and after the change, the mask, and the rows that count, strip by strip."""
        left, top, right, bottom = self.box
        for rows in _strips(top, bottom, right - left):
            wide = self._with_rim(rows)
            before, (_, green, _, mask) = np.ascontiguousarray(pixels[wide, left:right, 1]), self._warped(wide)
            yield before, before + green, mask, slice(rows.start - wide.start, rows.stop - wide.start)

    def _with_rim(self, rows: slice) -> slice:
        return slice(max(rows.start - REACH, self.box[1]), min(rows.stop + REACH, self.box[3]))

    def _warped(self, rows: slice) -> Planes:
        """The masked change and the mask in these rows of the box; views of `whole` if there is one."""
        if self.whole is not None:
            return [plane[rows.start - self.box[1] : rows.stop - self.box[1]] for plane in self.whole]
        back = self.back.copy()
        back[:, 2] -= (self.box[0], rows.start)
        size = self.box[2] - self.box[0], rows.stop - rows.start
        planes: Planes = [*cv2.split(warp(self.change, back, size))]
        planes[3].clip(0, 1, out=planes[3])
        for plane in planes[:3]:
            plane *= planes[3]
        return planes


def _strips(top: int, bottom: int, width: int) -> Iterator[slice]:
    """Slices of so many rows that a strip has about `STRIP` pixels, and no fewer than the next one looks back."""
    rows = max(REACH, STRIP // max(width, 1))
    return (slice(first, min(first + rows, bottom)) for first in range(top, bottom, rows))


def _merge(one: Layer, other: Layer) -> None:
    """Move the overlap of both layers from the other to the one."""
    boxes = [box for _, box in (one, other)]
    left, top = (max(edges) for edges in zip(*(box[:2] for box in boxes), strict=True))
    right, bottom = (min(edges) for edges in zip(*(box[2:] for box in boxes), strict=True))
    if left < right and top < bottom:
        parts = [
            [plane[top - y : bottom - y, left - x : right - x] for plane in layer] for layer, (x, y, *_) in (one, other)
        ]
        for to, of in zip(*parts, strict=True):
            to += of
            of[:] = 0


@cache
def feather(size: int = CROP) -> np.ndarray:
    """The mask (size, size) of what a crop may change: 1 on the face, a half-cosine ramp, 0 before hair and border."""
    y, x = (np.mgrid[:size, :size] + 0.5) * (CROP / size)
    distances = (np.abs(place - middle) / radius for place, middle, radius in zip((x, y), MIDDLE, RADII, strict=True))
    radius = sum(distance**SHOULDERS for distance in distances) ** (1 / SHOULDERS)
    ramp = ((1 - radius) / RAMP).clip(0, 1)
    mask = (0.5 - 0.5 * np.cos(np.pi * ramp)).astype(np.float32)
    mask.setflags(write=False)  # cached, so all faces share it
    return mask


def grain_shares(parts: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray, slice]]) -> list[float]:
    """How much of its grain, by octave, to add to a refined face, so that it looks as grainy as its photo, see `grain`.

    Up to `KEPT_GRAIN` times the deviation of the face before, or that of the surroundings outside the mask if that is
    less. Measured in green, which has most of the luminance.

    Args: parts: strips of the face before and after refinement and of the mask, (H, W) each, and the rows that count.
    """
    own, around, new = ([list[np.ndarray]() for _ in OCTAVES] for _ in range(3))
    for before, after, mask, rows in parts:
        some = slice(rows.start, rows.stop, SPARSE), slice(None, None, SPARSE)
        inside, outside = mask[some] > 0.5, mask[some] == 0
        for octave, (old, made) in enumerate(zip(_bands(before), _bands(after), strict=True)):
            own[octave].append(old[some][inside])
            around[octave].append(old[some][outside])
            new[octave].append(made[some][inside])
    return [_share(*values) for values in zip(own, around, new, strict=True)]


def _share(own: list[np.ndarray], around: list[np.ndarray], new: list[np.ndarray]) -> float:
    """How much of the grain of one octave comes back, by its values before, in the surroundings and now."""
    most, left = _deviation(own), _deviation(new) / KEPT_GRAIN
    if left >= most or most == np.inf:
        return 0.0
    missing = KEPT_GRAIN**2 * (min(most, _deviation(around)) ** 2 - left**2)
    return min(missing**0.5 / most, 1.0) if missing > 0 else 0.0


def grain(before: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """These `shares`, one an octave, of the grain of a face (H, W, 3): so size and color of it are the photo's."""
    added = np.zeros_like(before)
    for band, share in zip(_bands(before), shares, strict=True):
        added += band * np.float32(share)
    return added


def _bands(picture: np.ndarray) -> list[np.ndarray]:
    bands = []
    for sigma in OCTAVES:
        blurred = cv2.GaussianBlur(picture, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
        bands.append(picture - blurred)
        picture = blurred
    return bands


def _deviation(values: list[np.ndarray]) -> float:
    """The deviation of the noise in the values of a band; infinite where there are none."""
    together = np.abs(np.concatenate(values)) if values else np.zeros(0)
    return float(np.quantile(together, FLAT, overwrite_input=True)) / FLAT_OF_NORMAL if together.size else np.inf
