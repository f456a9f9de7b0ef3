"""Pillow helpers shared by restoration and training; they depend on Pillow only."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from threading import Lock
from typing import cast

from PIL import Image, ImageCms

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", "JPEG2000")  # not EPS: Pillow runs a program to read it
MORE = ("AVIF", "PPM")  # restored, but not used in training
BY_NAME = {".pcx": "PCX", ".tga": "TGA"}  # hardly to be told by their content


_lock, _users = Lock(), 0
_limit: int | None = None  # Pillow's limit, saved while it is lifted
_quiet, _readers = warnings.catch_warnings(), 0


@contextmanager
def beyond_limit(pixels: float = float("inf")) -> Iterator[None]:
    """Lift Pillow's size limit for an image of `pixels` pixels whose size we check ourselves.

    The limit is global to the process and other code relies on it. It is lifted only if Pillow would raise, and
    restored by the last thread that needs it lifted.
    """
    global _users, _limit
    with _lock:
        limit = _limit if _users else Image.MAX_IMAGE_PIXELS
        lifts = limit is not None and pixels > 2 * limit  # up to twice the limit Pillow only warns
        if lifts:
            _limit, Image.MAX_IMAGE_PIXELS = limit, None
            _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= lifts
            if lifts and not _users:
                Image.MAX_IMAGE_PIXELS = _limit


@contextmanager
def without_warnings() -> Iterator[None]:
    """Ignore the warnings of decoders.

    The filters are those of the process: threads that each save and restore them could leave them off for good. The
    first thread saves, and the last one restores them.
    """
    global _quiet, _readers
    with _lock:
        if not _readers:
            _quiet = warnings.catch_warnings()
            _quiet.__enter__()
            warnings.simplefilter("ignore")
        _readers += 1
    try:
        yield
    finally:
        with _lock:
            _readers -= 1
            if not _readers:
                _quiet.__exit__(None, None, None)


def open_any_size(data: bytes, suffix: str = "") -> Image.Image:
    """Open an image without decoding: check its size first, then load it within `beyond_limit`."""
    Image.init()  # load all plugins; by default Pillow preloads only the most common ones
    named = [BY_NAME[suffix]] if suffix in BY_NAME else []
    known = [format for format in (*FORMATS, *MORE, *named) if format in Image.OPEN]  # AVIF came with Pillow 11.3
    try:
        return Image.open(BytesIO(data), formats=known)
    except Image.DecompressionBombError:
        with beyond_limit():
            return Image.open(BytesIO(data), formats=known)


def from_cmyk(image: Image.Image, icc: bytes | None) -> Image.Image:
    """Convert CMYK to RGB, by the ICC profile if it is valid."""
    if icc:
        try:
            profile = ImageCms.ImageCmsProfile(BytesIO(icc))
            converted = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
            return cast(Image.Image, converted)
        except (ImageCms.PyCMSError, OSError):
            pass  # broken profile, or not one for CMYK: fall back to Pillow's own conversion
    return image.convert("RGB")
