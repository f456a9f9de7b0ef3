"""Shrinking to the native scale, and carrying changes back."""

import pytest
import torch
import torch.nn.functional as F

from bringback.ops.scale import carry_back, enlarged_rows, shrink, stands_out


def smooth(height, width, seed=0):
    """A random photo with detail of sixteen pixels."""
    made = torch.rand(1, 3, height // 16, width // 16, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(made, (height, width), mode="bicubic", antialias=True).clamp(0, 1)


def noise(pixels, deviation, seed=1):
    return deviation * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("scale", [1.0, 1.7, 4.0, 0.5])
def test_shrink_has_the_rounded_size(scale):
    pixels = smooth(96, 136)
    small = shrink(pixels, scale)
    assert small.shape[-2:] == (round(96 / scale), round(136 / scale))
    assert small is pixels or scale != 1
    assert 0 <= small.min() <= small.max() <= 1
    assert shrink(torch.full((1, 3, 9, 9), 0.25), scale).allclose(torch.tensor(0.25), atol=1e-5)


def test_a_photo_is_never_shrunk_to_nothing():
    assert shrink(torch.rand(1, 3, 2, 40), 8).shape == (1, 3, 1, 5)


@pytest.mark.parametrize("size", [(111, 173), (90, 64)])
@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
def test_rows_are_those_of_the_whole(size, mode):
    small = torch.rand(1, 3, 37, 50)
    whole = enlarged_rows(small, slice(0, size[0]), size, mode)
    torch.testing.assert_close(enlarged_rows(small, slice(30, 60), size, mode), whole[..., 30:60, :])
    expected = F.interpolate(small, size, mode=mode, antialias=True)
    torch.testing.assert_close(whole[..., 8:-8, :], expected[..., 8:-8, :])  # torch weights the border otherwise


def test_a_slice_may_end_beyond_the_last_row():
    assert enlarged_rows(torch.rand(1, 1, 5, 5), slice(8, 30), (10, 10)).shape == (1, 1, 2, 10)


def test_changes_arrive_at_the_photos_own_size():
    pixels = smooth(160, 240)
    before = shrink(pixels, 4)
    after = (before * 0.8 + 0.1).clamp(0, 1)
    torch.testing.assert_close(carry_back(pixels, before, after), pixels * 0.8 + 0.1, atol=0.02, rtol=0)


def test_nothing_changed_leaves_sharp_detail():
    pixels = smooth(160, 240)
    pixels[..., 70:90, 100:102] = 0.0
    pixels[..., 40:42, 30:90] = 1.0
    before = shrink(pixels, 4)
    back = carry_back(pixels, before, before)
    assert (back - pixels).abs().max() < 0.15  # alone, the shrunk photo is off by 0.7 at the lines
    assert (enlarged_rows(before, slice(0, 160), (160, 240)) - pixels).abs().max() > 0.5


def test_noise_finer_than_the_native_scale_goes():
    pixels = smooth(256, 256) * 0.8 + 0.1
    noisy = pixels + noise(pixels, 0.03)
    before = shrink(noisy, 4)
    back = carry_back(noisy, before, shrink(pixels, 4))
    assert (back - pixels).std() < 0.4 * 0.03


def test_strips_do_not_show():
    pixels = smooth(96, 8192) + noise(torch.zeros(1, 3, 96, 8192), 0.02)  # three strips
    pixels = pixels.clamp(0, 1)
    before = shrink(pixels, 3)
    whole = carry_back(pixels, before, before)
    assert whole.shape == pixels.shape
    seam = (whole[..., 32, :] - whole[..., 31, :]).abs().mean() / (whole[..., 30, :] - whole[..., 29, :]).abs().mean()
    assert 0.8 < seam < 1.25


def test_gradients_flow_through_carry_back():
    pixels, after = smooth(64, 64), shrink(smooth(64, 64), 2).requires_grad_(True)
    carry_back(pixels, shrink(pixels, 2), after).sum().backward()
    assert after.grad is not None and after.grad.abs().sum() > 0


def test_a_hair_stands_out_and_noise_does_not():
    plain = smooth(256, 256) * 0.6 + 0.2
    noisy = plain + noise(plain, 0.01)
    hairy = noisy.clone()
    hairy[..., 60:160, 90:91] = 1.0
    assert stands_out(torch.cat([noisy, hairy, plain]), 2.0).tolist() == [False, True, False]


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_a_border_without_noise_says_nothing_about_that_of_the_photo(level):
    pixels = (smooth(256, 256) * 0.6 + 0.2 + noise(torch.zeros(1, 3, 256, 256), 0.03)).clamp(0, 1)
    framed = F.pad(pixels, (64, 64, 64, 64), value=level)
    before = shrink(framed, 4)
    inner = carry_back(framed, before, before)[..., 80:-80, 80:-80]
    plain = carry_back(pixels, shrink(pixels, 4), shrink(pixels, 4))[..., 16:-16, 16:-16]
    assert (inner - plain).abs().mean() < 0.004
