"""The original's VAE: 64 channels all the way, a latent of a quarter of the photo's side."""

import torch
from torch import Tensor, nn

from bringback.nets.blocks import Network
from bringback.nets.paper.blocks import Normed, NormedBlock


class PaperVAE(Network, license="mit", tags=["autoencoder", "photo-restoration"]):
    """Photos (B, 3, H, W) in [0, 1] <-> latents (B, C, H/4, W/4); H and W divide by 4 and are 8 or more.

    Wan et al. 2020, section 3.2: the posterior is a Gaussian of unit width around the latent given here, whose noise is
    added in training alone. Its instance norms see the whole photo, so a tile of it has another latent.
    Args: channels: of every layer; blocks: residual blocks on either side.
    """

    stride = 4

    def __init__(self, channels: int = 64, blocks: int = 4) -> None:
        super().__init__()
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
        return self.encoder(pixels * 2 - 1)

    def decode(self, latent: Tensor) -> Tensor:
        """Pixels (B, 3, 4 h, 4 w) in [0, 1]."""
        return torch.tanh(self.decoder(latent)) / 2 + 0.5

    def forward(self, pixels: Tensor) -> Tensor:
        """Reconstruction through the latent mean."""
        return self.decode(self.encode(pixels))
