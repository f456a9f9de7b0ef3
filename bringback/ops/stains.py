"""Stains by their color: a print without colors lies on one curve of color, which foxing and yellowed tape leave.

Brown and yellow layers take green and blue from a print, and little of its red. So red says what green and blue should
be, whatever the picture shows.
"""

import math
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
import torch
from torch import Tensor

from bringback.ops import stain_layers
from bringback.ops.scale import enlarged_rows
from bringback.ops.strips import strips
from bringback.ops.toning import Toning

SEEN = 1 << 18  # pixels at which stains are looked for; larger photos are averaged first
_LEAST_SIDE = 64  # pixels of the shorter side, below which nothing is looked for
# What a stain takes of green and blue is seen from so much on, and so many times the noise: surely, and in its rim.
_SURE, _SURE_NOISE, _RIM, _RIM_NOISE = 8 / 255, 6.0, 2.5 / 255, 2.5
_CLIPPED = 0.97  # red from which on it may be cut off, so that it says nothing of green and blue
_FAST = 8  # every so many pixels colors are looked for first
_EVERY = 3  # so many pixels noise is measured
_NOISY = 4 / 255  # noise of a print's toning at most
_NEAR = 5 / 255  # how near to the curve a print is that has no stain
_APART = 0.2  # share of it at most that is farther
_OTHER = 0.15  # of what is stained, as much at most lies on the other side of the curve, bluer and greener
_MUCH = 0.4  # of a print that may be off its curve at most, however doubtful the curve
_BENT = 5.0  # times as much is allowed at first, when stains may have bent the curve
_AROUND = 9  # side in pixels of what is left out around stains when the curve is fitted again


@dataclass(frozen=True, slots=True)
class Stains:
    """The stains of a print (1, 3, H, W), or of a part of it.

    `layers` (1, 5, h, w) are a weight in [0, 1], what of red and what beside to add to red, and what of green and blue
    changes slowly; the `toning` says these. `spots` and `tapes` are how many there are.
    """

    toning: Toning
    layers: Tensor
    spots: int
    tapes: int

    @classmethod
    def find(cls, pixels: Tensor, inside: Tensor | None = None) -> Self | None:
        """The stains of a photo (1, 3, H, W) in [0, 1], None without any, and for a photo with colors.

        Only what is `inside` (1, 1, H, W), bool, is looked at. Found are foxing, many small spots all over the print,
        and tape, straight and wide. Not stains are: what has other colors than brown and yellow, what ends where the
        picture has its edges, few spots, and those of a print whose toning is uneven to the other side as well.
        """
        height, width = pixels.shape[-2:]
        if min(height, width) < _LEAST_SIDE:
            return None
        shrunk = max(1.0, math.sqrt(height * width / SEEN))
        size = round(height / shrunk), round(width / shrunk)
        whole = pixels[0].detach().cpu().permute(1, 2, 0).numpy()
        small = _averaged(whole, size)
        # of pixels that are not finite the pipeline tells
        if not np.isfinite(small.sum()) or _has_colors(small[::_FAST, ::_FAST]):
            return None
        seen = cv2.GaussianBlur(cv2.medianBlur(small, 3), (0, 0), 1.2)
        if (seen[..., 0] - seen[..., 2]).max() < _SURE:
            return None
        sound = seen[..., 0] < _CLIPPED
        if inside is not None:
            sound &= _averaged(inside[0, 0].cpu().numpy().astype(np.float32), size) > 0.99
        if not sound.any() or (first := _Lost.of(seen, sound, sound, _BENT)) is None:
            return None
        # once more, by a curve that knows nothing of the stains
        free = sound & (cv2.dilate(first.rim, np.ones((_AROUND, _AROUND), np.uint8)) == 0)
        if free.mean() < sound.mean() / 4 or (lost := _Lost.of(seen, sound, free, 1.0)) is None:
            return None
        found = stain_layers.find(seen, lost.share, lost.rim, lost.sure)
        if found is None:
            return None
        planes = np.concatenate([found.planes, lost.toning.slow(size)])
        return cls(lost.toning, torch.from_numpy(planes)[None], found.spots, found.tapes)

    def remove_(self, pixels: Tensor, inside: Tensor | None = None) -> None:
        """Take the stains from the photo (1, 3, H, W), in place; what is not stained stays exactly the same.

        So does what is not `inside` (1, 1, H, W), bool.
        """
        size = pixels.shape[-2], pixels.shape[-1]
        for rows in strips(pixels):
            weight, gain, lift, *slow = enlarged_rows(self.layers, rows, size, "bilinear")[0].numpy()
            on = weight > 0
            if inside is not None:
                on &= inside[0, 0, rows].cpu().numpy()
            if not on.any():
                continue
            part = pixels[0, :, rows].cpu().numpy()[:, on]
            red = part[0] * (1 + gain[on]) + lift[on]
            other = red + self.toning.of(red).T + np.stack([one[on] for one in slow])
            clean = np.clip(np.concatenate([red[None], other]), 0, 1)
            mixed = torch.from_numpy((part + weight[on] * (clean - part)).astype(np.float32))
            pixels[0, :, rows][:, torch.from_numpy(on)] = mixed.to(pixels)

    @property
    def covered(self) -> float:
        """The share of the photo that is stained."""
        return self.layers[:, 0].mean().item()


@dataclass(frozen=True, slots=True)
class _Lost:
    """What a print has less of green and blue than its toning says, `share` (h, w); what of it is surely stained, and
    its rims: (h, w), uint8."""

    toning: Toning
    share: np.ndarray
    rim: np.ndarray
    sure: np.ndarray

    @classmethod
    def of(cls, seen: np.ndarray, sound: np.ndarray, free: np.ndarray, doubt: float) -> Self | None:
        """Of a print (h, w, 3), where it is `sound`, by its pixels that are `free`, both (h, w), bool; None if it has
        colors, or no stains. `doubt` is how many times as much of it may be off the curve."""
        toning = Toning.fit(seen, free)
        off = toning.of(seen[..., 0]) + toning.slow(seen.shape[:2]).transpose(1, 2, 0)
        off += seen[..., :1] - seen[..., 1:]
        off[~sound] = 0
        few = np.abs(off[::_EVERY, ::_EVERY][free[::_EVERY, ::_EVERY]])
        if (
            not len(few)
            or 1.48 * np.median(few, 0).max() > _NOISY
            or (few.max(1) < _NEAR).mean() < 1 - min(doubt * _APART, _MUCH)
        ):
            return None
        share = (off[..., 0] + off[..., 1]) / 2
        noise = 1.48 * float(np.median(np.abs(share[::_EVERY, ::_EVERY][free[::_EVERY, ::_EVERY]])))
        sure, rim = max(_SURE, _SURE_NOISE * noise), max(_RIM, _RIM_NOISE * noise)
        # edges with chromatic aberration are thinner than this
        disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
        more, less = (cv2.morphologyEx(one, cv2.MORPH_OPEN, disk) for one in (share, -share))
        stained = np.count_nonzero(more > sure)
        if not stained or np.count_nonzero((less > sure) & free) > doubt * _OTHER * stained:
            return None
        return cls(toning, share, (more > rim).astype(np.uint8), (share > sure).astype(np.uint8))


def _has_colors(few: np.ndarray) -> bool:
    """Whether a few pixels (h, w, 3) are so far from any curve that nothing more needs to be looked at."""
    toning = Toning.fit(few, np.ones(few.shape[:2], bool))
    off = toning.of(few[..., 0]) + few[..., :1] - few[..., 1:]
    return bool((np.abs(off).max(2) < 2 * _NEAR).mean() < 1 - _MUCH)


def _averaged(planes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if planes.shape[:2] == size:
        return np.ascontiguousarray(planes)
    return cv2.resize(planes, size[::-1], interpolation=cv2.INTER_AREA)
