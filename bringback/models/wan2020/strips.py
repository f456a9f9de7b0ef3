"""Compute large feature maps in strips of rows, with the same result, to save memory.

Instance norm needs statistics of the whole map, so a map that is not stored is computed twice. For inference only: with
gradients, every map has to be stored anyway.
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BUDGET = 1 << 24  # values in a strip
_LEAST = 8  # rows in a strip, more than its reflected border


def too_large(channels: int, x: Tensor) -> bool:
    """Whether to compute a map of `channels` and the height and width of `x` in strips."""
    return not torch.is_grad_enabled() and channels * x.shape[-2] * x.shape[-1] > BUDGET


def spans(channels: int, height: int, width: int) -> Iterator[tuple[int, int]]:
    """The first (inclusive) and last (exclusive) row of each strip."""
    rows = max(BUDGET // (channels * width), _LEAST)
    return ((top, min(top + rows, height)) for top in range(0, height, rows))


def bordered(x: Tensor, top: int, bottom: int, halo: int, mode: str = "reflect") -> Tensor:
    """Rows `top` to `bottom` of a map with a border of `halo`, padded by `mode` only outside the map."""
    first, last = max(top - halo, 0), min(bottom + halo, x.shape[-2])
    return F.pad(x[..., first:last, :], (halo, halo, first - top + halo, bottom + halo - last), mode)


def same_size(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply a convolution of stride 1 that keeps the size, in strips if the map is large."""
    if not too_large(max(conv.in_channels, conv.out_channels), x):
        return conv(x)
    (batch, _, height, width), halo = x.shape, conv.kernel_size[0] // 2
    mode = "reflect" if conv.padding_mode == "reflect" else "constant"
    made = x.new_empty(batch, conv.out_channels, height, width)
    for top, bottom in spans(conv.in_channels, height, width):
        made[..., top:bottom, :] = F.conv2d(bordered(x, top, bottom, halo, mode), conv.weight, conv.bias)
    return made


def normed(rows: Callable[[int, int], Tensor], parts: Iterator[tuple[int, int]]) -> Callable[[int, int], Tensor]:
    """Wrap a function that returns rows of a map with instance norm and ReLU; `parts` are strips that cover the map."""
    count, mean, squares = 0, torch.zeros(()), torch.zeros(())
    for top, bottom in parts:
        strip = rows(top, bottom)
        own, middle = torch.var_mean(strip.float(), (2, 3), correction=0, keepdim=True)
        own, middle = own.cpu().double(), middle.cpu().double()  # on the CPU, as some devices lack float64
        places = strip.shape[-2] * strip.shape[-1]
        # combine the statistics of two parts (Chan et al. 1983)
        squares = squares + places * (own + (middle - mean).square() * count / (count + places))
        mean = mean + (middle - mean) * places / (count + places)
        count += places
    scale = (squares / count + 1e-5).rsqrt()  # torch's epsilon
    return lambda top, bottom: F.relu_(_scaled(rows(top, bottom), mean, scale))


def _scaled(strip: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    return strip.sub_(mean.to(strip)).mul_(scale.to(strip))
