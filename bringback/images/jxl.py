"""JPEG XL files that hold a JPEG, by imagecodecs (an optional dependency).

The JPEG comes out to the bit, with all that it knows of the photo, and a result is packed again in the same way. Other
JPEG XL files are refused: the libraries that may be used tell neither their EXIF, XMP and color profile nor more than 8
bits a channel.
"""

from typing import Any

from bringback.errors import CodecError
from bringback.images import heif
from bringback.images.container import missing

BARE, BOXED = b"\xff\x0a", b"\0\0\0\x0cJXL "  # how files begin
JPEG = b"jbrd"  # the box with what of a JPEG is not pixels


def is_jxl(data: bytes) -> bool:
    """Whether a file starts with a signature of JPEG XL."""
    return data.startswith((BARE, BOXED))


def to_jpeg(data: bytes) -> bytes:
    """The JPEG in a JPEG XL; raises `CodecError` if it was not made of one."""
    if data.startswith(BARE) or JPEG not in dict(heif.boxes(data)):
        raise CodecError("a JPEG XL that was not made of a JPEG is not read: convert it to PNG or TIFF, as djxl does")
    library = _library()
    try:
        return bytes(library.jpegxl_decode_jpeg(data))
    except library.JpegxlError:
        raise CodecError("broken or cut short: the JPEG in this JPEG XL does not come out") from None


def of_jpeg(data: bytes) -> bytes:
    """The JPEG XL that holds a JPEG, about a fifth smaller."""
    return bytes(_library().jpegxl_encode_jpeg(data))


def _library() -> Any:
    try:
        import imagecodecs
    except ImportError:
        raise missing("JPEG XL") from None
    return imagecodecs
