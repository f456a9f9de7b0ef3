"""Drawn damage: every kind at every size and scale, repeatable, and never outside its coverage."""

import numpy as np
import pytest

from bringback.degradations.drawn.canvas import Canvas, Layer
from bringback.degradations.drawn.damage import KINDS, Kind, coverage, damaged

SIZES = ((64, 96), (384, 384))


def photo_of(height: int, width: int) -> np.ndarray:
    smooth = Canvas(np.random.default_rng(5), height, width).clouds(height / 3, 2)
    return np.clip(0.5 + 0.2 * smooth[..., None] + np.float32([0.05, 0, -0.05]), 0, 1).astype(np.float32)


@pytest.mark.parametrize("kind", [kind for kind, _ in KINDS], ids=lambda kind: kind.__name__)
def test_kind_gives_finite_layers_in_range(kind: Kind) -> None:
    largest = 0.0
    for height, width in SIZES:
        photo = photo_of(height, width)
        for unit in (0.5, 1, 5):
            for seed in range(4):
                layers = kind(Canvas(np.random.default_rng(seed), height, width, unit), photo)
                assert layers
                for layer in layers:
                    assert layer.alpha.shape == (height, width) and layer.alpha.dtype == np.float32
                    assert layer.color.shape in ((3,), (height, width, 3))
                    assert layer.alpha.min() >= 0 and layer.alpha.max() <= 1  # NaN fails too
                    assert layer.color.min() >= 0 and layer.color.max() <= 1
                    largest = max(largest, float(layer.alpha.max()))
    assert largest > 0.3  # something is drawn


def test_same_seed_same_picture() -> None:
    photo = photo_of(96, 128)
    one, two, other = (damaged(Canvas(np.random.default_rng(seed), 96, 128), photo, 2.5) for seed in (3, 3, 4))
    assert np.array_equal(one[0], two[0]) and np.array_equal(one[1], two[1])
    assert not np.array_equal(one[0], other[0])


@pytest.mark.parametrize("unit", [0.5, 1, 5])
def test_what_changed_is_covered(unit: float) -> None:
    photo = photo_of(128, 160)
    before = photo.copy()
    for seed in range(40):
        after, covered = damaged(Canvas(np.random.default_rng(seed), 128, 160, unit), photo, 2.0)
        assert after.shape == photo.shape and after.dtype == covered.dtype == np.float32
        assert after.min() >= 0 and after.max() <= 1 and covered.min() >= 0 and covered.max() <= 1
        assert covered[np.abs(after - photo).max(-1) > 0.3].min(initial=1) > 0.05  # fainter stains show the picture
    assert np.array_equal(photo, before)  # drawn on a copy


def test_amount_zero_changes_nothing_and_more_damages_more() -> None:
    photo = photo_of(96, 96)
    after, covered = damaged(Canvas(np.random.default_rng(0), 96, 96), photo, 0.0)
    assert np.array_equal(after, photo) and not covered.any()
    less, more = (
        np.mean([damaged(Canvas(np.random.default_rng(seed), 96, 96), photo, amount)[1].mean() for seed in range(60)])
        for amount in (0.3, 1.5)
    )
    assert 0 < less < more < 0.3


def test_a_clear_stain_counts_less_than_a_dark_one() -> None:
    photo, alpha = np.full((4, 4, 3), 0.8, np.float32), np.full((4, 4), 0.9, np.float32)
    clear, dark, hiding = (
        coverage(Layer(alpha, np.full(3, tone, np.float32), multiplies), photo).max()
        for tone, multiplies in ((0.95, True), (0.2, True), (0.8, False))
    )
    assert clear < 0.15
    assert dark == hiding == pytest.approx(0.9)
