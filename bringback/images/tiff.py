"""TIFF directories (also used by EXIF blocks): edit an EXIF block in place, extract tags, write a TIFF.

Pillow cannot write 16-bit color and replaces non-ASCII characters by "?", tifffile writes no EXIF and GPS directories,
so TIFFs are written here: in strips, plain or deflated, with the original's tags byte for byte. BigTIFF is read, and
becomes a classic TIFF (below 4 GB).
"""

import struct
import zlib
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from bringback.images import resources

BITS, COMPRESSION, PHOTOMETRIC, ORIENTATION, SAMPLES, PLANES = 258, 259, 262, 274, 277, 284
PREDICTOR, EXTRA_SAMPLES = 317, 338
HORIZONTAL = 2  # value of Predictor: differences to the left
STRIP = 1 << 18  # bytes of pixels in a strip, or one row
PREMULTIPLIED, ALPHA = 1, 2  # values of ExtraSamples; 0 is unspecified, as of infrared
EXIF, GPS, INTEROPERABILITY = 0x8769, 0x8825, 0xA005
POINTERS = (EXIF, GPS, INTEROPERABILITY)
SHORT, LONG, RATIONAL, UNDEFINED = 3, 4, 5, 7
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
XMP, RESOURCES, ICC, LAYERS = 700, 34377, 34675, 37724
RESOLUTION = 282, 283  # across and down
WIDTH, HEIGHT = 0xA002, 0xA003  # of the picture, in the EXIF directory
THUMBNAIL = {513: 514, 273: 279}  # tags of where it lies in an EXIF block: how long it is
STORAGE = frozenset([ICC, LAYERS, XMP, 32995, 32996, 32997, 32998])  # tags above 600 that are rewritten or outdated
BYTE = 1
SUBFILES, REDUCED, MASK = 330, 1, 4  # the tag SubIFDs; bits of NewSubfileType
# Document, description, make, model, page, software, date, artist, host computer. The other tags below 600 are about
# pixel storage, or the resolution, which is in `dpi`.
TELLING = frozenset([269, 270, 271, 272, 285, 305, 306, 315, 316])
# For camera RAW files, copyright and IPTC captions too; their other tags are about development.
CAMERA = TELLING | {33432, 33723, EXIF, GPS}

Directory = dict[int, "tuple[int, int, bytes] | Directory"]  # tag: (type, count, value) or nested directory


class Page(NamedTuple):
    """A page of a TIFF; `full` is one that is no thumbnail or mask."""

    full: bool
    mask: bool
    size: tuple[int, int]
    samples: int


def pages(data: bytes) -> list[Page]:
    """The pages of a TIFF."""
    order, big = {b"II": "<", b"MM": ">"}[data[:2]], is_big(data)
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
        told: dict[int, int] = {}
        for at in range(first, min(after, first + 64 * entry), entry):
            tag, form = struct.unpack_from(order + "HH", data, at)
            (told[tag],) = struct.unpack_from(order + ("H" if form == SHORT else "I"), data, at + (12 if big else 8))
        kind = told.get(254, REDUCED if told.get(255) == 2 else 0)
        size = told.get(256, 0), told.get(257, 0)
        found.append(Page(not kind & (REDUCED | MASK), kind & (REDUCED | MASK) == MASK, size, told.get(SAMPLES, 1)))
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
    if isinstance(entry := kept.get(RESOURCES), tuple):
        blocks = resources.without_thumbnails(entry[2])
        kept[RESOURCES] = (UNDEFINED, len(blocks), blocks)
    return b"Exif\0\0" + _write(kept, order) if kept else None


def upright(exif: bytes, width: int, height: int) -> bytes:
    """The EXIF block of the upright picture: orientation 1, its size, and no thumbnail, which shows the unrestored one.

    Edited in place: the notes of camera makers have offsets of their own.
    """
    start = 6 if exif.startswith(b"Exif\0\0") else 0
    order = _order(exif[start:])
    if order is None or is_big(exif[start:]):
        return exif
    block = bytearray(exif[start:])
    for tag, place in _entries(block, after := struct.unpack_from(order + "I", block, 4)[0], order):
        if tag == ORIENTATION:
            struct.pack_into(order + "HIHH", block, place + 2, SHORT, 1, 1, 0)
        elif tag == EXIF:
            for inner, spot in _entries(block, _long(block, place, order), order):
                if inner in (WIDTH, HEIGHT):
                    struct.pack_into(order + "HII", block, spot + 2, LONG, 1, width if inner == WIDTH else height)
    if after + 2 <= len(block):
        after += 2 + 12 * struct.unpack_from(order + "H", block, after)[0]
        if after + 4 <= len(block):
            _clear_thumbnail(block, struct.unpack_from(order + "I", block, after)[0], order)
            struct.pack_into(order + "I", block, after, 0)
    return exif[:start] + bytes(block)


def with_resolution(exif: bytes, across: float, down: float) -> bytes:
    """The EXIF block of a picture with so many times the pixels an inch, edited in place; also Photoshop's word."""
    start = 6 if exif.startswith(b"Exif\0\0") else 0
    order = _order(exif[start:])
    if order is None or is_big(exif[start:]):
        return exif
    block = bytearray(exif[start:])
    for tag, place in _entries(block, struct.unpack_from(order + "I", block, 4)[0], order):
        kind, count, at = struct.unpack_from(order + "HII", block, place + 2)
        if tag in RESOLUTION and (kind, count) == (RATIONAL, 1) and at + 8 <= len(block):
            top, bottom = struct.unpack_from(order + "II", block, at)
            made = Fraction(top, max(bottom, 1)) * Fraction(across if tag == RESOLUTION[0] else down)
            made = made.limit_denominator(10000)
            if made.numerator < 1 << 32:
                struct.pack_into(order + "II", block, at, made.numerator, made.denominator)
        elif tag == RESOURCES and at + count <= len(block):
            block[at : at + count] = resources.with_resolution(bytes(block[at : at + count]), across, down)
    return exif[:start] + bytes(block)


def _clear_thumbnail(block: bytearray, directory: int, order: str) -> None:
    """Remove the pixels of the thumbnail that a directory of an EXIF block tells of."""
    told = {tag: _long(block, place, order) for tag, place in _entries(block, directory, order) if directory}
    for begins, lasts in THUMBNAIL.items():
        begin, end = told.get(begins, 0), told.get(begins, 0) + told.get(lasts, 0)
        if not 8 <= begin < end <= len(block):
            continue
        if end == len(block):  # as in most files
            del block[begin:]
        else:
            block[begin:end] = bytes(end - begin)


def reset_orientation(data: bytes) -> bytes:
    """The TIFF with orientation 1."""
    order = _order(data)
    if order is None or is_big(data):
        return data
    patched = bytearray(data)
    for tag, place in _entries(data, struct.unpack_from(order + "I", data, 4)[0], order):
        if tag == ORIENTATION:
            struct.pack_into(order + "HIHH", patched, place + 2, SHORT, 1, 1, 0)
    return bytes(patched)


def numbers(data: bytes, tag: int) -> tuple[int, ...]:
    """The values of a tag of SHORT or LONG numbers, in a TIFF or an EXIF block; () without it."""
    data = data.removeprefix(b"Exif\0\0")
    order, entry = _order(data), _first(data).get(tag)
    if order is None or not isinstance(entry, tuple) or entry[0] not in (SHORT, LONG):
        return ()
    return tuple(np.frombuffer(entry[2], f"{order}u{SIZES[entry[0]]}").tolist())


def orientation(data: bytes | None) -> int:
    """The orientation in a TIFF or an EXIF block, 1 to 8; 1 without a valid one."""
    value = next(iter(numbers(data or b"", ORIENTATION)), 1)
    return value if 1 <= value <= 8 else 1


def _entries(data: bytes | bytearray, offset: int, order: str) -> Iterator[tuple[int, int]]:
    """Tag and offset of each entry of a directory of a classic TIFF."""
    if offset + 2 <= len(data):
        after = offset + 2 + 12 * struct.unpack_from(order + "H", data, offset)[0]
        for place in range(offset + 2, min(after, len(data) - 11), 12):
            yield struct.unpack_from(order + "H", data, place)[0], place


def _long(data: bytes | bytearray, place: int, order: str) -> int:
    """The value of an entry with one number."""
    short = struct.unpack_from(order + "H", data, place + 2)[0] == SHORT
    return int(struct.unpack_from(order + ("H" if short else "I"), data, place + 8)[0])


def encode(
    array: np.ndarray,
    exif: bytes | None,
    icc: bytes | None,
    dpi: tuple[float, float] | None,
    compress: bool = True,
    xmp: bytes | None = None,
    unspecified: np.ndarray | None = None,
) -> bytes:
    """Encode uint8 or uint16 pixels (H, W), (H, W, 2), (H, W, 3) or (H, W, 4) to TIFF, deflated if `compress`.

    `unspecified` (H, W, N), of the same type, are channels that are neither color nor alpha, as of infrared.
    """
    block = exif.removeprefix(b"Exif\0\0") if exif else b"II*\0\x08\0\0\0\0\0\0\0\0\0"
    order = _order(block) or "<"
    tags: Directory = {tag: entry for tag, entry in _first(block).items() if _tells(tag)}
    channels = 1 if array.ndim == 2 else array.shape[2]
    extras = [ALPHA] * (channels in (2, 4))
    colors = channels - len(extras)
    if unspecified is not None:
        array = np.dstack([array, unspecified])
        extras += [0] * unspecified.shape[2]
        channels = colors + len(extras)
    rows = max(1, STRIP // array[:1].nbytes)
    strips = [_strip(array[top : top + rows], order, compress) for top in range(0, len(array), rows)]

    def put(tag: int, kind: int, *values: int) -> None:
        code = {SHORT: "H", LONG: "I", RATIONAL: "I"}[kind]
        count = len(values) // 2 if kind == RATIONAL else len(values)
        tags[tag] = (kind, count, struct.pack(f"{order}{len(values)}{code}", *values))

    put(256, LONG, array.shape[1])
    put(257, LONG, array.shape[0])
    put(BITS, SHORT, *[8 * array.dtype.itemsize] * channels)
    put(COMPRESSION, SHORT, 8 if compress else 1)
    put(PHOTOMETRIC, SHORT, 1 if colors == 1 else 2)
    put(SAMPLES, SHORT, channels)
    put(278, LONG, rows)
    put(279, LONG, *map(len, strips))
    if compress:
        put(PREDICTOR, SHORT, HORIZONTAL)
    put(PLANES, SHORT, 1)
    put(ORIENTATION, SHORT, 1)
    if extras:
        put(EXTRA_SAMPLES, SHORT, *extras)
    if dpi:
        across, down = (Fraction(value).limit_denominator(10000) for value in dpi)
        put(282, RATIONAL, across.numerator, across.denominator)
        put(283, RATIONAL, down.numerator, down.denominator)
        put(296, SHORT, 2)
    if icc:
        tags[ICC] = (UNDEFINED, len(icc), icc)
    if xmp:
        tags[XMP] = (BYTE, len(xmp), xmp)
    put(273, LONG, *[0] * len(strips))
    places = np.cumsum([len(_write(tags, order)), *map(len, strips[:-1])])
    put(273, LONG, *places.tolist())
    return b"".join([_write(tags, order), *strips])


def _strip(array: np.ndarray, order: str, compress: bool) -> bytes:
    if not compress:
        return array.astype(f"{order}u{array.itemsize}").tobytes()
    steps = array.copy()  # to the pixel on the left, which packs better
    steps[:, 1:] -= array[:, :-1]
    return zlib.compress(steps.astype(f"{order}u{array.itemsize}").tobytes(), 6)


def _tells(tag: int) -> bool:
    return tag in TELLING or (tag > 600 and tag not in STORAGE)


def _order(data: bytes) -> str | None:
    known = {b"II*\0": "<", b"MM\0*": ">", b"II+\0": "<", b"MM\0+": ">"}
    return known.get(bytes(data[:4])) if len(data) >= 8 else None


def is_tiff(data: bytes) -> bool:
    """Whether a file or EXIF block starts with the signature of a TIFF or BigTIFF."""
    return _order(data) is not None


def is_big(data: bytes) -> bool:
    """Whether a TIFF is a BigTIFF."""
    return data[2:4] in (b"+\0", b"\0+")


def _first(data: bytes) -> Directory:
    order = _order(data)
    if order is None or (is_big(data) and len(data) < 16):
        return {}
    start = struct.unpack_from(order + ("Q" if is_big(data) else "I"), data, 8 if is_big(data) else 4)[0]
    return _read(data, start, order)


def _read(data: bytes, offset: int, order: str, depth: int = 0) -> Directory:
    """Read the directory at an offset, skipping entries that lie outside the data.

    Guards against broken files: nesting depth and total size of the values are limited.
    """
    head, number, width = ("Q", "Q", 20) if is_big(data) else ("H", "I", 12)
    inline = struct.calcsize(number)  # bytes of a value in its entry
    directory: Directory = {}
    room = len(data)
    first = offset + struct.calcsize(head)
    count = struct.unpack_from(order + head, data, offset)[0] if first <= len(data) else 0
    for place in range(first, min(first + width * count, len(data) - width + 1), width):
        tag, kind, count = struct.unpack_from(order + "HH" + number, data, place)
        size = SIZES.get(kind, 0) * count
        target = struct.unpack_from(order + number, data, place + width - inline)[0]
        if tag in directory:
            continue
        if tag in POINTERS:
            if kind == LONG:  # shorter than the field of a BigTIFF
                target = struct.unpack_from(order + "I", data, place + width - inline)[0]
            if depth < 2:  # the depth of EXIF's directories
                directory[tag] = _read(data, target, order, depth + 1)
        elif 0 < size <= room:
            room -= size
            at = place + width - inline if size <= inline else target
            value = data[at : at + size]
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
