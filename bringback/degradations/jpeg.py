"""Baseline JPEG as batched tensor operations: color transform, 4:2:0, 8x8 DCT and quantization (ITU-T T.81)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_LUMA = (
    "16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62 "
    "18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"
)
_CHROMA_CORNER = ((17, 18, 24, 47), (18, 21, 26, 66), (24, 26, 56, 99), (47, 66, 99, 99))
TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def quantization_tables(device: torch.device) -> tuple[Tensor, Tensor]:
    """Luma and chroma tables at quality 50, each (8, 8)."""
    luma = torch.tensor([float(v) for v in _LUMA.split()], device=device).view(8, 8)
    chroma = torch.full((8, 8), 99.0, device=device)
    chroma[:4, :4] = torch.tensor(_CHROMA_CORNER, device=device)
    return luma, chroma


def dct_matrix(device: torch.device) -> Tensor:
    """The orthonormal DCT-II matrix, (8 frequencies, 8 positions)."""
    k, n = torch.meshgrid(torch.arange(8.0, device=device), torch.arange(8.0, device=device), indexing="ij")
    matrix = torch.cos(math.pi * (2 * n + 1) * k / 16) / 2
    matrix[0] /= math.sqrt(2)
    return matrix


def _quantise(plane: Tensor, table: Tensor) -> Tensor:
    """Quantize a plane (B, C, H, W) in 0..255, sides multiples of 8, in the DCT domain with tables (B, 8, 8)."""
    b, c, h, w = plane.shape
    dct = dct_matrix(plane.device)
    blocks = (plane - 128).view(b, c, h // 8, 8, w // 8, 8).transpose(3, 4)
    table = table[:, None, None, None]
    coefficients = torch.round(dct @ blocks @ dct.T / table) * table
    return (dct.T @ coefficients @ dct).transpose(3, 4).reshape(b, c, h, w) + 128


def jpeg(pixels: Tensor, quality: Tensor) -> Tensor:
    """Compress and decompress as JPEG.

    Args: pixels (B, 3, H, W) RGB in [0, 1]; quality (B, 1, 1, 1) in 1..100 on libjpeg's scale. Returns the same shape.
    """
    height, width = pixels.shape[-2:]
    padded = F.pad(pixels, (0, -width % 16, 0, -height % 16), mode="replicate")
    matrix = torch.tensor(TO_YCC, device=pixels.device)
    ycc = torch.einsum("kc,bchw->bkhw", matrix, padded) * 255
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)[:, 0] / 100
    luma, chroma = (
        torch.clamp(torch.floor(table * scale + 0.5), 1, 255) for table in quantization_tables(pixels.device)
    )
    y = _quantise(ycc[:, :1], luma)
    color = _quantise(F.avg_pool2d(ycc[:, 1:] + 128, 2), chroma) - 128
    color = F.interpolate(color, scale_factor=2, mode="bilinear", align_corners=False)
    rgb = torch.einsum("ck,bkhw->bchw", torch.linalg.inv(matrix), torch.cat([y, color], 1)) / 255
    return rgb[..., :height, :width].clamp(0, 1)
