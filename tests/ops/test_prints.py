"""Prints: found on pages made by program, straightened to what was laid there, cropped to the bit if straight."""

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from bringback.ops.prints import find_prints, in_order
from bringback.ops.rectify import aspect_of, straightened

spec = importlib.util.spec_from_file_location("split", Path(__file__).parents[2] / "benchmarks" / "split.py")
assert spec and spec.loader
split = importlib.util.module_from_spec(spec)
spec.loader.exec_module(split)


@pytest.mark.parametrize("number", [1, 2, 3, 5])  # cream, black, a pattern, a table
def test_prints_are_found_whole_on_every_ground(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "_FINE", 1)  # drawn coarser than for the benchmark, in a quarter of the time
    page = split.make(number, split.public_domain())
    seen = split.search(page.pixels)
    assert len(seen) == len(page.prints)
    for corners, aspect in zip(page.prints, page.aspects, strict=True):
        best = max(seen, key=lambda one: split.overlap(one, corners)[0])
        score, lost = split.overlap(best, corners)
        assert score >= 0.97 and lost <= 0.01
        assert aspect_of(best, page.pixels.shape) == pytest.approx(aspect, rel=0.03)


@pytest.mark.parametrize("picture", [data.astronaut(), data.coffee(), data.chelsea()[:, 60:]])
def test_a_photo_that_fills_its_file_has_no_prints(picture: np.ndarray) -> None:
    assert find_prints(torch.from_numpy(picture).permute(2, 0, 1)[None] / 255) == ()
    assert find_prints(torch.full((1, 3, 200, 300), 0.9)) == ()
    assert find_prints(torch.full((1, 3, 8, 8), 0.9)) == ()


def test_a_page_within_a_lid_is_no_print() -> None:
    pixels = np.full((800, 1000, 3), 0.95, np.float32)
    pixels[40:760, 50:950] = (0.35, 0.3, 0.25)
    picture = cv2.resize(data.coffee(), (350, 260), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    pixels[200:460, 100:450] = pixels[250:510, 540:890] = picture
    pixels += np.random.default_rng(0).normal(0, 0.01, pixels.shape).astype(np.float32)
    found = split.search(pixels.clip(0, 1))
    assert [tuple(np.rint(one[0])) for one in found] == [(100, 200), (540, 250)]


def test_a_print_whose_sides_are_not_seen_takes_no_other_with_it() -> None:
    pixels = np.full((800, 1000, 3), 0.9, np.float32)
    pixels[40:400, 40:400] = cv2.resize(data.coffee(), (360, 360), interpolation=cv2.INTER_AREA) / 255
    leaf = cv2.ellipse(pixels.copy(), (700, 520), (250, 230), 0, 0, 360, (0.2, 0.3, 0.2), cv2.FILLED)  # on white paper
    leaf += np.random.default_rng(0).normal(0, 0.01, pixels.shape).astype(np.float32)
    found = split.search(leaf.clip(0, 1))
    assert [tuple(np.rint(one[0])) for one in found] == [(40, 40)]


def test_a_large_scan_is_found_to_the_pixel() -> None:
    pixels = np.full((2400, 3200, 3), 0.9, np.float32)
    print_ = cv2.resize(data.chelsea(), (1301, 903), interpolation=cv2.INTER_CUBIC).astype(np.float32) / 255
    pixels[207:1110, 1502:2803] = print_ * 0.8
    (corners,) = split.search(pixels)
    assert np.abs(corners - [(1502, 207), (2803, 207), (2803, 1110), (1502, 1110)]).max() < 0.5


def test_a_straight_print_is_cropped_to_the_bit() -> None:
    pixels = np.random.default_rng(0).random((60, 80, 3)).astype(np.float32)
    corners = np.array([(10.3, 19.8), (50.2, 20.1), (50.1, 45.3), (9.8, 44.9)])
    assert np.array_equal(straightened(pixels, corners), pixels[20:45, 10:50])
    assert np.array_equal(straightened(pixels[..., 0], corners), pixels[20:45, 10:50, 0])


@pytest.mark.parametrize("strip", [1 << 20, 1000])
def test_a_print_seen_in_perspective_becomes_what_it_was(strip: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bringback.ops.rectify._STRIP", strip)
    truth = cv2.GaussianBlur(data.coffee()[:300, :450].astype(np.float32) / 255, (0, 0), 2)
    ends = np.array([(0, 0), (450, 0), (450, 300), (0, 300)], np.float32)
    corners = np.array([(180, 150), (650, 120), (690, 500), (130, 450)], np.float32)
    half = np.array([(1, 0, 0.5), (0, 1, 0.5), (0, 0, 1)])
    view = np.linalg.inv(half) @ cv2.getPerspectiveTransform(ends, corners) @ half
    scan = cv2.warpPerspective(truth, view, (800, 600), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    made = cv2.resize(straightened(scan, corners.astype(float)), (450, 300), interpolation=cv2.INTER_AREA)
    levels = straightened(np.rint(scan.clip(0, 1) * 65535).astype(np.uint16), corners.astype(float))
    assert np.abs(levels / 65535 - straightened(scan.clip(0, 1), corners.astype(float))).max() < 1e-4
    inner = np.s_[8:-8, 8:-8]
    assert np.abs(made - truth)[inner].mean() < 0.004 and np.abs(made - truth)[inner].max() < 0.05


@pytest.mark.parametrize("tilt", [(25, 0), (0, 25), (20, -15)])
@pytest.mark.parametrize("aspect", [0.7, 1.5])
def test_the_aspect_is_that_of_the_print_not_of_its_picture(tilt: tuple[int, int], aspect: float) -> None:
    focal, size = 800.0, np.array([aspect * 2, 2.0])
    square = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * size / 2
    turn = cv2.Rodrigues(np.deg2rad([tilt[0], 0, 0]))[0] @ cv2.Rodrigues(np.deg2rad([0, tilt[1], 0]))[0]
    points = np.c_[square, np.zeros(4)] @ turn.T + (0, 0, 4)
    corners = focal * points[:, :2] / points[:, 2:] + (500, 375)
    assert aspect_of(corners, (750, 1000)) == pytest.approx(aspect, rel=0.01)


def test_the_order_is_that_of_reading() -> None:
    at = [(0, 10), (50, 0), (100, 14), (5, 60), (60, 66)]
    made = [np.array([(x, y), (x + 40, y), (x + 40, y + 40), (x, y + 40)], float) for x, y in at]
    assert [tuple(one[0]) for one in in_order([made[k] for k in (4, 2, 0, 3, 1)])] == at
