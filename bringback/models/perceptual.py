"""Networks trained to tell objects apart, and how different two pictures look to them."""

from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-10
LARGEST = 1024  # pixels; longer sides are compared in parts, so that memory does not grow with the photo


@dataclass(frozen=True, slots=True)
class Convention:
    """What weights expect of RGB in [0, 1]: `(peak * x - mean) / std`, its channels turned round first if `bgr`."""

    peak: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    bgr: bool


IMAGENET = Convention(1.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), bgr=False)  # torchvision's own weights
CAFFE = Convention(255.0, (104.006, 116.669, 122.679), (1.0, 1.0, 1.0), bgr=True)


class Features(nn.Module):
    """Convolutions under torchvision's key names (`features.0.weight`, ...), and the layers where they are looked at.

    `smallest` is the shortest side in pixels that every layer still gets something of.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, layers: list[nn.Module], taps: tuple[int, ...], smallest: int, convention: Convention) -> None:
        super().__init__()
        self.features = nn.Sequential(*layers)
        self.taps, self.smallest, self.convention = taps, smallest, convention
        self.register_buffer("mean", torch.tensor(convention.mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(convention.std)[:, None, None], persistent=False)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """The feature maps of RGB (B, 3, H, W) in [0, 1], sides of `smallest` or more, finest first."""
        x = pixels.flip(1) if self.convention.bgr else pixels
        x = (self.convention.peak * x - self.mean) / self.std
        maps = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.taps:
                maps.append(x)
        return maps


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


class SqueezeNetFeatures(Features):
    """SqueezeNet 1.1 (Iandola et al. 2016), looked at after the ReLU of 0 and after fires 4, 7 and 12.

    `forward` gives maps of 64, 128, 256 and 512 channels.
    """

    def __init__(self, convention: Convention = IMAGENET) -> None:
        def pool() -> nn.Module:
            return nn.MaxPool2d(3, 2, ceil_mode=True)

        begin: list[nn.Module] = [nn.Conv2d(3, 64, 3, stride=2), nn.ReLU(), pool()]
        fires = [Fire(64, 16, 64), Fire(128, 16, 64), pool(), Fire(128, 32, 128), Fire(256, 32, 128), pool()]
        fires += [Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256)]
        super().__init__(begin + fires, (1, 4, 7, 12), 17, convention)


class VGG19Features(Features):
    """VGG-19 (Simonyan and Zisserman 2014), looked at after the last ReLU before each pool.

    That is relu1_2, relu2_2, relu3_4, relu4_4 and relu5_4, in VGG-16 the layers of Zhang et al. 2018 (and all but the
    last those of Johnson et al. 2016): at each scale all that the network finds there. `forward` gives maps of 64,
    128, 256, 512 and 512 channels.
    """

    def __init__(self, convention: Convention = IMAGENET) -> None:
        layers: list[nn.Module] = []
        inputs, taps = 3, []
        for width, depth in ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4)):
            for _ in range(depth):
                layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU(inplace=True)]
                inputs = width
            taps.append(len(layers) - 1)
            layers.append(nn.MaxPool2d(2))
        super().__init__(layers[:-1], tuple(taps), 16, convention)


class PerceptualDistance(nn.Module):
    """How different two pictures look: the distance of their features, each unit length over the channels.

    As LPIPS (Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", 2018) without its
    learned weights: squared differences summed over channels, averaged over positions, summed over the layers. 0 for
    equal pictures; of two networks the numbers are not comparable. Its parameters are frozen; gradients flow to the
    pictures: it serves as a training loss too, outside `no_grad`.
    """

    def __init__(self, network: Features) -> None:
        super().__init__()
        self.network = network
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode whatever the module around it does."""
        return super().train(False)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """The distances (B,) of RGB pictures `a` and `b`, both (B, 3, H, W) in [0, 1].

        Pictures too small for the network are enlarged by repeating their last row and column. Of a side longer than
        `LARGEST` the distances of about equal parts are averaged.
        """
        distance = torch.zeros(len(a), device=a.device)
        for x, y in zip(_parts(a), _parts(b), strict=True):
            share = x[0, 0].numel() / a[0, 0].numel()
            x, y = (_enlarged(part, self.network.smallest) for part in (x, y))
            for p, q in zip(self.network(x), self.network(y), strict=True):
                distance = distance + share * (_unit(p) - _unit(q)).square().sum(1).mean((1, 2))
        return distance


def _parts(x: Tensor) -> list[Tensor]:
    rows, columns = (-(-side // LARGEST) for side in x.shape[-2:])
    return [part for row in x.tensor_split(rows, -2) for part in row.tensor_split(columns, -1)]


def _enlarged(x: Tensor, smallest: int) -> Tensor:
    height, width = x.shape[-2:]
    if min(height, width) >= smallest:
        return x
    return F.pad(x, (0, max(0, smallest - width), 0, max(0, smallest - height)), mode="replicate")


def _unit(x: Tensor) -> Tensor:
    """Scaled to length 1 over the channels; the epsilon inside the root keeps the gradient of an empty place finite."""
    x = x.float()
    return x * torch.rsqrt(x.square().sum(1, keepdim=True) + EPSILON)
