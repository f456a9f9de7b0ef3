"""Shared by the codecs: a file's content besides its pixels, the size limit, and the error for a missing package."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from bringback.errors import CodecError

MAX_PIXELS = 178_956_970  # Pillow's limit against decompression bombs


@dataclass(frozen=True)
class Container:
    """The content of an image file besides its pixels; the fields are those of `Photo`."""

    format: str = "PNG"
    exif: bytes | None = None
    icc: bytes | None = None
    dpi: tuple[float, float] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    orientation: int = 1
    warnings: tuple[str, ...] = ()
    infrared: np.ndarray | None = None

    def turned(self) -> Self:
        """The container of the picture after it was turned upright."""
        return replace(self, dpi=self.dpi[::-1]) if self.dpi and self.orientation >= 5 else self


def upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation (1 to 8)."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return np.ascontiguousarray(array)


def of_16_bits(array: np.ndarray, top: int) -> np.ndarray:
    """Levels, `top` of which is white, as uint16 with all its range."""
    array = (array.astype(np.uint32) * 65535 + top // 2) // top
    return np.minimum(array, 65535).astype(np.uint16)


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raise `CodecError` if a photo has more than `max_pixels`; call it before decoding."""
    if width * height > max_pixels:
        limit = f"{max_pixels / 1e6:.3g} million are the limit"
        raise CodecError(f"too large: {width}x{height} pixels, {limit}: allow more with --max-pixels")


def missing(kind: str, why: str = "") -> CodecError:
    """The error for a file that needs a package that is not installed."""
    return CodecError(f'{why}{kind} files need one more package: pip install "bringback[io]"')
