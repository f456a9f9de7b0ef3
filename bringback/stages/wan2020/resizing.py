"""The original's sizes, rounded so that its networks divide them, and the way back."""

import torch.nn.functional as F
from torch import Tensor

SMALLEST = 16  # pixels a side that its VAE's norms and mirrored borders need


def rounded(side: float, multiple: int) -> int:
    """The multiple nearest to a side, as Python rounds, in pixels, but never less than `SMALLEST`."""
    return max(int(round(side / multiple) * multiple), SMALLEST)


def resize(pixels: Tensor, size: tuple[int, int], mode: str = "bicubic") -> Tensor:
    """(B, C, H, W) in [0, 1] -> (B, C, *size), "bicubic" or "bilinear" with as much blur as shrinking needs (Pillow's
    filters, but in floats); itself if it has the size."""
    if pixels.shape[-2:] == size:
        return pixels
    return F.interpolate(pixels, size, mode=mode, antialias=True, align_corners=False).clamp(0, 1)
