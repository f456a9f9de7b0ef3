"""dlib's face descriptor network in torch, so that it is differentiable."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Residual(nn.Module):
    """Residual block; one with stride 2 has no padding in its first convolution, as in dlib."""

    def __init__(self, channels: int, out: int, *, halve: bool) -> None:
        super().__init__()
        self.halve = halve
        self.first = nn.Conv2d(channels, out, 3, stride=2 if halve else 1, padding=0 if halve else 1)
        self.first_scale = _Affine(out)
        self.second = nn.Conv2d(out, out, 3, padding=1)
        self.second_scale = _Affine(out)

    def forward(self, x: Tensor) -> Tensor:
        change = self.second_scale(self.second(_relu(self.first_scale(self.first(x)))))
        if not self.halve:
            return _relu(x + change)
        x = F.avg_pool2d(x, 2)
        # zero-pad to the larger of both in channels, rows and columns
        shape = [max(a, b) for a, b in zip(x.shape[1:], change.shape[1:], strict=True)]
        return _relu(_filled_up(x, shape) + _filled_up(change, shape))


class _Affine(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma_beta = nn.Parameter(torch.zeros(2, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma_beta[0] + self.gamma_beta[1]

    def fold(self, convolution: nn.Module) -> None:
        """Give the convolution what this does to its output."""
        gamma, beta = self.gamma_beta.flatten(1)
        weight, bias = convolution.parameters()
        weight.mul_(gamma.view(-1, 1, 1, 1))
        bias.mul_(gamma).add_(beta)


class FaceDescriptor(nn.Module):
    """Face chips (B, 3, 150, 150) in [0, 1] -> descriptors (B, 128); dlib takes a distance below 0.6 for one person.

    A ResNet of 29 convolutions (He et al. 2016, with half the filters), the network of dlib's public-domain model
    `dlib_face_recognition_resnet_model_v1.dat` (King 2017), whose weights `bringback.stages.faces.identity` reads.
    """

    SIDE, FEATURES = 150, 256
    LEVELS = ((32, 3), (64, 4), (128, 3), (256, 3), (256, 1))  # channels, blocks; all but the first begin with stride 2

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 7, stride=2)
        self.stem_scale = _Affine(32)
        blocks: list[nn.Module] = []
        channels = 32
        for out, count in self.LEVELS:
            for number in range(count):
                blocks.append(_Residual(channels, out, halve=number == 0 and len(blocks) > 0))
                channels = out
        self.blocks = nn.Sequential(*blocks)
        self.project = nn.Linear(self.FEATURES, 128, bias=False)
        self.mean: Tensor
        self.register_buffer("mean", torch.tensor([122.782, 117.001, 104.298]).view(3, 1, 1) / 255, persistent=False)

    @torch.no_grad()
    def fold(self) -> None:
        """Fold the scales into the convolutions before them: the same network, a tenth faster. For inference only."""
        for part in [*self.modules()]:
            for name, scale in [*part.named_children()]:
                if isinstance(scale, _Affine):
                    scale.fold(part.get_submodule(name.removesuffix("_scale")))
                    setattr(part, name, nn.Identity())

    def forward(self, chips: Tensor) -> Tensor:
        return self.project(self.features(chips))

    def features(self, chips: Tensor) -> Tensor:
        """What the network sees in the chips, (B, 256), before it is asked who that is."""
        # channels last only now: with three of them, arithmetic takes ten times as long
        x = ((chips - self.mean) * (255 / 256)).to(self.project.weight.dtype, memory_format=torch.channels_last)
        x = F.max_pool2d(_relu(self.stem_scale(self.stem(x))), 3, 2)
        return self.blocks(x).mean((2, 3))


def _relu(x: Tensor) -> Tensor:
    return F.relu(x, inplace=not torch.is_grad_enabled())


def _filled_up(x: Tensor, shape: list[int]) -> Tensor:
    channels, height, width = (want - have for want, have in zip(shape, x.shape[1:], strict=True))
    return F.pad(x, (0, width, 0, height, 0, channels))
