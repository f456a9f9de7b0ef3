"""Fading, color casts and uneven light. All (B, 3, H, W) in [0, 1] -> same."""

from functools import lru_cache

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
