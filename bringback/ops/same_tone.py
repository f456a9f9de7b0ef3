"""Marks of one tone, of which a detector is sure in part: they reach as far as their tone does."""

import cv2
import numpy as np
import torch
from torch import Tensor

from bringback.ops.masks import raise_where_
from bringback.ops.scale import averaged
from bringback.ops.views import View

_SEEN = 1 << 20  # pixels at which marks are looked at; larger photos are averaged first
_SURE, _SOUND = 1.0, -2.2  # log odds from which a place is surely marked, and below which it is sound
_AROUND = 15  # side in pixels of the windows in which marks and what is beside them are compared
_LEAST = 0.05  # share of a window that is surely marked at least
# How far the channels of what is added may be from the mean of what is sure, and what is sure from it; and how far, at
# least, that mean has to be from that of what is sound: where a mark is like the picture, tone says nothing.
_LIKE, _UNLIKE = 0.035, 0.09


def grow_marks_(odds: Tensor, view: View) -> None:
    """Raise a detector's log odds (1, 1, H, W), in place, to certainty in what goes on from sure marks in their tone.

    Only what is not sound for the detector is added. At most a megapixel is looked at.
    """
    size = view.size(_SEEN)
    seen = averaged(odds, size)[0, 0].numpy()
    if not (seen > _SURE).any():
        return
    grown = _grown(view.photo(size)[0].permute(1, 2, 0).numpy(), seen)
    if grown.any():
        raise_where_(odds, torch.from_numpy(grown)[None, None].float())


def _grown(photo: np.ndarray, odds: np.ndarray) -> np.ndarray:
    """What is to be added (h, w), bool, to the sure marks of a photo (h, w, 3) with these log odds (h, w)."""
    sure, sound = odds > _SURE, odds < _SOUND
    some, beside = _mean(sure.astype(np.float32)), _mean(sound.astype(np.float32))
    tone = _mean(photo * sure[..., None]) / np.maximum(some, 1e-6)[..., None]
    ground = _mean(photo * sound[..., None]) / np.maximum(beside, 1e-6)[..., None]
    square = _mean(photo * photo * sure[..., None]) / np.maximum(some, 1e-6)[..., None]
    uneven = np.sqrt(np.maximum(square - tone * tone, 0)).max(2)
    like = (np.abs(photo - tone).max(2) < _LIKE) & (uneven < _LIKE) & (some > _LEAST) & ~sound
    like &= (np.abs(tone - ground).max(2) > _UNLIKE) | (beside < 0.01)
    count, labels = cv2.connectedComponents((like | sure).astype(np.uint8), connectivity=4)
    touching = np.zeros(count, bool)
    touching[labels[sure]] = True
    return touching[labels] & like & ~sure


def _mean(plane: np.ndarray) -> np.ndarray:
    return cv2.boxFilter(plane, -1, (_AROUND, _AROUND))
