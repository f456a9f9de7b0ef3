"""Salt and pepper go, in a photo as sound as any; stars, dithering and a picture's own detail stay."""

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from bringback.ops.impulses import noise, without_impulses
from bringback.ops.metrics import psnr


@pytest.fixture(scope="module")
def photo() -> torch.Tensor:
    return _tensor(data.astronaut())


def _tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255


def speckled(photo: torch.Tensor, share: float, dark: float = 0.5, at: int = 0) -> torch.Tensor:
    """A copy with impulses on a share of its pixels, `dark` of them black, the others white."""
    draw = torch.rand(1, 1, *photo.shape[-2:], generator=torch.Generator().manual_seed(at))
    return torch.where(draw < share * dark, 0.05, torch.where(draw < share, 0.95, photo))


@pytest.mark.parametrize("share", [0.004, 0.02])
def test_salt_and_pepper_go(photo: torch.Tensor, share: float) -> None:
    worn = speckled(photo, share)
    clean = without_impulses(worn)
    assert noise(worn).item() == 1
    assert psnr(clean, photo).item() > psnr(worn, photo).item() + 9
    untouched = (worn == photo).all(1, keepdim=True)
    assert ((clean == photo).all(1, keepdim=True) | ~untouched).float().mean() > 0.985  # all but its own fine detail


def test_impulses_of_one_channel_go(photo: torch.Tensor) -> None:
    worn = photo.clone()
    for channel in range(3):
        worn[:, channel : channel + 1] = speckled(photo[:, channel : channel + 1], 0.005, at=channel)
    assert psnr(without_impulses(worn), photo).item() > psnr(worn, photo).item() + 9


def test_a_sound_photo_stays_the_same_tensor(photo: torch.Tensor) -> None:
    assert without_impulses(photo) is photo
    assert without_impulses(photo[..., :1, :1]).shape == (1, 3, 1, 1)


@pytest.mark.parametrize("dark", [0.0, 1.0])
def test_stars_and_snow_are_of_one_kind_and_stay(photo: torch.Tensor, dark: float) -> None:
    assert noise(speckled(photo, 0.01, dark)).item() == 0


@pytest.mark.parametrize("colors", [8, 64])
def test_dithering_stays(colors: int) -> None:
    picture = Image.fromarray(data.astronaut())
    palette = picture.quantize(colors)
    dithered = picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).convert("RGB")
    assert noise(_tensor(np.array(dithered))).item() == 0
    assert noise(_tensor(np.array(picture.convert("1").convert("RGB")))).item() == 0


@pytest.mark.parametrize("strength", [0.025, 0.03])
def test_weak_noise_of_a_flat_sky_is_no_salt_and_pepper(strength: float) -> None:
    grain = torch.randn(1, 3, 512, 512, generator=torch.Generator().manual_seed(1))
    assert noise(((0.4 + strength * grain) * 255).round() / 255).item() == 0


def test_soft_printed_dots_stay(photo: torch.Tensor) -> None:
    y, x = torch.meshgrid(torch.arange(512.0), torch.arange(512.0), indexing="ij")
    screen = sum(torch.cos(2 * torch.pi * (x + way * y) / 4 / 2**0.5) for way in (1, -1)) / 4 + 0.5
    dots = (((photo.mean(1, keepdim=True) - screen) * 4 + 0.5).clamp(0, 1) * 200 + 30) / 255
    assert noise(dots.expand(-1, 3, -1, -1)).item() == 0


def test_grain_is_left_to_the_networks(photo: torch.Tensor) -> None:
    grain = torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
    assert noise((photo + 0.1 * grain).clamp(0, 1)).item() == 0


def test_each_photo_counts_by_itself(photo: torch.Tensor) -> None:
    both = torch.cat([photo, speckled(photo, 0.01)])
    assert noise(both).tolist() == [0, 1]
    clean = without_impulses(both)
    assert torch.equal(clean[:1], photo)
    torch.testing.assert_close(clean[1:], without_impulses(both[1:]))


def test_strips_leave_no_seam_and_pass_a_gradient(photo: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    worn = speckled(photo, 0.01).requires_grad_()
    whole = without_impulses(worn)
    monkeypatch.setattr("bringback.ops.strips.STRIP", 100 * photo.shape[-1])
    assert torch.equal(without_impulses(worn), whole)
    whole.sum().backward()
    assert worn.grad is not None
    assert worn.grad.abs().sum() > 0
