"""Image similarity and binary classification metrics."""

import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.ops.color import luminance, rgb_to_lab
from bringback.ops.strips import strips

PSNR_CAP = 100.0  # dB, for equal images, so that means stay finite
SSIM_TAPS, SSIM_SIGMA = 11, 1.5


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio (B,) in dB of images (B, C, H, W) in [0, 1], both rounded to 8 bits first.

    At most `PSNR_CAP`.
    """
    error = (_eight_bit(a) - _eight_bit(b)).square().mean((1, 2, 3))
    return (20 * torch.log10(torch.tensor(255.0)) - 10 * torch.log10(error)).clamp(max=PSNR_CAP).float()


@torch.no_grad()
def mean_change(after: Tensor, before: Tensor) -> float:
    """Mean absolute difference of two photos (B, C, H, W), computed in strips to save memory."""
    parts = ((after[..., rows, :] - before[..., rows, :]).abs().sum(dtype=torch.float64) for rows in strips(after))
    return sum(map(float, parts)) / after.numel()


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Mean structural similarity (B,) of the luminance of RGB images (B, 3, H, W) in [0, 1].

    Wang et al., "Image quality assessment: from error visibility to structural similarity" (2004), with its Gaussian
    window of 11 taps and sigma 1.5, averaged over the pixels whose window lies inside the image. An image with a side
    below 11 is padded by reflection first (with a side below 6, by replication).
    """
    x, y = luminance(a.double()), luminance(b.double())
    if min(x.shape[-2:]) < SSIM_TAPS:
        x, y = _mirrored(x), _mirrored(y)
    mean_x, mean_y = _blur(x), _blur(y)
    var_x, var_y = _blur(x * x) - mean_x.square(), _blur(y * y) - mean_y.square()
    covariance = _blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    score = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    score = score / ((mean_x.square() + mean_y.square() + c1) * (var_x + var_y + c2))
    return score.mean((1, 2, 3)).float()


def auc(scores: Tensor, labels: Tensor) -> float:
    """Area under the ROC curve: how often a score of class 1 is above one of class 0, ties counting half.

    `scores` and `labels` (true = class 1) have the same shape. NaN if a class is empty.
    """
    levels, index = torch.unique(scores.flatten(), return_inverse=True)
    positive = labels.flatten().bool()
    return auc_of_counts(
        torch.bincount(index[positive], minlength=len(levels)), torch.bincount(index[~positive], minlength=len(levels))
    )


def auc_of_counts(positive: Tensor, negative: Tensor) -> float:
    """`auc` from the histograms (N,) of the two classes over the same bins, lowest score first."""
    positive, negative = positive.double(), negative.double()
    below = negative.cumsum(0) - negative / 2
    pairs = positive.sum() * negative.sum()
    return ((positive * below).sum() / pairs).item()


def reliability_of_counts(positive: Tensor, negative: Tensor) -> list[float]:
    """The share of positives in ten equal steps of the score, lowest first.

    Takes histograms as `auc_of_counts`. A step without pixels has NaN. Calibrated scores are their own share of
    positives (Guo et al., On Calibration of Modern Neural Networks, 2017).
    """
    steps = (torch.arange(len(positive)) * 10 // len(positive)).to(positive.device)
    hits, misses = (torch.zeros(10).double().index_add_(0, steps, counts.double()) for counts in (positive, negative))
    return (hits / (hits + misses)).tolist()


def _eight_bit(x: Tensor) -> Tensor:
    return (x.double().clamp(0, 1) * 255).round()


def _mirrored(x: Tensor) -> Tensor:
    reach = SSIM_TAPS // 2
    height, width = x.shape[-2:]
    return F.pad(x, (reach, reach, reach, reach), mode="replicate" if min(height, width) <= reach else "reflect")


def _blur(x: Tensor) -> Tensor:
    """Gaussian blur without padding: (B, 1, H, W) -> (B, 1, H - 10, W - 10)."""
    reach = SSIM_TAPS // 2
    window = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device) / SSIM_SIGMA).square())
    window = (window / window.sum())[None, None, None]
    return F.conv2d(F.conv2d(x, window), window.mT)


def color_error(a: Tensor, b: Tensor) -> Tensor:
    """Root mean square distance (B,) in the a*, b* plane of CIELAB between RGB images (B, 3, H, W) in [0, 1]."""
    return (rgb_to_lab(a)[:, 1:] - rgb_to_lab(b)[:, 1:]).square().sum(1).mean((1, 2)).sqrt()


def colorfulness(pixels: Tensor) -> Tensor:
    """Colorfulness (B,) of RGB images (B, 3, H, W) in [0, 1]: 0 for gray, 0.4 and above for very colorful.

    Hasler and Süsstrunk, "Measuring colorfulness in natural images" (2003), with white at 1 instead of 255.
    """
    red, green, blue = pixels.unbind(1)
    opponents = torch.stack([red - green, (red + green) / 2 - blue], 1).flatten(2)
    return opponents.std(-1).norm(dim=1) + 0.3 * opponents.mean(-1).norm(dim=1)
