"""Impulse noise ("salt and pepper"): single pixels that are much lighter or much darker than all around them."""

import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.ops.masks import ramp
from bringback.ops.strips import strips
from bringback.ops.windows import window_sums

_LEAST = 0.08  # by which an impulse stands out, in [0, 1]
# Impulses stand out by more than the range of their neighbors. On smooth ground it is more than three times that range:
# so much of a photo, and so many of its impulses, have to, for noise, perhaps and surely. Of what is fine in a picture,
# as gravel and leaves, hardly a seventh does. More than `_MOST` of a photo are how it shows its tones. Only those count
# as so much of a photo that are farther from their ground than three times the range that is usual in it: in grain and
# among printed dots, some ground is smooth by chance.
_SMOOTH = 3.0
_RARE, _FREQUENT, _MOST = 5e-5, 1.5e-4, 0.05
_FEW, _MANY = 0.25, 0.35
_CUT = 0.1  # of black or of white: isolated pixels there may be all that shows the tone, as in a dithered picture
# Impulses of noise lie anywhere; those by which a picture of few colors shows its tones often lie two pixels apart, so
# many times as often as others of their kind are within `_FAR` pixels, surely no noise and surely noise.
_IN_STEP, _ANYWHERE, _FAR = 2.0, 1.5, 16
_SAMPLED = 3  # of every so many rows and columns one tells what range is usual
_LOOKED_AT = 8  # strips of a large photo in which impulses are counted


def without_impulses(pixels: Tensor) -> Tensor:
    """Photos (B, 3, H, W) in [0, 1] with the median of their neighbors in place of impulses: new, or the same tensor.

    Each channel by itself, as a switching median filter does (Sun and Neuvo, "Detail-preserving median based filters in
    image processing", 1994); the second largest and second smallest neighbor are compared with, so that impulses may
    touch. Photos are changed only where light impulses and dark ones are noise, see `noise`: stars, snow and dust are
    light alone.
    """
    sure = noise(pixels)
    if not sure.any():
        return pixels
    result = torch.empty_like(pixels)
    for rows in strips(pixels):
        shifted = _neighbors(pixels, rows)
        light, dark = _stand_out(pixels[..., rows, :], *_second_extremes(shifted), 1.0)
        at = (light | dark).nonzero(as_tuple=True)
        part = pixels[..., rows, :].clone()  # a gradient needs the values before
        middle = torch.stack([plane[at] for plane in shifted], 1).sort(1).values[:, 3:5].mean(1)
        part[at] = torch.lerp(part[at], middle, sure[at[0]])
        result[..., rows, :] = part
    return result


def noise(pixels: Tensor) -> Tensor:
    """How surely impulses in photos (B, 3, H, W) are noise, (B,) in [0, 1]; the rarer kind counts, light or dark."""
    every = list(strips(pixels))
    counts = pixels.new_zeros(3, 2, len(pixels))  # all, those on smooth ground, of these the far ones; light and dark
    beside, expected, seen = pixels.new_zeros(len(pixels)), pixels.new_zeros(len(pixels)), 0
    for rows in every[:: -(-len(every) // _LOOKED_AT)]:
        own, (lowest, highest) = pixels[..., rows, :], _second_extremes(_neighbors(pixels, rows))
        ground = (lowest + highest) / 2
        own, seen = torch.where((ground - 0.5).abs() < 0.5 - _CUT, own, ground), seen + own.shape[-2] * own.shape[-1]
        usual = (highest - lowest)[..., ::_SAMPLED, ::_SAMPLED].flatten(1).median(1).values.view(-1, 1, 1, 1)
        smooth = _stand_out(own, lowest, highest, _SMOOTH)
        far = [one & ((own - ground).abs() > _SMOOTH * usual) for one in smooth]
        every_one = _stand_out(own, lowest, highest, 1.0)
        for found in every_one:
            if found.any():
                near, wide = _in_step(found.to(pixels))
                beside, expected = beside + near, expected + wide
        for count, kinds in zip(counts, (every_one, smooth, far), strict=True):
            count += torch.stack([kind.any(1).sum((1, 2)) for kind in kinds])
    total, smooth_ones, far_ones = counts.amin(1)
    sure = ramp(far_ones / seen, _RARE, _FREQUENT) * ramp(smooth_ones / total.clamp_min(1), _FEW, _MANY)
    return sure * (smooth_ones < _MOST * seen) * ramp(beside / expected.clamp_min(1), _IN_STEP, _ANYWHERE)


def _in_step(found: Tensor) -> tuple[Tensor, Tensor]:
    """How many impulses, 1 in (B, C, H, W), are two pixels from others, (B,), and would be if they lay anywhere."""
    touching, within, wide = (window_sums(found, side, side) for side in (3, 5, 2 * _FAR + 1))
    share = (5**2 - 3**2) / ((2 * _FAR + 1) ** 2 - 5**2)
    near, far = within - touching, (wide - within) * share
    return (found * near).sum((1, 2, 3)), (found * far).sum((1, 2, 3))


def _neighbors(pixels: Tensor, rows: slice) -> list[Tensor]:
    """The eight neighbors (B, C, h, W) of each pixel in some rows of photos (B, C, H, W); borders are replicated."""
    height, width = pixels.shape[-2:]
    stop = min(rows.stop, height)
    wide = pixels[..., max(rows.start - 1, 0) : stop + 1, :]
    wide = F.pad(wide, (1, 1, int(rows.start == 0), int(stop == height)), mode="replicate")
    places = [(y, x) for y in range(3) for x in range(3) if (y, x) != (1, 1)]
    return [wide[..., y : y + stop - rows.start, x : x + width] for y, x in places]


def _second_extremes(planes: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The second smallest and second largest of some planes at each place."""
    smallest, lowest = torch.minimum(planes[0], planes[1]), torch.maximum(planes[0], planes[1])
    largest, highest = lowest, smallest
    for plane in planes[2:]:
        lowest = torch.minimum(lowest, torch.maximum(smallest, plane))
        highest = torch.maximum(highest, torch.minimum(largest, plane))
        smallest, largest = torch.minimum(smallest, plane), torch.maximum(largest, plane)
    return lowest, highest


def _stand_out(own: Tensor, lowest: Tensor, highest: Tensor, times: float) -> tuple[Tensor, Tensor]:
    """Where pixels are lighter, and where darker, than their neighbors, by `times` the range of these or more."""
    least = ((highest - lowest) * times).clamp_min(_LEAST)
    return own - highest > least, lowest - own > least
