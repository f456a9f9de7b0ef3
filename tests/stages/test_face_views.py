"""The second view of a face: mirrored, or as it came."""

import cv2
import numpy as np
import pytest
import torch
from skimage import data
from torch import nn

from bringback.images.photo import Photo
from bringback.models.faces.generator import FaceGenerator
from bringback.models.registry import MODELS
from bringback.models.translation.mapping import LatentMapping
from bringback.models.translation.vae import VAE
from bringback.stages.denoise import Denoiser
from bringback.stages.faces.alignment import align, scale, similarity
from bringback.stages.faces.blending import PASTED, feather
from bringback.stages.faces.detector import FaceFinder
from bringback.stages.faces.stage import LARGE, FaceRefiner
from bringback.stages.faces.views import (
    HARDLY,
    KEPT,
    TwoViews,
    as_it_came,
    changed_by,
    kept,
)
from bringback.stages.record import Restoration
from bringback.stages.translate import LatentTranslator

WHOLE = np.array([[1.0, 0, 0], [0, 1, 0]])


class Same(nn.Module):
    def forward(self, crops, mask, came=None):
        return crops


class Brighter(nn.Module):
    """Adds more on the left, so a mirrored face gets more on its right."""

    def forward(self, crops, mask, came=None):
        return crops + torch.linspace(0.2, 0, crops.shape[-1])


@pytest.fixture(scope="module")
def portrait():
    return np.ascontiguousarray(data.astronaut()[:256, 90:346]).astype(np.float32) / 255


def waves(period, height=0.2):
    wave = height * torch.cos(torch.arange(256) * (2 * torch.pi / period))
    return wave.expand(1, 3, 256, 256)


def test_of_one_picture_the_mean_of_both_views_is_taken():
    crops = torch.rand(2, 3, 256, 256)
    made = TwoViews(Brighter())(crops, torch.zeros(2, 1, 256, 256), crops)
    torch.testing.assert_close(made, crops + 0.1)


def test_a_loaded_generator_is_cast_once():
    refiner = FaceRefiner(TwoViews(FaceGenerator((8, 8), (1, 1), hidden=4).eval().requires_grad_(False)))
    cast = refiner._cast.of(refiner.generator, torch.bfloat16)
    assert cast is refiner._cast.of(refiner.generator, torch.bfloat16)
    assert {one.dtype for one in cast.parameters()} == {torch.bfloat16}
    assert TwoViews(FaceGenerator((8, 8), (1, 1), hidden=4)).training


def test_in_photos_faces_are_made_only_where_they_are_pasted(portrait, monkeypatch):
    rest = feather().copy()
    rest[PASTED[1] : PASTED[3], PASTED[0] : PASTED[2]] = 0
    assert rest.max() == 0
    assert PASTED[0] + PASTED[2] == 256  # the mirror image is made in the same box
    boxes = []

    def inside(self, degraded, mask, box, came):
        boxes.append(box)
        return degraded

    monkeypatch.setattr(FaceGenerator, "inside", inside)
    refiner = FaceRefiner(TwoViews(FaceGenerator((8, 8), (1, 1), hidden=4)))
    refiner(Restoration.start(Photo.from_array(portrait)))
    cleaned = Restoration.start(Photo.from_array(portrait))
    cleaned.pixels, cleaned.cleaned = nn.functional.avg_pool2d(cleaned.pixels, 5, 1, 2, count_include_pad=False), True
    refiner(cleaned)
    assert boxes == [PASTED] * 2
    boxes.clear()
    refiner.refine(torch.rand(1, 3, 256, 256))  # a crop is refined as a whole
    assert set(boxes) == {None}


def test_another_engine_makes_the_box_too():
    network, crops = FaceGenerator((8, 8), (1, 1), hidden=4), torch.rand(1, 3, 256, 256)
    MODELS["faces"].attach(network, {"": lambda degraded, mask, came: degraded + 0.1})
    made = TwoViews(network)(crops, torch.zeros(1, 1, 256, 256), crops, box=PASTED)
    torch.testing.assert_close(made, crops + 0.1)


@pytest.mark.parametrize(
    ("period", "far", "share"),
    [(9, HARDLY[0] / 2, KEPT), (9, HARDLY[1] * 1.6, 0), (3, HARDLY[0] / 2, 0), (1e9, HARDLY[0] / 2, 0)],
)
def test_of_a_face_that_hardly_changes_most_is_kept_but_noise_and_tone(period, far, share):
    change = waves(period) / 0.2 * far * (2**0.5 if period < 1e9 else 1)
    refined = torch.full((2, 3, 256, 256), 0.5)
    came = refined + torch.cat([change, waves(9)])
    taken = kept(came, refined, PASTED)
    middle = (0, 0, slice(64, -64), slice(64, -64))
    measured = float((taken[middle] * change[middle]).sum() / change[middle].square().sum())
    assert measured == pytest.approx(share, abs=0.12)
    assert taken[1].abs().max() == 0  # a face that is worn beside it


def test_a_face_that_does_not_change_at_all_has_a_gradient():
    refined = torch.full((1, 3, 256, 256), 0.5, requires_grad=True)
    came = refined.detach()
    kept(came, refined).sum().backward()
    assert refined.grad.isfinite().all()


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


@pytest.mark.parametrize("width", [3, 5])
def test_a_filled_scratch_does_not_come_back_where_the_face_is_shrunk(portrait, width):
    half, rows = WHOLE * 0.5, slice(257, 257 + width)
    sound = cv2.resize(portrait, (512, 512), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    scratched, filled = sound.copy(), np.zeros((512, 512), np.float32)
    scratched[rows], filled[rows] = 1, 1
    now, worn = (torch.from_numpy(align(picture, half)).permute(2, 0, 1) for picture in (sound, scratched))
    came = as_it_came(scratched, now, torch.from_numpy(align(filled, half))[None], half)
    assert (came - now).abs().sum() < 0.03 * (worn - now).abs().sum()
    assert (came - now).abs().max() < 0.03 * (worn - now).abs().max()


@pytest.mark.parametrize("change", [lambda one: 1 - one, lambda one: one[::-1].copy(), lambda one: one * 0.3])
def test_another_picture_is_no_view_of_the_face(portrait, change):
    now = torch.from_numpy(portrait.transpose(2, 0, 1))
    assert as_it_came(change(portrait), now, torch.zeros(1, 256, 256), WHOLE) is None


class Listener(nn.Module):
    """Keeps the crops that it is shown in `told`, and how they came."""

    def __init__(self):
        super().__init__()
        self.told, self.came = [], []

    def forward(self, crops, mask, came=None):
        self.told.append(crops)
        self.came.append(came)
        return crops


def test_the_stage_shows_the_generator_the_photo_before_it_was_translated(portrait):
    restoration = Restoration.start(Photo.from_array(portrait))
    restoration.pixels = nn.functional.avg_pool2d(restoration.pixels, 5, 1, 2, count_include_pad=False)
    restoration.cleaned = True
    soft = restoration.pixels[0].permute(1, 2, 0).numpy().copy()
    matrix = similarity(FaceFinder().find(soft)[0].points)
    listener = Listener()
    FaceRefiner(TwoViews(listener))(restoration)
    now, came = (torch.from_numpy(align(picture, matrix)).permute(2, 0, 1) for picture in (soft, portrait))
    assert len(listener.told) == 1  # one look
    torch.testing.assert_close(listener.told[0][0], now, rtol=0, atol=1e-6)
    torch.testing.assert_close(listener.came[0][0], as_it_came(portrait, now, torch.zeros(1, 256, 256), matrix))
    assert (listener.came[0] - came).abs().mean() < 0.2 * (now - came).abs().mean()


def test_an_aligned_crop_that_was_cleaned_is_told_how_it_came(portrait):
    listener = Listener()
    refiner = FaceRefiner(TwoViews(listener), aligned=True)
    whole = torch.from_numpy(portrait.transpose(2, 0, 1))
    for cleaned in (True, False):
        restoration = Restoration.start(Photo.from_array(portrait))
        soft = nn.functional.avg_pool2d(restoration.pixels, 5, 1, 2, count_include_pad=False)
        restoration.pixels, restoration.cleaned = soft, cleaned
        refiner(restoration)
        told, mirrored = listener.came.pop()
        torch.testing.assert_close(told, mirrored.flip(2))
        assert (told - (whole if cleaned else soft[0])).abs().mean() < 0.003


def test_a_face_that_nothing_has_cleaned_is_seen_mirrored_too(portrait):
    restoration, listener = Restoration.start(Photo.from_array(portrait)), Listener()
    FaceRefiner(TwoViews(listener))(restoration)
    plain, mirrored = listener.told[0]
    torch.testing.assert_close(plain, mirrored.flip(2), atol=0, rtol=0)


def test_a_photo_that_was_enlarged_is_seen_as_it_is_both_times(portrait):
    restoration, listener = Restoration.start(Photo.from_array(portrait)), Listener()
    restoration.cleaned = True
    # by so little that the face would be taken for the same one at the same place
    restoration.enlarge(nn.functional.interpolate(restoration.pixels, (258, 258), mode="bicubic").clamp(0, 1))
    FaceRefiner(TwoViews(listener))(restoration)
    plain, mirrored = listener.told[0]
    torch.testing.assert_close(plain, mirrored.flip(2), atol=0, rtol=0)


def test_how_far_a_face_is_from_how_it_came():
    crop = torch.full((3, 256, 256), 0.5)
    assert [changed_by(crop, crop + change) for change in (0, 0.01, -0.01)] == pytest.approx([0, 0.01, 0.01])


SOUND, LARGE_AND_SHARP = "left alone: sound", "left alone: larger than its crop, hardly worn"


def enlarged(portrait, zoom, noise=0.0):
    size = round(256 * zoom)
    grain = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(0)).clamp(-2, 2)
    large = nn.functional.interpolate(torch.from_numpy(portrait.transpose(2, 0, 1))[None], (size, size), mode="bicubic")
    return (large + noise * nn.functional.interpolate(grain, (size, size))).clamp(0, 1)


def of_pixels(pixels):
    return Restoration.start(Photo.from_array(pixels[0].permute(1, 2, 0).numpy()))


@pytest.mark.parametrize(
    ("zoom", "change", "native", "status"),
    [
        (3, 0.01, 1, LARGE_AND_SHARP),
        (3, 0.06, 1, "refined"),
        (3, 0.01, 3, "refined"),
        (1, 0.01, 1, "refined"),
        (3, 0, 1, SOUND),
        (1, 0, 1, SOUND),
        (1, 0.0005, 1, SOUND),
    ],
)
def test_a_face_that_cleaning_hardly_changed_is_left_alone_if_it_is_large_or_sound(
    portrait, zoom, change, native, status
):
    restoration = of_pixels(enlarged(portrait, zoom, change))
    restoration.pixels, restoration.cleaned, restoration.scale = enlarged(portrait, zoom), True, native
    (face,) = FaceRefiner(TwoViews(Brighter()))(restoration).faces
    assert (scale(similarity(face.points)) < LARGE) == (zoom > 1)
    assert face.status == status


@pytest.mark.parametrize(("cleaned", "hole"), [(False, False), (True, True)])
def test_a_face_as_it_came_is_refined_if_nothing_has_cleaned_it_or_something_was_filled(portrait, cleaned, hole):
    restoration = of_pixels(enlarged(portrait, 1))
    restoration.cleaned = cleaned
    if hole:
        restoration.filled = torch.zeros(1, 1, 256, 256)
        restoration.filled[..., 120:130, 120:130] = 1
    assert [face.status for face in FaceRefiner(TwoViews(Brighter()))(restoration).faces] == ["refined"]


@pytest.mark.parametrize("toned", [lambda pixels: pixels * 0.9 + 0.02, lambda pixels: pixels + 1e-7, torch.clone])
def test_a_large_noisy_face_that_was_toned_but_not_cleaned_is_refined(portrait, toned):
    restoration = of_pixels(enlarged(portrait, 3, 0.06))
    restoration.pixels = toned(restoration.pixels).clamp(0, 1)
    (face,) = FaceRefiner(TwoViews(Brighter()))(restoration).faces
    assert face.status == "refined"


@pytest.mark.parametrize("case", ["another generator", "another picture", "enlarged"])
def test_a_large_face_of_which_is_not_known_how_it_came_is_refined(portrait, case):
    restoration = of_pixels(1 - enlarged(portrait, 3) if case == "another picture" else enlarged(portrait, 3))
    restoration.pixels, restoration.cleaned = enlarged(portrait, 3), True
    if case == "enlarged":
        restoration.enlarge(enlarged(portrait, 3.01))
    generator = Brighter() if case == "another generator" else TwoViews(Brighter())
    assert [face.status for face in FaceRefiner(generator)(restoration).faces] == ["refined"]


def test_translation_and_denoising_clean_a_photo():
    def cleaned(stage):
        restoration = Restoration.start(Photo.from_array(np.full((16, 16, 3), 0.5, np.float32)))
        return restoration.cleaned, stage(restoration).cleaned

    mapping = LatentMapping(widths=(8, 8, 8), blocks=(1, 1, 1), inner=4)
    assert cleaned(LatentTranslator(VAE(), mapping, VAE())) == (False, True)
    assert cleaned(Denoiser()) == (False, True)
    assert cleaned(Denoiser(strength=0)) == (False, False)
