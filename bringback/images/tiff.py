"""TIFF directories (also used by EXIF blocks): reset the orientation in place, extract tags, write a TIFF.

Pillow cannot write 16-bit color and replaces non-ASCII characters by "?", so TIFFs are written here: one strip, plain
or deflated, with the original's tags byte for byte. Classic TIFF only (below 4 GB).
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
XMP, ICC, LAYERS = 700, 34675, 37724
STORAGE = frozenset([ICC, LAYERS, XMP, 32995, 32996, 32997, 32998])  # tags above 600 that are rewritten or outdated
BYTE = 1
SUBFILES, REDUCED, MASK = 330, 1, 4  # the tag SubIFDs; bits of NewSubfileType
# Document, description, make, model, page, software, date, artist, host computer. The other tags below 600 are about
# pixel storage, or the resolution, which is in `dpi`.
TELLING = frozenset([269, 270, 271, 272, 285, 305, 306, 315, 316])
# For camera RAW files, copyright and IPTC captions too; their other tags are about development.
CAMERA = TELLING | {33432, 33723, EXIF, GPS}

Directory = dict[int, "tuple[int, int, bytes] | Directory"]  # tag: (type, count, value) or nested directory


def pages(data: bytes) -> list[bool]:
    """For each page of a TIFF, whether it is a full image, not a thumbnail or mask."""
    order, big = {b"II": "<", b"MM": ">"}[data[:2]], data[2:4] in (b"+\0", b"\0+")
    # BigTIFF has wider fields and a longer header.
    start, head, entry, next_page = (8, "Q", 20, "Q") if big else (4, "H", 12, "I")
    found, seen = [], set()
    (place,) = struct.unpack_from(order + next_page, data, start)
    while 0 < place <= len(data) - 2 and place not in seen:
        seen.add(place)
        first = place + struct.calcsize(head)
        after = first + entry * struct.unpack_from(order + head, data, place)[0]
        if after + struct.calcsize(next_page) > len(data):
            break
        # The value is left-aligned in the last 4 or 8 bytes of an entry: a LONG, or a SHORT padded with zeros.
        kind = 0
        for at in range(first, min(after, first + 3 * entry), entry):
            tag, form = struct.unpack_from(order + "HH", data, at)
            (value,) = struct.unpack_from(order + ("H" if form == SHORT else "I"), data, at + (12 if big else 8))
            kind = value if tag == 254 else REDUCED if tag == 255 and value == 2 else kind
        found.append(not kind & (REDUCED | MASK))
        (place,) = struct.unpack_from(order + next_page, data, after)
    return found


def has_subfiles(data: bytes) -> bool:
    """Whether the first page has sub-directories, as in RAW files, where they hold the image."""
    return SUBFILES in _first(data)


def xmp(data: bytes) -> bytes | None:
    """The XMP packet of a TIFF."""
    entry = _first(data).get(XMP)
    return entry[2] if isinstance(entry, tuple) else None


def describing(data: bytes, camera: bool = False) -> bytes | None:
    """An EXIF block of the tags of a TIFF that are not about pixel storage, EXIF and GPS included, or None.

    Without the XMP packet. For a `camera` RAW file, only the tags in `CAMERA`.
    """
    order = _order(data)
    if order is None:
        return None
    kept = {tag: entry for tag, entry in _first(data).items() if (tag in CAMERA if camera else _tells(tag))}
    return b"Exif\0\0" + _write(kept, order) if kept else None


def reset_orientation(exif: bytes) -> bytes:
    """The EXIF block with orientation 1 and without the thumbnail, which would show the unrestored image."""
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
    array: np.ndarray,
    exif: bytes | None,
    icc: bytes | None,
    dpi: tuple[float, float] | None,
    compress: bool = True,
    xmp: bytes | None = None,
) -> bytes:
    """Encode uint8 or uint16 pixels (H, W), (H, W, 2), (H, W, 3) or (H, W, 4) to TIFF, deflated if `compress`."""
    block = exif.removeprefix(b"Exif\0\0") if exif else b"II*\0\x08\0\0\0\0\0\0\0\0\0"
    order = _order(block) or "<"
    tags: Directory = {tag: entry for tag, entry in _first(block).items() if _tells(tag)}
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
        put(338, SHORT, 2)  # unassociated (not premultiplied) alpha
    if dpi:
        across, down = (Fraction(value).limit_denominator(10000) for value in dpi)
        put(282, RATIONAL, across.numerator, across.denominator)
        put(283, RATIONAL, down.numerator, down.denominator)
        put(296, SHORT, 2)
    if icc:
        tags[ICC] = (UNDEFINED, len(icc), icc)
    if xmp:
        tags[XMP] = (BYTE, len(xmp), xmp)
    put(273, LONG, 0)
    put(273, LONG, len(_write(tags, order)))
    return _write(tags, order) + pixels


def _tells(tag: int) -> bool:
    return tag in TELLING or (tag > 600 and tag not in STORAGE)


def _order(data: bytes) -> str | None:
    return {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4]) if len(data) >= 8 else None


def _first(data: bytes) -> Directory:
    order = _order(data)
    return _read(data, struct.unpack_from(order + "I", data, 4)[0], order) if order else {}


def _read(data: bytes, offset: int, order: str, depth: int = 0) -> Directory:
    """Read the directory at an offset, skipping entries that lie outside the data.

    Guards against broken files: nesting depth and total size of the values are limited.
    """
    directory: Directory = {}
    room = len(data)
    count = struct.unpack_from(order + "H", data, offset)[0] if offset + 2 <= len(data) else 0
    for place in range(offset + 2, min(offset + 2 + 12 * count, len(data) - 11), 12):
        tag, kind, count = struct.unpack_from(order + "HHI", data, place)
        size = SIZES.get(kind, 0) * count
        target = struct.unpack_from(order + "I", data, place + 8)[0]
        if tag in directory:
            continue
        if tag in POINTERS:
            if depth < 2:  # the depth of EXIF's directories
                directory[tag] = _read(data, target, order, depth + 1)
        elif 0 < size <= room:
            room -= size
            value = data[place + 8 : place + 8 + size] if size <= 4 else data[target : target + size]
            if len(value) == size:
                directory[tag] = (kind, count, value)
    return directory


def _write(directory: Directory, order: str) -> bytes:
    return {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8) + _block(directory, order, 8)


def _block(directory: Directory, order: str, start: int) -> bytes:
    """Serialize a directory followed by its values, for the even offset `start` of a file."""
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
