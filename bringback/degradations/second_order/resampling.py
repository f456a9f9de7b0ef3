"""Resizing with all common kernels, as products with cached weight matrices."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

import torch
from torch import Tensor

from bringback.degradations.second_order.spectra import together
from bringback.ops.scale import cubic

_KEPT = 1 << 18  # elements (1 MB) up to which weights are cached: those of crops are, those of whole photos are not


class Kernel(NamedTuple):
    """A resizing kernel; `antialias` widens it when downscaling."""

    name: str
    antialias: bool


def _linear(d: Tensor) -> Tensor:
    return (1 - d).clamp_min(0)


def _spline(d: Tensor) -> Tensor:
    near, far = (4 - 6 * d**2 + 3 * d**3) / 6, (2 - d) ** 3 / 6
    return torch.where(d < 1, near, torch.where(d < 2, far, 0))


def _lanczos(d: Tensor) -> Tensor:
    return torch.where(d < 3, torch.sinc(d) * torch.sinc(d / 3), 0)


_WEIGHTS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": _linear, "cubic": cubic, "sharp cubic": partial(cubic, sharpness=-0.75), "spline": _spline,
    "lanczos": _lanczos,
}  # fmt: skip
SHRINKING = {
    Kernel("area", True): 4, Kernel("linear", True): 3, Kernel("cubic", True): 3, Kernel("lanczos", True): 2,
    Kernel("linear", False): 1, Kernel("cubic", False): 0.7, Kernel("nearest", False): 0.5,
}  # fmt: skip
ENLARGING = {
    Kernel("nearest", False): 0.8, Kernel("linear", False): 3, Kernel("cubic", False): 3,
    Kernel("sharp cubic", False): 1, Kernel("spline", False): 1, Kernel("lanczos", False): 2,
}  # fmt: skip


def resized(pixels: Tensor, size: tuple[int, int], kernels: Sequence[Kernel], phases: Sequence[float]) -> Tensor:
    """Resize pixels (B, C, H, W) to `size`, each sample with its own kernel; the result is clamped to [0, 1].

    `phases` shift the grid of the smaller size, in its own pixels; upscaling with the phase used for downscaling
    restores the alignment.
    """
    b, c, h, w = pixels.shape
    down, across = (
        together([weights(k, of, to, p, pixels.device) for k, p in zip(kernels, phases, strict=True)])
        for of, to in zip((h, w), size, strict=True)
    )
    wide = (pixels.reshape(b, c * h, w) @ across.mT).view(b, c, h, size[1])
    return (down[:, None] @ wide).clamp_(0, 1)


def weights(kernel: Kernel, before: int, after: int, phase: float, device: torch.device) -> Tensor:
    """The weight matrix (after, before) for resizing along one axis; each row sums to 1."""
    make = _kept_weights if before * after <= _KEPT else _made_weights
    return make(kernel, before, after, phase, device)


def _made_weights(kernel: Kernel, before: int, after: int, phase: float, device: torch.device) -> Tensor:
    scale = before / after
    shift = phase * scale if scale > 1 else -phase
    centers = ((torch.arange(after, dtype=torch.float64) + 0.5) * scale - 0.5 + shift).clamp(0, before - 1)
    places = torch.arange(before, dtype=torch.float64)
    wide = max(scale, 1.0) if kernel.antialias else 1.0
    if kernel.name == "nearest":
        rows = torch.eye(before, dtype=torch.float64)[centers.round().long()]
    else:
        apart = (places - centers[:, None]).abs()
        # area: the overlap with each pixel
        rows = ((wide + 1) / 2 - apart).clamp(0, 1) if kernel.name == "area" else _WEIGHTS[kernel.name](apart / wide)
    return (rows / rows.sum(1, keepdim=True)).float().to(device)


_kept_weights = lru_cache(maxsize=512)(_made_weights)


def shrunk_size(size: tuple[int, int], factor: float) -> tuple[int, int]:
    """The size after shrinking by `factor`, rounded up, at least one pixel."""
    return max(1, math.ceil(size[0] / factor)), max(1, math.ceil(size[1] / factor))
