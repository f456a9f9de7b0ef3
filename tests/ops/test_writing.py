"""Writing on a photo is what it shows; scratches, cracks, specks and marks across the writing may be damage."""

import cv2
import numpy as np
import pytest
import torch

from bringback.ops.views import View
from bringback.ops.writing import lower_writing_

SIZE = (400, 300)  # width, height


def ground() -> np.ndarray:
    """A photo (300, 400) in [0, 1] of a dark hill, rough, below a sky."""
    rng = np.random.default_rng(0)
    light = np.full(SIZE[::-1], 0.6, np.float32)
    light[140:] = 0.3
    rough = np.array(rng.normal(0, 1, light.shape), np.float32)
    return light + 0.15 * cv2.GaussianBlur(rough, (0, 0), 1) * (light < 0.5)


def lettered(text: str, foot: int, size: float, turn: float = 0.0) -> np.ndarray:
    """How far text covers a photo: (300, 400) in [0, 1]."""
    drawn = np.zeros(SIZE[::-1], np.uint8)
    cv2.putText(drawn, text, (20, foot), cv2.FONT_HERSHEY_SIMPLEX, size, 255, max(1, round(2.5 * size)), cv2.LINE_AA)
    return cv2.warpAffine(drawn, cv2.getRotationMatrix2D((200, foot), turn, 1), SIZE) / np.float32(255)


def scratched() -> np.ndarray:
    """How far hairs and specks cover a photo: (300, 400) in [0, 1]."""
    rng, drawn = np.random.default_rng(2), np.zeros(SIZE[::-1], np.uint8)
    for _ in range(40):
        start = rng.uniform((0, 0), SIZE)
        path = start + np.cumsum(rng.normal(0, 6, (8, 2)) + rng.normal(0, 4, 2), 0)
        cv2.polylines(drawn, [path.astype(np.int32)], False, 255, int(rng.integers(1, 4)), cv2.LINE_AA)
        cv2.circle(drawn, tuple(rng.integers((0, 0), SIZE).tolist()), int(rng.integers(1, 5)), 255, -1, cv2.LINE_AA)
    return drawn / np.float32(255)


def lowered(spoilt: np.ndarray, marks: np.ndarray, scale: int = 1) -> tuple[np.ndarray, float]:
    """Which marks (h, w) of a photo (h, w), both shown so many times larger, stay, bool; and the lowered share."""
    photo, marked = (cv2.resize(one, None, fx=scale, fy=scale) for one in (spoilt, marks.astype(np.float32)))
    odds = torch.from_numpy(marked)[None, None] * 9 - 5
    share = lower_writing_(odds, View(torch.from_numpy(photo)[None, None].clamp(0, 1).expand(1, 3, -1, -1), scale))
    return odds.numpy()[0, 0, ::scale, ::scale] > 0, share


def covered(cover: np.ndarray, tone: float, scale: int = 1) -> tuple[np.ndarray, float]:
    """The same for something that covers a photo in one tone, all of it marked."""
    photo = ground()
    return lowered(photo + cover * (tone - photo), cv2.dilate((cover > 0.3).astype(np.uint8), np.ones((3, 3))), scale)


@pytest.mark.parametrize(
    ("text", "foot", "size", "turn", "tone"),
    [
        ("Boston, No. 1417", 60, 1.1, 0, 0.95),
        ("Photographed in Kiel", 270, 0.8, 3, 0.95),
        ("Lindau", 100, 2.4, -5, 0.05),
    ],
)
def test_writing_of_any_size_is_left(text: str, foot: int, size: float, turn: float, tone: float) -> None:
    cover = lettered(text, foot, size, turn)
    stays, share = covered(cover, tone)
    assert stays[cover > 0.5].mean() < 0.1 and share > 0.01


def test_writing_of_large_scans_and_that_which_runs_down_is_left() -> None:
    cover = lettered("Main Street 1931", 200, 1.0)
    assert covered(cover, 0.95, scale=3)[0][cover > 0.5].mean() < 0.1
    photo = ground() + cover * (0.95 - ground())
    stays, _ = lowered(np.ascontiguousarray(photo.T), np.ascontiguousarray(cover.T > 0.3))
    assert stays[cover.T > 0.5].mean() < 0.1


@pytest.mark.parametrize("tone", [0.95, 0.05])
def test_hairs_and_specks_stay_marked(tone: float) -> None:
    cover = scratched()
    stays, share = covered(cover, tone)
    assert share == 0 and stays[cover > 0.5].all()


def test_a_scratch_across_writing_and_a_stain_beside_it_stay_marked() -> None:
    damage = np.zeros(SIZE[::-1], np.uint8)
    cv2.line(damage, (150, 0), (170, 299), 1, 3)
    cv2.circle(damage, (330, 220), 30, 1, -1)
    text = lettered("Boston, No. 1417", 60, 1.1) * (1 - cv2.dilate(damage, np.ones((5, 5), np.uint8)))
    photo = ground()
    photo = np.where(damage > 0, np.float32(0.1), photo + text * (0.95 - photo))
    stays, _ = lowered(photo, np.maximum(text > 0.3, damage > 0))
    assert stays[damage > 0].mean() > 0.95 and stays[text > 0.5].mean() < 0.3


def test_without_marks_or_letters_nothing_changes() -> None:
    photo = torch.from_numpy(ground())[None, None].expand(1, 3, -1, -1)
    for odds in (torch.full((1, 1, 300, 400), -5.0), torch.full((1, 1, 300, 400), 5.0)):
        before = odds.clone()
        assert lower_writing_(odds, View(photo)) == 0 and torch.equal(odds, before)


def test_a_stain_on_writing_stays_damage() -> None:
    photo, cover = ground(), lettered("Boston, No. 1417", 60, 1.1)
    stain = np.zeros(SIZE[::-1], np.uint8)
    cv2.circle(stain, (140, 50), 45, 1, -1)
    marks = np.maximum(stain, cv2.dilate((cover > 0.3).astype(np.uint8), np.ones((3, 3))))
    left, _ = lowered(photo + cover * (0.95 - photo), marks)
    assert left[cv2.erode(stain, np.ones((9, 9), np.uint8)) > 0].all()
