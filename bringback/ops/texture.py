"""Texture that was taken for noise: a photo that is quiet in one place has no grain in another."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.ops.color import luminance
from bringback.ops.masks import ramp
from bringback.ops.scale import enlarged_rows
from bringback.ops.strips import STRIP, strips
from bringback.ops.windows import mixed_differences

_CELL = 4  # side in pixels of the cells in which changes are compared
_AROUND = 15  # side in cells of the windows over which they are averaged
# Noise is as strong everywhere, also where a photo is smooth. So how strong it can be at most is told by what would
# change in the quietest fifth of windows of a photo, no less than what rounding to 8 bits makes of it.
_QUIETEST, _LEAST = 0.2, (0.3 / 255) ** 2
# How many times as much a place changes, for it to be texture, perhaps and surely.
_MORE, _MUCH = 4.0, 6.0
# Nothing is texture in a photo of which less than this share stays as it is: all of it is worn, and what wore it may
# differ from place to place. If far more stays, places that change half as much as that are texture, too.
_WORN, _SOUND = (0.05, 0.15), (0.3, 0.6)
# How much of the finest detail is left there, for detail to be what was taken, surely and perhaps: where blur is
# undone, there is more than before.
_BARE, _SPARE = 0.5, 0.7
_CUT = 0.03  # luminance below which, or that near to white, noise is cut off: that none is there tells nothing
_BESIDE = 1  # cells around what was filled where what is left of marks may have been taken


def telling(before: Tensor, filled: Tensor) -> Tensor:
    """Which places (B, 1, H, W) in [0, 1] of photos (B, 3, H, W) tell of noise: neither filled, nor black or white."""
    return (1 - filled) * ((luminance(before) - 0.5).abs() < 0.5 - _CUT)


def would_change(changes: Tensor, tells: Tensor) -> Tensor:
    """The means of squared changes (B, 1, H, W) of tiles in windows (B, n), weighed by what `tells`, (B, 1, H, W).

    See `telling`. They are infinite where what tells is no more than half of a window.
    """
    height, width = (min(_CELL * _AROUND, side) for side in changes.shape[-2:])
    step = (-(-height // 2), -(-width // 2))
    told = F.avg_pool2d(tells, (height, width), step)
    means = F.avg_pool2d(changes * tells, (height, width), step) / told.clamp_min(1e-12)
    return means.where(told > 0.5, math.inf).flatten(1)


def quietest(windows: Tensor) -> Tensor:
    """What the quietest windows (B, n) of each photo would change by, see `would_change`: (B,), infinite for none."""
    places = (_QUIETEST * windows.isfinite().sum(1, keepdim=True)).long()
    return windows.sort(1).values.gather(1, places)[:, 0].clamp_min(_LEAST)


def texture(before: Tensor, after: Tensor, filled: Tensor, stays: Tensor, quiet: Tensor) -> Tensor | None:
    """How surely what was taken from photos is texture, no noise: (B, 1, h, w) in [0, 1], coarse; None if nothing is.

    Args: before, after: photos (B, 3, H, W); filled: (B, 1, H, W) in [0, 1], places that are not looked at; stays: the
    share of each photo, (B,), that is `telling` and stays as it was; quiet: see `quietest`.
    """
    some = ramp(stays, *_WORN)
    if not some.any():
        return None
    changes, had, has, holes = _cells(before, after, filled).split(1, 1)
    # each cell counts by how much it changes: those that stay say nothing of the others
    changed = _around(changes).clamp_min(1e-12)
    times = (_around(changes.square()) / changed / quiet.view(-1, 1, 1, 1)).sqrt()
    times = times * (1 + ramp(stays, *_SOUND)).view(-1, 1, 1, 1)
    left = _around(changes * has) / _around(changes * had).clamp_min(1e-13)
    beside = F.max_pool2d((holes > 0).to(holes), 2 * _BESIDE + 1, stride=1, padding=_BESIDE)
    sure = ramp(times, _MORE, _MUCH) * ramp(left.sqrt(), _SPARE, _BARE) * some.view(-1, 1, 1, 1)
    sure = sure * (1 - beside)
    return sure if sure.any() else None


def bring_back_(after: Tensor, before: Tensor, filled: Tensor, sure: Tensor) -> None:
    """Bring back, in place, what photos (B, 3, H, W) were `before` where that is `texture`, but not what was filled."""
    size = (_CELL * sure.shape[-2], _CELL * sure.shape[-1])  # the last cells may reach beyond the photo
    for rows in strips(after):
        part = after[..., rows, :].clone()  # a gradient needs the values before
        share = enlarged_rows(sure, rows, size, "bilinear")[..., : part.shape[-2], : part.shape[-1]]
        after[..., rows, :] = torch.lerp(part, before[..., rows, :], share * (1 - filled[..., rows, :]))


def _cells(before: Tensor, after: Tensor, filled: Tensor) -> Tensor:
    """Means (B, 4, h, w) in cells: squares of what changed outside of what was filled, of fine detail before and after;
    and of what was filled.

    Fine detail is the mixed second difference of gray.
    """
    height, width = before.shape[-2:]
    step = max(1, STRIP // (width * _CELL)) * _CELL
    parts = []
    for top in range(0, height, step):
        old, new, holes = (x[..., top : top + step, :] for x in (before, after, filled))
        planes = [(new - old).square().mean(1, keepdim=True) * (1 - holes), _fine(old), _fine(new), holes]
        parts.append(F.avg_pool2d(torch.cat(planes, 1), _CELL, ceil_mode=True))
    return torch.cat(parts, 2)


def _fine(pixels: Tensor) -> Tensor:
    return mixed_differences(pixels.mean(1, keepdim=True)).square()


def _around(cells: Tensor) -> Tensor:
    return F.avg_pool2d(cells, _AROUND, stride=1, padding=_AROUND // 2)
