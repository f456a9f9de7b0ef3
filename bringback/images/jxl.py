"""JPEG XL files that hold a JPEG, by imagecodecs (an optional dependency).

The JPEG comes out to the bit, with all that it knows of the photo, and a result is packed again in the same way. Other
JPEG XL files are refused: the libraries that may be used tell neither their EXIF, XMP and color profile nor more than 8
bits a channel.
"""

from collections.abc import Sequence
from typing import Any

from bringback.errors import CodecError
from bringback.images import heif
from bringback.images.container import MAX_PIXELS, check_size, missing

BARE, BOXED = b"\xff\x0a", b"\0\0\0\x0cJXL "  # how files begin
JPEG = b"jbrd"  # the box with what of a JPEG is not pixels
WHOLE, PART = b"jxlc", b"jxlp"  # the boxes with the codestream; parts begin with four bytes, their number
_BROKEN = "broken or cut short: the JPEG in this JPEG XL does not come out"
_WIDTHS = (9, 13, 18, 30)  # bits of a side, by the selector before it
_RATIOS = ((1, 1), (6, 5), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))  # of width to height, from 1 on


def is_jxl(data: bytes) -> bool:
    """Whether a file starts with a signature of JPEG XL."""
    return data.startswith((BARE, BOXED))


def to_jpeg(data: bytes, max_pixels: int = MAX_PIXELS) -> bytes:
    """The JPEG in a JPEG XL; raises `CodecError` if it was not made of one, or if its header tells more pixels."""
    boxes = [] if data.startswith(BARE) else list(heif.boxes(data))
    if JPEG not in dict(boxes):
        raise CodecError("a JPEG XL that was not made of a JPEG is not read: convert it to PNG or TIFF, as djxl does")
    check_size(*_size(boxes), max_pixels)
    library = _library()
    try:
        return bytes(library.jpegxl_decode_jpeg(data))
    except library.JpegxlError:
        raise CodecError(_BROKEN) from None


def of_jpeg(data: bytes) -> bytes:
    """The JPEG XL that holds a JPEG, about a fifth smaller."""
    return bytes(_library().jpegxl_encode_jpeg(data))


def _size(boxes: Sequence[tuple[bytes, bytes]]) -> tuple[int, int]:
    """Width and height by the SizeHeader, with which the codestream begins (ISO/IEC 18181-1)."""
    streams = [content for name, content in boxes if name == WHOLE]
    if parts := [content[4:] for name, content in boxes if name == PART]:
        streams.append(b"".join(parts))
    if len(streams) != 1 or not streams[0].startswith(BARE):  # of two, the library might unpack the other
        raise CodecError(_BROKEN)
    bits = int.from_bytes(streams[0][2:14], "little")  # the longest has 68

    def take(count: int) -> int:
        nonlocal bits
        value, bits = bits & ((1 << count) - 1), bits >> count
        return value

    small = take(1)

    def side() -> int:
        return 8 * (take(5) + 1) if small else take(_WIDTHS[take(2)]) + 1

    height = side()
    if ratio := take(3):
        times, parts_of = _RATIOS[ratio - 1]
        return height * times // parts_of, height
    return side(), height


def _library() -> Any:
    try:
        import imagecodecs
    except ImportError:
        raise missing("JPEG XL") from None
    return imagecodecs
