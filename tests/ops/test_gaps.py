"""Narrow gaps in broad marks are closed; what the picture shows between narrow ones, or in clouds of spots, is not."""

import torch
from torch import Tensor

from bringback.ops.gaps import close_gaps_
from bringback.ops.views import View


def _corner(gap: int, size: int = 200) -> Tensor:
    """Log odds (1, 1, H, W) of a torn corner of 80 pixels with an unmarked sliver."""
    odds = torch.full((1, 1, size, size), -6.0)
    odds[..., :80, :80] = 4
    odds[..., :80, 60 : 60 + gap] = -6
    return odds


def test_a_sliver_of_a_torn_corner_becomes_certain() -> None:
    odds = _corner(6)
    close_gaps_(odds, View(odds))
    assert (odds[..., :60, :80] > 2.5).all()
    assert (odds[..., 90:, :] == -6).all(), "nothing grows outward"
    assert (odds[..., :70, 85:] == -6).all()


def test_a_wide_gap_stays() -> None:
    odds = _corner(16)
    before = odds.clone()
    close_gaps_(odds, View(odds))
    assert torch.equal(odds[..., :70, 62:74], before[..., :70, 62:74])


def test_gaps_between_narrow_marks_stay() -> None:
    odds = torch.full((1, 1, 200, 200), -6.0)
    odds[..., 40:60, :] = odds[..., 64:84, :] = 4  # scratches of 20 pixels: no disk of 33 fits in
    before = odds.clone()
    close_gaps_(odds, View(odds))
    assert torch.equal(odds, before)


def test_a_cloud_of_spots_stays() -> None:
    odds = torch.full((1, 1, 240, 240), -6.0)
    odds[..., 90:150, 90:150] = 4  # its heart
    for y in range(76, 166, 6):
        for x in range(76, 166, 6):
            if not (84 < y < 150 and 84 < x < 150):
                odds[..., y : y + 3, x : x + 3] = 4
    before = odds.clone()
    close_gaps_(odds, View(odds))
    assert torch.equal(odds, before)


def test_a_scan_of_a_higher_resolution_has_wider_gaps() -> None:
    odds = _corner(6).repeat_interleave(3, 2).repeat_interleave(3, 3)
    untouched = odds.clone()
    close_gaps_(untouched, View(untouched))
    assert (untouched[..., 30:200, 185:193] == -6).all(), "18 pixels are no gap at the scale of 1"
    close_gaps_(odds, View(odds, 3.0))
    assert (odds[..., :180, :240] > 2.5).all()
