"""How the scratch U-Net looks at photos: at their native scale, at coarser ones, and closer where there is detail."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.models.unet import EAGER, ScratchUNet
from bringback.ops.masks import peaks
from bringback.ops.patterns import Pattern
from bringback.ops.scale import KNOWN, divisor, enlarged_rows, shrink, stands_out
from bringback.ops.strips import strips
from bringback.ops.tiling import run_tiled, tiles
from bringback.ops.windows import window_maxima
from bringback.runtime.compute import Compute

OVERLAP = 64
# What a photo shows at its native scale counts as it is. Seen smaller, wires and twigs look like scratches: damage has
# to be surer there, by this much of its log odds for each octave beyond `SPARE`, by which the native scale is usually
# too small.
SURER, SPARE = 2.5, 0.25
FINER = 2  # times as fine as the native scale, from which on detail is too sharp to be the print's
COARSER = (2, 4)  # times the native scale, at which broad stains are looked for
# Lines that are seen smaller only, while the native scale shows surely that there is nothing, are the picture: a hem,
# an outline. So what is narrower than `_BROAD` native pixels in a coarser look counts for at most so much more log odds
# than at the native scale. Of true marks that a coarser look alone finds, hardly any has less than -4 there (33 aged
# photos, six of them scanned at three times their resolution); hems have -6, what is drawn -8.
_AT_MOST, _BROAD = 5.0, 16
# And where hardly any of all that is marked is seen at the native scale, and nothing of what is broad surely, none is
# damage: in the same aged photos it is a quarter or more, in sound ones with such marks (a hem, cells under a
# microscope) at most 0.2 %. A lone hole in a large sharp photo may be seen smaller only, but there surely: log odds of
# 3.6 to 10 in eleven holes and torn corners, at most 2.8 in those sound photos.
_SEEN, _SURE = 0.02, 3.2
# Where a mark ends is seen at the native scale to about one of its pixels only. What is left of an edge would be drawn
# into the place that is filled: so in the scan, marks reach so many of those pixels farther, where they are surer by
# so much of their log odds than is needed. Chosen on ten held-out photos scanned at twice their resolution.
_EDGE, _LESS = 1.0, 1.0
# At the native scale, one of two looks is at the mirror image, so many times enlarged: its errors differ more than
# those of the mirror image as it is, and it sees where thin marks end. What is broad looks less like damage there, so
# there the other look alone may count: in what its opening by a square of so many pixels keeps.
_ENLARGED, _BROAD_THERE = 1.3, 13
# But not in a mark of which the enlarged look is sure all over that there is nothing, if the mirror image as it is
# shows no sure pixel of it either. A pale patch between clouds and a wall beside a head have log odds of -5.8 at most
# in the one and -0.8 in the other; a true blot that the enlarged look refuses as surely has 3.5.
_REFUSED, _CONFIRMED = -5.5, 1.0
SMALLEST = 224  # pixels of the shorter side, below which everything in a photo looks like a scratch
# In very small photos everything is as thin as a scratch: they are enlarged for the network until their longer side has
# this many pixels.
SMALL, MOST_ENLARGED = 320, 8

_NOTHING = -12.0  # logit of a place that was not looked at
# What is seen after a periodic pattern was removed has to be surer, by so much of its log odds: traces of it are left.
_TRACES = 1.0


def seen_scale(height: int, width: int, scale: float) -> float:
    """The scale at which the network sees a photo of this size and native scale first; below 1 it is enlarged."""
    fits = max(1.0, min(height, width) / SMALLEST), max(1 / MOST_ENLARGED, max(height, width) / SMALL)
    return min(divisor(scale), *fits)


def _coarser(height: int, width: int) -> list[int]:
    """How many times smaller a photo of this size, as it is seen first, is looked at, too."""
    return [times for times in COARSER if min(height, width) >= times * SMALLEST]


def _enlarged(odds: Tensor, rows: slice, size: tuple[int, int], reach: int = 0) -> Tensor:
    """The rows of logits (B, 1, h, w) enlarged to `size`, marks wider by `reach` pixels on each side."""
    wide = slice(max(rows.start - reach, 0), min(rows.stop + reach, size[0]))
    found = enlarged_rows(odds, wide, size, "bilinear")
    if reach:
        found = torch.maximum(found, window_maxima(found, 2 * reach + 1) - _LESS)
    return found[..., rows.start - wide.start : min(rows.stop, size[0]) - wide.start, :]


def _keep_larger(odds: Tensor, others: Tensor, reach: int = 0) -> None:
    """Raise logits (B, 1, H, W), in place, to those of a coarser scale (B, 1, h, w), see `_enlarged`."""
    for rows in strips(odds):
        coarse = _enlarged(others, rows, (odds.shape[-2], odds.shape[-1]), reach)
        odds[..., rows, :] = torch.maximum(odds[..., rows, :].clone(), coarse)  # a gradient needs the values before


def _keep_seen_smaller(odds: Tensor, smaller: list[tuple[int, Tensor]], at_most: float) -> Tensor:
    """Raise logits (B, 1, H, W), in place, to those of photos seen so many `times` smaller (B, 1, h, w).

    In what is narrow there, which their opening by a square does not keep, they are raised by no more than `at_most`.
    Returns the largest logit of what is broad there, (B,).
    """
    size = (odds.shape[-2], odds.shape[-1])
    opened = [_opened(seen, _BROAD // times // 2 * 2 + 1) for times, seen in smaller]
    for rows in strips(odds):
        own = odds[..., rows, :].clone()  # a gradient needs the values before
        looks = [own, *(_enlarged(broad, rows, size) for broad in opened)]
        looks += [torch.minimum(_enlarged(seen, rows, size), own + at_most) for _, seen in smaller]
        odds[..., rows, :] = torch.stack(looks).amax(0)
    return torch.stack([broad.detach().amax((1, 2, 3)) for broad in opened]).amax(0)


def _opened(planes: Tensor, side: int) -> Tensor:
    """The opening of (B, C, H, W) by a square: what is narrower than its `side`, an odd number of pixels, is gone."""
    return window_maxima(-window_maxima(-planes, side), side)


def _unseen(broad: Tensor, other: Tensor, least: float) -> Tensor:
    """Which places, bool, lie in marks of log odds (B, 1, H, W) in which another look nowhere has the `least`."""
    unseen = torch.zeros_like(broad, dtype=torch.bool)
    for own, seen, here in zip(broad.detach(), other.detach(), unseen, strict=True):
        marked = own[0] > -EAGER
        if marked.any():  # in most tiles nothing is
            labels, largest = peaks(marked.cpu().numpy(), seen[0].cpu().numpy())
            largest[0] = math.inf  # what is not marked
            here[0] = torch.from_numpy((largest < least)[labels])
    return unseen


def _replace(odds: Tensor, others: Tensor | None, pattern: Pattern) -> None:
    """Replace logits (1, 1, H, W), in place, where a photo has a pattern: by others, or by `_NOTHING`."""
    for rows in strips(odds):
        part = odds[..., rows, :].clone()
        instead = torch.full_like(part, _NOTHING) if others is None else others[..., rows, :]
        around = pattern.around(rows, (odds.shape[-2], odds.shape[-1])).to(odds.device)
        odds[..., rows, :] = torch.where(around, instead, part)


@dataclass(frozen=True, slots=True)
class Looks:
    """A `network` with what it computes on, and the side of its tiles in pixels."""

    network: ScratchUNet
    compute: Compute
    tile: int

    def united(self, pixels: Tensor, scale: float) -> tuple[Tensor, list[float]]:
        """Photos (B, 3, H, W) -> the logits of all scales, (B, 1, H, W), and the share of each that is periodic."""
        height, width = pixels.shape[-2:]
        # octaves by which coarser looks are less far from the native scale
        spare = SPARE + (math.log2(scale / divisor(scale)) if scale >= KNOWN else 0.0)
        scale = seen_scale(height, width, scale)
        native = shrink(pixels, scale)
        odds = self._at_scales(native, spare)
        patterns = [Pattern.of(photo) for photo in native.detach().split(1)]
        for number, pattern in enumerate(patterns):
            if pattern:
                # in half precision: this copy is what a photo of its own scale needs the most memory for
                plain = pattern.removed(native[number : number + 1]).half()
                again = self._at_scales(plain, spare).sub_(_TRACES)
                _replace(odds[number : number + 1], again, pattern)
        if scale > FINER:
            closer = self._run(partial(self._closer, scale=scale), pixels)
            for number, pattern in enumerate(patterns):
                own = closer[number : number + 1]
                finer = own.detach().amax() > _NOTHING + 1  # else no tile was looked at
                for one in (pattern, Pattern.of(pixels.detach()[number : number + 1])) if finer else ():
                    if one:
                        _replace(own, None, one)
            _keep_larger(closer, odds, round(_EDGE * scale))
            odds = closer
        elif scale > 1:
            size, reach = (height, width), round(_EDGE * scale)
            odds = torch.cat([_enlarged(odds, rows, size, reach) for rows in strips(pixels)], 2)
        elif scale < 1:
            odds = F.interpolate(odds, (height, width), mode="bilinear", antialias=True)
        return odds, [pattern.share if pattern else 0.0 for pattern in patterns]

    def _once(self, pixels: Tensor) -> Tensor:
        """The logits (B, 1, H, W) of photos as they are, by one look."""
        return self._run(self._one, pixels)

    def _at_scales(self, native: Tensor, spare: float) -> Tensor:
        """The logits of photos at this scale and coarser ones, at this one."""
        odds, smaller = self._run(self._larger_too, native), list[tuple[int, Tensor]]()
        for times in _coarser(native.shape[-2], native.shape[-1]):
            surer = SURER * max(0.0, math.log2(times) - spare)
            smaller.append((times, self._once(shrink(native, times)).sub_(surer)))
        if not smaller:
            return odds
        own = odds.clone()
        # a photo that is seen larger than at its native scale has lines that are too broad to be seen so
        broad = _keep_seen_smaller(odds, smaller, math.inf if spare > SPARE else _AT_MOST)
        for number in range(len(odds)):
            here, there = (int(torch.count_nonzero(looks[number].detach() > -EAGER)) for looks in (own, odds))
            if here < _SEEN * there and broad[number] < _SURE - EAGER:
                odds[number] = own[number]
        return odds

    def _run(self, look: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
        """Logits (B, 1, H, W) at the scale of the pixels, tile by tile."""
        return run_tiled(look, [pixels], **self._tiling, batch=self.compute.batch)

    def at_once(self, height: int, width: int) -> int:
        """The most pixels that are looked at together in a photo of this size, at the scale at which it is seen.

        The tiles of a photo little larger than one are much smaller than `tile`. Those of coarser scales may be larger,
        but a pixel takes less there: no look is enlarged.
        """
        coarser = (self._together(height // times, width // times) for times in _coarser(height, width))
        return max([self._together(height, width), *(round(pixels / _ENLARGED**2) for pixels in coarser)])

    def _together(self, height: int, width: int) -> int:
        """The pixels of the tiles of one call of `_run`."""
        places = tiles(height, width, **self._tiling)
        rows, columns = places[0].rows, places[0].columns
        return (rows.end - rows.begin) * (columns.end - columns.begin) * min(self.compute.batch, len(places))

    @property
    def _tiling(self) -> dict[str, int]:
        return {"tile": self.tile, "overlap": min(OVERLAP, self.tile // 2), "multiple": self._multiple}

    def _one(self, tile: Tensor) -> Tensor:
        with self.compute.autocast():
            logits: Tensor = self.network(tile.to(self.compute.device).float())
            return logits.float()

    @property
    def _multiple(self) -> int:
        """The grid of the deepest level, in pixels."""
        return 2 ** len(self.network.widths)

    def _both(self, tile: Tensor) -> Tensor:
        return (self._one(tile) + self._one(tile.flip(-1)).flip(-1)) / 2

    def _larger_too(self, tile: Tensor) -> Tensor:
        """The mean of two looks, the second at the mirror image enlarged, see `_ENLARGED`; a third one in doubt."""
        tile = tile.to(self.compute.device)
        own, size = self._one(tile), (tile.shape[-2], tile.shape[-1])
        height, width = (max(round(_ENLARGED * side / self._multiple), 1) * self._multiple for side in size)
        larger = F.interpolate(tile.flip(-1).float(), (height, width), mode="bicubic").clamp(0, 1)
        other = F.interpolate(self._one(larger), size, mode="bilinear", antialias=True).flip(-1)
        broad = _opened(own, _BROAD_THERE)
        refused = _unseen(broad, other, _REFUSED)
        if refused.any():
            refused &= _unseen(broad, self._one(tile.flip(-1)).flip(-1), _CONFIRMED)
        return torch.maximum((own + other) / 2, broad.masked_fill(refused, _NOTHING))

    def _closer(self, tiles: Tensor, scale: float) -> Tensor:
        """Logits at the photos' own scale; `_NOTHING` in tiles without detail much finer than `scale`."""
        odds = torch.full_like(tiles[:, :1], _NOTHING)
        seen = stands_out(tiles, scale / FINER)
        if seen.any():
            odds[seen] = self._both(tiles[seen]).to(odds)
        return odds
