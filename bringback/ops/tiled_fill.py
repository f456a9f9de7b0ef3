"""Push-pull fill of photos of any size in bounded memory."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.ops.push_pull import TRUST, membrane, mix, pull, push, push_pull

WHOLE = 1 << 20  # most pixels solved at once: the whole photo, or the finest pyramid level that fits
TILE = 512  # side of a tile in pixels
# Context around a tile in pixels of the level that is solved as a whole: 16 of the next finer level, where the
# iterations reach 17 pixels. The error is below 3e-4 in large holes and below 1e-4 in scratches.
HALO = 8
_REACH = 18  # the even number of pixels of a level that the iterations reach: more of it is not computed


def filled(pixels: Tensor, target: Tensor, device: torch.device | str = "cpu") -> Tensor:
    """Out-of-place `fill_into`."""
    result = pixels.clone()
    fill_into(result, target, device)
    return result


def fill_into(pixels: Tensor, target: Tensor, device: torch.device | str = "cpu", scale: float = 1.0) -> None:
    """Fill `target` (B, 1, H, W) of photos (B, 3, H, W) in place by `push_pull`, computed on `device`.

    Pixels with a target of 0 are unchanged. The coarse levels of a large photo are solved as a whole, the fine ones in
    tiles where there is damage, so a hole is filled consistently across all tiles that it spans. Sides are padded to a
    multiple of the coarse pixel by replication, which shifts the coarse levels by a fraction of one of their pixels.
    Levels finer than the native `scale` only enlarge the next: there is nothing so fine to go on in them.
    """
    levels, plain = _levels(pixels[0, 0].numel()), int(math.log2(scale))
    with torch.autocast(torch.device(device).type, enabled=False):
        for number in range(len(pixels)):
            photo, holes = pixels[number : number + 1], target[number : number + 1]
            if not holes.any():
                continue
            if levels:
                _fill_large(photo, holes, device, levels, plain)
            else:  # channels last would take 1.4 times as long
                photo.copy_(push_pull(photo.to(device).contiguous(), holes.to(device), plain=plain))


def solved_at_once(pixels: int) -> int:
    """Of a photo with so many pixels: all of them, or those of the finest pyramid level that is solved as a whole."""
    return pixels // 4 ** _levels(pixels)


def _levels(pixels: int) -> int:
    """How often a photo is halved before it is solved as a whole."""
    levels = 0
    while pixels / 4**levels > WHOLE:
        levels += 1
    return levels


def _fill_large(photo: Tensor, target: Tensor, device: torch.device | str, levels: int, plain: int) -> None:
    unit = 2**levels
    surface = _coarse(photo, target, device, levels, max(plain - levels, 0))
    waiting: list[tuple[Tensor, Tensor]] = []
    # tiles read the original pixels of their neighbors, so a row is written only after the next has been computed
    for row in _tiles(photo, unit):
        made = []
        strip = torch.empty_like(photo[..., row[0][0], :])  # pages that are never written take no memory
        for tile in row:
            for inner in _boxes((_part(target, tile)[0, 0] > 0).cpu().numpy(), tile, unit):
                full = _solved(photo, target, surface, inner, unit, device, plain)
                result = _part(strip, _at(inner, 1, row[0])).copy_(full)
                made.append((_part(photo, inner), result))
        _put(waiting)
        waiting = made
    _put(waiting)


def _boxes(damaged: np.ndarray, place: Sequence[slice], unit: int) -> list[list[slice]]:
    """Boxes around all that is `damaged` (h, w), bool, at a place, on a grid of `unit`: those that take the least time.

    Each is computed with its surroundings, so boxes are halved only where much is sound.
    """

    def computed(boxes: list[list[slice]]) -> int:
        return sum(math.prod(side.stop - side.start + 2 * HALO * unit for side in one) for one in boxes)

    sides = [np.flatnonzero(damaged.any(axis)) for axis in (1, 0)]
    if not len(sides[0]):
        return []
    box = [
        slice(at.start + side[0] // unit * unit, at.start + side[-1] + 1) for at, side in zip(place, sides, strict=True)
    ]
    long = int(box[1].stop - box[1].start > box[0].stop - box[0].start)
    middle = (box[long].start + box[long].stop) // 2 // unit * unit
    if middle - box[long].start < HALO * unit:
        return [box]
    halves = []
    for half in (slice(box[long].start, middle), slice(middle, box[long].stop)):
        part = [half if axis == long else box[axis] for axis in (0, 1)]
        rows, columns = _at(part, 1, place)
        halves += _boxes(damaged[rows, columns], part, unit)
    return min([box], halves, key=computed)


def _solved(
    photo: Tensor,
    target: Tensor,
    surface: Tensor,
    inner: list[slice],
    unit: int,
    device: torch.device | str,
    plain: int,
) -> Tensor:
    """A filled part of a photo: the coarse `surface` of all of it is pushed down to its pixels.

    Of each level only what the next one needs is computed. The `plain` finest are not smoothed.
    """
    levels = unit.bit_length() - 1
    outer = _wider(inner, HALO * unit)
    own, sound = _cut(photo, target, outer, unit, device)
    values, weights = pull(own, sound**TRUST, levels)
    surface, place = _part(surface, _at(outer, unit)), [slice(0, 0)] * 2
    for level in reversed(range(levels)):
        size = values[level].shape[-2:]
        near = [
            slice(max(side.start - _REACH, 0), min(side.stop + side.stop % 2 + _REACH, most))
            for side, most in zip(_at(inner, 2**level, outer), size, strict=True)
        ]
        surface = _part(surface, _at(_at(near, 2), 1, place))
        known = [_part(values[level], near)], [_part(weights[level], near)]
        surface, place = push(surface, *known, plain=int(level < plain)), near
    here = _at(inner, 1, outer)
    return mix(_part(own, here), _part(sound, here), _part(surface, _at(here, 1, place)))


def _put(made: list[tuple[Tensor, Tensor]]) -> None:
    for place, result in made:
        place.copy_(result)


def _coarse(photo: Tensor, target: Tensor, device: torch.device | str, levels: int, plain: int) -> Tensor:
    """The surface of a whole photo after `levels` halvings; the `plain` finest of what is left are not smoothed."""
    unit = 2**levels
    shape = [-(-side // unit) for side in photo.shape[-2:]]
    value, weight = (torch.empty(1, channels, *shape, device=device) for channels in (3, 1))
    for row in _tiles(photo, unit):
        for inner in row:
            outer = _wider(inner, unit)  # the border affects only one pixel of each level
            own, sound = _cut(photo, target, outer, unit, device)
            values, weights = pull(own, sound**TRUST, levels)
            for whole, part in ((value, values[-1]), (weight, weights[-1])):
                _part(whole, _at(inner, unit)).copy_(_part(part, _at(inner, unit, outer)))
    return membrane(value, weight, photo.mean((2, 3), keepdim=True).to(device), plain=plain)


def _tiles(photo: Tensor, unit: int) -> Iterator[list[list[slice]]]:
    """Rows of tiles that cover a photo: row and column slices of at most `TILE` pixels on a grid of `unit`."""
    (height, width), side = photo.shape[-2:], TILE // unit * unit
    for top in range(0, height, side):
        rows = slice(top, min(top + side, height))
        yield [[rows, slice(left, min(left + side, width))] for left in range(0, width, side)]


def _wider(place: Sequence[slice], by: int) -> list[slice]:
    """Slices extended by `by` on both sides, clipped at 0 but not at the photo's end."""
    return [slice(max(side.start - by, 0), side.stop + by) for side in place]


def _at(place: Sequence[slice], unit: int, within: Sequence[slice] = (slice(0, 0),) * 2) -> list[slice]:
    """Slices in units of `unit` pixels, relative to the start of `within`."""
    starts = [outer.start for outer in within]
    return [slice((a.start - o) // unit, -((o - a.stop) // unit)) for a, o in zip(place, starts, strict=True)]


def _part(whole: Tensor, place: Sequence[slice]) -> Tensor:
    rows, columns = place
    return whole[..., rows, columns]


def _cut(
    photo: Tensor, target: Tensor, place: Sequence[slice], unit: int, device: torch.device | str
) -> tuple[Tensor, Tensor]:
    """A part of a photo and its 1 - target, padded by replication to sides that are multiples of `unit`."""
    own, holes = (_part(whole, place).to(device, torch.float32).contiguous() for whole in (photo, target))
    missing = (0, -own.shape[-1] % unit, 0, -own.shape[-2] % unit)
    own, holes = (F.pad(part, missing, mode="replicate") for part in (own, holes))
    return own, 1 - holes
