"""Networks for the deep image prior: their architecture alone favors natural images.

Ulyanov et al., "Deep Image Prior" (2018). Batch norm uses the statistics of the one image that they are fitted to.
"""

from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (32, 48, 64, 96, 128)  # channels of the levels
SKIP = 4  # channels of each skip connection


class _Convolution(nn.Sequential):
    """Convolution with reflection padding, batch norm, leaky ReLU."""

    def __init__(self, channels_in: int, channels: int, kernel: int = 3, stride: int = 1) -> None:
        mode: Literal["zeros", "reflect"] = "reflect" if kernel > 1 else "zeros"
        super().__init__(
            nn.Conv2d(channels_in, channels, kernel, stride, kernel // 2, bias=False, padding_mode=mode),
            nn.BatchNorm2d(channels, track_running_stats=False),
            nn.LeakyReLU(0.2, inplace=True),
        )


class _Head(nn.Linear):
    """Colors in [0, 1], in float32: bfloat16 has only 128 values between 0.5 and 1."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        # a linear layer is several times as fast as a convolution to three channels
        with torch.autocast(x.device.type, enabled=False):
            return torch.sigmoid(super().forward(x.movedim(1, -1).float())).movedim(-1, 1)


class Hourglass(nn.Module):
    """The hourglass of Ulyanov et al. with narrow skips: noise (1, C, H, W) -> RGB (1, 3, H, W) in [0, 1].

    H and W are multiples of `multiple`, at least twice that.
    Args: channels: of the noise; widths: channels of the levels, the first at half resolution, each next at half of the
    last; skip: channels of the skip connections.
    """

    def __init__(self, channels: int, widths: tuple[int, ...] = WIDTHS, skip: int = SKIP) -> None:
        super().__init__()
        self.multiple = 2 ** len(widths)
        inputs, outputs = (channels, *widths[:-1]), (widths[0], *widths[:-1])
        self.past = nn.ModuleList(_Convolution(wide, skip, 1) for wide in inputs)
        self.down = nn.ModuleList(
            nn.Sequential(_Convolution(a, b, stride=2), _Convolution(b, b)) for a, b in zip(inputs, widths, strict=True)
        )
        self.up = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(a + skip, track_running_stats=False), _Convolution(a + skip, b), _Convolution(b, b, 1)
            )
            for a, b in zip(widths, outputs, strict=True)
        )
        self.head = _Head(outputs[0])

    def forward(self, noise: Tensor) -> Tensor:
        x, skips = noise, []
        for past, down in zip(self.past, self.down, strict=True):
            skips.append(past(x))
            x = down(x)
        for up, skip in zip(reversed(self.up), reversed(skips), strict=True):
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = up(torch.cat((x, skip), 1))
        return self.head(x)


class SegNet(nn.Module):
    """The hourglass of Badrinarayanan et al., "SegNet" (2017): noise (1, C, H, W) -> RGB (1, 3, H, W) in [0, 1].

    Instead of skip connections, the decoder gets the max-pooling indices. Sizes and arguments are as in `Hourglass`,
    but the first width is at full resolution and there is no `skip`.
    """

    def __init__(self, channels: int, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.multiple = 2 ** len(widths)
        self.down = nn.ModuleList(_Convolution(a, b) for a, b in pairwise((channels, *widths)))
        self.up = nn.ModuleList(_Convolution(b, a) for a, b in pairwise((widths[0], *widths)))
        self.head = _Head(widths[0])

    def forward(self, noise: Tensor) -> Tensor:
        x, places = noise, []
        for down in self.down:
            x, place = F.max_pool2d(down(x), 2, return_indices=True)
            places.append(place)
        for up, place in zip(reversed(self.up), reversed(places), strict=True):
            x = up(F.max_unpool2d(x, place, [2, 2]))
        return self.head(x)
