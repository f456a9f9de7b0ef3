"""Filters and correlated noise through the Fourier transform: any kernel, turned by any angle, costs the same."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.degradations.rng import Draws

Response = Callable[[Tensor, Tensor], Tensor]  # of the frequencies down and across, in cycles a pixel
_REACH = 8  # pixels that a kernel reaches past the edge, unless it is said


def columns(like: Tensor, *values: Sequence[float]) -> Tensor:
    """Numbers, one a sample, as (count, B, 1, 1, 1) on the device of `like`, to be unpacked."""
    return torch.tensor(values, dtype=torch.float32, device=like.device)[..., None, None, None]


def together(samples: Sequence[Tensor]) -> Tensor:
    """A batch of samples; one alone is not copied."""
    return torch.stack(list(samples)) if len(samples) > 1 else samples[0][None]


def filtered(pixels: Tensor, response: Response, reach: int = _REACH) -> Tensor:
    """Pixels (B, C, H, W) convolved with the kernel of a frequency response (B, 1, H', W'); edges are mirrored.

    `reach` is how many pixels the kernel goes past an edge: what goes farther comes in at the other side.
    """
    h, w = pixels.shape[-2:]
    height, width = _fast(h + 2 * reach), _fast(w + 2 * reach)
    pads = (reach, width - w - reach, reach, height - h - reach)
    mode = "reflect" if min(h - pads[3], w - pads[1]) > 0 else "replicate"
    spectrum = torch.fft.rfft2(F.pad(pixels, pads, mode=mode))
    spectrum *= response(*_frequencies(height, width, pixels.device))
    return _back(spectrum, height, width)[..., reach : reach + h, reach : reach + w]


def correlated(draws: Draws, channels: int, height: int, width: int, sigmas: Sequence[float]) -> Tensor:
    """Noise (B, channels, H, W) of deviation 1: white noise under Gaussians of `sigmas` pixels, one a sample."""
    # the mean power that is left of white noise, along one axis
    powers = [math.erf(math.pi * sigma) / (2 * math.sqrt(math.pi) * sigma) for sigma in sigmas]

    def response(y: Tensor, x: Tensor) -> Tensor:
        decay, gain = columns(y, [2 * (math.pi * sigma) ** 2 for sigma in sigmas], [1 / power for power in powers])
        return torch.exp(-decay * y.square()) * (gain * torch.exp(-decay * x.square()))

    return shaped(draws, channels, height, width, response)


def shaped(draws: Draws, channels: int, height: int, width: int, response: Response) -> Tensor:
    """Noise (B, channels, H, W) whose amplitude at each frequency is the response; white of deviation 1 for 1."""
    tall, wide = _fast(height), _fast(width)
    spectrum = torch.view_as_complex(draws.normal(channels, tall, wide // 2 + 1, 2))
    spectrum.mul_(response(*_frequencies(tall, wide, spectrum.device)) * math.sqrt(tall * wide / 2))
    return _back(spectrum, tall, wide)[..., :height, :width]


def _back(spectrum: Tensor, height: int, width: int) -> Tensor:
    # sample by sample: with several threads, what a transform rounds depends on how many are made together
    return together([torch.fft.irfft2(sample, (height, width)) for sample in spectrum])


@lru_cache(maxsize=256)
def _frequencies(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.fft.fftfreq(height, device=device)[:, None], torch.fft.rfftfreq(width, device=device)[None]


@lru_cache(maxsize=4096)
def _fast(size: int) -> int:
    """The next even size without a prime factor above 5, which a transform is fast at."""
    size += size % 2
    while True:
        rest = size
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return size
        size += 2
