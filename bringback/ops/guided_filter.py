"""Bringing a coarse map to full size along the edges of the picture that it belongs to."""

from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

_REACH = 4  # coarse pixels around each whose map is taken for a linear function of luminance
_FLAT = 2e-3  # variance of luminance below which the map is rather taken for a constant


@dataclass(frozen=True, slots=True)
class Guided:
    """The fast guided filter (He, Sun and Tang 2013; He and Sun 2015): `slope` and `offset`, (B, C, h, w) each.

    Around each place the map is a linear function of luminance, so that what differs in luminance may differ in the
    map, at the full sharpness of the luminance.
    """

    slope: Tensor
    offset: Tensor

    @classmethod
    def of(cls, light: Tensor, coarse: Tensor) -> Self:
        """Of a map (B, C, h, w) and luminance (B, 1, h, w) of the same size."""
        mean_light, mean = _mean(light), _mean(coarse)
        variance = _mean(light * light) - mean_light.square()
        slope = (_mean(light * coarse) - mean_light * mean) / (variance + _FLAT)
        return cls(_mean(slope), _mean(mean - slope * mean_light))

    def upsampled(self, light: Tensor, rows: slice, height: int) -> Tensor:
        """The map (B, C, r, W) of the `rows` of a picture of `height`, by their luminance (B, 1, r, W)."""
        count = light.shape[-2]
        place = (torch.arange(rows.start, rows.start + count, device=light.device) + 0.5) / height
        place = (place * self.slope.shape[-2] - 0.5).clamp(0, self.slope.shape[-2] - 1)
        above = place.floor().long()
        below, part = (above + 1).clamp_max(self.slope.shape[-2] - 1), (place - above)[:, None]

        def stretched(coarse: Tensor) -> Tensor:
            mixed = torch.lerp(coarse[..., above, :], coarse[..., below, :], part)
            return F.interpolate(mixed, (count, light.shape[-1]), mode="bilinear", align_corners=False)

        return stretched(self.slope) * light + stretched(self.offset)


def _mean(x: Tensor) -> Tensor:
    reach = min(_REACH, *(side - 1 for side in x.shape[-2:])) if min(x.shape[-2:]) > 1 else 0
    box = 2 * reach + 1
    return F.avg_pool2d(x, box, stride=1, padding=reach, count_include_pad=False)
