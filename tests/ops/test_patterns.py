"""Periodic patterns are told from what pictures show, removed, and not made stronger."""

import io
import math

import pytest
import torch
from PIL import Image
from skimage import data
from torch import Tensor

from bringback.images.photo import Photo
from bringback.ops.patterns import Pattern

CAMERA = torch.from_numpy(data.camera()[128:384, 128:384] / 255).float()[None, None].expand(1, 3, -1, -1)


def waves(height: int, width: int, period: float, degrees: float) -> Tensor:
    """A wave (1, 1, H, W) in [-1, 1] that runs in this direction."""
    angle = math.radians(degrees)
    y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    return torch.cos(2 * math.pi / period * (x * math.cos(angle) + y * math.sin(angle)))[None, None]


def printed(pixels: Tensor, period: float, degrees: float) -> Tensor:
    """The photo in dots, with soft edges."""
    size = pixels.shape[-2], pixels.shape[-1]
    screen = 0.5 + (waves(*size, period, degrees) + waves(*size, period, degrees + 90)) / 4
    return torch.sigmoid((pixels - screen) * 12)


def level(pixels: Tensor, side: int) -> Tensor:
    """The mean over squares with sides of 2 * side + 1 pixels."""
    return torch.nn.functional.avg_pool2d(pixels, 2 * side + 1, 1, side, count_include_pad=False)


@pytest.mark.parametrize(("period", "degrees"), [(3.0, 45), (4.4, 15), (6.0, 70), (8.0, 0), (11.0, 30), (19.0, 20)])
def test_dots_are_found_and_removed_and_the_picture_stays(period: float, degrees: float) -> None:
    dots = printed(CAMERA, period, degrees)
    pattern = Pattern.of(dots)
    assert pattern is not None and pattern.areas.all()
    assert 128 / pattern.slowest * pattern.scale == pytest.approx(period, rel=0.15)
    plain = pattern.removed(dots)
    inner, side = (..., slice(16, -16), slice(16, -16)), round(period)
    before, after = ((one - level(dots, side))[inner].std() for one in (dots, plain))
    assert after < 0.55 * before
    assert (level(plain, side) - level(dots, side))[inner].abs().mean() < 0.03


def jpeg(pixels: Tensor, quality: int) -> Tensor:
    into = io.BytesIO()
    Image.fromarray((pixels[0, 0].numpy() * 255).astype("uint8")).save(into, "JPEG", quality=quality)
    return torch.from_numpy(Photo.decode(into.getvalue(), "a.jpg").pixels).permute(2, 0, 1)[None]


@pytest.mark.parametrize("name", ["camera", "brick", "grass", "gravel", "jpeg", "scratched", "flat"])
def test_what_pictures_show_is_no_pattern(name: str) -> None:
    pixels = CAMERA.clone()
    if name in ("brick", "grass", "gravel"):
        pixels = torch.from_numpy(getattr(data, name)()[:384, :384] / 255).float()[None, None].expand(1, 3, -1, -1)
    elif name == "jpeg":
        pixels = jpeg(pixels, 8)
    elif name == "scratched":
        for column in (20, 90, 170, 230):
            pixels[..., column : column + 2] = 1
    elif name == "flat":
        pixels = torch.full((1, 3, 200, 300), 0.5) + 0.02 * torch.randn(1, 1, 200, 300)
    assert Pattern.of(pixels) is None


def test_a_pattern_is_where_it_is() -> None:
    picture = torch.cat([CAMERA, CAMERA], -1).expand(1, 3, -1, -1).repeat(1, 1, 1, 2)
    picture[..., :512] = printed(picture[..., :512], 5.0, 45)
    pattern = Pattern.of(picture)
    assert pattern is not None
    around = pattern.around(slice(0, 256), (256, 1024))
    assert around[:, :448].all() and not around[:, 768:].any()
    untouched = (pattern.removed(picture) - picture)[..., 800:].abs().max()
    assert untouched < 1e-5


def test_small_photos_have_none() -> None:
    assert Pattern.of(printed(CAMERA, 5.0, 45)[..., :100, :]) is None


def test_a_pattern_is_not_made_stronger_and_the_tone_of_dots_stays() -> None:
    dots = (0.5 + 0.2 * (CAMERA - 0.5)) + 0.1 * waves(256, 256, 9, 30)
    pattern = Pattern.of(dots)
    assert pattern is not None
    stronger = dots + 0.05 * waves(256, 256, 9, 30)
    assert pattern.restrain_(dots, stronger) == 1 and torch.allclose(stronger, dots, atol=1e-6)
    weaker = dots - 0.05 * waves(256, 256, 9, 30) + 0.03  # and lighter
    assert pattern.restrain_(dots, weaker) == 0
    assert (weaker - dots).std() > 0.03 and (weaker - dots).mean().abs() < 0.001
