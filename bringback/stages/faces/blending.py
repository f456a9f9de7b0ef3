"""Blends refined faces into their photo, without seams and with the photo's own grain."""

from collections.abc import Sequence
from functools import cache
from itertools import combinations

import cv2
import numpy as np

from bringback.stages.faces.alignment import CROP, footprint, warp

# The part of the template's crop that may change: a superellipse from below the hair to the chin.
MIDDLE, RADII, SHOULDERS = (128.0, 144.0), (100.0, 110.0), 2.4
RAMP = 0.38  # share of the radius over which it fades
KEPT_GRAIN = 0.6  # share of the grain's deviation that a face keeps; all of it would undo the denoising
OCTAVES = (0.8, 1.6)  # deviations in pixels of the blurs that split the grain into bands
FLAT = 0.3  # the quantile of a band's absolute values that gives its deviation: flat areas, not edges
FLAT_OF_NORMAL = 0.385  # that quantile of a normal distribution of deviation 1

# A face's masked change and its mask (h, w, 4), and their box in the photo (left, top, right, bottom).
Layer = tuple[np.ndarray, tuple[int, int, int, int]]


def paste(pixels: np.ndarray, changes: Sequence[np.ndarray], matrices: Sequence[np.ndarray]) -> np.ndarray:
    """Add changes (size, size, 3), made in the crops of `matrices`, under `feather` to the photo (H, W, 3), in place.

    Pixels outside the masks stay the same. Only the change is added, so the photo keeps detail that a crop cannot hold;
    part of the grain that a change removes is restored. Overlapping faces are weighted by their masks. Returns
    `pixels`.
    """
    layers = [_layer(pixels, change, matrix) for change, matrix in zip(changes, matrices, strict=True)]
    for one, other in combinations(layers, 2):
        _merge(one, other)
    for layer, (left, top, right, bottom) in layers:
        place = pixels[top:bottom, left:right]
        place += layer[..., :3] / np.maximum(layer[..., 3:], 1)
        place.clip(0, 1, out=place)
    return pixels


def _layer(pixels: np.ndarray, change: np.ndarray, matrix: np.ndarray) -> Layer:
    left, top, right, bottom = box = footprint(matrix, change.shape[0], *pixels.shape[:2])
    back = cv2.invertAffineTransform(matrix)
    back[:, 2] -= (left, top)
    layer = warp(np.dstack([change, feather(change.shape[0])]), back, (right - left, bottom - top))
    added, mask = layer[..., :3], layer[..., 3:]
    mask.clip(0, 1, out=mask)
    added *= mask
    place = pixels[top:bottom, left:right]
    added += mask * lost_grain(place, place + added, mask[..., 0])
    return layer, box


def _merge(one: Layer, other: Layer) -> None:
    """Move the overlap of both layers from the other to the one."""
    boxes = [box for _, box in (one, other)]
    left, top = (max(edges) for edges in zip(*(box[:2] for box in boxes), strict=True))
    right, bottom = (min(edges) for edges in zip(*(box[2:] for box in boxes), strict=True))
    if left < right and top < bottom:
        to, of = (layer[top - y : bottom - y, left - x : right - x] for layer, (x, y, *_) in (one, other))
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


def lost_grain(before: np.ndarray, after: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The grain (H, W, 3) to add to a face `after` refinement (H, W, 3), so that it looks as grainy as its photo.

    In each octave, grain of the face `before` is added up to `KEPT_GRAIN` times its deviation, or that of the
    surroundings outside the mask (H, W) if that is less. So size and color of the grain are the photo's.
    """
    inside, outside = mask > 0.5, mask == 0
    lost = np.zeros_like(before)
    if not inside.any():
        return lost
    for old, new in zip(_bands(before), _bands(after), strict=True):
        own = _deviation(old[inside])
        around = _deviation(old[outside]) if outside.any() else own
        missing = (KEPT_GRAIN * min(own, around)) ** 2 - _deviation(new[inside]) ** 2
        if missing > 0:
            lost += old * min(missing**0.5 / own, 1)
    return lost


def _bands(picture: np.ndarray) -> list[np.ndarray]:
    bands = []
    for sigma in OCTAVES:
        blurred = cv2.GaussianBlur(picture, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
        bands.append(picture - blurred)
        picture = blurred
    return bands


def _deviation(band: np.ndarray) -> float:
    """The deviation of the noise in the values of a band (N, 3), by green, which has most of the luminance."""
    return float(np.quantile(np.abs(band[:, 1]), FLAT)) / FLAT_OF_NORMAL
