"""Photos that were enlarged by repeating pixels, as thumbnails are by nearest neighbor: found, and smoothed."""

from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
import torch
from torch import Tensor

from bringback.ops.scale import cubic
from bringback.ops.windows import window_sums

# An edge between two rows or columns lies within a block if what differs across it is less than one of these shares of
# the most near it. The lower ones find blocks that end in flat tones, the higher ones those under noise. Chosen on
# training portraits, as is how much less it is in the mean.
_WITHIN, _NEAR, _LESS = (0.1, 0.2, 0.35, 0.5, 0.65), 13, 0.6
_CAP = 0.1  # differences above count as this: edges of what is shown
_STEP, _MOST = 1.15, 12.0  # the sides of blocks, in pixels, that are looked for
_FEWEST = 32  # blocks down and across that show a grid
_OFF, _APART = 0.6, 0.03  # how far edges may lie from a regular grid, in pixels; by how much the sides may differ
_SAMPLED = 192  # rows or columns that are looked at
# Screens, drawings and pixel art are meant so: most neighbors are equal, or there are few tones.
_LEVEL, _EQUAL, _TONES = 0.5 / 255, 0.5, 24
# Strong JPEG leaves blocks of 8 pixels, which are not of one tone.
_JPEG, _FLAT = 8.0, 0.02
# A block is not of one tone, as where writing was laid on later, if its variance is above so many times the mean of all
# blocks, which noise and compression raise, and above this. So many of nine count: fewer are impulses or strong edges.
_UNEVEN, _LEAST, _SEVERAL = 16, (24 / 255) ** 2, 3


@dataclass(frozen=True, slots=True)
class _Grid:
    """Where blocks begin along one axis: the first of their rows or columns, but for the first block, which begins
    at 0; and as a regular grid: where the second block begins, and the side of a block.
    """

    begins: np.ndarray
    offset: float
    side: float

    @classmethod
    def of(cls, differences: np.ndarray, share: float) -> Self | None:
        """By the mean differences (N - 1,) between neighboring rows or columns; None if they show no grid."""
        most = cv2.dilate(differences[None], np.ones((1, _NEAR), np.uint8))[0]
        edges = differences > share * most
        begins = np.flatnonzero(edges) + 1
        if len(begins) < _FEWEST or not _STEP <= (begins[-1] - begins[0]) / (len(begins) - 1) <= _MOST:
            return None
        side, offset = np.polyfit(np.arange(len(begins)), begins, 1)
        if np.abs(begins - offset - side * np.arange(len(begins))).max() > _OFF or begins[0] > side + 1:
            return None
        less = float(differences[~edges].mean() / differences[edges].mean())
        jpeg = abs(side - _JPEG) < _OFF and less > _FLAT
        return None if less > _LESS or jpeg else cls(begins, float(offset), float(side))

    def numbers(self, size: int, device: torch.device) -> Tensor:
        """The block in which each of so many rows or columns is, (N,)."""
        numbers = torch.zeros(size, dtype=torch.long)
        numbers[torch.from_numpy(self.begins)] = 1
        return numbers.cumsum(0).to(device)

    def average(self, planes: Tensor) -> Tensor:
        """Planes (..., N) -> the means of their blocks (..., n)."""
        numbers = self.numbers(planes.shape[-1], planes.device)
        sums = planes.new_zeros(*planes.shape[:-1], len(self.begins) + 1).index_add_(-1, numbers, planes)
        return sums / torch.bincount(numbers)

    def enlarge(self, means: Tensor, size: int) -> Tensor:
        """Means of blocks (..., n) -> planes (..., N), by the cubic of Keys; borders are replicated."""
        at = (torch.arange(size, device=means.device) + 0.5 - self.offset) / self.side + 0.5
        first = at.floor()
        part, last = at - first, means.shape[-1] - 1
        made = means.new_zeros(*means.shape[:-1], size)
        for k in range(-1, 3):
            made.addcmul_(means.index_select(-1, (first.long() + k).clamp(0, last)), cubic((part - k).abs()))
        return made


@dataclass(frozen=True, slots=True)
class Blocks:
    """The blocks, down and across, of which a photo consists that was enlarged by repeating its pixels."""

    rows: _Grid
    columns: _Grid

    @property
    def side(self) -> float:
        """The side of a block in pixels."""
        return round((self.rows.side * self.columns.side) ** 0.5, 2)

    @classmethod
    def find(cls, pixels: Tensor) -> Self | None:
        """The blocks of a photo (1, 3, H, W) in [0, 1], of 1.15 to 12 pixels a side; None if it has none.

        Neighbors are more alike within blocks than across their edges, in a regular grid, down and across. Noise and
        compression that came later may soften them a little.
        """
        light = pixels[0].detach()
        if min(light.shape[-2:]) <= _FEWEST:
            return None
        grids = list[_Grid]()
        for axis in (1, 2):
            other = 3 - axis
            some = torch.arange(0, light.shape[other], -(-light.shape[other] // _SAMPLED), device=light.device)
            seen = light.index_select(other, some).mean(0).cpu().movedim(axis - 1, 0).numpy()
            steps = np.abs(np.diff(seen, axis=0))
            grid = _grid(np.minimum(steps, _CAP).mean(1))
            if grid is None or (steps[grid.begins - 1] < _LEVEL).mean() > _EQUAL:
                return None
            grids.append(grid)
        if abs(grids[0].side / grids[1].side - 1) > _APART or _few_tones(light):
            return None
        return cls(*grids)

    def smoothed(self, pixels: Tensor) -> Tensor:
        """Photos (B, 3, H, W) with these blocks, enlarged smoothly from their means: new, the same shape.

        Where several blocks are not of one tone, they stay, and those among them: something finer was laid on.
        """
        height, width = pixels.shape[-2:]
        made, uneven = torch.empty_like(pixels), pixels.new_zeros(())
        for plane in range(pixels.shape[1]):  # one at a time: a scan may be large
            own = pixels[:, plane]
            means = self._means(own)
            uneven = uneven + (self._means(own.square()) - means.square()).detach() / pixels.shape[1]
            wide = self.columns.enlarge(means, width)
            made[:, plane] = self.rows.enlarge(wide.mT, height).mT
        found = uneven > (_UNEVEN * uneven.mean((1, 2), keepdim=True)).clamp_min(_LEAST)
        stays = window_sums(found.to(pixels)[:, None], 3, 3)[:, 0] >= _SEVERAL
        if stays.any():
            stays = stays.index_select(1, self.rows.numbers(height, pixels.device))
            stays = stays.index_select(2, self.columns.numbers(width, pixels.device))
            for plane in range(pixels.shape[1]):
                made[:, plane] = torch.where(stays, pixels[:, plane], made[:, plane])
        return made.clamp_(0, 1)

    def _means(self, planes: Tensor) -> Tensor:
        """Planes (B, H, W) -> the means of their blocks (B, h, w)."""
        return self.rows.average(self.columns.average(planes).mT).mT


def without_blocks(pixels: Tensor) -> Tensor:
    """Photos (B, 3, H, W) in [0, 1], those enlarged by repeating pixels smoothed; the same tensor if there are none."""
    found = [Blocks.find(photo) for photo in pixels.split(1)]
    if not any(found):
        return pixels
    return torch.cat(
        [blocks.smoothed(photo) if blocks else photo for photo, blocks in zip(pixels.split(1), found, strict=True)]
    )


def _grid(differences: np.ndarray) -> _Grid | None:
    every = (_Grid.of(differences, share) for share in _WITHIN)
    return next((grid for grid in every if grid is not None), None)


def _few_tones(light: Tensor) -> bool:
    rows = slice(None, None, -(-light.shape[-2] // _SAMPLED))
    return len((light[1, rows] * 255).round().unique()) < _TONES
