"""What the original's VAE and mappings are built of: convolutions, each under an instance norm over the whole photo."""

import torch.nn.functional as F
from torch import Tensor, nn

from bringback.models.wan2020.strips import same_size


class Normed(nn.Module):
    """convolution -> instance norm without scale and shift -> ReLU. The convolution is the caller's."""

    def __init__(self, conv: nn.Conv2d | nn.ConvTranspose2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        same = isinstance(self.conv, nn.Conv2d) and self.conv.stride == (1, 1)
        made = same_size(self.conv, x) if same else self.conv(x)  # type: ignore[arg-type]
        return F.relu_(F.instance_norm(made))


class NormedBlock(nn.Module):
    """x + norm(conv(relu(norm(conv(x))))), 3x3, mirrored at the border. (B, C, H, W) -> same, sides of 2 or more."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect")
        self.second = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect")

    def forward(self, x: Tensor) -> Tensor:
        inner = same_size(self.first, x)
        inner = F.relu_(F.instance_norm(inner))
        inner = same_size(self.second, inner)  # one name, so that no more than two of these maps live at a time
        inner = F.instance_norm(inner)
        return inner.add_(x)
