"""PNG files: take metadata apart from pixels, show linear ones, write 16 bits a channel.

Pillow cannot write 16-bit color, nor OpenCV gray with alpha, and Pillow refuses whole files for a broken or large block
of metadata.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import PngImagePlugin

from bringback.images import resources

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # by number of channels
UP = 2  # PNG filter type: difference to the byte above
SHOWN = {b"cHRM": 32, b"gAMA": 4, b"sRGB": 1, b"cICP": 4}  # chunks about how levels are shown, and their lengths
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
XMP, EXIF = "XML:com.adobe.xmp", "Raw profile type exif"  # keywords of texts, the second of ImageMagick's
RESOURCES = ("Raw profile type iptc", "Raw profile type 8bim")
LARGEST = 64 << 20  # bytes of a profile or text
SCREEN = 1 / 2.2  # the gamma that files are made for if they do not tell
SEEN = 0.05  # differences of gamma below this are not corrected, as in libpng

Chunks = list[tuple[bytes, bytes]]  # kind and content


def split(data: bytes) -> tuple[bytes, Chunks]:
    """The file with only the chunks that its pixels need, and the others, without those whose checksum is wrong."""
    pixels, others = [memoryview(SIGNATURE)], Chunks()
    for kind, content, whole in _chunks(data):
        if kind[:1].isupper() or kind == b"tRNS":
            pixels.append(whole)
        elif whole[-4:] == struct.pack(">I", zlib.crc32(content, zlib.crc32(kind))):
            others.append((kind, bytes(content)))
    return b"".join(pixels), others


def info(chunks: Chunks) -> dict[str, Any]:
    """Profile, EXIF, resolution and XMP, by Pillow's names; what is broken is left out."""
    found: dict[str, Any] = {}
    for kind, content in chunks:
        head, _, rest = content.partition(b"\0")
        if kind == b"iCCP" and "icc_profile" not in found and (profile := _inflated(rest[1:])):
            found["icc_profile"] = profile
        elif kind == b"eXIf" and content:
            found["exif"] = b"Exif\0\0" + content
        elif kind == b"pHYs" and len(content) == 9 and content[8] == 1:  # a meter
            across, down = struct.unpack_from(">II", content)
            found["dpi"] = (across * 0.0254, down * 0.0254)
        elif kind in TEXTS and head.decode("latin-1") in (XMP, EXIF) and (text := _text(kind, rest)):
            found[head.decode("latin-1")] = text.decode("utf-8", "replace")
    return found


def texts(chunks: Chunks) -> PngImagePlugin.PngInfo:
    """What `info` does not have, for Pillow's writer: texts byte for byte, and how levels are shown."""
    known = PngImagePlugin.PngInfo()
    for kind, content in chunks:
        head, _, rest = content.partition(b"\0")
        keyword = head.decode("latin-1")
        if kind in TEXTS and keyword not in (XMP, EXIF):
            if keyword in RESOURCES and (block := _without_thumbnails(_text(kind, rest))):
                kind, content = b"tEXt", head + b"\0" + block
            known.add(kind, content)
        elif len(content) == SHOWN.get(kind) and not any(kind == other for other, *_ in known.chunks):
            known.add(kind, content)
    return known


def colors(info: PngImagePlugin.PngInfo) -> PngImagePlugin.PngInfo:
    """Of what `texts` gives, only how levels are shown."""
    known = PngImagePlugin.PngInfo()
    for kind, content, *_ in info.chunks:
        if kind in SHOWN:
            known.add(kind, content)
    return known


def as_shown(array: np.ndarray, chunks: Chunks) -> tuple[np.ndarray, Chunks]:
    """The levels as a screen shows them, by the chunk gAMA if nothing else tells, with chunks that fit them.

    Levels that have to be changed, of a linear scan for example, become uint16, in which none is lost.
    """
    found = dict(reversed(chunks))
    told = found.get(b"gAMA", b"")  # applies if there is nothing better
    gamma = struct.unpack(">I", told)[0] / 100_000 if len(told) == 4 else SCREEN
    exponent = SCREEN / gamma if 0.01 < gamma < 100 else 1.0
    if found.keys() & {b"iCCP", b"sRGB", b"cICP"} or abs(exponent - 1) < SEEN:
        return array, chunks
    top = np.iinfo(array.dtype).max
    shown = np.rint((np.arange(top + 1) / top) ** exponent * 65535).astype(np.uint16)
    levels = shown[array]
    if array.ndim == 3 and array.shape[2] in (2, 4):  # alpha is linear always
        levels[..., -1] = array[..., -1].astype(np.uint16) * (65535 // top)
    chunks = [(kind, content) for kind, content in chunks if kind != b"gAMA"]
    return levels, [*chunks, (b"gAMA", struct.pack(">I", round(SCREEN * 100_000)))]


def encode(array: np.ndarray, metadata: bytes) -> bytes:
    """Encode uint16 pixels (H, W), (H, W, 2), (H, W, 3) or (H, W, 4) to PNG.

    Profile, EXIF, texts and resolution are copied from the PNG file `metadata`.
    """
    height, width = array.shape[:2]
    channels = 1 if array.ndim == 2 else array.shape[2]
    header = struct.pack(">IIBBBBB", width, height, 16, COLOR_TYPES[channels], 0, 0, 0)
    rows = np.frombuffer(array.astype(">u2").tobytes(), np.uint8).reshape(height, -1)
    filtered = np.full((height, rows.shape[1] + 1), UP, np.uint8)
    filtered[:, 1:] = np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1]))
    kept = [whole for kind, _, whole in _chunks(metadata) if kind not in (b"IHDR", b"IDAT", b"IEND")]
    pixels = _chunk(b"IDAT", zlib.compress(filtered.tobytes(), 6))
    return b"".join([SIGNATURE, _chunk(b"IHDR", header), *kept, pixels, _chunk(b"IEND", b"")])


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _chunks(file: bytes) -> Iterator[tuple[bytes, memoryview, memoryview]]:
    """Kind, content, and the whole of each chunk."""
    start, view = len(SIGNATURE), memoryview(file)
    while start + 8 <= len(file):
        length, kind = struct.unpack_from(">I4s", file, start)
        end = start + 12 + length
        yield kind, view[start + 8 : end - 4], view[start:end]
        start = end


def _inflated(packed: bytes) -> bytes | None:
    try:
        unpacking = zlib.decompressobj()
        data = unpacking.decompress(packed, LARGEST)
    except zlib.error:
        return None
    return data if unpacking.eof else None


def _text(kind: bytes, rest: bytes) -> bytes | None:
    """The text after the keyword."""
    if kind == b"zTXt":
        return _inflated(rest[1:])
    if kind == b"iTXt":
        text = rest[2:].split(b"\0", 2)[-1]
        return _inflated(text) if rest[:1] == b"\1" else text
    return rest


def _without_thumbnails(text: bytes | None) -> bytes | None:
    """Photoshop's resources, in the hexadecimal form of ImageMagick, without thumbnails; None if there are none."""
    lines = (text or b"").split(b"\n")
    try:
        blocks = bytes.fromhex(b"".join(lines[3:]).decode())
    except ValueError:
        return None
    rest = resources.without_thumbnails(blocks)
    return None if rest == blocks else b"\n%s\n%8d\n%s\n" % (lines[1], len(rest), rest.hex().encode())
