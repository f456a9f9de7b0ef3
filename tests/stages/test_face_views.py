"""The second view of a face: mirrored, and as it came."""

import numpy as np
import pytest
import torch
from skimage import data
from torch import nn

from bringback.images.photo import Photo
from bringback.stages.faces.alignment import align, scale, similarity
from bringback.stages.faces.detector import FaceFinder
from bringback.stages.faces.stage import LARGE, FaceRefiner
from bringback.stages.faces.views import SHARES, TwoViews, as_it_came, hardly_worn
from bringback.stages.record import Restoration

WHOLE = np.array([[1.0, 0, 0], [0, 1, 0]])


class Same(nn.Module):
    def forward(self, crops, mask):
        return crops


class Brighter(nn.Module):
    """Adds more on the left, so a mirrored face gets more on its right."""

    def forward(self, crops, mask):
        return crops + torch.linspace(0.2, 0, crops.shape[-1])


@pytest.fixture(scope="module")
def portrait():
    return np.ascontiguousarray(data.astronaut()[:256, 90:346]).astype(np.float32) / 255


def waves(period):
    wave = 0.2 * torch.cos(torch.arange(256) * (2 * torch.pi / period))
    return wave.expand(1, 3, 256, 256)


def joined(came, crops):
    return TwoViews(Same())(crops, torch.zeros_like(crops[:, :1]), came)


def test_of_one_picture_the_mean_of_both_views_is_taken():
    crops = torch.rand(2, 3, 256, 256)
    made = TwoViews(Brighter())(crops, torch.zeros(2, 1, 256, 256))
    torch.testing.assert_close(made, crops + 0.1)


@pytest.mark.parametrize(("period", "share"), [(3, SHARES[0][1]), (8, None), (1e9, 0)])
def test_of_a_face_as_it_came_fine_detail_is_taken_less_than_broad_and_no_tone(period, share):
    crops = torch.full((1, 3, 256, 256), 0.5)
    taken = (joined(crops + waves(period), crops) - crops)[..., 64:-64, 64:-64] / waves(period)[..., 64:-64, 64:-64]
    if share is None:
        assert SHARES[0][1] < taken.mean() < SHARES[-1][1]
    else:
        assert taken.mean() == pytest.approx(share, abs=0.03)


def test_of_a_face_as_it_came_no_color_is_taken():
    crops = torch.full((1, 3, 256, 256), 0.5)
    red_and_blue = waves(8) * torch.tensor([0.114, 0, -0.299]).view(3, 1, 1)  # without luminance
    torch.testing.assert_close(joined(crops + red_and_blue, crops), crops)


def test_faces_do_not_hang_on_what_else_is_in_the_batch():
    crops = torch.rand(2, 3, 256, 256)
    came = crops.clone()
    came[1] += waves(8)[0]
    both = joined(came, crops)
    for number in range(2):
        one = slice(number, number + 1)
        torch.testing.assert_close(both[one], joined(came[one], crops[one]), rtol=0, atol=0)


def test_a_face_as_it_came_gets_the_tone_it_has_now(portrait):
    now = torch.from_numpy(portrait.transpose(2, 0, 1))
    faded = portrait * (0.7, 0.6, 0.8) + 0.1
    came = as_it_came(faded.astype(np.float32), now, torch.zeros(1, 256, 256), WHOLE)
    assert came is not now
    torch.testing.assert_close(came, now, atol=2e-3, rtol=0)


def test_what_was_filled_is_not_taken_from_the_face_as_it_came(portrait):
    now, filled = torch.from_numpy(portrait.transpose(2, 0, 1)), torch.zeros(1, 256, 256)
    filled[:, 100:110] = 1
    scratched = portrait.copy()
    scratched[100:110] = 1
    torch.testing.assert_close(as_it_came(scratched, now, filled, WHOLE), now, atol=1e-6, rtol=0)


@pytest.mark.parametrize("change", [lambda one: 1 - one, lambda one: one[::-1].copy(), lambda one: one * 0.3])
def test_another_picture_is_no_view_of_the_face(portrait, change):
    now = torch.from_numpy(portrait.transpose(2, 0, 1))
    assert as_it_came(change(portrait), now, torch.zeros(1, 256, 256), WHOLE) is now


def test_the_stage_shows_the_generator_the_photo_before_it_was_translated(portrait):
    told = []

    class Listener(nn.Module):
        def forward(self, crops, mask):
            told.append(crops)
            return crops

    restoration = Restoration.start(Photo.from_array(portrait))
    restoration.pixels = nn.functional.avg_pool2d(restoration.pixels, 5, 1, 2, count_include_pad=False)
    soft = restoration.pixels[0].permute(1, 2, 0).numpy().copy()
    matrix = similarity(FaceFinder().find(soft)[0].points)
    FaceRefiner(TwoViews(Listener()))(restoration)
    now, came = (torch.from_numpy(align(picture, matrix)).permute(2, 0, 1) for picture in (soft, portrait))
    torch.testing.assert_close(told[0][0], now)
    torch.testing.assert_close(told[0][1].flip(2), came, atol=0.03, rtol=0)
    assert (came - now).abs().mean() > 0.01


def test_a_face_that_no_stage_has_changed_may_be_worn():
    crop = torch.full((3, 256, 256), 0.5)
    assert [hardly_worn(crop, crop + change) for change in (0, 0.01, -0.01, 0.04)] == [False, True, True, False]


@pytest.mark.parametrize(
    ("zoom", "change", "refined"), [(3, 0.01, False), (3, 0.06, True), (3, 0, True), (1, 0.01, True)]
)
def test_a_large_face_that_is_hardly_worn_is_left_alone(portrait, zoom, change, refined):
    size = round(256 * zoom)
    noise = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(0)).clamp(-2, 2)
    large = nn.functional.interpolate(torch.from_numpy(portrait.transpose(2, 0, 1))[None], (size, size), mode="bicubic")
    worn = (large + change * nn.functional.interpolate(noise, (size, size))).clamp(0, 1)
    restoration = Restoration.start(Photo.from_array(worn[0].permute(1, 2, 0).numpy()))
    restoration.pixels = large.clamp(0, 1)
    (face,) = FaceRefiner(TwoViews(Brighter()))(restoration).faces
    assert (scale(similarity(face.points)) < LARGE) == (zoom > 1)
    assert face.status == ("refined" if refined else "left alone: larger than its crop, hardly worn")
