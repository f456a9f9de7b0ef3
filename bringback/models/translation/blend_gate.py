"""Blend gate: where to keep the photo's own pixels instead of the decoded ones."""

from collections.abc import MutableMapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bringback.models.layers import pad_to, zero_init
from bringback.ops.strips import strips
from bringback.ops.windows import mixed_differences

_CELL = 4  # side in pixels of the cells for which trust is predicted
_LEVELS = (-8.0, -7.0, -6.5, -6.0, -5.5, -5.0, -4.5, -4.0, -3.5, -3.0, -2.0)  # of log noise, for its distribution
_SOFT = 3.0  # slope of the steps of that distribution
LOOKED = 5 * len(_LEVELS)  # numbers that `BlendGate.look` gives: of five planes
_LOOKED_AT = 24  # strips of a large photo whose noise is looked at


class BlendGate(nn.Module):
    """Photos (B, 3, H, W), decoded photos (B, 3, H, W), fill masks (B, 1, H, W) -> trust (B, 1, H, W) in [0, 1].

    1 keeps the photo, 0 takes the decoded one; `torch.lerp(decoded, pixels, trust)` is the result. A latent loses fine
    detail, which is good for noise and bad where nothing is damaged. The inputs are the difference of both images and
    the noise of each by Immerkaer ("Fast noise variance estimation", 1996), in cells of 4x4 pixels; the receptive field
    is at most ten cells to each side. What looks alike there, grain and texture, differs by the whole photo: where
    nothing at all is smooth, it is grain. So the distribution of noise over the photo, `look`, shifts the features.
    Decode in float32: rounding errors of bfloat16 are as large as faint noise.
    Args: width: hidden channels.
    """

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        last = nn.Conv2d(width, 1, 3, padding=1)
        zero_init(last)
        last.bias.data.fill_(-4.0)  # type: ignore[union-attr] # at initialization the decoded photo is used
        reach = [nn.Conv2d(a, width, 3, padding=d, dilation=d) for a, d in ((8, 1), (width, 2), (width, 4))]
        self.layers = nn.Sequential(*(step for layer in reach for step in (layer, nn.GELU())), last)
        shifts = nn.Linear(2 * width, 3 * width + 1)
        zero_init(shifts)
        self.context = nn.Sequential(nn.Linear(LOOKED, 2 * width), nn.GELU(), shifts)
        self.register_load_state_dict_pre_hook(_complete)

    def complete(self, state: MutableMapping[str, Tensor], prefix: str) -> None:
        """Complete a state dict from before the gate looked at the whole photo: with layers that change nothing."""
        context = {f"{prefix}context.{key}": value for key, value in self.context.state_dict().items()}
        if not context.keys() & state.keys():
            state.update(context)  # the last layer of a new gate is zero

    def look(self, pixels: Tensor) -> Tensor:
        """The distribution of noise (B, 55) over whole photos (B, 3, H, W), from strips of large ones."""
        every = list(strips(pixels))
        every = every[:: -(-len(every) // _LOOKED_AT)]
        parts = torch.stack([self.levels(pixels[..., rows, :]) for rows in every])
        heights = [pixels[..., rows, :].shape[-2] for rows in every]
        return torch.einsum("n,nbk->bk", parts.new_tensor(heights) / sum(heights), parts)

    def levels(self, pixels: Tensor) -> Tensor:
        """The share (B, 55) of cells whose noise is below each level, softly: gray, colors, both at half the size."""
        gray = pixels.float().mean(1, keepdim=True)
        red, blue = pixels[:, :1] - gray, pixels[:, 2:] - gray
        halves = (F.avg_pool2d(pad_to(plane, 2 * _CELL), 2) for plane in (gray, red))
        noises = [
            *(pad_to(mixed_differences(plane), _CELL) for plane in (gray, red, blue)),
            *map(mixed_differences, halves),
        ]
        shares = []
        for noise in noises:
            size = torch.log(F.avg_pool2d(noise.abs(), _CELL) + 3e-4)
            shares += [torch.sigmoid((level - size) * _SOFT).mean((1, 2, 3)) for level in _LEVELS]
        return torch.stack(shares, 1)

    def forward(
        self, pixels: Tensor, decoded: Tensor, mask: Tensor, looked: Tensor | None = None, keeps: Tensor | float = 0.0
    ) -> Tensor:
        """For tiles, `looked` is `look` of the photos they are of, (B, 55).

        `keeps`, one number or (B, 1, 1, 1), is added to the log odds of trust where nothing was filled.
        """
        height, width = pixels.shape[-2:]
        looked = self.look(pixels) if looked is None else looked
        seen = _statistics(pad_to(pixels.float(), _CELL), pad_to(decoded.float(), _CELL))
        mask = F.max_pool2d(mask, _CELL, ceil_mode=True)
        # the module may be in half precision
        x = torch.cat([seen, mask], 1).to(mask.dtype)
        hidden = self.layers[-1].in_channels
        shifts = self.context(looked.to(mask.dtype)).split([hidden] * 3 + [1], 1)
        for number, shift in enumerate(shifts[:-1]):
            x = self.layers[2 * number + 1](self.layers[2 * number](x) + shift[..., None, None])
        odds = (self.layers[-1](x) + shifts[-1][..., None, None]).float()
        trust = torch.sigmoid(odds + keeps * (1 - mask.float()))
        return F.interpolate(trust, scale_factor=float(_CELL), mode="bilinear")[..., :height, :width].to(pixels.dtype)


def _complete(gate: BlendGate, state: MutableMapping[str, Tensor], prefix: str, *_: object) -> None:
    gate.complete(state, prefix)


def _statistics(pixels: Tensor, decoded: Tensor) -> Tensor:
    """Statistics (B, 7, H/4, W/4) of cells: log magnitudes of differences and noise, noise agreement, brightness."""

    def size(x: Tensor) -> Tensor:
        return torch.log(F.avg_pool2d(x.abs(), _CELL) + 1e-3) + 4

    gray, other = pixels.mean(1, keepdim=True), decoded.mean(1, keepdim=True)
    noise, left = mixed_differences(gray), mixed_differences(other)
    chroma = (pixels - decoded - gray + other).square().sum(1, keepdim=True).add(1e-12).sqrt()
    agreement = F.avg_pool2d(noise * left, _CELL) / (F.avg_pool2d(noise.square() + left.square(), _CELL) + 1e-4)
    sizes = [size(part) for part in (gray - other, noise, left, noise - left, chroma)]
    return torch.cat([*sizes, agreement, F.avg_pool2d(gray, _CELL)], 1)
