"""Photoshop's image resource blocks ("8BIM"), in which JPEG, TIFF and PNG carry IPTC captions and a thumbnail.

See Adobe Photoshop File Formats Specification, "Image Resource Blocks".
"""

import struct

SIGNATURE = b"8BIM"
THUMBNAILS = (0x0409, 0x040C)  # of Photoshop 4 and of later ones


def without_thumbnails(blocks: bytes) -> bytes:
    """The blocks without thumbnails, which show the unrestored picture; what cannot be read stays as it is."""
    kept, start = [], 0
    while blocks.startswith(SIGNATURE, start) and start + 7 <= len(blocks):
        name = 1 + blocks[start + 6]
        sized = start + 6 + name + name % 2
        if sized + 4 > len(blocks):
            break
        size = struct.unpack_from(">I", blocks, sized)[0]
        end = sized + 4 + size + size % 2
        if struct.unpack_from(">H", blocks, start + 4)[0] not in THUMBNAILS:
            kept.append(blocks[start:end])
        start = end
    return b"".join([*kept, blocks[start:]])
