"""Dust by infrared, on made scans: what is dark in infrared and not told by the picture."""

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from bringback.ops import strips
from bringback.ops.infrared import find_dust

HEIGHT, WIDTH = 240, 320


def dust(rng):
    """What light passes dust and hairs (H, W), 1 = all."""
    drawn = np.zeros((4 * HEIGHT, 4 * WIDTH), np.uint8)
    for _ in range(12):
        x, y = rng.integers(40, 4 * WIDTH - 40), rng.integers(40, 4 * HEIGHT - 40)
        cv2.circle(drawn, (int(x), int(y)), int(rng.integers(4, 12)), 255, -1)
    for _ in range(3):
        ends = rng.integers(40, 4 * HEIGHT - 40, (2, 2)).tolist()
        cv2.line(drawn, *ends, 255, 6)
    return 1 - cv2.resize(drawn, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def scan(dyes=0.05, shift=0, white=False, gray=False, kind=np.uint16):
    """A scan: pixels (1, 3, H, W), infrared, and how much of the light the dust takes (H, W)."""
    rng = np.random.default_rng(7)
    clean = cv2.resize(data.astronaut()[:384], (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    clean = np.repeat(clean.mean(2, keepdims=True), 3, 2) if gray else clean
    passed = dust(rng)
    seen = 1 - (1 - clean) * passed[..., None] if white else clean * passed[..., None]
    seen = (seen + rng.normal(0, 0.005, seen.shape)).clip(0, 1).astype(np.float32)
    fall_off = 0.85 - 0.2 * np.linspace(-1, 1, WIDTH) ** 2
    infrared = fall_off * clean[..., 0].clip(0.05) ** (2.2 * dyes) * cv2.GaussianBlur(passed, (0, 0), 0.7)
    infrared = np.pad(infrared, ((0, 0), (shift, 0)), "edge")[:, :WIDTH] + rng.normal(0, 0.005, passed.shape)
    levels = np.rint(infrared.clip(0, 1) * np.iinfo(kind).max).astype(kind)
    return torch.from_numpy(seen).permute(2, 0, 1)[None], levels, 1 - passed


@pytest.mark.parametrize("white", [False, True])
@pytest.mark.parametrize(("shift", "kind", "gray"), [(0, np.uint16, False), (1, np.uint16, False), (0, np.uint8, True)])
def test_dust_is_found_and_the_picture_is_not(white, shift, kind, gray):
    pixels, infrared, truth = scan(shift=shift, white=white, kind=kind, gray=gray)
    before = pixels.clone()
    found = find_dust(infrared, pixels)
    assert found.mask is not None and found.mask.shape == (1, 1, HEIGHT, WIDTH) and torch.equal(pixels, before)
    marked = found.mask[0, 0].numpy() > 0.5
    assert marked[truth > 0.2].mean() > 0.97
    assert (cv2.dilate((truth > 0).astype(np.uint8), np.ones((9, 9)))[marked] > 0).mean() > 0.97


def test_it_does_not_depend_on_strips(monkeypatch):
    pixels, infrared, _ = scan()
    whole = find_dust(infrared, pixels).mask
    monkeypatch.setattr(strips, "STRIP", 16 * WIDTH)  # with even blocks, the fit is to the same means
    assert torch.allclose(find_dust(infrared, pixels).mask, whole, atol=1e-3)


@pytest.mark.parametrize("shift", [0, 2])
def test_silver_film_is_refused(shift):
    pixels, infrared, _ = scan(dyes=0.9, gray=True, shift=shift)
    found = find_dust(infrared, pixels)
    assert found.mask is None and "shows the picture" in found.refused


def test_channels_that_are_no_infrared():
    pixels, _, _ = scan()
    opaque = np.full((HEIGHT, WIDTH), 255, np.uint8)
    selection = cv2.ellipse(opaque.copy(), (160, 120), (40, 30), 0, 0, 360, 0, -1, cv2.LINE_AA)
    for drawn in (opaque, selection, selection.astype(np.uint16) * 257):
        assert "no noise" in find_dust(drawn, pixels).refused
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH), np.uint8)
    assert find_dust(noise, pixels).mask is None


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (9, 9)])
def test_tiny_photos(size):
    infrared = np.random.default_rng(0).integers(200, 204, size, np.uint8)
    assert find_dust(infrared, torch.rand(1, 3, *size)).mask.shape[-2:] == size
