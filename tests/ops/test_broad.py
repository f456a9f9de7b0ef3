"""Doubtful broad marks: believed where something ends, else lowered."""

import cv2
import numpy as np
import pytest
import torch

from bringback.ops.broad import lower_doubtful_
from bringback.ops.views import View


def blob(scale: int = 1) -> torch.Tensor:
    """1 inside a disk of 30 pixels, fading away over ten: (1, 1, 120, 160) at scale 1."""
    rows, columns = np.mgrid[: 120 * scale, : 160 * scale] / scale
    away = np.hypot(rows - 60, columns - 80) - 30
    return torch.from_numpy((0.5 - away / 20).clip(0, 1)).float()[None, None]


def photo(scale: int = 1) -> torch.Tensor:
    """Soft texture (1, 3, 120, 160), the same everywhere."""
    noise = np.random.default_rng(0).random((120, 160), np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), 2)
    large = cv2.resize(soft, None, fx=scale, fy=scale)
    return torch.from_numpy(large).expand(1, 3, -1, -1).clone()


@pytest.mark.parametrize("scale", [1, 2])
def test_middling_odds_that_fade_away_where_the_picture_goes_on_are_lowered(scale: int) -> None:
    odds, pixels = blob(scale) * 3 - 1.5, photo(scale)
    marked = (odds > 0).float().mean().item()
    share = lower_doubtful_(odds, View(pixels, scale))
    assert odds.max() <= 0 and share == pytest.approx(marked, rel=0.02)


def test_a_scratch_across_stays() -> None:
    odds = blob() * 3 - 1.5
    odds[..., 58:61, 20:140] = 5
    lower_doubtful_(odds, View(photo()))
    assert (odds[..., 58:61, 20:140] > 2).all()
    odds[..., 58:61, :] = -1
    assert odds.max() <= 0


def test_marks_that_are_certain_or_end_at_an_edge_of_the_picture_are_believed() -> None:
    faint, certain = blob() * 3 - 1.5, blob() * 8 - 4
    stained = photo() + 0.4 * (blob() > 0.5)
    for odds, pixels in ((certain, photo()), (faint, stained)):
        before = odds.clone()
        assert lower_doubtful_(odds, View(pixels)) == 0
        assert torch.equal(odds, before)


def test_thin_and_small_marks_and_photos_all_marked_are_left_to_others() -> None:
    thin, small, whole = torch.full((3, 1, 1, 120, 160), -1.5)
    thin[..., 50:58, :], small[..., 50:75, 50:75], whole[:] = 1, 1, 1
    for odds in (thin, small, whole):
        assert lower_doubtful_(odds, View(photo())) == 0
