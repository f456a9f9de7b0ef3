"""CIELAB (CIE 1976, white D65) of sRGB pixels and back, and colours of a given luminance."""

import torch
from torch import Tensor

from bringback.ops.strips import strips

_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
_WHITE = (0.95047, 1.0, 1.08883)
_KNEE = 6 / 29  # of the cube root, below which it goes on as a straight line
_STEPS = 4  # of the search for a lightness: the luminance is met to 1e-3, and exactly by the shift that follows


def luminance(pixels: Tensor) -> Tensor:
    """Rec. 601 luma, (B, 3, H, W) -> (B, 1, H, W)."""
    red, green, blue = pixels.split(1, 1)
    return red * 0.299 + green * 0.587 + blue * 0.114


def greyed(pixels: Tensor, grey: Tensor) -> Tensor:
    """Pictures (B, 3, H, W), those of which `grey`, (B,) or (B, 1, 1, 1) bool, is true by their luminance."""
    return torch.where(grey.view(-1, 1, 1, 1), luminance(pixels).expand_as(pixels), pixels)


def make_grey_(pixels: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) with their luminance in all three channels, written into `pixels` itself."""
    for rows in strips(pixels):
        part = pixels[..., rows, :]
        part.copy_(luminance(part).expand_as(part))
    return pixels


def rgb_to_lab(pixels: Tensor) -> Tensor:
    """(B, 3, H, W) sRGB in [0, 1] -> L* in 0..100, a* and b* (the colours of sRGB lie within -87..99, -108..95)."""
    linear = torch.where(pixels > 0.04045, ((pixels.clamp_min(0) + 0.055) / 1.055) ** 2.4, pixels / 12.92)
    matrix = pixels.new_tensor(_XYZ) / pixels.new_tensor(_WHITE)[:, None]
    xyz = torch.einsum("ij,bjhw->bihw", matrix, linear)
    root = torch.where(xyz > _KNEE**3, xyz.clamp_min(_KNEE**3) ** (1 / 3), xyz / (3 * _KNEE**2) + 4 / 29)
    x, y, z = root.split(1, 1)
    return torch.cat([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """The way back, (B, 3, H, W); what sRGB cannot show comes out below 0 or above 1."""
    light, a, b = lab.split(1, 1)
    y = (light + 16) / 116
    root = torch.cat([y + a / 500, y, y - b / 200], 1)
    xyz = torch.where(root > _KNEE, root**3, 3 * _KNEE**2 * (root - 4 / 29))
    matrix = torch.linalg.inv(lab.new_tensor(_XYZ) / lab.new_tensor(_WHITE)[:, None])
    linear = torch.einsum("ij,bjhw->bihw", matrix, xyz)
    return torch.where(linear > 0.0031308, 1.055 * linear.clamp_min(0.0031308) ** (1 / 2.4) - 0.055, 12.92 * linear)


def chroma(light: Tensor, ab: Tensor) -> Tensor:
    """What a* and b* (B, 2, H, W) add to the grey of a luminance (B, 1, H, W): (B, 3, H, W), of luminance 0.

    The lightness is searched at which the colour has this luminance; in CIELAB alone blue would come out too dark and
    yellow too light.
    """
    grey = light.clamp(0, 1)
    level = rgb_to_lab(grey.expand(-1, 3, -1, -1))[:, :1]
    for _ in range(_STEPS):
        off = grey - luminance(lab_to_rgb(torch.cat([level, ab], 1)).clamp(0, 1))
        level = (level + 100 * off).clamp(0, 100)
    colour = lab_to_rgb(torch.cat([level, ab], 1)).clamp(0, 1)
    return colour - luminance(colour)


def tinged(light: Tensor, chroma: Tensor) -> Tensor:
    """RGB in [0, 1] of exactly this luminance (B, 1, H, W) in [0, 1]: `chroma` is added as far as there is room.

    `chroma`, (B, 3, H, W), has luminance 0; what would leave the range is made paler, not clipped, so the luminance
    stays.
    """
    room = torch.where(chroma > 0, 1 - light, light) / chroma.abs().clamp_min(1e-6)
    return (light + chroma * room.amin(1, keepdim=True).clamp(0, 1)).clamp(0, 1)  # a rounding beyond
