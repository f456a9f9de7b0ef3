"""Ruled lines are no scratches: a court, spokes, a chart. A few long scratches are, and many short ones."""

import cv2
import numpy as np
import pytest
import torch

from bringback.ops.ruled import find_ruled, lower_ruled_
from bringback.ops.views import View

SIDE = 480


def drawn(*lines: tuple[float, float, float, float], width: int = 3) -> np.ndarray:
    """Marks (480, 480) along lines from x, y to x, y in shares of the side."""
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    for line in lines:
        points = [round(SIDE * value) for value in line]
        cv2.line(canvas, points[:2], points[2:], 255, width, cv2.LINE_AA)
    return canvas > 100


def grid(count: int) -> np.ndarray:
    """So many lines each way."""
    at = np.linspace(0.1, 0.9, count)
    return drawn(*((0.1, one, 0.9, one) for one in at), *((one, 0.1, one, 0.9) for one in at))


def spokes(count: int) -> np.ndarray:
    """So many lines from a hub outwards."""
    turns = np.linspace(0, 2 * np.pi, count, endpoint=False)
    ends = [(np.cos(turn), np.sin(turn)) for turn in turns]
    return drawn(*((0.5 + 0.1 * x, 0.5 + 0.1 * y, 0.5 + 0.45 * x, 0.5 + 0.45 * y) for x, y in ends))


@pytest.mark.parametrize("marks", [grid(6), spokes(24)])
def test_many_long_lines_are_ruled(marks: np.ndarray) -> None:
    ruled = find_ruled(marks)
    assert ruled is not None and ruled[marks].mean() > 0.95


def scratches(count: int, longest: float, seed: int = 0) -> np.ndarray:
    """So many lines anywhere, in all directions."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        x, y, turn, length = random.uniform((0, 0, 0, 0.5 * longest), (1, 1, np.pi, longest))
        found.append((x, y, x + length * np.cos(turn), y + length * np.sin(turn)))
    return drawn(*found, width=2)


@pytest.mark.parametrize("marks", [scratches(8, 0.8), scratches(150, 0.06), grid(2), spokes(6)])
def test_a_few_long_scratches_or_many_short_ones_are_not(marks: np.ndarray) -> None:
    assert find_ruled(marks) is None


def test_what_is_not_marked_has_no_lines() -> None:
    assert find_ruled(np.zeros((SIDE, SIDE), bool)) is None


def test_among_much_other_damage_they_stay() -> None:
    marks = grid(6)
    marks[::12, ::12] = marks[1::12, ::12] = True  # dust
    marks[300:460, 20:460] = True
    assert find_ruled(marks) is None


def test_a_stain_beside_ruled_lines_stays_marked() -> None:
    odds = torch.full((1, 1, SIDE, SIDE), -5.0)
    odds[0, 0][torch.from_numpy(grid(6))] = 2.0
    odds[..., 2:30, 2:30] = 3.0
    share = lower_ruled_(odds, View(torch.zeros(1, 3, SIDE, SIDE)))
    assert (odds[..., 2:30, 2:30] == 3).all() and (odds[..., 40:, :] <= 0).all() and share > 0.03
