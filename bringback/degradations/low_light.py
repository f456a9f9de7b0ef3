"""Low light: underexposure, sensor noise, dead and hot pixels. Pixels are (B, 3, H, W) in [0, 1].

`strength`, a scalar or (B, 1, 1, 1), scales an effect; 0 changes nothing.
"""

import math

import torch
from torch import Tensor

from bringback.degradations.rng import Draws
from bringback.degradations.tone import uneven_light
from bringback.ops.color import luminance

GAMMA = 2.2  # of the pixel encoding
DARKEST, DARK = 1 / 14, 1 / 3  # range of the exposure factor at strength 1
LAMPS = 0.3  # probability of keeping lamps and windows bright


def underexposed(pixels: Tensor, draws: Draws, strength: Tensor | float = 1.0) -> Tensor:
    """Scale linear light by one factor, sometimes unevenly or with a changed gamma; some photos keep their lamps."""
    exposure = strength * draws.uniform(math.log(DARKEST), math.log(DARK))
    bend = torch.exp(strength * draws.uniform(-0.1, 0.3) * draws.chance(0.35))
    kept = lamps(luminance(pixels), draws) * draws.chance(LAMPS)
    uneven = torch.lerp(pixels, uneven_light(pixels, draws), strength * draws.chance(0.4) * (1 - kept))
    dark = uneven.clamp(0, 1) ** (GAMMA * torch.lerp(bend, torch.ones_like(bend), kept))
    return (dark * torch.exp(exposure * (1 - kept))) ** (1 / GAMMA)


def lamps(light: Tensor, draws: Draws) -> Tensor:
    """How much each pixel of a luminance (B, 1, H, W) belongs to the highlights of its photo, (B, 1, H, W) in [0, 1].

    A smoothstep from 0 at a random quantile (0.88 to 0.96) to 1 at the 99.5 % quantile, which keeps the tone curve
    continuous. In photos with little contrast between the two it can stay below 1.
    """
    area = light[0].numel()
    order = light.flatten(1).sort(1).values
    shares = draws.uniform(0.88, 0.96)
    start = order.gather(1, (shares.flatten(1) * (area - 1)).long()).view(-1, 1, 1, 1)
    full = order[:, round(0.995 * (area - 1))].view(-1, 1, 1, 1)
    part = ((light - start) / (full - start).clamp_min(0.03)).clamp(0, 1)
    return part * part * (3 - 2 * part)


def sensor_noise(pixels: Tensor, draws: Draws, strength: Tensor | float = 1.0) -> Tensor:
    """Shot noise, proportional to the square root of the light, and read noise, per channel in linear light."""
    shot, read = strength * draws.uniform(0.008, 0.035), strength * draws.uniform(0.0003, 0.003)
    light = pixels**GAMMA
    sigma = (shot.square() * light + read.square()).sqrt()
    return torch.addcmul(light, sigma, draws.normal(*pixels.shape[1:])).clamp(0, 1) ** (1 / GAMMA)


def salt_and_pepper(pixels: Tensor, draws: Draws, strength: Tensor | float = 1.0) -> Tensor:
    """Set 0.3 to 4 % of the values to white or black, half each: on all channels together or on each independently."""
    share = strength * draws.uniform(0.003, 0.04)
    dice = draws.field(*pixels.shape[1:])
    dice = torch.where(draws.chance(0.5), dice[:, :1], dice)
    return torch.where(dice < share / 2, 0.0, torch.where(dice >= 1 - share / 2, 1.0, pixels))


def eight_bit(pixels: Tensor) -> Tensor:
    """Round to 8 bits, which leaves few levels in dark tones."""
    return (pixels.clamp(0, 1) * 255).round() / 255
