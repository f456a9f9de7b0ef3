"""Tells writing and drawings on a plain ground from photos: there, marks are what the page shows."""

from enum import Enum

import cv2
import numpy as np
import torch.nn.functional as F
from torch import Tensor

from bringback.ops.scale import shrink
from bringback.ops.windows import window_maxima

_SIDE = 512  # pixels of the longer side at which the ground is looked at
_SMALLEST = 32  # pixels of the shorter side of a picture, below which it is too small to tell
# The ground is the median over a square with this share of the shorter side: wider than strokes, letters and stars.
_WINDOW = 0.12
_CONTRAST = 0.995  # the share of places whose distance from the ground is below the contrast of the ink
_ON_GROUND = 0.15  # places nearer to the ground than so much of that contrast show the ground
# A page: so much of it shows the ground, and that differs by no more of the ink's contrast from place to place (between
# its 5th and 95th percentile).
_MOST, _EVEN = 0.75, 0.25
_FAINTEST = 0.06  # contrast below which nothing is written
# Birds, planes and kites stand out from an even sky as well. But ink, at half of its contrast and more, is found in so
# many cells of a grid (8 x 8), and is thin: an opening by so many pixels leaves no more of it.
_INK, _CELLS, _SPREAD, _THICK, _LEFT = 0.5, 8, 0.3, 7, 0.05
# A ground is dark if no channel is brighter. There only points are told from the lights and the edges of a night:
# hardly any of what is bright is longer than the window is wide.
_DARK, _LONG = 0.4, 0.1


class Page(Enum):
    """What a page shows: writing or lines on `PAPER`, which is not dark, or `STARS`, points in the dark."""

    PAPER = "paper"
    STARS = "stars"


def _thick(ink: np.ndarray) -> float:
    """The share of the ink (H, W), 0 or 1, that is not thin."""
    ball = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_THICK, _THICK))
    return float(cv2.morphologyEx(ink, cv2.MORPH_OPEN, ball).sum() / ink.sum())


def _long(ink: np.ndarray, side: int) -> float:
    """The share of the ink (H, W), 0 or 1, in connected pieces longer than so many pixels."""
    boxes = cv2.connectedComponentsWithStats(ink)[2][1:]
    longer = boxes[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max(1) > side
    return float(boxes[longer, cv2.CC_STAT_AREA].sum() / ink.sum())


def find_page(pixels: Tensor, marked: Tensor) -> Page | None:
    """What page a picture (1, 3, H, W) in [0, 1] is, of ink on a plain ground or of stars; None for a photo.

    Ink: letters, drawings, maps, diagrams. Only what is not `marked` (1, 1, H, W), bool, as damage is judged: a page
    on which everything is marked cannot be told from a blank one with damage, and is none; nor is one of less than 32
    pixels.
    """
    if min(pixels.shape[-2:]) < _SMALLEST:
        return None
    scale = max(1.0, max(pixels.shape[-2:]) / _SIDE)
    small = (shrink(pixels, scale)[0].permute(1, 2, 0) * 255).round().byte().cpu().numpy()
    covered = F.interpolate(marked.float(), small.shape[:2], mode="area")
    places = window_maxima(covered)[0, 0].cpu().numpy() == 0
    if places.mean() < 0.5:
        return None
    side = max(3, int(_WINDOW * min(small.shape[:2])) | 1)
    ground = np.stack([cv2.medianBlur(np.ascontiguousarray(plane), side) for plane in small.transpose(2, 0, 1)], -1)
    distance = np.abs(small.astype(np.int16) - ground).max(-1)
    contrast = float(np.quantile(distance[places], _CONTRAST))
    low, high = np.quantile(ground[places], (0.05, 0.95), axis=0)
    uneven, plain = float((high - low).max()), (distance[places] < _ON_GROUND * contrast).mean()
    if contrast < 255 * _FAINTEST or uneven > _EVEN * contrast or plain < _MOST:
        return None
    ink = (places & (distance > _INK * contrast)).astype(np.uint8)
    cells = [cell.any() for row in np.array_split(ink, _CELLS) for cell in np.array_split(row, _CELLS, 1)]
    if np.mean(cells) < _SPREAD:
        return None
    if np.median(ground[places], axis=0).max() < 255 * _DARK:
        return Page.STARS if _long(ink, side) <= _LONG else None
    return Page.PAPER if _thick(ink) <= _LEFT else None
