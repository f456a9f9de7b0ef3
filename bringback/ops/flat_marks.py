"""Flat patches that are marked in part: a blot, torn corner or strip of tape is damage as a whole, or not at all."""

import cv2
import numpy as np
import torch
from torch import Tensor

from bringback.ops.masks import raise_where_
from bringback.ops.scale import averaged
from bringback.ops.views import View

_SEEN = 1 << 20  # pixels at which marks are looked at; larger photos are averaged first
_SURE = 1.0  # log odds from which a place is surely marked
# The core of a mark, as far as a square of so many pixels fits into what is sure, has so many pixels at least, and so
# small a mean deviation from its tone.
_SQUARE, _LEAST, _UNEVEN = 7, 30, 0.04
# Its patch is what goes on from it in the same tone: no farther from it than so much, or so many times the deviation.
_LIKE, _TIMES = 0.03, 2.5
# So much of a patch has to be surely marked; and it covers no more than so much of the photo: a sky may be marked in
# part, too. Chosen on the odd ones of forty photos damaged by three programs.
_MARKED, _MOST = 0.35, 0.08
# What surrounds a patch differs from its tone by so much, but for so large a share: else it is the picture going on.
_UNLIKE, _SHARE = 0.09, 0.3
_ROOM = 5  # pixels around a patch that are looked at


def complete_marks_(odds: Tensor, view: View) -> None:
    """Raise a detector's log odds (1, 1, H, W), in place, to certainty in all of a flat patch that is marked in part.

    What is left of such a patch would be the nearest color known to what is filled beside it. At most a megapixel is
    looked at.
    """
    size = view.size(_SEEN)
    sure = averaged(odds, size)[0, 0].numpy() > _SURE
    cores = cv2.erode(sure.astype(np.uint8), np.ones((_SQUARE, _SQUARE), np.uint8))
    if cores.any():
        added = _patches(view.photo(size)[0].permute(1, 2, 0).numpy(), sure, cores) & ~sure
        if added.any():
            raise_where_(odds, torch.from_numpy(added)[None, None].float())


def _patches(photo: np.ndarray, sure: np.ndarray, cores: np.ndarray) -> np.ndarray:
    """The flat patches (h, w), bool, of a photo (h, w, 3) of which enough is `sure`, and a rim of one pixel.

    `cores` (h, w), uint8, are those of the marks. Each is looked at in a part of the photo: there may be hundreds.
    """
    patches = np.zeros_like(sure)
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(cores, connectivity=8)
    smooth, filled = cv2.blur(photo, (3, 3)), np.zeros([side + 2 for side in sure.shape], np.uint8)
    for number, (left, top, across, down, count) in enumerate(boxes[1:].tolist(), 1):
        place = slice(top, top + down), slice(left, left + across)
        core = labels[place] == number
        if count < _LEAST or patches[place][core].all():
            continue
        colors = photo[place][core]
        tone = np.median(colors, 0)
        uneven = float(np.abs(colors - tone).mean(0).max())
        if uneven > _UNEVEN:
            continue
        middle = int(np.abs(smooth[place][core] - tone).max(1).argmin())
        row, column = (int(at[middle]) for at in np.nonzero(core))
        far = max(_LIKE, _TIMES * uneven)
        place, patch = _flooded(smooth, (left + column, top + row), far, filled)
        area = np.count_nonzero(patch)
        if area <= _MOST * sure.size and np.count_nonzero(patch & sure[place]) >= _MARKED * area:
            whole = cv2.morphologyEx(patch.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
            rim, around = (cv2.dilate(whole, np.ones((side, side), np.uint8)) > 0 for side in (3, 7))
            beside = np.abs(photo[place][around & ~rim] - tone).max(1)
            if np.count_nonzero(beside < _UNLIKE) <= _SHARE * len(beside):
                patches[place] |= rim
    return patches


def _flooded(
    photo: np.ndarray, start: tuple[int, int], far: float, filled: np.ndarray
) -> tuple[tuple[slice, slice], np.ndarray]:
    """What hangs together with a pixel (x, y) of a photo (h, w, 3) and is no farther from its color.

    Returns a place of the photo with some room around that, and what it is there, bool. `filled` (h + 2, w + 2), uint8,
    is what is worked in: 0 in the photo, before and after.
    """
    far_each = (far, far, far)
    flags = 4 | cv2.FLOODFILL_FIXED_RANGE | cv2.FLOODFILL_MASK_ONLY | (1 << 8)
    _, _, _, (left, top, across, down) = cv2.floodFill(photo, filled, start, (0, 0, 0), far_each, far_each, flags)
    place = (
        slice(max(top - _ROOM, 0), min(top + down + _ROOM, photo.shape[0])),
        slice(max(left - _ROOM, 0), min(left + across + _ROOM, photo.shape[1])),
    )
    inside = filled[1:-1, 1:-1][place]
    patch = inside > 0
    inside[:] = 0
    return place, patch
