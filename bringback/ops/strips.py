"""Large pictures, a strip of rows at a time, so that what is computed of them never exists as a whole."""

from collections.abc import Iterator

from torch import Tensor

STRIP = 1 << 18  # pixels that are looked at or bent at a time


def strips(pixels: Tensor) -> Iterator[slice]:
    """Slices of rows that cut (B, C, H, W) into strips of about `STRIP` pixels, at least a row each."""
    height, width = pixels.shape[-2:]
    rows = max(1, STRIP // width)
    return (slice(top, top + rows) for top in range(0, height, rows))
