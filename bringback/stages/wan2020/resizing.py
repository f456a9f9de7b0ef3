"""Resizing to sides that the original networks can divide, and back."""

import torch.nn.functional as F
from torch import Tensor

SMALLEST = 16  # side in pixels that its VAE's norms and reflection padding need


def rounded(side: float, multiple: int) -> int:
    """A side in pixels, rounded to the nearest multiple as Python rounds, but at least `SMALLEST`."""
    return max(int(round(side / multiple) * multiple), SMALLEST)


def resize(pixels: Tensor, size: tuple[int, int], mode: str = "bicubic") -> Tensor:
    """(B, C, H, W) in [0, 1] -> (B, C, *size), "bicubic" or "bilinear" with antialiasing (Pillow's filters, but in
    floats); returned unchanged if it has the size."""
    if pixels.shape[-2:] == size:
        return pixels
    return F.interpolate(pixels, size, mode=mode, antialias=True, align_corners=False).clamp(0, 1)
