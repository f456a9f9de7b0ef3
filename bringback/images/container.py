"""What the readers and writers of picture files share: what a file holds besides its pixels, and what is too much."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bringback.errors import CodecError

MAX_PIXELS = 178_956_970  # of one photo; more is taken for a file made to eat up all memory, as Pillow takes it


@dataclass(frozen=True)
class Container:
    """What a picture file holds besides its pixels; the fields are those of `Photo`."""

    format: str = "PNG"
    exif: bytes | None = None
    icc: bytes | None = None
    dpi: tuple[float, float] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raise `CodecError` for a photo of more pixels than that; to be asked before any are decoded."""
    if width * height > max_pixels:
        limit = f"{max_pixels / 1e6:.3g} million are the limit"
        raise CodecError(f"too large: {width}x{height} pixels, {limit}: allow more with --max-pixels")


def missing(kind: str) -> CodecError:
    """The error for a file that needs a package which is not installed."""
    return CodecError(f'{kind} files need one more package: pip install "bringback[io]"')
