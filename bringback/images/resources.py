"""Photoshop's image resource blocks ("8BIM"), in which JPEG, TIFF and PNG carry IPTC captions and a thumbnail.

See Adobe Photoshop File Formats Specification, "Image Resource Blocks".
"""

import struct
from collections.abc import Iterator

SIGNATURE = b"8BIM"
RESOLUTION = 0x03ED
THUMBNAILS = (0x0409, 0x040C)  # of Photoshop 4 and of later ones


def without_thumbnails(blocks: bytes) -> bytes:
    """The blocks without thumbnails, which show the unrestored picture; what cannot be read stays as it is."""
    kept, rest = [], 0
    for kind, start, _, end in _each(blocks):
        rest = end
        if kind not in THUMBNAILS:
            kept.append(blocks[start:end])
    return b"".join([*kept, blocks[rest:]])


def with_resolution(blocks: bytes, across: float, down: float) -> bytes:
    """The blocks of a picture with so many times the pixels an inch."""
    made = bytearray(blocks)
    for kind, _, at, end in _each(blocks):
        if kind == RESOLUTION and at + 16 <= min(end, len(blocks)):
            for place, factor in ((at, across), (at + 8, down)):  # 16.16 fixed point
                told = struct.unpack_from(">I", blocks, place)[0]
                struct.pack_into(">I", made, place, min(round(told * factor), (1 << 32) - 1))
    return bytes(made)


def _each(blocks: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Of each block its kind, and where it, its content and the next one begin."""
    start = 0
    while blocks.startswith(SIGNATURE, start) and start + 7 <= len(blocks):
        name = 1 + blocks[start + 6]
        sized = start + 6 + name + name % 2
        if sized + 4 > len(blocks):
            return
        size = struct.unpack_from(">I", blocks, sized)[0]
        end = sized + 4 + size + size % 2
        yield struct.unpack_from(">H", blocks, start + 4)[0], start, sized + 4, end
        start = end
