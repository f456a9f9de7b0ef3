"""Color profiles: what is seen is what the file shows, and what nothing has changed is written as it was."""

import io
import struct

import cv2
import made_profiles as made
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from bringback import Pipeline
from bringback.errors import CodecError
from bringback.images import profiles
from bringback.images.adapters import mask_array
from bringback.images.photo import Photo

PILLOWS = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
COLOR = {
    "adobe": made.ADOBE,
    "prophoto": made.PROPHOTO,
    "linear": made.LINEAR,
    "p3": made.shaper("p3", made.formula(3, *made.SRGB_CURVE)),
    "small": made.SMALL,
    "scanner": made.SCANNER,
}
GRAY = {"gamma 2.2": made.GRAY22, "dot gain": made.DOT_GAIN}
SAME = {
    "Pillow's": PILLOWS,
    "formula": made.SRGB,
    "table of 1024": made.shaper("srgb", made.table(profiles._decoding()[np.linspace(0, 1 << 18, 1024).astype(int)])),
    "table of 26": made.shaper("srgb", made.table(profiles._decoding()[np.linspace(0, 1 << 18, 26).astype(int)])),
}


@pytest.fixture
def levels():
    """uint8 (48, 64, 3): smooth, with strong colors and both ends."""
    small = np.random.default_rng(3).integers(0, 256, (6, 8, 3)).astype(np.float32)
    levels = np.rint(cv2.resize(small, (64, 48), interpolation=cv2.INTER_LINEAR)).astype(np.uint8)
    levels[:2], levels[2:4], levels[4:6] = 0, 255, (0, 255, 0)
    return levels


def deep(levels):
    return (levels.astype(np.uint16) * 257) ^ np.uint16(0x55)  # every low byte occurs


def png(levels, icc):
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "PNG", icc_profile=icc)
    return file.getvalue()


def tiff(levels, icc):
    file = io.BytesIO()
    kind = "rgb" if levels.ndim == 3 else "minisblack"
    tifffile.imwrite(file, levels, metadata=None, photometric=kind, iccprofile=icc)
    return file.getvalue()


def shown(data):
    """What littlecms shows of a file, as Pillow calls it: (H, W, 3) in [0, 1]."""
    image = Image.open(io.BytesIO(data))
    profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
    srgb, intent = ImageCms.createProfile("sRGB"), ImageCms.Intent.RELATIVE_COLORIMETRIC
    return np.asarray(ImageCms.profileToProfile(image, profile, srgb, intent, outputMode="RGB")) / 255


@pytest.mark.parametrize("name", [*COLOR, *GRAY])
def test_pixels_are_what_is_shown(levels, name):
    data = png(levels if name in COLOR else levels[..., 1], (COLOR | GRAY)[name])
    off = np.abs(Photo.decode(data, "a.png").pixels - shown(data)) * 255
    # both round to 8 bits, and littlecms samples tables coarsely near black
    assert off.mean() < 0.5 and off.max() < (1.6 if name != "scanner" else 20)


@pytest.mark.parametrize("name", [*COLOR, *GRAY])
def test_what_nothing_changed_is_written_as_it_was(levels, name):
    icc = (COLOR | GRAY)[name]
    for data, own in ((png(levels, icc), levels), (tiff(deep(levels), icc), deep(levels))):
        if name in GRAY:
            own = own[..., 1]
            data = png(own, icc) if own.dtype == np.uint8 else tiff(own, icc)
        photo = Photo.decode(data, "a")
        restored = Pipeline([])(photo)
        np.testing.assert_array_equal(restored.array(), own)
        again = Photo.decode(restored.encode(), "a")
        assert again.icc == icc and not again.warnings
        np.testing.assert_array_equal(again.array(), own)
        # most of it changed: the rest still is as it was
        pixels = photo.pixels.copy()
        pixels[:, 20:] *= 0.9
        np.testing.assert_array_equal(photo.with_pixels(pixels).array()[:, :20], own[:, :20])
        assert (photo.with_pixels(pixels).array()[10:, 20:] != own[10:, 20:]).mean() > 0.9


@pytest.mark.parametrize("name", [*COLOR, *GRAY])
def test_what_changed_is_shown_as_it_became(levels, name):
    gray = name in GRAY
    mild = (levels // 6 + 110)[8:]  # within sRGB
    photo = Photo.decode(png(mild[..., 1] if gray else mild, (COLOR | GRAY)[name]), "a.png")
    pixels = photo.pixels * 0.7 + 0.15
    off = np.abs(shown(photo.with_pixels(pixels).encode()) - pixels) * 255
    assert off.mean() < 0.8 and off.max() < (4 if name != "scanner" else 12)
    other = photo.with_pixels(cv2.resize(pixels, (30, 20), interpolation=cv2.INTER_AREA))  # of another size
    off = np.abs(shown(other.encode()) - other.pixels) * 255
    assert off.mean() < 0.8


@pytest.mark.parametrize("name", ["adobe", "prophoto", "linear", "small"])
def test_sixteen_bits_are_not_lost(name):
    gray = np.arange(2000, 65536, 13, dtype=np.uint16)[None]
    own = np.stack([gray, gray, gray], axis=-1)  # within sRGB
    conversion = profiles.conversion(COLOR[name], False)
    there = conversion.to_srgb(own)
    assert there.dtype == np.float32 and len(np.unique(there[..., 1])) > 0.99 * gray.size
    assert np.abs(conversion.from_srgb(there) * 65535 - own).max() < 2


@pytest.mark.parametrize("icc", [None, *SAME.values()], ids=["none", *SAME])
def test_srgb_is_read_as_it_is(levels, icc):
    photo = Photo.decode(png(levels, icc), "a.png")
    np.testing.assert_array_equal(photo.pixels, levels / np.float32(255))
    assert photo.levels is None and not photo.warnings and photo.icc == icc


def test_colors_outside_srgb_survive_small_changes(levels):
    own = np.full_like(levels, (20, 230, 30))
    photo = Photo.decode(png(own, made.ADOBE), "a.png")
    assert photo.pixels[0, 0, 0] == 0  # clipped

    def green_of(change):
        return photo.with_pixels(np.clip(photo.pixels + np.float32(change), 0, 1)).array()[0, 0].astype(int)

    plain = Photo.decode(png(own[:1], made.ADOBE), "a.png").with_pixels(photo.pixels).array()[0, 0].astype(int)
    assert plain[0] - 20 > 60  # without what the file had
    assert abs(green_of(0.001)[0] - 20) < 4 and np.abs(green_of(-0.02) - green_of(0)).max() < 16
    distances = [green_of(-0.01 * step)[0] for step in range(40)]
    assert np.abs(np.diff(distances)).max() < 9  # no seam
    np.testing.assert_array_equal(photo.with_pixels(np.full_like(photo.pixels, 0.5)).array()[0, 0], [127] * 3)


@pytest.mark.parametrize("curve", range(5))
def test_all_formulas(levels, curve):
    numbers = [
        (2.2,),
        (2.0, 0.9, 0.1),
        (2.0, 0.9, 0.05, 0.01),
        made.SRGB_CURVE,
        (2.2, 0.95, 0.05, 0.143, 0.1, 0.0, 0.0),
    ]
    icc = made.shaper("adobe", made.formula(curve, *numbers[curve]))
    data = png(levels, icc)
    assert np.abs(Photo.decode(data, "a.png").pixels - shown(data)).max() * 255 < 1.6


def test_gray_with_a_profile_of_lightness(levels):
    data = png(levels[..., 1], made.gray(made.gamma(1), pcs=b"Lab "))
    assert np.abs(Photo.decode(data, "a.png").pixels - shown(data)).max() * 255 < 1.6


def test_gray_with_a_profile_for_rgb(levels):
    own = levels[..., 1]
    photo = Photo.decode(png(own, made.ADOBE), "a.png")
    color = Photo.decode(png(np.stack([own] * 3, axis=-1), made.ADOBE), "a.png")
    np.testing.assert_allclose(photo.pixels, color.pixels, atol=1e-3)
    np.testing.assert_array_equal(photo.array(), own)
    np.testing.assert_allclose(photo.in_color().array()[..., 0], own, atol=1)


def test_a_colorized_picture_leaves_the_profile_for_gray(levels):
    photo = Photo.decode(png(levels[..., 1], made.DOT_GAIN), "a.png").in_color()
    assert photo.icc is None
    np.testing.assert_array_equal(photo.array(), np.rint(photo.pixels * 255))  # which is sRGB


def test_pixels_outside_the_range_are_clipped(levels):
    photo = Photo.decode(png(levels, made.ADOBE), "a.png")
    beyond = photo.pixels * np.float32(1.4) - np.float32(0.2)
    np.testing.assert_array_equal(photo.with_pixels(beyond).array(), photo.with_pixels(beyond.clip(0, 1)).array())


def test_neutral_stays_neutral():
    own = np.repeat(np.arange(0, 65536, 257, dtype=np.uint16)[None, :, None], 3, axis=2)
    for icc in (made.ADOBE, made.PROPHOTO):
        pixels = profiles.conversion(icc, False).to_srgb(own)
        assert np.ptp(pixels, axis=2).max() < 2e-5 and pixels[0, -1].min() == 1


BROKEN = {
    "no profile": b"not a profile" * 20,
    "short": made.ADOBE[:200],
    "no curves": made.profile({b"rXYZ": made.xyz((1, 1, 1))}),
    "flat": made.shaper("adobe", made.table([0.5] * 20)),
    "falling": made.shaper("adobe", made.table(np.linspace(1, 0, 20))),
    "one color": made.profile(
        dict.fromkeys((b"rXYZ", b"gXYZ", b"bXYZ"), made.xyz((0.3, 0.3, 0.3)))
        | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), made.gamma(2))
    ),
    "unknown formula": made.shaper("adobe", made.formula(9, 2.2)),
    "cut table": made.SCANNER[:-400],
    "table of nothing": made.profile({b"A2B0": b"mft2" + bytes(60)}, pcs=b"Lab "),
    "for gray": made.GRAY22,
    "for CMYK": made.profile({}, b"CMYK", b"Lab ", b"prtr"),
    "a link": made.profile({}, kind=b"link"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_applied_is_said_in_one_line(levels, name):
    photo = Photo.decode(tiff(levels, BROKEN[name]), "a.tif")
    np.testing.assert_array_equal(photo.pixels, levels / np.float32(255))
    (warning,) = photo.warnings
    assert warning.startswith("read as sRGB: the color profile ") and "\n" not in warning
    again = Photo.decode(photo.encode(), "a.tif")
    assert again.icc == BROKEN[name]
    np.testing.assert_array_equal(again.array(), levels)


def test_tables_want_a_package(levels, monkeypatch):
    profiles.conversion.cache_clear()
    monkeypatch.setattr(profiles, "_library", lambda: None)
    try:
        photo = Photo.decode(png(levels, made.SCANNER), "a.png")
        with pytest.raises(CodecError, match=r"\[io\]"):
            profiles.conversion(made.SCANNER, False)
    finally:
        profiles.conversion.cache_clear()
    np.testing.assert_array_equal(photo.pixels, levels / np.float32(255))
    assert len(photo.warnings) == 1 and photo.icc == made.SCANNER


def test_spoilt_profiles_never_stop_a_photo(levels):
    random = np.random.default_rng(5)
    for icc in (made.ADOBE, made.PROPHOTO, made.GRAY22):
        for _ in range(40):
            spoilt = np.frombuffer(icc, np.uint8).copy()
            places = random.integers(0, len(icc), 4)
            spoilt[places] = random.integers(0, 256, 4)
            own = levels[..., 1] if icc is made.GRAY22 else levels
            photo = Photo.decode(tiff(own, spoilt.tobytes()), "a.tif")
            assert np.isfinite(photo.pixels).all()
            np.testing.assert_array_equal(photo.array(), own)


def test_a_mask_is_data(levels, tmp_path):
    mask = (levels[..., 1] > 120).astype(np.uint8) * 120
    (tmp_path / "mask.png").write_bytes(png(mask, made.DOT_GAIN))
    np.testing.assert_allclose(mask_array(tmp_path / "mask.png"), mask / 255, atol=1e-6)


def test_pillow_images_come_back_in_their_profile(levels):
    image = Image.open(io.BytesIO(png(levels, made.ADOBE)))
    result = Pipeline([])(image)
    np.testing.assert_array_equal(np.asarray(result), levels)
    assert result.info["icc_profile"] == made.ADOBE


def test_the_plan_counts_what_the_photo_keeps(levels):
    pipeline = Pipeline([])
    plain, more = (pipeline.plan_for(Photo.decode(tiff(deep(levels), icc), "a")).peak for icc in (None, made.ADOBE))
    assert more - plain == 6 * 48 * 64


def test_sizes_in_a_profile_are_not_trusted():
    huge = made.ADOBE[:128] + struct.pack(">I", 2**32 - 1) + made.ADOBE[132:]
    with pytest.raises(CodecError):
        profiles.conversion(huge, False)
