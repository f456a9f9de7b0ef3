"""A flat patch of which enough is marked is marked as a whole; what may be the picture is not."""

import pytest
import torch

from bringback.ops.flat_marks import complete_marks_
from bringback.ops.views import View


def blotted(tone: float = 0.9, side: int = 40, noise: float = 0.0) -> torch.Tensor:
    """A gray photo (1, 3, 200, 240) with a bright square patch of this side, its left border at column 60."""
    photo = 0.4 + 0.05 * torch.randn(1, 1, 200, 240, generator=torch.Generator().manual_seed(0))
    patch = tone + noise * torch.randn(side, side, generator=torch.Generator().manual_seed(1))
    photo[..., 50 : 50 + side, 60 : 60 + side] = patch
    return photo.expand(-1, 3, -1, -1).clamp(0, 1).contiguous()


def marked(columns: int, side: int = 40) -> torch.Tensor:
    """Log odds (1, 1, 200, 240) of damage in the first columns of that patch."""
    odds = torch.full((1, 1, 200, 240), -6.0)
    odds[..., 50 : 50 + side, 60 : 60 + columns] = 3.0
    return odds


def test_a_blot_that_is_marked_in_part_is_marked_as_a_whole() -> None:
    odds = marked(20)
    complete_marks_(odds, View(blotted()))
    assert (odds[..., 50:90, 60:100] > 1).all()
    assert (odds[..., :46, :] < 0).all() and (odds[..., 104:] < 0).all()


def test_it_is_at_the_photos_own_size() -> None:
    odds = torch.nn.functional.interpolate(marked(20), scale_factor=8)
    complete_marks_(odds, View(torch.nn.functional.interpolate(blotted(), scale_factor=8), 8.0))
    assert (odds[..., 408:712, 488:792] > 1).all() and (odds[..., 840:] < 0).all()


def test_a_torn_corner_and_strips_at_the_border_are_too_and_a_place_elsewhere_is_not() -> None:
    photo, odds = blotted(), torch.full((1, 1, 200, 240), -6.0)
    photo[..., :30, :40], photo[..., 180:, 100:180], photo[..., 120:160, 228:] = 0.9, 0.85, 0.95
    odds[..., :16, :40], odds[..., 180:, 100:150], odds[..., 120:145, 228:] = 3, 3, 3
    complete_marks_(odds, View(photo))
    assert (odds[..., :30, :40] > 1).all() and (odds[..., 180:, 100:180] > 1).all()
    assert (odds[..., 120:160, 228:] > 1).all()
    assert (odds[..., 50:90, 60:100] < 0).all()  # a like patch that is not marked


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (90, 1), (2, 3), (20, 20)])
def test_tiny_photos_that_are_marked_all_over_stay_so(size: tuple[int, int]) -> None:
    odds = torch.full((1, 1, *size), 3.0)
    complete_marks_(odds, View(torch.full((1, 3, *size), 0.9)))
    assert (odds == 3).all()


@pytest.mark.parametrize(
    ("photo", "odds"),
    [
        (blotted(), marked(8)),  # too little of it is marked
        (blotted(side=80), marked(40, 80)),  # as large as a part of the picture
        (blotted(tone=0.45), marked(20)),  # not unlike what is around it
        (blotted(tone=0.75, noise=0.07), marked(20)),  # not flat
        (blotted(), marked(0)),
    ],
)
def test_what_may_be_the_picture_is_not(photo: torch.Tensor, odds: torch.Tensor) -> None:
    before = odds.clone()
    complete_marks_(odds, View(photo))
    assert torch.equal(odds, before)
