"""Ruled lines are no scratches: a court, spokes, a chart. A few long ones are, many short ones, and those of film."""

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


def film(count: int, wavering: float = 0.2) -> np.ndarray:
    """So many lines along the whole film, which waver a little."""
    random, down = np.random.default_rng(count), np.arange(0, SIDE + 8, 8)
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    for start in random.uniform(0, SIDE, count):
        across = start + np.cumsum(random.normal(0, wavering, len(down)))
        points = np.rint(np.stack([across, down], 1)).astype(np.int32)
        cv2.polylines(canvas, [points], False, 255, 2, cv2.LINE_AA)
    return canvas > 100


def turned(degrees: float) -> np.ndarray:
    """Those of film at another angle."""
    matrix = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), degrees, 1)
    return cv2.warpAffine(film(20).astype(np.uint8), matrix, (SIDE, SIDE), flags=cv2.INTER_NEAREST) > 0


CREASES = drawn((0, 0.3, 1, 0.32), (0, 0.6, 1, 0.58), (0, 0.8, 1, 0.82))


@pytest.mark.parametrize(
    "marks", [film(10), film(20), film(40), turned(90), turned(30), film(20) | CREASES, film(5) | scratches(20, 0.5)]
)
def test_scratches_along_film_are_not_with_other_damage_or_without(marks: np.ndarray) -> None:
    assert find_ruled(marks) is None


@pytest.mark.parametrize("wavering", [0, 0.2, 0.5])
def test_a_print_folded_often_both_ways_has_few_lines_in_many_pieces(wavering: float) -> None:
    folds = film(4, wavering) | film(3, wavering).T
    folds[::60], folds[:, ::60] = False, False
    assert find_ruled(folds) is None


@pytest.mark.parametrize("shape", [(SIDE, SIDE), (1, 1), (1, 300), (300, 1)])
@pytest.mark.parametrize("marked", [False, True])
def test_what_is_flat_has_no_lines(shape: tuple[int, int], marked: bool) -> None:
    assert find_ruled(np.full(shape, marked)) is None


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
