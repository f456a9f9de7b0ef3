"""Attention from damaged to undamaged positions in the original's mappings, in memory linear in their number."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bringback.models.layers import pad_to
from bringback.models.translation.partial_nonlocal import attend
from bringback.models.wan2020.blocks import NormedBlock

_ROWS = 8192  # positions processed at a time
_DAMAGED = 0.6  # share of damaged positions above which a patch counts as damaged


def holes(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize a binary mask (B, 1, H, W) to (B, 1, *size): 1 where the bilinear result is above 0."""
    return (F.interpolate(mask, size, mode="bilinear", align_corners=False) > 0).to(mask.dtype)


class ResidualNonLocal(nn.Module):
    """The partial non-local block, then residual blocks; undamaged positions are unchanged.

    x (B, C, h, w) and binary mask (B, 1, H, W), 1 = damaged -> (B, C, h, w). Every position attends to all undamaged
    ones, by unscaled dot product. The original masks the softmax of the N x N matrix and renormalizes; the softmax over
    undamaged positions used here is equivalent and needs no such matrix. Without undamaged positions the attention is
    zero before its output projection, as in the original.
    Args: channels; blocks: residual blocks.
    """

    def __init__(self, channels: int, blocks: int = 3) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Conv2d(channels, channels, 1) for _ in range(4))
        self.blocks = nn.Sequential(*(NormedBlock(channels) for _ in range(blocks)))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        size = (x.shape[-2], x.shape[-1])
        # damaged by either way of resizing the mask, as in the original
        damaged = torch.maximum(holes(mask, size), F.interpolate(mask, size, mode="nearest"))
        found = torch.empty_like(x, memory_format=torch.contiguous_format)
        for number, keep in enumerate(damaged.flatten(1) == 0):
            self._look(x[number].flatten(1), keep, found[number].flatten(1))
        return torch.where(damaged > 0, self.blocks(found), x)

    def _look(self, x: Tensor, keep: Tensor, result: Tensor) -> None:
        """Write to `result` (C, N) the attention of positions x (C, N) over those where `keep` (N,) is true."""
        sound = x[:, keep].T
        key, value = (_each(layer, sound) for layer in (self.key, self.value))
        del sound  # as large as key or value
        for first in range(0, x.shape[1], _ROWS):
            rows = x[:, first : first + _ROWS].T
            found = attend(_each(self.query, rows), key, value, scale=1.0) if len(key) else torch.zeros_like(rows)
            result[:, first : first + _ROWS] = _each(self.out, found).T


def _each(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply a 1x1 convolution to positions (N, C) -> (N, C')."""
    return F.linear(x, layer.weight.flatten(1), layer.bias)


class PatchAttention(nn.Module):
    """Replace damaged patches by the most similar undamaged patch, and fuse the result with the input by a convolution.

    x (B, C, h, w) and binary mask (B, 1, H, W), 1 = damaged -> (B, C, h, w). Patches do not overlap and are compared by
    cosine similarity after a residual block. Sides that are not multiples of the size are padded by replication (the
    original leaves a strip of zeros there); patches that extend beyond the border are not copied from. Without
    undamaged patches nothing is replaced (the original fails).
    Args: channels; size: side of a patch in positions.
    """

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.block = NormedBlock(channels)
        self.join = nn.Conv2d(2 * channels + 1, channels, 3, padding=1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        damaged = holes(mask, (height, width))
        patches = F.pixel_unshuffle(pad_to(self.block(x), self.size), self.size)
        share = F.avg_pool2d(pad_to(damaged, self.size), self.size)
        whole = F.pad(torch.ones_like(damaged), (0, -width % self.size, 0, -height % self.size))
        inside = F.avg_pool2d(whole, self.size) == 1
        hole = share > _DAMAGED
        for number, (hollow, good) in enumerate(zip(hole.flatten(1), (~hole & inside).flatten(1), strict=True)):
            if good.any() and hollow.any():
                one = patches[number].flatten(1)
                sound = one[:, good]
                one[:, hollow] = sound[:, _most_similar(one[:, hollow].T, sound.T)]
        composed = F.pixel_shuffle(patches, self.size)[..., :height, :width]
        return self.join(torch.cat([x, composed, damaged], 1))


def _most_similar(query: Tensor, key: Tensor, budget: int = 1 << 24) -> Tensor:
    """Indices (N,) of the keys (M, d) with the largest cosine to queries (N, d); at most `budget` scores at a time."""
    key = F.normalize(key, dim=1)
    rows = max(1, budget // len(key))
    return torch.cat([(part @ key.T).argmax(1) for part in query.split(rows)])
