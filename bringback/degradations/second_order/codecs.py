"""File formats: JPEG with either chroma subsampling and any block offset, WebP; pixels (B, C, H, W), C 1 or 3.

`jpeg.jpeg` is part of the evaluation recipes and stays unchanged; this version is faster and more varied.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.degradations.jpeg import TO_YCC, dct_matrix, quantization_tables
from bringback.degradations.second_order.resampling import Kernel, weights
from bringback.degradations.second_order.spectra import together


def jpeg_file(
    pixels: Tensor, subsampled: bool, qualities: Sequence[float], tops: Sequence[int], lefts: Sequence[int]
) -> Tensor:
    """Pixels after JPEG compression, rounded to 8 bits.

    Args: subsampled: 4:2:0 instead of 4:4:4; qualities: on libjpeg's scale; tops, lefts: offset of the picture within
    the first block (8 pixels, or 16 with subsampled chroma), as if it had been cropped after an earlier compression.
    """
    h, w = pixels.shape[-2:]
    color = pixels.shape[1] > 1
    block = 16 if color and subsampled else 8
    tall, wide = h + block - 1 + (1 - h) % block, w + block - 1 + (1 - w) % block
    spread = F.pad(pixels * 255 - 128, (block - 1, wide - w, block - 1, tall - h), mode="replicate")
    tops, lefts = [top % block for top in tops], [left % block for left in lefts]
    starts = [(block - 1 - top, block - 1 - left) for top, left in zip(tops, lefts, strict=True)]
    planes = together([s[:, y : y + tall, x : x + wide] for s, (y, x) in zip(spread, starts, strict=True)])
    tables = torch.stack([_scaled_tables(round(quality), pixels.device) for quality in qualities], 1)
    if color:
        matrix, inverse = _color_matrices(pixels.device)
        planes = (matrix @ planes.flatten(2)).view_as(planes)
        luma, chroma = _quantized(planes[:, :1], tables[0]), planes[:, 1:]
        chroma = _half(chroma, tables[1]) if subsampled else _quantized(chroma, tables[1])
        planes = (inverse @ torch.cat([luma, chroma], 1).flatten(2)).view_as(planes)
    else:
        planes = _quantized(planes, tables[0])
    ends = zip(planes, tops, lefts, strict=True)
    cropped = together([plane[:, top : top + h, left : left + w] for plane, top, left in ends])
    return cropped.round_().add_(128).clamp_(0, 255).div_(255)


def webp_file(pixels: Tensor, qualities: Sequence[float]) -> Tensor:
    """Pixels after WebP compression, which runs on the CPU; the result is on the device of the input."""
    import cv2  # imported here as the rest of training does not need it

    bgr = pixels.detach().flip(1)  # OpenCV's channel order matters for luma and chroma
    pictures = (bgr * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    kept = []
    for picture, quality in zip(pictures, qualities, strict=True):
        flag = cv2.IMREAD_COLOR if picture.shape[-1] > 1 else cv2.IMREAD_GRAYSCALE
        file = cv2.imencode(".webp", np.ascontiguousarray(picture), [cv2.IMWRITE_WEBP_QUALITY, round(quality)])[1]
        kept.append(torch.from_numpy(cv2.imdecode(file, flag)).view(picture.shape))
    return torch.stack(kept).permute(0, 3, 1, 2).flip(1).to(pixels.device).float().div_(255)


def eight_bit(pixels: Tensor) -> Tensor:
    """Round to 8 bits, as a lossless file does."""
    return (pixels * 255).round_().div_(255)


def _quantized(planes: Tensor, tables: Tensor) -> Tensor:
    """Planes (B, C, H, W) centered on 0, sides multiples of 8, quantized with tables (B, 64)."""
    b, c, h, w = planes.shape
    transform = _block_transform(planes.device)
    blocks = planes.reshape(b, c, h // 8, 8, w // 8, 8).transpose(3, 4).reshape(b, -1, 64)
    tables = tables[:, None]
    blocks = (blocks @ transform.T).div_(tables).round_().mul_(tables) @ transform
    return blocks.view(b, c, h // 8, w // 8, 8, 8).transpose(3, 4).reshape(b, c, h, w)


def _half(chroma: Tensor, tables: Tensor) -> Tensor:
    """Quantize at half resolution, then upsample linearly as libjpeg does."""
    rows = chroma[..., ::2, :] + chroma[..., 1::2, :]
    kept = _quantized((rows[..., ::2] + rows[..., 1::2]) / 4, tables)
    large = [weights(Kernel("linear", False), size // 2, size, 0.0, chroma.device) for size in chroma.shape[-2:]]
    return large[0] @ (kept @ large[1].T)


@lru_cache(maxsize=128)
def _scaled_tables(quality: int, device: torch.device) -> Tensor:
    """Luma and chroma quantization tables at this quality, (2, 64)."""
    scale = (5000 / quality if quality < 50 else 200 - 2 * quality) / 100
    base = torch.stack(quantization_tables(device)).flatten(1)
    return torch.clamp(torch.floor(base * scale + 0.5), 1, 255)


@lru_cache(maxsize=8)
def _block_transform(device: torch.device) -> Tensor:
    """The 2D DCT of 8x8 blocks as one matrix, (64 frequencies, 64 pixels)."""
    rows = dct_matrix(device)
    return torch.kron(rows, rows)


@lru_cache(maxsize=8)
def _color_matrices(device: torch.device) -> tuple[Tensor, Tensor]:
    matrix = torch.tensor(TO_YCC, device=device)
    return matrix, torch.linalg.inv(matrix)
