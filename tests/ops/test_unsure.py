"""Where damage is rare, a mark needs a sure pixel; among much damage it does not."""

import pytest
import torch

from bringback.ops.masks import CALM
from bringback.ops.unsure import lower_unsure_
from bringback.ops.views import View


def marks(height: int = 60, width: int = 90) -> torch.Tensor:
    """Two marks, both with log odds of 0.6, of which the right one has a pixel with 2."""
    odds = torch.full((1, 1, height, width), -5.0)
    odds[..., 20:24, 10:40] = 0.6
    odds[..., 20:24, 50:80] = 0.6
    odds[..., 21, 60] = 2.0
    return odds


def test_a_mark_without_a_sure_pixel_goes_where_damage_is_rare() -> None:
    odds = marks()
    before = odds.clone()
    share = lower_unsure_(odds, View(torch.zeros(1, 3, 60, 90)), CALM)
    assert (odds[..., :45] <= 0).all() and torch.equal(odds[..., 45:], before[..., 45:])
    assert share == pytest.approx(120 / (60 * 90))


@pytest.mark.parametrize("calmed", [0.0, 0.5])
def test_among_more_damage_it_stays(calmed: float) -> None:
    odds = marks()
    before = odds.clone()
    assert lower_unsure_(odds, View(torch.zeros(1, 3, 60, 90)), calmed) == 0 and torch.equal(odds, before)


def test_one_sure_pixel_is_enough_in_a_large_photo() -> None:
    odds = marks(1500, 1500)
    lower_unsure_(odds, View(torch.zeros(1, 3, 1500, 1500)), CALM)
    assert (odds[..., :45] <= 0).all() and (odds[..., 20:24, 50:80] > 0).all()


def test_without_marks_nothing_changes() -> None:
    odds = torch.full((1, 1, 60, 90), -5.0)
    before = odds.clone()
    assert lower_unsure_(odds, View(torch.zeros(1, 3, 60, 90)), CALM) == 0 and torch.equal(odds, before)
