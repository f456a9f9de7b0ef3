"""Soft damage masks (B, 1, H, W) in [0, 1], 1 = damaged, and what of a photo is filled because of them."""

import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.ops.strips import strips

# How a soft damage mask becomes the mask that is filled.
SOUND = 0.5  # up to here a pixel is left alone
DAMAGED = 0.77  # from here on it is replaced entirely; linear between the two
RIM = 0.4  # how far the pixels next to a replaced one are replaced too: scratches have faint borders
# The texture of a sound photo raises doubts everywhere, damage certainties somewhere. Where fewer pixels than this
# share are certainly damaged, doubts count for less, down to exp(-CALM) times the odds.
CERTAIN, SHARE, CALM = 0.95, 0.001, 2.0


def solid(mask: Tensor, *, sound: float = SOUND, damaged: float = DAMAGED, rim: float = RIM) -> Tensor:
    """The mask to fill, out of a soft damage mask (B, 1, H, W) in [0, 1]: steeper, and wider by one soft pixel.

    Values up to `sound` become 0, from `damaged` on 1. The eight neighbours of a pixel get at least `rim` times
    its value. With a `rim` of 0 an exact mask of zeros and ones stays as it is. Same shape, range and dtype.
    """
    steep = ((mask - sound) / (damaged - sound)).clamp(0, 1)
    return torch.maximum(steep, rim * F.max_pool2d(steep, 3, stride=1, padding=1))


def firm(mask: Tensor) -> Tensor:
    """A damage mask (B, 1, H, W), as people and programs draw it, with firm edges: same shape, range and dtype.

    What it covers a little is as damaged as the most covered of its neighbours, because a soft edge shows the damage
    too. What it does not cover at all stays sound.
    """
    return torch.where(mask > 0, F.max_pool2d(mask, 3, stride=1, padding=1), mask)


def replaced(mask: Tensor) -> Tensor:
    """How far each pixel is to be filled, in [0, 1], by a soft damage mask (B, 1, H, W); same shape."""
    odds = _calm(mask)
    target = torch.empty_like(mask)
    for rows in strips(mask):
        first, last = max(rows.start - 1, 0), min(rows.stop + 1, mask.shape[-2])  # `solid` looks a pixel further
        part = solid(_calmed(mask[..., first:last, :], odds))
        target[..., rows, :] = part[..., rows.start - first : rows.stop - first, :]
    return target


def calmed(mask: Tensor) -> Tensor:
    """A soft damage mask (B, 1, H, W) with lower odds in a photo where little is certain; zeros and ones stay."""
    return _calmed(mask, _calm(mask))


def _calm(mask: Tensor) -> Tensor:
    """What is to be added to the log odds of each photo (B, 1, 1, 1)."""
    counts = [(mask[..., rows, :] > CERTAIN).sum((1, 2, 3), keepdim=True) for rows in strips(mask)]
    return (torch.stack(counts).sum(0) / mask[0].numel() / SHARE).log().clamp(-CALM, 0)


def _calmed(mask: Tensor, odds: Tensor) -> Tensor:
    return torch.sigmoid(torch.logit(mask, 1e-6) + odds)
