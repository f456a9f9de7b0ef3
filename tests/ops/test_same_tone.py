"""A mark that is found in part is marked as far as its tone reaches; the picture, and what is sound, is not."""

import torch
from torch import Tensor

from bringback.ops.same_tone import grow_marks_
from bringback.ops.views import View


def wedge(light: float = 0.9) -> tuple[Tensor, Tensor]:
    """A photo (1, 3, 100, 100) with a wedge over rows 20 to 31, and log odds that are sure of its left half only."""
    generator = torch.Generator().manual_seed(0)
    photo = 0.3 + 0.01 * torch.randn(1, 3, 100, 100, generator=generator)
    photo[..., 20:32, 10:80] = light
    odds = torch.full((1, 1, 100, 100), -6.0)
    odds[..., 20:32, 10:50] = 4
    odds[..., 20:32, 50:80] = -1
    return photo, odds


def test_what_goes_on_in_the_tone_of_a_sure_mark_is_marked() -> None:
    photo, odds = wedge()
    before = odds.clone()
    grow_marks_(odds, View(photo))
    assert (odds[..., 21:31, 50:56] > 2.5).all()
    rest = torch.ones_like(odds, dtype=torch.bool)
    rest[..., 19:33, 49:81] = False
    assert torch.equal(odds[rest], before[rest]), "the picture around it stays sound"


def test_what_has_another_tone_stays() -> None:
    photo, odds = wedge()
    photo[..., 50:80] = photo[..., :1].mean()
    before = odds.clone()
    grow_marks_(odds, View(photo))
    assert torch.equal(odds, before)


def test_what_is_surely_sound_stays_even_in_the_same_tone() -> None:
    photo, odds = wedge()
    odds[..., 20:32, 50:80] = -4
    before = odds.clone()
    grow_marks_(odds, View(photo))
    assert torch.equal(odds, before)


def test_a_mark_in_the_tone_of_the_picture_does_not_grow() -> None:
    photo, odds = wedge(light=0.35)
    before = odds.clone()
    grow_marks_(odds, View(photo))
    assert torch.equal(odds, before)
