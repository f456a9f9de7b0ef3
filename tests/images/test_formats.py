"""What each file format keeps of a photo, as other programs read it; pages, limits, RAW, notes and broken files."""

import io
import random
import struct
import subprocess
import sys
import time
import warnings
import zlib
from dataclasses import replace
from multiprocessing.pool import ThreadPool
from pathlib import Path
from threading import Barrier
from xml.etree import ElementTree

import cv2
import numpy as np
import pillow_heif
import pytest
import rawpy
import tifffile
from PIL import Image, ImageCms, PngImagePlugin

from bringback.errors import PhotoError
from bringback.images import codecs, container, modes, shards, xmp
from bringback.images.photo import Photo
from bringback.training.config import Source
from bringback.training.data import read_source

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
MAKE, TAKEN, PLACE, CAPTION = "Voigtlaender", "1930:01:01 00:00:00", (52.0, 31.0, 12.0), b"Oma im Hof"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
XMP = (
    f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}"><rdf:Description rdf:about="" '
    'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6" tiff:Artist="Gro&#223;vater"/>'
    "</rdf:RDF></x:xmpmeta>"
).encode()
KEPT_XMP = XMP.replace(b'Orientation="6"', b'Orientation="1"')
IPTC = b"\x1c\x02\x78" + struct.pack(">H", len(CAPTION)) + CAPTION
PHOTOSHOP = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(IPTC)) + IPTC + b"\0" * (len(IPTC) % 2)
APP13 = b"Photoshop 3.0\0" + PHOTOSHOP
NOTE = {"tool": "bringback 0.1.0", "stages": "scratches,fill", "weights": "scratches=36989d1f & <fill>"}


def exif():
    tags = Image.Exif()
    tags[271], tags[274] = MAKE, 6
    tags.get_ifd(0x8769)[0x9003] = TAKEN
    tags.get_ifd(0x8825).update({1: "N", 2: PLACE})
    return tags


def saved(image, format, **options):
    file = io.BytesIO()
    image.save(file, format, icc_profile=SRGB, **options)
    return file.getvalue()


def png(image):
    texts = PngImagePlugin.PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", XMP.decode())
    texts.add_text("Raw profile type iptc", f"\niptc\n{len(PHOTOSHOP):8}\n{PHOTOSHOP.hex()}\n")
    texts.add_text("Title", "Onkel")
    return saved(image, "PNG", exif=exif(), dpi=(300, 600), pnginfo=texts)


def tiff(image):
    tags = exif()
    tags[700], tags[33723], tags[34377] = XMP, IPTC, PHOTOSHOP
    return saved(image, "TIFF", exif=tags.tobytes(), dpi=(300, 600))


def heic(array, **options):
    mode = {2: "L", 3: "RGB"}[array.ndim] + (";16" if array.dtype == np.uint16 else "")
    file = io.BytesIO()
    known = {"exif": exif().tobytes(), "xmp": XMP, "icc_profile": SRGB, "quality": 98, "chroma": "444"}
    pillow_heif.encode(mode, array.shape[1::-1], array.tobytes(), file, **known | options)
    return file.getvalue()


def deep_color_png(array):
    """Pillow writes no color of 16 bits, OpenCV no metadata: the chunks of the one go into the file of the other."""
    told, plain = png(Image.new("L", (1, 1))), cv2.imencode(".png", array[..., ::-1])[1].tobytes()
    return plain[:33] + told[33 : told.index(b"IDAT") - 4] + plain[33:]


def source(kind, pixels):
    """A file with all that the format may know, lying on its side."""
    image, deep = Image.fromarray(pixels), pixels.astype(np.uint16) * 257
    return {
        "JPEG": lambda: saved(
            image,
            "JPEG",
            exif=exif(),
            dpi=(300, 600),
            xmp=XMP,
            quality=98,
            subsampling=0,
            comment=b"Hof",
            extra=b"\xff\xed" + struct.pack(">H", len(APP13) + 2) + APP13,
        ),
        "PNG": lambda: png(image),
        "PNG of 16 bits": lambda: deep_color_png(deep),
        "TIFF": lambda: tiff(image),
        "TIFF of 16 bits": lambda: tiff(Image.fromarray(deep[..., 0])),
        "WebP": lambda: saved(image, "WEBP", exif=exif(), xmp=XMP, lossless=True),
        "HEIC": lambda: heic(pixels),
        "HEIC of 10 bits": lambda: heic(deep, bit_depth=10),
        "HEIC of 12 bits": lambda: heic(deep, bit_depth=12),
        "BMP": lambda: saved(image, "BMP", dpi=(300, 600)),
        "JPEG 2000": lambda: saved(image, "JPEG2000"),
        "JPEG 2000 of 16 bits": lambda: cv2.imencode(
            ".jp2", deep[..., ::-1], [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000]
        )[1].tobytes(),
    }[kind]()


def opened(data):
    """The file as Pillow, or pillow-heif for it, has it."""
    if data[4:12] == b"ftypheic":
        return pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=True).to_pillow()
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def xmp_of(data):
    image = opened(data)
    if image.format == "TIFF":
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            return bytes(file.pages[0].tags[700].value) if 700 in file.pages[0].tags else None
    return image.info.get("xmp")


def iptc_of(data):
    image = opened(data)
    if image.format == "TIFF":
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            tags = file.pages[0].tags
            assert bytes(tags[34377].value) == PHOTOSHOP
            return bytes(tags[33723].value)
    if image.format == "JPEG":
        block = dict(image.applist)["APP13"].removeprefix(b"Photoshop 3.0\0")
    else:
        block = bytes.fromhex(image.text["Raw profile type iptc"].split("\n")[3])
    return block[12 : 12 + len(IPTC)]


def bits_of(data):
    if data[4:8] == b"ftyp":
        return pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False).info["bit_depth"]
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED).dtype.itemsize * 8


def noted(packet):
    found = ElementTree.fromstring(packet.decode().partition("?>")[2] if packet.startswith(b"<?xpacket") else packet)
    prefix = f"{{{xmp.NAMESPACE}}}"
    return {one.tag.removeprefix(prefix): one.text for one in found.iter() if one.tag.startswith(prefix)}


def has_upright(data, kind, pixels):
    image = opened(data)
    shown = np.asarray(image).astype(float)
    shown = shown / 257 if shown.max() > 255 else shown
    expected = np.rot90(pixels[..., 0] if shown.ndim == 2 else pixels, -1)
    assert image.getexif().get(274, 1) == 1
    assert np.abs(shown - expected).mean() < (1.5 if kind[:4] in ("JPEG", "HEIC", "WebP") else 0.01)


# What is looked for in the file that was read and written again. "dpi" is turned with the photo.
FIELDS = {
    "make": lambda data, kind, pixels: opened(data).getexif()[271] == MAKE,
    "taken": lambda data, kind, pixels: opened(data).getexif().get_ifd(0x8769)[0x9003] == TAKEN,
    "place": lambda data, kind, pixels: opened(data).getexif().get_ifd(0x8825)[2] == PLACE,
    "upright": lambda data, kind, pixels: has_upright(data, kind, pixels) is None,
    "xmp": lambda data, kind, pixels: xmp_of(data) == KEPT_XMP,
    "iptc": lambda data, kind, pixels: iptc_of(data) == IPTC,
    "icc": lambda data, kind, pixels: opened(data).info["icc_profile"] == SRGB,
    "dpi": lambda data, kind, pixels: opened(data).info["dpi"] == pytest.approx((600, 300), abs=0.1),
    "depth": lambda data, kind, pixels: (
        bits_of(data) == int("".join(filter(str.isdigit, kind.partition(" of ")[2])) or "8")
    ),
}


ALL = ["make", "taken", "place", "upright", "xmp", "icc", "depth"]
CARRIED = {
    "JPEG": [*ALL, "iptc", "dpi"],
    "PNG": [*ALL, "iptc", "dpi"],
    "PNG of 16 bits": [*ALL, "iptc", "dpi"],
    "TIFF": [*ALL, "iptc", "dpi"],
    "TIFF of 16 bits": [*ALL, "iptc", "dpi"],
    "WebP": ALL,
    "HEIC": ALL,
    "HEIC of 10 bits": ALL,
    "HEIC of 12 bits": ALL,
    "BMP": ["depth"],
    "JPEG 2000": ["depth"],
    "JPEG 2000 of 16 bits": ["depth"],
}


@pytest.mark.parametrize(("kind", "field"), [(kind, field) for kind, fields in CARRIED.items() for field in fields])
def test_what_a_format_carries_comes_through(pixels, kind, field):
    assert FIELDS[field](Photo.decode(source(kind, pixels), "a").encode(), kind, pixels)


@pytest.mark.parametrize("kind", CARRIED)
def test_levels_and_the_resolution_of_a_bmp_stay(pixels, kind):
    before = source(kind, pixels)
    photo = Photo.decode(before, "a")
    again = Photo.decode(photo.encode(), "a")
    assert (again.format, again.bit_depth, again.gray) == (photo.format, photo.bit_depth, photo.gray)
    lossy = {"JPEG": 12, "HEIC": 12, "WebP": 0, "JPEG 2000": 0}.get(kind.partition(" of ")[0], 0) / 255
    assert np.abs(again.pixels - photo.pixels).max() <= lossy
    if kind == "BMP":
        assert opened(photo.encode()).info["dpi"] == pytest.approx((300, 600), abs=0.1)


def test_a_lossy_webp_stays_one_whatever_its_texts_say(pixels):
    image = Image.fromarray(pixels)
    told = XMP.replace(b"Gro&#223;vater", b"VP8L")
    assert not Photo.decode(saved(image, "WEBP", xmp=told, quality=80), "a").extra["lossless"]
    assert Photo.decode(saved(image, "WEBP", xmp=told, lossless=True), "a").extra["lossless"]
    frames = {"save_all": True, "append_images": [Image.fromarray(255 - pixels)]}
    for lossless in (False, True):
        assert Photo.decode(saved(image, "WEBP", lossless=lossless, **frames), "a").extra["lossless"] == lossless


def test_threads_that_read_leave_the_filters_of_warnings_as_they_were(pixels):
    before, barrier = list(warnings.filters), Barrier(3)

    def read(number):
        with modes.without_warnings():
            barrier.wait(10)
            warnings.warn("nobody sees this", stacklevel=1)
            barrier.wait(10)
            time.sleep(0.01 * number)  # the first to come is the first to go

    with ThreadPool(3) as pool:
        pool.map(read, range(3))
    assert warnings.filters == before


@pytest.mark.parametrize("kind", CARRIED)
def test_a_note_is_told_in_xmp_once_and_leaves_the_rest(pixels, kind):
    photo = Photo.decode(source(kind, pixels), "a")
    out = photo.encode(NOTE)
    assert out == photo.encode(NOTE)
    if photo.format not in codecs.NOTED:
        assert out == photo.encode()
        return
    packet = xmp_of(out)
    assert noted(packet) == NOTE
    head, _, tail = KEPT_XMP.partition(b"</rdf:RDF>")
    assert packet.startswith(head) and packet.endswith(tail)
    second = Photo.decode(out, "a").encode({"tool": "bringback 0.2.0"})
    assert noted(xmp_of(second)) == {"tool": "bringback 0.2.0"}
    assert second.count(b"<bringback:tool>") == 1


@pytest.mark.parametrize("format", codecs.NOTED)
@pytest.mark.parametrize("depth", [8, 16])
def test_a_note_in_a_file_without_xmp(pixels, format, depth):
    if depth == 16 and format in ("JPEG", "WEBP", "AVIF"):
        pytest.skip("of 8 bits only")
    array = pixels if depth == 8 else pixels.astype(np.uint16) * 257
    assert noted(xmp_of(replace(Photo.from_array(array), format=format).encode(NOTE))) == NOTE


@pytest.mark.parametrize("kind", CARRIED)
def test_stripped_files_tell_of_nobody_and_look_the_same(pixels, kind):
    photo = Photo.decode(source(kind, pixels), "a")
    out, whole = photo.encode(NOTE, strip=True), photo.encode()
    secrets = (
        MAKE.encode(),
        TAKEN.encode(),
        CAPTION,
        b"Artist",
        b"bringback",
        b"Hof",
        b"Onkel",
        CAPTION.hex().encode(),
    )
    assert [secret for secret in secrets if secret in out] == []
    assert any(secret in whole for secret in secrets) == ("xmp" in CARRIED[kind])
    np.testing.assert_array_equal(Photo.decode(out, "a").pixels, Photo.decode(whole, "a").pixels)
    for field in {"icc", "dpi", "depth"} & set(CARRIED[kind]):
        assert FIELDS[field](out, kind, pixels)


def test_xmp_of_another_layout():
    other = (
        f"<rdf:RDF xmlns:rdf='{RDF}'>\n"
        f" <rdf:Description rdf:about='old'\n  xmlns:bringback='{xmp.NAMESPACE}'>\n"
        "  <bringback:tool>1</bringback:tool>\n  <bringback:stages>x</bringback:stages>\n"
        " </rdf:Description>\n</rdf:RDF>"
    ).encode()
    assert noted(xmp.noted(other, {"tool": "2"})) == {"tool": "2"}
    assert xmp.noted(b"<xmp/>", NOTE) == b"<xmp/>"
    assert noted(xmp.noted(None, {"tool": 'a\0b<"&'})) == {"tool": 'ab<"&'}
    shared = other.replace(b"  <bringback:stages>", b"  <dc:title>Opa</dc:title><bringback:stages>")
    attributes = other.replace(b"='old'", b"""='old' dc:title="Opa" bringback:tool="1" bringback:x='y'""")
    for packet in (shared, attributes):  # a property twice, and Adobe's programs refuse the packet
        renewed = xmp.noted(packet, {"tool": "2", "stages": "z"})
        assert b"Opa" in renewed and renewed.count(b"bringback:tool>") == renewed.count(b"bringback:stages>") == 2
        assert b"bringback:tool=" not in renewed and b"bringback:x" not in renewed


@pytest.mark.parametrize(
    "part",
    [
        b"<rdf:Description ",
        b" <rdf:Description xmlns:bringback=",
        b"<rdf:Description xmlns:bringback='",
        b"""<rdf:Description xmlns:a='<rdf:Description xmlns:b="' xmlns:c='" """,
        b"<bringback:a>",
        b" bringback:a=\"' bringback:b='",
        b" " * 17,
        b"tiff:Orientation=",
        b"</rdf:RDF>",
        b"MotionPhoto",
        b"<Thumbnails>",
        b"<a/>",
    ],
)
def test_a_packet_made_to_take_for_ever(part):
    """Time is linear in its length; it was quadratic, 12 s for 170 kB."""
    packet = b"<rdf:RDF>" + xmp.NAMESPACE.encode() + part * (600_000 // len(part)) + b"</rdf:RDF>"
    begin = time.process_time()
    xmp.fitted(xmp.noted(packet, NOTE), 6, 48, 64)
    assert time.process_time() - begin < 1


def test_a_packet_that_fills_a_jpeg_stays_without_a_note(pixels):
    long = XMP.replace(b"Gro&#223;vater", b"x" * 64_900)
    photo = Photo.decode(saved(Image.fromarray(pixels), "JPEG", xmp=long), "a")
    assert xmp_of(photo.encode(NOTE)) == long.replace(b'Orientation="6"', b'Orientation="1"')


def test_extended_xmp_of_a_jpeg_is_kept(pixels):
    block = codecs.EXTENDED_XMP + b"0" * 32 + struct.pack(">II", 5, 0) + b"<xml>"
    segment = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
    photo = Photo.decode(saved(Image.fromarray(pixels), "JPEG", xmp=XMP, extra=segment), "a")
    assert ("APP1", block) in opened(photo.encode(NOTE)).applist


@pytest.mark.parametrize("kind", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("depth", [8, 10, 12])
def test_channels_of_heif(pixels, kind, depth):
    channels = {"L": [0], "LA": [0, 1], "RGB": [0, 1, 2], "RGBA": [0, 1, 2, 0]}[kind]
    array = np.squeeze(pixels[..., channels])
    if depth > 8:
        array = array.astype(np.uint16) * 257
    file = io.BytesIO()
    pillow_heif.encode(
        kind + (";16" if depth > 8 else ""),
        (64, 48),
        array.tobytes(),
        file,
        quality=-1,
        bit_depth=depth,
        chroma="444",
        matrix_coefficients=0,
    )
    photo = Photo.decode(file.getvalue(), "a.heic")
    assert photo.gray == (len(kind) < 3) and (photo.alpha is not None) == (len(kind) % 2 == 0)
    assert np.abs(photo.array().astype(float) - array).max() <= array.max() / 2 ** min(depth, 10)
    again = Photo.decode(photo.encode(), "a")
    assert (again.gray, again.alpha is None, again.bit_depth) == (photo.gray, photo.alpha is None, photo.bit_depth)
    assert bits_of(photo.encode()) == depth


def test_white_and_black_of_heif_are_those_of_16_bits(pixels):
    ends = np.repeat(np.array([[0, 65535]], np.uint16), 64, axis=0).repeat(32, axis=1)
    np.testing.assert_array_equal(
        Photo.decode(replace(Photo.from_array(ends), format="HEIF").encode(), "a").array()[:, [0, -1]], ends[:, [0, -1]]
    )


def test_the_color_space_of_heif_without_a_profile_is_kept(pixels):
    file = io.BytesIO()
    wide = {"color_primaries": 12, "transfer_characteristics": 13, "matrix_coefficients": 6, "full_range_flag": 1}
    pillow_heif.encode("RGB", (64, 48), pixels.tobytes(), file, quality=95, **wide)
    told = pillow_heif.open_heif(io.BytesIO(Photo.decode(file.getvalue(), "a").encode())).info["nclx_profile"]
    assert {name: told[name] for name in wide} == wide


def pages(pixels, *kinds, bigtiff=False):
    file = io.BytesIO()
    with tifffile.TiffWriter(file, bigtiff=bigtiff) as writer:
        for kind in kinds:
            mask = bool(kind & 4)
            page, photometric = (pixels[..., 0] > 99, "minisblack") if mask else (pixels, "rgb")
            writer.write(page, subfiletype=kind, photometric=photometric, metadata=None)
    return file.getvalue()


@pytest.mark.parametrize("bigtiff", [False, True])
def test_pages_are_not_lost_unsaid(pixels, bigtiff):
    for kinds in ([0, 0], [2, 2, 2], [0, 1, 0]):
        count = len([kind for kind in kinds if kind != 1])
        with pytest.raises(PhotoError, match=rf"a\.tif: {count} pages: split it first") as caught:
            Photo.decode(pages(pixels, *kinds, bigtiff=bigtiff), "a.tif")
        assert "\n" not in str(caught.value)
    for kinds in ([0], [0, 1], [0, 1, 4, 5], [1]):
        photo = Photo.decode(pages(pixels, *kinds, bigtiff=bigtiff), "a.tif")
        np.testing.assert_array_equal(photo.array(), pixels)
    with pytest.raises(PhotoError, match="a thumbnail comes first"):
        Photo.decode(pages(pixels, 1, 0, bigtiff=bigtiff), "a.tif")


def deep_tiff(array, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, array, photometric="rgb", metadata=None, **options)
    return file.getvalue()


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_deep_tiff_is_turned_once(pixels, bigtiff, orientation):
    deep = pixels.astype(np.uint16) * 257
    data = deep_tiff(deep, bigtiff=bigtiff, extratags=[(274, 3, 1, orientation, True)])
    np.testing.assert_array_equal(Photo.decode(data, "a.tif").array(), container.upright(deep, orientation))


def test_channels_of_a_deep_tiff_that_lie_apart(pixels):
    deep = pixels.astype(np.uint16) * 257
    data = deep_tiff(deep.transpose(2, 0, 1), planarconfig="separate")
    np.testing.assert_array_equal(Photo.decode(data, "a.tif").array(), deep)


def test_colors_multiplied_by_alpha_in_a_deep_tiff(pixels):
    array = np.full((8, 8, 4), 20_000, np.uint16)
    array[..., 3], array[0] = 32_768, 0
    photo = Photo.decode(deep_tiff(array, extrasamples=["assocalpha"]), "a.tif")
    assert photo.array()[1, 0].tolist() == [39_999, 39_999, 39_999, 32_768] and not photo.array()[0].any()
    assert np.array_equal(Photo.decode(photo.encode(), "a.tif").array(), photo.array())


def test_a_gray_tiff_of_12_bits_is_not_dark():
    levels = np.arange(4096).reshape(64, 64)
    packed = np.packbits((levels[..., None] >> np.arange(11, -1, -1)) & 1).tobytes()
    tags = {256: 64, 257: 64, 258: 12, 259: 1, 262: 1, 273: 8 + 2 + 12 * 9 + 4, 277: 1, 278: 64, 279: len(packed)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    photo = Photo.decode(struct.pack("<4sIH", b"II*\0", 8, 9) + entries + bytes(4) + packed, "a.tif")
    assert photo.gray and photo.bit_depth == 16
    np.testing.assert_allclose(photo.pixels[..., 0], levels / 4095, atol=1e-5)


def test_a_clear_level_of_a_deep_gray_png_is_alpha():
    gray = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64)
    data = cv2.imencode(".png", gray)[1].tobytes()
    chunk = b"tRNS" + struct.pack(">H", 100)
    data = data[:33] + struct.pack(">I", 2) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]
    expected = np.dstack([gray, np.where(gray == 100, 0, 65535)])
    photo = Photo.decode(data, "a.png")
    np.testing.assert_array_equal(photo.array(), expected)
    np.testing.assert_array_equal(Photo.decode(photo.encode(), "a.png").array(), expected)


@pytest.mark.parametrize("kind", CARRIED)
def test_more_pixels_than_allowed_are_refused_before_they_are_decoded(pixels, kind, monkeypatch):
    data, allowed = source(kind, pixels), pixels.shape[0] * pixels.shape[1]
    Photo.decode(data, "a", max_pixels=allowed)
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", None)
    monkeypatch.setattr(cv2, "imdecode", None)
    with pytest.raises(PhotoError, match=r"a: too large: \d+x\d+ pixels, .* the limit: allow more with --max-pixels$"):
        Photo.decode(data, "a", max_pixels=allowed - 1)


def test_the_limit_of_a_huge_header(pixels):
    file = bytearray(saved(Image.fromarray(pixels), "PNG"))
    struct.pack_into(">II", file, 16, 40000, 40000)
    struct.pack_into(">I", file, 29, zlib.crc32(file[12:29]))
    with pytest.raises(PhotoError, match="too large: 40000x40000 pixels, 179 million are the limit"):
        Photo.decode(bytes(file), "a")
    with pytest.raises(PhotoError, match="cut short"):
        Photo.decode(bytes(file[:100]), "a", max_pixels=2_000_000_000)
    assert container.MAX_PIXELS == 178_956_970


def test_the_limit_of_pillow_is_left_to_others():
    code = "from PIL import Image; limit = Image.MAX_IMAGE_PIXELS; import bringback.images.photo, bringback.pipeline; "
    done = subprocess.run([sys.executable, "-c", f"{code}assert limit == Image.MAX_IMAGE_PIXELS == 89478485"])
    assert done.returncode == 0


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "GIF", "JPEG"])
def test_photos_above_the_limit_of_pillow_are_read_with_ours(pixels, kind, monkeypatch):
    """In many threads, which raise the limit together; whoever comes in between finds it as it was afterwards."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # an error from 2000 on
    file = saved(Image.fromarray(pixels), kind, **({"disposal": 2} if kind == "GIF" else {}))
    with ThreadPool(4) as pool:
        photos = pool.map(lambda _: Photo.decode(file, "a", max_pixels=48 * 64), range(40))
    assert {photo.pixels.shape for photo in photos} == {(48, 64, 3)} and Image.MAX_IMAGE_PIXELS == 1000
    with pytest.raises(PhotoError, match="a: too large: 64x48 pixels"):
        Photo.decode(file, "a", max_pixels=48 * 64 - 1)
    with pytest.raises(PhotoError, match="cut short"):
        Photo.decode(file[:-200], "a")
    assert Image.MAX_IMAGE_PIXELS == 1000
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(file))


def dng(levels, orientation=1):
    """A RAW file of a camera that sees red, green and blue as they are, in light of which it sees half of the red."""
    unit = [number for row in np.eye(3, dtype=int) for number in (int(row[0]), 1, int(row[1]), 1, int(row[2]), 1)]
    tags = [
        (271, "s", 0, MAKE, True),
        (274, "H", 1, orientation, True),
        (33421, "H", 2, (2, 2), True),
        (33422, "B", 4, bytes([0, 1, 1, 2]), True),
        (50706, "B", 4, bytes([1, 4, 0, 0]), True),
        (50708, "s", 0, "Test", True),
        (50714, "H", 1, 0, True),
        (50717, "I", 1, 4095, True),
        (50721, "2i", 9, unit, True),
        (50728, "2I", 3, (1, 2, 1, 1, 1, 1), True),
        (50778, "H", 1, 21, True),
        (700, "B", len(XMP), XMP, True),
    ]
    file = io.BytesIO()
    tifffile.imwrite(file, levels, photometric=32803, extratags=tags, metadata=None)
    return file.getvalue()


def test_a_raw_file_becomes_a_16_bit_tiff():
    levels = np.full((64, 96), 1000, np.uint16)
    levels[::2, ::2] = 500
    data = dng(levels)
    photo = Photo.decode(data, "a.DNG")
    assert (photo.format, photo.bit_depth, photo.pixels.shape) == ("TIFF", 16, (64, 96, 3))
    means = photo.pixels[8:-8, 8:-8].mean((0, 1))
    assert np.ptp(means) < 0.01  # what is gray in that light; it would be green without the camera's white balance
    assert Photo.decode(dng(levels, 6), "a.dng").pixels.shape == (96, 64, 3)
    out = photo.encode(NOTE)
    with tifffile.TiffFile(io.BytesIO(out)) as file:
        assert file.pages[0].dtype == np.uint16 and file.pages[0].tags[271].value == MAKE
        assert not {50706, 50721} & set(file.pages[0].tags.keys())
    assert noted(xmp_of(out)) == NOTE and b"Artist" in xmp_of(out)
    with pytest.raises(PhotoError, match="too large"):
        Photo.decode(data, "a.dng", max_pixels=64 * 96 - 1)
    for broken in (b"RAW", data[:200]):
        with pytest.raises(PhotoError, match=r"a\.nef: broken"):
            Photo.decode(broken, "a.nef")


def test_a_raw_file_is_developed_as_16_bit_srgb(monkeypatch):
    asked, imread = {}, rawpy.imread

    class Raw:
        def __init__(self, file):
            self.raw = imread(file)
            self.sizes = self.raw.sizes

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.raw.close()

        def postprocess(self, **options):
            asked.update(options)
            return self.raw.postprocess(**options)

    monkeypatch.setattr(rawpy, "imread", Raw)
    Photo.decode(dng(np.full((64, 96), 1000, np.uint16)), "a.dng")
    assert asked["use_camera_wb"] and asked["output_bps"] == 16 and asked["output_color"] == rawpy.ColorSpace.sRGB


@pytest.mark.parametrize(
    ("name", "result"),
    [("x/a.CR2", "x/a.CR2.tif"), ("a.dng", "a.dng.tif"), ("a.heic", "a.heic"), ("x/a.tif", "x/a.tif"), ("a", "a")],
)
def test_names_of_results(name, result):
    assert shards.output_name(Path(name)) == Path(result)


def test_suffixes():
    for name in ("a.heic", "a.HEIF", "a.hif", "a.dng", "a.cr2", "a.nef", "a.arw", "a.raf", "a.orf", "a.rw2", "a.jpg"):
        assert shards.is_picture(Path(name))
    assert not shards.is_picture(Path("a.txt"))


def test_training_leaves_alone_what_pillow_cannot_read(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (tmp_path / "b.dng").write_bytes(tiff(Image.fromarray(pixels)))  # which Pillow would read
    (tmp_path / "c.heic").write_bytes(heic(pixels))
    with ThreadPool(1) as pool:
        found = read_source(Source(path="."), tmp_path, None, pool)
    assert [entry.name for entry in found.entries] == ["a.png"]


@pytest.mark.parametrize(("package", "name"), [("pillow_heif", "a.heic"), ("rawpy", "a.dng")])
def test_a_missing_package_is_named(pixels, monkeypatch, package, name):
    data = heic(pixels) if package == "pillow_heif" else dng(np.zeros((64, 96), np.uint16))
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(PhotoError, match=r'a\..*: .* files need one more package: pip install "bringback\[io\]"'):
        Photo.decode(data, name)


def test_a_block_that_the_format_refuses_is_left_out(pixels):
    photo = replace(Photo.decode(source("JPEG", pixels), "a"), exif=b"Exif\0\0" + b"x" * 70_000)
    out = photo.encode()
    assert "exif" not in opened(out).info and xmp_of(out) == KEPT_XMP and opened(out).info["icc_profile"] == SRGB


def test_a_directory_that_leads_to_itself(pixels):
    block = b"Exif\0\0II*\0" + struct.pack("<IHHHIII", 8, 1, 0x8769, 4, 1, 8, 0)
    photo = replace(Photo.from_array(pixels), format="TIFF", exif=block)
    np.testing.assert_array_equal(np.asarray(opened(photo.encode())), pixels)


def mutated(data, dice):
    """The file with a few bytes changed, cut short, or with a part of it elsewhere; checksums of a PNG made good."""
    file, end = bytearray(data), min(len(data), 700) if dice.random() < 0.6 else len(data)
    way = dice.randrange(3)
    if way == 0:
        for _ in range(dice.choice((1, 2, 8))):
            file[dice.randrange(end)] = dice.choice((0, 255, dice.randrange(256)))
    elif way == 1:
        del file[dice.randrange(len(data)) :]
    else:
        first, second, length = dice.randrange(end), dice.randrange(end), dice.randrange(1, 64)
        file[first : first + dice.choice((0, length))] = file[second : second + length]
    at = 8
    while file.startswith(b"\x89PNG") and at + 12 <= len(file):
        after = at + 8 + struct.unpack_from(">I", file, at)[0]
        if after + 4 > len(file):
            break
        struct.pack_into(">I", file, after, zlib.crc32(file[at + 4 : after]))
        at = after + 4
    return bytes(file)


@pytest.mark.parametrize("kind", [kind for kind in CARRIED if kind != "BMP"])
def test_broken_files_are_refused_or_restored(pixels, kind, capfd):
    data, seen = source(kind, pixels), set()
    for seed in range(100):
        try:
            photo = Photo.decode(mutated(data, random.Random(seed)), "a", max_pixels=1_000_000)
        except PhotoError as error:
            assert str(error).startswith("a: ") and "\n" not in str(error)
            seen.add("refused")
            continue
        assert Photo.decode(photo.encode(NOTE), "b").pixels.shape == photo.pixels.shape
        seen.add("restored")
    assert seen == {"refused", "restored"}
    capfd.readouterr()  # decoders written in C complain aloud
