"""Soft damage masks (B, 1, H, W) in [0, 1], 1 = damaged, and the fill masks derived from them."""

import math

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.ops.scale import enlarged_rows
from bringback.ops.strips import strips
from bringback.ops.windows import window_maxima

# From damage mask to fill mask.
SOUND = 0.5  # up to this a pixel is kept
DAMAGED = 0.77  # from this on it is replaced entirely; linear in between
RIM = 0.4  # fill weight of the neighbors of a replaced pixel: scratches have faint borders
# Texture of an intact photo gives a detector middling values everywhere, real damage gives high values somewhere. If
# less than SHARE of the pixels are above CERTAIN, the log odds of the mask are lowered, at most by CALM. So they are if
# less than RARE of the pixels are, and less than SURE of those that are marked: blossoms, letters and ripples.
CERTAIN, SHARE, CALM = math.log(0.95 / 0.05), 0.001, 2.0
RARE, SURE = 0.005, 0.15


def fill_mask(mask: Tensor, *, sound: float = SOUND, damaged: float = DAMAGED, rim: float = RIM) -> Tensor:
    """Fill mask of a soft damage mask (B, 1, H, W) in [0, 1]: steeper, and dilated by one soft pixel.

    Values up to `sound` become 0, from `damaged` on 1. The eight neighbors of a pixel get at least `rim` times its
    value. With `rim=0` a binary mask is unchanged. Same shape, range and dtype. Computed in strips.
    """
    target = torch.empty_like(mask)
    for rows in strips(mask):
        first, last = max(rows.start - 1, 0), min(rows.stop + 1, mask.shape[-2])
        steep = ramp(mask[..., first:last, :], sound, damaged)
        widened = torch.maximum(steep, rim * window_maxima(steep))
        target[..., rows, :] = widened[..., rows.start - first : rows.stop - first, :]
    return target


def ramp(value: Tensor, none: float, all_: float) -> Tensor:
    """0 up to `none` and 1 from `all_` on, or the other way if that is smaller; linear in between."""
    return ((value - none) / (all_ - none)).clamp(0, 1)


def dilate_edges(mask: Tensor) -> Tensor:
    """Harden the soft edges of a user's damage mask (B, 1, H, W): same shape, range and dtype.

    Pixels above 0 get the maximum of their 3x3 neighborhood, because a soft edge covers damage too. Pixels of 0 stay 0.
    """
    return torch.where(mask > 0, window_maxima(mask), mask)


def certain_share(odds: Tensor, certain: float = CERTAIN) -> float:
    """The share of the pixels of log odds (1, 1, H, W) that are certainly damaged: above `certain`."""
    return int(torch.count_nonzero(odds > certain)) / odds.numel()


def calm_(odds: Tensor, lowered: float = 0.0) -> float:
    """Lower a detector's log odds (1, 1, H, W) in place if few of its pixels are certain, or few of the marked ones.

    `lowered` is by how much that was done before, with marks that have been withdrawn since: they are lowered by what
    is lacking. Returns by how much.
    """
    certain = certain_share(odds, CERTAIN - lowered)
    marked = int(torch.count_nonzero(odds > 0)) / odds.numel()
    share = min(certain / SHARE, max(certain / RARE, certain / (SURE * max(marked, 1e-9))))
    by = max(-math.log(min(1.0, max(share, math.exp(-CALM)))) - lowered, 0.0)
    odds.sub_(by)
    return by


def away(mask: np.ndarray) -> np.ndarray:
    """The distance in pixels (h, w), float32, of each place from a mask (h, w)."""
    return cv2.distanceTransform((mask == 0).astype(np.uint8), cv2.DIST_L2, 5)


def opened(mask: np.ndarray, radius: float) -> np.ndarray:
    """The opening (h, w), bool, of a mask (h, w) by a disk, whose size does not matter for the time."""
    core = away(mask == 0) > radius
    return away(core) <= radius if core.any() else core


def marked_at(odds: Tensor, size: tuple[int, int]) -> np.ndarray:
    """Which places (h, w), bool, hold log odds (1, 1, H, W) above 0; averaged, thin marks would be lost."""
    return (F.adaptive_max_pool2d(odds.detach().cpu().float(), size) > 0)[0, 0].numpy()


def peaks(marked: np.ndarray, odds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The marks (h, w), bool, by numbers from 1 on, (h, w); and of each number the largest log odds (h, w) in it.

    0 is all that is not marked.
    """
    count, found = cv2.connectedComponents(marked.astype(np.uint8), connectivity=8)
    labels = np.asarray(found, np.intp)
    largest = np.full(count, -np.inf, np.float32)
    np.maximum.at(largest, labels.ravel(), odds.ravel())
    return labels, largest


def raise_where_(odds: Tensor, place: Tensor) -> None:
    """Raise a detector's log odds (1, 1, H, W), in place, to certainty where a `place` (1, 1, h, w) is 1.

    The place may be of any size.
    """
    size = (odds.shape[-2], odds.shape[-1])
    for rows in strips(odds):
        part = odds[..., rows, :].clone()  # a gradient needs the values before
        inside = enlarged_rows(place, rows, size, "bilinear").to(odds)
        odds[..., rows, :] = torch.where(inside > 0.5, part.clamp_min(CERTAIN), part)


def lower_where_(odds: Tensor, place: Tensor) -> float:
    """Lower a detector's log odds (1, 1, H, W), in place, to 0 or less where a `place` (1, 1, h, w) is not 0.

    The place may be of any size. The order of odds stays. Returns the share of them that were above 0 there.
    """
    size, lost, peak = (odds.shape[-2], odds.shape[-1]), 0, odds.detach().amax()
    for rows in strips(odds):
        near = enlarged_rows(place, rows, size, "bilinear").to(odds.device) > 0
        part = odds[..., rows, :].clone()
        lost += int(torch.count_nonzero(near & (part > 0)))
        odds[..., rows, :] = torch.where(near, part - peak, part)
    return lost / odds.numel()
