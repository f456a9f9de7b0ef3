"""Filters and correlated noise via FFT: the cost does not depend on the kernel or its angle."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.degradations.rng import Draws

Response = Callable[[Tensor, Tensor], Tensor]  # of the vertical and horizontal frequencies, in cycles per pixel
_REACH = 8  # default padding in pixels


def columns(like: Tensor, *values: Sequence[float]) -> Tensor:
    """Per-sample numbers as (count, B, 1, 1, 1) on the device of `like`, to be unpacked."""
    return torch.tensor(values, dtype=torch.float32, device=like.device)[..., None, None, None]


def together(samples: Sequence[Tensor]) -> Tensor:
    """Stack samples into a batch; a single one is not copied."""
    return torch.stack(list(samples)) if len(samples) > 1 else samples[0][None]


def filtered(pixels: Tensor, response: Response, reach: int = _REACH) -> Tensor:
    """Convolve pixels (B, C, H, W) with the kernel of a frequency response (B, 1, H', W').

    Edges are mirrored, or replicated in small pictures. `reach` is the padding in pixels; wider kernels wrap around.
    """
    h, w = pixels.shape[-2:]
    height, width = _fast(h + 2 * reach), _fast(w + 2 * reach)
    pads = (reach, width - w - reach, reach, height - h - reach)
    mode = "reflect" if min(h - pads[3], w - pads[1]) > 0 else "replicate"
    spectrum = torch.fft.rfft2(F.pad(pixels, pads, mode=mode))
    spectrum *= response(*_frequencies(height, width, pixels.device))
    return _back(spectrum, height, width)[..., reach : reach + h, reach : reach + w]


def correlated(draws: Draws, channels: int, height: int, width: int, sigmas: Sequence[float]) -> Tensor:
    """Noise (B, channels, H, W) of deviation 1: white noise blurred by Gaussians of `sigmas` pixels, one per sample."""
    # mean power of the blurred white noise, along one axis
    powers = [math.erf(math.pi * sigma) / (2 * math.sqrt(math.pi) * sigma) for sigma in sigmas]

    def response(y: Tensor, x: Tensor) -> Tensor:
        decay, gain = columns(y, [2 * (math.pi * sigma) ** 2 for sigma in sigmas], [1 / power for power in powers])
        return torch.exp(-decay * y.square()) * (gain * torch.exp(-decay * x.square()))

    return shaped(draws, channels, height, width, response)


def shaped(draws: Draws, channels: int, height: int, width: int, response: Response) -> Tensor:
    """Noise (B, channels, H, W) with amplitude spectrum `response`; 1 everywhere gives white noise of deviation 1."""
    tall, wide = _fast(height), _fast(width)
    spectrum = torch.view_as_complex(draws.normal(channels, tall, wide // 2 + 1, 2))
    spectrum.mul_(response(*_frequencies(tall, wide, spectrum.device)) * math.sqrt(tall * wide / 2))
    return _back(spectrum, tall, wide)[..., :height, :width]


def _back(spectrum: Tensor, height: int, width: int) -> Tensor:
    # one sample at a time: with several threads, rounding in a batched FFT depends on the batch size
    return together([torch.fft.irfft2(sample, (height, width)) for sample in spectrum])


@lru_cache(maxsize=256)
def _frequencies(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.fft.fftfreq(height, device=device)[:, None], torch.fft.rfftfreq(width, device=device)[None]


@lru_cache(maxsize=4096)
def _fast(size: int) -> int:
    """The next even size without prime factors above 5, for fast FFTs."""
    size += size % 2
    while True:
        rest = size
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return size
        size += 2
