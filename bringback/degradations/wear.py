"""Global degradations: blur, noise, low resolution, JPEG, grain, print, paper; (B, 3, H, W) in [0, 1]."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.degradations.jpeg import jpeg
from bringback.degradations.rng import Draws
from bringback.ops.color import luminance


def convolve(pixels: Tensor, kernels: Tensor) -> Tensor:
    """Convolve each sample with its own kernel (B, k, k), k odd."""
    b, c, h, w = pixels.shape
    radius = kernels.shape[-1] // 2
    mode = "reflect" if min(h, w) > radius else "replicate"
    padded = F.pad(pixels, (radius,) * 4, mode=mode).reshape(1, b * c, h + 2 * radius, w + 2 * radius)
    weight = kernels[:, None].expand(b, c, -1, -1).reshape(b * c, 1, *kernels.shape[-2:])
    return F.conv2d(padded, weight.contiguous(), groups=b * c).view(b, c, h, w)


def _around(radius: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Kernel coordinates y and x relative to the center, each (2 radius + 1, 2 radius + 1)."""
    axis = torch.arange(-radius, radius + 1, dtype=torch.float32, device=device)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return y, x


def _field(draws: Draws, kernels: Tensor, height: int, width: int) -> Tensor:
    """Noise of standard deviation 1, correlated by the kernels (B, k, k): (B, 1, H, W)."""
    return convolve(draws.normal(1, height, width), kernels / kernels.square().sum((-1, -2), keepdim=True).sqrt())


def blur(pixels: Tensor, draws: Draws, strength: float = 1.0) -> Tensor:
    """Gaussian (elliptic), defocus (disc) or motion (line) blur, one of them per sample."""
    y, x = _around(6, pixels.device)
    angle = draws.uniform(0, math.pi)[:, 0]
    along = x * torch.cos(angle) + y * torch.sin(angle)
    across = y * torch.cos(angle) - x * torch.sin(angle)
    sigma = draws.uniform(0.4, 0.4 + 1.8 * strength)[:, 0]
    gauss = torch.exp(-((along / sigma) ** 2 + (across / (sigma * draws.uniform(0.6, 1.0)[:, 0])) ** 2) / 2)
    disc = torch.sigmoid((sigma * 1.6 - torch.hypot(x, y)) * 3)
    line = torch.sigmoid((sigma * 2 - along.abs()) * 3) * torch.exp(-(across**2) / 0.5)
    kind = draws.uniform()[:, 0]
    kernels = torch.where(kind < 0.6, gauss, torch.where(kind < 0.85, disc, line))
    return convolve(pixels, kernels / kernels.sum((-1, -2), keepdim=True))


def noise(pixels: Tensor, draws: Draws, strength: float = 1.0) -> Tensor:
    """Gaussian, speckle or salt-and-pepper noise, independent or (Gaussian and speckle) the same on all channels."""
    shape = pixels.shape[1:]
    sigma = draws.uniform(3 / 255, 3 / 255 + 37 / 255 * strength)
    field = draws.normal(*shape)
    field = torch.lerp(field, field[:, :1], draws.chance(0.4).float())
    kind = draws.uniform()
    speckle = (kind >= 0.55).float()
    noisy = torch.addcmul(pixels, field, sigma * (1 - speckle + 1.5 * speckle * pixels))
    amount = draws.uniform(0.0, 0.01 * strength)
    dice = draws.field(*shape)
    peppered = (kind > 0.85).flatten()
    dice, amount = dice[peppered], amount[peppered]
    noisy[peppered] = torch.where(dice < amount, 0.0, torch.where(dice > 1 - amount, 1.0, pixels[peppered]))
    return noisy.clamp(0, 1)


def grain(pixels: Tensor, draws: Draws, strength: float = 1.0) -> Tensor:
    """Film grain: correlated noise, strongest in the mid-tones, the same on all channels."""
    cell = draws.uniform(1.0, 2.2)
    y, x = _around(3, pixels.device)
    field = _field(draws, torch.exp(-(y**2 + x**2) / (2 * (cell[:, 0] * 0.5) ** 2)), *pixels.shape[-2:])
    light = luminance(pixels)
    level = draws.uniform(0.01, 0.01 + 0.07 * strength) * (0.4 + 2.4 * light * (1 - light))
    return (pixels + field * level).clamp(0, 1)


def screen(pixels: Tensor, draws: Draws) -> Tensor:
    """A scanned halftone screen: dots of one pitch and angle, strongest in the mid-tones; the mean tone is kept.

    At 2 to 6 pixels per dot, little but the first harmonics of the screen remains. In some prints each ink has its own
    angle.
    """
    h, w = pixels.shape[-2:]
    y = torch.arange(h, dtype=torch.float32, device=pixels.device)[:, None]
    x = torch.arange(w, dtype=torch.float32, device=pixels.device)[None]
    apart = torch.tensor([0.0, math.pi / 6, math.pi / 3], device=pixels.device).view(1, 3, 1, 1)
    angle = math.pi / 4 + draws.uniform(-0.4, 0.4) + apart * draws.chance(0.3)
    wave = 2 * math.pi / draws.uniform(2.2, 6.0)
    along, across = x * torch.cos(angle) + y * torch.sin(angle), y * torch.cos(angle) - x * torch.sin(angle)
    dots = torch.cos(wave * along + draws.uniform(0, 6.3)) + torch.cos(wave * across + draws.uniform(0, 6.3))
    depth = draws.uniform(0.05, 0.45)
    return (pixels + depth * 2 * pixels * (1 - pixels) * dots).clamp(0, 1)


def relief(pixels: Tensor, draws: Draws) -> Tensor:
    """Paper texture lit from one side: shading by the slope of an uneven surface."""
    cell = draws.uniform(0.7, 2.5)[:, 0]
    y, x = _around(6, pixels.device)
    angle = draws.uniform(0, 2 * math.pi)[:, 0]
    slope = (x * torch.cos(angle) + y * torch.sin(angle)) * torch.exp(-(x**2 + y**2) / (2 * cell**2))
    shade = _field(draws, slope, *pixels.shape[-2:]) * draws.uniform(0.01, 0.11)
    return (pixels * (1 + shade)).clamp(0, 1)


def low_resolution(pixels: Tensor, draws: Draws, strength: float = 1.0) -> Tensor:
    """Downscale by a random factor and upscale again, each sample with nearest or bilinear interpolation."""
    h, w = pixels.shape[-2:]
    factors = draws.uniform(1.0, 1.0 + 1.6 * strength).flatten().tolist()
    modes = draws.uniform().flatten().tolist()
    samples = []
    # sizes differ between samples, so they cannot be batched
    for sample, factor, mode in zip(pixels.split(1), factors, modes, strict=True):
        size = (max(1, round(h / factor)), max(1, round(w / factor)))
        small = F.interpolate(sample, size, mode="bilinear", antialias=True, align_corners=False)
        if mode < 0.2:
            samples.append(F.interpolate(small, (h, w), mode="nearest"))
        else:
            samples.append(F.interpolate(small, (h, w), mode="bilinear", align_corners=False))
    return torch.cat(samples)


def compression(pixels: Tensor, draws: Draws, strength: float = 1.0) -> Tensor:
    """JPEG with a quality between 95 - 65 * strength (at least 5) and 95."""
    return jpeg(pixels, draws.uniform(max(5.0, 95 - 65 * strength), 95))


_OPERATIONS = (blur, noise, low_resolution, compression)


def any_order(pixels: Tensor, draws: Draws, strength: float = 1.0, probability: float = 0.7) -> Tensor:
    """The four operations in random order per sample; the first always, the others with `probability`."""
    pixels = pixels.clone()
    orders = draws.permutations(len(_OPERATIONS))
    taken = (draws.uniform(size=len(_OPERATIONS)) < probability)[:, :, 0, 0].tolist()
    for turn in range(len(_OPERATIONS)):
        for which, operation in enumerate(_OPERATIONS):
            due = [i for i, order in enumerate(orders) if order[turn] == which]
            chosen = [i for i in due if turn == 0 or taken[i][which]]
            if chosen:
                pixels[chosen] = operation(pixels[chosen], draws[chosen], strength)
    return pixels
