"""NIQE, a no-reference measure of naturalness.

Mittal, Soundararajan, Bovik, 'Making a "Completely Blind" Image Quality Analyzer', IEEE Signal Processing Letters 20
(2013). The model of pristine pictures is our own (benchmarks/fit_niqe.py), so values are comparable with each other but
not with other implementations.
"""

from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from bringback.ops.color import luminance

MODEL = Path(__file__).with_suffix(".safetensors")
PATCH = 96  # pixels per side, at the first of two scales
TAPS, SIGMA = 7, 7 / 6  # of the Gaussian window for local mean and deviation
SHAPES = (0.2, 10.0, 1e-3)  # first, last and step of the candidate shape parameters


def niqe(pixels: Tensor) -> Tensor:
    """NIQE (B,) of the luminance of RGB pictures (B, 3, H, W) in [0, 1]; 0 is best.

    The distance between two Gaussians over 36 features: one fitted to the patches of the picture, one to sharp patches
    of pristine photos. Uses a centered grid of 96x96 patches; the remaining border is ignored. Computed on the CPU.
    Raises ValueError for a side below 96 and for a uniform picture.
    """
    return torch.stack([_distance(patch_features(picture)[0]) for picture in pixels.split(1)]).float()


def patch_features(picture: Tensor) -> tuple[Tensor, Tensor]:
    """Features (N, 36) and sharpness (N,) of all patches of a picture (1, 3, H, W) in [0, 1], both float64.

    Sharpness is the mean local standard deviation, in 8-bit levels. Patches without structure are left out. Raises
    ValueError for a side below 96.
    """
    height, width = picture.shape[-2:]
    if min(height, width) < PATCH:
        raise ValueError(f"{width}x{height} pixels: NIQE wants at least {PATCH} a side")
    top, left = height % PATCH // 2, width % PATCH // 2
    level = 255 * luminance(picture.detach().cpu().double())
    level = level[..., top : top + height // PATCH * PATCH, left : left + width // PATCH * PATCH]
    normal, deviation = _normalised(level)
    sharpness = _patches(deviation, PATCH).mean((1, 2))
    half = F.interpolate(level, scale_factor=0.5, mode="bicubic", antialias=True)
    coarse, _ = _normalised(half)
    features = torch.cat([_statistics(_patches(normal, PATCH)), _statistics(_patches(coarse, PATCH // 2))], 1)
    structured = features.isfinite().all(1)
    return features[structured], sharpness[structured]


def gaussian(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (F,) and covariance (F, F) of feature vectors (N, F); the covariance of a single vector is zero."""
    mean = features.mean(0)
    centered = features - mean
    return mean, centered.T @ centered / max(len(features) - 1, 1)


@cache
def _pristine() -> tuple[Tensor, Tensor]:
    model = load_file(MODEL)
    return model["mean"].double(), model["covariance"].double()


def _distance(features: Tensor) -> Tensor:
    if not len(features):
        raise ValueError("a picture of one level has no NIQE")
    mean, covariance = gaussian(features)
    expected, spread = _pristine()
    apart = mean - expected
    # the pristine covariance has full rank, hence the average does too, however few the patches
    return (apart @ torch.linalg.solve((covariance + spread) / 2, apart)).sqrt()


def _normalised(level: Tensor) -> tuple[Tensor, Tensor]:
    """Levels (1, 1, H, W) in 0..255, normalized by local mean and deviation; and that deviation."""
    reach = TAPS // 2
    window = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=level.dtype) / SIGMA).square())
    window = (window / window.sum())[None, None, None]

    def blur(x: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(F.pad(x, (reach,) * 4, mode="replicate"), window), window.mT)

    mean = blur(level)
    deviation = (blur(level.square()) - mean.square()).clamp_min(0).sqrt()
    normal = (level - mean) / (deviation + 1)
    # Flat areas contain only rounding errors, whose signs would affect the features.
    return normal.where(normal.abs() > 1e-6, 0), deviation


def _patches(plane: Tensor, side: int) -> Tensor:
    return plane[0, 0].unfold(0, side, side).unfold(1, side, side).reshape(-1, side, side)


def _statistics(patches: Tensor) -> Tensor:
    """18 features (N, 18) of normalized patches (N, S, S): of the values and of products with four neighbors."""
    shape, _, left, right = _fit(patches)
    across = patches[:, :, 1:] * patches[:, :, :-1]
    down = patches[:, 1:] * patches[:, :-1]
    falling = patches[:, 1:, 1:] * patches[:, :-1, :-1]
    rising = patches[:, 1:, :-1] * patches[:, :-1, 1:]
    found = [shape, (left + right) / 2]
    for products in (across, down, falling, rising):
        found += _fit(products)
    return torch.stack(found, 1)


def _fit(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Shape, mean, left and right scale (N,) of an asymmetric generalized Gaussian fitted to each patch of (N, H, W).

    Moment matching: Lasmar, Stitou, Berthoumieu, "Multiscale skewed heavy tailed model for texture analysis" (ICIP
    2009). NaN for an all-zero patch.
    """
    squares = x.square()
    left, right = (
        (squares * side).sum((1, 2)).div(side.sum((1, 2)).clamp_min(1)).sqrt() for side in (x < 0, x > 0)
    )  # fmt: skip
    ratio = x.abs().mean((1, 2)).square() / squares.mean((1, 2))
    ratio = ratio * (left**3 + right**3) * (left + right) / (left.square() + right.square()).square()
    shapes, ratios = _ratios()
    shape = shapes[torch.searchsorted(ratios, ratio).clamp(max=len(shapes) - 1)]
    one, two, three = (torch.lgamma(n / shape) for n in (1, 2, 3))
    scale = ((one - three) / 2).exp()
    mean = (right - left) * scale * (two - one).exp()
    return shape.where(ratio.isfinite(), torch.nan), mean, left * scale, right * scale


@cache
def _ratios() -> tuple[Tensor, Tensor]:
    """Shapes of generalized Gaussians and, for each, squared mean magnitude over variance; both ascending."""
    first, last, step = SHAPES
    shapes = torch.arange(first, last, step, dtype=torch.float64)
    one, two, three = (torch.lgamma(n / shapes) for n in (1, 2, 3))
    return shapes, (2 * two - one - three).exp()
