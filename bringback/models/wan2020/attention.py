"""How the original's mappings let damaged places look at sound ones, in memory linear in the number of positions."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bringback.models.layers import pad_to
from bringback.models.translation.partial_nonlocal import attend
from bringback.models.wan2020.blocks import NormedBlock

_ROWS = 8192  # positions whose part of the attention's result is held at a time
_DAMAGED = 0.6  # share of a patch's positions above which it counts as damaged


def holes(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Positions of a latent (B, 1, *size) that a mask (B, 1, H, W) of zeros and ones touches: bilinear, above 0."""
    return (F.interpolate(mask, size, mode="bilinear", align_corners=False) > 0).to(mask.dtype)


class ResidualNonLocal(nn.Module):
    """The partial non-local block, then three residual blocks; sound positions keep what they were.

    x (B, C, h, w) and mask (B, 1, H, W) of zeros and ones, 1 = damaged -> (B, C, h, w). Every position attends to all
    sound ones, by dot product without a scale. The original makes the N x N matrix, masks its softmax and
    renormalises; the softmax over the sound positions alone is the same and never exists as a whole. Where no position
    is sound, what is attended to is zero, as there.
    """

    def __init__(self, channels: int, blocks: int = 3) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Conv2d(channels, channels, 1) for _ in range(4))
        self.blocks = nn.Sequential(*(NormedBlock(channels) for _ in range(blocks)))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        size = (x.shape[-2], x.shape[-1])
        # the original leaves out what either way of shrinking the mask calls damaged
        damaged = torch.maximum(holes(mask, size), F.interpolate(mask, size, mode="nearest"))
        found = torch.empty_like(x, memory_format=torch.contiguous_format)
        for number, keep in enumerate(damaged.flatten(1) == 0):
            self._look(x[number].flatten(1), keep, found[number].flatten(1))
        return torch.where(damaged > 0, self.blocks(found), x)

    def _look(self, x: Tensor, keep: Tensor, result: Tensor) -> None:
        """Write into `result` (C, N) what positions x (C, N) find among those of them that `keep` (N,) marks."""
        sound = x[:, keep].T
        key, value = (_each(layer, sound) for layer in (self.key, self.value))
        del sound  # as large as either
        for first in range(0, x.shape[1], _ROWS):
            rows = x[:, first : first + _ROWS].T
            found = attend(_each(self.query, rows), key, value, scale=1.0) if len(key) else torch.zeros_like(rows)
            result[:, first : first + _ROWS] = _each(self.out, found).T


def _each(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """A 1x1 convolution of positions (N, C) -> (N, C')."""
    return F.linear(x, layer.weight.flatten(1), layer.bias)


class PatchAttention(nn.Module):
    """Damaged patches take the place of the most similar sound patch; a convolution joins them with what was there.

    x (B, C, h, w) and mask (B, 1, H, W) of zeros and ones, 1 = damaged -> (B, C, h, w). Patches do not overlap and are
    compared by their cosine after a residual block. Sides that do not divide by the size are padded by repeating the
    border (the original leaves a strip of zeros there); patches that reach over the border are not copied from. Where
    no patch is sound, patches stay what they are (the original fails).
    Args: channels; size: positions a side of a patch.
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
    """For each of (N, d), which of (M, d) has the largest cosine: (N,) indices; at most `budget` scores at a time."""
    key = F.normalize(key, dim=1)
    rows = max(1, budget // len(key))
    return torch.cat([(part @ key.T).argmax(1) for part in query.split(rows)])
