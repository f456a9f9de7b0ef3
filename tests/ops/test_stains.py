"""Foxing and yellowed tape go from prints without colors; tints, ink, few spots and photos with colors stay."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from bringback.ops import strips
from bringback.ops.stains import Stains
from bringback.ops.toning import Toning

SIDE = 224
RUST, YELLOW, RED, BLUE = (0.72, 0.5, 0.3), (0.9, 0.75, 0.4), (0.85, 0.3, 0.3), (0.4, 0.5, 0.9)
SEPIA = (1.0, 0.85, 0.62)


def picture(seed: int = 0) -> np.ndarray:
    """(SIDE, SIDE) soft shapes with some grain, from dark to light."""
    rng = np.random.default_rng(seed)
    shapes = sum(cv2.GaussianBlur(rng.normal(size=(SIDE, SIDE)), (0, 0), s) * s for s in (3, 10, 25))
    low, high = np.quantile(shapes, [0.02, 0.98])
    return (0.15 + 0.7 * (shapes - low) / (high - low) + rng.normal(size=shapes.shape) * 0.01).clip(0.05, 0.95)


def printed(tone: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> np.ndarray:
    light = picture()[..., None]
    return light ** (1 / np.array(tone))


def dots(count: int, radius: float, seed: int = 1) -> np.ndarray:
    """(SIDE, SIDE) in [0, 1]: so many soft spots, one in each of as many cells."""
    rng = np.random.default_rng(seed)
    cells = rng.permutation(36)[:count]
    y, x = np.mgrid[:SIDE, :SIDE]
    cover = np.zeros((SIDE, SIDE))
    for cell in cells:
        at = (np.array([cell // 6, cell % 6]) + rng.uniform(0.3, 0.7, 2)) * SIDE / 6
        cover = np.maximum(cover, np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / (2 * radius**2)))
    return cover


def strip(turn: float = 12.0) -> np.ndarray:
    cover = np.zeros((SIDE, SIDE), np.uint8)
    corners = cv2.boxPoints(((SIDE / 2, SIDE / 2), (150, 30), turn))
    cv2.fillPoly(cover, [np.rint(corners).astype(np.int32)], 1)
    return cv2.GaussianBlur(cover.astype(np.float64), (0, 0), 0.6)


def layer(print_: np.ndarray, cover: np.ndarray, color: tuple[float, float, float], opaque: float = 0.0) -> np.ndarray:
    """A print under a layer that takes light, and hides a share of the print."""
    part = 0.8 * cover[..., None]
    return (1 - opaque * part) * print_ * (1 - (1 - opaque) * part * (1 - np.array(color))) + opaque * part * np.array(
        color
    )


def tensor(image: np.ndarray) -> Tensor:
    return (
        torch.from_numpy(np.rint(image.clip(0, 1) * 255).astype(np.float32) / 255).permute(2, 0, 1)[None].contiguous()
    )


def error(a: Tensor, b: Tensor, cover: np.ndarray) -> float:
    where = torch.from_numpy(cover > 0.1)
    return (a - b)[..., where].square().mean().sqrt().item()


@pytest.mark.parametrize(("tone", "opaque", "left"), [((1, 1, 1), 0.0, 0.6), ((1, 1, 1), 0.5, 0.75), (SEPIA, 0.7, 1.1)])
def test_foxing_goes_and_the_print_stays(tone: tuple[float, float, float], opaque: float, left: float) -> None:
    clean, cover = printed(tone), dots(24, 2.5)
    seen = tensor(layer(clean, cover, RUST, opaque))
    stains = Stains.find(seen)
    assert stains and stains.spots >= 16 and not stains.tapes and 0.01 < stains.covered < 0.3
    result = seen.clone()
    stains.remove_(result)
    assert error(result, tensor(clean), cover) < left * error(seen, tensor(clean), cover)
    off_curve = [(one[:, 0] - one[:, 2] - tensor(clean)[:, 0] + tensor(clean)[:, 2])[0].abs() for one in (seen, result)]
    at = torch.from_numpy(cover > 0.5)
    assert off_curve[1][at].mean() < 0.4 * off_curve[0][at].mean()
    far = torch.from_numpy(cv2.dilate((cover > 0.02).astype(np.uint8), np.ones((31, 31))) == 0)
    assert far.any() and torch.equal(result[..., far], seen[..., far])


@pytest.mark.parametrize("opaque", [0.0, 0.4])
def test_tape_goes_and_the_print_under_it_is_seen(opaque: float) -> None:
    clean, cover = printed(), strip()
    seen = tensor(layer(clean, cover, YELLOW, opaque))
    stains = Stains.find(seen)
    assert stains and stains.tapes == 1 and not stains.spots
    result = seen.clone()
    stains.remove_(result)
    assert error(result, tensor(clean), cover) < 0.35 * error(seen, tensor(clean), cover)


@pytest.mark.parametrize(
    "spoiled",
    [
        lambda clean: clean,
        lambda clean: layer(clean, dots(8, 2.5), RUST),  # a few spots may be anything
        lambda clean: layer(clean, dots(24, 2.5), RED),  # roses
        lambda clean: layer(clean, dots(24, 2.5), BLUE),
        lambda clean: layer(clean, dots(36, 9.0), RUST),  # most of the print
        lambda clean: layer(layer(clean, dots(24, 2.5), RUST), dots(24, 3.0, 3), BLUE),  # a toning that is uneven
        lambda clean: layer(
            np.roll(clean, 50, 1) * strip()[..., None] + clean * (1 - strip()[..., None]), strip(), YELLOW
        ),
        lambda clean: layer(clean, strip(), RED),  # a ribbon
        lambda clean: np.stack([picture(5), picture(6), picture(7)], -1),  # colors
        lambda clean: clean[:40],
        lambda clean: np.full_like(clean, np.nan),
    ],
)
def test_nothing_else_is_a_stain(spoiled: Callable[[np.ndarray], np.ndarray]) -> None:
    assert Stains.find(tensor(spoiled(printed()))) is None


def test_what_is_outside_is_not_looked_at() -> None:
    seen = tensor(layer(printed(), dots(24, 2.5), RUST))
    inside = torch.zeros_like(seen[:, :1], dtype=torch.bool)
    inside[..., :20, :] = True
    assert Stains.find(seen) and not Stains.find(seen, inside)


def test_large_photos_are_cleaned_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = tensor(layer(printed(), dots(24, 2.5), RUST))
    large = torch.nn.functional.interpolate(seen, scale_factor=3, mode="bilinear")
    monkeypatch.setattr("bringback.ops.stains.SEEN", SIDE * SIDE)
    stains = Stains.find(large)
    assert stains and stains.layers.shape[-2:] == (SIDE, SIDE)
    whole = large.clone()
    stains.remove_(whole)
    monkeypatch.setattr(strips, "STRIP", 20000)
    parts = large.clone()
    stains.remove_(parts)
    assert torch.equal(whole, parts) and not torch.equal(whole, large)


def test_a_toning_is_a_curve_and_a_slow_change() -> None:
    clean = printed(SEPIA).astype(np.float32)
    across = np.linspace(-0.03, 0.03, SIDE, dtype=np.float32)[None, :, None] * np.array([0, 0, 1], np.float32)
    seen = clean + across
    toning = Toning.fit(seen, np.ones((SIDE, SIDE), bool))
    expected = toning.of(seen[..., 0]) + toning.slow((SIDE, SIDE)).transpose(1, 2, 0)
    assert np.abs(expected - (seen[..., 1:] - seen[..., :1])).mean() < 0.004
    assert toning.slow((SIDE, SIDE))[1, :, -1].mean() > 0.02
