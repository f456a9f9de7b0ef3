"""TIFF directories, which EXIF blocks are too: reset an orientation in place, keep what a TIFF says, write a TIFF.

Pillow writes no 16-bit colour and turns every letter outside ASCII into "?", so TIFFs are written here: one strip,
plain or deflated, with the tags of the original kept byte for byte. Classic TIFF only (below 4 GB).
"""

import struct
import zlib
from fractions import Fraction

import numpy as np

BITS, PHOTOMETRIC, ORIENTATION = 258, 262, 274
EXIF, GPS, INTEROPERABILITY = 0x8769, 0x8825, 0xA005
POINTERS = (EXIF, GPS, INTEROPERABILITY)
SHORT, LONG, RATIONAL, UNDEFINED = 3, 4, 5, 7
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
ICC, LAYERS = 34675, 37724
# Document, description, make, model, page, software, date, artist, computer: the ones of the old tags that tell
# something. The others below 600 say how the pixels are stored, or their resolution, which `dpi` carries.
TELLING = frozenset([269, 270, 271, 272, 285, 305, 306, 315, 316])

Directory = dict[int, "tuple[int, int, bytes] | Directory"]  # tag: (type, count, value), or a directory of its own


def describing(data: bytes) -> bytes | None:
    """The tags of a TIFF that do not say how its pixels are stored (EXIF and GPS among them), as an EXIF block."""
    order = _order(data)
    if order is None:
        return None
    directory = _read(data, struct.unpack_from(order + "I", data, 4)[0], order)
    kept = {tag: entry for tag, entry in directory.items() if _tells(tag)}
    return b"Exif\0\0" + _write(kept, order) if kept else None


def reset_orientation(exif: bytes) -> bytes:
    """The same EXIF block saying "upright", and without the thumbnail, which shows the picture unrestored."""
    start = 6 if exif.startswith(b"Exif\0\0") else 0
    order = _order(exif[start:])
    if order is None or len(exif) < start + 8:
        return exif
    patched = bytearray(exif)
    first = start + struct.unpack_from(order + "I", exif, start + 4)[0]
    if first + 2 > len(exif):
        return exif
    after = first + 2 + 12 * struct.unpack_from(order + "H", exif, first)[0]
    for entry in range(first + 2, min(after, len(exif) - 11), 12):
        if struct.unpack_from(order + "H", exif, entry)[0] == ORIENTATION:
            struct.pack_into(order + "HIHH", patched, entry + 2, SHORT, 1, 1, 0)
    if after + 4 <= len(exif):
        struct.pack_into(order + "I", patched, after, 0)
    return bytes(patched)


def encode(
    array: np.ndarray, exif: bytes | None, icc: bytes | None, dpi: tuple[float, float] | None, compress: bool = True
) -> bytes:
    """A TIFF of (H, W), (H, W, 2), (H, W, 3) or (H, W, 4) uint8 or uint16 pixels, deflated if `compress`."""
    block = exif.removeprefix(b"Exif\0\0") if exif else b"II*\0\x08\0\0\0\0\0\0\0\0\0"
    order = _order(block) or "<"
    told = _read(block, struct.unpack_from(order + "I", block, 4)[0], order) if _order(block) else {}
    tags: Directory = {tag: entry for tag, entry in told.items() if _tells(tag)}
    channels = 1 if array.ndim == 2 else array.shape[2]
    pixels = array.astype(f"{order}u{array.dtype.itemsize}").tobytes()
    if compress:
        pixels = zlib.compress(pixels, 6)

    def put(tag: int, kind: int, *values: int) -> None:
        code = {SHORT: "H", LONG: "I", RATIONAL: "I"}[kind]
        count = len(values) // 2 if kind == RATIONAL else len(values)
        tags[tag] = (kind, count, struct.pack(f"{order}{len(values)}{code}", *values))

    put(256, LONG, array.shape[1])
    put(257, LONG, array.shape[0])
    put(BITS, SHORT, *[8 * array.dtype.itemsize] * channels)
    put(259, SHORT, 8 if compress else 1)
    put(PHOTOMETRIC, SHORT, 1 if channels < 3 else 2)
    put(277, SHORT, channels)
    put(278, LONG, array.shape[0])
    put(279, LONG, len(pixels))
    put(284, SHORT, 1)
    put(ORIENTATION, SHORT, 1)
    if channels in (2, 4):
        put(338, SHORT, 2)  # alpha that the colours are not multiplied by
    if dpi:
        across, down = (Fraction(value).limit_denominator(10000) for value in dpi)
        put(282, RATIONAL, across.numerator, across.denominator)
        put(283, RATIONAL, down.numerator, down.denominator)
        put(296, SHORT, 2)
    if icc:
        tags[ICC] = (UNDEFINED, len(icc), icc)
    put(273, LONG, 0)
    put(273, LONG, len(_write(tags, order)))
    return _write(tags, order) + pixels


def _tells(tag: int) -> bool:
    return tag in TELLING or (tag > 600 and tag not in (ICC, LAYERS))


def _order(data: bytes) -> str | None:
    return {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])


def _read(data: bytes, offset: int, order: str) -> Directory:
    """The directory at an offset; what lies outside of the data is passed over."""
    directory: Directory = {}
    count = struct.unpack_from(order + "H", data, offset)[0] if offset + 2 <= len(data) else 0
    for place in range(offset + 2, min(offset + 2 + 12 * count, len(data) - 11), 12):
        tag, kind, count = struct.unpack_from(order + "HHI", data, place)
        size = SIZES.get(kind, 0) * count
        target = struct.unpack_from(order + "I", data, place + 8)[0]
        if tag in POINTERS:
            directory[tag] = _read(data, target, order)
        elif size:
            value = data[place + 8 : place + 8 + size] if size <= 4 else data[target : target + size]
            if len(value) == size:
                directory[tag] = (kind, count, value)
    return directory


def _write(directory: Directory, order: str) -> bytes:
    return {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8) + _block(directory, order, 8)


def _block(directory: Directory, order: str, start: int) -> bytes:
    """A directory with its values after it, to stand at the even offset `start` of a file."""
    head, tail = struct.pack(order + "H", len(directory)), b""
    after = start + 2 + 12 * len(directory) + 4
    for tag, entry in sorted(directory.items()):
        if isinstance(entry, dict):
            kind, count, value = LONG, 1, struct.pack(order + "I", after + len(tail))
            tail += _block(entry, order, after + len(tail))
        else:
            kind, count, value = entry
            if len(value) > 4:
                pointer = struct.pack(order + "I", after + len(tail))
                tail += value
                value = pointer
        head += struct.pack(order + "HHI", tag, kind, count) + value.ljust(4, b"\0")
        tail += b"\0" * (len(tail) % 2)
    return head + b"\0\0\0\0" + tail
