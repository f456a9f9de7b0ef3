"""Too little light: underexposure, what a sensor adds to it, dead and hot pixels. All (B, 3, H, W) in [0, 1] -> same.

`strength` scales each, one number or (B, 1, 1, 1); 0 changes nothing.
"""

import math

import torch
from torch import Tensor

from bringback.degradations.rng import Draws
from bringback.degradations.tone import uneven_light
from bringback.ops.color import luminance

GAMMA = 2.2  # of pixels over linear light
DARKEST, DARK = 1 / 14, 1 / 3  # of the light is left at strength 1
LAMPS = 0.3  # the share of photos whose lamps and windows stay; a quarter, less those that have too much white for it


def underexposed(pixels: Tensor, draws: Draws, strength: Tensor | float = 1.0) -> Tensor:
    """Darker by one factor in linear light, at times unevenly or with a bent gamma; some keep what is brightest."""
    exposure = strength * draws.uniform(math.log(DARKEST), math.log(DARK))
    bend = torch.exp(strength * draws.uniform(-0.1, 0.3) * draws.chance(0.35))
    kept = lamps(luminance(pixels), draws) * draws.chance(LAMPS)
    uneven = torch.lerp(pixels, uneven_light(pixels, draws), strength * draws.chance(0.4) * (1 - kept))
    dark = uneven.clamp(0, 1) ** (GAMMA * torch.lerp(bend, torch.ones_like(bend), kept))
    return (dark * torch.exp(exposure * (1 - kept))) ** (1 / GAMMA)


def lamps(light: Tensor, draws: Draws) -> Tensor:
    """How far each pixel of the luminance (B, 1, H, W) belongs to the brightest of its photo, (B, 1, H, W) in [0, 1].

    None from a drawn level down, all of the brightest half percent, and smooth between: a tone curve without a step.
    """
    area = light[0].numel()
    order = light.flatten(1).sort(1).values
    shares = draws.uniform(0.88, 0.96)
    start = order.gather(1, (shares.flatten(1) * (area - 1)).long()).view(-1, 1, 1, 1)
    full = order[:, round(0.995 * (area - 1))].view(-1, 1, 1, 1)
    part = ((light - start) / (full - start).clamp_min(0.03)).clamp(0, 1)
    return part * part * (3 - 2 * part)


def sensor_noise(pixels: Tensor, draws: Draws, strength: Tensor | float = 1.0) -> Tensor:
    """Shot noise, which grows with the square root of the light, and read noise, in linear light on each channel."""
    shot, read = strength * draws.uniform(0.008, 0.035), strength * draws.uniform(0.0003, 0.003)
    light = pixels**GAMMA
    sigma = (shot.square() * light + read.square()).sqrt()
    return torch.addcmul(light, sigma, draws.normal(*pixels.shape[1:])).clamp(0, 1) ** (1 / GAMMA)


def salt_and_pepper(pixels: Tensor, draws: Draws, strength: Tensor | float = 1.0) -> Tensor:
    """0.3 to 4 % of the pixels white or black, half of each: on all channels at once, or on each by itself."""
    share = strength * draws.uniform(0.003, 0.04)
    dice = draws.field(*pixels.shape[1:])
    dice = torch.where(draws.chance(0.5), dice[:, :1], dice)
    return torch.where(dice < share / 2, 0.0, torch.where(dice >= 1 - share / 2, 1.0, pixels))


def eight_bit(pixels: Tensor) -> Tensor:
    """What a file keeps: of dark tones only a few levels."""
    return (pixels.clamp(0, 1) * 255).round() / 255
