"""Conversion between sRGB and CIELAB (CIE 1976, D65), and colors of a given luminance."""

import torch
from torch import Tensor

from bringback.ops.strips import strips

_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
_WHITE = (0.95047, 1.0, 1.08883)
_KNEE = 6 / 29  # CIELAB's transfer function is linear where its value is below this
_STEPS = 4  # iterations of the lightness search: luminance is within 1e-3, and the shift that follows makes it exact


def luminance(pixels: Tensor) -> Tensor:
    """Rec. 601 luma, (B, 3, H, W) -> (B, 1, H, W)."""
    red, green, blue = pixels.split(1, 1)
    return red * 0.299 + green * 0.587 + blue * 0.114


def grayed(pixels: Tensor, gray: Tensor) -> Tensor:
    """Convert the images of a batch (B, 3, H, W) to gray where `gray`, bool (B,) or (B, 1, 1, 1), is true."""
    return torch.where(gray.view(-1, 1, 1, 1), luminance(pixels).expand_as(pixels), pixels)


def make_gray_(pixels: Tensor) -> Tensor:
    """Set all three channels of images (B, 3, H, W) to their luminance, in place."""
    for rows in strips(pixels):
        part = pixels[..., rows, :]
        part.copy_(luminance(part).expand_as(part))
    return pixels


def rgb_to_lab(pixels: Tensor) -> Tensor:
    """(B, 3, H, W) sRGB in [0, 1] -> L* in 0..100, a* and b* (sRGB colors lie within -87..99 and -108..95)."""
    linear = torch.where(pixels > 0.04045, ((pixels.clamp_min(0) + 0.055) / 1.055) ** 2.4, pixels / 12.92)
    matrix = pixels.new_tensor(_XYZ) / pixels.new_tensor(_WHITE)[:, None]
    xyz = torch.einsum("ij,bjhw->bihw", matrix, linear)
    root = torch.where(xyz > _KNEE**3, xyz.clamp_min(_KNEE**3) ** (1 / 3), xyz / (3 * _KNEE**2) + 4 / 29)
    x, y, z = root.split(1, 1)
    return torch.cat([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """CIELAB (B, 3, H, W) -> sRGB, not clamped: colors outside the sRGB gamut are below 0 or above 1."""
    light, a, b = lab.split(1, 1)
    y = (light + 16) / 116
    root = torch.cat([y + a / 500, y, y - b / 200], 1)
    xyz = torch.where(root > _KNEE, root**3, 3 * _KNEE**2 * (root - 4 / 29))
    matrix = torch.linalg.inv(lab.new_tensor(_XYZ) / lab.new_tensor(_WHITE)[:, None])
    linear = torch.einsum("ij,bjhw->bihw", matrix, xyz)
    return torch.where(linear > 0.0031308, 1.055 * linear.clamp_min(0.0031308) ** (1 / 2.4) - 0.055, 12.92 * linear)


def chroma(light: Tensor, ab: Tensor) -> Tensor:
    """RGB chroma (B, 3, H, W) of luminance 0 that gives a gray of luminance (B, 1, H, W) the color a*, b* (B, 2, H, W).

    Searches the L* at which the color has this luminance. With the L* of the gray, blue would be too dark and yellow
    too light.
    """
    gray = light.clamp(0, 1)
    level = rgb_to_lab(gray.expand(-1, 3, -1, -1))[:, :1]
    for _ in range(_STEPS):
        off = gray - luminance(lab_to_rgb(torch.cat([level, ab], 1)).clamp(0, 1))
        level = (level + 100 * off).clamp(0, 100)
    color = lab_to_rgb(torch.cat([level, ab], 1)).clamp(0, 1)
    return color - luminance(color)


def tinged(light: Tensor, chroma: Tensor) -> Tensor:
    """Add `chroma` (B, 3, H, W), of luminance 0, to luminance (B, 1, H, W) in [0, 1]: RGB in [0, 1].

    Chroma that would leave the range is scaled down, not clipped, so the luminance is preserved.
    """
    room = torch.where(chroma > 0, 1 - light, light) / chroma.abs().clamp_min(1e-6)
    return (light + chroma * room.amin(1, keepdim=True).clamp(0, 1)).clamp(0, 1)  # rounding errors
