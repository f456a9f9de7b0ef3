"""NIQE: worse for what is worse, blind to color, and of distributions that are known the right parameters."""

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from skimage import data
from torch import Tensor

from bringback.evaluation.niqe import _fit, gaussian, niqe, patch_features
from bringback.ops.color import luminance

NAMES = ("astronaut", "coffee", "chelsea")


def tensor(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255


def photo(name: str) -> Image.Image:
    return Image.fromarray(getattr(data, name)()[:300, :400])


def noisy(picture: Image.Image) -> Image.Image:
    noise = np.random.default_rng(0).normal(0, 30, (picture.height, picture.width, 3))
    return Image.fromarray((np.array(picture) + noise).clip(0, 255).astype(np.uint8))


def blurred(picture: Image.Image) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(3))


def compressed(picture: Image.Image) -> Image.Image:
    stream = io.BytesIO()
    picture.save(stream, "jpeg", quality=8)
    return Image.open(stream).convert("RGB")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spoil", [noisy, blurred, compressed])
def test_a_spoiled_photo_is_worse(name, spoil):
    clean = photo(name)
    assert niqe(tensor(clean)) + 0.5 < niqe(tensor(spoil(clean)))


def test_more_of_it_is_worse():
    blurs = [photo("astronaut").filter(ImageFilter.GaussianBlur(radius)) for radius in (0, 1, 2, 4)]
    scores = [niqe(tensor(picture)).item() for picture in blurs]
    assert scores == sorted(scores)


def test_twice_the_same_and_each_of_a_batch_alone():
    batch = torch.cat([tensor(photo(name)) for name in NAMES[:2]])
    scores = niqe(batch)
    assert scores.shape == (2,) and scores.dtype == torch.float32 and (scores > 0).all()
    assert torch.equal(scores, niqe(batch.clone()))
    assert torch.equal(scores[1:], niqe(batch[1:]))


def test_only_luminance_counts():
    color = tensor(photo("coffee"))
    gray = luminance(color).expand_as(color)
    assert torch.allclose(niqe(gray), niqe(color), atol=1e-3)
    assert (niqe(color[:, [2, 0, 1]]) - niqe(color)).abs() > 1e-3


@pytest.mark.parametrize("size", [(95, 300), (300, 95), (1, 1)])
def test_less_than_a_patch_is_refused(size):
    height, width = size
    with pytest.raises(ValueError, match=rf"^{width}x{height} pixels: NIQE wants at least 96 a side$"):
        niqe(torch.rand(1, 3, *size))
    assert niqe(tensor(photo("astronaut").crop((0, 0, 96, 96)))).isfinite().all()


def test_flat_patches_are_left_out_and_nothing_else_is_refused():
    picture = tensor(photo("astronaut"))
    picture[..., :192] = 0.3
    features, sharpness = patch_features(picture)
    assert features.shape == (9, 36) and sharpness.shape == (9,)  # of 12; the second column ends at pixel 200
    with pytest.raises(ValueError, match="one level"):
        niqe(torch.full((1, 3, 200, 200), 0.3))


def test_sharpness_is_the_local_deviation():
    random = torch.Generator().manual_seed(0)
    noise = 0.5 + 0.05 * torch.randn(1, 1, 96, 96, generator=random).expand(1, 3, 96, 96)
    assert patch_features(noise)[1].item() == pytest.approx(255 * 0.05, rel=0.1)


@pytest.mark.parametrize(("shape", "left", "right"), [(2.0, 1.0, 1.0), (1.0, 0.5, 0.5), (0.8, 0.3, 0.6)])
def test_the_parameters_of_a_known_distribution_are_found(shape, left, right):
    random = np.random.default_rng(1)
    magnitude = random.gamma(1 / shape, size=(1, 800, 800)) ** (1 / shape)
    rises = random.random(magnitude.shape) < right / (left + right)
    x = torch.from_numpy(np.where(rises, right * magnitude, -left * magnitude))
    found = [value.item() for value in _fit(x)]
    assert found == pytest.approx([shape, x.mean().item(), left, right], rel=0.03, abs=0.005)


def test_gaussian_is_numpys():
    features = torch.rand(9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mean, covariance = gaussian(features)
    assert np.allclose(mean, features.numpy().mean(0)) and np.allclose(covariance, np.cov(features.numpy().T))
    assert not gaussian(features[:1])[1].any()
