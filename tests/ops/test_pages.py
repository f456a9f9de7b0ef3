"""Writing and drawings on a plain ground, and photos, which they are told from."""

import cv2
import numpy as np
import pytest
import torch

from bringback.ops.pages import is_page


def drawn(ground: float, ink: float) -> torch.Tensor:
    """Lines and letters (1, 3, 240, 320) of this ink on a ground."""
    page, tone = np.full((240, 320), round(255 * ground), np.uint8), round(255 * ink)
    for row in range(30, 220, 40):
        cv2.putText(page, "Anno 1911, den 4. Mai", (20, row), cv2.FONT_HERSHEY_SCRIPT_SIMPLEX, 0.6, tone, 1)
        cv2.line(page, (10, row + 10), (300, row + 14), tone, 2)
    return torch.from_numpy(page).expand(1, 3, -1, -1) / 255


def nowhere(pixels: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(pixels[:, :1], dtype=torch.bool)


@pytest.mark.parametrize(("ground", "ink", "times"), [(0.9, 0.1, 1), (0.05, 0.9, 1), (0.6, 0.45, 1), (0.9, 0.1, 4)])
def test_writing_of_any_ink_and_size(ground: float, ink: float, times: int) -> None:
    page = torch.nn.functional.interpolate(drawn(ground, ink), scale_factor=times)
    assert is_page(page, nowhere(page))


def test_a_photo_is_no_page_and_a_blank_one_with_damage_neither() -> None:
    data = pytest.importorskip("skimage.data")
    photo = torch.from_numpy(data.astronaut().transpose(2, 0, 1).copy())[None] / 255
    assert not is_page(photo, nowhere(photo))
    page = drawn(0.9, 0.1)
    assert not is_page(page, page[:, :1] < 0.9)  # all that is on it is marked
    assert not is_page(torch.full((1, 3, 64, 64), 0.5), torch.zeros(1, 1, 64, 64, dtype=torch.bool))
