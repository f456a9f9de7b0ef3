"""Cut a print out of the photo of a page: a photo of its own, with all that the page's file knows."""

from dataclasses import replace
from typing import Any

import numpy as np

from bringback.images import jpeg, tiff, xmp
from bringback.images.photo import Photo
from bringback.ops.rectify import straightened


def cut_out(photo: Photo, corners: np.ndarray) -> Photo:
    """The print within the corners (4, 2) of a photo, straightened as in `rectify.straightened`.

    Format, depth, alpha, profile, resolution and metadata are those of the page. The sizes in EXIF and XMP become those
    of the print; regions in XMP, which name faces on the page, are left out.
    """
    extra = dict(photo.extra)
    if (more := extra.get("unspecified")) is not None:  # channels of a TIFF (H, W, N), as of infrared
        extra["unspecified"] = _levels(more, corners)
    alpha = None if photo.alpha is None else straightened(photo.alpha, corners)
    whole: dict[str, Any] = {
        name: None if (planes := getattr(photo, name)) is None else _levels(planes, corners)
        for name in ("levels", "infrared")
    }
    return _told(replace(photo, pixels=straightened(photo.pixels, corners), alpha=alpha, extra=extra, **whole))


def turned(photo: Photo, quarters: int) -> Photo:
    """The photo turned counterclockwise by so many quarters."""
    if quarters % 4 == 0:
        return photo

    def turn(array: np.ndarray | None) -> Any:
        return None if array is None else np.ascontiguousarray(np.rot90(array, quarters))

    extra = dict(photo.extra)
    if "unspecified" in extra:
        extra["unspecified"] = turn(extra["unspecified"])
    dpi = photo.dpi[::-1] if photo.dpi and quarters % 2 else photo.dpi
    arrays = {name: turn(getattr(photo, name)) for name in ("pixels", "alpha", "levels", "infrared")}
    return _told(replace(photo, **arrays, dpi=dpi, extra=extra))


def _levels(planes: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Whole numbers (H, W) or (H, W, N), straightened."""
    top = np.float32(np.iinfo(planes.dtype).max)
    if planes.ndim == 2:
        return np.rint(straightened(planes / top, corners) * top).astype(planes.dtype)
    return np.stack([_levels(planes[..., k], corners) for k in range(planes.shape[2])], axis=2)


def _told(photo: Photo) -> Photo:
    """The photo with EXIF and XMP that are true of its size."""
    height, width = photo.pixels.shape[:2]
    exif, extra = photo.exif, dict(photo.extra)
    if exif:
        exif = tiff.upright(exif, width, height)

    def fit(packet: bytes) -> bytes:
        return xmp.of_part(packet, width, height)

    if extra.get("xmp"):
        extra["xmp"] = fit(extra["xmp"])
        if jpeg.EXTENDED_XMP in extra.get("extra", b""):
            extra["extra"], extra["xmp"] = jpeg.fit_extended(extra["extra"], extra["xmp"], fit)
    return replace(photo, exif=exif, extra=extra)
