"""Spectra of photos, and the native scale read from them."""

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from bringback.degradations.scan import KERNELS, scanner
from bringback.models.native_scale import (
    BINS,
    TILE,
    NativeScale,
    all_sharp_is_marked,
    noise_scale,
    spectra,
    under_marks,
)
from bringback.weights.checkpoints import Checkpoints

SHARP = {"astronaut": data.astronaut, "coffee": data.coffee, "chelsea": data.chelsea}


def tensor(array):
    return torch.from_numpy(np.ascontiguousarray(array)).permute(2, 0, 1)[None].float() / 255


@pytest.fixture(scope="module")
def shipped():
    return Checkpoints().load("scale", NativeScale)


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (128, 128), (130, 1000)])
def test_photos_of_any_size_have_spectra(size):
    levels = spectra(torch.rand(2, 3, *size))
    assert levels.shape == (2, 4, BINS)
    assert levels.isfinite().all()


def test_white_noise_has_a_flat_spectrum_and_its_power():
    generator = torch.Generator().manual_seed(0)
    levels = spectra(0.5 + 0.1 * torch.randn(1, 3, 512, 512, generator=generator))[0, 0]
    gain = 0.299**2 + 0.587**2 + 0.114**2
    torch.testing.assert_close(levels[8:], torch.full((BINS - 8,), np.log10(0.01 * gain)), atol=0.1, rtol=0)


def test_a_border_is_not_looked_at():
    photo = tensor(data.coffee())
    photo[..., :20, :], photo[..., :20] = 1.0, 1.0
    lidded = photo.clone()
    lidded[..., :20, :], lidded[..., :20] = 0.0, 0.3
    assert torch.equal(spectra(photo), spectra(lidded))


def test_a_very_small_photo_is_left_at_its_size(shipped):
    assert shipped.of(torch.rand(1, 3, TILE - 1, 400)) == 1.0


@pytest.mark.parametrize(("found", "given"), [(1.25, 1.0), (1.4, 1.4), (20.0, 12.0)])
def test_estimates_that_sound_photos_have_as_they_are_are_given_as_one(shipped, monkeypatch, found, given):
    monkeypatch.setattr(shipped, "forward", lambda levels: torch.tensor([np.log2(found)]))
    monkeypatch.setattr("bringback.models.native_scale._detail_ends", lambda light: found)
    assert shipped.of(tensor(data.coffee())) == given


@pytest.mark.parametrize("name", SHARP)
def test_a_sharp_photo_has_scale_one(shipped, name):
    assert shipped.of(tensor(SHARP[name]())) < 1.2


@pytest.mark.parametrize(("factor", "kernel"), [*((4, kernel) for kernel in KERNELS), (8, KERNELS[1])])
@pytest.mark.parametrize("name", SHARP)
def test_an_enlarged_photo_has_nearly_its_factor(shipped, name, factor, kernel):
    picture = SHARP[name]()[:300, :300]
    large = cv2.resize(picture.astype(np.float32) / 255, None, fx=factor, fy=factor, interpolation=kernel).clip(0, 1)
    scan = scanner(np.random.default_rng(factor))(large)
    found = shipped.of(torch.from_numpy(scan).permute(2, 0, 1)[None])
    assert 0.4 < found / factor < 1.3  # meant to be a little low


def test_edges_of_repeated_pixels_are_no_detail(shipped):
    busy = data.gravel()[:160, :160].astype(np.float32)[..., None].repeat(3, 2)
    assert shipped.of(tensor(busy.repeat(8, 0).repeat(8, 1))) > 4


@pytest.mark.parametrize("factor", [4, 8])
def test_a_busy_picture_enlarged_far_shows_the_images_of_its_detail(shipped, factor):
    busy = data.gravel()[:160, :160].astype(np.float32)[..., None].repeat(3, 2) / 255
    large = cv2.resize(busy, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC).clip(0, 1)
    assert 0.9 < shipped.of(torch.from_numpy(large).permute(2, 0, 1)[None]) / factor < 1.1


@pytest.mark.parametrize("quality", [10, 40])
def test_blocks_of_jpeg_are_no_images_of_detail(shipped, quality):
    _, code = cv2.imencode(".jpg", data.astronaut(), [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert shipped.of(tensor(cv2.imdecode(code, cv2.IMREAD_COLOR))) < 1.75


def noisy(blur=0.0):
    """A print with strong noise, blurred after that."""
    random = np.random.default_rng(0)
    picture = data.astronaut()[:320, :320].astype(np.float32) / 255
    picture = (picture + random.normal(0, 0.12, picture.shape).astype(np.float32)).clip(0, 1)
    return cv2.GaussianBlur(picture, (0, 0), blur) if blur else picture


def scanned(picture, factor, kernel):
    large = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=kernel)
    large = cv2.GaussianBlur(large, (0, 0), 0.6)
    return tensor((255 * large + np.random.default_rng(1).normal(0, 1.5, large.shape)).round().clip(0, 255))


LANCZOS = cv2.INTER_LANCZOS4


@pytest.mark.parametrize(("factor", "kernel"), [(2, cv2.INTER_CUBIC), (2, LANCZOS), (3, LANCZOS)])
def test_noise_that_was_enlarged_with_its_print_tells_how_far(shipped, factor, kernel):
    scan = scanned(noisy(), factor, kernel)
    assert 0.85 < noise_scale(scan) / factor < 1.1
    assert shipped.of(scan) == round(noise_scale(scan), 2)


@pytest.mark.parametrize("blur", [0.0, 0.5, 0.8, 1.5])
def test_noise_of_the_print_itself_tells_nothing(blur):
    assert noise_scale(tensor((255 * noisy(blur)).round())) is None


def field(levels):
    """Noise whose power, in powers of ten, is interpolated between levels at shares of the highest frequency."""
    side = 512
    down, across = np.abs(np.fft.fftfreq(side))[:, None], np.abs(np.fft.rfftfreq(side))
    power = np.interp(2 * np.maximum(down, across), *zip(*levels, strict=True))
    white = np.fft.rfft2(np.random.default_rng(0).normal(0, 0.05, (side, side)))
    return torch.from_numpy(np.fft.irfft2(white * 10 ** (power / 2)) + 0.5).float().expand(1, 3, -1, -1)


ENLARGED = ((0, 0), (0.25, 0), (0.35, -0.1), (0.45, -0.3), (0.55, -2.5), (1, -2.5))


@pytest.mark.parametrize(
    "levels",
    [
        ((0, 1), (0.15, 0.7), *ENLARGED[1:]),  # falls from the start: a picture, or noise as of clouds
        (*ENLARGED[:2], (0.35, -0.6), *ENLARGED[3:]),  # falls soon, as if blurred
        (*ENLARGED[:4], (0.55, -1.4), (1, -1.4)),  # does not fall far
        (*ENLARGED[:5], (1, -4.5)),  # falls on and on
    ],
)
def test_only_a_step_from_level_noise_to_a_level_floor_tells(levels):
    assert 1.9 < noise_scale(field(ENLARGED)) < 2.2
    assert noise_scale(field(levels)) is None


@pytest.mark.parametrize("name", SHARP)
def test_the_detail_of_a_sound_print_is_no_noise(name):
    picture = SHARP[name]()[:300, :300].astype(np.float32) / 255
    for factor in (1, 2, 4):
        assert noise_scale(scanned(picture, factor, cv2.INTER_CUBIC)) is None


def test_noise_that_was_enlarged_far_is_not_believed():
    assert noise_scale(scanned(noisy(), 4, LANCZOS)) is None


def test_a_photo_smaller_than_a_tile_shows_no_noise():
    assert noise_scale(torch.rand(1, 3, TILE - 1, 400)) is None


def marked(picture, count=60):
    """A picture (H, W, 3) of floats with hairs one to three pixels wide, and the scanner's noise."""
    random, picture = np.random.default_rng(0), np.ascontiguousarray(picture)
    for _ in range(count):
        start, length = random.uniform(0, picture.shape[1::-1]), random.uniform(30, 300)
        angle, level = random.uniform(0, np.pi), float(random.choice([0.05, 0.95]))
        end = start + length * np.array([np.cos(angle), np.sin(angle)])
        ends = (place.astype(int).tolist() for place in (start, end))
        cv2.line(picture, *ends, (level,) * 3, int(random.integers(1, 4)), cv2.LINE_AA)
    return tensor((255 * picture + random.normal(0, 1.5, picture.shape)).round().clip(0, 255))


@pytest.mark.parametrize("factor", [4, 6])
@pytest.mark.parametrize("name", SHARP)
def test_sharp_marks_do_not_hide_how_soft_the_print_under_them_is(monkeypatch, name, factor):
    monkeypatch.setattr("bringback.models.native_scale._LEAST_SIDE", 100)
    picture = SHARP[name]()[: 1200 // factor, : 1200 // factor].astype(np.float32) / 255
    large = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    scan = marked(cv2.GaussianBlur(large, (0, 0), 0.6))
    assert 0.6 < under_marks(scan, 1.0) / factor < 1.1
    assert under_marks(scan, float(factor)) is None


@pytest.mark.parametrize("name", SHARP)
def test_there_is_nothing_softer_under_the_marks_of_a_sharp_photo(monkeypatch, name):
    monkeypatch.setattr("bringback.models.native_scale._LEAST_SIDE", 1)
    assert under_marks(marked(SHARP[name]().astype(np.float32) / 255), 1.0) is None


def test_what_is_sharp_is_marked_or_not(monkeypatch):
    monkeypatch.setattr("bringback.models.native_scale._LEAST_SIDE", 100)
    blurred = cv2.GaussianBlur(data.astronaut().astype(np.float32) / 255, (0, 0), 3)
    plain, hairs = marked(blurred, 0), marked(blurred, 12)
    assert under_marks(plain, 1.0) is None
    assert under_marks(hairs, 1.0) > 3.0
    mask = ((hairs - plain).abs().amax(1, keepdim=True) > 0.05).float()
    assert all_sharp_is_marked(hairs, mask)
    assert not all_sharp_is_marked(hairs, mask * (torch.arange(mask.shape[-1]) < 200))


def test_a_small_photo_has_nothing_softer():
    assert under_marks(torch.rand(1, 3, TILE - 1, 400), 1.0) is None
    assert under_marks(torch.rand(1, 3, 600, 600), 1.0) is None


@pytest.mark.parametrize(("says", "given"), [(1.6, 1.6), (4.4, 4.4), (5.0, 3.87)])
def test_what_the_network_says_is_halfway_corrected_if_detail_goes_on(shipped, monkeypatch, says, given):
    monkeypatch.setattr(shipped, "forward", lambda levels: torch.tensor([np.log2(says)]))
    monkeypatch.setattr("bringback.models.native_scale._detail_ends", lambda light: 3.0)
    assert shipped.of(tensor(data.coffee())) == given
