"""What a photo need not be translated for: where its own pixels are better than what a latent keeps of them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bringback.models.layers import pad_to, silence

_CELL = 4  # pixels a side: trust is a matter of places, not of pixels


class Trust(nn.Module):
    """Photos (B, 3, H, W), the same decoded, and what was filled (B, 1, H, W) -> trust (B, 1, H, W).

    1 keeps the photo, 0 takes what was decoded; `torch.lerp(decoded, pixels, trust)` is the result. A latent loses fine
    detail, which is a gain where that is noise and a loss where nothing is worn. Judged by what differs between the two
    and by the noise of both as Immerkaer sees it ("Fast noise variance estimation", 1996), in cells of 4x4 pixels, from
    no farther than ten cells. Decode in float32: what bfloat16 rounds away is as much as faint noise.
    Args: width: channels within.
    """

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        last = nn.Conv2d(width, 1, 3, padding=1)
        silence(last)
        last.bias.data.fill_(-4.0)  # type: ignore[union-attr] # until it has learned, what was decoded is taken
        reach = [nn.Conv2d(a, width, 3, padding=d, dilation=d) for a, d in ((8, 1), (width, 2), (width, 4))]
        self.layers = nn.Sequential(*(step for layer in reach for step in (layer, nn.GELU())), last)

    def forward(self, pixels: Tensor, decoded: Tensor, mask: Tensor) -> Tensor:
        height, width = pixels.shape[-2:]
        seen = _statistics(pad_to(pixels.float(), _CELL), pad_to(decoded.float(), _CELL))
        mask = F.max_pool2d(mask, _CELL, ceil_mode=True)
        # the networks as a whole may be in half precision
        trust = torch.sigmoid(self.layers(torch.cat([seen, mask], 1).to(mask.dtype)).float())
        return F.interpolate(trust, scale_factor=float(_CELL), mode="bilinear")[..., :height, :width].to(pixels.dtype)


def _statistics(pixels: Tensor, decoded: Tensor) -> Tensor:
    """Seven numbers a cell (B, 7, H/4, W/4): sizes of what differs and of noise, their agreement, and brightness."""

    def size(x: Tensor) -> Tensor:
        return torch.log(F.avg_pool2d(x.abs(), _CELL) + 1e-3) + 4

    grey, other = pixels.mean(1, keepdim=True), decoded.mean(1, keepdim=True)
    noise, left = _noise(grey), _noise(other)
    chroma = (pixels - decoded - grey + other).square().sum(1, keepdim=True).add(1e-12).sqrt()
    agreement = F.avg_pool2d(noise * left, _CELL) / (F.avg_pool2d(noise.square() + left.square(), _CELL) + 1e-4)
    sizes = [size(part) for part in (grey - other, noise, left, noise - left, chroma)]
    return torch.cat([*sizes, agreement, F.avg_pool2d(grey, _CELL)], 1)


def _noise(grey: Tensor) -> Tensor:
    """The mixed second difference, blind to edges along the axes and to slopes, the border repeated; same shape."""
    return F.pad(grey, (1, 1, 1, 1), mode="replicate").diff(n=2, dim=-1).diff(n=2, dim=-2) / 4
