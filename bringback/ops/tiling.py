"""Big photos in bounded memory: run a function over overlapping tiles and blend the results."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Span:
    """A tile along one axis: from `begin` to before `end`, its blending weights `fade`, and its own part of the photo.

    The weights of all tiles sum to 1 at each pixel; the parts `own` do not overlap and cover the axis.
    """

    begin: int
    end: int
    fade: Tensor
    own: slice


@dataclass(frozen=True, slots=True)
class Tile:
    """A place of a photo. It may reach beyond the right and lower border, where the photo is mirrored."""

    rows: Span
    columns: Span

    def cut(self, x: Tensor) -> Tensor:
        """The tile (B, C, h, w) of a photo (B, C, H, W)."""
        return _cut(_cut(x, -2, self.rows), -1, self.columns)

    def add(self, made: Tensor, total: Tensor) -> None:
        """Add what was made of the tile (B, C, h, w), faded towards its neighbours, to the whole (B, C, H, W)."""
        place = total[..., self.rows.begin : self.rows.end, self.columns.begin : self.columns.end]
        height, width = place.shape[-2:]
        fade = self.rows.fade[:height].to(total)[:, None] * self.columns.fade[:width].to(total)
        place += made[..., :height, :width].to(total) * fade


def tiles(height: int, width: int, *, tile: int, overlap: int, multiple: int = 1) -> list[Tile]:
    """The tiles of a photo, row by row, all of one size.

    A tile has sides of at most `tile` pixels (at least `multiple`) that divide by `multiple`, and begins on a multiple
    of it, so that strided networks see every tile on the same grid as the whole. Neighbours share at least `overlap`
    pixels, as far as `multiple` allows: the outer quarter of it, where a network has seen the tile's border, is
    dropped, the middle half blended by a half cosine. Raises ValueError when `overlap` is not in 0..tile - 1.
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
) -> Tensor:
    """Call `function(*tiles)` for every tile of `inputs` and blend what it returns into one (B, C', H, W) tensor.

    `inputs` are (B, C, H, W) tensors of one height and width; a call sees the same places of each of them, of `batch`
    tiles at a time in its first axis, and returns a (batch * B, C', h, w) tensor of the tiles' size, on any device. A
    picture that fits is one call. The result is on the device of the first input, its channels last in memory.
    Raises ValueError as `tiles` does.
    """
    first = inputs[0]
    size = (first.shape[-2], first.shape[-1])
    places = tiles(*size, tile=tile, overlap=overlap, multiple=multiple)
    if len(places) == 1:
        return function(*(places[0].cut(x) for x in inputs)).to(first.device)[..., : size[0], : size[1]]
    total: Tensor | None = None
    for at in range(0, len(places), batch):
        some = places[at : at + batch]
        made = function(*(torch.cat([place.cut(x) for place in some]) for x in inputs))
        if total is None:
            shape = (len(first), made.shape[1], *size)
            total = torch.empty(shape, dtype=made.dtype, device=first.device, memory_format=torch.channels_last).zero_()
        for place, part in zip(some, made.split(len(first)), strict=True):
            place.add(part, total)
    assert total is not None  # there is always a tile
    return total


def _cut(x: Tensor, axis: int, span: Span) -> Tensor:
    size = x.shape[axis]
    if span.end <= size:
        return x.narrow(axis, span.begin, span.end - span.begin)
    # several times over if it is tiny
    period = max(2 * size - 2, 1)
    index = torch.arange(span.begin, span.end, device=x.device) % period
    return x.index_select(axis, torch.minimum(index, period - index) if size > 1 else index)


def _spans(size: int, tile: int, overlap: int, multiple: int) -> Iterator[Span]:
    """The tiles along one axis."""
    size = math.ceil(size / multiple) * multiple
    side = min(max(tile // multiple, 1) * multiple, size)
    # as many as it takes, and then no larger than it takes
    count = math.ceil((size - overlap) / max(side - overlap, 1)) if side < size else 1
    side = min(side, math.ceil((size + (count - 1) * overlap) / count / multiple) * multiple)
    stride = max((side - overlap) // multiple, 1) * multiple
    begins = [*range(0, size - side, stride), size - side]
    # a stride rounded up to `multiple` leaves less to share than was asked for, perhaps nothing
    shared = min(overlap, side - stride)
    trim, ramp = shared // 4, shared - 2 * (shared // 4)
    # Weights rise with the distance to a border that is not the picture's own: 0 up to `trim`, 1 after `ramp` more.
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
    # neighbours meet in the middle of what they share
    meets = [0, *((after + begin + side) // 2 for begin, after in pairwise(begins)), size]
    for number, (begin, fade) in enumerate(zip(begins, fades, strict=True)):
        weights = fade / total[begin : begin + side]
        yield Span(begin, begin + side, weights, slice(meets[number], meets[number + 1]))
