"""Edge-aware upsampling of coarse maps: the fast guided filter."""

from dataclasses import dataclass
from typing import Self

from torch import Tensor

from bringback.ops.scale import enlarged_rows
from bringback.ops.windows import window_means

_REACH = 4  # window radius in coarse pixels
_FLAT = 2e-3  # regularization: where the variance of luminance is well below this, the map is nearly constant


@dataclass(frozen=True, slots=True)
class Guided:
    """The fast guided filter (He, Sun and Tang 2013; He and Sun 2015): `slope` and `offset`, (B, C, h, w) each.

    The map is locally a linear function of luminance, so the upsampled map has edges as sharp as those of the
    luminance.
    """

    slope: Tensor
    offset: Tensor

    @classmethod
    def of(cls, light: Tensor, coarse: Tensor) -> Self:
        """Fit to a map (B, C, h, w) and luminance (B, 1, h, w) of the same size."""
        mean_light, mean = _mean(light), _mean(coarse)
        variance = _mean(light * light) - mean_light.square()
        slope = (_mean(light * coarse) - mean_light * mean) / (variance + _FLAT)
        return cls(_mean(slope), _mean(mean - slope * mean_light))

    def upsampled(self, light: Tensor, rows: slice, height: int) -> Tensor:
        """The map (B, C, r, W) for `rows` of an image of `height` rows, given their luminance (B, 1, r, W)."""
        size = (height, light.shape[-1])
        slope, offset = (enlarged_rows(coarse, rows, size, "bilinear") for coarse in (self.slope, self.offset))
        return slope * light + offset


def _mean(x: Tensor) -> Tensor:
    reach = min(_REACH, *(side - 1 for side in x.shape[-2:])) if min(x.shape[-2:]) > 1 else 0
    box = 2 * reach + 1
    return window_means(x, box, box)
