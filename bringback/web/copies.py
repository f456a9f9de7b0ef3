"""Small copies of photos and masks for the browser."""

from base64 import b64encode
from dataclasses import replace

import cv2
import numpy as np

from bringback.images.photo import Photo
from bringback.ops.masks import SOUND
from bringback.stages.record import Face

PREVIEW, THUMB, CROP = 2048, 256, 96  # most pixels a side
FOUND = (255, 80, 0)  # RGB of detected damage


def jpeg(photo: Photo, side: int = PREVIEW) -> bytes:
    """A JPEG of at most `side` pixels a side, with the photo's color profile."""
    height, width = photo.pixels.shape[:2]
    pixels = np.ascontiguousarray(photo.pixels)
    if max(height, width) > side:
        pixels = cv2.resize(pixels, fitted(height, width, side), interpolation=cv2.INTER_AREA)
    plain = {"alpha": None, "bit_depth": 8, "format": "JPEG", "exif": None, "dpi": None, "extra": {"quality": 90}}
    return replace(photo, pixels=pixels, **plain).encode()  # type: ignore[arg-type]


def fitted(height: int, width: int, side: int = PREVIEW) -> tuple[int, int]:
    """Width and height of a copy."""
    scale = min(1.0, side / max(height, width))
    return max(1, round(width * scale)), max(1, round(height * scale))


def overlay(mask: np.ndarray) -> bytes:
    """A damage mask (H, W) as a PNG to lay over the copy: even scratches of one pixel remain visible."""
    size = fitted(*mask.shape)
    damaged = cv2.resize((mask > SOUND).astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
    pixels = np.zeros((*damaged.shape, 4), np.uint8)
    pixels[damaged] = (*FOUND[::-1], 255)
    return cv2.imencode(".png", pixels)[1].tobytes()


def around(photo: Photo, face: Face) -> bytes:
    """A small picture of a face with a margin."""
    return jpeg(photo.with_pixels(np.ascontiguousarray(photo.pixels[face.place()])), CROP)


def inline(data: bytes) -> str:
    """A JPEG or PNG as a URL that holds it."""
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{b64encode(data).decode()}"
