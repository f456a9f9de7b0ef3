"""Scratch U-Net: where is the photo damaged? (Ronneberger et al. 2015; the lean form of the original's detector.)"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bringback.nets.blocks import Network, pad_to

# Added to the log odds before they become a mask, so that a half is where filling begins and where F1 is near its
# highest: on validation photos 0.782 in S and 0.729 in M, at the best shifts (0.5, 0.6) 0.785 and 0.733.
EAGER = 0.85


def damage(logits: Tensor) -> Tensor:
    """The damage mask, in [0, 1], that logits of a `ScratchUNet` stand for; of the same shape.

    A score, not a probability: a half stands for odds of 3 to 7.
    """
    return torch.sigmoid(logits + EAGER)


class _Level(nn.Sequential):
    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.LeakyReLU(0.1, inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.LeakyReLU(0.1, inplace=True),
        )


class _Residual(nn.Module):
    """x + level(x), at first the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.level = _Level(channels, channels)
        nn.init.zeros_(self.level[4].weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.level(x)


class ScratchUNet(Network, license="apache-2.0", tags=["image-segmentation", "scratch-detection"]):
    """(B, 3, H, W) RGB in [0, 1] -> damage logits (B, 1, H, W), any size.

    Reads and answers in blocks of 2x2 pixels: every pixel counts, but the widest maps are a quarter of the photo.
    Args: widths: channels of each level, the first at half resolution, each next at half of it; core: residual blocks
    at the bottom, where a stain or a missing piece is seen as a whole, among what surrounds it.
    """

    def __init__(self, widths: tuple[int, ...] = (48, 80, 128, 160, 192), core: int = 3) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.core = nn.Sequential(*(_Residual(widths[-1]) for _ in range(core)))
        self.down = nn.ModuleList(_Level(a, b) for a, b in zip((12, *widths), widths, strict=False))
        pairs = list(pairwise(widths))
        self.lift = nn.ModuleList(nn.Conv2d(deep, shallow, 1) for shallow, deep in pairs)
        self.up = nn.ModuleList(_Level(shallow, shallow) for shallow, _ in pairs)
        self.head = nn.Conv2d(widths[0], 4, 1)
        # damage is rare: start from its base rate
        self.head.bias.data.fill_(-3.5)  # type: ignore[union-attr]

    def forward(self, pixels: Tensor) -> Tensor:
        height, width = pixels.shape[-2:]
        x = F.pixel_unshuffle(pad_to(pixels, 2 ** len(self.widths)) * 2 - 1, 2)
        skips: list[Tensor] = []
        for level in self.down:
            x = level(F.avg_pool2d(x, 2) if skips else x)
            skips.append(x)
        x = self.core(x)
        for lift, level, skip in zip(reversed(self.lift), reversed(self.up), reversed(skips[:-1]), strict=True):
            x = level(skip + F.interpolate(lift(x), scale_factor=2.0, mode="bilinear", align_corners=False))
        return F.pixel_shuffle(self.head(x), 2)[..., :height, :width]
