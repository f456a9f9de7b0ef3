"""Noise of every color, correlation length and dependence on light; pixels (B, C, H, W), one number a sample else."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from bringback.degradations.rng import Draws
from bringback.degradations.second_order.spectra import columns, correlated

_STRIP = 32  # pixels: of a field that is much wider than noise is correlated, one column is a line of that noise


def noise(
    pixels: Tensor,
    draws: Draws,
    channels: int,
    profile: str,
    levels: Sequence[float],
    chroma: Sequence[float],
    sigmas: Sequence[float] | None = None,
) -> Tensor:
    """Add noise of deviation `levels` where its `profile` is 1.

    Args: channels: 1, alike on all, or as many as the pixels have; profile: how it depends on light: "flat", "shot" (as
    the square root), "speckle" (in proportion) or "grain" (strongest in the mid-tones); chroma: the share of gray that
    is taken from noise of several channels; sigmas: of the Gaussians that correlate it, None for white noise.
    """
    h, w = pixels.shape[-2:]
    field = draws.normal(channels, h, w) if sigmas is None else correlated(draws, channels, h, w, sigmas)
    level, color = columns(pixels, levels, chroma)
    if channels > 1:
        field -= (field[:, :1] + field[:, 1:2] + field[:, 2:]) * (color / 3)
    if profile == "shot":
        level = pixels.sqrt().mul_(level)
    elif profile == "speckle":
        level = pixels * level
    elif profile == "grain":
        level = (pixels * (1 - pixels)).mul_(3.4).add_(0.15).mul_(level)
    return torch.addcmul(pixels, field, level).clamp_(0, 1)


def impulses(pixels: Tensor, draws: Draws, shares: Sequence[float]) -> Tensor:
    """Salt and pepper on a share of the pixels, alike on all channels."""
    (share,) = columns(pixels, shares)
    dice = draws.field(1, *pixels.shape[-2:])
    return pixels.masked_fill(dice < share / 2, 0.0).masked_fill_(dice > 1 - share / 2, 1.0)


def rows(pixels: Tensor, draws: Draws, upright: bool, levels: Sequence[float], sigmas: Sequence[float]) -> Tensor:
    """Lines of a scanner or a video frame that are a little too light or dark; `upright`: columns instead."""
    h, w = pixels.shape[-2:]
    (level,) = columns(pixels, levels)
    lines = correlated(draws, 1, w if upright else h, _STRIP, sigmas)[..., :1] * level
    return (pixels + (lines.mT if upright else lines)).clamp_(0, 1)


def posterized(pixels: Tensor, tones: Sequence[float], dithers: Sequence[float]) -> Tensor:
    """So many tones a channel, rounded (dither 0: bands) or by an ordered 8x8 pattern (dither 1)."""
    steps, dither = columns(pixels, [tone - 1 for tone in tones], dithers)
    h, w = pixels.shape[-2:]
    pattern = _bayer(pixels.device).repeat(h // 8 + 1, w // 8 + 1)[:h, :w]
    return (pixels * steps + pattern * dither).round_().div_(steps).clamp_(0, 1)


@lru_cache(maxsize=8)
def _bayer(device: torch.device) -> Tensor:
    """The ordered dither pattern (8, 8), within half a step."""
    pattern = torch.zeros(1, 1)
    for _ in range(3):
        rows = [torch.cat([4 * pattern, 4 * pattern + 2], 1), torch.cat([4 * pattern + 3, 4 * pattern + 1], 1)]
        pattern = torch.cat(rows)
    return ((pattern + 0.5) / 64 - 0.5).to(device)
