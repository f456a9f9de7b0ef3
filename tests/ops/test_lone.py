"""Broad marks that are hardly sure go where a photo shows no sure damage; blots that are sure, and thin marks, stay."""

import pytest
import torch

from bringback.ops.lone import lower_lone_
from bringback.ops.views import View

VIEW = View(torch.zeros(1, 3, 120, 160))


def patch(peak: float = 4.5, share: float = 0.2) -> torch.Tensor:
    """Log odds with a mark of 40 x 40 pixels of 1.0, of which so large a share has the peak."""
    odds = torch.full((1, 1, 120, 160), -5.0)
    odds[..., 40:80, 30:70] = 1.0
    odds[..., 40 : 40 + round(40 * share), 30:70] = peak
    return odds


def test_a_broad_mark_that_is_hardly_sure_goes_where_nothing_is() -> None:
    odds = patch()
    odds[..., 10:12, 100:150] = 2.0  # a thin mark, as unsure
    before = odds.clone()
    assert lower_lone_(odds, VIEW, 0.0) == pytest.approx(1600 / (120 * 160))
    assert (odds[..., 40:80, 30:70] <= 0).all() and torch.equal(odds[..., :30, :], before[..., :30, :])


def test_it_stays_beside_sure_damage() -> None:
    for marks, sure in ((1, 7.0), (3, 4.5)):  # one surer than any mark of sound photos, or with it four sure ones
        odds = patch()
        for number in range(marks):
            odds[..., 100 + 4 * number, 90:150] = sure
        before = odds.clone()
        assert lower_lone_(odds, VIEW, 0.0) == 0 and torch.equal(odds, before)


def test_three_fairly_sure_marks_are_too_few() -> None:
    odds = patch()
    odds[..., 100:104, 90:150] = odds[..., 110:114, 90:150] = 4.5
    assert lower_lone_(odds, VIEW, 0.0) == pytest.approx(1600 / (120 * 160))


def test_at_the_edge_of_a_photo_a_mark_is_no_broader_than_it_is_seen() -> None:
    odds = torch.full((1, 1, 120, 160), -5.0)
    odds[..., :8, 30:120] = 1.0
    before = odds.clone()
    assert lower_lone_(odds, VIEW, 0.0) == 0 and torch.equal(odds, before)


def test_a_lone_blot_that_is_mostly_certain_stays() -> None:
    odds = patch(share=0.7)
    before = odds.clone()
    assert lower_lone_(odds, VIEW, 0.0) == 0 and torch.equal(odds, before)


def test_odds_count_as_they_were_before_they_were_lowered() -> None:
    odds = patch(peak=5.0)
    before = odds.clone()
    assert lower_lone_(odds, VIEW, 2.0) == 0 and torch.equal(odds, before)


def test_without_marks_nothing_changes() -> None:
    odds = torch.full((1, 1, 120, 160), -5.0)
    before = odds.clone()
    assert lower_lone_(odds, VIEW, 0.0) == 0 and torch.equal(odds, before)


def test_a_torn_corner_stays() -> None:
    for rows, columns, stays in ((slice(0, 30), slice(130, 160), True), (slice(0, 30), slice(100, 130), False)):
        odds = torch.full((1, 1, 120, 160), -5.0)
        odds[..., rows, columns] = 1.0
        assert (lower_lone_(odds, VIEW, 0.0) == 0) == stays


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (40, 1)])
def test_a_photo_of_a_single_row_or_column_has_no_broad_mark(size: tuple[int, int]) -> None:
    odds = torch.ones(1, 1, *size)
    assert lower_lone_(odds, View(torch.zeros(1, 3, *size)), 0.0) == 0 and (odds == 1).all()
