"""Wear of prints, scans, phones and photo sharing, made of kornia's augmentations (Riba et al. 2020).

No tones fade and nothing is damaged: those are other stages' business.
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

# How strong it all is. Pinned so that the mean PSNR of the forty validation photos, worn with seed 0, is that of the
# recipe `unstructured`: 26.6 dB. Another value, or other steps, makes numbers that do not compare with those before.
SEVERITY = 0.94
STEPS = (2, 5)  # so many of the program's steps, both included, in random order
SMALLEST = 3  # pixels a side that every step can do with

_DOWN = (("area", False), ("bilinear", False), ("bilinear", True), ("bicubic", True), ("nearest-exact", False))
_UP = ("bilinear", "bicubic", "bicubic", "nearest-exact")


class _Noise(nn.Module):
    """Gaussian noise of a random strength, of each channel by itself or only of the luminance."""

    def __init__(self, std: tuple[float, float], *, grey: bool) -> None:
        super().__init__()
        self.std, self.grey = std, grey

    def forward(self, x: Tensor) -> Tensor:
        noise = K.RandomGaussianNoise(std=_uniform(*self.std), p=1.0)
        if not self.grey:
            return noise(x).clamp(0, 1)
        luma, chroma = rgb_to_ycbcr(x).split([1, 2], 1)
        return ycbcr_to_rgb(torch.cat([noise(luma), chroma], 1)).clamp(0, 1)


class _Smaller(nn.Module):
    """Shrinks by a random factor, does `inside` there, and enlarges again, by ways of interpolation drawn at random."""

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
    """Wear a photo (H, W, 3) uint8, at least 3 pixels a side; its tones and its size stay.

    The same photo and seed give the same bytes with one version of torch and of kornia. torch's global generator is
    left as it was. `severity` scales how strong each step is.
    """
    pixels = torch.from_numpy(photo).permute(2, 0, 1)[None].double() / 255
    # kornia draws from the global generator, and in float64 the order of sums, and so the number of threads, is lost
    # in the rounding to 8 bits. torch.manual_seed would seed the GPUs' generators too.
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        worn = _program(severity)(pixels)
    return (worn[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().numpy()


def _program(s: float) -> Callable[[Tensor], Tensor]:
    """Steps of which some are chosen, in random order, with how often each is drawn; p=1: what is chosen is done."""
    noise, factor = (0.01 * s, 0.07 * s), (1 + 0.2 * s, 1 + 1.8 * s)
    jpeg = K.RandomJPEG((max(90 - 60 * s, 5), 95.0), p=1.0)
    steps: list[tuple[float, nn.Module]] = [
        (1.0, K.RandomGaussianBlur((11, 11), (0.4, 0.4 + 1.2 * s), "replicate", p=1.0)),
        (0.7, K.RandomMotionBlur((3, 7), 180.0, 0.0, "replicate", "bilinear", p=1.0)),  # even: nothing moves
        (0.3, K.RandomBoxBlur((3, 3), "replicate", p=1.0)),
        (0.4, K.RandomMedianBlur((3, 3), p=1.0)),
        (1.0, _Smaller(factor)),
        (0.7, _Smaller(factor, _Noise(noise, grey=True))),
        (0.7, _Smaller(factor, _Noise(noise, grey=False))),
        (0.7, _Smaller(factor, jpeg)),
        (0.7, _Noise(noise, grey=True)),
        (0.7, _Noise(noise, grey=False)),
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
