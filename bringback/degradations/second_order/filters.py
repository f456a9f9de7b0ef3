"""Blurs, sharpening and median filter; pixels (B, C, H, W), otherwise one number per sample."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.degradations.second_order.spectra import columns, filtered


def gaussian_blur(
    pixels: Tensor,
    reach: int,
    sigmas: Sequence[float],
    ratios: Sequence[float],
    angles: Sequence[float],
    tails: Sequence[float],
) -> Tensor:
    """Isotropic (ratio 1) or elliptic Gaussian blur with a halo.

    Args: reach: padding in pixels; sigmas: in pixels; tails: share of the light in a halo four times as wide.
    """
    turns = [math.cos(a) for a in angles], [math.sin(a) for a in angles]
    short, cos, sin, tail = columns(pixels, ratios, *turns, tails)
    (decay,) = columns(pixels, [2 * (math.pi * sigma) ** 2 for sigma in sigmas])

    def response(y: Tensor, x: Tensor) -> Tensor:
        along, across = x * cos + y * sin, (y * cos - x * sin) * short
        exponent = (along.square_() + across.square_()).mul_(-decay)
        return torch.lerp(torch.exp(exponent), torch.exp(16 * exponent), tail)

    return filtered(pixels, response, reach).clamp_(0, 1)


def disc_blur(pixels: Tensor, radii: Sequence[float]) -> Tensor:
    """Defocus: convolution with a disc."""
    (radius,) = columns(pixels, radii)

    def response(y: Tensor, x: Tensor) -> Tensor:
        phase = (torch.hypot(y, x) * (2 * math.pi * radius)).clamp_min_(1e-3)
        return 2 * torch.special.bessel_j1(phase) / phase

    return filtered(pixels, response).clamp_(0, 1)


def box_blur(pixels: Tensor, lengths: Sequence[float], widths: Sequence[float], angles: Sequence[float]) -> Tensor:
    """Convolution with a rotated rectangle: narrow for motion, upright for a coarse sensor or cheap resizing."""
    length, width = columns(pixels, lengths, widths)
    cos, sin = columns(pixels, [math.cos(a) for a in angles], [math.sin(a) for a in angles])

    def response(y: Tensor, x: Tensor) -> Tensor:
        return _sinc((x * cos + y * sin) * length).mul_(_sinc((y * cos - x * sin) * width))

    return filtered(pixels, response).clamp_(0, 1)


def _sinc(x: Tensor) -> Tensor:
    phase = x.abs().mul_(math.pi).clamp_min_(1e-3)  # 10x faster than torch.sinc
    return torch.sin(phase).div_(phase)


def sharpened(pixels: Tensor, radii: Sequence[float], amounts: Sequence[float]) -> Tensor:
    """Unsharp masking, halos included."""
    decay, amount = columns(pixels, [2 * (math.pi * radius) ** 2 for radius in radii], amounts)

    def response(y: Tensor, x: Tensor) -> Tensor:
        return 1 + amount * (1 - torch.exp(-decay * (y.square() + x.square())))

    return filtered(pixels, response).clamp_(0, 1)


def median(pixels: Tensor) -> Tensor:
    """3x3 median of each channel, as in phone noise reduction."""
    padded = F.pad(pixels, (1, 1, 1, 1), mode="replicate")
    h, w = pixels.shape[-2:]
    # sort columns first: the median of nine is the median of the largest low, the middle mid and the smallest high
    top, mid, low = padded[..., :h, :], padded[..., 1 : h + 1, :], padded[..., 2:, :]
    first, last = torch.minimum(top, mid), torch.maximum(top, mid)
    high, rest = torch.maximum(last, low), torch.minimum(last, low)
    mid, low = torch.maximum(first, rest), torch.minimum(first, rest)
    lows, mids, highs = ([part[..., i : i + w] for i in range(3)] for part in (low, mid, high))
    largest = torch.maximum(torch.maximum(lows[0], lows[1]), lows[2])
    smallest = torch.minimum(torch.minimum(highs[0], highs[1]), highs[2])
    return _middle(largest, _middle(*mids), smallest)


def _middle(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return torch.maximum(torch.minimum(a, b), torch.minimum(torch.maximum(a, b), c))
