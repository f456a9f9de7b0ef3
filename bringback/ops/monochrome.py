"""Is a photo of a single tint (sepia, cyanotype, yellowed grey)? And how to put the tint back.

Such a photo is restored as a grey one and gets its tint back at the end, so no network can add a colour to it.
"""

from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.ops.color import luminance
from bringback.ops.strips import STRIP, strips

# Chroma, in [0, 1] units, that a quadratic in luminance may leave over in a block of a single-tint photo. Of 40 aged
# validation photos it takes one of 22 coloured ones for a tint and three of 18 grey ones for coloured, the lesser harm.
SPREAD = 0.03
DOUBTFUL = 0.37  # the damage mask from which a pixel is no witness
SOUND = 0.995  # the share of blocks that must stay below: a red jacket in the snow is a percent of the picture
BLOCK, BLOCKS = 8, 64  # pixels a side, in which noise averages out; at most so many blocks a side


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

    def apply(self, grey: Tensor, out: Tensor | None = None) -> Tensor:
        """Tint a picture (B, 3, H, W) by its luminance, which is kept as far as the range [0, 1] allows.

        The result is written into `out`, which may be `grey` itself, or into a new tensor.
        """
        result = torch.empty_like(grey) if out is None else out
        for rows in strips(grey):
            light = luminance(grey[..., rows, :])
            within = light.clamp(self.low, self.high)
            for channel, (constant, linear, quadratic) in enumerate(self.coefficients.tolist()):
                chroma = constant + linear * within + quadratic * within.square()
                result[:, channel : channel + 1, rows] = (light + chroma).clamp(0, 1)
        return result


def find_tint(pixels: Tensor, mask: Tensor | None = None) -> Tint | None:
    """The tint of a photo (1, 3, H, W), or None when it has colours of its own.

    Chroma is fitted as a function of luminance on the means of blocks; the photo is of a single tint when almost
    nothing is left over in nearly all of them. Only pixels under the damage mask (1, 1, H, W), if there is one, are
    excused.
    """
    height, width = pixels.shape[-2:]
    tall, wide = (min(max(side // BLOCK, 1), BLOCKS) for side in (height, width))
    # the rows of the photo that adaptive pooling gives to each row of blocks
    spans = [(row * height // tall, -(-(row + 1) * height // tall)) for row in range(tall)]
    at_once = max(1, STRIP * tall // (height * width))
    mean = pixels.new_empty(6, tall, wide)
    for first in range(0, tall, at_once):
        group = spans[first : first + at_once]
        start, end = group[0][0], group[-1][1]
        part = pixels[..., start:end, :]
        light = luminance(part)
        # the powers are averaged, not the average raised: contrast within a block must not look like chroma
        planes = torch.cat([torch.ones_like(light), light, light * light, part], 1)
        if mask is not None:
            planes *= mask[..., start:end, :] < DOUBTFUL
        for row, (top, bottom) in enumerate(group, first):
            mean[:, row] = F.adaptive_avg_pool2d(planes[..., top - start : bottom - start, :], (1, wide))[0, :, 0]
    share = mean[0]  # of good pixels, in each block
    sound = share > 0.5
    if not sound.any():
        return None
    powers, colour = (mean / share)[:, sound].split(3)
    chroma = colour - powers[1]
    # a little ridge keeps a flat picture solvable
    normal = powers @ powers.T + 1e-4 * powers.shape[1] * torch.eye(3, device=pixels.device)
    coefficients = torch.linalg.solve(normal, powers @ chroma.T).T
    left = (chroma - coefficients @ powers).abs().amax(0).quantile(SOUND)
    if float(left) > SPREAD:
        return None
    low, high = powers[1].quantile(powers.new_tensor([0.01, 0.99])).tolist()
    return Tint(coefficients.cpu(), low, high)
