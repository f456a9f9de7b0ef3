"""Spots of strong color on a gray or toned photo come back; noise, specks, fringes, dust and stains do not."""

import pytest
import torch
import torch.nn.functional as F

from bringback.degradations.rng import Draws
from bringback.degradations.tone import sepia
from bringback.ops import spots, strips
from bringback.ops.color import luminance
from bringback.ops.monochrome import find_tint
from bringback.ops.spots import ColoredSpots

LIPS, INK, LEMON = (0.75, 0.3, 0.35), (0.2, 0.25, 0.75), (0.9, 0.86, 0.3)


@pytest.fixture
def gray() -> torch.Tensor:
    data = pytest.importorskip("skimage.data")
    picture = torch.from_numpy(data.astronaut().transpose(2, 0, 1).copy()).float()[None, :, :300, :400] / 255
    return luminance(picture).expand_as(picture).clone()


def noisy(picture: torch.Tensor, deviation: float = 0.03) -> torch.Tensor:
    noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(0))
    return (picture + deviation * noise).clamp(0, 1)


def painted(
    picture: torch.Tensor, color: tuple[float, float, float], place: tuple[slice, slice], share: float = 0.8
) -> torch.Tensor:
    picture = picture.clone()
    picture[0, :, *place] += share * (torch.tensor(color).view(3, 1, 1) - picture[0, :, *place])
    return picture


def found(picture: torch.Tensor, mask: torch.Tensor | None = None) -> tuple[ColoredSpots | None, torch.Tensor]:
    """The spots, and the photo with its tint alone, as it is before they are carried back."""
    tint = find_tint(picture, mask)
    assert tint is not None
    return ColoredSpots.find(picture, tint, mask), tint.apply(luminance(picture).expand_as(picture))


def chroma(picture: torch.Tensor, place: tuple[slice, slice]) -> torch.Tensor:
    return (picture - luminance(picture))[0, :, *place].mean((1, 2))


@pytest.mark.parametrize("color", [LIPS, INK, LEMON])
@pytest.mark.parametrize("toned", [False, True])
@pytest.mark.parametrize("seen", [spots._SEEN, 60_000])
def test_a_spot_of_color_comes_back(
    gray: torch.Tensor, color: tuple[float, float, float], toned: bool, seen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spots, "_SEEN", seen)
    monkeypatch.setattr(strips, "STRIP", 1000)
    place = slice(150, 160), slice(180, 200)
    picture = painted(noisy(sepia(gray, Draws([4])) if toned else gray), color, place)
    some, restored = found(picture)
    assert some is not None and (some.weight > 0).float().mean() < 0.01
    before = restored.clone()
    some.carry_back_(restored, picture)
    assert (chroma(restored, place) - chroma(picture, place)).norm() < 0.1 * chroma(picture, place).norm()
    assert (luminance(restored) - luminance(before)).abs().max() < 1e-5
    assert torch.equal(restored[..., :100, :], before[..., :100, :])
    filled = torch.ones_like(picture[:, :1])
    untouched = before.clone()
    some.carry_back_(untouched, picture, filled)
    assert torch.equal(untouched, before)


def test_noise_specks_fringes_and_dust_are_no_spots(gray: torch.Tensor) -> None:
    assert found(noisy(gray, 0.06))[0] is None
    specks = gray.clone()
    specks[..., 5::40, 5::40] = torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1)
    assert found(specks)[0] is None
    fringes = gray * 0.3 + 0.2
    fringes[..., 100:140, 100:140] = 0.9
    fringes[:, 0, :, 1:] = 0.5 * (fringes[:, 0, :, 1:] + fringes[:, 0, :, :-1])  # half a pixel of chromatic aberration
    assert found(fringes)[0] is None
    toned = sepia(gray, Draws([4])) * 0.9
    assert found(painted(toned, (0.9, 0.9, 0.9), (slice(50, 60), slice(50, 70)), 1))[0] is None


def test_stains_are_no_spots(gray: torch.Tensor) -> None:
    place = slice(150, 160), slice(180, 200)
    for foxing in ((0.6, 0.45, 0.2), (0.88, 0.76, 0.5)):  # that nobody has marked
        assert found(painted(gray, foxing, place))[0] is None
    picture, mask = painted(gray, LIPS, place), torch.zeros_like(gray[:, :1])
    assert found(picture, mask)[0] is not None
    mask[..., 152:158, 182:198] = 1  # the rim is not marked
    assert found(picture, mask)[0] is None
    assert found(picture, F.pad(torch.ones(1, 1, 300, 4), (188, 208)))[0] is not None
