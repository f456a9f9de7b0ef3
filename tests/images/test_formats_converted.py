"""Photos in another format than they came in: what is carried, what is converted, and what is said of the rest."""

import io
from dataclasses import replace

import made_profiles
import numpy as np
import pillow_heif
import pytest
from PIL import Image

from bringback.images.formats import BARE, CLEAR, COLORED, DEEP, WRITTEN, converted
from bringback.images.photo import Photo

pillow_heif.register_heif_opener()
PACKET = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="r"><rdf:Description i="1"/></rdf:RDF></x:xmpmeta>'


@pytest.fixture
def full(pixels):
    """A TIFF of 16 bits with all that a file can hold besides IPTC; clear in its corner."""
    tags, icc = Image.Exif(), made_profiles.shaper("adobe", made_profiles.gamma(2.2))
    tags[271] = "Zenit"
    alpha = np.full(pixels.shape[:2], 65535, np.uint16)
    alpha[:8, :8] = 0
    known = {"exif": tags.tobytes(), "icc": icc, "dpi": (300.0, 300.0), "extra": {"xmp": PACKET}}
    photo = Photo.from_array(np.dstack([pixels.astype(np.uint16) * 257, alpha]))
    photo = Photo(photo.pixels, alpha=photo.alpha, bit_depth=16, format="TIFF", **known)
    return Photo.decode(photo.encode(), "a.tif")


@pytest.mark.parametrize("format", sorted(set(WRITTEN.values()) - {"TIFF"}))
def test_what_a_format_holds_is_carried(full, format):
    photo = converted(full, format)
    data = photo.encode()
    image = Image.open(io.BytesIO(data))
    assert image.format == format
    told = " ".join(photo.warnings)
    assert ("16 bits a channel become 8" in told) == (format not in DEEP)
    assert ("transparent places become white" in told) == (format not in CLEAR)
    assert image.has_transparency_data == (format in CLEAR)
    again = Photo.decode(data, "x")
    assert again.bit_depth == (16 if format in DEEP else 8)
    seen = slice(16, None)
    assert np.abs(again.pixels[seen, seen] - full.pixels[seen, seen]).mean() < 0.02
    assert format in CLEAR or again.pixels[:6, :6].min() > 0.97
    if format in BARE:
        assert "left out: EXIF, XMP, a color profile" in told and "icc_profile" not in image.info
        return
    assert "left out" not in told
    assert image.info["icc_profile"] == full.icc and image.getexif()[271] == "Zenit"
    assert b'<rdf:Description i="1"/>' in data
    if format in ("JPEG", "PNG"):
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)


@pytest.mark.parametrize("format", sorted(set(WRITTEN.values())))
def test_gray_stays_gray_where_there_is_gray(pixels, format):
    gray = Photo.from_array(pixels[..., 1])
    photo = converted(gray, format)
    assert photo.gray == (format not in COLORED) and not photo.warnings
    assert np.abs(Photo.decode(photo.encode(), "x").pixels - gray.pixels).mean() < 0.02
    assert converted(photo, format) is photo


def test_what_has_no_place_is_told(pixels):
    file = io.BytesIO()
    iptc = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0\0\0\0\x08" + b"\x1c\x02\x78\0\x03abc"
    block = b"\xff\xed" + (len(iptc) + 2).to_bytes(2, "big") + iptc
    Image.fromarray(pixels).save(file, "JPEG", comment="1931", extra=block)
    photo = converted(Photo.decode(file.getvalue(), "a.jpg"), "PNG")
    assert photo.warnings == ("in PNG: left out: IPTC, a comment",)


def test_long_blocks_are_told(pixels):
    tags = Image.Exif()
    tags[270] = "x" * 70_000
    packet = PACKET.replace(b"</rdf:RDF>", b" " * 80_000 + b"</rdf:RDF>")
    photo = replace(Photo.from_array(pixels), format="TIFF", exif=tags.tobytes(), extra={"xmp": packet})
    made = converted(photo, "JPEG")
    assert made.warnings == ("in JPEG: left out: EXIF of more than 65 KB, XMP of more than 65 KB",)
    image = Image.open(io.BytesIO(made.encode({"stages": "fill"})))
    assert "urn:bringback" in str(image.info["xmp"]) and not image.getexif()
    assert not converted(photo, "PNG").warnings


def test_gray_of_16_bits_with_alpha_becomes_color_in_jpeg_2000(pixels):
    photo = replace(Photo.from_array(pixels[..., 0].astype(np.uint16) * 257), alpha=pixels[..., 1] / np.float32(255))
    again = Photo.decode(converted(photo, "JPEG2000").encode(), "x")
    np.testing.assert_array_equal(again.pixels, photo.pixels)
    np.testing.assert_allclose(again.alpha, photo.alpha, atol=1e-4)


def test_infrared_is_not_carried_to_jpeg(pixels):
    deep = pixels.astype(np.uint16) * 257
    photo = Photo.from_array(deep)
    photo = Photo(photo.pixels, bit_depth=16, format="TIFF", extra={"unspecified": deep[..., :1]})
    photo = converted(Photo.decode(photo.encode(), "a.tif"), "JPEG")
    told = "channels of unspecified use (infrared?) are left out: 1"
    assert photo.warnings == ("in JPEG: 16 bits a channel become 8", f"in JPEG: {told}")
