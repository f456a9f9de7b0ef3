"""Large maps in strips of rows, so that a photo's widest ones never exist as a whole. Nothing else changes.

An instance norm wants the whole map's statistics: a map that is only passed through is computed twice, once for them.
All this is for inference; with gradients, every map has to be kept anyway.
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BUDGET = 1 << 24  # numbers in a strip
_LEAST = 8  # rows, more than the border that a strip mirrors


def too_large(channels: int, x: Tensor) -> bool:
    """Is a map of so many channels and the height and width of `x` to be made in strips?"""
    return not torch.is_grad_enabled() and channels * x.shape[-2] * x.shape[-1] > BUDGET


def spans(channels: int, height: int, width: int) -> Iterator[tuple[int, int]]:
    """The first row of each strip and the row after its last."""
    rows = max(BUDGET // (channels * width), _LEAST)
    return ((top, min(top + rows, height)) for top in range(0, height, rows))


def bordered(x: Tensor, top: int, bottom: int, halo: int, mode: str = "reflect") -> Tensor:
    """Rows `top` to `bottom` of a map with `halo` rows and columns around, made up only beyond the map's own border."""
    first, last = max(top - halo, 0), min(bottom + halo, x.shape[-2])
    return F.pad(x[..., first:last, :], (halo, halo, first - top + halo, bottom + halo - last), mode)


def same_size(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """What a convolution of stride 1 that keeps the size makes of a map."""
    if not too_large(max(conv.in_channels, conv.out_channels), x):
        return conv(x)
    (batch, _, height, width), halo = x.shape, conv.kernel_size[0] // 2
    mode = "reflect" if conv.padding_mode == "reflect" else "constant"
    made = x.new_empty(batch, conv.out_channels, height, width)
    for top, bottom in spans(conv.in_channels, height, width):
        made[..., top:bottom, :] = F.conv2d(bordered(x, top, bottom, halo, mode), conv.weight, conv.bias)
    return made


def normed(rows: Callable[[int, int], Tensor], parts: Iterator[tuple[int, int]]) -> Callable[[int, int], Tensor]:
    """Rows of a map -> its rows after instance norm and ReLU; `parts` are strips that cover the map."""
    count, mean, squares = 0, torch.zeros(()), torch.zeros(())
    for top, bottom in parts:
        strip = rows(top, bottom)
        own, middle = torch.var_mean(strip.float(), (2, 3), correction=0, keepdim=True)
        own, middle = own.cpu().double(), middle.cpu().double()  # some devices have no double precision
        places = strip.shape[-2] * strip.shape[-1]
        # the statistics of two parts are those of the whole (Chan et al. 1983)
        squares = squares + places * (own + (middle - mean).square() * count / (count + places))
        mean = mean + (middle - mean) * places / (count + places)
        count += places
    scale = (squares / count + 1e-5).rsqrt()  # torch's epsilon
    return lambda top, bottom: F.relu_(_scaled(rows(top, bottom), mean, scale))


def _scaled(strip: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    return strip.sub_(mean.to(strip)).mul_(scale.to(strip))
