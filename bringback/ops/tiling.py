"""Run a function over overlapping tiles of a large photo and blend the results, in bounded memory."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import torch
from torch import Tensor

from bringback.runtime.progress import tiles_done


@dataclass(frozen=True, slots=True)
class Span:
    """A tile along one axis: `begin` to `end` (exclusive), its blending weights `fade`, and the part `own`.

    The weights of all tiles sum to 1 at each pixel; the `own` slices partition the axis.
    """

    begin: int
    end: int
    fade: Tensor
    own: slice

    def enlarged(self, scale: int) -> "Span":
        """The span in a photo that is so many times as large."""
        own = slice(self.own.start * scale, self.own.stop * scale)
        return Span(self.begin * scale, self.end * scale, self.fade.repeat_interleave(scale), own)


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile of a photo. It may extend beyond the right and bottom border, where the photo is reflected."""

    rows: Span
    columns: Span

    def cut(self, x: Tensor) -> Tensor:
        """Crop the tile (B, C, h, w) from a photo (B, C, H, W)."""
        return _cut(_cut(x, -2, self.rows), -1, self.columns)

    def enlarged(self, scale: int) -> "Tile":
        """The tile in a photo that is so many times as large."""
        return Tile(self.rows.enlarged(scale), self.columns.enlarged(scale)) if scale > 1 else self

    def add(self, made: Tensor, total: Tensor) -> None:
        """Add the tile's result (B, C, h, w), multiplied by its blending weights, to the whole (B, C, H, W)."""
        place = total[..., self.rows.begin : self.rows.end, self.columns.begin : self.columns.end]
        height, width = place.shape[-2:]
        fade = self.rows.fade[:height].to(total)[:, None] * self.columns.fade[:width].to(total)
        place += made[..., :height, :width].to(total) * fade


def tiles(height: int, width: int, *, tile: int, overlap: int, multiple: int = 1) -> list[Tile]:
    """The tiles of a photo, row by row, all of the same size.

    Sides are at most `tile` pixels (but at least `multiple`) and multiples of `multiple`, as are the offsets, so that
    strided networks see every tile on the same grid as the whole. Neighbors share at least `overlap` pixels as far as
    `multiple` allows. The outer quarter of the overlap, which the tile's border affects, is dropped; the middle half is
    blended by a half cosine. Raises ValueError if `overlap` is not in 0..tile - 1.
    """
    if not 0 <= overlap < tile:
        raise ValueError(f"tiles of {tile} pixels cannot overlap by {overlap}")
    return [Tile(*two) for two in product(*(_spans(side, tile, overlap, multiple) for side in (height, width)))]


def run_tiled(
    function: Callable[..., Tensor],
    inputs: Sequence[Tensor],
    *,
    tile: int,
    overlap: int,
    multiple: int = 1,
    batch: int = 1,
    scale: int = 1,
) -> Tensor:
    """Call `function(*tiles)` for every tile of `inputs` and blend the results into one (B, C', H, W) tensor.

    `inputs` are (B, C, H, W) tensors of the same height and width. A call gets up to `batch` tiles of each input,
    concatenated along the first axis, and returns a tensor (batch * B, C', h, w) of the tiles' size, or `scale` times
    that, on any device. An image that fits into one tile takes one call. The result is on the device of the first
    input, in channels-last format if there are several tiles. Who is `watching` is told of them. Raises ValueError as
    `tiles` does.
    """
    first = inputs[0]
    size = (first.shape[-2], first.shape[-1])
    places = tiles(*size, tile=tile, overlap=overlap, multiple=multiple)
    if len(places) == 1:
        made = function(*(places[0].cut(x) for x in inputs)).to(first.device)
        return made[..., : scale * size[0], : scale * size[1]]
    total: Tensor | None = None
    for at in range(0, len(places), batch):
        some = places[at : at + batch]
        made = function(*(torch.cat([place.cut(x) for place in some]) for x in inputs))
        if total is None:
            shape = (len(first), made.shape[1], scale * size[0], scale * size[1])
            total = torch.empty(shape, dtype=made.dtype, device=first.device, memory_format=torch.channels_last).zero_()
        for place, part in zip(some, made.split(len(first)), strict=True):
            place.enlarged(scale).add(part, total)
        tiles_done(at + len(some), len(places))
    assert total is not None  # there is always a tile
    return total


def _cut(x: Tensor, axis: int, span: Span) -> Tensor:
    size = x.shape[axis]
    if span.end <= size:
        return x.narrow(axis, span.begin, span.end - span.begin)
    # reflected repeatedly if the image is tiny
    period = max(2 * size - 2, 1)
    index = torch.arange(span.begin, span.end, device=x.device) % period
    return x.index_select(axis, torch.minimum(index, period - index) if size > 1 else index)


def _spans(size: int, tile: int, overlap: int, multiple: int) -> Iterator[Span]:
    """Tiles along one axis."""
    size = math.ceil(size / multiple) * multiple
    side = min(max(tile // multiple, 1) * multiple, size)
    # the smallest number of tiles, then the smallest size for that number
    count = math.ceil((size - overlap) / max(side - overlap, 1)) if side < size else 1
    side = min(side, math.ceil((size + (count - 1) * overlap) / count / multiple) * multiple)
    stride = max((side - overlap) // multiple, 1) * multiple
    begins = [*range(0, size - side, stride), size - side]
    # rounding to `multiple` may leave less overlap than requested, or none
    shared = min(overlap, side - stride)
    trim, ramp = shared // 4, shared - 2 * (shared // 4)
    # Weights rise with the distance from an inner border: 0 up to `trim`, 1 after another `ramp`.
    distance = torch.arange(side, dtype=torch.float64) + 0.5
    rise = ((distance - trim) / max(ramp, 1)).clamp(0, 1)
    rise = 0.5 - 0.5 * torch.cos(torch.pi * rise) if shared else torch.ones_like(rise)
    total = torch.zeros(size, dtype=torch.float64)
    fades = []
    for begin in begins:
        fade = torch.ones_like(rise)
        if begin > 0:
            fade = fade * rise
        if begin + side < size:
            fade = fade * rise.flip(0)
        total[begin : begin + side] += fade
        fades.append(fade)
    # neighbors meet in the middle of their overlap
    meets = [0, *((after + begin + side) // 2 for begin, after in pairwise(begins)), size]
    for number, (begin, fade) in enumerate(zip(begins, fades, strict=True)):
        weights = fade / total[begin : begin + side]
        yield Span(begin, begin + side, weights, slice(meets[number], meets[number + 1]))
