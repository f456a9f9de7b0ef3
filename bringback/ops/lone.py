"""Broad marks that are hardly sure, in a photo without sure ones: burnt-out sky, the moon, a forehead."""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.ops.masks import CERTAIN, lower_where_, peaks
from bringback.ops.views import View

_SEEN = 1 << 20  # pixels at which marks are looked at; in larger photos the surest of several pixels counts
# A photo that is damaged shows it surely somewhere: log odds of `_SURE` in one mark, or of `_FAIRLY` in more than
# `_FEW`.
_SURE, _FAIRLY, _FEW = 5.3, 4.0, 3
# Where it does not, marks are doubted that are broad, so many pixels from their edge, and of which less than this share
# is certain.
_BROAD, _MOSTLY = 5.0, 0.45
_CORNERS = [1, 1, -2, -2], [1, -2, 1, -2]  # rows and columns: what is torn off a print is torn off there


def lower_lone_(odds: Tensor, view: View, calmed: float) -> float:
    """Lower a detector's log odds (1, 1, H, W), in place, to 0 or less in broad marks that no sure one is beside.

    `calmed` is by how much `masks.calm_` has lowered them. Returns the share of the photo that was marked and no longer
    is. At most a megapixel is looked at.
    """
    seen = F.adaptive_max_pool2d(odds.detach().cpu().float(), view.size(_SEEN))[0, 0].numpy()
    marked = seen > 0
    if not marked.any():
        return 0.0
    seen += calmed
    labels, largest = peaks(marked, seen)
    if largest[1:].max() > _SURE or np.count_nonzero(largest[1:] > _FAIRLY) > _FEW:
        return 0.0
    depth = cv2.distanceTransform(np.pad(marked.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    certain = np.bincount(labels.ravel(), (seen > CERTAIN).ravel())
    # what is not marked has no depth
    doubted = (peaks(marked, depth)[1] >= _BROAD) & (certain < _MOSTLY * np.bincount(labels.ravel()))
    if not doubted.any():
        return 0.0
    doubted[labels[_CORNERS]] = False  # a photo with a broad mark has them
    return lower_where_(odds, torch.from_numpy(doubted[labels])[None, None].float())
