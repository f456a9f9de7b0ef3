"""What product and training understand alike of Pillow's images; no more than Pillow is needed for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from threading import Lock
from typing import cast

from PIL import Image, ImageCms

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", "JPEG2000")  # no others: to read EPS, Pillow runs a program


_lock, _users = Lock(), 0
_limit: int | None = None  # Pillow's, while `_users` are beyond it


@contextmanager
def beyond_limit(pixels: float = float("inf")) -> Iterator[None]:
    """Lift Pillow's limit for a picture of so many pixels whose size we check ourselves, if it is above that limit.

    The limit is one for the whole process, and others in it rely on it: it is lifted only where Pillow would refuse,
    and put back by the last of the threads that want it lifted.
    """
    global _users, _limit
    with _lock:
        limit = _limit if _users else Image.MAX_IMAGE_PIXELS
        lifts = limit is not None and pixels > 2 * limit  # from there on it is an error
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


def open_any_size(data: bytes) -> Image.Image:
    """A picture of one of `FORMATS`, not decoded yet: ask for its size first, and load it `beyond_limit`."""
    try:
        return Image.open(BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        with beyond_limit():
            return Image.open(BytesIO(data), formats=FORMATS)


def from_cmyk(image: Image.Image, icc: bytes | None) -> Image.Image:
    """A CMYK image as RGB, by its profile if it has a good one."""
    if icc:
        try:
            profile = ImageCms.ImageCmsProfile(BytesIO(icc))
            converted = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
            return cast(Image.Image, converted)
        except (ImageCms.PyCMSError, OSError):
            pass  # a broken profile, or one for something else: Pillow's plain conversion is the better guess
    return image.convert("RGB")
