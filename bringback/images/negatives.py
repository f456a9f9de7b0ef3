"""Invert a scanned negative."""

import numpy as np

from bringback.images.photo import Photo

_BASE, _DENSEST = 99.5, 0.5  # percentiles: film that no light has reached, and the densest; dust and holes lie beyond
_LOOKED_AT = 1 << 20  # about so many pixels, evenly spread, are looked at
_FLAT = 1 / 255  # the least range of a channel


def inverted(photo: Photo) -> Photo:
    """The positive of a scanned negative: each channel is mirrored, so that black is the film's base and white the
    densest film.

    The base is what the brightest percentile of a channel has, the mask of color film with it, whose orange so becomes
    neutral. This is linear in sRGB values; it knows no film, and casts that are left are those of the dyes.
    """
    pixels = photo.pixels
    every = max(1, int((pixels[..., 0].size / _LOOKED_AT) ** 0.5))
    densest, base = np.percentile(pixels[::every, ::every], (_DENSEST, _BASE), axis=(0, 1)).astype(np.float32)
    positive = base - pixels
    positive /= np.maximum(base - densest, _FLAT)
    return photo.with_pixels(positive.clip(0, 1, out=positive))
