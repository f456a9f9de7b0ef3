"""Is a photo of a single tint (sepia, cyanotype, yellowed grey)? And how to put the tint back.

Such a photo is restored as a grey one and gets its tint back at the end, so no network can add a colour to it.
"""

from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

# chroma, in [0, 1] units, that a quadratic in luminance may leave over on a thumbnail of a single-tint photo
SPREAD = 0.02
SIDE = 96  # of the thumbnail, in which noise has averaged out


def luminance(pixels: Tensor) -> Tensor:
    """Rec. 601 luma, (B, 3, H, W) -> (B, 1, H, W)."""
    return (pixels * pixels.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)


@dataclass(frozen=True, slots=True)
class Tint:
    """Chroma as a quadratic in luminance: `coefficients` (3 channels, 3 powers), constant outside `low`..`high`."""

    coefficients: Tensor
    low: float = 0.0
    high: float = 1.0

    @classmethod
    def none(cls) -> Self:
        """The tint of a plain grey photo."""
        return cls(torch.zeros(3, 3))

    def apply(self, grey: Tensor) -> Tensor:
        """Tint a picture (B, 3, H, W) by its luminance, which is kept as far as the range [0, 1] allows."""
        light = luminance(grey)
        chroma = torch.einsum("cp,bphw->bchw", self.coefficients.to(grey), _powers(light.clamp(self.low, self.high), 1))
        return (light + chroma).clamp(0, 1)


def find_tint(pixels: Tensor, mask: Tensor | None = None) -> Tint | None:
    """The tint of a photo (1, 3, H, W), or None when it has colours of its own.

    Chroma is fitted as a function of luminance on a thumbnail; the photo is of a single tint when almost nothing is
    left over. Pixels under the damage mask (1, 1, H, W), if there is one, do not count.
    """
    size = (min(pixels.shape[-2], SIDE), min(pixels.shape[-1], SIDE))
    good = torch.ones_like(pixels[:, :1]) if mask is None else (mask < 0.2).to(pixels.dtype)
    share = F.adaptive_avg_pool2d(good, size)
    small = F.adaptive_avg_pool2d(pixels * good, size) / share.clamp_min(1e-6)
    small = small[..., share[0, 0] > 0.5]
    if small.shape[-1] == 0:
        return None
    light = luminance(small[..., None])[0, 0, :, 0]
    chroma, powers = small[0] - light, _powers(light, 0)
    # a little ridge keeps a flat picture solvable
    normal = powers @ powers.T + 1e-4 * len(light) * torch.eye(3, device=pixels.device)
    coefficients = torch.linalg.solve(normal, powers @ chroma.T).T
    left = (chroma - coefficients @ powers).abs().quantile(0.9)
    if float(left) > SPREAD:
        return None
    low, high = light.quantile(light.new_tensor([0.01, 0.99])).tolist()
    return Tint(coefficients.cpu(), low, high)


def _powers(light: Tensor, dim: int) -> Tensor:
    return torch.stack([torch.ones_like(light), light, light * light], dim).flatten(dim, dim + min(dim, 1))
