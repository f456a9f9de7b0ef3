"""Building blocks of the original's VAE and mappings: convolutions with instance norm over the whole photo."""

import torch.nn.functional as F
from torch import Tensor, nn

from bringback.models.wan2020.strips import same_size


class Normed(nn.Module):
    """The given convolution -> instance norm without affine parameters -> ReLU."""

    def __init__(self, conv: nn.Conv2d | nn.ConvTranspose2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        same = isinstance(self.conv, nn.Conv2d) and self.conv.stride == (1, 1)
        made = same_size(self.conv, x) if same else self.conv(x)  # type: ignore[arg-type]
        return F.relu_(F.instance_norm(made))


class NormedBlock(nn.Module):
    """x + norm(conv(relu(norm(conv(x))))), 3x3, reflection padding. (B, C, H, W) -> same, sides of 2 or more."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect")
        self.second = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect")

    def forward(self, x: Tensor) -> Tensor:
        inner = same_size(self.first, x)
        inner = F.relu_(F.instance_norm(inner))
        inner = same_size(self.second, inner)  # reuse the name, so that at most two of these maps are alive
        inner = F.instance_norm(inner)
        return inner.add_(x)
