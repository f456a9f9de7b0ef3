"""Between a scan and its native scale: shrink a photo, and carry back to its own pixels what was changed there."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.ops.color import luminance
from bringback.ops.strips import strips
from bringback.ops.windows import window_means, window_sums

_LEAST = 1.75  # the native scale from which on a photo is shrunk: smaller ones are not known well enough to gain by it
KNOWN = 1.5  # the one from which on most photos are larger than they are sharp; smaller ones are in doubt
_BLOCK = 16  # side in pixels of the blocks in which fine detail and its surroundings are compared
_FLAT = 0.2  # the share of a photo's blocks, those with the weakest gradients, whose fine detail is taken for noise
_BLACK = 0.03  # mean luminance of a block below which, or that near to white, noise is cut off
_SURE = 2.0  # detail whose local energy is below this many times that of the noise is noise
# Fine detail, averaged over 3x3 pixels, that stands out: so many deviations of the noise, and so much of white; and the
# number of pixels where it does.
_OUTLIER, _VISIBLE, _SPECK = 5.0, 0.04, 8
_LOOKED_AT = 16  # strips in which the noise is measured


def divisor(scale: float) -> float:
    """How many times a photo of this native scale is shrunk for the networks; 1 if that would gain nothing."""
    return scale if scale >= _LEAST else 1.0


def cubic(distance: Tensor, sharpness: float = -0.5) -> Tensor:
    """Weights of the cubic convolution of Keys (1981) at distances of 0 or more; his own sharpness is -0.5."""
    near = ((sharpness + 2) * distance - (sharpness + 3)) * distance * distance + 1
    far = sharpness * (((distance - 5) * distance + 8) * distance - 4)
    return torch.where(distance < 1, near, torch.where(distance < 2, far, 0))


def shrink(pixels: Tensor, scale: float) -> Tensor:
    """Photos or masks (B, C, H, W) in [0, 1] -> (B, C, H / scale, W / scale), by the antialiased cubic of Keys (1981).

    A scale of 1 returns the same tensor, one below 1 enlarges.
    """
    if scale == 1:
        return pixels
    height, width = (max(round(side / scale), 1) for side in pixels.shape[-2:])
    return resized(pixels, (height, width))


def resized(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Photos or masks (B, C, H, W) in [0, 1] at another height and width, by the antialiased cubic of Keys (1981)."""
    # a channel at a time: with channels last it takes more than twice as long; torch has none for half precision
    planes = [F.interpolate(plane.float(), size, mode="bicubic", antialias=True) for plane in pixels.split(1, 1)]
    return torch.cat(planes, 1).clamp_(0, 1)


def enlarged_rows(small: Tensor, rows: slice, size: tuple[int, int], mode: str = "bicubic") -> Tensor:
    """The `rows` of (B, C, h, w) enlarged to `size`, "bilinear" or by the cubic of Keys; borders are replicated."""
    height = small.shape[-2]
    at = torch.arange(rows.start, min(rows.stop, size[0]), device=small.device, dtype=torch.float32)
    at = (at + 0.5) * (height / size[0]) - 0.5
    first = at.floor()
    part = (at - first)[:, None]
    reach = 2 if mode == "bicubic" else 1
    offsets = range(1 - reach, 1 + reach)
    weights = [cubic((part - k).abs()) if mode == "bicubic" else 1 - (part - k).abs() for k in offsets]
    begin, end = (int(row * height / size[0]) for row in (rows.start, rows.stop))
    begin = max(begin - 1 - reach, 0)
    small = small[..., begin : end + 1 + reach, :].contiguous()  # with channels last it takes twice as long
    mixed = torch.zeros(*small.shape[:2], len(at), small.shape[-1], device=small.device)
    for weight, k in zip(weights, offsets, strict=True):
        mixed.addcmul_(small.index_select(-2, (first.long() + k).clamp(0, height - 1) - begin), weight)
    # only with antialias is torch's cubic that of Keys; enlarging, it averages nothing
    return F.interpolate(mixed, (len(at), size[1]), mode=mode, antialias=mode == "bicubic")


def seen_at(planes: Tensor, scale: float, most: int) -> tuple[int, int]:
    """Height and width at which planes (..., H, W) of this native `scale` are looked at, with about `most` pixels."""
    height, width = planes.shape[-2:]
    scale = max(scale, math.sqrt(height * width / most), 1.0)
    return math.ceil(height / scale), math.ceil(width / scale)


def averaged(planes: Tensor, size: tuple[int, int]) -> Tensor:
    """Planes (1, C, H, W) at another size: (1, C, h, w), float32, on the CPU, a copy.

    One at a time is copied if the planes are a part of a photo, or have channels last, with which averaging is slow.
    """
    each = planes.detach().split(1, 1)
    return torch.cat([F.interpolate(plane.cpu().float().contiguous(), size, mode="area") for plane in each], 1)


def stands_out(pixels: Tensor, scale: float) -> Tensor:
    """Whether photos (B, 3, H, W) in [0, 1] have detail that is lost when they are shrunk by `scale`: (B,) bool."""
    light = luminance(pixels)
    before = shrink(light, scale)
    fine = light - enlarged_rows(before, slice(0, light.shape[-2]), (light.shape[-2], light.shape[-1]))
    contrast = window_sums(fine, 3, 3).abs_() / 9
    least = (_noise(light, before).sqrt() * _OUTLIER).clamp_min(_VISIBLE)
    return (contrast > least).sum((1, 2, 3)) >= _SPECK


def carry_back(pixels: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """What was done to photos (B, 3, H, W) at another scale, `before` -> `after` (B, 3, h, w): (B, 3, H, W), new.

    Detail too fine for that scale stays where it stands out from the noise; the rest of it is noise, and goes. The
    noise is measured where the photo is flattest, and detail is weighted as by a Wiener filter.
    """
    height, width = pixels.shape[-2:]
    reach = max(1, round(height / before.shape[-2]))
    noise = _noise(pixels, luminance(before))
    result = torch.empty_like(pixels)
    for rows in strips(pixels):
        wide = slice(max(rows.start - reach, 0), min(rows.stop + reach, height))
        fine = pixels[..., wide, :].contiguous() - enlarged_rows(before, wide, (height, width))
        energy = window_means(luminance(fine).square(), 2 * reach + 1, 2 * reach + 1)
        kept = (1 - _SURE * noise / energy.clamp_min(1e-12)).clamp_(0, 1)
        inner = slice(rows.start - wide.start, rows.start - wide.start + len(range(*rows.indices(height))))
        made = enlarged_rows(after, rows, (height, width))
        result[..., rows, :] = made.add_(fine.mul_(kept)[..., inner, :]).clamp_(0, 1)
    return result


def _noise(pixels: Tensor, before: Tensor) -> Tensor:
    """Mean square (B, 1, 1, 1) of the luminance that is finer than `before` (B, 1, h, w), in the flattest blocks."""
    height, width = pixels.shape[-2:]
    every = list(strips(pixels))
    whole = [rows for rows in every if rows.stop <= height] or every  # the last strip may be a few rows high
    steepness, energy = [], []
    for rows in whole[:: -(-len(whole) // _LOOKED_AT)]:
        coarse = enlarged_rows(before, rows, (height, width))
        part = pixels[..., rows, :].contiguous()
        fine = (luminance(part) if part.shape[1] == 3 else part) - coarse
        slopes = F.pad(coarse.diff(dim=-1).square(), (0, 1)) + F.pad(coarse.diff(dim=-2).square(), (0, 0, 0, 1))
        block = min(_BLOCK, *fine.shape[-2:])
        level = F.avg_pool2d(coarse, block)
        clipped = (level < _BLACK) | (level > 1 - _BLACK)  # borders, which show no noise: the last to be chosen
        steepness.append((F.avg_pool2d(slopes, block) + clipped.float()).flatten(1))
        energy.append(F.avg_pool2d(fine.square(), block).flatten(1))
    slopes, energies = torch.cat(steepness, 1), torch.cat(energy, 1)
    count = max(1, round(_FLAT * slopes.shape[1]))
    chosen = slopes.topk(count, largest=False).indices
    return energies.gather(1, chosen).mean(1).view(-1, 1, 1, 1)
