"""HEIF and HEIC images, by pillow-heif (an optional dependency)."""

import struct
import sys
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np

from bringback.errors import CodecError
from bringback.images import tiff
from bringback.images.container import Container, check_size, missing, of_16_bits, upright

QUALITY = 95
BITS = 12  # bit depth for writing 16-bit images: HEIF has 8, 10 and 12
BRANDS = frozenset([b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"])


def is_heif(data: bytes) -> bool:
    """Whether a file starts with a HEIF signature."""
    return data[4:8] == b"ftyp" and data[8:12] in BRANDS


def decode(data: bytes, max_pixels: int) -> tuple[np.ndarray, Container]:
    """Decode the primary image to upright pixels and its `Container`; raises `CodecError`.

    10 and 12 bits are scaled to 16. The library applies the turns that the file itself tells of (irot, imir); by the
    standard (ISO/IEC 23008-12) the orientation in the EXIF block only repeats them. It is applied if there are none.
    """
    library = _library()
    file = library.open_heif(BytesIO(data), convert_hdr_to_8bit=False, hdr_to_16bit=False)
    picture = file[file.primary_index]
    check_size(picture.size[0], picture.size[1], max_pixels)
    if picture.premultiplied_alpha:
        raise CodecError("colours multiplied by alpha are not supported in HEIF; save it as PNG")
    array, info = np.asarray(picture), picture.info
    if array.dtype == np.uint16:
        array = of_16_bits(array, 2 ** info["bit_depth"] - 1)
    if "chroma" not in info and array.shape[2:] == (4,) and not np.ptp(array[..., :3], axis=2).any():
        array = array[..., [0, 3]]  # gray with alpha, which the library returns as RGBA
    extra: dict[str, Any] = {name: info[name] for name in ("chroma", "nclx_profile") if info.get(name)}
    if info["bit_depth"] > 8:
        extra["bit_depth"] = info["bit_depth"]
    if info.get("xmp"):
        extra["xmp"] = info["xmp"]
    exif = info.get("exif") or b""
    exif = exif if tiff.is_tiff(exif.removeprefix(b"Exif\0\0")) else None
    orientation = tiff.orientation(exif)
    array = np.ascontiguousarray(array) if properties(data).keys() & {b"irot", b"imir"} else upright(array, orientation)
    more = (f"{len(file)} pictures in it: the main one is restored alone",) if len(file) > 1 else ()
    return array, Container("HEIF", exif, info.get("icc_profile"), None, extra, orientation, more)


def properties(data: bytes) -> dict[bytes, bytes]:
    """The properties of pictures in a HEIF or AVIF, by name, for all pictures together: the boxes of meta/iprp/ipco."""
    for name, skipped in ((b"meta", 4), (b"iprp", 0), (b"ipco", 0)):
        data = dict(boxes(data)).get(name, b"")[skipped:]
    return dict(boxes(data))


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of each box."""
    place = 0
    while place + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, place)
        head = 8
        if size == 1 and place + 16 <= len(data):
            (size,), head = struct.unpack_from(">Q", data, place + 8), 16
        size = size if size >= head else len(data) - place  # 0: to the end
        yield name, data[place + head : place + size]
        place += size


def encode(array: np.ndarray, **known: Any) -> bytes:
    """Encode uint8 or uint16 pixels (H, W) or (H, W, 2..4) to HEIC; `known` are arguments of pillow-heif's encoder."""
    channels = 1 if array.ndim == 2 else array.shape[2]
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels] + (";16" if array.dtype == np.uint16 else "")
    if array.dtype == np.uint16 and sys.byteorder == "big":
        array = array.byteswap()
    file = BytesIO()
    size = (array.shape[1], array.shape[0])
    _library().encode(mode, size, array.tobytes(), file, **{"quality": QUALITY, "bit_depth": BITS} | known)
    return file.getvalue()


def require() -> None:
    """Raise `CodecError` if pillow-heif is not installed."""
    _library()


def _library() -> Any:
    try:
        import pillow_heif
    except ImportError:
        raise missing("HEIF") from None
    return pillow_heif
