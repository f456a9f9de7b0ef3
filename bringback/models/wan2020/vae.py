"""The original's VAE: 64 channels throughout, latents at 1/4 resolution."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bringback.models.base import Network
from bringback.models.wan2020.blocks import Normed, NormedBlock
from bringback.models.wan2020.strips import bordered, normed, spans, too_large


class PaperVAE(Network, license="mit", tags=["autoencoder", "photo-restoration"]):
    """Photos (B, 3, H, W) in [0, 1] <-> latents (B, C, H/4, W/4); H and W are multiples of 4, at least 8.

    Wan et al. 2020, section 3.2: the latent is the mean of a Gaussian posterior of unit width, whose noise is added in
    training only. Instance norms use the whole photo, so the latent of a tile differs.
    Args: channels: of every layer; blocks: residual blocks of encoder and decoder each.
    """

    def __init__(self, channels: int = 64, blocks: int = 4) -> None:
        super().__init__()
        self.channels = channels
        self.encoder = nn.Sequential(
            Normed(nn.Conv2d(3, channels, 7, padding=3, padding_mode="reflect")),
            *(Normed(nn.Conv2d(channels, channels, 4, stride=2, padding=1)) for _ in range(2)),
            *(NormedBlock(channels) for _ in range(blocks)),
        )
        self.decoder = nn.Sequential(
            *(NormedBlock(channels) for _ in range(blocks)),
            *(Normed(nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1)) for _ in range(2)),
            nn.Conv2d(channels, 3, 7, padding=3, padding_mode="reflect"),
        )

    def encode(self, pixels: Tensor) -> Tensor:
        """The latent mean."""
        signed = pixels * 2 - 1
        if not too_large(self.channels, pixels):
            return self.encoder(signed)
        return self.encoder[2:](F.relu_(F.instance_norm(self._halved(signed))))

    def decode(self, latent: Tensor) -> Tensor:
        """Pixels (B, 3, 4 h, 4 w) in [0, 1]."""
        half = self.decoder[:-2](latent)
        large = too_large(4 * self.channels, half)
        return torch.tanh(self._doubled(half) if large else self.decoder[-2:](half)) / 2 + 0.5

    def forward(self, pixels: Tensor) -> Tensor:
        """Reconstruction through the latent mean."""
        return self.decode(self.encode(pixels))

    def _halved(self, signed: Tensor) -> Tensor:
        """Output of the second convolution, computing the first's full-size maps in strips."""
        first: Any = self.encoder[0].conv
        second: Any = self.encoder[1].conv
        (batch, _, height, width), channels = signed.shape, first.out_channels

        def rows(top: int, bottom: int) -> Tensor:
            return F.conv2d(bordered(signed, top, bottom, 3), first.weight, first.bias)

        sound = normed(rows, spans(channels, height, width))
        made = signed.new_empty(batch, channels, height // 2, width // 2)
        for top, bottom in spans(2 * channels, height // 2, width):
            strip = sound(max(2 * top - 1, 0), min(2 * bottom + 1, height))
            strip = F.pad(strip, (1, 1, int(top == 0), int(2 * bottom == height)))
            made[..., top:bottom, :] = F.conv2d(strip, second.weight, second.bias, stride=2)
        return made

    def _doubled(self, half: Tensor) -> Tensor:
        """Output of the last two layers for maps of half the photo's size, computing full-size maps in strips."""
        up: Any = self.decoder[-2].conv
        head: Any = self.decoder[-1]
        (batch, channels, height, width), full = half.shape, 2 * half.shape[-2]

        def rows(top: int, bottom: int) -> Tensor:
            first, last = max((top - 1) // 2, 0), min((bottom + 2) // 2, height)
            made = F.conv_transpose2d(half[..., first:last, :], up.weight, up.bias, stride=2, padding=1)
            return made[..., top - 2 * first : bottom - 2 * first, :]

        sound = normed(rows, spans(channels, full, 2 * width))
        made = half.new_empty(batch, head.out_channels, full, 2 * width)
        for top, bottom in spans(channels, full, 2 * width):
            first, last = max(top - 3, 0), min(bottom + 3, full)
            strip = bordered(sound(first, last), top - first, bottom - first, 3)
            made[..., top:bottom, :] = F.conv2d(strip, head.weight, head.bias)
        return made
