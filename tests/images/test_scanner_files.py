"""Files as scanners, phones and archives make them: odd layouts, broken blocks, metadata that has to be made true."""

import base64
import hashlib
import io
import random
import re
import struct
import sys
import time
import zlib

import cv2
import imagecodecs
import numpy as np
import pillow_heif
import pytest
import tifffile
from PIL import Image, ImageCms, PngImagePlugin
from PIL.ExifTags import IFD

from bringback.errors import CodecError, PhotoError
from bringback.images import container, heif, jpeg, jxl, layouts, png, resources, tiff, xmp
from bringback.images.formats import converted
from bringback.images.photo import Photo

MUTATIONS = 30  # of each kind of file
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
SPACES = (
    'xmlns:mwg-rs="http://www.metadataworkinggroup.com/schemas/regions/" xmlns:a="http://ns.adobe.com/xmp/sType/Area#" '
    'xmlns:d="http://ns.adobe.com/xap/1.0/sType/Dimensions#" xmlns:m="http://ns.microsoft.com/photo/1.2/t/Region#" '
    'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/" '
    'xmlns:Camera="http://ns.google.com/photos/1.0/camera/" xmlns:C="http://ns.google.com/photos/1.0/container/" '
    'xmlns:g="http://ns.adobe.com/hdr-gain-map/1.0/" xmlns:x="http://ns.adobe.com/xap/1.0/" xmlns:i="urn:i"'
)


def packet(inside, attributes=""):
    used = " ".join(space for space in SPACES.split() if f"{space[6:].partition('=')[0]}:" in inside + attributes)
    text = f"<rdf:Description rdf:about='' {used} {attributes}>{inside}</rdf:Description>"
    return (
        f'<?xpacket begin="\ufeff"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}">{text}</rdf:RDF>'
        '</x:xmpmeta>  \n<?xpacket end="w"?>'
    ).encode()


def saved(array, format, **options):
    file = io.BytesIO()
    Image.fromarray(array).save(file, format, **options)
    return file.getvalue()


def written(array, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, array, metadata=None, **options)
    return file.getvalue()


def again(photo):
    """What other programs read of the photo once it is written: pixels and the first page's tags."""
    with tifffile.TiffFile(io.BytesIO(photo.encode())) as file:
        return file.pages[0].asarray(), file.pages[0]


# Channels, pages and depths of TIFFs


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("extrasamples", [["unspecified"], None])
def test_infrared_is_no_alpha(pixels, orientation, extrasamples):
    deep = np.dstack([pixels, pixels[..., :1]]).astype(np.uint16) * 257
    tag = [(274, 3, 1, orientation, True)]
    data = written(deep, photometric="rgb", extrasamples=extrasamples, extratags=tag)
    if extrasamples is None:  # no word at all about the fourth channel
        at = data.index(struct.pack("<HHI", 338, 3, 1))
        data = data[:at] + struct.pack("<H", 60_000) + data[at + 2 :]
    photo = Photo.decode(data, "a.tif")
    assert photo.alpha is None and photo.bit_depth == 16 and "infrared" in photo.warnings[0]
    array, page = again(photo)
    np.testing.assert_array_equal(array, container.upright(deep, orientation))
    np.testing.assert_array_equal(photo.infrared, container.upright(deep[..., 3], orientation))
    assert [int(extra) for extra in page.extrasamples] == [0]


def test_alpha_stays_alpha(pixels):
    deep = np.dstack([pixels, pixels[..., :1]]).astype(np.uint16) * 257
    photo = Photo.decode(written(deep, photometric="rgb", extrasamples=["unassalpha"]), "a.tif")
    assert photo.alpha is not None and not photo.warnings


def test_infrared_of_8_bits(pixels, monkeypatch):
    array = np.dstack([pixels, pixels[..., :1]])
    data = written(array, photometric="rgb", extrasamples=["unspecified"])
    photo = Photo.decode(data, "a.tif")
    assert photo.alpha is None and photo.warnings == ("channels of unspecified use (infrared?) are kept as scanned: 1",)
    np.testing.assert_array_equal(photo.infrared, array[..., 3])
    np.testing.assert_array_equal(again(photo)[0], array)
    layouts._library.cache_clear()
    monkeypatch.setitem(sys.modules, "tifffile", None)
    photo = Photo.decode(data, "a.tif")
    assert photo.alpha is None and photo.warnings == ("channels of unspecified use (infrared?) are left out: 1",)
    assert photo.infrared is None
    with tifffile.TiffWriter(file := io.BytesIO()) as writer:
        writer.write(pixels, photometric="rgb", metadata=None)
        writer.write(pixels[..., 0], photometric="minisblack", metadata=None)
    photo = Photo.decode(file.getvalue(), "a.tif")
    assert "left out" in photo.warnings[0] and "not looked at for dust: such TIFF files need" in photo.warnings[1]


@pytest.mark.parametrize("alpha", ["unassalpha", "unspecified"])
def test_gray_of_16_bits_with_another_channel(pixels, alpha):
    array = pixels[..., :2].astype(np.uint16) * 257
    photo = Photo.decode(written(array, photometric="minisblack", extrasamples=[alpha]), "a.tif")
    assert photo.gray and (photo.alpha is not None) == (alpha == "unassalpha")
    np.testing.assert_array_equal(again(photo)[0], array)


@pytest.mark.parametrize("orientation", [1, 6])
def test_an_infrared_page_is_no_second_photo(pixels, orientation):
    deep = pixels.astype(np.uint16) * 257
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(deep, photometric="rgb", metadata=None, extratags=[(274, 3, 1, orientation, True)])
        writer.write(deep[..., 0], photometric="minisblack", metadata=None)
    photo = Photo.decode(file.getvalue(), "a.tif")
    np.testing.assert_array_equal(photo.array(), container.upright(deep, orientation))
    np.testing.assert_array_equal(photo.infrared, container.upright(deep[..., 0], orientation))
    assert "infrared" in photo.warnings[0]
    with tifffile.TiffWriter(file := io.BytesIO()) as writer:
        writer.write(deep, photometric="rgb", metadata=None)
        writer.write(pixels[..., 0] > 99, photometric="minisblack", subfiletype=4, metadata=None)
    photo = Photo.decode(file.getvalue(), "a.tif")
    assert "marked as a mask (infrared?)" in photo.warnings[0] and photo.infrared is None
    with tifffile.TiffWriter(file := io.BytesIO()) as writer:
        writer.write(deep, photometric="rgb", metadata=None)
        writer.write(deep[..., 0], photometric="minisblack", subfiletype=2, metadata=None)
    typed = file.getvalue().replace(struct.pack("<HHII", 254, 4, 1, 2), struct.pack("<HHII", 254, 4, 1, 4))
    photo = Photo.decode(typed, "a.tif")  # as SilverFast writes it: a mask of 16 bits
    np.testing.assert_array_equal(photo.infrared, deep[..., 0])
    assert "marked as a mask (infrared?)" in photo.warnings[0]
    with tifffile.TiffWriter(file := io.BytesIO()) as writer:
        for _ in range(2):
            writer.write(deep[..., 0], photometric="minisblack", metadata=None)
    with pytest.raises(PhotoError, match=r"2 pages: split it first .* all of one size; infrared"):
        Photo.decode(file.getvalue(), "a.tif")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("photometric", [8, 9])
def test_cielab(pixels, dtype, photometric):
    lab = cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    top, units = np.iinfo(dtype).max, (np.iinfo(dtype).max + 1) // 256
    white = 0xFF00 if photometric == 9 and dtype == np.uint16 else top
    levels = np.rint(lab * [white / 100, units, units]).astype(np.int64)
    levels[..., 1:] += 128 * units if photometric == 9 else 0
    data = written(levels.astype(dtype), photometric=photometric)
    photo = Photo.decode(data, "a.tif")
    assert photo.bit_depth == dtype(0).itemsize * 8
    assert np.abs(photo.pixels * 255 - pixels).mean() < 2


def test_cmyk_of_16_bits_says_that_it_becomes_8(pixels):
    cmyk = np.dstack([255 - pixels, np.zeros_like(pixels[..., :1])]).astype(np.uint16) * 257
    photo = Photo.decode(written(cmyk, photometric="separated"), "a.tif")
    assert np.abs(photo.pixels * 255 - pixels).max() <= 1
    assert photo.warnings == ("CMYK of 16 bits is converted to RGB of 8 bits",)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_white_is_zero(pixels, byteorder, dtype):
    gray = pixels[..., 0].astype(dtype) * dtype(257 if dtype == np.uint16 else 1)
    data = written(np.iinfo(dtype).max - gray, photometric="miniswhite", byteorder=byteorder)
    np.testing.assert_array_equal(Photo.decode(data, "a.tif").array(), gray)


def test_what_is_not_read_says_what_it_is(pixels, monkeypatch):
    reals = written(pixels.astype(np.float32) / 255, photometric="rgb")
    with pytest.raises(PhotoError, match=r"a\.tif: a TIFF of floating point numbers of 32 bits: save it with 8 or 16"):
        Photo.decode(reals, "a.tif")
    deep = written(pixels.astype(np.uint16) * 257, photometric="rgb", compression="zlib", predictor=2)
    at = deep.index(struct.pack("<HHII", 259, 3, 1, 8))
    unknown = deep[: at + 8] + struct.pack("<I", 50_000) + deep[at + 12 :]  # Zstandard, which the pixels are not
    with pytest.raises(PhotoError, match=r"a\.tif: (it is compressed by zstd: such TIFF files need one more|broken)"):
        Photo.decode(unknown, "a.tif")
    eight = written(pixels, photometric="rgb", compression="zlib")
    at = eight.index(struct.pack("<HHII", 259, 3, 1, 8))
    with pytest.raises(PhotoError, match=r"a\.tif: (it is compressed by lerc: such TIFF files need one more|broken)"):
        Photo.decode(eight[: at + 8] + struct.pack("<I", 34887) + eight[at + 12 :], "a.tif")
    monkeypatch.setitem(sys.modules, "tifffile", None)
    layouts._library.cache_clear()
    with pytest.raises(PhotoError, match=r'such TIFF files need one more package: pip install "bringback\[io\]"'):
        Photo.decode(unknown, "a.tif")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("compression", ["zstd", "lzma", "lerc", "webp"])
def test_compressions_of_tiff(pixels, compression, dtype):
    if (compression, dtype) == ("webp", np.uint16):
        pytest.skip("of 8 bits only")
    array = pixels.astype(dtype) * dtype(1 if dtype == np.uint8 else 257)
    photo = Photo.decode(written(array, photometric="rgb", compression=compression), "a.tif")
    np.testing.assert_array_equal(photo.array(), array)
    np.testing.assert_array_equal(again(photo)[0], array)


def test_metadata_of_a_bigtiff(pixels):
    told = packet("<x:Label>Oma in Kiel</x:Label>")
    tags = [(315, "s", 0, "Studio", True), (33432, "s", 0, "Archive", True), (700, "B", len(told), told, True)]
    tags += [(34675, "B", len(SRGB), SRGB, True)]
    options = {"photometric": "rgb", "description": "Oma", "resolution": (600, 600), "resolutionunit": 2}
    data = written(pixels, bigtiff=True, extratags=tags, **options)
    array, page = again(Photo.decode(data, "a.tif"))
    np.testing.assert_array_equal(array, pixels)
    assert [page.tags[tag].value for tag in (270, 315, 33432)] == ["Oma", "Studio", "Archive"]
    assert bytes(page.tags[700].value) == told and bytes(page.tags[34675].value) == SRGB
    assert page.get_resolution("INCH") == (600, 600)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_tiffs_are_written_in_strips_with_a_predictor(monkeypatch, compress, byteorder):
    monkeypatch.setattr(tiff, "STRIP", 10_000)
    wave = np.sin(np.arange(300) / 20) * 30_000 + 32_000  # smooth, but for the last bits
    array = (wave[:, None, None] / 2 + wave[:200, None] / 2 + np.zeros(3)).astype(np.uint16)
    compression = "zlib" if compress else None
    photo = Photo.decode(written(array, photometric="rgb", compression=compression, byteorder=byteorder), "a.tif")
    seen, page = again(photo)
    np.testing.assert_array_equal(seen, array)
    np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(photo.encode(), np.uint8), -1)[..., ::-1], array)
    assert page.rowsperstrip == 8 and len(page.dataoffsets) == 38
    assert not compress or len(photo.encode()) < 0.7 * len(zlib.compress(array.tobytes(), 6))


# PNG


def with_chunks(data, *chunks):
    """A PNG with chunks after its header; a checksum of None is wrong."""
    inserted = b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content) ^ wrong)
        for kind, content, wrong in chunks
    )
    return data[:33] + inserted + data[33:]


@pytest.mark.parametrize("kind", [b"pHYs", b"iCCP", b"gAMA", b"tEXt", b"eXIf"])
@pytest.mark.parametrize("wrong", [0, 1])
def test_a_broken_chunk_of_a_png_is_left_out(pixels, kind, wrong):
    """Broken in its content, or in its checksum; a good one of the same kind may follow."""
    good = [(b"iCCP", b"icc\0\0" + zlib.compress(SRGB), 0)]
    photo = Photo.decode(with_chunks(saved(pixels, "PNG"), (kind, b"\0\1\2", wrong), *good), "a.png")
    np.testing.assert_array_equal(photo.array(), pixels)
    assert Image.open(io.BytesIO(photo.encode())).info["icc_profile"] == SRGB


def test_large_blocks_of_a_png_are_kept(pixels):
    profile = SRGB + np.random.default_rng(1).bytes(300_000) + bytes(1_200_000)
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", "Onkel" * 300_000, zip=True)
    told = packet(f"<x:Label>{'Oma' * 400_000}</x:Label>")
    text.add_itxt("XML:com.adobe.xmp", told.decode(), zip=True)
    photo = Photo.decode(saved(pixels, "PNG", icc_profile=profile, pnginfo=text), "a.png")
    assert photo.icc == profile and photo.extra["xmp"] == told
    chunks = dict(png.split(photo.encode())[1])
    assert chunks[b"zTXt"] == b"Title\0\0" + zlib.compress(b"Onkel" * 300_000)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("alpha", [False, True])
def test_a_linear_png_is_shown_as_before(pixels, depth, alpha):
    top = 2**depth - 1
    linear = np.rint((pixels / 255) ** 2.2 * top).astype(np.uint8 if depth == 8 else np.uint16)
    linear = np.dstack([linear, np.full_like(linear[..., :1], top // 3)]) if alpha else linear
    bgr = cv2.cvtColor(linear, cv2.COLOR_RGBA2BGRA if alpha else cv2.COLOR_RGB2BGR)
    gamma = (b"gAMA", struct.pack(">I", 100_000), 0)
    data = with_chunks(cv2.imencode(".png", bgr)[1].tobytes(), gamma)
    photo = Photo.decode(data, "a.png")
    assert photo.bit_depth == 16 and np.abs(photo.pixels * 255 - pixels).mean() < (1.5 if depth == 8 else 0.1)
    assert not alpha or np.allclose(photo.alpha, (top // 3) / top, atol=1e-4)
    chunks = dict(png.split(photo.encode())[1])
    assert chunks[b"gAMA"] == struct.pack(">I", 45455)
    plain = Photo.decode(with_chunks(data, (b"sRGB", b"\0", 0)), "a.png")  # which says more
    np.testing.assert_array_equal(plain.array(), linear)


def test_usual_gamma_changes_nothing(pixels):
    gamma = struct.pack(">I", 45455)
    photo = Photo.decode(with_chunks(saved(pixels, "PNG"), (b"gAMA", gamma, 0)), "a.png")
    np.testing.assert_array_equal(photo.array(), pixels)
    assert photo.bit_depth == 8 and dict(png.split(photo.encode())[1])[b"gAMA"] == gamma


# JPEG


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("end", [b"", bytes(4096)])
def test_a_jpeg_without_its_end_is_read_if_all_pixels_are_there(pixels, progressive, end):
    data = saved(pixels, "JPEG", quality=95, progressive=progressive)
    photo = Photo.decode(data[:-2] + end, "a.jpg")
    np.testing.assert_array_equal(photo.array(), Photo.decode(data, "a.jpg").array())
    for missing in (12, 60, len(data) // 3):
        with pytest.raises(PhotoError, match="cut short"):
            Photo.decode(data[:-missing] + end, "a.jpg")


@pytest.mark.parametrize(("frame", "bits", "kind"), [(0xC1, 12, "JPEG"), (0xC3, 14, "lossless JPEG")])
def test_a_deep_jpeg_says_what_it_is(pixels, frame, bits, kind):
    data = saved(pixels, "JPEG")
    at = data.index(b"\xff\xc0")
    with pytest.raises(PhotoError, match=f"a {kind} of {bits} bits, which is not read: convert it"):
        Photo.decode(data[:at] + bytes([0xFF, frame]) + data[at + 2 : at + 4] + bytes([bits]) + data[at + 5 :], "a.jpg")


def test_the_second_view_of_an_mpo_is_told(pixels):
    data = saved(pixels, "MPO", save_all=True, append_images=[Image.fromarray(pixels)])
    assert "2 pictures in it" in Photo.decode(data, "a.mpo").warnings[0]
    assert Photo.decode(saved(pixels, "JPEG"), "a.jpg").warnings == ()
    for format in ("GIF", "PNG", "WEBP"):
        frames = saved(pixels, format, save_all=True, append_images=[Image.fromarray(255 - pixels)])
        assert Photo.decode(frames, "a").warnings == ("of its frames the first is restored alone",)


OLD = saved(np.arange(768, dtype=np.uint8).reshape(16, 16, 3), "JPEG")  # a thumbnail


def resource(number, data):
    return b"8BIM" + struct.pack(">H", number) + b"\1a" + struct.pack(">I", len(data)) + data + b"\0" * (len(data) % 2)


CAPTION = resource(0x0404, b"\x1c\x02\x78\0\3Oma")
BLOCKS = resource(0x0409, bytes(28) + OLD) + CAPTION + resource(0x040C, bytes(28) + OLD) + resource(0x03ED, b"dpi")


@pytest.mark.parametrize("format", ["JPEG", "TIFF", "PNG"])
def test_thumbnails_of_photoshop_go(pixels, format):
    if format == "JPEG":
        half = len(BLOCKS) // 2  # a block may go on in the next segment
        parts = [b"Photoshop 3.0\0" + part for part in (BLOCKS[:half], BLOCKS[half:])]
        data = saved(pixels, "JPEG", extra=b"".join(struct.pack(">HH", 0xFFED, len(p) + 2) + p for p in parts))
    elif format == "TIFF":
        data = written(pixels, photometric="rgb", extratags=[(34377, 1, len(BLOCKS), BLOCKS, True)])
    else:
        text = PngImagePlugin.PngInfo()
        text.add_text("Raw profile type iptc", f"\niptc\n{len(BLOCKS):8}\n{BLOCKS.hex()}\n", zip=True)
        data = saved(pixels, "PNG", pnginfo=text)
    out = Photo.decode(data, "a").encode()
    kept = CAPTION + resource(0x03ED, b"dpi")
    assert (kept.hex().encode() if format == "PNG" else kept) in out
    assert OLD not in out and OLD.hex().encode() not in out


def test_broken_resources_stay():
    for blocks in (b"8BIM", b"8BIM\4\x0c\xff", b"none"):
        assert resources.without_thumbnails(blocks) == blocks
    assert resources.without_thumbnails(BLOCKS[:-1]).startswith(CAPTION)


@pytest.mark.parametrize("last", [False, True])
def test_the_thumbnail_of_exif_goes_and_its_size_is_that_of_the_picture(pixels, last):
    tags = Image.Exif()
    tags[271], tags[274] = "Agfa", 6
    tags.get_ifd(0x8769).update({0xA002: 64, 0xA003: 48, 0x9003: "1930:01:01 00:00:00"})
    block = tags.tobytes()
    ends = 6 + 8 + 2 + 12 * 3  # of the first directory, where the next one is named
    first, order = len(block) - 6, {b"II": "<", b"MM": ">"}[block[6:8]]
    directory = struct.pack(f"{order}HHHIIHHIII", 2, 513, 4, 1, first + 30, 514, 4, 1, len(OLD), 0)
    more = directory + OLD + (b"" if last else b"end")
    block = block[:ends] + struct.pack(f"{order}I", first) + block[ends + 4 :] + more
    assert Image.open(io.BytesIO(saved(pixels, "JPEG", exif=block))).getexif().get_ifd(IFD.IFD1)[513] == first + 30
    out = Photo.decode(saved(pixels, "JPEG", exif=block), "a.jpg").encode()
    told = Image.open(io.BytesIO(out)).getexif()
    inner = told.get_ifd(0x8769)
    assert OLD not in out and told[271] == "Agfa" and told[274] == 1 and inner[0x9003] == "1930:01:01 00:00:00"
    assert (inner[0xA002], inner[0xA003]) == (48, 64) and not told.get_ifd(IFD.IFD1)


# XMP


FACE = (0.25, 0.375, 0.125, 0.25)  # center and size in the stored picture
TURNED = {1: FACE, 3: (0.75, 0.625, 0.125, 0.25), 6: (0.625, 0.25, 0.25, 0.125), 8: (0.375, 0.75, 0.25, 0.125)}
TURNED |= {2: (0.75, 0.375, 0.125, 0.25), 5: (0.375, 0.25, 0.25, 0.125), 7: (0.625, 0.75, 0.25, 0.125)}


def regions(width, height, as_elements, unit="normalized"):
    scale = (width, height, width, height) if unit == "pixel" else (1, 1, 1, 1)
    area = dict(zip("xywh", (value * by for value, by in zip(FACE, scale, strict=True)), strict=True)) | {"unit": unit}
    size = {"w": width, "h": height, "unit": "pixel"}
    corner = (FACE[0] - FACE[2] / 2, FACE[1] - FACE[3] / 2, *FACE[2:])

    def put(name, space, values):
        if as_elements:
            inside = "".join(f"<{space}:{key}>{value}</{space}:{key}>" for key, value in values.items())
            return f'<{name} rdf:parseType="Resource">{inside}</{name}>'
        return f"<{name} " + " ".join(f'{space}:{key}="{value}"' for key, value in values.items()) + "/>"

    return packet(
        put("mwg-rs:AppliedToDimensions", "d", size)
        + "<mwg-rs:Name>Tante Käthe</mwg-rs:Name>"
        + put("mwg-rs:Area", "a", area)
        + f"<m:Rectangle>{', '.join(map(str, corner))}</m:Rectangle>",
        f'tiff:Orientation="6" exif:PixelXDimension="{width}" exif:PixelYDimension="{height}"',
    )


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("as_elements", [False, True])
@pytest.mark.parametrize("unit", ["normalized", "pixel"])
def test_faces_turn_with_the_picture(orientation, as_elements, unit):
    size = (48, 64) if orientation >= 5 else (64, 48)
    out, lost = xmp.fitted(regions(64, 48, as_elements, unit), orientation, *size)
    text, face = out.decode(), TURNED[orientation]
    numbers = [float(number) for number in _values(text, "a")]
    scale = (*size, *size) if unit == "pixel" else (1, 1, 1, 1)
    np.testing.assert_allclose(numbers, np.multiply(face, scale), atol=1e-5)
    assert tuple(map(float, _values(text, "d"))) == size and not lost
    corner = [face[0] - face[2] / 2, face[1] - face[3] / 2, *face[2:]]
    box = text.partition("<m:Rectangle>")[2].partition("<")[0].split(",")
    np.testing.assert_allclose([float(value) for value in box], corner, atol=1e-5)
    assert "Tante Käthe" in text and 'Orientation="1"' in text and f'PixelXDimension="{size[0]}"' in text
    assert text.startswith('<?xpacket begin="\ufeff"?>\n') and text.endswith('  \n<?xpacket end="w"?>')


def _values(text, space):
    return re.findall(rf"{space}:[xywh](?:=\"|>)([\d.]+)", text)


def test_faces_that_were_drawn_on_the_upright_picture_stay():
    before = regions(48, 64, False).replace(b'Orientation="6"', b'Orientation="1"')
    out, _ = xmp.fitted(before, 6, 48, 64)
    assert [float(number) for number in _values(out.decode(), "a")] == list(FACE)


def test_what_is_no_longer_in_the_file_is_not_told():
    items = "<C:Directory><rdf:Seq><rdf:li i:Mime='video/mp4'/></rdf:Seq></C:Directory>"
    more = "Camera:MotionPhoto='1' Camera:MotionPhotoVersion='1' Camera:Kept='1'"
    film = packet(items + "<x:Label>Oma</x:Label>", more)
    out, lost = xmp.fitted(film, 1, 64, 48)
    assert [word for word in (b"Motion", b"video", b"container/", b"Oma", b"Kept") if word in out] == [b"Oma", b"Kept"]
    assert lost == ["the film of a motion photo"]
    older = packet("<Camera:MicroVideo>1</Camera:MicroVideo>")
    assert b"<Camera:MicroVideo" not in xmp.fitted(older, 1, 64, 48)[0]
    out, lost = xmp.fitted(packet(items, "g:Version='1.0' g:GainMapMax='2'"), 1, 64, 48)
    assert lost == ["the HDR gain map"] and b"gain" not in out and b"GainMap" not in out
    old = base64.b64encode(OLD)
    thumbnail = packet(f"<x:Thumbnails><rdf:Alt><rdf:li>{old.decode()}</rdf:li></rdf:Alt></x:Thumbnails>")
    out, lost = xmp.fitted(thumbnail, 1, 64, 48)
    assert old not in out and lost == []
    assert xmp.fitted(packet("<x:Label>Oma</x:Label>"), 1, 64, 48) == (packet("<x:Label>Oma</x:Label>"), [])


@pytest.mark.parametrize(
    "bad",
    [
        # entities that grow, in letters of two bytes; the word that is looked for stands in a remark
        "\ufeff<!DOCTYPE a [<!ENTITY b 'ccc'>]><a MotionPhoto='1'>&b;<!--".encode("utf-16-be")
        + b"MotionPhoto!"
        + "--></a>".encode("utf-16-be"),
        packet("<a>" * 5000 + "</a>" * 5000, "Camera:MotionPhoto='1'"),
        packet("<a>", "Camera:MotionPhoto='1'"),
    ],
)
def test_a_packet_that_cannot_be_read_stays(bad):
    assert xmp.fitted(bad, 1, 64, 48) == (bad, [])


def test_a_packet_with_much_to_remove():
    """Time is linear in its length; it was quadratic."""
    begin = time.process_time()
    out, _ = xmp.fitted(packet("<i:a/><i:MotionPhoto/>" * 20_000), 6, 48, 64)
    assert time.process_time() - begin < 2 and b"Motion" not in out and out.count(b"<i:a/>") == 20_000


def test_thumbnails_in_extended_xmp_go(pixels):
    old = base64.b64encode(OLD * 300).decode()
    large = packet(f"<x:Thumbnails>{old}</x:Thumbnails><x:Label>Oma</x:Label>")
    digest = hashlib.md5(large).hexdigest().upper().encode()
    parts = [
        jpeg.EXTENDED_XMP + digest + struct.pack(">II", len(large), start) + large[start : start + 60_000]
        for start in range(0, len(large), 60_000)
    ]
    assert len(parts) > 1
    segments = b"".join(struct.pack(">HH", 0xFFE1, len(part) + 2) + part for part in parts)
    main = packet("", f"i:HasExtendedXMP='{digest.decode()}'")
    out = Photo.decode(saved(pixels, "JPEG", xmp=main, extra=segments), "a.jpg").encode()
    image = Image.open(io.BytesIO(out))
    (block,) = [block for name, block in image.applist if name == "APP1" and block.startswith(jpeg.EXTENDED_XMP)]
    whole = block[len(jpeg.EXTENDED_XMP) + 40 :]
    assert old.encode() not in whole and b"Oma" in whole
    assert hashlib.md5(whole).hexdigest().upper().encode() in image.info["xmp"]


# HEIC, and formats that are read besides


def _six(block):
    """An EXIF block whose orientation is 1 with 6."""
    order = {b"II": "<", b"MM": ">"}[block[6:8]]
    entry = struct.pack(f"{order}HHI", 274, 3, 1)
    return block.replace(entry + struct.pack(f"{order}H", 1), entry + struct.pack(f"{order}H", 6))


@pytest.mark.parametrize("told", [False, True])
def test_orientation_of_a_heic(pixels, told):
    """The container's own turns are applied by the library; by EXIF it is turned if the container has none."""
    file, tags = io.BytesIO(), Image.Exif()
    tags[274] = 6 if told else 1
    pillow_heif.encode("RGB", (64, 48), pixels.tobytes(), file, quality=95, chroma="444", exif=tags.tobytes())
    data = file.getvalue()
    assert (b"irot" in data) == told
    tags[274] = 1
    data = data.replace(tags.tobytes(), _six(tags.tobytes()))
    photo = Photo.decode(data, "a.heic")
    assert photo.pixels.shape == (64, 48, 3) and photo.orientation == 6
    assert np.abs(photo.pixels * 255 - np.rot90(pixels, -1)).mean() < 3
    assert Photo.decode(photo.encode(), "a.heic").pixels.shape == (64, 48, 3)


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize(("format", "name"), [("PPM", "a.ppm"), ("TGA", "a.tga"), ("PCX", "a.pcx"), ("AVIF", "a.avif")])
def test_formats_that_are_read_besides(pixels, format, name, gray):
    array = pixels[..., 0] if gray else pixels
    data = saved(array, format, **({"quality": 98, "subsampling": "4:4:4"} if format == "AVIF" else {}))
    photo = Photo.decode(data, name)
    assert photo.format == format and photo.gray == (gray and format != "AVIF")
    again = Photo.decode(photo.encode(), name)
    expected = pixels[..., :1] if gray else pixels
    assert np.abs(again.pixels * 255 - expected).mean() < (3 if format == "AVIF" else 0.01)


def test_a_jpeg_xl_that_holds_a_jpeg(pixels, monkeypatch):
    tags = Image.Exif()
    tags[271], tags[274] = "Leica", 6
    told = packet("<x:Label>Oma</x:Label>")
    whole = saved(pixels, "JPEG", quality=97, exif=tags.tobytes(), icc_profile=SRGB, xmp=told, dpi=(600, 300))
    data = imagecodecs.jpegxl_encode_jpeg(whole)
    photo = Photo.decode(data, "a.jxl")
    np.testing.assert_array_equal(photo.pixels, Photo.decode(whole, "a.jpg").pixels)
    assert photo.format == "JXL" and photo.orientation == 6
    out = photo.encode({"tool": "x"})
    shown = imagecodecs.jpegxl_decode(out)
    assert shown.shape == (64, 48, 3) and np.abs(shown - photo.pixels * 255).mean() < 2
    image = Image.open(io.BytesIO(imagecodecs.jpegxl_decode_jpeg(out)))
    assert (image.getexif()[271], image.getexif()[274]) == ("Leica", 1) and image.info["icc_profile"] == SRGB
    assert b"Oma" in image.info["xmp"] and b"bringback" in image.info["xmp"] and image.info["dpi"] == (300, 600)
    assert Photo.decode(converted(photo, "JPEG").encode(), "a.jpg").exif == photo.exif
    with pytest.raises(PhotoError, match=r"a\.jxl: broken or cut short"):
        Photo.decode(data[:-300], "a.jxl")
    with pytest.raises(PhotoError, match="not made of a JPEG is not read"):
        Photo.decode(imagecodecs.jpegxl_encode(pixels), "a.jxl")
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(PhotoError, match=r"too large: 64x48 pixels"):  # by its header: nothing could unpack it
        Photo.decode(data, "a.jxl", 64 * 48 - 1)
    with pytest.raises(PhotoError, match=r'JPEG XL files need one more package: pip install "bringback\[io\]"'):
        Photo.decode(data, "a.jxl")


@pytest.mark.parametrize("size", [(64, 48), (8, 256), (264, 8), (120, 100), (333, 77), (1, 600), (9000, 2), (2, 9000)])
@pytest.mark.parametrize("parts", [1, 2])
def test_the_size_of_a_jpeg_xl_is_known_before_it_is_unpacked(size, parts):
    data = imagecodecs.jpegxl_encode_jpeg(saved(np.zeros((*size[::-1], 3), np.uint8), "JPEG"))
    boxes = [*heif.boxes(data)]
    streams = [content if name == b"jxlc" else content[4:] for name, content in boxes if name in (b"jxlc", b"jxlp")]
    stream = b"".join(streams)
    if parts == 2:
        halves = [(b"jxlp", bytes(4) + stream[:3]), (b"jxlp", b"\x80\0\0\x01" + stream[3:])]
        boxes = [box for box in boxes if box[0] not in (b"jxlc", b"jxlp")] + halves
        data = b"".join(struct.pack(">I4s", len(content) + 8, name) + content for name, content in boxes)
    assert Photo.decode(data, "a.jxl", size[0] * size[1]).pixels.shape[1::-1] == size
    with pytest.raises(CodecError, match=f"too large: {size[0]}x{size[1]} pixels"):
        jxl.to_jpeg(data, size[0] * size[1] - 1)
    with pytest.raises(CodecError, match="broken or cut short"):  # two streams: which of them would be unpacked?
        jxl.to_jpeg(data + struct.pack(">I4s", len(stream) + 8, b"jxlc") + stream)


@pytest.mark.parametrize("white", [65535, 1023])
@pytest.mark.parametrize("gray", [False, True])
def test_a_deep_ppm(pixels, white, gray):
    array = (pixels[..., 0] if gray else pixels).astype(np.uint32) * white // 255
    head = b"P5" if gray else b"P6"
    data = head + b"\n# Oma\n64 48\n%d\n" % white + array.astype(">u2").tobytes()
    photo = Photo.decode(data, "a.pgm")
    assert photo.bit_depth == 16 and photo.gray == gray
    np.testing.assert_allclose(photo.pixels[..., 0], (array if gray else array[..., 0]) / white, atol=1e-4)
    np.testing.assert_array_equal(Photo.decode(photo.encode(), "a.pgm").array(), photo.array())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xff\x0a" + bytes(20), "a JPEG XL that was not made of a JPEG is not read: convert it to PNG or TIFF"),
        (b"\0\0\0\x1cftypavif" + bytes(20), "begins like an AVIF"),
    ],
)
def test_other_formats_are_called_by_their_name(data, words):
    with pytest.raises(PhotoError, match=words):
        Photo.decode(data, "a")


def test_layouts_for_opencv_go_there(pixels):
    deep = pixels.astype(np.uint16)
    for array, photometric in ((deep, "rgb"), (deep[..., 0], "minisblack"), (pixels, "rgb")):
        assert not layouts.is_unusual(written(array, photometric=photometric))
    assert tiff.numbers(written(deep, photometric="rgb"), tiff.BITS) == (16, 16, 16)


def _odd_files(pixels):
    deep = pixels.astype(np.uint16) * 257
    turned = [(274, 3, 1, 6, True), (34377, 1, len(BLOCKS), BLOCKS, True)]
    chunks = (b"gAMA", struct.pack(">I", 100_000), 0), (b"iCCP", b"icc\0\0" + zlib.compress(SRGB), 0)
    segments = b"Photoshop 3.0\0" + BLOCKS
    yield "big.tif", written(deep, photometric="rgb", bigtiff=True, extratags=turned)
    yield "infrared.tif", written(np.dstack([deep, deep[..., 0]]), photometric="rgb", extrasamples=["unspecified"])
    yield "apart.tif", written(deep.transpose(2, 0, 1), photometric="rgb", planarconfig="separate", compression="zlib")
    yield "alpha.tif", written(deep[..., :2], photometric="minisblack", extrasamples=["assocalpha"], extratags=turned)
    yield "lab.tif", written(deep, photometric=9, compression="lzma")
    yield "linear.png", with_chunks(saved(pixels, "PNG", optimize=True), *chunks)
    segment = struct.pack(">HH", 0xFFED, len(segments) + 2) + segments
    yield "faces.jpg", saved(pixels, "JPEG", xmp=regions(64, 48, True), extra=segment)[:-2]
    for name, format in (("a.avif", "AVIF"), ("a.ppm", "PPM"), ("a.tga", "TGA"), ("a.pcx", "PCX"), ("a.mpo", "MPO")):
        yield name, saved(pixels, format, **({"save_all": True} if format == "MPO" else {}))


@pytest.mark.parametrize("name", [name for name, _ in _odd_files(np.zeros((48, 64, 3), np.uint8))])
def test_broken_files_of_these_kinds_are_refused_or_restored(pixels, name, capfd):
    data, dice = dict(_odd_files(pixels))[name], random.Random(name)
    for _ in range(MUTATIONS):
        file = bytearray(data)
        for _ in range(dice.choice((1, 3))):
            place = dice.randrange(min(len(file), dice.choice((60, 700, len(file)))))
            file[place] = dice.choice((0, 1, 255, dice.randrange(256)))
        file = file[: dice.randrange(len(file))] if dice.random() < 0.2 else file
        begin = time.process_time()
        try:
            photo = Photo.decode(bytes(file), name, max_pixels=1_000_000)
        except PhotoError as error:
            assert str(error).startswith(f"{name}: ") and "\n" not in str(error)
        else:
            assert Photo.decode(photo.encode({"tool": "x"}), name).pixels.shape == photo.pixels.shape
        assert time.process_time() - begin < 5
    capfd.readouterr()  # decoders written in C complain aloud
