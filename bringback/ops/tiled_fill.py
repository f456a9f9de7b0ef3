"""The push-pull fill of photos of any size, in bounded memory."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.ops.push_pull import TRUST, membrane, mix, pull, push, push_pull

WHOLE = 1 << 20  # pixels that are solved at once: the whole photo, or its finest level that is not larger
TILE = 512  # pixels a side of what is filled at a time
# How much further a tile looks, in pixels of the level that is solved as a whole: 16 of the next finer one, where the
# iterations see 17 far. What that leaves is below 3e-4 in a large hole and below 1e-4 in scratches.
HALO = 8


def filled(pixels: Tensor, target: Tensor, device: torch.device | str = "cpu") -> Tensor:
    """A copy of photos (B, 3, H, W) with `target` (B, 1, H, W) filled, computed on `device`; see `fill_into`."""
    result = pixels.clone()
    fill_into(result, target, device)
    return result


def fill_into(pixels: Tensor, target: Tensor, device: torch.device | str = "cpu") -> None:
    """Fill photos (B, 3, H, W) in place, as `push_pull` would fill the whole; what is sound (target 0) stays exactly.

    Of a large photo the coarse levels are made and solved as a whole and the fine ones in tiles, where there is damage:
    a hole of any size is filled alike in all the tiles that it reaches into. Sides that do not divide by the size of a
    coarse pixel are rounded up, the border repeated, which moves the coarse levels by a part of one of their pixels.
    """
    levels = 0
    while pixels[0, 0].numel() / 4**levels > WHOLE:
        levels += 1
    with torch.autocast(torch.device(device).type, enabled=False):
        for number in range(len(pixels)):
            photo, holes = pixels[number : number + 1], target[number : number + 1]
            if not holes.any():
                continue
            if levels:
                _fill_large(photo, holes, device, levels)
            else:  # with channels last it would take 1.4 times as long
                photo.copy_(push_pull(photo.to(device).contiguous(), holes.to(device)))


def _fill_large(photo: Tensor, target: Tensor, device: torch.device | str, levels: int) -> None:
    unit = 2**levels
    surface = _coarse(photo, target, device, levels)
    waiting: list[tuple[Tensor, Tensor]] = []
    # a tile looks at its neighbours as they came, so a row is put in its place when the next has been computed
    for row in _tiles(photo, unit):
        made = []
        strip = torch.empty_like(photo[..., row[0][0], :])  # takes no memory but where it is written
        for tile in row:
            damaged = _part(target, tile)[0, 0].nonzero()
            if not len(damaged):
                continue
            begin, end = (damaged.amin(0) // unit * unit).tolist(), (damaged.amax(0) + 1).tolist()
            inner = [slice(side.start + a, side.start + b) for side, a, b in zip(tile, begin, end, strict=True)]
            outer = _wider(inner, HALO * unit)
            own, sound = _cut(photo, target, outer, unit, device)
            values, weights = pull(own, sound**TRUST, levels)
            full = mix(own, sound, push(_part(surface, _at(outer, unit)), values[:-1], weights[:-1]))
            result = _part(strip, _at(inner, 1, row[0])).copy_(_part(full, _at(inner, 1, outer)))
            made.append((_part(photo, inner), result))
        _put(waiting)
        waiting = made
    _put(waiting)


def _put(made: list[tuple[Tensor, Tensor]]) -> None:
    for place, result in made:
        place.copy_(result)


def _coarse(photo: Tensor, target: Tensor, device: torch.device | str, levels: int) -> Tensor:
    """The surface of a whole photo at the level where it has been halved so many times."""
    unit = 2**levels
    shape = [-(-side // unit) for side in photo.shape[-2:]]
    value, weight = (torch.empty(1, channels, *shape, device=device) for channels in (3, 1))
    for row in _tiles(photo, unit):
        for inner in row:
            outer = _wider(inner, unit)  # all that the border of a tile spoils is one pixel of each level
            own, sound = _cut(photo, target, outer, unit, device)
            values, weights = pull(own, sound**TRUST, levels)
            for whole, part in ((value, values[-1]), (weight, weights[-1])):
                _part(whole, _at(inner, unit)).copy_(_part(part, _at(inner, unit, outer)))
    return membrane(value, weight, photo.mean((2, 3), keepdim=True).to(device))


def _tiles(photo: Tensor, unit: int) -> Iterator[list[list[slice]]]:
    """Rows of tiles that cover a photo, each the rows and columns of `TILE` pixels, beginning on a grid of `unit`."""
    (height, width), side = photo.shape[-2:], TILE // unit * unit
    for top in range(0, height, side):
        rows = slice(top, min(top + side, height))
        yield [[rows, slice(left, min(left + side, width))] for left in range(0, width, side)]


def _wider(place: Sequence[slice], by: int) -> list[slice]:
    """Rows and columns with those around them, as far as a photo begins there; it may end before they do."""
    return [slice(max(side.start - by, 0), side.stop + by) for side in place]


def _at(place: Sequence[slice], unit: int, within: Sequence[slice] = (slice(0, 0),) * 2) -> list[slice]:
    """Rows and columns in pixels of `unit`, counted from where `within` begins."""
    starts = [outer.start for outer in within]
    return [slice((a.start - o) // unit, -((o - a.stop) // unit)) for a, o in zip(place, starts, strict=True)]


def _part(whole: Tensor, place: Sequence[slice]) -> Tensor:
    rows, columns = place
    return whole[..., rows, columns]


def _cut(
    photo: Tensor, target: Tensor, place: Sequence[slice], unit: int, device: torch.device | str
) -> tuple[Tensor, Tensor]:
    """A part of a photo and how sound it is, the photo's border repeated to sides that divide by `unit`."""
    own, holes = (_part(whole, place).to(device, torch.float32).contiguous() for whole in (photo, target))
    missing = (0, -own.shape[-1] % unit, 0, -own.shape[-2] % unit)
    own, holes = (F.pad(part, missing, mode="replicate") for part in (own, holes))
    return own, 1 - holes
