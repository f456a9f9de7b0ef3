"""Is a photo of a single tint (sepia, cyanotype, yellowed grey)? And how to put the tint back.

Such a photo is restored as a grey one and gets its tint back at the end, so no network can add a colour to it.
"""

from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

# Chroma, in [0, 1] units, that a quadratic in luminance may leave over in a block of a single-tint photo. Of 40 aged
# validation photos it takes one of 22 coloured ones for a tint and three of 18 grey ones for coloured, the lesser harm.
SPREAD = 0.03
DOUBTFUL = 0.37  # the damage mask from which a pixel is no witness
SOUND = 0.995  # the share of blocks that must stay below: a red jacket in the snow is a percent of the picture
BLOCK, BLOCKS = 8, 64  # pixels a side, in which noise averages out; at most so many blocks a side


def luminance(pixels: Tensor) -> Tensor:
    """Rec. 601 luma, (B, 3, H, W) -> (B, 1, H, W)."""
    return (pixels * pixels.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)


def greyed(pixels: Tensor, grey: Tensor) -> Tensor:
    """Pictures (B, 3, H, W), those of which `grey`, (B,) or (B, 1, 1, 1) bool, is true by their luminance."""
    return torch.where(grey.view(-1, 1, 1, 1), luminance(pixels).expand_as(pixels), pixels)


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
        powers = torch.cat(_powers(light.clamp(self.low, self.high)), 1)
        chroma = torch.einsum("cp,bphw->bchw", self.coefficients.to(grey), powers)
        return (light + chroma).clamp(0, 1)


def find_tint(pixels: Tensor, mask: Tensor | None = None) -> Tint | None:
    """The tint of a photo (1, 3, H, W), or None when it has colours of its own.

    Chroma is fitted as a function of luminance on the means of blocks; the photo is of a single tint when almost
    nothing is left over in nearly all of them. Only pixels under the damage mask (1, 1, H, W), if there is one, are
    excused.
    """
    height, width = (min(max(side // BLOCK, 1), BLOCKS) for side in pixels.shape[-2:])
    good = torch.ones_like(pixels[:, :1]) if mask is None else (mask < DOUBTFUL).to(pixels.dtype)
    share = F.adaptive_avg_pool2d(good, (height, width))
    sound = share[0, 0] > 0.5
    if not sound.any():
        return None

    def mean(plane: Tensor) -> Tensor:
        return (F.adaptive_avg_pool2d(plane * good, (height, width)) / share.clamp_min(1e-6))[0][:, sound]

    light = luminance(pixels)
    # the powers are averaged, not the average raised: contrast within a block must not look like chroma
    powers = torch.cat([mean(plane) for plane in _powers(light)])
    chroma = mean(pixels) - powers[1]
    # a little ridge keeps a flat picture solvable
    normal = powers @ powers.T + 1e-4 * powers.shape[1] * torch.eye(3, device=pixels.device)
    coefficients = torch.linalg.solve(normal, powers @ chroma.T).T
    left = (chroma - coefficients @ powers).abs().amax(0).quantile(SOUND)
    if float(left) > SPREAD:
        return None
    low, high = powers[1].quantile(light.new_tensor([0.01, 0.99])).tolist()
    return Tint(coefficients.cpu(), low, high)


def _powers(light: Tensor) -> list[Tensor]:
    return [torch.ones_like(light), light, light * light]
