"""Local damage with exact masks: scratches, hairs, dust, stains, cracks, folds, tears, missing pieces.

A layer is an alpha map (B, 1, H, W) in [0, 1]; `lay` composites it and adds it to the mask.
"""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from bringback.degradations.rng import Draws
from bringback.degradations.tone import smooth_field
from bringback.degradations.wear import convolve
from bringback.images.container import MAX_PIXELS
from bringback.images.modes import FORMATS
from bringback.images.shards import read_shards


def _gray(data: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    if image.width * image.height > MAX_PIXELS:  # Pillow's own limit may have been disabled
        raise ValueError(f"too large: {image.width}x{image.height} pixels")
    return np.array(image.convert("L"))


class OverlayBank:
    """Alpha masks of real damage, (N, 1, S, S) uint8, 255 = covered; `heavy`: indices of the eighth covering most."""

    def __init__(self, alphas: Tensor) -> None:
        self.alphas = alphas
        self.heavy = alphas.flatten(1).sum(1).topk(-(-len(alphas) // 8)).indices

    @classmethod
    def from_shards(cls, paths: Sequence[Path]) -> Self:
        """Read every picture of the tar shards as grayscale.

        Raises ValueError, naming the file, for a bad shard, an unreadable picture or one of a different size, and when
        there are no pictures; FileNotFoundError for a missing file.
        """
        alphas: list[np.ndarray] = []
        for path in paths:
            for name, data in read_shards(path):
                try:
                    alphas.append(_gray(data))
                except Exception as error:  # decoders raise many types for a broken file
                    raise ValueError(f"{path}: {name} cannot be read: {error}") from None
                if alphas[-1].shape != alphas[0].shape:
                    raise ValueError(f"{path}: {name} is of another size than the first overlay")
        if not alphas:
            raise ValueError(f"{', '.join(map(str, paths))}: no damage overlays in there")
        return cls(torch.from_numpy(np.stack(alphas))[:, None])

    def to(self, device: torch.device) -> Self:
        """Copy to a device."""
        return type(self)(self.alphas.to(device))

    def layer(self, draws: Draws, height: int, width: int, heavy: bool = False) -> Tensor:
        """One overlay per sample, randomly rotated, scaled, shifted and mirrored: (B, 1, H, W)."""
        pool = self.heavy if heavy else torch.arange(len(self.alphas), device=self.alphas.device)
        chosen = self.alphas[pool[torch.tensor(draws.integers(0, len(pool)), device=pool.device)]]
        side = self.alphas.shape[-1]
        angle, zoom = draws.uniform(0, 2 * math.pi), draws.uniform(0.6, 1.5)
        flip = torch.where(draws.chance(0.5), -1.0, 1.0)
        cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
        y, x = ((2 * c + 1) / side for c in _coordinates(height, width, draws.device))
        right, down = draws.uniform(-0.5, 0.5, 2).split(1, 1)
        grid = torch.cat([flip * (x * cos) - y * sin + right, flip * (x * sin) + y * cos + down], 1).movedim(1, -1)
        return F.grid_sample(chosen.to(grid.dtype), grid, padding_mode="reflection", align_corners=False) / 255


def _coordinates(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Pixel coordinates relative to the center, y (H, 1) and x (1, W)."""
    y = torch.arange(height, device=device, dtype=torch.float32)[:, None] - height / 2
    return y, torch.arange(width, device=device, dtype=torch.float32)[None] - width / 2


def strokes(draws: Draws, height: int, width: int, count: int = 4, thick: float = 1.6) -> Tensor:
    """Scratches and hairs: `count` slightly wavy lines of finite length, some of them broken."""
    y, x = _coordinates(height, width, draws.device)
    radius = math.hypot(height, width) / 2
    alpha = torch.zeros(len(draws), 1, height, width, device=draws.device)
    for _ in range(count):
        # film scratches run along the film: half of the lines are nearly vertical
        angle = torch.where(draws.chance(0.5), draws.uniform(-0.08, 0.08), draws.uniform(0, math.pi))
        along = y * torch.cos(angle) + x * torch.sin(angle)
        across = x * torch.cos(angle) - y * torch.sin(angle)
        wave = draws.uniform(0, 5) * torch.sin(along / draws.uniform(15, 80) + draws.uniform(0, 6.3))
        distance = (across - draws.uniform(-0.7, 0.7) * radius - wave).abs()
        center, half = draws.uniform(-0.6, 0.6) * radius, draws.uniform(0.08, 1.0) * radius
        ends = torch.sigmoid((half - (along - center).abs()) / 2)
        line = (draws.uniform(0.4, thick) + 0.5 - distance).clamp(0, 1) * ends
        breaks = torch.sigmoid(4 * (along / 9 + draws.uniform(0, 99)).sin() + draws.uniform(-1, 6))
        alpha = torch.maximum(alpha, line * breaks * draws.uniform(0.5, 1.0))
    return alpha


def dust(draws: Draws, height: int, width: int) -> Tensor:
    """Specks of one to a few pixels."""
    share = 10 ** draws.uniform(-4.2, -2.9)
    points = (draws.field(1, height, width) < share).float()
    size = draws.uniform(0.6, 1.8)
    blurred = points.clone()
    for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (-1, 1)):
        near = (size - math.hypot(dy, dx) * 0.7).clamp(0, 1)
        blurred = torch.maximum(blurred, torch.roll(points, (dy, dx), (-2, -1)) * near)
    return blurred


def cracks(draws: Draws, height: int, width: int) -> Tensor:
    """A net of thin cracks in part of the picture: the zero crossings of one smooth field, masked by another."""
    field = smooth_field(draws, 9, height, width) + 0.25 * smooth_field(draws, 30, height, width)
    slope = torch.hypot(*(F.pad(g, p) for g, p in _gradients(field)))
    line = (draws.uniform(0.5, 1.3) + 0.5 - field.abs() / slope.clamp_min(1e-3)).clamp(0, 1)
    inside = torch.sigmoid(12 * (smooth_field(draws, 3, height, width) - draws.uniform(0.3, 1.2)))
    return line * inside


def _gradients(field: Tensor) -> tuple[tuple[Tensor, tuple[int, ...]], tuple[Tensor, tuple[int, ...]]]:
    return ((field.diff(dim=-1), (0, 1, 0, 0)), (field.diff(dim=-2), (0, 0, 0, 1)))


def folds(draws: Draws, height: int, width: int) -> Tensor:
    """A crease from edge to edge with unevenly lost emulsion."""
    y, x = _coordinates(height, width, draws.device)
    angle = torch.where(draws.chance(0.5), draws.uniform(-0.06, 0.06), draws.uniform(1.5, 1.64))
    across = x * torch.cos(angle) - y * torch.sin(angle) - draws.uniform(-0.35, 0.35) * min(height, width)
    rough = smooth_field(draws, 40, height, width)
    distance = (across + 0.8 * rough).abs()
    return (draws.uniform(0.3, 2.6) * (0.7 + 0.5 * rough).clamp(0, 2) + 0.5 - distance).clamp(0, 1)


def flakes(draws: Draws, height: int, width: int) -> Tensor:
    """Emulsion flaked off along a bend: where a fine noise field is high and a coarse one near zero."""
    fine = smooth_field(draws, 55, height, width) + 0.5 * smooth_field(draws, 18, height, width)
    near = 1 - smooth_field(draws, 2, height, width).abs() / draws.uniform(0.03, 0.25)
    return torch.sigmoid(8 * (fine + 2 * near.clamp(-2, 0.5) - draws.uniform(1.0, 2.2)))


def curls(draws: Draws, height: int, width: int, count: int = 3) -> Tensor:
    """Curled hairs and lint: `count` thin circular arcs."""
    y, x = _coordinates(height, width, draws.device)
    size = math.hypot(height, width) / 2
    alpha = torch.zeros(len(draws), 1, height, width, device=draws.device)
    for _ in range(count):
        dy, dx = y - draws.uniform(-0.7, 0.7) * size, x - draws.uniform(-0.7, 0.7) * size
        distance = (torch.hypot(dy, dx) - draws.uniform(8, 0.6 * size)).abs()
        turn, share = draws.uniform(0, 2 * math.pi), draws.uniform(-0.9, 0.9)
        arc = torch.sigmoid(8 * (torch.cos(torch.atan2(dy, dx) - turn) - share))
        alpha = torch.maximum(alpha, (draws.uniform(0.2, 1.8) + 0.5 - distance).clamp(0, 1) * arc)
    return alpha


def stain(draws: Draws, height: int, width: int) -> Tensor:
    """A blot or water stain with a hard or soft edge, often with a rim stronger than its interior."""
    field = smooth_field(draws, 3, height, width) + 0.25 * smooth_field(draws, 14, height, width)
    over = field - draws.uniform(1.0, 2.2)
    body = torch.sigmoid(10 ** draws.uniform(0.5, 1.7) * over) * draws.uniform(0.15, 1.0)
    rim = torch.exp(-((over * draws.uniform(6, 25)) ** 2)) * draws.uniform(0.0, 0.8) * draws.chance(0.5)
    return torch.maximum(body, rim)


def foxing(draws: Draws, height: int, width: int) -> Tensor:
    """Many soft spots about a dozen pixels across."""
    grid = (max(2, height // 4), max(2, width // 4))
    points = (draws.field(1, *grid) < 10 ** draws.uniform(-3.3, -1.9)).float()
    spots = F.avg_pool2d(F.avg_pool2d(points, 3, 1, 1), 3, 1, 1) * 9 * draws.uniform(0.4, 1.0)
    return F.interpolate(spots, (height, width), mode="bicubic", align_corners=False).clamp(0, 1)


def specks(draws: Draws, height: int, width: int) -> Tensor:
    """Round specks of up to eleven pixels, all of the same size in one photo."""
    axis = torch.arange(-6.0, 7.0, device=draws.device)
    disc = (draws.uniform(0.6, 5.5)[:, 0] + 0.5 - torch.hypot(axis[:, None], axis[None])).clamp(0, 1)
    points = (draws.field(1, height, width) < 10 ** draws.uniform(-4.7, -3.3)).float()
    return convolve(points, disc).clamp_max(1)


def missing(draws: Draws, height: int, width: int, low: float, high: float) -> Tensor:
    """Missing pieces (torn corners and edges, blots, a wide fold) over a share of the area drawn from [low, high]."""
    y, x = _coordinates(height, width, draws.device)
    u, v = x / width * 2, y / height * 2
    rough = smooth_field(draws, 5, height, width) + 0.3 * smooth_field(draws, 18, height, width)
    turn = draws.uniform(0, 2 * math.pi)
    corner = 2.2 * (u * torch.cos(turn) + v * torch.sin(turn)) + 0.25 * rough
    band = 1.2 - 6 * (u * torch.cos(turn) + v * torch.sin(turn) - draws.uniform(-0.5, 0.5)).abs() + 0.15 * rough
    kind = draws.uniform()
    field = torch.where(kind < 0.4, rough, torch.where(kind < 0.75, corner, band))
    share = draws.uniform(low, high).flatten()
    area = height * width
    ranks = [max(1, area - int(part * area)) for part in share.tolist()]
    level = torch.stack([f.kthvalue(rank).values for f, rank in zip(field.flatten(1), ranks, strict=True)])
    level = level[:, None, None, None]
    step = torch.hypot(*(F.pad(g, p) for g, p in _gradients(field))).clamp_min(1e-4)
    return ((field - level) / step + 0.5).clamp(0, 1)


def paper(draws: Draws, height: int, width: int) -> Tensor:
    """The color under lost emulsion, (B, 3, H, W): textured bare paper or, with probability 0.1, a dark tone."""
    bright, warm = draws.uniform(0.7, 1.0), draws.uniform(0.0, 0.12)
    base = torch.cat([bright, bright - warm * 0.5, bright - warm], 1)
    texture = 0.02 * draws.normal(1, height, width) + 0.02 * smooth_field(draws, 12, height, width)
    dark = draws.uniform(0.0, 0.25).expand(-1, 3, -1, -1)
    return (torch.where(draws.chance(0.9), base, dark) + texture).clamp(0, 1)


def lay(pixels: Tensor, mask: Tensor, alpha: Tensor, color: Tensor) -> tuple[Tensor, Tensor]:
    """Blend `color` over the pixels with `alpha`; returns the pixels and the mask united with `alpha`."""
    return torch.lerp(pixels, color, alpha), torch.lerp(mask, torch.ones_like(mask), alpha)
