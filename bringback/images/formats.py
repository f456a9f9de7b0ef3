"""A photo in another file format than it came in: what the format cannot hold is converted, or left out with a word."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from bringback.errors import CodecError
from bringback.images import codecs, heif
from bringback.images.jpeg import LONGEST, MIN_QUALITY
from bringback.images.photo import Photo, strips

WRITTEN = {  # format by the ending of a file's name
    **dict.fromkeys([".jpg", ".jpeg", ".jpe", ".jfif"], "JPEG"),
    **dict.fromkeys([".tif", ".tiff"], "TIFF"),
    **dict.fromkeys([".heic", ".heif", ".hif"], "HEIF"),
    ".png": "PNG",
    ".ppm": "PPM",
    ".webp": "WEBP",
    ".jp2": "JPEG2000",
    ".avif": "AVIF",
    ".bmp": "BMP",
}
DEEP = ("PNG", "TIFF", "HEIF", "JPEG2000", "PPM")  # hold more than 8 bits a channel
CLEAR = ("PNG", "TIFF", "HEIF", "WEBP", "AVIF", "JPEG2000")  # hold transparency
BARE = ("JPEG2000", "PPM", "BMP")  # are written without a color profile and metadata
COLORED = ("WEBP", "AVIF")  # have no gray
LOSSY: Mapping[str, Mapping[str, Any]] = {
    "JPEG": {"quality": MIN_QUALITY, "subsampling": 0},
    "WEBP": {"quality": MIN_QUALITY, "exact": True},
    "AVIF": {"quality": MIN_QUALITY, "subsampling": "4:4:4"},
}


def check_written(format: str) -> None:
    """Raise `CodecError` if nothing that is installed writes this format."""
    if format == "HEIF":
        heif.require()
        return
    Image.init()
    if format not in Image.SAVE:
        raise CodecError(f"{format} is not written: Pillow is older than 11.3 or was built without it")


def converted(photo: Photo, format: str) -> Photo:
    """The photo in a format of `WRITTEN`; the same photo if that is its own.

    Profile, EXIF, XMP and resolution are carried where the format has a place for them; IPTC and texts are not. A photo
    whose profile is lost is written in sRGB. Transparent places become white where there is no transparency. What is
    lost is told in `warnings`.
    """
    if format == photo.format:
        return photo
    if (photo.format, format) == ("JXL", "JPEG"):  # which it holds
        return replace(photo, format=format)
    lost = []
    if photo.bit_depth == 16 and format not in DEEP:
        lost.append("16 bits a channel become 8")
        photo = replace(photo, bit_depth=8)
    if photo.alpha is not None and format not in CLEAR:
        lost.append("transparent places become white")
        photo = replace(_on_white(photo, photo.alpha), alpha=None, levels=None)
    extra = dict(LOSSY.get(format, {}))
    packet = photo.extra.get("xmp")
    others = {"IPTC": "extra", "texts": "pnginfo", "a comment": "comment"}
    left = [what for what, key in others.items() if _has(photo.extra.get(key))]
    if format == "JPEG" and len(photo.exif or b"") > LONGEST:
        left.append("EXIF of more than 65 KB")
        photo = replace(photo, exif=None)
    if format == "JPEG" and len(packet or b"") > LONGEST:
        left.append("XMP of more than 65 KB")
        packet = None
    if format in BARE:
        blocks = {"EXIF": photo.exif, "XMP": packet, "a color profile": photo.icc}
        left += [what for what, block in blocks.items() if block]
        photo = replace(photo, exif=None, icc=None, levels=None)
    elif packet:
        extra["xmp"] = packet
    if left:
        lost.append(f"left out: {', '.join(left)}")
    deep_clear = photo.bit_depth == 16 and photo.alpha is not None  # which with gray nothing writes to JPEG 2000
    if photo.gray and (format in COLORED or (format == "JPEG2000" and deep_clear)):
        photo = photo.in_color()
    more, kept = photo.extra.get("unspecified"), photo.warnings
    if more is not None:
        lost.append(codecs.unspecified_left_out(more.shape[2]))
        kept = tuple(line for line in kept if line != codecs.unspecified_kept(more.shape[2]))
    return replace(photo, format=format, extra=extra, warnings=(*kept, *(f"in {format}: {line}" for line in lost)))


def _has(value: Any) -> bool:
    return bool(value.chunks if hasattr(value, "chunks") else value)


def _on_white(photo: Photo, alpha: np.ndarray) -> Photo:
    pixels = np.empty_like(photo.pixels)
    for rows in strips(pixels):
        share = alpha[rows, :, None]
        pixels[rows] = share * photo.pixels[rows] + (1 - share)
    return photo.with_pixels(pixels)
