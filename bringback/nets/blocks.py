"""Building blocks shared by the networks. None normalises over space, so a tile is computed like the whole."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import Self

import torch
import torch.nn.functional as F
from huggingface_hub import PyTorchModelHubMixin
from safetensors.torch import load_file
from torch import Tensor, nn

from bringback.nets.compact import expanded


class Network(nn.Module, PyTorchModelHubMixin):
    """A module whose constructor arguments are its config: `save_pretrained`, `from_pretrained`, `push_to_hub`."""

    @classmethod
    def _load_as_safetensor(  # type: ignore[override] # the mixin has a type variable of its own
        cls, model: Self, model_file: str, map_location: str, strict: bool
    ) -> Self:
        """As the mixin does, of compact files too."""
        model.load_state_dict(expanded(load_file(model_file)), strict=strict)
        return model.to(map_location)


def silence(layer: nn.Conv2d | nn.Linear) -> None:
    """Let a layer say zero until it has learned otherwise."""
    layer.weight.data.zero_()
    if layer.bias is not None:
        layer.bias.data.zero_()


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each place (Ba et al. 2016), without a scale of its own. (B, C, H, W) -> same."""

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.movedim(1, -1), x.shape[1:2]).movedim(-1, 1)


class ResidualBlock(nn.Module):
    """x + conv(act(conv(x))), 3x3, no norm (Lim et al. 2017, EDSR). (B, C, H, W) -> same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        # small at the start: a deep stack begins as the identity
        silence(self.second)
        nn.init.normal_(self.second.weight, std=0.1 * (channels * 9) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(x)))


def glance(channels: int, widths: Sequence[int]) -> nn.Sequential:
    """What a look at a thumbnail sees: 3x3 convolutions of these widths, each with half the side of the one before."""
    pairs = pairwise((channels, *widths))
    return nn.Sequential(*(part for a, b in pairs for part in (nn.Conv2d(a, b, 3, stride=2, padding=1), nn.SiLU())))


def luminance(pixels: Tensor) -> Tensor:
    """Rec. 601 luma, (B, 3, H, W) -> (B, 1, H, W)."""
    red, green, blue = pixels.split(1, 1)
    return red * 0.299 + green * 0.587 + blue * 0.114


def pad_to(x: Tensor, multiple: int) -> Tensor:
    """Grow the right and lower side to a multiple by repeating the border."""
    height, width = x.shape[-2:]
    return F.pad(x, (0, -width % multiple, 0, -height % multiple), mode="replicate")


def lower(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[None]:
    """Within it convolutions and products run in `dtype`; for float32, in what the caller has chosen."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)
