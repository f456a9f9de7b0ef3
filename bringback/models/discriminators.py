"""Discriminators of images and latents, for training only; no checkpoint includes them."""

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class _Judge(nn.ModuleList):
    """Convolutions with spectral norm (Miyato et al. 2018); returns all feature maps, the logits (B, 1, h, w) last."""

    def __init__(self, channels: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__(
            spectral_norm(nn.Conv2d(a, b, 4 if stride == 2 else 3, stride, padding=1))
            for (a, b), stride in zip(pairwise((*channels, 1)), strides, strict=True)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        maps: list[Tensor] = []
        for layer in self:
            x = layer(F.leaky_relu(x, 0.2) if maps else x)
            maps.append(x)
        return maps


class PatchDiscriminator(nn.Module):
    """Multi-scale patch discriminator (Wang et al. 2018, pix2pixHD).

    Images (B, 3, H, W) in [0, 1] -> a list of feature maps for each scale, the logits (B, 1, h, w) last in each. Sides
    of at least 16 * 2 ** (scales - 1) pixels at the default depth.
    Args: width: channels of the first layer; depth: layers of stride 2; scales: number of scales, each half the last.
    """

    def __init__(self, width: int = 48, depth: int = 3, scales: int = 2) -> None:
        super().__init__()
        channels = [3, *(min(width * 2**i, 8 * width) for i in range(depth + 1))]
        self.judges = nn.ModuleList(_Judge(channels, [2] * depth + [1, 1]) for _ in range(scales))

    def forward(self, pixels: Tensor) -> list[list[Tensor]]:
        x, maps = pixels * 2 - 1, []
        for judge in self.judges:
            maps.append(judge(x))
            x = F.avg_pool2d(x, 2)
        return maps


class LatentDiscriminator(nn.Module):
    """Domain classifier of latents: (B, C, h, w), sides of 4 or more -> logits (B, 1, h', w')."""

    def __init__(self, channels: int, width: int = 96) -> None:
        super().__init__()
        self.judge = _Judge([channels, width, width, width], [1, 2, 1, 1])

    def forward(self, latent: Tensor) -> Tensor:
        return self.judge(latent)[-1]
