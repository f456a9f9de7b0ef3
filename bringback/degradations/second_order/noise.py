"""Noise of varied color, correlation and signal dependence; pixels (B, C, H, W), otherwise one number per sample."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from bringback.degradations.rng import Draws
from bringback.degradations.second_order.spectra import columns, correlated

_STRIP = 32  # width in pixels of the 2D noise whose first column serves as 1D noise


def noise(
    pixels: Tensor,
    draws: Draws,
    channels: int,
    profile: str,
    levels: Sequence[float],
    chroma: Sequence[float],
    sigmas: Sequence[float] | None = None,
) -> Tensor:
    """Add noise with standard deviation `levels`, scaled by `profile`.

    Args: channels: 1 (the same on all) or as many as the pixels have; profile: signal dependence: "flat", "shot"
    (square root of the light), "speckle" (proportional) or "grain" (strongest in the mid-tones); chroma: share of the
    gray component removed from multichannel noise; sigmas: of the Gaussians that correlate it, in pixels, None for
    white noise.
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
    """Salt and pepper on a share of the pixels, the same on all channels."""
    (share,) = columns(pixels, shares)
    dice = draws.field(1, *pixels.shape[-2:])
    return pixels.masked_fill(dice < share / 2, 0.0).masked_fill_(dice > 1 - share / 2, 1.0)


def rows(pixels: Tensor, draws: Draws, upright: bool, levels: Sequence[float], sigmas: Sequence[float]) -> Tensor:
    """Scanner or video lines that are slightly too light or dark; columns instead of rows if `upright`."""
    h, w = pixels.shape[-2:]
    (level,) = columns(pixels, levels)
    lines = correlated(draws, 1, w if upright else h, _STRIP, sigmas)[..., :1] * level
    return (pixels + (lines.mT if upright else lines)).clamp_(0, 1)


def posterized(pixels: Tensor, tones: Sequence[float], dithers: Sequence[float]) -> Tensor:
    """Reduce each channel to `tones` levels by rounding (dither 0, bands) or with an ordered 8x8 dither (dither 1)."""
    steps, dither = columns(pixels, [tone - 1 for tone in tones], dithers)
    h, w = pixels.shape[-2:]
    pattern = _bayer(pixels.device).repeat(h // 8 + 1, w // 8 + 1)[:h, :w]
    return (pixels * steps + pattern * dither).round_().div_(steps).clamp_(0, 1)


@lru_cache(maxsize=8)
def _bayer(device: torch.device) -> Tensor:
    """The ordered dither matrix (8, 8), within +-0.5 quantization steps."""
    pattern = torch.zeros(1, 1)
    for _ in range(3):
        rows = [torch.cat([4 * pattern, 4 * pattern + 2], 1), torch.cat([4 * pattern + 3, 4 * pattern + 1], 1)]
        pattern = torch.cat(rows)
    return ((pattern + 0.5) / 64 - 0.5).to(device)
