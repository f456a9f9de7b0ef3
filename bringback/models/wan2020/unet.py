"""The original's scratch detector."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bringback.models.base import Network

_SLOPE = 0.2


class PaperUNet(Network, license="mit", tags=["image-segmentation", "scratch-detection"]):
    """Gray (B, 1, H, W) in [0, 1] -> damage logits (B, 1, H, W); H and W are multiples of 16, at least 32.

    A U-Net (Ronneberger et al. 2015) with anti-aliased downsampling (Zhang 2019) and bilinear upsampling.
    Args: widths: channels at full resolution, 1/2, 1/4, 1/8 and 1/16.
    """

    def __init__(self, widths: tuple[int, ...] = (64, 128, 256, 512, 1024)) -> None:
        super().__init__()
        steps = list(pairwise(widths))
        self.stem = nn.Conv2d(1, widths[0], 7, padding=3, padding_mode="reflect")
        self.shrink = nn.ModuleList(_Shrink(a) for a, _ in steps)
        self.down = nn.ModuleList(_Level(a, b) for a, b in steps)
        self.lift = nn.ModuleList(_reflected(b, a) for a, b in reversed(steps))
        self.up = nn.ModuleList(_Level(2 * a, a) for a, _ in reversed(steps))
        self.head = _reflected(widths[0], 1)

    def forward(self, gray: Tensor) -> Tensor:
        x = F.leaky_relu(self.stem(gray * 2 - 1), _SLOPE)
        skips = []
        for shrink, level in zip(self.shrink, self.down, strict=True):
            skips.append(x)
            x = level(shrink(x))
        for lift, level, skip in zip(self.lift, self.up, reversed(skips), strict=True):
            x = lift(F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False))
            x = level(torch.cat([x, skip], 1))
        return self.head(x)


def _reflected(channels_in: int, channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels, 3, padding=1, padding_mode="reflect")


class _Normed(nn.Module):
    """3x3 convolution -> batch norm -> leaky ReLU."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv = _reflected(channels_in, channels)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.norm(self.conv(x)), _SLOPE)


class _Level(nn.Sequential):
    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__(_Normed(channels_in, channels), _Normed(channels, channels))


class _Shrink(nn.Module):
    """Convolution, then anti-aliased downsampling by 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.normed = _Normed(channels, channels)
        blur = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.blur: Tensor
        self.register_buffer("blur", (blur[:, None] * blur).repeat(channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(self.normed(x), (1, 1, 1, 1), mode="reflect")
        return F.conv2d(padded, self.blur, stride=2, groups=len(self.blur))
