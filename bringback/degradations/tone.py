"""Fading, color casts and uneven light. All (B, 3, H, W) in [0, 1] -> same, but the last two, which take one array."""

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.degradations.rng import Draws
from bringback.ops.color import luminance

_MANY = 400  # knots along one side


def smooth_field(draws: Draws, cells: int, height: int, width: int) -> Tensor:
    """A smooth random field (B, 1, H, W), standard normal at its knots, `cells` knot intervals along the short side."""
    scale = cells / min(height, width)
    knots = draws.normal(1, max(2, round(height * scale)) + 1, max(2, round(width * scale)) + 1)
    if max(knots.shape[-2:]) > _MANY:  # a long strip: the weights would be larger than the field
        return F.interpolate(knots, (height, width), mode="bicubic", align_corners=True)
    down, across = (_bicubic(n, size, draws.device) for n, size in zip(knots.shape[-2:], (height, width), strict=True))
    return down.T @ (knots @ across)


@lru_cache(maxsize=64)
def _bicubic(knots: int, size: int, device: torch.device) -> Tensor:
    """Weights (knots, size) of bicubic interpolation along one axis: two products are 10x faster than a resize."""
    rows = torch.eye(knots, device=device)[None, :, None]
    return F.interpolate(rows, (1, size), mode="bicubic", align_corners=True)[0, :, 0]


def fade(pixels: Tensor, draws: Draws, strength: Tensor | float = 1.0) -> Tensor:
    """Lifted blacks, dulled whites and a gamma, slightly different on each channel (a cast)."""
    shared = draws.uniform(0.3, 1.0) * strength
    black = shared * (draws.uniform(0.0, 0.28) + draws.uniform(-0.05, 0.05, 3)).clamp_min(0)
    white = 1 - shared * (draws.uniform(0.0, 0.28) + draws.uniform(-0.06, 0.06, 3)).clamp_min(0)
    gamma = torch.exp(shared * (draws.uniform(-0.45, 0.45) + draws.uniform(-0.12, 0.12, 3)))
    return black + (white - black) * pixels.clamp_min(1e-4) ** gamma


def yellowing(pixels: Tensor, draws: Draws, strength: float = 1.0) -> Tensor:
    """Yellowed paper and varnish: less blue and some less green, with warmer shadows."""
    amount = draws.uniform(0.1, 0.6) * strength
    loss = torch.tensor([0.03, 0.12, 0.42], device=pixels.device).view(1, 3, 1, 1)
    glow = torch.tensor([0.08, 0.05, 0.0], device=pixels.device).view(1, 3, 1, 1)
    return (pixels * (1 - amount * loss) + amount * glow * (1 - pixels)).clamp(0, 1)


def sepia(gray: Tensor, draws: Draws) -> Tensor:
    """Tint a gray picture with one warm hue, keeping its luminance."""
    tint = torch.cat([draws.uniform(0.02, 0.1), draws.uniform(-0.03, 0.0), draws.uniform(-0.15, -0.04)], 1)
    light = luminance(gray)
    colored = gray + tint * 4 * light * (1 - light)
    return (colored + light - luminance(colored)).clamp(0, 1)


def uneven_light(pixels: Tensor, draws: Draws, strength: float = 1.0) -> Tensor:
    """A vignette and a slow brightness drift across the print."""
    h, w = pixels.shape[-2:]
    y = torch.linspace(-1, 1, h, device=pixels.device)[:, None]
    x = torch.linspace(-1, 1, w, device=pixels.device)[None]
    corner = (x**2 + y**2) / 2
    vignette = 1 - draws.uniform(0.0, 0.45) * strength * corner
    drift = 1 + 0.1 * strength * draws.uniform() * smooth_field(draws, 2, h, w)
    return (pixels * vignette * drift).clamp(0, 1)


def dyes_faded(photo: np.ndarray, random: np.random.Generator, strength: float) -> np.ndarray:
    """A color print (3, H, W) whose dyes lost density, each its own share; then stain, and a veil of stray light."""
    density = -np.log10(np.clip(photo, 0.004, 1))
    density *= 1 - strength * random.uniform(0, 0.55) * np.minimum(random.uniform(0.4, 1.3, 3), 1)[:, None, None]
    density += strength * random.uniform(0, 0.18) * random.uniform(0.3, 1.2, 3)[:, None, None]
    veil = strength * random.uniform(0, 0.12)
    return (10**-density * (1 - veil) + veil * random.uniform(0.7, 1)).clip(0, 1).astype(np.float32)


def bent(photo: np.ndarray, random: np.random.Generator, strength: float) -> np.ndarray:
    """A photo (3, H, W) after any rising curve between raised blacks and lowered whites, a little other per channel."""
    places = np.linspace(0, 1, 6)
    shared = np.cumsum(np.r_[0, random.uniform(0.5, 1.5, 5)])
    shared /= shared[-1]
    low, high = strength * random.uniform(0, 0.3), 1 - strength * random.uniform(0, 0.3)
    made = np.empty_like(photo)
    for channel, plane in enumerate(photo):
        own = np.maximum.accumulate((shared + strength * random.normal(0, 0.03, 6)).clip(0, 1))
        black, white = np.clip([low, high] + strength * random.normal(0, 0.03, 2), 0, 1)
        made[channel] = black + (white - black) * np.interp(plane, places, places + strength * (own - places))
    return made
