"""Scratch U-Net: damage detection (Ronneberger et al. 2015; a smaller version of the detector of Wan et al. 2020)."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from bringback.models.base import Network
from bringback.models.layers import pad_to

# Added to the logits, so that 0.5 is the mask value where filling begins. With 0.7, 0.85, 1.05 and 1.25 the fill gives,
# forty validation photos each, S 24.97, 25.02, 25.00, 24.97 dB and damage by another program 22.45, 22.56, 22.64 (from
# 0.85 on); but with 1.05 nearly twice as much of real old photos is mistaken for damage as with 0.85.
EAGER = 0.85


def damage(logits: Tensor) -> Tensor:
    """Damage mask in [0, 1] from the logits of a `ScratchUNet`; same shape.

    A score, not a probability: 0.5 corresponds to odds of 3 to 7.
    """
    return torch.sigmoid(logits + EAGER)


class Level(nn.Sequential):
    """Two 3x3 convolutions, each with batch norm and leaky ReLU. (B, channels_in, H, W) -> (B, channels, H, W)."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.LeakyReLU(0.1, inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.LeakyReLU(0.1, inplace=True),
        )


def join_norms_(network: nn.Module) -> None:
    """Join the batch norms of each `Level` with its convolutions, in place: for inference, and as exact to rounding."""
    for level in network.modules():
        if isinstance(level, Level):
            for number in (0, 3):
                layer, norm = level[number], level[number + 1]
                assert isinstance(layer, nn.Conv2d)
                assert isinstance(norm, nn.BatchNorm2d)
                level[number], level[number + 1] = fuse_conv_bn_eval(layer, norm), nn.Identity()


class _Residual(nn.Module):
    """x + level(x), the identity at initialization."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.level = Level(channels, channels)
        nn.init.zeros_(self.level[4].weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.level(x)


class UShape(nn.Module):
    """The trunk of a U-Net: (B, inputs, H, W) -> (B, widths[0], H, W), sides multiples of `2 ** (len(widths) - 1)`.

    Args: inputs: channels; widths: channels of each level, each at half the resolution of the one before; core:
    residual blocks at the bottom.
    """

    def __init__(self, inputs: int, widths: tuple[int, ...], core: int) -> None:
        super().__init__()
        self.core = nn.Sequential(*(_Residual(widths[-1]) for _ in range(core)))
        self.down = nn.ModuleList(Level(a, b) for a, b in zip((inputs, *widths), widths, strict=False))
        pairs = list(pairwise(widths))
        self.lift = nn.ModuleList(nn.Conv2d(deep, shallow, 1) for shallow, deep in pairs)
        self.up = nn.ModuleList(Level(shallow, shallow) for shallow, _ in pairs)

    def descend(self, x: Tensor) -> list[Tensor]:
        """Encoder features, finest first; the last are those of the core."""
        seen: list[Tensor] = []
        for level in self.down:
            x = level(F.avg_pool2d(x, 2) if seen else x)
            seen.append(x)
        seen[-1] = self.core(x)
        return seen

    def ascend(self, seen: list[Tensor]) -> Tensor:
        """Decode the features of `descend` to the finest level."""
        x = seen[-1]
        for lift, level, skip in zip(reversed(self.lift), reversed(self.up), reversed(seen[:-1]), strict=True):
            x = level(skip + F.interpolate(lift(x), scale_factor=2.0, mode="bilinear", align_corners=False))
        return x


class ScratchUNet(UShape, Network, license="apache-2.0", tags=["image-segmentation", "scratch-detection"]):
    """RGB (B, 3, H, W) in [0, 1] -> damage logits (B, 1, H, W), any size.

    Input and output are blocks of 2x2 pixels, so every pixel counts while the largest maps have half the photo's side.
    Args: widths: channels of each level, the first at half resolution, each next at half of the last; core: residual
    blocks at the bottom, whose receptive field covers stains and missing pieces as a whole.
    """

    def __init__(self, widths: tuple[int, ...] = (48, 80, 128, 160, 192), core: int = 3) -> None:
        super().__init__(12, widths, core)
        self.widths = tuple(widths)
        self.head = nn.Conv2d(widths[0], 4, 1)
        # bias to the base rate: damage is rare
        self.head.bias.data.fill_(-3.5)  # type: ignore[union-attr]

    def forward(self, pixels: Tensor) -> Tensor:
        height, width = pixels.shape[-2:]
        x = F.pixel_unshuffle(pad_to(pixels, 2 ** len(self.widths)) * 2 - 1, 2)
        return F.pixel_shuffle(self.head(self.ascend(self.descend(x))), 2)[..., :height, :width]
