"""Falling snow among the marks of a photo. Its flakes are the softer the larger they are; rims of specks are not."""

import math
from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor

from bringback.ops.masks import lower_where_, marked_at
from bringback.ops.views import View
from bringback.ops.windows import window_maxima

_SEEN = 1 << 20  # pixels at which marks are looked at; larger photos are averaged first
_LARGEST, _ROUND = 30, 2.2  # pixels of a flake, and how many times as long as wide it is at most
_SMALLEST = 9  # pixels of a flake whose softness can be told; smaller ones go with the rest
_CONTRAST = 0.12  # of its middle with what is around it
_AROUND = 4  # pixels of that
_LEAST, _MANY = 50, 6  # flakes, and those of them that are wide
_APART = 0.1  # pixels between the smallest and the largest radius, below which nothing is told by them
_WIDE = 1.6  # pixels of the radius at half of the contrast, from which on softness is that of a flake, not of the photo
# How steep a flake is, by its radius, is the same for all if they are blurred in proportion; of specks with rims of one
# width it grows with the radius. Its median in wide ones and the exponent of its growth add up to less than this in
# snow: in training photos with snow that was drawn to 1.2 to 1.4 (one of five to 1.9), in those with specks, drawn and
# real, to 1.9 and more.
_SOFT = 1.75
_FRINGE = 2  # pixels around a flake that go with it


def _steepness(patch: np.ndarray, own: np.ndarray) -> tuple[float, float] | None:
    """Radius in pixels of a light flake, and how steep it is at most, by its contrast and radius; None for others.

    `own` (h, w), bool, is the flake in the luminance of a `patch` (h, w).
    """
    above = patch - np.median(patch[~own])
    most = float(above[own].max())
    if most < _CONTRAST:
        return None
    radius = math.sqrt(np.count_nonzero(own & (above > most / 2)) / math.pi)
    across, down = (cv2.Sobel(above, cv2.CV_32F, x, 1 - x, scale=1 / 8) for x in (1, 0))
    return radius, float(np.hypot(across, down)[own].max()) / most * radius


def find_snow(light: Callable[[], np.ndarray], marked: np.ndarray) -> np.ndarray | None:
    """Which marks are flakes of falling snow: (h, w) bool; None if it does not snow.

    Args: light: gives the luminance (h, w), float32 in [0, 1], once there may be flakes; marked: (h, w) bool.
    """
    _, label, boxes, _ = cv2.connectedComponentsWithStats(marked.astype(np.uint8), connectivity=8)
    left, top, wide, tall, area = boxes.T
    longer = np.maximum(wide, tall)
    compact = (longer <= _LARGEST) & ((longer <= _ROUND * np.minimum(wide, tall)) | (area < _SMALLEST))
    compact[0] = False
    if np.count_nonzero(compact) < _LEAST:
        return None
    flakes, measured, shown = compact & (area < _SMALLEST), [], light()
    for number in np.flatnonzero(compact & (area >= _SMALLEST)):
        rows, columns = (
            slice(max(at - _AROUND, 0), at + side + _AROUND)
            for at, side in ((top[number], tall[number]), (left[number], wide[number]))
        )
        if (found := _steepness(shown[rows, columns], label[rows, columns] == number)) is not None:
            flakes[number] = True
            measured.append(found)
    if len(measured) < _LEAST:
        return None
    radius, steep = np.maximum(np.array(measured), 1e-3).T
    broad = steep[radius > _WIDE]
    if len(broad) < _MANY or np.ptp(radius) < _APART:
        return None
    is_soft = np.median(broad) + np.polyfit(np.log(radius), np.log(steep), 1)[0] < _SOFT
    return flakes[label] if is_soft else None


def lower_snow_(odds: Tensor, view: View) -> float:
    """Lower a detector's log odds (1, 1, H, W), in place, to 0 or less in the flakes of falling snow.

    At most a megapixel is looked at. Returns the share of the photo that was marked and no longer is.
    """
    size = view.size(_SEEN)
    flakes = find_snow(lambda: view.light(size), marked_at(odds, size))
    if flakes is None:
        return 0.0
    return lower_where_(odds, window_maxima(torch.from_numpy(flakes)[None, None].float(), 2 * _FRINGE + 1))
