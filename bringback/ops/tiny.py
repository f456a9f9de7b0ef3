"""Very small photos: everything in them is as fine as a pixel, so that fine detail is easily taken for noise."""

import math

import torch.nn.functional as F
from torch import Tensor

from bringback.ops.masks import ramp
from bringback.ops.windows import mixed_differences

# Sides in pixels of a square as large as a photo up to which it is very small, and from which on it is not at all.
_TINY, TINY = 128, 192
# What tells that a very small photo is sound, by so much of its log odds: the share of it that stays as it is; its
# detail of 4 pixels is stronger than that of 2 (in log mean squares), which blur does and shrinking does not; so much
# of its finest detail is left of what the networks make of it, where noise would be gone. And the fewer its pixels, the
# surer wear has to be: at a square of 82 pixels, and for each octave less. The odds are sharpened, as most photos
# should be left or restored entirely. Fitted to 156 photos of the training set, shrunk to a longer side of 80 to 128
# pixels, sound and worn by two programs, weighted by what they gain and lose.
_STAYS, _BLURRED, _LEFT, _NONE = 5.4, -2.6, 1.1, 0.15
_CARE, _SIDE, _OCTAVE, _SHARPER = 2.6, 82, 2.0, 1.5


def wear(before: Tensor, made: Tensor, filled: Tensor, stays: Tensor) -> Tensor:
    """How surely what networks change in very small photos is wear, no detail: (B, 1, 1, 1) in [0, 1].

    1 for photos that are no smaller than a square of `TINY` pixels.
    Args: before, made: photos (B, 3, H, W), as they came and as networks alone make them; filled: (B, 1, H, W) in
    [0, 1], places that are not looked at; stays: the share of each place that stays as it was, (B, 1, H, W).
    """
    own, gray = 1 - filled, before.mean(1, keepdim=True)
    finest, fine, coarse = (_detail(_pooled(gray, side), _pooled(own, side)) for side in (1, 2, 4))
    left = _detail(made.mean(1, keepdim=True), own) - finest
    odds = _STAYS * _mean(stays, own) + _BLURRED * (coarse - fine) + _LEFT * left + _NONE
    side = (before.shape[-2] * before.shape[-1]) ** 0.5
    odds = odds + _CARE + _OCTAVE * math.log2(_SIDE / side)
    share = ramp(odds.new_tensor(side), TINY, _TINY)  # of the guard
    return 1 - share * (_SHARPER * odds).sigmoid()


def _detail(gray: Tensor, own: Tensor) -> Tensor:
    """The log mean square of the finest detail."""
    return _mean(mixed_differences(gray).square(), own).clamp_min(1e-9).log()


def _mean(plane: Tensor, own: Tensor) -> Tensor:
    return (plane * own).sum((1, 2, 3), keepdim=True) / own.sum((1, 2, 3), keepdim=True).clamp_min(1e-6)


def _pooled(plane: Tensor, side: int) -> Tensor:
    return F.avg_pool2d(plane, side, ceil_mode=True)
