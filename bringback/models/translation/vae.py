"""The VAEs: photos to latents and back (the lean form of the original's 64-channel, quarter-size VAE)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bringback.models.base import Network
from bringback.models.layers import ResidualBlock, pad_to, silence
from bringback.runtime.compute import lower


class VAE(Network, license="apache-2.0", tags=["autoencoder", "photo-restoration"]):
    """Photos (B, 3, H, W) in [0, 1] <-> latents (B, C, ceil(H/S), ceil(W/S)), S being the stride.

    A block of SxS pixels is 3 S^2 numbers and a latent of more channels has room for them, so the pair starts out near
    an exact rearrangement and learns only what else a latent should carry. The posterior is a Gaussian of fixed width
    around the mean, as in the original (after MUNIT): its KL term is the mean square of the latent, its noise is added
    in training alone.
    Args: channels: of the latent; blocks: residual blocks on either side; gain: standard deviation of a fresh latent;
    stride: pixels a side that one position of the latent stands for; level: decode a level latent to a level picture,
    whatever was learned.
    """

    def __init__(
        self, channels: int = 64, blocks: int = 2, gain: float = 8.0, stride: int = 4, level: bool = False
    ) -> None:
        super().__init__()
        self.stride = stride
        # in the state dict, for programs that know a network by that alone
        self.register_buffer("level", torch.tensor(True) if level else None)
        patch = 3 * stride**2
        self.stem = nn.Conv2d(patch, channels, 3, padding=1)
        self.encoder = nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)))
        self.decoder = nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)))
        self.head = nn.Conv2d(channels, patch, 3, padding=1)
        basis = nn.init.orthogonal_(torch.empty(channels, patch)) * gain
        for layer, weight in ((self.stem, basis), (self.head, torch.linalg.pinv(basis))):
            silence(layer)
            with torch.no_grad():
                layer.weight[:, :, 1, 1] = weight

    def encode(self, pixels: Tensor) -> Tensor:
        """The latent mean; the right and lower side are padded to a multiple of the stride."""
        patches = F.pixel_unshuffle(pad_to(pixels, self.stride) * 2 - 1, self.stride)
        return self.encoder(self.stem(patches))

    def decode(self, latent: Tensor, size: tuple[int, int], dtype: torch.dtype = torch.float32) -> Tensor:
        """Pixels (B, 3, *size); not clamped, so that gradients pass.

        `dtype` is what the residual blocks' convolutions compute in: their sums and the head keep the latent's own.
        """
        weight, bias = self._level_head() if self.level is not None else (self.head.weight, self.head.bias)
        with lower(latent.device, dtype):
            features = self.decoder(latent)
        patches = F.conv2d(features, weight, bias, padding=1)
        return (F.pixel_shuffle(patches, self.stride) / 2 + 0.5)[..., : size[0], : size[1]]

    def _level_head(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the head, the same for all pixels of a block in what a level latent becomes.

        Each pixel of a block has a kernel of its own; where their sums differ, a level sky has a lattice of the
        stride's period (the checkerboard of Odena et al. 2016). Learning from noisy photos never quite levels them.
        What is lost is what repeats exactly with that period; slopes are kept by looking at the neighbors.
        """
        weight, bias = self.head.weight.unflatten(0, (3, -1)), self.head.bias.unflatten(0, (3, -1))  # type: ignore[union-attr]
        sums = weight.mean((3, 4), keepdim=True)
        level = weight + (sums.mean(1, keepdim=True) - sums)
        return level.flatten(0, 1), bias.mean(1, keepdim=True).expand_as(bias).flatten()

    def forward(self, pixels: Tensor) -> Tensor:
        """Reconstruction through the latent mean."""
        return self.decode(self.encode(pixels), (pixels.shape[-2], pixels.shape[-1]))
