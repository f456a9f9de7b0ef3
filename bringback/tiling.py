"""Big photos in bounded memory: run a function over overlapping tiles and blend the results."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def run_tiled(
    function: Callable[..., Tensor], inputs: Sequence[Tensor], *, tile: int, overlap: int, multiple: int = 1
) -> Tensor:
    """Call `function(*tiles)` for every tile of `inputs` and blend what it returns into one (B, C', H, W) tensor.

    `inputs` are (B, C, H, W) tensors of one height and width; a call sees the same place of each of them and returns a
    (B, C', h, w) tensor of the tile's size, on any device. A tile has sides of at most `tile` pixels (at least
    `multiple`) that divide by `multiple`, and begins on a multiple of it, so that strided networks see every tile on
    the same grid as the whole; the picture is mirrored to the right and below as far as that needs. A picture that fits
    is one call. Neighbours share at least `overlap` pixels, as far as `multiple` allows: the outer quarter of it, where
    a network has seen the tile's border, is dropped, the middle half blended by a half cosine. The result is on the
    device of the first input.

    Raises ValueError when `overlap` is not in 0..tile - 1.
    """
    if not 0 <= overlap < tile:
        raise ValueError(f"tiles of {tile} pixels cannot overlap by {overlap}")
    height, width = inputs[0].shape[-2:]
    device = inputs[0].device
    inputs = [_mirror(x, multiple) for x in inputs]
    rows, columns = (_spans(size, tile, overlap, multiple) for size in inputs[0].shape[-2:])
    blended: Tensor | None = None
    for top, bottom, fade_y in rows:
        for left, right, fade_x in columns:
            result = function(*(x[..., top:bottom, left:right] for x in inputs)).to(device)
            if blended is None:
                blended = result.new_zeros((*result.shape[:2], *inputs[0].shape[-2:]))
            fade = fade_y.to(result)[:, None] * fade_x.to(result)
            blended[..., top:bottom, left:right] += result * fade
    assert blended is not None  # there is always a tile
    return blended[..., :height, :width]


def _mirror(x: Tensor, multiple: int) -> Tensor:
    """Mirror `x` to the right and below to sides that divide by `multiple`; several times over if it is tiny."""
    for axis in (-2, -1):
        size = x.shape[axis]
        padded = math.ceil(size / multiple) * multiple
        if padded > size:
            period = max(2 * size - 2, 1)
            index = torch.arange(padded, device=x.device) % period
            x = x.index_select(axis, torch.minimum(index, period - index) if size > 1 else index)
    return x


def _spans(size: int, tile: int, overlap: int, multiple: int) -> list[tuple[int, int, Tensor]]:
    """The tiles along one axis as (begin, end, blending weights); the weights of all tiles sum to 1 at each pixel."""
    side = min(max(tile // multiple, 1) * multiple, size)
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
    return [
        (begin, begin + side, fade / total[begin : begin + side]) for begin, fade in zip(begins, fades, strict=True)
    ]
