"""Building blocks shared by the networks. None normalizes over space, so a tile is computed like the whole."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def silence(layer: nn.Conv2d | nn.Linear) -> None:
    """Let a layer say zero until it has learned otherwise."""
    layer.weight.data.zero_()
    if layer.bias is not None:
        layer.bias.data.zero_()


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each place (Ba et al. 2016), without a scale of its own. (B, C, H, W) -> same."""

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.movedim(1, -1), x.shape[1:2]).movedim(-1, 1)


class ResidualBlock(nn.Module):
    """x + conv(act(conv(x))), 3x3, no norm (Lim et al. 2017, EDSR). (B, C, H, W) -> same.

    Under autocast the convolutions run in its dtype, the sum in that of x: what is float32 stays precise.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        # small at the start: a deep stack begins as the identity
        silence(self.second)
        nn.init.normal_(self.second.weight, std=0.1 * (channels * 9) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        # in place where no gradient is needed: one map less of a large photo is much memory
        change = self.second(F.silu(self.first(x), inplace=not torch.is_grad_enabled()))
        return change.add_(x) if change.dtype == x.dtype else x + change


def glance(channels: int, widths: Sequence[int]) -> nn.Sequential:
    """What a look at a thumbnail sees: 3x3 convolutions of these widths, each with half the side of the one before."""
    pairs = pairwise((channels, *widths))
    return nn.Sequential(*(part for a, b in pairs for part in (nn.Conv2d(a, b, 3, stride=2, padding=1), nn.SiLU())))


def pad_to(x: Tensor, multiple: int) -> Tensor:
    """Grow the right and lower side to a multiple by repeating the border; not a copy where nothing is to grow."""
    height, width = x.shape[-2:]
    padding = (0, -width % multiple, 0, -height % multiple)
    return F.pad(x, padding, mode="replicate") if any(padding) else x
