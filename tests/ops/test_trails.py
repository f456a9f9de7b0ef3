"""Marks on circles around one point are what a photo shows; all others may be damage."""

import math
import tracemalloc

import cv2
import numpy as np
import pytest
import torch

from bringback.ops.trails import find_trails, lower_trails_
from bringback.ops.views import View

CENTER = (90, 60)
SIZE = (320, 240)  # width, height


def arcs(center: tuple[int, int] = CENTER, turn: int = 14, number: int = 60) -> np.ndarray:
    """Trails (240, 320), 0 or 1, of stars that turn by so many degrees around a center."""
    rng, drawn = np.random.default_rng(0), np.zeros(SIZE[::-1], np.uint8)
    for _ in range(number):
        radius, start = int(rng.uniform(15, 300)), rng.uniform(0, 360)
        cv2.ellipse(drawn, center, (radius, radius), 0, start, start + turn, 1, int(rng.integers(1, 3)))
    return drawn


def lines(angles: np.ndarray) -> np.ndarray:
    """Straight scratches (240, 320), 0 or 1, in these directions in radians, anywhere."""
    rng, drawn = np.random.default_rng(1), np.zeros(SIZE[::-1], np.uint8)
    for angle in angles:
        x, y = rng.uniform((0, 0), SIZE)
        along = 20 * math.cos(angle), 20 * math.sin(angle)
        cv2.line(drawn, (round(x - along[0]), round(y - along[1])), (round(x + along[0]), round(y + along[1])), 1, 1)
    return drawn


def odds_of(marks: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(marks.astype(np.float32))[None, None] * 9 - 5


@pytest.mark.parametrize("center", [CENTER, (160, 120), (250, -20)])
@pytest.mark.parametrize("scale", [1, 2])
def test_trails_of_stars_are_not_damage(center: tuple[int, int], scale: int) -> None:
    marks = arcs(center).repeat(scale, 0).repeat(scale, 1)
    odds = odds_of(marks)
    share = lower_trails_(odds, View(odds, scale))
    assert share == pytest.approx(marks.mean(), abs=0.1 * marks.mean())
    assert (odds > 0).float().mean() < 0.1 * marks.mean()


def test_a_scratch_across_trails_stays() -> None:
    scratch = np.zeros(SIZE[::-1], np.uint8)
    cv2.line(scratch, (CENTER[0] + 40, CENTER[1] + 8), (CENTER[0] + 200, CENTER[1] + 50), 1, 2)  # from the center
    trails = arcs(number=60) * (1 - cv2.dilate(scratch, np.ones((9, 9), np.uint8)))
    odds = odds_of(trails | scratch)
    assert lower_trails_(odds, View(odds)) > 0.8 * trails.mean()
    assert (odds.numpy()[0, 0][scratch > 0] > 0).mean() > 0.9


def test_stains_and_chords_among_trails_stay_and_stars_too_short_for_a_direction_go() -> None:
    rng = np.random.default_rng(3)
    stars, stain, chord = (np.zeros(SIZE[::-1], np.uint8) for _ in range(3))
    for x, y in rng.uniform((0, 0), SIZE, (40, 2)):
        cv2.circle(stars, (round(x), round(y)), 1, 1, -1)
    cv2.circle(stain, (260, 180), 22, 1, -1)
    cv2.line(chord, (180, 20), (180, 130), 1, 2)  # along its circle in the middle only
    trails = (arcs() | stars) * (1 - cv2.dilate(stain | chord, np.ones((9, 9), np.uint8)))
    odds = odds_of(trails | stain | chord)
    lower_trails_(odds, View(odds))
    left = odds.numpy()[0, 0] > 0
    assert left[stain > 0].mean() > 0.9 and left[chord > 0].mean() > 0.9
    assert left[trails > 0].mean() < 0.1


def test_thin_trails_of_a_large_scan_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bringback.ops.trails._SEEN", SIZE[0] * SIZE[1] // 9)
    thin = np.zeros(SIZE[::-1], np.uint8)
    for radius in range(30, 260, 6):
        start = float(np.random.default_rng(radius).uniform(-30, 60))
        cv2.ellipse(thin, CENTER, (radius, radius), 0, start, start + 25, 1, 1)
    odds = odds_of(thin)
    assert lower_trails_(odds, View(odds)) > 0.7 * thin.mean()


def test_most_marks_have_to_lie_on_circles() -> None:
    some = arcs(number=25)
    for center, number in (((-60, 300), 22), ((400, -40), 22)):  # those of two other skies
        some |= arcs(center, number=number)
    odds = odds_of(some)
    assert lower_trails_(odds, View(odds)) == 0


def test_parallel_marks_have_no_center() -> None:
    odds = odds_of(arcs((-4000, 120), turn=1, number=0) | lines(np.full(60, 1.5) + np.linspace(-0.12, 0.12, 60)))
    assert lower_trails_(odds, View(odds)) == 0


@pytest.mark.parametrize("spread", [0.02, 0.3, 1.6])
def test_scratches_of_any_order_stay(spread: float) -> None:
    marks = lines(np.random.default_rng(2).normal(1.5, spread, 60))  # parallel, roughly so, anyhow
    odds = odds_of(marks)
    before = odds.clone()
    assert lower_trails_(odds, View(odds)) == 0 and torch.equal(odds, before)


def test_the_rim_of_one_stain_and_few_marks_stay() -> None:
    ring = np.zeros(SIZE[::-1], np.uint8)
    for start in range(0, 360, 12):
        cv2.ellipse(ring, (160, 120), (90, 90), 0, start, start + 7, 1, 2)
    for marks in (ring, arcs(number=10)):
        odds = odds_of(marks)
        assert lower_trails_(odds, View(odds)) == 0 and (odds > 0).float().mean().item() == pytest.approx(marks.mean())


def test_thousands_of_marks_take_little_memory() -> None:
    cell = np.zeros((24, 24), bool)
    cell[4, 1:11] = cell[13:23, 16] = True
    marks = np.tile(cell, (80, 80))
    tracemalloc.start()
    try:
        find_trails(marks)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 30 * marks.size


@pytest.mark.parametrize(("count", "told"), [(40, True), (60, False)])  # shares of 0.61 and 0.54, of 0.59 asked for
def test_trails_are_told_where_damage_lies_among_them_if_most_marks_are_trails(count: int, told: bool) -> None:
    trails, scratches = arcs(number=120), lines(np.random.default_rng(2).uniform(0, math.pi, count))
    scratches[cv2.dilate(trails, np.ones((5, 5), np.uint8)) > 0] = 0
    found = find_trails((trails | scratches) > 0)
    assert (found is not None) is told
    if found is not None:
        assert found[trails > 0].mean() > 0.9
