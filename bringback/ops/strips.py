"""Process large images in strips of rows, to limit the memory of intermediate results."""

from collections.abc import Iterator

from torch import Tensor

STRIP = 1 << 18  # pixels in a strip


def strips(pixels: Tensor) -> Iterator[slice]:
    """Row slices that split (B, C, H, W) into strips of at most `STRIP` pixels, but at least one row each."""
    height, width = pixels.shape[-2:]
    rows = max(1, STRIP // width)
    return (slice(top, top + rows) for top in range(0, height, rows))
