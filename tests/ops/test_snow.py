"""Flakes of snow are the softer the larger they are, and stay; specks, whose rims are alike, may be damage."""

import cv2
import numpy as np
import pytest
import torch

from bringback.ops.snow import lower_snow_
from bringback.ops.views import View

SIDE = 256


def flakes(sharp: bool, number: int = 120) -> np.ndarray:
    """How far light spots cover a photo: (256, 256) in [0, 1]; sharp ones have rims of one width."""
    rng, y, x = np.random.default_rng(0), *np.mgrid[:SIDE, :SIDE]
    cover = np.zeros((SIDE, SIDE), np.float32)
    for _ in range(number):
        far = np.hypot(y - rng.uniform(8, SIDE - 8), x - rng.uniform(8, SIDE - 8))
        radius = np.exp(rng.uniform(np.log(1.2), np.log(4)))
        one = 1 / (1 + np.exp(np.clip((far - radius) / 0.35, -50, 50))) if sharp else np.exp2(-((far / radius) ** 2))
        cover = np.maximum(cover, (0.8 * one).astype(np.float32))
    return cover


def lowered(cover: np.ndarray, others: np.ndarray | None = None, scale: int = 1) -> tuple[np.ndarray, float]:
    """Which marks of what covers a gray photo in white, and of `others`, stay: (256, 256) bool; the lowered share."""
    photo = 0.4 + cover * (0.95 - 0.4)
    marks = (cover > 0.2) if others is None else (cover > 0.2) | (others > 0)
    seen, marked = (cv2.resize(one.astype(np.float32), None, fx=scale, fy=scale) for one in (photo, marks))
    odds = torch.from_numpy(marked)[None, None] * 9 - 5
    share = lower_snow_(odds, View(torch.from_numpy(seen)[None, None].expand(1, 3, -1, -1), scale))
    return odds.numpy()[0, 0, ::scale, ::scale] > 0, share


@pytest.mark.parametrize("scale", [1, 2])
def test_falling_snow_is_left_and_a_scratch_through_it_is_not(scale: int) -> None:
    scratch = cv2.line(np.zeros((SIDE, SIDE), np.uint8), (10, 5), (60, 250), 1, 2)
    cover = flakes(sharp=False) * (1 - cv2.dilate(scratch, np.ones((15, 15), np.uint8)))
    stays, share = lowered(cover, scratch, scale)
    assert stays[cover > 0.4].mean() < 0.2 and stays[scratch > 0].mean() > 0.9 and share > 0.01


def test_specks_stay_marked() -> None:
    cover = flakes(sharp=True)
    stays, share = lowered(cover)
    assert share == 0 and stays[cover > 0.4].all()


def test_few_flakes_do_not_make_snow() -> None:
    cover = flakes(sharp=False, number=25)
    assert lowered(cover)[1] == 0


def test_soft_dots_of_one_size_are_no_snow() -> None:
    y, x = np.mgrid[:SIDE, :SIDE] % 24 - 12
    cover = (0.8 * np.exp2(-(y**2 + x**2) / 9)).astype(np.float32)
    assert lowered(cover)[1] == 0
