"""Refined faces go back into their photo: inside the skin, without a seam, with the photo's own grain."""

from collections.abc import Sequence
from functools import cache
from itertools import combinations

import cv2
import numpy as np

from bringback.stages.faces.alignment import CROP, footprint, warp

# The part of the template's crop that may change: an ellipse with square shoulders, from below the hair to the chin.
MIDDLE, RADII, SHOULDERS = (128.0, 144.0), (100.0, 110.0), 2.4
RAMP = 0.38  # share of the radius over which it fades
KEPT_GRAIN = 0.6  # share of the grain's deviation that a face keeps; all of it would undo the denoising
OCTAVES = (0.8, 1.6)  # deviations in pixels of the blurs that part the grain into bands
FLAT = 0.3  # the quantile of a band's absolute values that tells its deviation: what is flat, not edges
FLAT_OF_NORMAL = 0.385  # that quantile of a normal distribution of deviation 1

# What a face adds under its mask, and the mask (h, w, 4), and its box in the photo (left, top, right, bottom).
Layer = tuple[np.ndarray, tuple[int, int, int, int]]


def paste(pixels: np.ndarray, changes: Sequence[np.ndarray], matrices: Sequence[np.ndarray]) -> np.ndarray:
    """Add changes (size, size, 3), made in the crops of `matrices`, under `feather` to the photo (H, W, 3), in place.

    Nothing is touched outside the masks, and because only the change is carried over the photo keeps whatever detail a
    crop could not hold; of the grain that a change takes away, a part comes back. Where faces overlap they share the
    place by their masks. Returns `pixels`.
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
    """Move what the other layer has in the place that both cover over to the one."""
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
    mask.setflags(write=False)  # every face shares it
    return mask


def lost_grain(before: np.ndarray, after: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """What to add (H, W, 3) to a face `after` refinement (H, W, 3), that it looks as grainy as its photo.

    By bands of an octave: where the face had grain `before`, as its surroundings outside the mask (H, W) have, and has
    less of it now, a share of its own comes back; so it has the photo's size, color and depth of grain.
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
