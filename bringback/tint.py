"""Is a photo grey, a single tint (sepia), or colour? And how to put a tint back.

A grey or sepia photo is restored as a grey one and gets its tint back at the end, so no network can add a colour to it.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

# chroma spread, in [0, 1] units, that noise and compression of a grey or tinted photo stay below
_SPREAD = 0.02
_GREY = 0.012


def luminance(pixels: Tensor) -> Tensor:
    """Rec. 601 luma, (B, 3, H, W) -> (B, 1, H, W)."""
    weights = pixels.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    return (pixels * weights).sum(1, keepdim=True)


@dataclass(frozen=True, slots=True)
class Tint:
    """Chroma as a quadratic in luminance: `coefficients` (3, 3), rows per RGB channel; all zero for a plain grey photo."""

    coefficients: Tensor

    def apply(self, grey: Tensor) -> Tensor:
        """Tint a grey picture (1, 3, H, W); luminance is kept as far as the range allows."""
        light = luminance(grey)
        powers = torch.cat([torch.ones_like(light), light, light * light], 1)
        chroma = torch.einsum("cp,bphw->bchw", self.coefficients.to(grey), powers)
        return (light + chroma).clamp(0, 1)


def find_tint(pixels: Tensor, mask: Tensor | None = None) -> Tint | None:
    """The tint of a photo (1, 3, H, W), or None when it has colours of its own.

    Chroma is fitted as a function of luminance on a thumbnail, where noise has averaged out; the photo is a single tint
    when almost nothing is left over. Pixels under the damage mask (1, 1, H, W) do not count.
    """
    height, width = pixels.shape[-2:]
    size = (min(height, 96), min(width, 96))
    good = torch.ones_like(pixels[:, :1]) if mask is None else (mask < 0.2).to(pixels.dtype)
    share = F.adaptive_avg_pool2d(good, size)
    small = F.adaptive_avg_pool2d(pixels * good, size) / share.clamp_min(1e-6)
    small = small.flatten(2)[0, :, share.flatten() > 0.5]
    if small.shape[1] == 0:
        return None
    light = luminance(small[None, :, :, None])[0, 0, :, 0]
    chroma = small - light
    if float(chroma.square().mean().sqrt()) < _GREY:
        return Tint(torch.zeros(3, 3))
    powers = torch.stack([torch.ones_like(light), light, light * light], 1)
    # a little ridge keeps a flat picture solvable
    normal = powers.T @ powers + 1e-4 * len(light) * torch.eye(3, device=pixels.device)
    coefficients = torch.linalg.solve(normal, powers.T @ chroma.T).T
    left = (chroma - coefficients @ powers.T).abs().quantile(0.9)
    return Tint(coefficients.cpu()) if float(left) < _SPREAD else None
