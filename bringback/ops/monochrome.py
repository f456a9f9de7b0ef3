"""Detect photos of a single tint (sepia, cyanotype, yellowed gray) and reapply the tint.

Such a photo is restored as gray and tinted again at the end, so no network can add a color to it.
"""

from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.ops.color import luminance
from bringback.ops.strips import STRIP, strips

# Largest residual chroma, in [0, 1] units, of a block of a single-tint photo after the quadratic fit. Of 40 aged
# validation photos, 1 of 22 color photos is taken for a tint and 3 of 18 gray ones for color, the lesser harm.
SPREAD = 0.03
DOUBTFUL = 0.37  # pixels with a damage mask from this on are ignored
SOUND = 0.995  # share of blocks that must stay below SPREAD: a red jacket in the snow is 1% of the image
# Blue above the luminance in the darkest tones: Prussian blue has 0.2 and more, cool scans of black 0.05.
BLUE = 0.12
BLOCK, BLOCKS = 8, 64  # side of a block in pixels, to average out noise; most blocks a side
# Blocks of small photos are smaller, so that about so many of them are a side: among a dozen blocks that each average a
# fifth of the picture, colors look like a tint.
ENOUGH, LEAST = 12, 2


@dataclass(frozen=True, slots=True)
class Tint:
    """Chroma as a quadratic in luminance: `coefficients` (3 channels, 3 powers), constant outside `low`..`high`."""

    coefficients: Tensor
    low: float = 0.0
    high: float = 1.0

    @classmethod
    def none(cls) -> Self:
        """The tint of a plain gray photo."""
        return cls(torch.zeros(3, 3))

    def chroma(self, light: Tensor) -> Tensor:
        """The chroma (B, 3, H, W) of luminance (B, 1, H, W)."""
        within = light.clamp(self.low, self.high)
        lines = self.coefficients.tolist()
        return torch.cat(
            [constant + linear * within + quadratic * within.square() for constant, linear, quadratic in lines], 1
        )

    @property
    def is_blue(self) -> bool:
        """Whether the darkest tones are of a strong blue, as those of a cyanotype: photos do not age to that."""
        return float(self.chroma(torch.full((1, 1, 1, 1), self.low))[0, 2]) > BLUE

    def apply(self, gray: Tensor, out: Tensor | None = None) -> Tensor:
        """Tint an image (B, 3, H, W), preserving its luminance as far as the range [0, 1] allows.

        Writes to `out`, which may be `gray` itself, or to a new tensor.
        """
        result = torch.empty_like(gray) if out is None else out
        for rows in strips(gray):
            light = luminance(gray[..., rows, :])
            result[..., rows, :] = (light + self.chroma(light)).clamp(0, 1)
        return result


def find_tint(pixels: Tensor, mask: Tensor | None = None) -> Tint | None:
    """The tint of a photo (1, 3, H, W), or None if it has colors.

    Fits chroma as a quadratic in luminance to block means. The photo has a single tint if the residual is at most
    `SPREAD` in a share `SOUND` of the blocks. Pixels under the damage mask (1, 1, H, W) are ignored.
    """
    height, width = pixels.shape[-2:]
    block = min(BLOCK, max(LEAST, int((height * width) ** 0.5 / ENOUGH)))
    tall, wide = (min(max(side // block, 1), BLOCKS) for side in (height, width))
    # rows of each row of blocks, as in adaptive pooling
    spans = [(row * height // tall, -(-(row + 1) * height // tall)) for row in range(tall)]
    at_once = max(1, STRIP * tall // (height * width))
    mean = pixels.new_empty(6, tall, wide)
    for first in range(0, tall, at_once):
        group = spans[first : first + at_once]
        start, end = group[0][0], group[-1][1]
        part = pixels[..., start:end, :]
        light = luminance(part)
        # average the powers, not powers of the average: contrast within a block must not look like chroma
        planes = torch.cat([torch.ones_like(light), light, light * light, part], 1)
        if mask is not None:
            planes *= mask[..., start:end, :] < DOUBTFUL
        for row, (top, bottom) in enumerate(group, first):
            mean[:, row] = F.adaptive_avg_pool2d(planes[..., top - start : bottom - start, :], (1, wide))[0, :, 0]
    share = mean[0]  # of undamaged pixels in each block
    sound = share > 0.5
    if not sound.any():
        return None
    powers, color = (mean / share)[:, sound].split(3)
    chroma = color - powers[1]
    # ridge regularization, for flat images
    normal = powers @ powers.T + 1e-4 * powers.shape[1] * torch.eye(3, device=pixels.device)
    coefficients = torch.linalg.solve(normal, powers @ chroma.T).T
    left = (chroma - coefficients @ powers).abs().amax(0).quantile(SOUND)
    if float(left) > SPREAD:
        return None
    low, high = powers[1].quantile(powers.new_tensor([0.01, 0.99])).tolist()
    return Tint(coefficients.cpu(), low, high)
