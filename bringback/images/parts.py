"""A print cut out of the photo of a page, turned, or at another size: with all that its file knows."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from bringback.images import codecs, jpeg, tiff, xmp
from bringback.images.photo import Photo
from bringback.ops.rectify import straightened


def with_infrared(photo: Photo) -> Photo:
    """The photo with the infrared page of its TIFF as a channel of unspecified use, which is written with it."""
    if photo.format != "TIFF" or photo.infrared is None or photo.extra.get("unspecified") is not None:
        return photo
    levels = photo.infrared
    if levels.dtype == np.uint8 and photo.bit_depth == 16:
        levels = levels * np.uint16(257)
    elif levels.dtype == np.uint16 and photo.bit_depth == 8:
        levels = np.rint(levels / np.float32(257)).astype(np.uint8)
    told = [line for line in photo.warnings if line not in (codecs.INFRARED_PAGE, codecs.MASK_PAGE)]
    extra = {**photo.extra, "unspecified": levels[..., None]}
    return replace(photo, infrared=levels, extra=extra, warnings=(*told, codecs.unspecified_kept(1)))


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
    return _part(replace(photo, pixels=straightened(photo.pixels, corners), alpha=alpha, extra=extra, **whole))


def resized(photo: Photo, pixels: np.ndarray) -> Photo:
    """A copy with other pixels (H, W, 3), perhaps of another size: then the same print with more pixels an inch.

    Alpha and all other channels are enlarged by cubic interpolation. The resolution is scaled, wherever the file tells
    it, so that the print keeps its size; so are the sizes in EXIF and XMP, and regions in XMP that are in pixels.
    """
    (before, wide), (height, width) = photo.pixels.shape[:2], pixels.shape[:2]
    if (before, wide) == (height, width):
        return photo.with_pixels(pixels)

    def large(planes: np.ndarray | None) -> Any:
        if planes is None or planes.ndim == 2:
            return None if planes is None else cv2.resize(planes, (width, height), interpolation=cv2.INTER_CUBIC)
        return np.stack([large(planes[..., k]) for k in range(planes.shape[2])], axis=2)

    across, down = width / wide, height / before
    extra = dict(photo.extra)
    if "unspecified" in extra:
        extra["unspecified"] = large(extra["unspecified"])
    if "extra" in extra:
        extra["extra"] = jpeg.with_resolution(extra["extra"], across, down)
    known: dict[str, Any] = {name: large(getattr(photo, name)) for name in ("levels", "infrared")}
    known["alpha"] = None if photo.alpha is None else np.clip(large(photo.alpha), 0, 1)
    known["dpi"] = photo.dpi and (photo.dpi[0] * across, photo.dpi[1] * down)
    known["exif"] = photo.exif and tiff.with_resolution(photo.exif, across, down)

    def fit(packet: bytes) -> bytes:
        return xmp.resized(packet, (wide, before), (width, height))

    return _told(replace(photo, pixels=pixels, extra=extra, **known), fit)


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
    return _part(replace(photo, **arrays, dpi=dpi, extra=extra))


def _levels(planes: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Whole numbers (H, W) or (H, W, N), straightened."""
    if planes.ndim == 2:
        return straightened(planes, corners)
    return np.stack([straightened(planes[..., k], corners) for k in range(planes.shape[2])], axis=2)


def _part(photo: Photo) -> Photo:
    """A part of another photo, with EXIF and XMP that are true of its size."""
    height, width = photo.pixels.shape[:2]
    return _told(photo, lambda packet: xmp.of_part(packet, width, height))


def _told(photo: Photo, fit: Callable[[bytes], bytes]) -> Photo:
    """The photo with EXIF that is true of its size, and XMP changed by `fit`."""
    height, width = photo.pixels.shape[:2]
    exif, extra = photo.exif, dict(photo.extra)
    if exif:
        exif = tiff.upright(exif, width, height)
    if extra.get("xmp"):
        extra["xmp"] = fit(extra["xmp"])
        if jpeg.EXTENDED_XMP in extra.get("extra", b""):
            extra["extra"], extra["xmp"] = jpeg.fit_extended(extra["extra"], extra["xmp"], fit)
    return replace(photo, exif=exif, extra=extra)
