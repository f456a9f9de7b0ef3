"""Printing and paper textures: halftone dots, silk, linen, rough paper; pixels (B, C, H, W)."""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from bringback.degradations.rng import Draws
from bringback.degradations.second_order.spectra import columns, correlated, shaped

_KNOTS = 256


def halftone(
    pixels: Tensor,
    pitches: Sequence[float],
    angles: Sequence[float],
    starts: Sequence[float],
    spreads: Sequence[float],
    hardness: Sequence[float],
    strengths: Sequence[float],
) -> Tensor:
    """Halftone screen: dot size encodes the tone. Mean tone, black and white are kept.

    Args: pitches: pixels per dot; angles: of the first ink, in radians; starts: of the first dot, in pixels down and
    across; spreads: angle between the inks; hardness: slope of the dot edges, from about 1 (a wave) to 8 (black or
    white); strengths: blend between photo (0) and screen (1).
    """
    y, x = _grid(pixels, starts)
    inks = torch.arange(pixels.shape[1], dtype=torch.float32, device=pixels.device)[:, None, None]
    angle, spread, wave = columns(pixels, angles, spreads, [2 * math.pi / pitch for pitch in pitches])
    hard, strength = columns(pixels, hardness, strengths)
    turn = angle + spread * inks
    cos, sin = torch.cos(turn) * wave, torch.sin(turn) * wave
    dots = torch.cos(x * cos + y * sin).add_(torch.cos(y * cos - x * sin))
    # rank within the screen: equally frequent thresholds keep the mean tone
    table = _thresholds(pixels.device)
    thresholds = table[((dots + 2) * (_KNOTS / 4)).long().clamp_(0, _KNOTS - 1)]
    ink = ((pixels - thresholds) * hard + 0.5).clamp_(0, 1)
    room = (torch.minimum(pixels, 1 - pixels) * (2 * hard)).clamp_max_(1)
    return torch.lerp(pixels, ink, room * strength)


def silk(
    pixels: Tensor,
    draws: Draws,
    pitches: Sequence[float],
    angles: Sequence[float],
    starts: Sequence[float],
    lamps: Sequence[float],
    levels: Sequence[float],
) -> Tensor:
    """Silk-finish paper: a slightly irregular honeycomb of pits, lit from one side."""
    y, x = _grid(pixels, starts)
    level, wave = columns(pixels, levels, [2 * math.pi / pitch for pitch in pitches])
    h, w = pixels.shape[-2:]
    uneven = correlated(draws, 2, h, w, pitches)
    shade = torch.zeros_like(uneven[:, :1])
    for turn in (0.0, math.pi / 3, 2 * math.pi / 3):
        cos, sin, lit = columns(
            pixels,
            [math.cos(a + turn) for a in angles],
            [math.sin(a + turn) for a in angles],
            [math.cos(lamp + turn) for lamp in lamps],
        )
        shade += lit * torch.sin((x * cos + y * sin) * wave + 0.5 * uneven[:, :1])
    return _lit(pixels, shade * (1 + 0.3 * uneven[:, 1:]), level)


def linen(
    pixels: Tensor,
    draws: Draws,
    pitches: Sequence[float],
    angles: Sequence[float],
    starts: Sequence[float],
    levels: Sequence[float],
) -> Tensor:
    """Linen paper or canvas: crossed threads of irregular thickness."""
    y, x = _grid(pixels, starts)
    level, wave = columns(pixels, levels, [2 * math.pi / pitch for pitch in pitches])
    cos, sin = columns(pixels, [math.cos(a) for a in angles], [math.sin(a) for a in angles])
    h, w = pixels.shape[-2:]
    uneven = correlated(draws, 2, h, w, [2 * pitch for pitch in pitches])
    warp = torch.sin((x * cos + y * sin) * wave + uneven[:, :1]) * (1 + 0.5 * uneven[:, 1:])
    weft = torch.sin((y * cos - x * sin) * wave + uneven[:, 1:]) * (1 + 0.5 * uneven[:, :1])
    return _lit(pixels, warp + weft, level)


def rough(
    pixels: Tensor, draws: Draws, sigmas: Sequence[float], angles: Sequence[float], levels: Sequence[float]
) -> Tensor:
    """Rough paper lit from one side: the slopes of a random surface with bumps of `sigmas` pixels."""
    h, w = pixels.shape[-2:]
    (level,) = columns(pixels, levels)
    spread = [4 * (math.pi * sigma) ** 2 for sigma in sigmas]
    gains = [math.sqrt(2 / math.pi) * s for s in spread]  # normalize the slopes to standard deviation 1
    cos, sin, decay = columns(
        pixels,
        [math.cos(a) * gain for a, gain in zip(angles, gains, strict=True)],
        [math.sin(a) * gain for a, gain in zip(angles, gains, strict=True)],
        [s / 2 for s in spread],
    )

    def response(y: Tensor, x: Tensor) -> Tensor:
        return (x * cos + y * sin) * torch.exp(-decay * (y.square() + x.square()))

    return _lit(pixels, shaped(draws, 1, h, w, response), level)


def _lit(pixels: Tensor, shade: Tensor, level: Tensor) -> Tensor:
    return torch.addcmul(pixels, pixels, shade * level).clamp_(0, 1)


def _grid(pixels: Tensor, starts: Sequence[float]) -> tuple[Tensor, Tensor]:
    h, w = pixels.shape[-2:]
    (start,) = columns(pixels, starts)
    y = torch.arange(h, dtype=torch.float32, device=pixels.device)[:, None]
    return y - start, torch.arange(w, dtype=torch.float32, device=pixels.device) - start


@lru_cache(maxsize=8)
def _thresholds(device: torch.device) -> Tensor:
    """CDF of the sum of two cosines, at `_KNOTS` points of [-2, 2]."""
    wave = torch.cos(torch.linspace(0, math.pi, 1025)[:-1])
    sums = (wave[:, None] + wave).flatten().sort().values
    knots = (torch.arange(_KNOTS) + 0.5) * (4 / _KNOTS) - 2
    return (torch.searchsorted(sums, knots) / len(sums)).float().to(device)
