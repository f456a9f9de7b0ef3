"""Write PNGs of 16 bits a channel, which Pillow cannot do in color."""

import struct
import zlib
from collections.abc import Iterator

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # by number of channels
UP = 2  # PNG filter type: difference to the byte above


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
    kept = [_chunk(kind, data) for kind, data in _chunks(metadata) if kind not in (b"IHDR", b"IDAT", b"IEND")]
    pixels = _chunk(b"IDAT", zlib.compress(filtered.tobytes(), 6))
    return b"".join([SIGNATURE, _chunk(b"IHDR", header), *kept, pixels, _chunk(b"IEND", b"")])


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _chunks(file: bytes) -> Iterator[tuple[bytes, bytes]]:
    start = len(SIGNATURE)
    while start < len(file):
        length, kind = struct.unpack_from(">I4s", file, start)
        yield kind, file[start + 8 : start + 8 + length]
        start += 12 + length
