"""Bars of a lattice are what a photo shows; scratches that cross each other and bars elsewhere are not one."""

import cv2
import numpy as np
import pytest
import torch

from bringback.ops.lattices import _bars, lower_lattices_
from bringback.ops.views import View

SIZE = (320, 360)  # width, height


def drawn(lines: list[np.ndarray], width: int = 2) -> np.ndarray:
    """How far straight lines, each (2, 2) of x and y, cover a photo: (360, 320) in [0, 1]."""
    cover = np.zeros(SIZE[::-1], np.uint8)
    for line in lines:
        start, end = np.rint(line * 16).astype(int).tolist()
        cv2.line(cover, start, end, 255, width, cv2.LINE_AA, 4)
    return cover / np.float32(255)


def tower(bays: int = 7) -> np.ndarray:
    """Two legs with rungs and crossed diagonals between them."""
    at = np.linspace(340, 20, bays + 1)
    half = np.linspace(70, 30, bays + 1)
    left, right = (np.stack([160 + side * half, at], 1) for side in (-1, 1))
    lines = [legs[k : k + 2] for legs in (left, right) for k in range(bays)]
    for k in range(bays):
        lines += [np.stack(pair) for pair in ((left[k], right[k]), (left[k], right[k + 1]), (right[k], left[k + 1]))]
    return drawn(lines)


def scratches() -> np.ndarray:
    """Long straight scratches that cross each other anywhere."""
    rng = np.random.default_rng(1)
    return drawn([rng.uniform((0, 0), SIZE, (2, 2)) for _ in range(14)])


def lowered(
    cover: np.ndarray, tone: float, others: np.ndarray | None = None, scale: int = 1
) -> tuple[np.ndarray, float]:
    """Which marks of what covers a photo in a tone, and of `others` in white, stay: (360, 320) bool; their share."""
    rng = np.random.default_rng(0)
    photo = 0.5 + 0.02 * cv2.GaussianBlur(rng.normal(0, 1, cover.shape).astype(np.float32), (0, 0), 1)
    photo += cover * (tone - photo)
    marks = cover > 0.3
    if others is not None:
        photo += others * (0.95 - photo)
        marks |= others > 0.3
    wide = cv2.dilate(marks.astype(np.float32), np.ones((3, 3)))
    seen, marked = (cv2.resize(one.astype(np.float32), None, fx=scale, fy=scale) for one in (photo, wide))
    odds = torch.from_numpy(marked)[None, None] * 9 - 5
    share = lower_lattices_(odds, View(torch.from_numpy(seen)[None, None].clamp(0, 1).expand(1, 3, -1, -1), scale))
    return odds.numpy()[0, 0, ::scale, ::scale] > 0, share


@pytest.mark.parametrize(("tone", "scale"), [(0.1, 1), (0.9, 1), (0.1, 2)])
def test_the_bars_of_a_tower_are_left(tone: float, scale: int) -> None:
    cover = tower()
    stays, share = lowered(cover, tone, scale=scale)
    assert stays[cover > 0.5].mean() < 0.25 and share > 0.02


@pytest.mark.parametrize("tone", [0.1, 0.9])
def test_scratches_that_cross_stay_marked(tone: float) -> None:
    cover = scratches()
    stays, share = lowered(cover, tone)
    assert share == 0 and stays[cover > 0.5].all()


def test_a_scratch_across_a_tower_stays_marked_beside_its_bars() -> None:
    cover, scratch = tower(), drawn([np.array([[20.0, 60.0], [300.0, 200.0]])], 3)
    stays, _ = lowered(cover, 0.1, scratch)
    beside = (scratch > 0.5) & (cv2.dilate(cover, np.ones((9, 9))) < 0.1)
    assert stays[beside].mean() > 0.95 and stays[(cover > 0.5) & (scratch < 0.1)].mean() < 0.4


def test_a_scratch_with_uneven_rims_is_one_bar() -> None:
    light = np.full((60, 120), 0.3, np.float32)
    light[28:32, 10:110] = 0.9
    rims = [[10, 28, 110, 28], [45, 32, 10, 32], [78, 33, 44, 32], [110, 32, 77, 32]]  # one edge, and three beside it
    assert len(_bars(light, np.array(rims, np.float32)).width) == 1


def test_a_frame_of_few_bars_stays_marked() -> None:
    cover = tower(bays=2)
    assert lowered(cover, 0.9)[1] == 0


def test_without_marks_nothing_changes() -> None:
    odds = torch.full((1, 1, 360, 320), -5.0)
    before, photo = odds.clone(), torch.from_numpy(0.5 + 0.4 * tower())[None, None].expand(1, 3, -1, -1)
    assert lower_lattices_(odds, View(photo)) == 0 and torch.equal(odds, before)
