"""Innocent things drawn on photos: in range at every size, the same for the same seed, seen, and quickly drawn."""

import time

import numpy as np
import pytest

from bringback.degradations.drawn import lettering, scenery
from bringback.degradations.drawn.canvas import Canvas
from bringback.degradations.drawn.innocents import KINDS, with_innocents
from bringback.degradations.drawn.settling import painted, settle, strokes


def canvas(seed: int, height: int = 384, width: int = 384, unit: float = 1.0) -> Canvas:
    return Canvas(np.random.default_rng(seed), height, width, unit)


def gray(height: int = 384, width: int = 384) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return np.ascontiguousarray(np.stack([0.5 + 0.1 * np.sin(x / 40), 0.5 + 0.1 * np.cos(y / 50), 0.45 + 0 * x], 2))


@pytest.mark.parametrize("unit", [0.5, 1.0, 5.0])
@pytest.mark.parametrize("size", [(64, 96), (384, 384)])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_keeps_shape_type_and_range_and_follows_the_seed(kind, size, unit):
    photo = gray(*size)
    kept = photo.copy()
    for seed in range(2):
        made = kind(canvas(seed, *size, unit), photo)
        assert made.shape == photo.shape and made.dtype == np.float32
        assert np.isfinite(made).all() and made.min() >= 0 and made.max() <= 1
        np.testing.assert_array_equal(made, kind(canvas(seed, *size, unit), photo))
    np.testing.assert_array_equal(photo, kept)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_another_seed_gives_another_picture(kind):
    assert np.abs(kind(canvas(1), gray()) - kind(canvas(2), gray())).max() > 0.004


@pytest.mark.parametrize("kind", [lettering.writing, lettering.printed, lettering.date], ids=lambda kind: kind.__name__)
def test_letters_can_be_seen(kind):
    for seed in range(12):
        change = np.abs(kind(canvas(seed), gray()) - gray()).max(-1)
        assert (change > 0.15).sum() > 40


def test_snow_brightens_and_covers_widely():
    dark = np.full((384, 384, 3), 0.2, np.float32)
    made = scenery.snow(canvas(3), dark)
    flakes = made[..., 1] > 0.55
    assert 0.003 < flakes.mean() < 0.6
    assert all(part.any() for half in np.array_split(flakes, 2) for part in np.array_split(half, 2, axis=1))


def test_strokes_are_as_wide_as_told():
    line = np.array([[-10.0, 100.0], [400.0, 100.0]])
    assert strokes(canvas(0), [line], 6.0)[:, 200].sum() == pytest.approx(6, abs=1)
    assert 0.1 < strokes(canvas(0), [line], 0.2)[:, 200].sum() < 0.6


def test_what_settles_covers_where_alpha_is_and_leaves_the_rest():
    square = np.array([[100.0, 100], [200, 100], [200, 200], [100, 200]])
    color = np.array([0.9, 0.1, 0.2], np.float32)
    alpha, ink = painted(canvas(0), [(square, color)])
    for shown in (color, ink):
        made = settle(canvas(0), gray(), alpha, shown, shading=0)
        np.testing.assert_allclose(made[150, 150], color, atol=0.02)
        np.testing.assert_array_equal(made[:90], gray()[:90])


def test_amount_zero_draws_nothing_and_one_nearly_always_something():
    photo = gray()
    np.testing.assert_array_equal(with_innocents(canvas(0), photo, 0.0), photo)
    changed = [np.abs(with_innocents(canvas(seed), photo, 1.0) - photo).max() > 0.02 for seed in range(20)]
    assert sum(changed) >= 19
    one = with_innocents(canvas(5), photo, 0.7)
    np.testing.assert_array_equal(one, with_innocents(canvas(5), photo, 0.7))


def test_drawing_is_quick():
    photo = gray()
    started = time.process_time()
    for seed in range(60):
        with_innocents(canvas(seed), photo, 0.5)
    # 8 ms on one core of our own; room for slower and for crowded ones
    assert (time.process_time() - started) / 60 < 0.04
