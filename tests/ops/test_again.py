"""Second looks at broad marks: what a network sees at one size of a photo only is the picture."""

import numpy as np
import pytest
import torch
from skimage import data

from bringback.ops.again import Look
from bringback.ops.broad import lower_doubtful_
from bringback.ops.views import Box, View

FOREHEAD, CHEEK = (slice(72, 112), slice(200, 250)), (slice(130, 132), slice(180, 270))  # rows and columns
STAIN = slice(300, 350), slice(330, 390)


def astronaut() -> torch.Tensor:
    """The picture (1, 3, 400, 512) with a white stain on a sleeve."""
    pixels = torch.from_numpy(data.astronaut()[:400].transpose(2, 0, 1).copy()).float()[None] / 255 * 0.95
    pixels[..., *STAIN] = 1
    return pixels


def marks(*places: tuple[slice, slice], odds: float = 2.4) -> torch.Tensor:
    """Log odds (1, 1, 400, 512) of -4, and others in these places, which end sharply: one look believes in them."""
    marked = torch.full((1, 1, 400, 512), -4.0)
    for place in places:
        marked[..., *place] = odds
    return marked


def look(sizes: list[tuple[int, int]]) -> Look:
    """A look that sees stains only, and tells at which sizes it was asked."""

    def seen(photo: torch.Tensor) -> torch.Tensor:
        sizes.append((photo.shape[-2], photo.shape[-1]))
        return 9 * (photo.amin(1, keepdim=True) > 0.97).float() - 6

    return seen


@pytest.mark.parametrize("scale", [1, 2])
def test_a_forehead_that_is_not_seen_at_other_sizes_is_no_damage_and_a_stain_is(scale: int) -> None:
    odds, sizes = marks(FOREHEAD, STAIN), list[tuple[int, int]]()
    odds[..., *CHEEK] = 5  # a scratch
    before = odds.clone()
    odds, pixels = (one.repeat_interleave(scale, -1).repeat_interleave(scale, -2) for one in (odds, astronaut()))
    share = lower_doubtful_(odds, View(pixels, scale), look(sizes))
    odds = odds[..., ::scale, ::scale]
    assert odds[..., 73:111, 201:249].max() <= 0 and share == pytest.approx(40 * 50 / (400 * 512), rel=0.02)
    assert torch.equal(odds[..., *STAIN], before[..., *STAIN]) and torch.equal(odds[..., *CHEEK], before[..., *CHEEK])
    assert len(sizes) == 6 and sizes[0][0] < sizes[1][0] < sizes[2][0] < 400


def test_a_scratch_across_the_forehead_stays() -> None:
    odds = marks(FOREHEAD)
    odds[..., 90:93, 150:300] = 6
    lower_doubtful_(odds, View(astronaut()), look([]))
    assert (odds[..., 90:93, 150:300] > 2).all()
    odds[..., 90:93, :] = -1
    assert odds.max() <= 0


def test_what_is_certain_or_too_large_for_other_looks_is_believed_unasked() -> None:
    certain, large = marks(FOREHEAD, odds=6), torch.full((1, 1, 1100, 1100), -4.0)
    large[..., 20:1080, 20:1080] = 2.4
    noise = torch.from_numpy(np.random.default_rng(0).random((1100, 1100), np.float32)).expand(1, 3, -1, -1)
    small = marks(FOREHEAD)[..., :120, :], astronaut()[..., :120, :]
    for odds, pixels in ((certain, astronaut()), (large, noise), small):
        before, sizes = odds.clone(), list[tuple[int, int]]()
        assert lower_doubtful_(odds, View(pixels), look(sizes)) == 0
        assert torch.equal(odds, before) and not sizes


@pytest.mark.parametrize(
    ("face", "marked"),
    [((200.0, 95.0, 250.0, 160.0), False), ((300.0, 95.0, 350.0, 160.0), True), ((200.0, 160.0, 250.0, 220.0), True)],
)
def test_on_a_face_less_is_enough(face: Box, marked: bool) -> None:
    odds, answers, sizes = marks(FOREHEAD), iter([3.0, 1.0, -5.0]), list[tuple[int, ...]]()

    def find_faces(light: np.ndarray) -> list[Box]:
        sizes.append(light.shape)
        return [face]

    view = View(astronaut(), find_faces=find_faces)
    lower_doubtful_(odds, view, lambda photo: torch.full_like(photo[:, :1], next(answers)))
    assert bool(odds.max() > 0) is marked and sizes == [(400, 512)]


@pytest.mark.parametrize("seen", [3.0, -7.0])
def test_faces_are_not_searched_for_where_the_looks_agree(seen: float) -> None:
    def find_faces(light: np.ndarray) -> list[Box]:
        raise AssertionError

    view = View(astronaut(), find_faces=find_faces)
    assert (lower_doubtful_(marks(FOREHEAD), view, lambda photo: torch.full_like(photo[:, :1], seen)) > 0) is (seen < 0)
