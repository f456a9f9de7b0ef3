"""Grey, sepia and colour are told apart, and a tint can be put back."""

import pytest
import torch

from bringback.aging import age
from bringback.aging.draws import Draws
from bringback.aging.tone import sepia
from bringback.tint import find_tint, luminance


@pytest.fixture
def colour() -> torch.Tensor:
    data = pytest.importorskip("skimage.data")
    return torch.from_numpy(data.astronaut().transpose(2, 0, 1).copy()).float()[None, :, :300, :400] / 255


def test_colour_is_no_tint(colour: torch.Tensor) -> None:
    assert find_tint(colour) is None


@pytest.mark.parametrize("share", [0.01, 0.014, 0.04])
@pytest.mark.parametrize("toned", [False, True])
def test_a_little_colour_is_colour(colour: torch.Tensor, share: float, toned: bool) -> None:
    picture = luminance(colour).expand_as(colour).clone()
    if toned:
        picture = sepia(picture, Draws([4]))
    assert find_tint(picture) is not None
    side = round((share * colour[0, 0].numel()) ** 0.5)
    jacket = torch.tensor([0.8, 0.1, 0.15]).view(3, 1, 1)
    picture[0, :, 101 : 101 + side, 33 : 33 + side] = jacket
    assert find_tint(picture) is None


def test_grey_with_noisy_chroma_is_grey(colour: torch.Tensor) -> None:
    grey = luminance(colour).expand_as(colour) + 0.03 * torch.randn_like(colour)
    tint = find_tint(grey.clamp(0, 1))
    assert tint is not None
    toned = tint.apply(luminance(colour).expand_as(colour))
    assert (toned - luminance(toned)).abs().max() < 0.01


def test_sepia_comes_back_as_it_was(colour: torch.Tensor) -> None:
    toned = sepia(luminance(colour).expand_as(colour), Draws([4]))
    tint = find_tint(toned)
    assert tint is not None
    assert (tint.apply(luminance(toned).expand_as(toned)) - toned).abs().mean() < 0.01


def test_damage_in_colour_does_not_hide_a_tint(colour: torch.Tensor) -> None:
    toned = sepia(luminance(colour).expand_as(colour), Draws([4]))
    mask = torch.zeros_like(toned[:, :1])
    mask[..., 50:120, 40:200] = 1
    blue = torch.where(mask > 0, torch.tensor([0.1, 0.2, 0.9]).view(1, 3, 1, 1), toned)
    assert find_tint(blue) is None and find_tint(blue, mask) is not None


def test_most_aged_photos_are_told_right(colour: torch.Tensor) -> None:
    result = age(colour.expand(12, -1, -1, -1), "mixed", range(12))
    found = [find_tint(aged[None], mask[None]) is not None for aged, mask in zip(result.aged, result.mask, strict=True)]
    assert sum(f == bool(g) for f, g in zip(found, result.grey, strict=True)) >= 10
