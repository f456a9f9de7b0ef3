"""Gaps in broad marks: slivers of a torn corner, or the rim of a hole, that a detector did not mark."""

import cv2
import numpy as np
import torch
from torch import Tensor

from bringback.ops.masks import away, opened, raise_where_
from bringback.ops.scale import averaged
from bringback.ops.views import View

_SEEN = 1 << 21  # pixels at which marks are looked at; larger photos are averaged first
_MARKED = 1.0  # log odds from which a place counts as marked: it is filled nearly all
_BROAD = 16  # radius in pixels of a disk that fits into a broad mark
_GAP = 5  # pixels from a mark to the middle of a gap that is closed
# A mark is closed if it reaches the border of the photo, as torn corners do, or if so much of it and of its gaps is
# marked: between the spots of a cloud the picture shows. Chosen on half of the photos damaged by two programs.
_SOLID = 0.95


def close_gaps_(odds: Tensor, view: View) -> None:
    """Raise a detector's log odds (1, 1, H, W), in place, to certainty in narrow gaps of broad marks.

    What is left there would be the nearest color known: it would spread into all of the place that is filled. At most
    two megapixels are looked at.
    """
    gaps = _gaps((averaged(odds, view.size(_SEEN))[0, 0].numpy() > _MARKED).astype(np.uint8))
    if gaps is None:
        return
    raise_where_(odds, torch.from_numpy(gaps)[None, None])


def _gaps(on: np.ndarray) -> np.ndarray | None:
    """The gaps, 1 of 0, float32, in the broad marks of a mask (h, w), uint8; None if there are none."""
    border = _BROAD + _GAP + 2
    on = np.pad(on, border, mode="edge")  # beyond the photo its marks go on
    broad = opened(on, _BROAD).astype(np.uint8)
    if not broad.any():
        return None
    closed = away(away(on) > _GAP) > _GAP
    near = np.zeros_like(closed)
    last = on.shape[0] - border, on.shape[1] - border
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(broad, connectivity=8)
    for number, (left, top, across, down, _) in enumerate(boxes[1:].tolist(), 1):
        rows, columns = ((max(at - border, 0), at + side + border) for at, side in ((top, down), (left, across)))
        place = slice(*rows), slice(*columns)
        own = away(labels[place] == number) <= _GAP + 1
        ends = min(top, left) <= border or top + down >= last[0] or left + across >= last[1]
        if ends or np.count_nonzero(own & (on[place] > 0)) > _SOLID * np.count_nonzero(own & closed[place]):
            near[place] |= own
    found = (near & closed & (on == 0))[border:-border, border:-border]
    return found.astype(np.float32) if found.any() else None
