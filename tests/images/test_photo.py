"""Photos keep everything their files knew, and bad files say what is wrong with them in one line."""

import io
import struct
import tracemalloc
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from bringback.errors import PhotoError
from bringback.images import codecs, tiff
from bringback.images.photo import LUMA, Photo, is_gray
from bringback.runtime.files import write_beside

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
TAKEN = "1931:05:02 10:11:12"


def exif(orientation=1):
    tags = Image.Exif()
    tags[306], tags[274] = TAKEN, orientation
    tags.get_ifd(0x8769)[0x9003] = "1930:01:01 00:00:00"
    return tags.tobytes()


def through(path, out):
    """Read and write again; the photo and what Pillow makes of the new file."""
    photo = Photo.read(path)
    photo.write(out)
    image = Image.open(out)
    image.load()
    return photo, image


LOSSLESS = [
    ("a.png", "RGB", {}),
    ("a.png", "RGBA", {}),
    ("a.png", "L", {}),
    ("a.png", "LA", {}),
    ("a.tif", "RGB", {}),
    ("a.tif", "RGBA", {}),
    ("a.tiff", "L", {"compression": "tiff_lzw"}),
    ("a.tiff", "RGB", {"compression": "tiff_adobe_deflate"}),
    ("a.bmp", "RGB", {}),
    ("a.bmp", "L", {}),
    ("a.webp", "RGB", {"lossless": True}),
    ("a.webp", "RGBA", {"lossless": True, "exact": True}),
    ("a.jp2", "RGB", {}),
    ("a.j2k", "L", {}),
]


@pytest.mark.parametrize(("name", "mode", "options"), LOSSLESS)
def test_lossless_files_come_back_pixel_for_pixel(tmp_path, pixels, name, mode, options):
    original = Image.fromarray(pixels).convert("RGB").convert(mode)
    if mode in ("RGBA", "LA"):
        original.putalpha(Image.fromarray(pixels[..., 1]))
    original.save(tmp_path / name, **options)
    photo, image = through(tmp_path / name, tmp_path / "out" / name)
    assert photo.pixels.dtype == np.float32 and photo.pixels.shape == (48, 64, 3)
    assert photo.gray == (mode in ("L", "LA")) and (photo.alpha is not None) == (mode in ("RGBA", "LA"))
    assert image.format == Image.open(tmp_path / name).format
    assert image.mode == mode
    np.testing.assert_array_equal(np.asarray(image), np.asarray(original))


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp"])
def test_exif_profile_and_resolution_are_kept(tmp_path, pixels, name):
    Image.fromarray(pixels).save(tmp_path / name, exif=exif(), icc_profile=SRGB, dpi=(300, 600))
    _, image = through(tmp_path / name, tmp_path / "out.any")
    assert image.getexif()[306] == TAKEN
    assert image.getexif().get_ifd(0x8769)[0x9003] == "1930:01:01 00:00:00"
    assert image.info["icc_profile"] == SRGB
    if name != "a.webp":  # which has no place for it
        assert image.info["dpi"] == pytest.approx((300, 600), abs=0.1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
def test_orientation_is_applied_once(tmp_path, pixels, name, orientation):
    Image.fromarray(pixels).save(tmp_path / name, exif=exif(orientation), dpi=(300, 600), quality=95, subsampling=0)
    upright = ImageOps.exif_transpose(Image.open(tmp_path / name))
    _, image = through(tmp_path / name, tmp_path / "out.any")
    assert image.getexif().get(274, 1) == 1
    assert image.size == upright.size
    assert image.info["dpi"] == pytest.approx((600, 300) if orientation >= 5 else (300, 600), abs=0.1)
    assert np.abs(np.asarray(image, float) - np.asarray(upright, float)).max() <= (8 if name == "a.jpg" else 0)


@pytest.mark.parametrize("orientation", [3, 6])
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_orientation_of_16_bit_files(tmp_path, pixels, name, orientation):
    deep = pixels[..., 0].astype(np.uint16) * 251
    Image.fromarray(deep).save(tmp_path / name, exif=exif(orientation))
    photo, _ = through(tmp_path / name, tmp_path / "out.any")
    turned = np.rot90(deep, 2 if orientation == 3 else -1)
    np.testing.assert_array_equal(photo.array(), turned)
    np.testing.assert_array_equal(Photo.read(tmp_path / "out.any").array(), turned)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bit_files_keep_every_level_and_their_metadata(tmp_path, name, channels):
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    deep = values if channels == 1 else np.dstack([values, values[::-1], values.T, values[:, ::-1]][:channels])
    (tmp_path / name).write_bytes(cv2.imencode(name[1:], deep)[1].tobytes())
    photo = Photo.read(tmp_path / name)
    assert photo.bit_depth == 16 and photo.gray == (channels == 1)
    tagged = Photo(**(vars(photo) | {"exif": exif(), "icc": SRGB, "dpi": (300.0, 600.0)}))
    tagged.write(tmp_path / "tagged")
    _, image = through(tmp_path / "tagged", tmp_path / "out")
    np.testing.assert_array_equal(cv2.imread(tmp_path / "out", cv2.IMREAD_UNCHANGED), deep)
    assert image.format == {"a.png": "PNG", "a.tif": "TIFF"}[name]
    assert image.getexif()[306] == TAKEN
    assert image.info["icc_profile"] == SRGB
    assert image.info["dpi"] == pytest.approx((300, 600), abs=0.1)


def test_16_bit_gray_with_alpha(tmp_path):
    two = np.arange(2 * 40 * 30, dtype=np.uint16).reshape(40, 30, 2) * 20
    (tmp_path / "a.png").write_bytes(codecs.encode(two, codecs.Container()))
    photo = Photo.read(tmp_path / "a.png")
    assert photo.gray and photo.bit_depth == 16
    np.testing.assert_array_equal(photo.array(), two)


def test_a_white_is_zero_16_bit_tiff_is_not_inverted(tmp_path, pixels):
    deep = pixels[..., 0].astype(np.uint16) * 257
    Photo.from_array(65535 - deep).write(tmp_path / "a.png")
    tiff = Photo(**(vars(Photo.read(tmp_path / "a.png")) | {"format": "TIFF", "extra": {"compress": False}})).encode()
    entry = tiff.index(struct.pack("<HHI", 262, 3, 1))
    (tmp_path / "a.tif").write_bytes(tiff[: entry + 8] + b"\0\0" + tiff[entry + 10 :])
    np.testing.assert_array_equal(Photo.read(tmp_path / "a.tif").array(), deep)


def test_letters_outside_ascii_in_a_tiff(tmp_path, pixels):
    described = Image.Exif()
    described[270] = "Käthe ß".encode()
    Image.fromarray(pixels).save(tmp_path / "a.tif", exif=described)
    before = (tmp_path / "a.tif").read_bytes()
    through(tmp_path / "a.tif", tmp_path / "out.tif")
    assert "Käthe ß".encode() in before
    assert "Käthe ß".encode() in (tmp_path / "out.tif").read_bytes()


def test_captions_and_texts_are_kept(tmp_path, pixels):
    image = Image.fromarray(pixels)
    iptc = b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x08\x1c\x02\x78\0\x03Oma"
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="1">Onkel</r></x:xmpmeta>'
    segment = b"\xff\xed" + struct.pack(">H", len(iptc) + 2) + iptc
    image.save(tmp_path / "a.jpg", extra=segment, xmp=xmp, comment=b"Hof")
    _, jpeg = through(tmp_path / "a.jpg", tmp_path / "out.jpg")
    assert ("APP13", iptc) in jpeg.applist and jpeg.info["xmp"] == xmp and jpeg.info["comment"] == b"Hof"
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Title", "Großmutter")
    image.save(tmp_path / "a.png", pnginfo=texts)
    _, png = through(tmp_path / "a.png", tmp_path / "out.png")
    assert png.text["Title"] == "Großmutter"


def test_a_stale_thumbnail_is_dropped(tmp_path, pixels):
    def block(orientation, thumbnail_at):
        first = struct.pack("<HHHIHHI", 1, 274, 3, 1, orientation, 0, thumbnail_at)
        second = struct.pack("<HHHIII", 1, 0x0103, 4, 1, 6, 0)
        return b"Exif\0\0II*\0" + struct.pack("<I", 8) + first + second

    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=block(6, 26))
    photo, image = through(tmp_path / "a.jpg", tmp_path / "out.jpg")
    assert photo.pixels.shape == (64, 48, 3)
    assert image.info["exif"] == block(1, 0)


@pytest.mark.parametrize(
    "block", [b"", b"XX*\0\x08", b"II*\0\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff\x12\x01", b"MM\0*" + b"\7" * 99]
)
def test_a_broken_exif_block_does_not_spoil_the_photo(tmp_path, pixels, block):
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=b"Exif\0\0" + block)
    photo, image = through(tmp_path / "a.jpg", tmp_path / "out.jpg")
    assert image.size == (64, 48)
    assert tiff.encode(photo.array(), photo.exif, None, None)


def test_a_fine_jpeg_keeps_its_tables_and_a_coarse_one_gets_better_ones(tmp_path, pixels):
    for quality, subsampling in ((98, 0), (40, 2)):
        Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=quality, subsampling=subsampling)
        _, image = through(tmp_path / "a.jpg", tmp_path / "out.jpg")
        Image.fromarray(pixels).save(tmp_path / "expected.jpg", quality=max(95, quality), subsampling=subsampling)
        assert image.quantization == Image.open(tmp_path / "expected.jpg").quantization
        assert image.layer == Image.open(tmp_path / "expected.jpg").layer


def test_a_fine_grainy_progressive_jpeg_can_be_written(tmp_path):
    grain = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    smooth = Image.new("RGB", (200, 200))
    smooth.save(tmp_path / "a.jpg", progressive=True, quality=100, subsampling=0)
    Photo.read(tmp_path / "a.jpg").with_pixels(grain.astype(np.float32) / 255).write(tmp_path / "out.jpg")
    assert Image.open(tmp_path / "out.jpg").size == (200, 200)


@pytest.mark.parametrize("dpi", [(0, 0), (float("nan"), 300), (1e12, 1e12)])
def test_a_senseless_resolution_is_dropped(pixels, dpi):
    image = Image.fromarray(pixels)
    image.info["dpi"] = dpi
    photo = Photo.from_image(image)
    assert photo.dpi is None
    for format in ("TIFF", "PNG", "JPEG"):
        assert replace(photo, format=format).encode()


def test_a_tiff_whose_resolution_is_0_of_0_can_be_written(tmp_path, pixels):
    whole = tiff.encode(pixels, None, None, (300, 300))
    across = whole.index(struct.pack("<II", 300, 1))
    (tmp_path / "a.tif").write_bytes(whole[:across] + bytes(16) + whole[across + 16 :])  # 0/0 twice
    Photo.read(tmp_path / "a.tif").write(tmp_path / "out.tif")
    assert 282 not in Image.open(tmp_path / "out.tif").tag_v2


def test_cmyk_becomes_rgb_without_its_profile(tmp_path, pixels):
    original = Image.fromarray(pixels).convert("CMYK")
    for name in ("a.jpg", "a.tif"):
        best = {"quality": 100} if name == "a.jpg" else {}
        original.save(tmp_path / name, icc_profile=b"not a profile that could be used", **best)
        photo, image = through(tmp_path / name, tmp_path / name.replace("a", "out"))
        assert image.mode == "RGB" and "icc_profile" not in image.info
        assert np.abs(photo.pixels * 255 - pixels).mean() < 4


def test_palette_and_animated_gifs(tmp_path, pixels):
    first = Image.fromarray(pixels).quantize(16)
    first.save(tmp_path / "a.gif", save_all=True, append_images=[Image.new("P", first.size)])
    photo, image = through(tmp_path / "a.gif", tmp_path / "out.gif")
    assert image.format == "GIF" and not image.is_animated
    np.testing.assert_array_equal(np.asarray(image.convert("RGB")), np.asarray(first.convert("RGB")))
    first.save(tmp_path / "a.png")
    photo, image = through(tmp_path / "a.png", tmp_path / "out.png")
    assert photo.alpha is None
    np.testing.assert_array_equal(np.asarray(image.convert("RGB")), np.asarray(first.convert("RGB")))


@pytest.mark.parametrize("name", ["a.gif", "a.png"])
def test_a_transparent_palette_color_is_alpha(tmp_path, pixels, name):
    palette = Image.fromarray(pixels).quantize(16)
    palette.save(tmp_path / name, transparency=palette.getpixel((0, 0)))
    expected = np.asarray(Image.open(tmp_path / name).convert("RGBA"))[..., 3]
    photo, image = through(tmp_path / name, tmp_path / "out")
    assert 0 < expected.mean() < 255
    np.testing.assert_array_equal(photo.alpha * 255, expected)
    np.testing.assert_array_equal(np.asarray(image.convert("RGBA"))[..., 3], expected)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp", "a.bmp", "a.gif", "a.jp2"])
def test_one_pixel(tmp_path, name):
    Image.new("RGB", (1, 1), (200, 100, 50)).save(tmp_path / name)
    photo, image = through(tmp_path / name, tmp_path / "out")
    assert image.size == (1, 1) and photo.pixels.shape == (1, 1, 3)
    assert np.abs(np.asarray(image.convert("RGB"), int) - (200, 100, 50)).max() <= 12


def test_a_gray_file_stays_one_channel_whatever_is_done_to_it(tmp_path, pixels):
    Image.fromarray(pixels[..., 1]).save(tmp_path / "a.jpg")
    photo = Photo.read(tmp_path / "a.jpg")
    photo.with_pixels(np.full_like(photo.pixels, (1, 0, 0))).write(tmp_path / "out.jpg")
    image = Image.open(tmp_path / "out.jpg")
    assert image.mode == "L" and np.asarray(image)[0, 0] == pytest.approx(0.299 * 255, abs=1)


def test_the_content_decides_the_format_not_the_name(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.jpg", "PNG")
    assert through(tmp_path / "a.jpg", tmp_path / "out.jpg")[1].format == "PNG"


def test_what_is_gray(pixels):
    color = pixels / np.float32(255)
    gray = np.repeat(color @ np.array([[0.299], [0.587], [0.114]], np.float32), 3, axis=2)
    noise = np.random.default_rng(1).normal(0, 0.03, gray.shape).astype(np.float32)
    corner = np.tile(gray, (4, 4, 1))
    corner[:20, :20] = (0.8, 0.1, 0.1)
    jpeg = io.BytesIO()
    Image.fromarray((gray * 255).astype(np.uint8)).save(jpeg, "JPEG", quality=30)
    stored = np.asarray(Image.open(jpeg), np.float32) / 255
    assert is_gray(gray) and is_gray(np.tile(gray + noise, (8, 8, 1))) and is_gray(stored) and is_gray(gray[:1, :1])
    checks = gray.copy()
    checks[::2, ::2], checks[1::2, 1::2] = (0.9, 0.4, 0.4), (0.1, 0.6, 0.6)
    assert not is_gray(gray * np.array([1, 0.98, 0.93], np.float32)) and not is_gray(checks)
    assert not is_gray(color) and not is_gray(gray * np.array([1, 0.93, 0.8], np.float32)) and not is_gray(corner)


def gray_as_a_whole(pixels):
    """`is_grey` with the whole photo at once."""
    chroma = (pixels[..., ::2] - (pixels @ LUMA)[..., None]).astype(np.float64)
    if np.abs(chroma).mean() > 0.04:
        return False
    sums, area = chroma, 1
    for axis in (0, 1):
        side = chroma.shape[axis]
        begins = np.linspace(0, side, min(max(side // 8, 1), 64), endpoint=False).astype(int)
        sums = np.add.reduceat(sums, begins, axis=axis)
        area = area * np.expand_dims(np.diff(begins, append=side), (1 - axis, 2))
    return bool(np.quantile(np.abs(sums / area), 0.995) < 0.016)


@pytest.mark.parametrize("strip", [1, 100, 1 << 18])
@pytest.mark.parametrize("shape", [(1, 1), (3, 70), (70, 3), (61, 97), (530, 67)])
def test_gray_is_told_strip_by_strip_as_from_the_whole(monkeypatch, shape, strip):
    monkeypatch.setattr("bringback.images.photo.STRIP", strip)
    random, seen = np.random.default_rng(0), set()
    checks = (-1.0) ** np.indices(shape).sum(0)[..., None]  # which average out in every block
    # on the way: what a block may have, and what the whole may
    for tint in (*np.linspace(0, 0.03, 20), *(depth * checks for depth in np.linspace(0, 0.08, 20))):
        light = random.random((*shape, 1)) * 0.5 + 0.2 + random.normal(0, 0.01, (*shape, 3))
        picture = (light + tint * np.array([1, 0, -1])).astype(np.float32)
        seen.add(gray_as_a_whole(picture))
        assert is_gray(picture) == gray_as_a_whole(picture)
    assert seen == {True, False}


@pytest.mark.parametrize("strip", [1, 50, 1 << 18])
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_levels_are_made_strip_by_strip_as_from_the_whole(monkeypatch, channels, depth, strip):
    monkeypatch.setattr("bringback.images.photo.STRIP", strip)
    random = np.random.default_rng(0)
    colors = random.random((37, 23, 3), dtype=np.float32) * 1.2 - 0.1
    alpha = random.random((37, 23), dtype=np.float32) if channels in (2, 4) else None
    planes = (colors @ LUMA)[..., None] if channels < 3 else colors
    if alpha is not None:
        planes = np.dstack([planes, alpha])
    kind = {8: np.uint8, 16: np.uint16}[depth]
    expected = np.rint(np.clip(planes, 0, 1) * np.float32(2**depth - 1)).astype(kind)
    photo = Photo(colors, gray=channels < 3, alpha=alpha, bit_depth=depth)
    array = photo.array()
    assert array.dtype == kind
    np.testing.assert_array_equal(array, expected[..., 0] if channels == 1 else expected)
    if channels >= 3:
        shown = np.rint(expected / 257.0).astype(np.uint8) if depth == 16 else expected
        np.testing.assert_array_equal(np.asarray(photo.to_image()), shown)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("channels", [None, 1, 3, 4])
def test_levels_become_floats_in_a_copy_of_their_own(kind, channels):
    shape = (9, 7) if channels is None else (channels, 9, 7)
    top = 1 if np.dtype(kind).kind == "f" else np.iinfo(kind).max
    array = (np.random.default_rng(0).random(shape) * top).astype(kind)
    if channels is not None:
        array = array.transpose(1, 2, 0)  # as from a tensor
    photo = Photo.from_array(array)
    expected = array.astype(np.float32).reshape(9, 7, -1) / np.float32(top)
    colors = expected[..., :3] if channels in (3, 4) else np.repeat(expected, 3, axis=2)
    np.testing.assert_array_equal(photo.pixels, colors)
    assert photo.pixels.dtype == np.float32 and photo.pixels.flags.c_contiguous
    assert not np.shares_memory(photo.pixels, array)
    assert (photo.alpha is None) == (channels != 4)
    if photo.alpha is not None:
        np.testing.assert_array_equal(photo.alpha, expected[..., 3])
        assert photo.alpha.flags.c_contiguous


def extra_memory(work):
    """The most bytes that `work` had allocated at a time, and what it returned."""
    tracemalloc.start()
    try:
        result = work()
        return tracemalloc.get_traced_memory()[1], result
    finally:
        tracemalloc.stop()


def test_a_large_photo_is_never_copied_along_the_way():
    levels = np.random.default_rng(0).integers(0, 256, (2000, 3000, 1), dtype=np.uint8)
    little = 12 << 20  # where one copy of the photo is 72 million bytes
    for array in (np.repeat(levels, 3, axis=2), levels):
        used, photo = extra_memory(lambda array=array: Photo.from_array(array))
        assert used < photo.pixels.nbytes + little
        used, back = extra_memory(photo.array)
        assert used < back.nbytes + little
        np.testing.assert_array_equal(back, array if array.shape[2] == 3 else array[..., 0])
        assert extra_memory(lambda photo=photo: is_gray(photo.pixels))[0] < little
        assert is_gray(photo.pixels)


def test_arrays_and_images(pixels):
    assert Photo.from_array(pixels.astype(np.uint16) * 257).bit_depth == 16
    assert Photo.from_array(pixels[..., 0]).gray
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"):
        image = Image.fromarray(pixels).convert(mode)
        back = Photo.from_image(image).to_image()
        assert back.size == image.size
        assert back.mode == {"1": "L", "P": "RGB", "CMYK": "RGB", "YCbCr": "RGB"}.get(mode, mode)
    with pytest.raises(PhotoError, match="shape"):
        Photo.from_array(np.zeros((3, 4, 5)))
    with pytest.raises(PhotoError, match="int64"):
        Photo.from_array(np.zeros((3, 4), np.int64))


def truncated(pixels, format):
    file = io.BytesIO()
    Image.fromarray(np.tile(pixels, (4, 4, 1))).save(file, format)
    return file.getvalue()[: len(file.getvalue()) // 2]


BAD = {
    "empty": (lambda pixels: b"", "empty"),
    "cut jpeg": (lambda pixels: truncated(pixels, "JPEG"), "cut short"),
    "cut png": (lambda pixels: truncated(pixels, "PNG"), "cut short"),
    "cut tiff": (lambda pixels: truncated(pixels, "TIFF"), "cut short|not a picture"),
    "cut 16-bit png": (lambda pixels: Photo.from_array(pixels.astype(np.uint16)).encode()[:900], "cut short"),
    "text": (lambda pixels: b"Dear Aunt Emma,\nhere is the photo.\n", "not a picture"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_named_in_one_line(tmp_path, pixels, kind):
    content, reason = BAD[kind]
    (tmp_path / "bad.jpg").write_bytes(content(pixels))
    with pytest.raises(PhotoError, match=reason) as caught:
        Photo.read(tmp_path / "bad.jpg")
    assert "bad.jpg" in str(caught.value) and "\n" not in str(caught.value)


def test_missing_files_folders_and_float_tiffs(tmp_path):
    with pytest.raises(PhotoError, match=r"gone\.jpg.*No such file"):
        Photo.read(tmp_path / "gone.jpg")
    with pytest.raises(PhotoError, match="cannot be read"):
        Photo.read(tmp_path)
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(PhotoError, match=r"f\.tif.*'F'.*8 or 16 bits"):
        Photo.read(tmp_path / "f.tif")


def test_decompression_bombs_are_refused_and_large_scans_are_not(pixels, recwarn):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    Photo.decode(file.getvalue(), "large.png", max_pixels=48 * 64)
    assert not recwarn.list
    with pytest.raises(PhotoError, match=r"large\.png: too large: 64x48 pixels, .* --max-pixels"):
        Photo.decode(file.getvalue(), "large.png", max_pixels=48 * 64 - 1)


def test_a_write_that_breaks_off_leaves_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "a.jpg"
    target.write_bytes(b"old")

    def broken(*_):
        raise OSError("disk full")

    for place in ("os.fsync", "os.replace"):
        with monkeypatch.context() as patched, pytest.raises(OSError, match="disk full"):
            patched.setattr(place, broken)
            write_beside(target, b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"] and target.read_bytes() == b"old"


def test_a_place_that_cannot_be_written_is_named(tmp_path, pixels):
    (tmp_path / "file").touch()
    with pytest.raises(PhotoError, match=r"a\.png: cannot be written"):
        Photo.from_array(pixels).write(tmp_path / "file" / "a.png")


def test_the_former_names_work_for_one_release() -> None:
    gray = Photo.from_array(np.zeros((4, 4), np.uint8))
    assert gray.gray and gray.grey and not gray.in_colour().grey and not gray.in_color().gray
