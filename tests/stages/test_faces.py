"""Faces are found, aligned, refined and put back without harm to the rest of the photo or to who they are."""

import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import dlib
import numpy as np
import pytest
import torch
from skimage import data
from torch import nn

from bringback.errors import PhotoError
from bringback.images.photo import Photo, is_gray
from bringback.models.faces.descriptor import FaceDescriptor
from bringback.models.faces.judge import FaceJudge
from bringback.pipeline import Pipeline
from bringback.runtime.compute import DTYPES, Compute
from bringback.stages.faces import blending, detector
from bringback.stages.faces.alignment import EYES, NOSE_BASE, align, anchors, footprint, scale, similarity, warp
from bringback.stages.faces.blending import feather, grain, grain_shares, paste
from bringback.stages.faces.detector import SURE, TURNS, FaceFinder, Found, _Seen
from bringback.stages.faces.identity import (
    descriptor_network,
    descriptors,
    face_features,
    identity_distances,
    read_descriptor,
)
from bringback.stages.faces.stage import FaceRefiner, match_tone
from bringback.stages.faces.views import TwoViews
from bringback.stages.record import Restoration
from bringback.weights.checkpoints import Checkpoints
from bringback.weights.dlib_files import model_file

TEMPLATE = np.array([(73, 108.5), (105, 108.5), (151, 108.5), (183, 108.5), NOSE_BASE])


class Sharper(nn.Module):
    def forward(self, crops, mask=None):
        return crops + 0.7 * (crops - nn.functional.avg_pool2d(crops, 5, 1, 2, count_include_pad=False))


class Crisper(nn.Module):
    def forward(self, crops, mask=None):
        return crops + 1.2 * (crops - nn.functional.avg_pool2d(crops, 15, 1, 7, count_include_pad=False))


class Same(nn.Module):
    def forward(self, crops, mask=None):
        return crops


class Tinted(nn.Module):
    def forward(self, crops, mask=None):
        return crops * crops.new_tensor([1.1, 1.0, 0.7]).view(3, 1, 1) + 0.05


class Stranger(nn.Module):
    """Covers the face with upside-down, inverted noise: nobody's face."""

    def forward(self, crops, mask=None):
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


@pytest.mark.parametrize(
    ("views", "wander", "odds", "found"), [(7, 0.01, 9, 1), (7, 0.01, -9, 0), (2, 0.02, 9, 1), (2, 0.06, 9, 0)]
)
def test_a_face_that_no_view_shows_surely_is_found_if_it_looks_like_one(
    finder, monkeypatch, views, wander, odds, found
):
    calls, told = [], []

    def search(gray, zoom, degrees, change, least=SURE):
        face = Found((30, 30, 70, 70), np.array([(35, 40), (45, 40), (55, 40), (65, 40), (50, 55)], float), -0.5)
        calls.append(face)
        if least == SURE or len(calls) > len(TURNS) + 3 + views:
            return []
        mirrored = np.allclose(gray[:, :20], 1)  # the views show the same face, mirrored ones the mirrored face
        return [_Seen(face.mirrored(100) if mirrored else face, wander)]

    def judge(features, facts):
        told.append((features.shape, facts))
        return torch.full((len(facts),), float(odds))

    monkeypatch.setattr(finder, "_search", search)
    monkeypatch.setattr(detector, "_judge", lambda: judge)
    pixels = np.zeros((100, 100, 3), np.float32)
    pixels[:, -20:] = 1
    faces = finder.find(pixels)
    assert len(faces) == found
    if found:
        np.testing.assert_allclose(faces[0].points[:, 0], (35, 45, 55, 65, 50))
        assert faces[0].box == (30, 30, 70, 70)
        score = 0.5 * views / 7 - 15 * wander
        expected = [score, wander, 0, views / 7, 0.5, 0, 0.5, 0, 15 / 40]  # eyes 20 of 40 pixels apart, nose 15 below
        assert told[0][0] == (1, 256)
        np.testing.assert_allclose(told[0][1][0], expected, atol=1e-6)


def test_an_eye_that_looks_like_a_face_is_none_in_one(finder, monkeypatch):
    points = np.array([(35, 40), (45, 40), (55, 40), (65, 40), (50, 55)], float)
    face = Found((30.0, 30.0, 70.0, 70.0), points, 0.5)
    eye = Found((38.0, 38.0, 48.0, 48.0), (points - 50) / 4 + 43, 0.6)
    other = Found((130.0, 30.0, 170.0, 70.0), points + np.array([100, 0]), 0.1)
    crop = np.zeros((256, 256), np.float32)
    doubtful = [detector.Doubtful(one, crop, [0.0] * 9) for one in (eye, face, other)]
    monkeypatch.setattr(finder, "doubtful", lambda gray: doubtful)
    monkeypatch.setattr(detector, "_judge", lambda: lambda features, facts: torch.tensor([3.0, 5.0, 2.0]))
    assert finder._agreed(crop) == [face, other]


def test_the_judge_tells_a_face_from_what_is_none(finder, portrait):
    judge = FaceJudge.shipped()
    assert sum(parameter.numel() for parameter in judge.parameters()) < 20_000

    face = finder.doubtful(cv2.cvtColor(portrait, cv2.COLOR_RGB2GRAY))[0]
    cup = cv2.cvtColor(data.coffee()[100:356, 150:406], cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    crops = torch.from_numpy(np.stack([face.crop, cup]))[:, None]
    weak = [-0.4, 0.03, 0.0, 0.3, 0.2, *face.facts[5:]]  # as what is none is mostly seen
    first, second, third = judge(face_features(crops[[0, 0, 1]]), torch.tensor([face.facts, weak, weak])).tolist()
    assert first > 2 and second > 0 > third


@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (40, 17)])
def test_odd_shapes_have_no_faces(finder, shape):
    assert finder.find(np.full((*shape, 3), 0.5, np.float32)) == []


def test_the_68_point_model_is_never_loaded(monkeypatch, portrait):
    loaded = []
    for kind in ("shape_predictor", "face_recognition_model_v1"):
        real = getattr(dlib, kind)
        monkeypatch.setattr(dlib, kind, lambda path, real=real: loaded.append(path) or real(path))
    FaceRefiner(Same())(start(portrait))
    names = [Path(path).name for path in loaded]
    assert any("5_face_landmarks" in name for name in names)
    assert not any("68" in name for name in names)


def test_an_identity_generator_changes_nothing(portrait):
    restoration = FaceRefiner(Same())(start(portrait))
    assert restoration.notes["faces"] == {"found": 1, "refined": 1}
    assert restoration.faces[0].status == "refined"
    assert restoration.faces[0].identity == pytest.approx(0, abs=1e-3)
    np.testing.assert_allclose(rgb(restoration), portrait, atol=1e-3)


def mask_in_photo(points, pixels):
    """Where the photo may change at all: the feather of a face, warped into it."""
    matrix = similarity(points)
    back = cv2.invertAffineTransform(matrix)
    return warp(feather(), back, pixels.shape[1::-1])


def test_not_one_pixel_changes_outside_the_mask(portrait, found):
    restoration = FaceRefiner(Sharper())(start(portrait))
    mask = mask_in_photo(found[0].points, portrait)
    change = np.abs(rgb(restoration) - portrait).max(2)
    assert (mask <= 0).mean() > 0.2
    assert (change[mask <= 0] == 0).all()
    assert change[mask > 0.9].mean() > 0.01


def test_no_seam_along_the_paste_border(portrait, record_property):
    """The photo's gradient where the mask begins is what it was, within a tenth; on the face it grows."""
    soft = cv2.GaussianBlur(portrait, (0, 0), 1.5)
    result = rgb(FaceRefiner(Crisper())(start(soft)))
    mask = mask_in_photo(FaceFinder().find(soft)[0].points, soft)

    def slope(picture, where):
        return np.hypot(*np.gradient(picture.mean(2)))[where].mean()

    border, inside = (mask > 0) & (mask < 0.1), mask > 0.9
    ratios = [slope(result, where) / slope(soft, where) for where in (border, inside)]
    record_property("gradient after / before along the border, inside", [f"{ratio:.3f}" for ratio in ratios])
    assert ratios[0] < 1.1
    assert ratios[1] > 1.2


def test_a_generator_s_tint_does_not_show(portrait):
    restoration = FaceRefiner(Tinted())(start(portrait))
    left, top, right, bottom = (round(edge) for edge in restoration.faces[0].box)
    means = [picture[top:bottom, left:right].mean((0, 1)) for picture in (rgb(restoration), portrait)]
    np.testing.assert_allclose(*means, atol=0.02)


def test_tone_is_matched_whatever_gain_and_offset(portrait):
    crop = torch.from_numpy(portrait.transpose(2, 0, 1))[None]
    torch.testing.assert_close(match_tone(crop * 0.9 + 0.05, crop), crop, atol=5e-3, rtol=0)


def test_a_gray_photo_stays_gray(portrait):
    gray = np.repeat(portrait.mean(2, keepdims=True), 3, axis=2)
    noisy = (gray + np.random.default_rng(0).normal(0, 0.01, gray.shape)).clip(0, 1).astype(np.float32)

    class Colours(nn.Module):
        def forward(self, crops, mask=None):
            y, x = torch.meshgrid(torch.linspace(-0.2, 0.2, 256), torch.linspace(-0.2, 0.2, 256), indexing="ij")
            return crops + torch.stack([x, y, -x])

    plain = rgb(FaceRefiner(Colours())(start(gray)))
    np.testing.assert_allclose(plain[..., 0], plain[..., 2], atol=1e-6)
    assert is_gray(rgb(FaceRefiner(Colours())(start(noisy))))


def test_a_face_larger_than_its_crop_keeps_its_detail():
    size = 400
    texture = np.random.default_rng(0).random((size, size, 3), dtype=np.float32) * 0.5 + 0.25
    matrix = similarity(TEMPLATE * 1.5)
    change = np.full((256, 256, 3), 0.1, np.float32)
    result = paste(texture.copy(), [change], [matrix])
    middle = slice(150, 250)
    np.testing.assert_allclose((result - texture)[middle, middle], 0.1, atol=1e-3)


def test_overlapping_faces_share_their_place(portrait):
    matrix = similarity(TEMPLATE)
    change = np.full((256, 256, 3), 0.1, np.float32)
    once, twice = (paste(portrait * 0.5, [change] * n, [matrix] * n) for n in (1, 2))
    assert (twice - portrait * 0.5).max() < 0.101
    np.testing.assert_allclose(once[128, 128], twice[128, 128], atol=1e-5)


def lost_grain(before, after, mask):
    """What comes back of a face's grain, measured and made as a whole."""
    shares = grain_shares([(np.ascontiguousarray(before[..., 1]), after[..., 1].copy(), mask, slice(None))])
    return grain(before, shares)


def paste_as_a_whole(pixels, changes, matrices):
    """`paste` with planes of the photo's own size, into a new photo."""
    total = np.zeros((*pixels.shape[:2], 4), np.float32)
    for change, matrix in zip(changes, matrices, strict=True):
        left, top, right, bottom = footprint(matrix, change.shape[0], *pixels.shape[:2])
        back = cv2.invertAffineTransform(matrix)
        back[:, 2] -= (left, top)
        layer = warp(np.dstack([change, feather(change.shape[0])]), back, (right - left, bottom - top))
        mask = layer[..., 3:].clip(0, 1)
        place = pixels[top:bottom, left:right]
        added = mask * layer[..., :3]
        added += mask * lost_grain(place, place + added, mask[..., 0])
        total[top:bottom, left:right] += np.dstack([added, mask])
    return (pixels + total[..., :3] / np.maximum(total[..., 3:], 1)).clip(0, 1)


# zoom and place of faces: alone, three that overlap in part and all three in one place, one over the photo's edges
PLACES = [(0.5, 190, 210), (0.6, 20, 10), (0.5, 60, 50), (0.7, 30, 60), (1.0, 250, -90), (0.3, 330, 20)]


@pytest.mark.parametrize("strip", [blending.STRIP, 417 * 11])
def test_faces_are_pasted_box_by_box_as_into_the_whole(monkeypatch, strip):
    monkeypatch.setattr(blending, "STRIP", strip)
    random = np.random.default_rng(0)
    pixels = random.random((301, 417, 3), dtype=np.float32)
    matrices = [similarity(turned(7 * number, zoom, shift)) for number, (zoom, *shift) in enumerate(PLACES)]
    changes = [cv2.GaussianBlur(random.normal(0, 3, (256, 256, 3)), (0, 0), 4).astype(np.float32) for _ in PLACES]
    covers = np.zeros((301, 417), int)
    for matrix in matrices:
        left, top, right, bottom = footprint(matrix, 256, 301, 417)
        covers[top:bottom, left:right] += 1
    assert set(covers.flat) >= {0, 1, 2, 3}
    pixels[(covers == 0).nonzero()[0][0], (covers == 0).nonzero()[1][0]] = 1.25  # not even clipped outside
    expected = paste_as_a_whole(pixels, changes, matrices)
    result = pixels.copy()
    assert paste(result, changes, matrices) is result
    assert (result[covers > 0] == 0).any() and (result[covers > 0] == 1).any()
    np.testing.assert_allclose(result[covers > 0], expected[covers > 0], atol=1e-5, rtol=0)
    np.testing.assert_array_equal(result[covers == 0], pixels[covers == 0])


def test_pasting_takes_the_memory_of_the_faces_not_of_the_photo():
    photo = np.full((2000, 3000, 3), 0.5, np.float32)
    matrices = [similarity(TEMPLATE + shift) for shift in ((100, 100), (2600, 1500))]
    changes = [np.full((256, 256, 3), 0.1, np.float32)] * 2
    tracemalloc.start()
    try:
        paste(photo, changes, matrices)
        used = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert used < 12 << 20  # where one copy of the photo is 72 million bytes
    assert photo[244, 228] == pytest.approx(0.6) and photo[1644, 2728] == pytest.approx(0.6)
    assert (photo != 0.5).any(2).mean() < 0.02


def test_pasting_a_face_that_fills_a_scan_takes_little_more_than_the_photo():
    photo = np.full((1500, 1500, 3), 0.5, np.float32)
    tracemalloc.start()
    try:
        paste(photo, [np.full((256, 256, 3), 0.1, np.float32)], [similarity(TEMPLATE * 6)])
        used = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert used < 2.5 * photo.nbytes  # all at once it was more than eight times the photo
    assert photo[750, 750] == pytest.approx(0.6)


def test_the_feather_is_zero_on_the_border_and_one_on_the_features():
    mask = feather()
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    assert border.max() == 0
    assert mask[95:205, 80:176].min() > 0.8 and mask[110:180, 90:166].min() > 0.99
    assert mask[:34].max() == 0  # hair
    np.testing.assert_allclose(cv2.resize(feather(512), (256, 256), interpolation=cv2.INTER_AREA), mask, atol=1e-3)


def noisy_patch(level):
    noise = np.random.default_rng(0).normal(0, level, (120, 120, 1)).astype(np.float32)
    return np.full((120, 120, 3), 0.5, np.float32) + noise


def test_a_cleaned_face_keeps_a_part_of_its_photo_s_grain():
    before = noisy_patch(0.05)
    mask = np.zeros((120, 120), np.float32)
    mask[40:80, 40:80] = 1
    after = before.copy()
    after[40:80, 40:80] = 0.5
    grainy = (after + lost_grain(before, after, mask))[45:75, 45:75].std()
    assert 0.4 * 0.05 < grainy < 0.7 * 0.05
    assert np.abs(lost_grain(before, before, mask)).max() == 0  # nothing was lost


def test_what_is_pasted_has_grain(portrait):
    """A change that takes all noise from the face does not leave it smooth in a noisy photo."""
    noise = np.random.default_rng(0).normal(0, 0.06, portrait.shape[:2]).astype(np.float32)[..., None]
    matrix = similarity(TEMPLATE)
    photo = np.full_like(portrait, 0.5) + noise
    pasted = paste(photo, [np.tile(-noise, 3)], [matrix])[120:180, 100:156]
    assert 0.35 * 0.06 < pasted.std() < 0.7 * 0.06


def test_a_face_in_a_clean_photo_gets_no_grain():
    before = noisy_patch(0.05)
    mask = np.zeros((120, 120), np.float32)
    mask[40:80, 40:80] = 1
    before[mask == 0] = 0.5
    after = np.full_like(before, 0.5)
    assert np.abs(lost_grain(before, after, mask)).max() == 0
    assert np.abs(lost_grain(before, after, mask * 0)).max() == 0


def test_a_photo_without_faces_is_untouched():
    pixels = data.coffee()[:200, :200].astype(np.float32) / 255
    restoration = FaceRefiner(Stranger())(start(pixels))
    assert restoration.notes["faces"] == {"found": 0, "refined": 0}
    assert restoration.faces == []
    np.testing.assert_array_equal(rgb(restoration), pixels)


def test_who_would_become_a_stranger_is_left_alone(portrait, monkeypatch):
    calls = []

    def described(
        crops, dtype
    ):  # the face as it was with its first change; then one change after the other, each farther
        calls.append(len(crops))
        return torch.tensor([0.0, 1.0] if len(calls) == 1 else [float(len(calls))])[:, None].expand(-1, 128)

    monkeypatch.setattr("bringback.stages.faces.identity.descriptors", described)
    restoration = FaceRefiner(Sharper())(start(portrait))
    assert restoration.faces[0].status == "left alone: refinement would change the person, by 33.94 at 33%"
    assert restoration.faces[0].identity == 0  # as it was put back
    assert restoration.notes["faces"] == {"found": 1, "refined": 0}
    assert calls == [2, 1, 1]
    np.testing.assert_array_equal(rgb(restoration), portrait)


def test_a_stranger_is_mixed_in_no_more_than_the_descriptor_allows(portrait):
    face = FaceRefiner(Stranger())(start(portrait)).faces[0]
    assert face.status != "refined"
    assert face.identity <= 0.45


def test_the_guard_makes_refinement_milder(portrait, monkeypatch):
    asked = []

    def described(crops, dtype):
        asked.extend(crops)
        moved = [0.0, 0.9, 0.3][len(asked) - len(crops) : len(asked)]
        return torch.tensor(moved)[:, None].expand(-1, 128) / 128**0.5

    monkeypatch.setattr("bringback.stages.faces.identity.descriptors", described)
    milder = FaceRefiner(Sharper())(start(portrait))
    assert milder.faces[0].status == "refined at 66%: more would change the person"
    assert milder.faces[0].identity == 0.3
    assert len(asked) == 3
    own, first, second = asked
    assert ((second - own) - 0.66 * (first - own)).abs().mean() < 1e-4  # but for what was clamped


@pytest.mark.parametrize(("fidelity", "status"), [(0.5, "refined at 50%"), (1.0, "left alone: fidelity 1")])
def test_fidelity_mixes(portrait, fidelity, status):
    whole = rgb(FaceRefiner(Sharper())(start(portrait)))
    restoration = FaceRefiner(Sharper(), fidelity=fidelity)(start(portrait))
    mixed = rgb(restoration)
    assert restoration.faces[0].status == status
    assert (restoration.faces[0].identity is None) == (fidelity == 1)
    assert np.abs((mixed - portrait) - (1 - fidelity) * (whole - portrait)).mean() < 1e-4  # but for what was clamped
    if fidelity == 1:
        np.testing.assert_array_equal(mixed, portrait)
    with pytest.raises(ValueError, match=r"fidelity 1\.2: wants 0"):
        FaceRefiner(Same(), fidelity=1.2)


def test_only_the_face_in_the_center(monkeypatch, portrait):
    two = np.concatenate([portrait, portrait, np.zeros((256, 100, 3), np.float32)], axis=1)
    stage = FaceRefiner(Sharper(), only_center_face=True)
    restoration = stage(start(two))
    left, right = sorted(restoration.faces, key=lambda face: face.box[0])
    assert left.status == "left alone: not the face in the center"
    assert right.status == "refined"
    np.testing.assert_array_equal(rgb(restoration)[:, :256], two[:, :256])


@pytest.mark.parametrize(("period", "status"), [(5.0, "left alone: printed dots"), (0.0, "refined")])
def test_a_face_of_printed_dots_is_left_alone(portrait, period, status):
    photo = cv2.resize(portrait, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC).clip(0, 1)
    if period:
        y, x = np.mgrid[: photo.shape[0], : photo.shape[1]] * (2 * np.pi / period / 2**0.5)
        photo += 0.2 * (np.cos(x + y) + np.cos(x - y))[..., None] * 4 * photo * (1 - photo)
        photo = photo.astype(np.float32).clip(0, 1)
    restoration = FaceRefiner(Sharper())(start(photo))
    assert restoration.faces[0].status == status
    assert np.array_equal(rgb(restoration), photo) == bool(period)


def test_a_face_of_engraved_lines_is_left_alone(monkeypatch, portrait, found):
    photo = cv2.resize(portrait, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    lines = np.random.default_rng(0).uniform(-0.4, 0.4, (photo.shape[0], 1, 1))  # of no period, as those of a burin
    photo = (photo + lines).astype(np.float32).clip(0, 1)
    stage = FaceRefiner(Sharper())
    face = Found(tuple(2 * np.array(found[0].box)), 2 * found[0].points, found[0].score)
    monkeypatch.setattr(stage.finder, "find", lambda pixels, scale: [face])
    restoration = stage(start(photo))
    assert [face.status for face in restoration.faces] == ["left alone: engraved lines"]
    np.testing.assert_array_equal(rgb(restoration), photo)


def test_small_faces_can_be_left_alone(portrait):
    restoration = FaceRefiner(Sharper(), min_size=150)(start(portrait))
    assert restoration.faces[0].status.startswith("left alone: too small, ")
    np.testing.assert_array_equal(rgb(restoration), portrait)


def test_what_was_filled_is_told_to_the_generator(portrait, found):
    told = []

    class Listener(nn.Module):
        def forward(self, crops, mask, came):
            told.append(mask)
            return crops

    restoration = start(portrait)
    restoration.mask = torch.zeros(1, 1, 256, 256)
    restoration.mask[..., :, 120:136] = 1
    FaceRefiner(TwoViews(Listener()))(restoration)
    assert told[0].max() == 0  # nothing was filled yet: the damage is for the generator to see
    restoration.notes["fill"] = {"filled": 0.1}  # a log, not a signal
    FaceRefiner(TwoViews(Listener()))(restoration)
    assert told[1].max() == 0
    restoration.filled = restoration.to_fill()
    FaceRefiner(TwoViews(Listener()))(restoration)
    assert told[2].shape == (2, 1, 256, 256)  # mirrored, too
    plain, mirrored = told[2][:, 0]
    torch.testing.assert_close(plain.flip(1), mirrored)
    x = np.clip(similarity(found[0].points) @ (128, 100, 1), 0, 255).astype(int)
    assert plain[x[1], x[0]] > 0.99
    assert 0.05 < plain.mean() < 0.4


def test_an_aligned_crop_is_refined_as_a_whole(portrait, found):
    crop = align(portrait, similarity(found[0].points))
    restoration = FaceRefiner(Sharper(), aligned=True)(start(crop))
    assert restoration.faces[0].status == "refined"
    assert np.abs(rgb(restoration) - crop)[:20].max() > 0.02  # hair and ground too
    with pytest.raises(PhotoError, match="an aligned crop is 256x256 pixels, this is 256x200"):
        FaceRefiner(Sharper(), aligned=True)(start(crop[:200]))
    for choice in ({"min_size": 50}, {"only_center_face": True}):
        with pytest.raises(ValueError, match="no choice of size or place"):
            FaceRefiner(Sharper(), aligned=True, **choice)


@pytest.mark.parametrize(("zoom", "scale"), [(0.08, 1.0), (0.3, 4.0)])
def test_faces_too_small_at_the_native_scale_are_left_alone(portrait, monkeypatch, zoom, scale):
    stage = FaceRefiner(Stranger())
    points = TEMPLATE * zoom
    face = type("Found", (), {"box": (0.0, 0.0, 256 * zoom, 256 * zoom), "points": points})
    monkeypatch.setattr(stage.finder, "find", lambda pixels, scale: [face])
    restoration = start(portrait)
    restoration.scale = scale
    stage(restoration)
    assert "too small" in restoration.faces[0].status
    assert restoration.notes["faces"] == {"found": 1, "refined": 0}
    np.testing.assert_array_equal(rgb(restoration), portrait)


@pytest.mark.parametrize("zoom", [3, 6])
def test_a_face_larger_than_its_crop_is_refined(portrait, monkeypatch, zoom):
    stage = FaceRefiner(Same())
    face = type("Found", (), {"box": (0.0, 0.0, 256.0 * zoom, 256.0 * zoom), "points": TEMPLATE * zoom})
    monkeypatch.setattr(stage.finder, "find", lambda pixels, scale: [face])
    assert stage(start(portrait)).faces[0].status == "refined"


def test_faces_of_a_soft_scan_are_where_they_are_in_the_scan(finder, portrait, found):
    large = cv2.resize(portrait, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    (face,) = finder.find(large, 4.0)
    np.testing.assert_allclose(face.points, (found[0].points + 0.5) * 4 - 0.5, atol=6)
    np.testing.assert_allclose(face.box, np.array(found[0].box) * 4, atol=12)


def test_refine_works_on_plain_crops(portrait, found):
    crop = torch.from_numpy(align(portrait, similarity(found[0].points)).transpose(2, 0, 1).copy())
    crops = torch.stack([crop, crop.flip(2), crop.mean(0, keepdim=True).expand(3, -1, -1)])
    refined = FaceRefiner(Sharper(), Compute(batch=2)).refine(crops)
    assert refined.shape == crops.shape
    assert refined.dtype == torch.float32
    assert 0 <= refined.min() <= refined.max() <= 1
    assert (refined[2].amax(0) - refined[2].amin(0)).max() < 1e-5
    assert (refined - crops).abs().max() > 0.02
    assert FaceRefiner(Sharper()).refine(crops[:0]).shape == (0, 3, 256, 256)


def test_the_descriptor_is_dlib_s(portrait, found):
    crop = torch.from_numpy(align(portrait, similarity(found[0].points)).transpose(2, 0, 1).copy())[None]
    pictures = torch.cat([crop, crop.flip(3), torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))])
    chips = (nn.functional.interpolate(pictures, (150, 150), mode="area") * 255).round().byte()
    model = dlib.face_recognition_model_v1(str(model_file("dlib_face_recognition_resnet_model_v1.dat")))
    theirs = model.compute_face_descriptor([chip.permute(1, 2, 0).contiguous().numpy() for chip in chips])
    ours = descriptor_network(torch.device("cpu"), torch.float32)(chips.float() / 255)
    np.testing.assert_allclose(ours.numpy(), np.array(theirs), atol=1e-5)


def test_descriptors_in_bfloat16_tell_nearly_the_same_distances(portrait, found):
    crop = torch.from_numpy(align(portrait, similarity(found[0].points))).permute(2, 0, 1)[None]
    pair = torch.cat([crop, crop.sqrt()])
    exact, fast = ((both[0] - both[1]).norm().item() for both in map(partial(descriptors, pair), DTYPES.values()))
    assert exact != fast
    assert exact > 0.05
    assert fast == pytest.approx(exact, abs=0.01)


def test_a_small_face_is_warped_into_its_photo_once(portrait, found, monkeypatch):
    calls = []
    monkeypatch.setattr(blending, "warp", lambda *args: calls.append(args) or warp(*args))
    change, matrix = np.full((256, 256, 3), 0.1, np.float32), similarity(found[0].points)
    blending.paste(portrait.copy(), [change], [matrix])
    assert len(calls) == 1


def test_descriptors_have_a_gradient_even_after_a_restoration(portrait, found):
    descriptor_network.cache_clear()
    with torch.inference_mode():
        descriptors(torch.zeros(1, 3, 256, 256))
    crop = torch.from_numpy(align(portrait, similarity(found[0].points)).transpose(2, 0, 1).copy())[None]
    crop.requires_grad_()
    descriptors(crop).square().sum().backward()
    assert crop.grad.abs().max() > 0
    assert not any(
        parameter.requires_grad for parameter in descriptor_network(torch.device("cpu"), torch.float32).parameters()
    )


def test_another_network_s_file_is_refused():
    data = model_file("dlib_face_recognition_resnet_model_v1.dat").read_bytes()
    for wrong in (b"", data[:-1000], model_file("shape_predictor_5_face_landmarks.dat").read_bytes()[:100_000]):
        with pytest.raises(ValueError, match="is not the one that is known here"):
            read_descriptor(FaceDescriptor(), wrong)


@pytest.mark.parametrize("degrees", [25, 90, 180, -90])
def test_faces_of_tilted_scans_are_found(finder, portrait, degrees):
    height, width = portrait.shape[:2]
    middle = ((width - 1) / 2, (height - 1) / 2)
    turned = cv2.warpAffine(
        portrait, cv2.getRotationMatrix2D(middle, degrees, 1), (width, height), borderMode=cv2.BORDER_REPLICATE
    )
    (face,) = finder.find(turned.clip(0, 1))
    (upright,) = finder.find(portrait)
    back = cv2.getRotationMatrix2D(middle, -degrees, 1)
    np.testing.assert_allclose(np.c_[face.points, np.ones(5)] @ back.T, upright.points, atol=5)
    assert abs(face.side - upright.side) < 0.25 * upright.side


def test_a_long_strip_is_searched_as_fast_as_a_square(finder, monkeypatch):
    sizes = []
    real = finder._make_detector()

    class Detector:
        def run(self, image, *rest):
            sizes.append(image.size)
            return real.run(image[:100, :100], *rest)

    monkeypatch.setattr(finder, "_idle", [Detector()])
    finder.find(np.full((20, 20000, 3), 0.5, np.float32))
    assert len(sizes) == 8 and max(sizes) < 1.7e6


def test_a_face_is_found_once(finder, portrait):
    group = np.concatenate([np.concatenate([portrait[::2, ::2]] * 3, axis=1)] * 2)
    assert len(finder.find(group)) == 6


def test_identity_distance_is_zero_for_the_same_and_large_for_another(portrait, found):
    crop = torch.from_numpy(align(portrait, similarity(found[0].points)).transpose(2, 0, 1).copy())[None]
    same, other = identity_distances(crop.repeat(2, 1, 1, 1), torch.cat([crop, Stranger()(crop)]))
    assert same == 0
    assert other > 0.45
    assert identity_distances(crop[:0], crop[:0]) == []


def test_all_faces_of_a_group_in_one_batch(portrait):
    batches = []

    class Counter(nn.Module):
        def forward(self, crops, mask, came):
            batches.append(len(crops))
            return crops

    group = np.concatenate([np.concatenate([portrait[::2, ::2]] * 5, axis=1)] * 4)
    restoration = FaceRefiner(TwoViews(Counter()), Compute(batch=32))(start(group))
    assert restoration.notes["faces"] == {"found": 20, "refined": 20}
    assert batches == [32, 32]  # as they are, and mirrored; filled up, so that no face hangs on the others' number


def test_16_bit_stays_16_bit(portrait):
    deep = (portrait * 65535).round().astype(np.uint16) // 3 * 3 + 1  # values that 8 bits do not have
    result = Pipeline([FaceRefiner(Sharper())])(deep)
    assert result.dtype == np.uint16
    changed = (result != deep).any(2)
    assert 0.1 < changed.mean() < 0.8
    assert len(np.unique(result[changed])) > 5000


def test_several_photos_at_once_give_the_bits_of_each_alone(portrait):
    """With the shipped generator, whose sums come out otherwise in batches of another size."""
    two = np.concatenate([portrait, portrait[:, ::-1]], axis=1)
    gray = np.repeat(portrait.mean(2, keepdims=True), 3, axis=2)
    none = data.coffee()[:200, :200].astype(np.float32) / 255
    photos = [two, none, np.ascontiguousarray(portrait[4:] ** 1.3), gray]
    stage = FaceRefiner.from_checkpoints(Checkpoints(), Compute(batch=4))
    together = stage.many([start(photo) for photo in photos])
    assert [len(one.faces) for one in together] == [2, 0, 1, 1]
    for one, photo in zip(together, photos, strict=True):
        alone = stage(start(photo))
        np.testing.assert_array_equal(rgb(one), rgb(alone))
        assert [face.status for face in one.faces] == [face.status for face in alone.faces]
        assert [face.identity for face in one.faces] == [face.identity for face in alone.faces]
        assert one.notes == alone.notes
        assert (np.abs(rgb(one) - photo).max() > 0.01) == bool(one.faces)
    back = stage.many([start(photo) for photo in reversed(photos)])
    for one, other in zip(together, reversed(back), strict=True):
        np.testing.assert_array_equal(rgb(one), rgb(other))
    assert stage.many([]) == []


def test_faces_of_several_photos_are_made_together_and_the_last_batch_is_filled_up(portrait):
    batches = []

    class Counter(nn.Module):
        def forward(self, crops, mask):
            batches.append((len(crops), len(mask), [crop.max() > 0 for crop in crops].count(True)))
            return crops + 0.02

    two = np.concatenate([portrait, portrait], axis=1)
    stage = FaceRefiner(Counter(), Compute(batch=2))
    restorations = stage.many([start(two), start(portrait)])
    assert batches == [(2, 2, 2), (2, 2, 1)]
    assert [one.notes["faces"] for one in restorations] == [{"found": 2, "refined": 2}, {"found": 1, "refined": 1}]


def test_each_photo_s_own_damage_is_told_with_its_face(portrait):
    told = []

    class Listener(nn.Module):
        def forward(self, crops, mask):
            told.append(mask)
            return crops

    photos = [start(portrait) for _ in range(3)]
    for photo, damage in zip(photos, (0, 1, 0), strict=True):
        photo.mask = torch.full((1, 1, 256, 256), float(damage))
        photo.filled = photo.to_fill()
    photos[2].filled = None
    FaceRefiner(Listener(), Compute(batch=4)).many(photos)
    assert told[0].mean((1, 2, 3)).tolist() == [0, pytest.approx(1, abs=0.3), 0, 0]
    assert told[0][1, 0, 128, 128] == 1


def test_aligned_crops_are_refined_together_too(portrait, found):
    crops = [align(portrait, similarity(found[0].points)) ** power for power in (1, 1.2)]
    stage = FaceRefiner(Sharper(), Compute(batch=4), aligned=True)
    together = stage.many([start(crop) for crop in crops])
    for one, crop in zip(together, crops, strict=True):
        np.testing.assert_array_equal(rgb(one), rgb(stage(start(crop))))


def test_finders_search_side_by_side_and_find_the_same(finder, portrait):
    pictures = [portrait, portrait[::-1, ::-1], portrait[::2, ::2], portrait[:, ::-1]] * 2
    expected = [finder.find(np.ascontiguousarray(picture)) for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(finder.find, map(np.ascontiguousarray, pictures)))
    for some, others in zip(found, expected, strict=True):
        assert len(some) == len(others) == 1 and some[0].box == others[0].box
        np.testing.assert_array_equal(some[0].points, others[0].points)
