"""The features of SqueezeNet 1.1 and the perceptual distance between them."""

from collections.abc import Mapping
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CAFFE_MEAN = (104.006, 116.669, 122.679)  # blue, green, red, 0..255
TAPS = (1, 4, 7, 12)  # the layers of `features` whose output is compared: ReLU of 0, fires 3-4, 6-7, 9-12
EPSILON = 1e-10


class Fire(nn.Module):
    """Squeeze to few channels by 1x1, expand by 1x1 and 3x3 side by side."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, 2 * expanded, H, W)."""
        x = F.relu(self.squeeze(x))
        return torch.cat((F.relu(self.expand1x1(x)), F.relu(self.expand3x3(x))), 1)


class SqueezeNetFeatures(nn.Module):
    """The convolutions of SqueezeNet 1.1 (Iandola et al., 2016), with torchvision's key names and Caffe's input.

    `forward` takes RGB (B, 3, H, W) in [0, 1] with sides of 17 pixels or more, and gives the four feature maps of
    `TAPS`, with 64, 128, 256 and 512 channels.
    """

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()

        def pool() -> nn.Module:
            return nn.MaxPool2d(3, 2, ceil_mode=True)

        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 3, stride=2),
            nn.ReLU(),
            pool(),
            Fire(64, 16, 64),
            Fire(128, 16, 64),
            pool(),
            Fire(128, 32, 128),
            Fire(256, 32, 128),
            pool(),
            Fire(256, 48, 192),
            Fire(384, 48, 192),
            Fire(384, 64, 256),
            Fire(512, 64, 256),
        )
        self.register_buffer("mean", torch.tensor(CAFFE_MEAN)[:, None, None], persistent=False)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """The feature maps, finest first."""
        x = 255 * pixels.flip(1) - self.mean
        maps = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in TAPS:
                maps.append(x)
        return maps


class PerceptualDistance(nn.Module):
    """How different two pictures look: the distance of their SqueezeNet features, each unit length over the channels.

    As LPIPS (Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", 2018) without its
    learned weights: squared differences summed over channels, averaged over positions, summed over the four layers.
    0 for equal pictures. Its parameters are frozen; gradients flow to the pictures: it serves as a training loss too.
    """

    def __init__(self, backbone: Mapping[str, Tensor] | None = None) -> None:
        """Take `backbone`, the network's weights with torchvision's key names; without any they are random.

        Raises RuntimeError for the weights of another network.
        """
        super().__init__()
        self.network = SqueezeNetFeatures()
        if backbone is not None:
            self.network.load_state_dict(backbone)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode whatever the module around it does."""
        return super().train(False)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """The distances (B,) of RGB pictures `a` and `b`, both (B, 3, H, W) in [0, 1], 17 pixels a side or more."""
        distance = torch.zeros(len(a), device=a.device)
        for x, y in zip(self.network(a), self.network(b), strict=True):
            distance = distance + (_unit(x) - _unit(y)).square().sum(1).mean((1, 2))
        return distance


def _unit(x: Tensor) -> Tensor:
    """Scaled to length 1 over the channels; the epsilon inside the root keeps the gradient of an empty place finite."""
    x = x.float()
    return x * torch.rsqrt(x.square().sum(1, keepdim=True) + EPSILON)
