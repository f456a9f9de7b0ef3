"""Blend gate: where to keep the photo's own pixels instead of the decoded ones."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bringback.models.layers import pad_to, zero_init

_CELL = 4  # side in pixels of the cells for which trust is predicted


class BlendGate(nn.Module):
    """Photos (B, 3, H, W), decoded photos (B, 3, H, W), fill masks (B, 1, H, W) -> trust (B, 1, H, W) in [0, 1].

    1 keeps the photo, 0 takes the decoded one; `torch.lerp(decoded, pixels, trust)` is the result. A latent loses fine
    detail, which is good for noise and bad where nothing is damaged. The inputs are the difference of both images and
    the noise of each by Immerkaer ("Fast noise variance estimation", 1996), in cells of 4x4 pixels; the receptive field
    is at most ten cells to each side. Decode in float32: rounding errors of bfloat16 are as large as faint noise.
    Args: width: hidden channels.
    """

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        last = nn.Conv2d(width, 1, 3, padding=1)
        zero_init(last)
        last.bias.data.fill_(-4.0)  # type: ignore[union-attr] # at initialization the decoded photo is used
        reach = [nn.Conv2d(a, width, 3, padding=d, dilation=d) for a, d in ((8, 1), (width, 2), (width, 4))]
        self.layers = nn.Sequential(*(step for layer in reach for step in (layer, nn.GELU())), last)

    def forward(self, pixels: Tensor, decoded: Tensor, mask: Tensor) -> Tensor:
        height, width = pixels.shape[-2:]
        seen = _statistics(pad_to(pixels.float(), _CELL), pad_to(decoded.float(), _CELL))
        mask = F.max_pool2d(mask, _CELL, ceil_mode=True)
        # the module may be in half precision
        trust = torch.sigmoid(self.layers(torch.cat([seen, mask], 1).to(mask.dtype)).float())
        return F.interpolate(trust, scale_factor=float(_CELL), mode="bilinear")[..., :height, :width].to(pixels.dtype)


def _statistics(pixels: Tensor, decoded: Tensor) -> Tensor:
    """Statistics (B, 7, H/4, W/4) of cells: log magnitudes of differences and noise, noise agreement, brightness."""

    def size(x: Tensor) -> Tensor:
        return torch.log(F.avg_pool2d(x.abs(), _CELL) + 1e-3) + 4

    gray, other = pixels.mean(1, keepdim=True), decoded.mean(1, keepdim=True)
    noise, left = _noise(gray), _noise(other)
    chroma = (pixels - decoded - gray + other).square().sum(1, keepdim=True).add(1e-12).sqrt()
    agreement = F.avg_pool2d(noise * left, _CELL) / (F.avg_pool2d(noise.square() + left.square(), _CELL) + 1e-4)
    sizes = [size(part) for part in (gray - other, noise, left, noise - left, chroma)]
    return torch.cat([*sizes, agreement, F.avg_pool2d(gray, _CELL)], 1)


def _noise(gray: Tensor) -> Tensor:
    """Mixed second difference, insensitive to axis-aligned edges and slopes, with replicated border; same shape."""
    return F.pad(gray, (1, 1, 1, 1), mode="replicate").diff(n=2, dim=-1).diff(n=2, dim=-2) / 4
