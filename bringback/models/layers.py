"""Building blocks shared by the networks. None normalizes over space, so tiles give the same result as the whole."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def zero_init(layer: nn.Conv2d | nn.Linear) -> None:
    """Zero-initialize weight and bias."""
    layer.weight.data.zero_()
    if layer.bias is not None:
        layer.bias.data.zero_()


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each position (Ba et al. 2016), not affine. (B, C, H, W) -> same."""

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.movedim(1, -1), x.shape[1:2]).movedim(-1, 1)


class ResidualBlock(nn.Module):
    """x + conv(act(conv(x))), 3x3, no norm (Lim et al. 2017, EDSR). (B, C, H, W) -> same.

    Under autocast the convolutions run in its dtype, the sum in that of x, so float32 features keep their precision.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        # small init: a deep stack starts close to the identity
        zero_init(self.second)
        nn.init.normal_(self.second.weight, std=0.1 * (channels * 9) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        # in place without gradients, which saves a feature map
        change = self.second(F.silu(self.first(x), inplace=not torch.is_grad_enabled()))
        return change.add_(x) if change.dtype == x.dtype else x + change


def strided_stem(channels: int, widths: Sequence[int]) -> nn.Sequential:
    """Encoder of a thumbnail: 3x3 convolutions of stride 2 with these widths, each followed by SiLU."""
    pairs = pairwise((channels, *widths))
    return nn.Sequential(*(part for a, b in pairs for part in (nn.Conv2d(a, b, 3, stride=2, padding=1), nn.SiLU())))


def pad_to(x: Tensor, multiple: int) -> Tensor:
    """Pad right and bottom to a multiple by replication; returns `x` itself if there is nothing to pad."""
    height, width = x.shape[-2:]
    padding = (0, -width % multiple, 0, -height % multiple)
    return F.pad(x, padding, mode="replicate") if any(padding) else x
