"""Perceptual distance of images, by the features of ImageNet classifiers."""

from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-10
LARGEST = 1024  # pixels; images with longer sides are compared in parts, to bound memory


@dataclass(frozen=True, slots=True)
class Convention:
    """Normalization of RGB in [0, 1] for given weights: `(peak * x - mean) / std`, channels reversed first if `bgr`."""

    peak: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    bgr: bool


IMAGENET = Convention(1.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), bgr=False)  # torchvision's own weights
CAFFE = Convention(255.0, (104.006, 116.669, 122.679), (1.0, 1.0, 1.0), bgr=True)


class Features(nn.Module):
    """Convolutional features under torchvision's key names (`features.0.weight`, ...), with outputs at layers `taps`.

    `smallest` is the shortest side in pixels for which every layer has a nonempty output.
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
        """Feature maps of RGB (B, 3, H, W) in [0, 1] with sides of at least `smallest`, finest first."""
        x = pixels.flip(1) if self.convention.bgr else pixels
        x = (self.convention.peak * x - self.mean) / self.std
        maps = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.taps:
                maps.append(x)
        return maps


class Fire(nn.Module):
    """Fire module of SqueezeNet: a 1x1 squeeze, then 1x1 and 3x3 expansions in parallel."""

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
    """SqueezeNet 1.1 (Iandola et al. 2016), with outputs after the first ReLU and after fire layers 4, 7 and 12.

    `forward` returns maps of 64, 128, 256 and 512 channels.
    """

    def __init__(self, convention: Convention = IMAGENET) -> None:
        def pool() -> nn.Module:
            return nn.MaxPool2d(3, 2, ceil_mode=True)

        begin: list[nn.Module] = [nn.Conv2d(3, 64, 3, stride=2), nn.ReLU(), pool()]
        fires = [Fire(64, 16, 64), Fire(128, 16, 64), pool(), Fire(128, 32, 128), Fire(256, 32, 128), pool()]
        fires += [Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256)]
        super().__init__(begin + fires, (1, 4, 7, 12), 17, convention)


class VGG19Features(Features):
    """VGG-19 (Simonyan and Zisserman 2014), with outputs at the last ReLU before each pooling.

    These are relu1_2, relu2_2, relu3_4, relu4_4 and relu5_4, which correspond to the VGG-16 layers of Zhang et al. 2018
    (and, but for the last, of Johnson et al. 2016). `forward` returns maps of 64, 128, 256, 512 and 512 channels.
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
    """Perceptual distance of two images: the distance of their features, normalized over the channels.

    LPIPS (Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", 2018) without its
    learned weights: squared differences summed over channels, averaged over positions, summed over the layers. 0 for
    equal images; values of different backbones are not comparable. Parameters are frozen, gradients flow to the images,
    so it can be a training loss.
    """

    def __init__(self, network: Features) -> None:
        super().__init__()
        self.network = network
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Always stay in eval mode."""
        return super().train(False)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """The distances (B,) of RGB images `a` and `b`, both (B, 3, H, W) in [0, 1].

        Images too small for the network are padded right and bottom by replication. Sides longer than `LARGEST` are
        split into about equal parts, whose distances are averaged by area.
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
    """Normalize over the channels; the epsilon inside the root keeps the gradient finite where all are zero."""
    x = x.float()
    return x * torch.rsqrt(x.square().sum(1, keepdim=True) + EPSILON)
