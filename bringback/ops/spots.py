"""Find compact spots of strong color on a gray or toned photo (hand-tinted cheeks, ink, stamps), and carry them back.

Such a photo is restored as gray; without this, spots too small to make it a color photo would become gray too.
"""

import math
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.ops import masks
from bringback.ops.color import luminance, tinged
from bringback.ops.monochrome import SPREAD, Tint
from bringback.ops.scale import enlarged_rows
from bringback.ops.strips import STRIP, strips

_SEEN = 1 << 21  # pixels at which spots are looked for: in larger photos chroma noise is averaged out first
# Color of a spot differs from the tint by more than this many times what blocks of a photo without colors may have, and
# than this many times what `_NOISE` of its pixels have. A spot reaches as far as half of that.
_STRONG = 2
_NOISE = 0.99  # more colored blocks than `monochrome.SOUND` allows would make the photo one with colors
_LEAST = 12  # pixels of strong color in a spot
_MEDIAN = 3  # side of the window of the median in pixels: specks and fringes one pixel wide are no color
_STAIN = 0.5  # share of a spot under the damage mask from which on it is a stain
_LEMON = 0.05  # green of a yellow dye beyond its luminance, per missing blue; stains, amber to brown, have none
_SOFT = 5  # width of the edge in pixels


@dataclass(frozen=True, slots=True)
class ColoredSpots:
    """The spots of a photo with a single `tint`: `weight` (1, 1, h, w) in [0, 1], smaller than large photos."""

    tint: Tint
    weight: Tensor

    @classmethod
    def find(cls, own: Tensor, tint: Tint, mask: Tensor | None = None) -> Self | None:
        """The spots of a photo (1, 3, H, W) as it came, None without any.

        A spot is connected, and its color differs from the tint by much more than the noise. Not spots are: stains,
        which are mostly under the damage mask or have the colors of aging, amber to brown; what has less color than
        the tint, as white dust on sepia; edges with chromatic aberration, where luminance is steeper than color is
        strong.
        """
        chroma, beyond, light, damaged = _seen(own, tint, mask)
        if damaged.all():
            return None
        strength = np.minimum(np.abs(chroma).max(2), np.abs(beyond).max(2))
        strength[(chroma * beyond).sum(2) < 0] = 0
        noise = np.quantile(strength[~damaged], _NOISE)
        limit = _STRONG * max(SPREAD, float(noise))
        strong = (strength > limit) & (strength > _slope(light))
        if not strong.any():
            return None
        count, label = cv2.connectedComponents((strength > limit / 2).astype(np.uint8))

        def total(values: np.ndarray) -> np.ndarray:
            return np.bincount(label.ravel(), values.ravel(), count)

        red, green, blue = (total(np.where(strong, beyond[..., channel], 0)) for channel in range(3))
        around = cv2.dilate(damaged.astype(np.uint8), np.ones((_SOFT, _SOFT), np.uint8))  # stains have faint rims
        spots = (total(strong) >= _LEAST) & (total(around) < _STAIN * total(np.ones_like(around)))
        spots &= (blue > -red) | (red < blue / 2) | (green > -_LEMON * blue)
        spots[0] = False
        if not spots.any():
            return None
        wide = cv2.dilate(spots[label].astype(np.float32), np.ones((_SOFT, _SOFT), np.uint8))
        return cls(tint, torch.from_numpy(cv2.blur(wide, (_SOFT, _SOFT)))[None, None])

    def carry_back_(self, pixels: Tensor, own: Tensor, filled: Tensor | None = None) -> None:
        """Add the color of the photo (1, 3, H, W) as it came to the restored and tinted `pixels`, in place.

        Their luminance is preserved. What was `filled` (1, 1, H, W), 1 = replaced, gets no color.
        """
        height, width = pixels.shape[-2:]
        for rows in strips(pixels):
            weight = enlarged_rows(self.weight, rows, (height, width), "bilinear")
            if filled is not None:
                weight *= 1 - filled[..., rows, :].to(weight.device)
            if weight.any():
                _, beyond, _ = _chroma(own[..., rows, :], self.tint)
                part = pixels[..., rows, :]
                light, weight = luminance(part), weight.to(part.device)
                colored = tinged(light, part - light + weight * beyond.to(part.device))
                pixels[..., rows, :] = torch.where(weight > 0, colored, part)


def _chroma(pixels: Tensor, tint: Tint) -> tuple[Tensor, Tensor, Tensor]:
    """The chroma of a photo, what of it goes beyond the tint, both (B, 3, H, W), and luminance (B, 1, H, W)."""
    light = luminance(pixels)
    chroma = pixels - light
    return chroma, chroma - tint.chroma(light), light


def _seen(own: Tensor, tint: Tint, mask: Tensor | None) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What `_chroma` says, (h, w, 3), (h, w, 3) and (h, w), and what is damaged, bool (h, w): at most `_SEEN` pixels.

    The medians of chroma are taken, the mean of luminance.
    """
    height, width = own.shape[-2:]
    side = math.ceil(math.sqrt(height * width / _SEEN))
    tall = max(1, STRIP // width // side) * side
    planes = []
    for top in range(0, height, tall):
        rows = slice(top, top + tall)
        part = own[..., rows, :]
        damage = torch.zeros_like(part[:, :1]) if mask is None else mask[..., rows, :].to(part.device)
        every = torch.cat([*_chroma(part, tint), (damage > masks.SOUND).float()], 1)
        planes.append(F.avg_pool2d(every, side, ceil_mode=True, count_include_pad=False).cpu())
    whole = torch.cat(planes, 2)[0].permute(1, 2, 0).contiguous().numpy()
    chroma, beyond = (cv2.medianBlur(np.ascontiguousarray(whole[..., at : at + 3]), _MEDIAN) for at in (0, 3))
    return chroma, beyond, cv2.blur(whole[..., 6], (_MEDIAN, _MEDIAN)), whole[..., 7] > 0.5


def _slope(light: np.ndarray) -> np.ndarray:
    """The steepest change (h, w) of luminance (h, w) per pixel."""
    across, down = (cv2.Sobel(light, cv2.CV_32F, x, 1 - x, ksize=1, scale=0.5) for x in (1, 0))
    return np.maximum(np.abs(across), np.abs(down))
