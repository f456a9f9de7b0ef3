"""JPEG files: decode what lacks its end, say what is not read, keep segments and encoding."""

import hashlib
import struct
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, JpegImagePlugin

from bringback.errors import CodecError
from bringback.images import resources

MIN_QUALITY = 95
END = b"\xff\xd9"
FILLED = bytes(4)  # how the last block of a disk ends that was filled up; few pixels do
EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"
PHOTOSHOP = b"Photoshop 3.0\0"
LONGEST = 65_000  # bytes of one of our segments, so of XMP, or of EXIF
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers of a frame header
LOSSLESS = (0xC3, 0xC7, 0xCB, 0xCF)
THUMBNAIL = "Large Thumbnail"  # kind of picture in an MPO


def completed(data: bytes, load: Callable[[bytes], Image.Image]) -> Image.Image:
    """Decode, by `load`, a JPEG without its end marker, if every pixel is there; raises `CodecError` if not.

    Bytes after the last pixel change nothing; where pixels are missing, they are taken for them. Zeros at the end are
    what recovery programs fill the last block of a disk with.
    """
    data = data.rstrip(b"\0") if data.endswith(FILLED) else data
    image = load(data + END)
    if not np.array_equal(np.asarray(image), np.asarray(load(data + b"\x5a" * 256 + END))):
        raise CodecError("cut short: the last pixels are missing")
    return image


def refusal(data: bytes) -> str | None:
    """Why a JPEG cannot be read that Pillow does not know, or None."""
    for marker, block in _segments(data):
        if marker in FRAMES and block:
            kind = "lossless " if marker in LOSSLESS else ""
            if block[0] != 8 or kind:
                return f"a {kind}JPEG of {block[0]} bits, which is not read: convert it to a TIFF of 16 bits"
    return None


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and content of the segments before the pixels."""
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] != 0xDA:
        size = struct.unpack_from(">H", data, place + 2)[0]
        yield data[place + 1], data[place + 4 : place + 2 + size]
        place += 2 + size


def second_pictures(image: Image.Image) -> int:
    """How many pictures an MPO has besides the first, without thumbnails of it."""
    if image.format != "MPO":
        return 0
    entries = image.mpinfo.get(0xB002, [])  # type: ignore[attr-defined]
    return sum(not entry["Attribute"]["MPType"].startswith(THUMBNAIL) for entry in entries[1:])


def extra(image: Image.Image) -> dict[str, Any]:
    """Arguments of the writer: the quantization tables if they are no coarser than quality 95, else quality 95.

    Never progressive: Pillow's buffer is too small for a grainy progressive image of high quality.
    """
    known: dict[str, Any] = {"quality": MIN_QUALITY, "comment": image.info.get("comment")}
    known["extra"] = _kept(image.applist)  # type: ignore[attr-defined]
    if image.mode in ("RGB", "L"):
        probe = BytesIO()
        Image.new(image.mode, (8, 8)).save(probe, "JPEG", quality=MIN_QUALITY)
        standard = Image.open(probe).quantization  # type: ignore[attr-defined]
        tables: dict[int, list[int]] = image.quantization  # type: ignore[attr-defined]
        if sum(map(sum, tables.values())) / len(tables) <= sum(map(sum, standard.values())) / len(standard):
            known |= {"quality": -1, "qtables": tables}
    sampling = JpegImagePlugin.get_sampling(image)
    return known | ({"subsampling": sampling} if image.mode == "RGB" and sampling >= 0 else {})


def fit_extended(blocks: bytes, packet: bytes, fit: Callable[[bytes], bytes]) -> tuple[bytes, bytes]:
    """Segments and XMP packet after `fit` changed the extended XMP, which is in the segments and named in the packet.

    See Adobe, XMP Specification Part 3, 1.1.3.1.
    """
    head = len(EXTENDED_XMP)
    segments = [(marker, block) for marker, block in _segments(b"\xff\xd8" + blocks)]
    parts = sorted(block[head:] for _, block in segments if block.startswith(EXTENDED_XMP))  # by digest, length, offset
    whole, digests = b"".join(part[40:] for part in parts), {part[:32] for part in parts}
    if len(digests) != 1 or (changed := fit(whole)) == whole:
        return blocks, packet
    digest = hashlib.md5(changed, usedforsecurity=False).hexdigest().upper().encode()
    parts = [
        EXTENDED_XMP + digest + struct.pack(">II", len(changed), start) + changed[start : start + LONGEST]
        for start in range(0, len(changed), LONGEST)
    ]
    others = [segment for segment in segments if not segment[1].startswith(EXTENDED_XMP)]
    return _joined(others + [(0xE1, part) for part in parts]), packet.replace(digests.pop(), digest)


def with_resolution(blocks: bytes, across: float, down: float) -> bytes:
    """Segments of a picture with so many times the pixels an inch, of which Photoshop's first segment tells."""
    made = []
    for marker, block in _segments(b"\xff\xd8" + blocks):
        if marker == 0xED and block.startswith(PHOTOSHOP):
            block = PHOTOSHOP + resources.with_resolution(block.removeprefix(PHOTOSHOP), across, down)
        made.append((marker, block))
    return _joined(made)


def _kept(segments: list[tuple[str, bytes]]) -> bytes:
    """The segments that Pillow does not write by itself: IPTC and more of Photoshop's, and extended XMP."""
    blocks = b"".join(block.removeprefix(PHOTOSHOP) for name, block in segments if _is_photoshop(name, block))
    blocks = resources.without_thumbnails(blocks)
    parts = [PHOTOSHOP + blocks[start : start + LONGEST] for start in range(0, len(blocks), LONGEST)]
    kept = [(0xED, part) for part in parts]
    kept += [(0xED, block) for name, block in segments if name == "APP13" and not block.startswith(PHOTOSHOP)]
    kept += [(0xE1, block) for name, block in segments if name == "APP1" and block.startswith(EXTENDED_XMP)]
    return _joined(kept)


def _joined(segments: list[tuple[int, bytes]]) -> bytes:
    return b"".join(struct.pack(">BBH", 0xFF, marker, len(block) + 2) + block for marker, block in segments)


def _is_photoshop(name: str, block: bytes) -> bool:
    return name == "APP13" and block.startswith(PHOTOSHOP)
