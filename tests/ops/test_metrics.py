"""Metrics against other people's, and against counting by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor

from bringback.ops.color import luminance
from bringback.ops.metrics import PSNR_CAP, auc, auc_of_counts, psnr, reliability_of_counts, ssim


def pictures(height: int = 48, width: int = 61, batch: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    coarse = torch.rand(batch, 3, 6, 6, generator=generator)
    a = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")
    return a, (a + 0.1 * torch.randn(a.shape, generator=generator)).clamp(0, 1)


def test_psnr_is_over_eight_bit_rgb() -> None:
    a = torch.full((2, 3, 4, 4), 100 / 255)
    b = a + torch.tensor([10.0, 0.4])[:, None, None, None] / 255
    assert torch.allclose(psnr(a, b), torch.tensor([20 * np.log10(255 / 10), PSNR_CAP], dtype=torch.float32))


def test_psnr_equals_skimage() -> None:
    measure = pytest.importorskip("skimage.metrics").peak_signal_noise_ratio
    a, b = ((x * 255).round() / 255 for x in pictures())
    expected = [measure(x.numpy(), y.numpy(), data_range=1) for x, y in zip(a, b, strict=True)]
    assert np.allclose(psnr(a, b).numpy(), expected, atol=1e-3)


def test_ssim_equals_skimage() -> None:
    measure = pytest.importorskip("skimage.metrics").structural_similarity
    a, b = pictures()
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1}
    gray = [(x[0].numpy(), y[0].numpy()) for x, y in zip(luminance(a), luminance(b), strict=True)]
    assert np.allclose(ssim(a, b).numpy(), [measure(x, y, **options) for x, y in gray], atol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (8, 8)])
def test_ssim_of_tiny_pictures(size: tuple[int, int]) -> None:
    a, b = pictures(*size)
    assert torch.allclose(ssim(a, a), torch.ones(2))
    assert ssim(a, b).isfinite().all()


def test_auc_counts_pairs_with_ties_as_half() -> None:
    generator = torch.Generator().manual_seed(3)
    scores = torch.randint(0, 6, (60,), generator=generator) / 5
    labels = torch.rand(60, generator=generator) < 0.4
    pairs = scores[labels][:, None] - scores[~labels][None]
    expected = ((pairs > 0).double() + 0.5 * (pairs == 0)).mean().item()
    assert auc(scores, labels) == pytest.approx(expected, abs=1e-12)
    assert auc(scores.view(6, 10), labels.view(6, 10)) == auc(scores, labels)
    counts = [torch.histc(scores[x], bins=6, min=0, max=1) for x in (labels, ~labels)]
    assert auc_of_counts(*counts) == pytest.approx(expected, abs=1e-12)


def test_reliability_of_calibrated_scores_is_the_middle_of_each_step() -> None:
    share = (torch.arange(4000) + 0.5) / 4000
    hits = reliability_of_counts(1e4 * share, 1e4 * (1 - share))
    assert hits == pytest.approx([0.05 + 0.1 * step for step in range(10)])
    empty = torch.zeros(4000)
    empty[-1] = 1
    hits = reliability_of_counts(empty, 3 * empty)
    assert np.isnan(hits[:9]).all() and hits[9] == 0.25


def test_auc_of_perfect_reversed_and_one_class() -> None:
    scores, labels = torch.tensor([0.1, 0.2, 0.8, 0.9]), torch.tensor([0, 0, 1, 1])
    assert auc(scores, labels) == 1
    assert auc(-scores, labels) == 0
    assert np.isnan(auc(scores, torch.ones(4)))
