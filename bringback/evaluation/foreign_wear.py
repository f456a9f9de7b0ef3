"""Wear from printing, scanning, phones and photo sharing, made of kornia's augmentations (Riba et al. 2020).

No fading and no local damage: other stages handle those.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from bringback.runtime.extras import extra

with extra("test"):
    import kornia.augmentation as K
    from kornia.color import rgb_to_ycbcr, ycbcr_to_rgb
    from kornia.geometry import resize

# Calibrated so that the mean PSNR of the forty validation photos, with seed 0, equals that of the recipe
# `unstructured`: 26.6 dB. Changing it or the steps makes results incomparable with earlier ones.
SEVERITY = 0.94
STEPS = (2, 5)  # minimal and maximal number of steps, inclusive
SMALLEST = 3  # minimum side in pixels for every step

_DOWN = (("area", False), ("bilinear", False), ("bilinear", True), ("bicubic", True), ("nearest-exact", False))
_UP = ("bilinear", "bicubic", "bicubic", "nearest-exact")


class _Noise(nn.Module):
    """Gaussian noise of random strength, on each channel independently or on the luminance only."""

    def __init__(self, std: tuple[float, float], *, gray: bool) -> None:
        super().__init__()
        self.std, self.gray = std, gray

    def forward(self, x: Tensor) -> Tensor:
        noise = K.RandomGaussianNoise(std=_uniform(*self.std), p=1.0)
        if not self.gray:
            return noise(x).clamp(0, 1)
        luma, chroma = rgb_to_ycbcr(x).split([1, 2], 1)
        return ycbcr_to_rgb(torch.cat([noise(luma), chroma], 1)).clamp(0, 1)


class _Smaller(nn.Module):
    """Downscale by a random factor, apply `inside`, and upscale again, with random interpolation modes."""

    def __init__(self, factor: tuple[float, float], inside: nn.Module | None = None) -> None:
        super().__init__()
        self.factor, self.inside = factor, inside or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        factor = _uniform(*self.factor)
        size = max(round(height / factor), SMALLEST), max(round(width / factor), SMALLEST)
        way, antialias = _DOWN[_below(len(_DOWN))]
        small = self.inside(resize(x, size, way, antialias=antialias).clamp(0, 1))
        return resize(small, (height, width), _UP[_below(len(_UP))]).clamp(0, 1)


def wear(photo: np.ndarray, seed: int, severity: float = SEVERITY) -> np.ndarray:
    """Wear a photo (H, W, 3) uint8 of at least 3x3 pixels; tones and size are kept.

    Deterministic by photo and seed for given versions of torch and kornia; torch's global generator is left unchanged.
    `severity` scales the strength of each step.
    """
    pixels = torch.from_numpy(photo).permute(2, 0, 1)[None].double() / 255
    # kornia draws from the global generator. With float64, summation order (number of threads) does not survive
    # rounding to 8 bits. torch.manual_seed would also seed the GPU generators.
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        worn = _program(severity)(pixels)
    return (worn[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().numpy()


def _program(s: float) -> Callable[[Tensor], Tensor]:
    """Weighted steps, some of which are applied in random order; p=1, as the selection itself is random."""
    noise, factor = (0.01 * s, 0.07 * s), (1 + 0.2 * s, 1 + 1.8 * s)
    jpeg = K.RandomJPEG((max(90 - 60 * s, 5), 95.0), p=1.0)
    steps: list[tuple[float, nn.Module]] = [
        (1.0, K.RandomGaussianBlur((11, 11), (0.4, 0.4 + 1.2 * s), "replicate", p=1.0)),
        (0.7, K.RandomMotionBlur((3, 7), 180.0, 0.0, "replicate", "bilinear", p=1.0)),  # symmetric kernel: no shift
        (0.3, K.RandomBoxBlur((3, 3), "replicate", p=1.0)),
        (0.4, K.RandomMedianBlur((3, 3), p=1.0)),
        (1.0, _Smaller(factor)),
        (0.7, _Smaller(factor, _Noise(noise, gray=True))),
        (0.7, _Smaller(factor, _Noise(noise, gray=False))),
        (0.7, _Smaller(factor, jpeg)),
        (0.7, _Noise(noise, gray=True)),
        (0.7, _Noise(noise, gray=False)),
        (0.4, K.RandomSaltAndPepperNoise((0.0005 * s, 0.005 * s), (0.2, 0.8), p=1.0)),
        (1.2, jpeg),
        (0.8, K.RandomSharpness((1 + 0.5 * s, 1 + 3 * s), p=1.0)),
        (0.3, K.RandomPosterize((5.0, 7.0), p=1.0)),
    ]
    weights, modules = zip(*steps, strict=True)
    return K.ImageSequential(*modules, random_apply=STEPS, random_apply_weights=weights)


def _uniform(low: float, high: float) -> float:
    return torch.empty(()).uniform_(low, high).item()


def _below(count: int) -> int:
    return int(torch.randint(count, ()).item())
