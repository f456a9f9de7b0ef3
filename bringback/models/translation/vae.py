"""VAE of photos (a smaller version of the 64-channel VAE at 1/4 resolution of Wan et al. 2020)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bringback.models.base import Network
from bringback.models.layers import ResidualBlock, pad_to, zero_init
from bringback.runtime.compute import autocast_to


class VAE(Network, license="apache-2.0", tags=["autoencoder", "photo-restoration"]):
    """Photos (B, 3, H, W) in [0, 1] <-> latents (B, C, ceil(H/S), ceil(W/S)), S being the stride.

    A block of SxS pixels has 3 S^2 values, so with at least as many channels the pair starts close to a lossless
    rearrangement. The posterior is a Gaussian of fixed width around the mean, as in Wan et al. 2020 (after MUNIT): its
    KL term is the mean square of the latent, and noise is added in training only.
    Args: channels: of the latent; blocks: residual blocks of encoder and decoder each; gain: standard deviation of the
    latent at initialization; stride: side in pixels of a latent position; level: decode a constant latent to a constant
    image, by construction (but for the border).
    """

    def __init__(
        self, channels: int = 64, blocks: int = 2, gain: float = 8.0, stride: int = 4, level: bool = False
    ) -> None:
        super().__init__()
        self.stride = stride
        # a buffer, for programs that detect the architecture by its state dict
        self.register_buffer("level", torch.tensor(True) if level else None)
        patch = 3 * stride**2
        self.stem = nn.Conv2d(patch, channels, 3, padding=1)
        self.encoder = nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)))
        self.decoder = nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)))
        self.head = nn.Conv2d(channels, patch, 3, padding=1)
        basis = nn.init.orthogonal_(torch.empty(channels, patch)) * gain
        for layer, weight in ((self.stem, basis), (self.head, torch.linalg.pinv(basis))):
            zero_init(layer)
            with torch.no_grad():
                layer.weight[:, :, 1, 1] = weight

    def encode(self, pixels: Tensor) -> Tensor:
        """The latent mean; photos are padded right and bottom to a multiple of the stride."""
        patches = F.pixel_unshuffle(pad_to(pixels, self.stride) * 2 - 1, self.stride)
        return self.encoder(self.stem(patches))

    def decode(self, latent: Tensor, size: tuple[int, int], dtype: torch.dtype = torch.float32) -> Tensor:
        """Pixels (B, 3, *size), not clamped, so that gradients flow.

        `dtype` is the autocast dtype of the residual blocks' convolutions; their sums and the head keep the latent's.
        """
        weight, bias = self._level_head() if self.level is not None else (self.head.weight, self.head.bias)
        with autocast_to(latent.device, dtype):
            features = self.decoder(latent)
        patches = F.conv2d(features, weight, bias, padding=1)
        return (F.pixel_shuffle(patches, self.stride) / 2 + 0.5)[..., : size[0], : size[1]]

    def _level_head(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the head, adjusted so that a constant latent gives equal pixels within a block.

        Each pixel of a block has its own kernel. Where their sums differ, a smooth sky has a pattern with the stride's
        period (the checkerboard artifacts of Odena et al. 2016), which training on noisy photos never quite removes.
        Only signals that repeat exactly with that period are lost; slopes are kept, from the neighboring positions.
        """
        weight, bias = self.head.weight.unflatten(0, (3, -1)), self.head.bias.unflatten(0, (3, -1))  # type: ignore[union-attr]
        sums = weight.mean((3, 4), keepdim=True)
        level = weight + (sums.mean(1, keepdim=True) - sums)
        return level.flatten(0, 1), bias.mean(1, keepdim=True).expand_as(bias).flatten()

    def forward(self, pixels: Tensor) -> Tensor:
        """Reconstruction through the latent mean."""
        return self.decode(self.encode(pixels), (pixels.shape[-2], pixels.shape[-1]))
