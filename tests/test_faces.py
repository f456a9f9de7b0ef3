"""Faces are found, aligned, refined and put back without harm to the rest of the photo or to who they are."""

from pathlib import Path

import dlib
import numpy as np
import pytest
import torch
from skimage import data
from torch import nn

from bringback.alignment import EYES, NOSE_BASE, align, anchors, feather, footprint, paste, scale, similarity
from bringback.face_finder import FaceFinder, identity_distances
from bringback.photo import Photo, is_grey
from bringback.restoration import Restoration
from bringback.stages.faces import FaceRefiner, match_tone

TEMPLATE = np.array([(73, 108.5), (105, 108.5), (151, 108.5), (183, 108.5), NOSE_BASE])


class Sharper(nn.Module):
    def forward(self, crops):
        return crops + 0.7 * (crops - nn.functional.avg_pool2d(crops, 5, 1, 2, count_include_pad=False))


class Tinted(nn.Module):
    def forward(self, crops):
        return crops * crops.new_tensor([1.1, 1.0, 0.7]).view(3, 1, 1) + 0.05


class Stranger(nn.Module):
    """Covers the face with upside-down, inverted noise: nobody's face."""

    def forward(self, crops):
        return (1 - crops).flip(2)


@pytest.fixture(scope="module")
def finder():
    return FaceFinder()


@pytest.fixture(scope="module")
def portrait():
    return np.ascontiguousarray(data.astronaut()[:256, 90:346]).astype(np.float32) / 255


@pytest.fixture(scope="module")
def found(finder, portrait):
    return finder.find(portrait)


def start(pixels):
    return Restoration.start(Photo.from_array(pixels))


def rgb(restoration):
    return restoration.pixels[0].permute(1, 2, 0).numpy()


def turned(degrees, zoom, shift):
    angle = np.deg2rad(degrees)
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return TEMPLATE @ turn.T + shift


@pytest.mark.parametrize("size", [256, 512])
def test_a_face_lands_on_the_template(size):
    points = turned(25, 0.4, (300, 120))
    matrix = similarity(points, size)
    landed = np.c_[anchors(points), np.ones(3)] @ matrix.T
    np.testing.assert_allclose(landed, np.array([*EYES, NOSE_BASE]) * size / 256, atol=1e-6)
    assert scale(matrix) == pytest.approx(size / 256 / 0.4)


def test_the_nose_keeps_a_turned_face_from_being_blown_up():
    points = TEMPLATE.copy()
    points[:, 0] = 128 + (points[:, 0] - 128) * 0.5  # eyes half as far apart, the face as high as before
    assert 1 <= scale(similarity(points)) < 1.5


def test_astronaut_has_one_face_with_its_points_from_left_to_right(finder):
    pixels = data.astronaut().astype(np.float32) / 255
    (face,) = finder.find(pixels)
    assert (np.diff(face.points[:4, 0]) > 0).all()
    assert face.points[4, 1] > face.points[:4, 1].max()
    matrix = similarity(face.points)
    landed = np.c_[anchors(face.points), np.ones(3)] @ matrix.T
    np.testing.assert_allclose(landed[:2], EYES, atol=6)


def test_small_and_dark_faces_are_found(finder):
    astronaut = data.astronaut()
    small = astronaut[::2, ::2].astype(np.float32) / 255
    dark = (astronaut.astype(np.float32) / 255) ** 2 * 0.08
    assert len(finder.find(small)) == 1
    assert len(finder.find(np.round(dark * 255) / 255)) == 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (40, 17)])
def test_odd_shapes_have_no_faces(finder, shape):
    assert finder.find(np.full((*shape, 3), 0.5, np.float32)) == []


def test_the_68_point_model_is_never_loaded(monkeypatch, portrait):
    loaded = []
    for kind in ("shape_predictor", "face_recognition_model_v1"):
        real = getattr(dlib, kind)
        monkeypatch.setattr(dlib, kind, lambda path, real=real: loaded.append(path) or real(path))
    FaceRefiner(nn.Identity())(start(portrait))
    names = [Path(path).name for path in loaded]
    assert any("5_face_landmarks" in name for name in names)
    assert not any("68" in name for name in names)


def test_an_identity_generator_changes_nothing(portrait):
    restoration = FaceRefiner(nn.Identity())(start(portrait))
    assert restoration.notes["faces"] == {"found": 1, "refined": 1}
    assert restoration.faces[0].status == "refined"
    assert restoration.faces[0].identity == pytest.approx(0, abs=1e-3)
    np.testing.assert_allclose(rgb(restoration), portrait, atol=1e-3)


def test_nothing_changes_outside_the_face(portrait, found):
    restoration = FaceRefiner(Sharper())(start(portrait))
    left, top, right, bottom = footprint(similarity(found[0].points), 256, *portrait.shape[:2])
    outside = np.ones(portrait.shape[:2], bool)
    outside[top:bottom, left:right] = False
    assert outside.any()
    change = np.abs(rgb(restoration) - portrait).max(2)
    assert (change[outside] == 0).all()
    assert change[~outside].max() > 0.02


def test_a_generator_s_tint_does_not_show(portrait):
    restoration = FaceRefiner(Tinted())(start(portrait))
    left, top, right, bottom = (round(edge) for edge in restoration.faces[0].box)
    means = [picture[top:bottom, left:right].mean((0, 1)) for picture in (rgb(restoration), portrait)]
    np.testing.assert_allclose(*means, atol=0.02)


def test_tone_is_matched_whatever_gain_and_offset(portrait):
    crop = torch.from_numpy(portrait.transpose(2, 0, 1))[None]
    torch.testing.assert_close(match_tone(crop * 0.9 + 0.05, crop), crop, atol=5e-3, rtol=0)


def test_a_grey_photo_stays_grey(portrait):
    grey = np.repeat(portrait.mean(2, keepdims=True), 3, axis=2)
    noisy = (grey + np.random.default_rng(0).normal(0, 0.01, grey.shape)).clip(0, 1).astype(np.float32)

    class Colours(nn.Module):
        def forward(self, crops):
            y, x = torch.meshgrid(torch.linspace(-0.2, 0.2, 256), torch.linspace(-0.2, 0.2, 256), indexing="ij")
            return crops + torch.stack([x, y, -x])

    plain = rgb(FaceRefiner(Colours())(start(grey)))
    np.testing.assert_allclose(plain[..., 0], plain[..., 2], atol=1e-6)
    assert is_grey(rgb(FaceRefiner(Colours())(start(noisy))))


def test_a_face_larger_than_its_crop_keeps_its_detail():
    size = 400
    texture = np.random.default_rng(0).random((size, size, 3), dtype=np.float32) * 0.5 + 0.25
    matrix = similarity(TEMPLATE * 1.5)
    change = np.full((256, 256, 3), 0.1, np.float32)
    result = paste(texture, [change], [matrix])
    middle = slice(150, 250)
    np.testing.assert_allclose((result - texture)[middle, middle], 0.1, atol=1e-3)


def test_overlapping_faces_share_their_place(portrait):
    matrix = similarity(TEMPLATE)
    change = np.full((256, 256, 3), 0.1, np.float32)
    once, twice = (paste(portrait * 0.5, [change] * n, [matrix] * n) for n in (1, 2))
    assert (twice - portrait * 0.5).max() < 0.101
    np.testing.assert_allclose(once[128, 128], twice[128, 128], atol=1e-5)


def test_the_feather_is_zero_on_the_border_and_one_on_the_face():
    mask = feather()[..., 0]
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    assert border.max() == 0
    assert mask[80:200, 70:186].min() > 0.99


def test_a_photo_without_faces_is_untouched():
    pixels = data.coffee()[:200, :200].astype(np.float32) / 255
    restoration = FaceRefiner(Stranger())(start(pixels))
    assert restoration.notes["faces"] == {"found": 0, "refined": 0}
    assert restoration.faces == []
    np.testing.assert_array_equal(rgb(restoration), pixels)


def test_a_stranger_is_refused(portrait):
    restoration = FaceRefiner(Stranger())(start(portrait))
    face = restoration.faces[0]
    change = np.abs(rgb(restoration) - portrait).max()
    assert face.status != "refined"
    if face.status.startswith("left alone"):
        assert change == 0
        assert face.identity > 0.45
    else:
        assert face.identity <= 0.45


def test_the_guard_makes_refinement_milder(portrait, monkeypatch):
    asked = []

    def distances(before, after):
        asked.append(float((after - before).abs().max()))
        return [0.9 if len(asked) == 1 else 0.3] * len(before)

    monkeypatch.setattr("bringback.stages.faces.identity_distances", distances)
    milder = FaceRefiner(Sharper())(start(portrait))
    assert milder.faces[0].status == "refined at 66%"
    assert milder.faces[0].identity == 0.3
    assert len(asked) == 2
    assert asked[1] < asked[0]


@pytest.mark.parametrize(("zoom", "status"), [(0.1, "too small"), (5.0, "too large")])
def test_faces_of_a_wrong_size_are_left_alone(portrait, monkeypatch, zoom, status):
    stage = FaceRefiner(Stranger())
    points = TEMPLATE * zoom
    face = type("Found", (), {"box": (0.0, 0.0, 256 * zoom, 256 * zoom), "points": points})
    monkeypatch.setattr(stage.finder, "find", lambda pixels: [face])
    restoration = stage(start(portrait))
    assert status in restoration.faces[0].status
    assert restoration.notes["faces"] == {"found": 1, "refined": 0}
    np.testing.assert_array_equal(rgb(restoration), portrait)


def test_a_face_larger_than_its_crop_is_refined(portrait, monkeypatch):
    stage = FaceRefiner(nn.Identity())
    face = type("Found", (), {"box": (0.0, 0.0, 768.0, 768.0), "points": TEMPLATE * 3})  # eyes 234 pixels apart
    monkeypatch.setattr(stage.finder, "find", lambda pixels: [face])
    assert stage(start(portrait)).faces[0].status == "refined"


def test_refine_works_on_plain_crops(portrait, found):
    crop = torch.from_numpy(align(portrait, similarity(found[0].points)).transpose(2, 0, 1).copy())
    crops = torch.stack([crop, crop.flip(2), crop.mean(0, keepdim=True).expand(3, -1, -1)])
    refined = FaceRefiner(Sharper(), batch=2).refine(crops)
    assert refined.shape == crops.shape
    assert refined.dtype == torch.float32
    assert 0 <= refined.min() <= refined.max() <= 1
    assert (refined[2].amax(0) - refined[2].amin(0)).max() < 1e-5
    assert (refined - crops).abs().max() > 0.02


def test_identity_distance_is_zero_for_the_same_and_large_for_another(portrait, found):
    crop = torch.from_numpy(align(portrait, similarity(found[0].points)).transpose(2, 0, 1).copy())[None]
    same, other = identity_distances(crop.repeat(2, 1, 1, 1), torch.cat([crop, Stranger()(crop)]))
    assert same == 0
    assert other > 0.45
    assert identity_distances(crop[:0], crop[:0]) == []
