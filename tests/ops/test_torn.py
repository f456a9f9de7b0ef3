"""Torn prints on a scanner's lid, made here by program: found where they are, never where nothing is torn."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from bringback.images.photo import Photo
from bringback.ops.areas import Area, fill_inside, missing
from bringback.ops.frames import find_areas
from bringback.ops.masks import fill_mask
from bringback.ops.opencv import GradientSettings
from bringback.ops.tiled_fill import fill_into
from bringback.stages.record import Restoration
from bringback.stages.scratches import ScratchDetector

LIDS = {"white": 0.94, "gray": 0.5, "black": 0.06}
AROUND = 50  # pixels of lid around a print
PICTURES = {"astronaut": data.astronaut, "coffee": data.coffee, "chelsea": data.chelsea}


def print_of(picture: np.ndarray, height: int = 360) -> np.ndarray:
    size = (round(picture.shape[1] / picture.shape[0] * height), height)
    return 0.15 + 0.65 * cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def scanned(pixels: np.ndarray) -> torch.Tensor:
    """With the noise and the compression of a scan: (1, 3, H, W)."""
    noisy = pixels + np.random.default_rng(0).normal(0, 0.01, pixels.shape)
    levels = np.rint(noisy.clip(0, 1) * 255).astype(np.uint8)
    levels = cv2.imdecode(cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, 85])[1], cv2.IMREAD_COLOR)
    return torch.from_numpy(levels).permute(2, 0, 1)[None] / 255


def on_lid(pixels: np.ndarray, there: np.ndarray, lid: float, turn: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """A print (h, w, 3) on a lid, where it is `there`, and the share (H, W) to which each pixel shows it."""
    wide = cv2.copyMakeBorder(pixels, *[AROUND] * 4, cv2.BORDER_REPLICATE)
    share = cv2.copyMakeBorder(there.astype(np.float32), *[AROUND] * 4, cv2.BORDER_CONSTANT, value=0)
    height, width = share.shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), turn, 1)
    wide, share = (cv2.warpAffine(one, matrix, (width, height)) for one in (wide, share))
    return lid + (wide - lid) * share[..., None], share


def jagged(length: int, high: float, seed: int) -> np.ndarray:
    """A line of a tear: deviations of about `high` pixels."""
    random = np.random.default_rng(seed)
    coarse, fine = (random.normal(0, size, count) for size, count in ((high, 9), (high / 4, length // 6)))
    x = np.arange(length)
    return sum(np.interp(x, np.linspace(0, length, len(one)), one) for one in (coarse, fine))


def halves(pixels: np.ndarray, lid: float, gap: int, turn: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """A print torn from top to bottom, its halves `gap` pixels apart, and the gap (H, W) between them."""
    height, width = pixels.shape[:2]
    tear = np.rint(0.45 * width + jagged(height, 6, 1)).astype(int)[:, None]
    x = np.arange(width + gap)[None]
    left, between = x < tear, (x >= tear) & (x < tear + gap)
    apart = np.where(
        left[..., None], np.pad(pixels, ((0, 0), (0, gap), (0, 0))), np.pad(pixels, ((0, 0), (gap, 0), (0, 0)))
    )
    made, _ = on_lid(apart, ~between, lid, turn)
    return made, on_lid(apart, between, lid, turn)[1] > 0.99


def without_corner(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[:2]
    y, x = np.mgrid[:height, :width]
    tear = jagged(height + width, 0.04, 2)[x + height - 1 - y]
    return x / (0.3 * width) + y / (0.25 * height) + tear > 1


def bitten(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[:2]
    y, x = np.mgrid[:height, :width]
    return np.hypot(x - 0.6 * width, y - height) > 0.14 * height + jagged(width, 3, 3)[x]


def gone(pixels: torch.Tensor) -> np.ndarray:
    mask = missing(find_areas(pixels), *pixels.shape[-2:])
    return np.zeros(pixels.shape[-2:], bool) if mask is None else mask[0, 0].numpy() > 0


@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize(("lid", "gap", "turn"), [("white", 8, 0), ("gray", 25, 1.5), ("black", 50, -1)])
def test_halves_are_one_print(picture: str, lid: str, gap: int, turn: float) -> None:
    pixels = print_of(PICTURES[picture]())
    made, between = halves(pixels, LIDS[lid], gap, turn)
    (area,) = find_areas(scanned(made))
    left, _, right, _ = area.box
    assert abs(right - left - pixels.shape[1] - gap) <= 0.06 * pixels.shape[1]
    mask = gone(scanned(made))
    assert mask[between].mean() >= 0.95
    assert mask.sum() <= 1.0 * between.sum() + 6 * pixels.shape[0]  # the edges, and little of the print
    outer = cv2.dilate((np.abs(made - LIDS[lid]).max(2) > 1e-4).astype(np.uint8) | between, np.ones((5, 5)))
    assert not mask[outer == 0].any()


@pytest.mark.parametrize("cut", [without_corner, bitten])
@pytest.mark.parametrize("lid", LIDS)
def test_what_is_missing_of_a_print_is_damage(cut: Callable[[np.ndarray], np.ndarray], lid: str) -> None:
    pixels = print_of(data.coffee())
    there = cut(pixels)
    made, share = on_lid(pixels, there, LIDS[lid], 1.0)
    whole = on_lid(pixels, np.ones_like(there), LIDS[lid], 1.0)[1]
    mask = gone(scanned(made))
    assert mask[(whole > 0.99) & (share < 0.01)].mean() >= 0.95
    assert not mask[cv2.dilate(whole, np.ones((5, 5))) < 0.01].any()
    assert not mask[cv2.erode(share, np.ones((9, 9))) > 0.99].any()


@pytest.mark.parametrize("lid", LIDS)
@pytest.mark.parametrize("picture", PICTURES)
def test_whole_prints_are_whole(picture: str, lid: str) -> None:
    pixels = print_of(PICTURES[picture]())
    assert not gone(scanned(on_lid(pixels, np.ones(pixels.shape[:2], bool), LIDS[lid], 1.0)[0])).any()


@pytest.mark.parametrize("sky", ["all along", "corner"])
def test_a_bright_sky_is_no_lid(sky: str) -> None:
    pixels = print_of(data.coffee())
    there = without_corner(pixels)
    if sky == "all along":
        there = np.arange(360)[:, None] > 120 + jagged(pixels.shape[1], 8, 4)[None]
    pixels[~there] = 0.99 if sky == "corner" else 0.94
    assert not gone(scanned(on_lid(pixels, np.ones_like(there), 0.94)[0])).any()


@pytest.mark.parametrize("gap", [6, 25])
def test_neighbors_stay_two(gap: int) -> None:
    first, second = print_of(data.astronaut()), print_of(data.chelsea())
    pixels = np.concatenate([first, np.zeros((360, gap, 3), np.float32), second], 1)
    there = np.ones(pixels.shape[:2], bool)
    there[:, first.shape[1] : first.shape[1] + gap] = False
    seen = scanned(on_lid(pixels, there, 0.94)[0])
    assert not gone(seen).any() and find_areas(seen) == find_areas(seen, torn=False)


def test_straight_cut_corners_are_no_tears() -> None:
    pixels = print_of(data.coffee())
    y, x = np.mgrid[:360, : pixels.shape[1]]
    there = x + y > 90
    assert not gone(scanned(on_lid(pixels, there, 0.5)[0])).any()


def test_photos_without_a_frame_have_nothing_missing() -> None:
    assert not gone(scanned(print_of(data.rocket()))).any()
    assert not gone(scanned(np.full((300, 400, 3), 0.5, np.float32))).any()


def test_torn_prints_only_on_demand() -> None:
    seen = scanned(halves(print_of(data.coffee()), 0.94, 30)[0])
    assert all(area.missing is None for area in find_areas(seen, torn=False))


def test_the_gap_is_filled_from_the_print_not_from_the_lid() -> None:
    pixels = np.full((300, 360, 3), 0.3, np.float32)
    made, between = halves(pixels, 0.94, 30)
    seen = torch.from_numpy(made).permute(2, 0, 1)[None].float()
    areas = find_areas(seen)
    mask = missing(areas, *seen.shape[-2:])
    assert mask is not None
    result = seen.clone()
    fill_inside(result, fill_mask(mask), areas, fill_into)
    off = (result[0, :, torch.from_numpy(between)] - 0.3).abs()
    assert off.quantile(0.97) < 0.05
    assert torch.equal(result[..., : AROUND - 1, :], seen[..., : AROUND - 1, :])


def test_without_torn_prints_all_is_filled_as_before() -> None:
    seen, target = torch.rand(1, 3, 40, 50), torch.zeros(1, 1, 40, 50)
    target[..., 10:20, 10:20] = 1
    plain, made = seen.clone(), seen.clone()
    fill_into(plain, target)
    fill_inside(made, target, (Area(((5.0, 5.0), (45.0, 5.0), (45.0, 35.0), (5.0, 35.0))),), fill_into)
    assert torch.equal(plain, made) and missing((), 40, 50) is None


def test_the_detector_takes_what_is_missing_for_damage() -> None:
    made, between = halves(print_of(data.coffee()), 0.94, 30)
    seen = scanned(made)
    restoration = Restoration.start(Photo(seen[0].permute(1, 2, 0).numpy().copy()))
    restoration.areas = find_areas(seen)
    mask = ScratchDetector(GradientSettings())(restoration).damage()
    assert (mask[0, 0].numpy()[between] == 1).mean() >= 0.95
    assert restoration.notes["scratches"]["missing_share"] == pytest.approx(gone(seen).mean(), abs=1e-5)
