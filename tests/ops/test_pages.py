"""Writing, drawings and stars on a plain ground, and photos, which they are told from."""

import cv2
import numpy as np
import pytest
import torch

from bringback.ops.pages import Page, find_page


def drawn(ground: float, ink: float) -> torch.Tensor:
    """Lines and letters (1, 3, 240, 320) of this ink on a ground."""
    page, tone = np.full((240, 320), round(255 * ground), np.uint8), round(255 * ink)
    for row in range(30, 220, 40):
        cv2.putText(page, "Anno 1911, den 4. Mai", (20, row), cv2.FONT_HERSHEY_SCRIPT_SIMPLEX, 0.6, tone, 1)
        cv2.line(page, (10, row + 10), (300, row + 14), tone, 2)
    return torch.from_numpy(page).expand(1, 3, -1, -1) / 255


def nowhere(pixels: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(pixels[:, :1], dtype=torch.bool)


@pytest.mark.parametrize(("ground", "ink", "times"), [(0.9, 0.1, 1), (0.5, 0.9, 1), (0.6, 0.45, 1), (0.9, 0.1, 4)])
def test_writing_of_any_ink_and_size(ground: float, ink: float, times: int) -> None:
    page = torch.nn.functional.interpolate(drawn(ground, ink), scale_factor=times)
    assert find_page(page, nowhere(page)) is Page.PAPER


def test_in_the_dark_stars_are_a_page_and_lines_are_none() -> None:
    stars = torch.full((1, 3, 240, 320), 0.05)
    rows, columns = torch.randint(2, 238, (2, 300), generator=torch.Generator().manual_seed(0))
    stars[..., rows, columns] = 0.9
    for row, column in zip(rows.tolist()[:40], columns.tolist()[:40], strict=True):
        stars[..., row - 2 : row + 3, column - 2 : column + 3] = 0.9
    assert find_page(stars, nowhere(stars)) is Page.STARS
    lights = drawn(0.05, 0.9)
    assert find_page(lights, nowhere(lights)) is None


def test_a_thing_in_an_even_sky_is_no_page_however_scratched() -> None:
    sky = np.full((240, 320), 180, np.uint8)
    cv2.ellipse(sky, (150, 110), (60, 13), 10, 0, 360, 40, -1)
    for column in range(10, 310, 30):
        cv2.line(sky, (column, 5), (column + 9, 235), 240, 1)
    pixels = torch.from_numpy(sky).expand(1, 3, -1, -1) / 255
    marked = (torch.from_numpy(sky) > 200)[None, None]
    marked[..., ::2, :] = False  # a detector marks half of it
    assert find_page(pixels, nowhere(pixels)) is None and find_page(pixels, marked) is None


def test_a_photo_is_no_page_and_a_blank_or_tiny_one_neither() -> None:
    data = pytest.importorskip("skimage.data")
    photo = torch.from_numpy(data.astronaut().transpose(2, 0, 1).copy())[None] / 255
    assert find_page(photo, nowhere(photo)) is None
    page = drawn(0.9, 0.1)
    assert find_page(page, page[:, :1] < 0.9) is None  # all that is on it is marked
    assert find_page(torch.full((1, 3, 64, 64), 0.5), torch.zeros(1, 1, 64, 64, dtype=torch.bool)) is None
    narrow = page[..., :31]
    assert find_page(narrow, nowhere(narrow)) is None and find_page(page[..., :60], nowhere(page[..., :60]))
