"""Tells writing and drawings on a plain ground from photos: there, marks are what the page shows."""

import cv2
import numpy as np
import torch.nn.functional as F
from torch import Tensor

from bringback.ops.scale import shrink
from bringback.ops.windows import window_maxima

_SIDE = 512  # pixels of the longer side at which the ground is looked at
# The ground is the median over a square with this share of the shorter side: wider than strokes, letters and stars.
_WINDOW = 0.12
_INK = 0.995  # the share of places whose distance from the ground is below the contrast of the ink
_ON_GROUND = 0.15  # places nearer to the ground than so much of that contrast show the ground
# A page: so much of it shows the ground, and that differs by no more of the ink's contrast from place to place (between
# its 5th and 95th percentile). Both hold for 1 % of 1600 training photos, diagrams and fireworks, birds and planes
# in an empty sky, and for none of 940 old ones.
_MOST, _EVEN = 0.75, 0.25
_FAINTEST = 0.06  # contrast below which nothing is written


def is_page(pixels: Tensor, marked: Tensor) -> bool:
    """Whether a picture (1, 3, H, W) in [0, 1] shows writing, lines or points on a plain ground, and is no photo.

    Letters, drawings, maps, diagrams, stars. Only what is not `marked` (1, 1, H, W), bool, as damage is judged: a page
    on which everything is marked cannot be told from a blank one with damage, and is none.
    """
    scale = max(1.0, max(pixels.shape[-2:]) / _SIDE)
    small = (shrink(pixels, scale)[0].permute(1, 2, 0) * 255).round().byte().cpu().numpy()
    covered = F.interpolate(marked.float(), small.shape[:2], mode="area")
    places = window_maxima(covered)[0, 0].cpu().numpy() == 0
    if places.mean() < 0.5:
        return False
    side = max(3, int(_WINDOW * min(small.shape[:2])) | 1)
    ground = np.stack([cv2.medianBlur(np.ascontiguousarray(plane), side) for plane in small.transpose(2, 0, 1)], -1)
    distance = np.abs(small.astype(np.int16) - ground).max(-1)[places]
    ink = float(np.quantile(distance, _INK))
    low, high = np.quantile(ground[places], (0.05, 0.95), axis=0)
    uneven = float((high - low).max())
    return ink >= 255 * _FAINTEST and uneven <= _EVEN * ink and bool((distance < _ON_GROUND * ink).mean() >= _MOST)
