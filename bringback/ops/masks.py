"""Soft damage masks (B, 1, H, W) in [0, 1], 1 = damaged, and the fill masks derived from them."""

import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.ops.strips import strips

# From damage mask to fill mask.
SOUND = 0.5  # up to this a pixel is kept
DAMAGED = 0.77  # from this on it is replaced entirely; linear in between
RIM = 0.4  # fill weight of the neighbors of a replaced pixel: scratches have faint borders
# Texture of an intact photo gives middling values everywhere, real damage gives high values somewhere. If less than
# SHARE of the pixels are above CERTAIN, the odds of the mask are scaled down, at most by exp(-CALM).
CERTAIN, SHARE, CALM = 0.95, 0.001, 2.0


def fill_mask(mask: Tensor, *, sound: float = SOUND, damaged: float = DAMAGED, rim: float = RIM) -> Tensor:
    """Fill mask of a soft damage mask (B, 1, H, W) in [0, 1]: steeper, and dilated by one soft pixel.

    Values up to `sound` become 0, from `damaged` on 1. The eight neighbors of a pixel get at least `rim` times its
    value. With `rim=0` a binary mask is unchanged. Same shape, range and dtype.
    """
    steep = ((mask - sound) / (damaged - sound)).clamp(0, 1)
    return torch.maximum(steep, rim * F.max_pool2d(steep, 3, stride=1, padding=1))


def dilate_edges(mask: Tensor) -> Tensor:
    """Harden the soft edges of a user's damage mask (B, 1, H, W): same shape, range and dtype.

    Pixels above 0 get the maximum of their 3x3 neighborhood, because a soft edge covers damage too. Pixels of 0 stay 0.
    """
    return torch.where(mask > 0, F.max_pool2d(mask, 3, stride=1, padding=1), mask)


def fill_target(mask: Tensor) -> Tensor:
    """Fill mask in [0, 1] of a soft damage mask (B, 1, H, W): `fill_mask` of `damped`, in strips; same shape."""
    odds = _damping(mask)
    target = torch.empty_like(mask)
    for rows in strips(mask):
        first, last = max(rows.start - 1, 0), min(rows.stop + 1, mask.shape[-2])  # `fill_mask` dilates by one pixel
        part = fill_mask(_damped(mask[..., first:last, :], odds))
        target[..., rows, :] = part[..., rows.start - first : rows.stop - first, :]
    return target


def damped(mask: Tensor) -> Tensor:
    """Lower the odds of a soft damage mask (B, 1, H, W) if few of its pixels are certain; 0 and 1 stay within 1e-5."""
    return _damped(mask, _damping(mask))


def _damping(mask: Tensor) -> Tensor:
    """Offset (B, 1, 1, 1), in [-CALM, 0], of each photo's log odds."""
    counts = [(mask[..., rows, :] > CERTAIN).sum((1, 2, 3), keepdim=True) for rows in strips(mask)]
    return (torch.stack(counts).sum(0) / mask[0].numel() / SHARE).log().clamp(-CALM, 0)


def _damped(mask: Tensor, odds: Tensor) -> Tensor:
    return torch.sigmoid(torch.logit(mask, 1e-6) + odds)
