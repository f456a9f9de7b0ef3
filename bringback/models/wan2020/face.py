"""The original's face generators: SPADE (Park et al. 2019) conditioned on the degraded face only."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bringback.models.base import Network


class PaperFaceGenerator(Network, license="mit", tags=["face-restoration"]):
    """Aligned faces (B, 3, S, S) in [0, 1] -> restored faces, same shape and range; S is a multiple of 32.

    The published weights are for S = 256 and S = 512. Starts from the face at 1/32 of its side and upsamples five
    times; each block is modulated by the face at the block's resolution. The spectral norms of training are folded into
    the weights.
    Args: widths: channels at 1/32, 1/16, ... and 1 of the side; hidden: channels of the modulation.
    """

    def __init__(self, widths: tuple[int, ...] = (1024, 1024, 512, 256, 128, 64), hidden: int = 128) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 3, padding=1)
        # two blocks at 1/16 of the side, one at each other scale
        steps = [(widths[0], widths[0]), (widths[0], widths[1]), (widths[1], widths[1]), *pairwise(widths[1:])]
        self.blocks = nn.ModuleList(_Block(a, b, hidden) for a, b in steps)
        self.head = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, faces: Tensor) -> Tensor:
        told = faces * 2 - 1
        x = self.stem(_resized(told, faces.shape[-1] // 32))
        for number, block in enumerate(self.blocks):
            if number not in (0, 2):
                x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(x, told)
        return torch.tanh(self.head(F.leaky_relu(x, 0.2)).float()) / 2 + 0.5


def _resized(faces: Tensor, side: int) -> Tensor:
    return F.interpolate(faces, (side, side), mode="bilinear", align_corners=False)


class _Modulated(nn.Module):
    """Batch norm with spatially adaptive scale and shift from the degraded face."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.told = nn.Conv2d(3, hidden, 3, padding=1)
        self.gamma, self.beta = (nn.Conv2d(hidden, channels, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor, faces: Tensor) -> Tensor:
        told = F.relu(self.told(_resized(faces, x.shape[-1])))
        return self.norm(x) * (1 + self.gamma(told)) + self.beta(told)


class _Block(nn.Module):
    """Residual block of two modulated convolutions, with a modulated 1x1 shortcut if the channels differ."""

    def __init__(self, channels_in: int, channels: int, hidden: int) -> None:
        super().__init__()
        middle = min(channels_in, channels)
        self.first_norm, self.second_norm = _Modulated(channels_in, hidden), _Modulated(middle, hidden)
        self.first = nn.Conv2d(channels_in, middle, 3, padding=1)
        self.second = nn.Conv2d(middle, channels, 3, padding=1)
        self.around: nn.Conv2d | None = None
        if channels_in != channels:
            self.around_norm = _Modulated(channels_in, hidden)
            self.around = nn.Conv2d(channels_in, channels, 1, bias=False)

    def forward(self, x: Tensor, faces: Tensor) -> Tensor:
        inner = self.first(F.leaky_relu(self.first_norm(x, faces), 0.2))
        inner = self.second(F.leaky_relu(self.second_norm(inner, faces), 0.2))
        return inner + (x if self.around is None else self.around(self.around_norm(x, faces)))
