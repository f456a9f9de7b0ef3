"""What shows through broad marks: stains, tape and tide lines let the picture be seen, only lighter or darker."""

import math

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.ops.masks import ramp
from bringback.ops.push_pull import membrane
from bringback.ops.strips import STRIP

_SPREAD = 24.0  # pixels of the native scale: standard deviation of what counts as the tone of a place
_RIM, _INSIDE = 5.0, 12.0  # pixels from the edge of a mark where detail begins to be its picture's, and where all is
_EDGE = 1.5  # pixels beside the edge of a mark, which show both
_LOST = 1.6  # times as strong detail is without the veil
_MOST = 0.6  # of the strength of detail around the mark, which it does not exceed
_FEW = 0.02  # share of sound pixels below which the strength of detail is continued from the nearest places with more
_COARSE = 4  # pixels of the native scale: means are taken of averages of so many
_TILE = 512  # side in pixels
_TINY = 1e-6

Place = tuple[slice, slice]
Veiled = list[tuple[slice, slice, Tensor]]


def detail_under(pixels: Tensor, marks: Tensor, sound: Tensor, scale: float = 1.0) -> Veiled:
    """The detail of a photo (1, 3, H, W) inside broad marks (1, 1, H, W), bool: (rows, columns, detail (1, 3, h, w)).

    Detail is what differs from the mean of the mark around it. It is weaker than that of the `sound` picture
    (1, 1, H, W), bool, around the mark, so opaque marks have little of it and cracks do not come back. `scale` is the
    native scale, 1 or more. Add it to the filled photo.
    """
    on = _bytes(marks)
    places = [
        place for place in _tiles(*on.shape) if on[place].any() and _depth(on, place, _RIM * scale).max() > _RIM * scale
    ]
    if not places:
        return []
    pixels, cell = pixels.detach(), round(_COARSE * scale)
    tones = _tones(_averages(pixels, on, _bytes(sound), _EDGE * scale, cell), _SPREAD * scale / cell)
    found: Veiled = []
    for rows, columns in places:
        mean, most = _enlarged(tones, (rows, columns), cell).split((3, 1), 1)
        detail = _LOST * (pixels[..., rows, columns].cpu() - mean)
        strength = detail.square().mean(1, keepdim=True).sqrt()
        depth = torch.from_numpy(_depth(on, (rows, columns), _INSIDE * scale)) / scale
        shown = ramp(depth, _RIM, _INSIDE)
        detail *= shown * (_MOST * most / strength.clamp_min(_TINY)).clamp(max=1)
        found.append((rows, columns, detail.to(torch.float16)))
    return found


def add_detail_(pixels: Tensor, veiled: Veiled) -> None:
    """Add what `detail_under` found to the filled photo, in place; the result is in [0, 1]."""
    for rows, columns, detail in veiled:
        part = pixels[..., rows, columns]
        part.add_(detail.to(part)).clamp_(0, 1)


def _bytes(mask: Tensor) -> np.ndarray:
    return mask[0, 0].cpu().contiguous().numpy().view(np.uint8)


def _tiles(height: int, width: int) -> list[Place]:
    tops, lefts = range(0, height, _TILE), range(0, width, _TILE)
    return [
        (slice(top, min(top + _TILE, height)), slice(left, min(left + _TILE, width))) for top in tops for left in lefts
    ]


def _depth(on: np.ndarray, place: Place, least: float) -> np.ndarray:
    """Pixels (h, w) at a place to the nearest one that is off in (H, W); where it is beyond `least`, at least that."""
    reach = math.ceil(least) + 1
    rows, columns = place
    top, left = max(rows.start - reach, 0), max(columns.start - reach, 0)
    depth = cv2.distanceTransform(on[top : rows.stop + reach, left : columns.stop + reach], cv2.DIST_L2, 5)
    return depth[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]


def _averages(pixels: Tensor, on: np.ndarray, sound: np.ndarray, edge: float, cell: int) -> Tensor:
    """Averages (9, h, w) over cells of so many pixels: color inside marks and how much is inside; color, square and
    how much is sound."""
    height, width = on.shape
    step = max(1, STRIP // (width * cell)) * cell
    found = torch.empty(9, -(-height // cell), -(-width // cell))
    for top in range(0, height, step):
        place = slice(top, min(top + step, height)), slice(0, width)
        part = pixels[..., place[0], :].cpu().contiguous()
        inside, around = (torch.from_numpy(_depth(mask, place, edge) > edge).to(part)[None] for mask in (on, sound))
        squares = part.square().sum(1) * around
        planes = torch.cat((part[0] * inside, inside, part[0] * around, squares, around))
        found[:, top // cell : (top + step) // cell] = F.avg_pool2d(planes, cell, ceil_mode=True)
    return found


def _tones(averages: Tensor, spread: float) -> Tensor:
    """The mean color inside marks, and how far the picture around them differs from its own: (1, 4, h, w).

    The latter is a standard deviation; in the middle of wide marks it is that of the picture nearest to it.
    """

    def spread_out(planes: Tensor) -> Tensor:
        blurred = cv2.GaussianBlur(planes.permute(1, 2, 0).numpy(), (0, 0), spread)
        return torch.from_numpy(blurred.reshape(*planes.shape[1:], -1)).permute(2, 0, 1)

    color, inside, around, _, seen = spread_out(averages).split((3, 1, 3, 1, 1))
    around = around / seen.clamp_min(_TINY)
    own, squares, weight = averages[4:].split((3, 1, 1))
    apart = squares - 2 * (around * own).sum(0) + around.square().sum(0) * weight
    most = (spread_out(apart.clamp_min(0)) / 3 / seen.clamp_min(_TINY)).sqrt()
    most = membrane(most[None], (seen[None] / _FEW).clamp(max=1), torch.zeros(1))
    return torch.cat(((color / inside.clamp_min(_TINY))[None], most), 1)


def _enlarged(tones: Tensor, place: Place, cell: int) -> Tensor:
    """A place of the coarse planes (1, C, h, w), each of whose pixels is a cell; the same for every cut into places."""
    first = [max(side.start // cell - 1, 0) for side in place]
    down, across = (slice(start, -(-side.stop // cell) + 1) for start, side in zip(first, place, strict=True))
    large = F.interpolate(tones[..., down, across], scale_factor=cell, mode="bilinear")
    rows, columns = (
        slice(side.start - cell * start, side.stop - cell * start) for start, side in zip(first, place, strict=True)
    )
    return large[..., rows, columns]
