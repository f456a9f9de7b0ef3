"""In very small photos fine detail is told from wear, with the more care the fewer pixels there are."""

import pytest
import torch
import torch.nn.functional as F

from bringback.ops.tiny import TINY, wear


def picture(height: int, width: int, slope: float) -> torch.Tensor:
    """A random gray picture (1, 3, H, W) whose amplitudes fall as the frequency to the power of `slope`."""
    noise = torch.randn(1, 1, height, width, generator=torch.Generator().manual_seed(0))
    down, across = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)
    fall = (down.square() + across.square()).sqrt().clamp_min(1 / max(height, width)) ** slope
    made = torch.fft.irfft2(torch.fft.rfft2(noise) * fall, (height, width))
    return (0.5 + 0.15 * made / made.std()).clamp(0, 1).expand(-1, 3, -1, -1)


def softened(pixels: torch.Tensor, share: float) -> torch.Tensor:
    """A picture with so much less of its finest detail."""
    return torch.lerp(pixels, F.avg_pool2d(pixels, 3, 1, 1, count_include_pad=False), share)


def asked(before: torch.Tensor, made: torch.Tensor, stays: float = 0.0, filled: torch.Tensor | None = None) -> float:
    plane = before[:, :1]
    holes = torch.zeros_like(plane) if filled is None else filled
    return wear(before, made, holes, torch.full_like(plane, stays)).item()


def test_detail_as_fine_as_a_pixel_stays_and_blur_does_not() -> None:
    sharp, blurred = picture(80, 100, -0.9), picture(80, 100, -2.5)
    assert asked(sharp, softened(sharp, 0.3)) < 0.3
    assert asked(blurred, softened(blurred, -0.5)) > 0.9


def test_what_stays_for_the_most_part_stays() -> None:
    photo = picture(80, 100, -1.6)
    shares = [asked(photo, softened(photo, 0.5), stays) for stays in (0.0, 0.3, 0.9)]
    assert shares[0] > shares[1] > shares[2] and shares[2] < 0.1


def test_wear_has_to_be_the_surer_the_fewer_pixels_there_are() -> None:
    shares = []
    for side in (32, 64, 128, 160, TINY):
        photo = picture(side, side, -1.3)
        shares.append(asked(photo, softened(photo, 0.5)))
    assert shares == sorted(shares) and shares[0] < 0.2 and shares[-1] == 1


def test_what_was_filled_is_not_looked_at() -> None:
    photo = picture(64, 96, -1.3)
    filled = torch.zeros_like(photo[:, :1])
    filled[..., 32:] = 1
    other = photo.clone()
    other[..., 32:] = 0.3  # an edge in a cell beside it tells nothing
    shares = [asked(one, softened(one, 0.4), 0.1, filled) for one in (photo, other)]
    assert shares[0] == pytest.approx(shares[1], abs=0.05)


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (5, 90)])
def test_any_size(shape: tuple[int, int]) -> None:
    photo = torch.rand(2, 3, *shape)
    share = wear(photo, photo, torch.zeros_like(photo[:, :1]), torch.zeros_like(photo[:, :1]))
    assert share.shape == (2, 1, 1, 1) and share.isfinite().all()
