"""Periodic patterns in photos: the dots of printed pictures, the weave or honeycomb of photographic paper."""

import math
from dataclasses import dataclass
from functools import cache
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.ops.color import luminance
from bringback.ops.scale import enlarged_rows, shrink
from bringback.ops.strips import strips
from bringback.ops.windows import window_maxima

BLOCK = 128  # side in pixels of the blocks whose spectra are taken
HOP = BLOCK // 2  # between the overlapping blocks in which a pattern is removed
_MOST = 400  # about how many blocks of a large photo are looked at
_LONGEST = 16  # longest period in pixels; beyond, the spectrum of a block is too coarse
_SCALES = (1, 2)  # how many times photos are shrunk to look for longer ones
_NEAR = 5  # bins from a wave to the surroundings that it is compared with
# The natural logarithm of how many times the power of its surroundings a wave has, see `_rise`. In photos without a
# pattern it stays below 3.1, brick walls and strong JPEG included; dots of prints have 4 to 10. Where one wave is
# certain, others there are likely, and the same ones elsewhere.
_CERTAIN, _LIKELY = 3.5, 2.0
_VISIBLE = 0.005  # amplitude of the faintest waves that count, black to white being 1
_BLOCKING = 0.06  # the same for waves that fit into the blocks of JPEG
_JPEG = 8  # side in pixels of those
_WIDTH = 0.25  # how far around each wave it is removed, as a share of the pattern's lowest frequency


@dataclass(frozen=True, slots=True)
class Pattern:
    """The periodic pattern of a photo, known on a grid of areas (rows, columns) that cover it.

    Args: waves: (rows, columns, 128, 65) bool, the frequencies of the pattern in each area, as in `torch.fft.rfft2` of
    128x128 pixels; none where the photo is not periodic; slowest: the lowest of them all, in bins; scale: how many
    times the photo was shrunk for that.
    """

    waves: Tensor
    slowest: float
    scale: int

    @classmethod
    def of(cls, pixels: Tensor) -> Self | None:
        """The pattern of a photo (1, 3, H, W) in [0, 1]; None without one, and for photos of less than 128 pixels.

        In the spectrum of an area a pattern is a few peaks. Edges, scratches and lines of writing are streaks; leaves
        and gravel are spread out. Found are periods of 2 to 32 pixels.
        """
        looks = [cls._at(pixels, scale) for scale in _SCALES if min(pixels.shape[-2:]) >= scale * BLOCK]
        found = [pattern for pattern in looks if pattern]
        most = max((pattern.share for pattern in found), default=0.0)
        # what is mostly found in the shrunk photo has long periods, and only its overtones are found in the other
        return next((pattern for pattern in found if pattern.share > most / 2), None)

    @classmethod
    def _at(cls, pixels: Tensor, scale: int) -> Self | None:
        levels = _levels(shrink(pixels, scale))
        rise = _rise(levels).masked_fill_((levels < 2 * math.log(_VISIBLE)) | (_frequency() < BLOCK / _LONGEST), 0)
        certain = rise.masked_fill(_blocking() & (levels < 2 * math.log(_BLOCKING)), 0).amax((2, 3)) > _CERTAIN
        if not certain.any():
            return None
        waves = rise > _LIKELY
        known = F.max_pool2d(waves[certain].any(0)[None].float(), 3, 1, 1)[0] > 0
        certain |= (waves & known).any(-1).any(-1)
        waves &= certain[..., None, None]
        slowest = torch.where(waves, _frequency(), BLOCK).amin((2, 3))[certain]
        return cls(waves, slowest.quantile(0.25).item(), scale)  # a few areas may have slow waves of another origin

    @property
    def areas(self) -> Tensor:
        """Where the photo is periodic: (rows, columns) bool."""
        return self.waves.any(-1).any(-1)

    @property
    def share(self) -> float:
        """The share of the photo that is periodic."""
        return self.areas.float().mean().item()

    def around(self, rows: slice, size: tuple[int, int]) -> Tensor:
        """Where a photo of `size` is periodic, with what adjoins it, for some `rows` of its pixels: (r, W) bool."""
        return enlarged_rows(self.areas[None, None].float(), rows, size, "bilinear")[0, 0] > 0

    def removed(self, pixels: Tensor) -> Tensor:
        """The photo (1, 3, H, W) without its pattern, new: narrow bands of frequencies are cut out, in blocks.

        Where a long period was found in the shrunk photo, finer detail is lost too.
        """
        if self.scale > 1:
            small, result = self._cut_out(shrink(pixels, self.scale)), torch.empty_like(pixels)
            for rows in strips(result):
                result[..., rows, :] = enlarged_rows(small, rows, (result.shape[-2], result.shape[-1])).clamp_(0, 1)
            return result
        return self._cut_out(pixels)

    def _cut_out(self, pixels: Tensor) -> Tensor:
        height, width = pixels.shape[-2:]
        cut = self._bands()
        window = torch.hann_window(BLOCK).sqrt()
        window = window[:, None] * window  # applied twice, its overlapping copies add up to 1
        mirrored = _mirrored(height).to(pixels.device)
        right = HOP + -width % HOP
        result = torch.zeros_like(pixels)
        for row in range(-(-height // HOP) + 1):
            strip = pixels[..., mirrored[row * HOP : row * HOP + BLOCK], :].cpu()
            strip = F.pad(strip, (HOP, right, 0, 0), mode="reflect")
            blocks = strip.unfold(-1, BLOCK, HOP)[0].movedim(2, 0)
            area = _nearest(row, height, len(cut))
            gone = torch.stack([cut[area, _nearest(one, width, cut.shape[1])] for one in range(len(blocks))])[:, None]
            mean = blocks.mean((-1, -2), keepdim=True)
            waves = torch.fft.rfft2((blocks - mean) * window).masked_fill_(gone, 0)
            blocks = (torch.fft.irfft2(waves, (BLOCK, BLOCK)) + mean * window) * window
            made = strip.new_zeros(strip.shape)
            for column, block in enumerate(blocks):
                made[0, ..., column * HOP : column * HOP + BLOCK] += block
            top = (row - 1) * HOP
            inside = slice(max(top, 0), min(top + BLOCK, height))
            result[..., inside, :] += made[..., inside.start - top : inside.stop - top, HOP : HOP + width].to(result)
        return result.clamp_(0, 1)

    def _bands(self) -> Tensor:
        """The frequencies (rows, columns, 128, 65) to remove: the waves of an area and of those next to it, widened."""
        reach = max(2, round(_WIDTH * self.slowest))
        of_areas = F.max_pool2d(self.waves.movedim((0, 1), (2, 3)).float(), 3, 1, 1).movedim((2, 3), (0, 1))
        wide = F.max_pool2d(_whole(of_areas, reach).flatten(0, 1), 2 * reach + 1, 1).view(self.waves.shape)
        return (wide > 0) & (_frequency() > (1 - _WIDTH) * self.slowest)

    def restrain_(self, before: Tensor, after: Tensor) -> float:
        """Where the photo is periodic, limit how it was changed, (1, 3, H, W) each; `after` is written into.

        The mean over a period, the tone that printed dots stand for, is kept; and where the pattern became stronger,
        the photo is set back. Returns the share where it is.
        """
        size, period = (after.shape[-2], after.shape[-1]), self.scale * BLOCK / self.slowest
        lost = shrink(before, period) - shrink(after, period)
        levels = (_levels(shrink(one.detach(), self.scale)) for one in (before, after))
        strength = [(one.exp_() * self.waves).sum((2, 3)) for one in levels]
        stronger = self.areas & (strength[1] > strength[0])
        for rows in strips(after):
            inside, back = (
                enlarged_rows(one[None, None].float(), rows, size, "bilinear").to(after)
                for one in (self.areas, stronger)
            )
            part = after[..., rows, :] + inside * enlarged_rows(lost, rows, size)
            after[..., rows, :] = torch.lerp(part.clamp_(0, 1), before[..., rows, :], back)
        return stronger.float().mean().item()


def _nearest(block: int, side: int, areas: int) -> int:
    """The area at the center of a block of those `HOP` apart that begin at -`HOP`."""
    return min(max(int(block * HOP / side * areas), 0), areas - 1)


def _mirrored(height: int) -> Tensor:
    """The rows of a photo, continued by reflection for whole blocks on a grid of `HOP` that begins at -`HOP`."""
    rows = torch.arange(-HOP, height + HOP + -height % HOP).abs()
    return torch.where(rows < height, rows, 2 * (height - 1) - rows)


def _levels(pixels: Tensor) -> Tensor:
    """Log of the squared amplitude (rows, columns, 128, 65) of the waves in areas of a photo (1, 3, H, W).

    An area is 2x2 neighboring blocks, of whose levels the mean is taken: what is periodic is there in all of them.
    """
    spread = max(1.0, (pixels[0, 0].numel() / BLOCK**2 / _MOST) ** 0.5)
    tops, lefts = (
        torch.linspace(0, side - BLOCK, -(-side // round(spread * BLOCK))).long().tolist() for side in pixels.shape[-2:]
    )
    window = torch.hann_window(BLOCK, periodic=False)
    window = window[:, None] * window
    rows = []
    for top in tops:
        light = luminance(pixels[..., top : top + BLOCK, :])[0, 0].cpu()
        blocks = torch.stack([light[:, left : left + BLOCK] for left in lefts])
        waves = torch.fft.rfft2((blocks - blocks.mean((-1, -2), keepdim=True)) * window)
        rows.append((waves.abs() * (2 / window.sum())).square_().add_(1e-8).log_())
    levels = torch.stack(rows).movedim((0, 1), (2, 3))
    return F.avg_pool2d(levels, [min(2, len(tops)), min(2, len(lefts))], 1).movedim((2, 3), (0, 1))


def _rise(levels: Tensor) -> Tensor:
    """How far levels (rows, columns, 128, 65) rise above their surroundings; same shape.

    Compared is the second highest of eight places around each: a streak is as high on two sides, and on one side there
    may be another wave.
    """
    return torch.stack([_rise_in_row(row) for row in levels])  # all at once would not stay in the processor's cache


def _rise_in_row(levels: Tensor) -> Tensor:
    near = window_maxima(_whole(levels, _NEAR + 1))[..., 1:-1, 1:-1]
    highest = second = torch.full_like(levels, -torch.inf)
    slant = round(_NEAR / 2**0.5)
    for down, right in ((_NEAR, 0), (slant, slant), (0, _NEAR), (-slant, slant)):
        for sign in (1, -1):
            one = near[..., _NEAR + sign * down :, _NEAR + sign * right :][..., :BLOCK, : BLOCK // 2 + 1]
            second = torch.maximum(second, torch.minimum(highest, one))
            highest = torch.maximum(highest, one)
    return levels - second


def _whole(spectra: Tensor, by: int) -> Tensor:
    """Half spectra (..., 128, 65) continued by `by` bins on all sides: of real pixels, opposite waves are the same."""
    opposite = spectra.flip(-2, -1).roll(1, -2)
    wide = torch.cat([opposite[..., -by - 1 : -1], spectra, opposite[..., 1 : by + 1]], -1)
    return torch.cat([wide[..., -by:, :], wide, wide[..., :by, :]], -2)


@cache
def _blocking() -> Tensor:
    """Which waves (128, 65) fit into the blocks of JPEG."""
    unit = BLOCK // _JPEG
    off = [torch.arange(bins) % unit for bins in (BLOCK, BLOCK // 2 + 1)]
    fits = [torch.minimum(one, unit - one) <= 1 for one in off]
    return fits[0][:, None] & fits[1]


@cache
def _frequency() -> Tensor:
    """The frequencies (128, 65) of waves, in bins."""
    return torch.hypot(torch.fft.fftfreq(BLOCK, 1 / BLOCK)[:, None], torch.fft.rfftfreq(BLOCK, 1 / BLOCK))
