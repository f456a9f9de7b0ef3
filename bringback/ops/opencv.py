"""Restoration without networks, with OpenCV: damage from gradients, inpainting, denoising.

Pixels are (B, 3, H, W) in [0, 1], masks (B, 1, H, W) in [0, 1] with 1 = damaged, on any device. Everything runs on the
CPU; results are on the device of the pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from bringback.ops.color import luminance
from bringback.ops.push_pull import mix
from bringback.ops.strips import strips

INPAINTING = {"telea": cv2.INPAINT_TELEA, "ns": cv2.INPAINT_NS}
RADIUS = 5  # inpainting radius in pixels
_MARGIN = RADIUS + 3  # around the holes of a window; with less, the result would differ from that of the whole photo

_FLAT = 1 / 255  # smallest step that counts as an edge: one 8-bit level

STRENGTH = 3.0  # default standard deviation of the noise to remove, in 8-bit levels
_PATCH, _SEARCH = 7, 21  # non-local means: side of patch and search window in pixels
_SPACE = 3.0  # bilateral filter: spatial sigma in pixels
_SPREAD = 3.0  # bilateral filter: color sigma as a multiple of the noise deviation
_HALO = (_PATCH + _SEARCH) // 2  # rows around a strip that either filter reads

_LEVELS = 65535


@dataclass(frozen=True, slots=True)
class GradientSettings:
    """Settings of `gradient_mask`.

    `share`: threshold as a part of the steepest gradient, in (0, 1]; `closing`: radius in pixels of the morphological
    closing, 0 or more; `smallest`: area in pixels of the smallest component kept, 0 or more; `working`: longer side in
    pixels, 16 or more, to which larger photos are scaled down (the mask is scaled back). Raises ValueError for values
    outside these ranges.
    """

    share: float = 0.17
    closing: int = 2
    smallest: int = 30
    working: int = 1600

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share {self.share:g}: wants a part of the steepest gradient, above 0 and up to 1")
        for name, least in (("closing", 0), ("smallest", 0), ("working", 16)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} {getattr(self, name)}: wants {least} pixels or more")


def gradient_mask(pixels: Tensor, settings: GradientSettings | None = None) -> Tensor:
    """Binary damage mask from Sobel gradients of the luminance.

    Thresholds the gradient at a share of its maximum, closes the result, so that the two edges of a scratch become one
    line, and drops small components. Edges of the subject are marked too: gradients alone cannot tell them apart. A
    photo without edges has an empty mask.
    """
    settings = settings or GradientSettings()
    masks = [_steep(plane[0].cpu().numpy(), settings) for plane in luminance(pixels)]
    return torch.from_numpy(np.stack(masks))[:, None].to(pixels)


def _steep(plane: np.ndarray, settings: GradientSettings) -> np.ndarray:
    height, width = plane.shape
    scale = settings.working / max(height, width)
    if scale < 1:
        small = max(round(width * scale), 1), max(round(height * scale), 1)
        plane = cv2.resize(plane, small, interpolation=cv2.INTER_AREA)
    across, down = (cv2.Sobel(plane, cv2.CV_32F, *order, scale=0.25) for order in ((1, 0), (0, 1)))
    steepness = cv2.magnitude(across, down)
    found = (steepness > max(settings.share * float(steepness.max()), _FLAT)).astype(np.uint8)
    side = 2 * settings.closing + 1
    joined = cv2.morphologyEx(found, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    kept = stats[:, cv2.CC_STAT_AREA] >= settings.smallest
    kept[0] = False  # the background
    mask = kept[labels].astype(np.float32)
    if scale < 1:
        mask = (cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR) >= 0.5).astype(np.float32)
    return mask


def inpaint(pixels: Tensor, mask: Tensor, method: str) -> Tensor:
    """Inpaint the masked pixels of photos with OpenCV; `method` is a key of `INPAINTING`.

    "telea": Telea, "An image inpainting technique based on the fast marching method" (2004); "ns": Bertalmio et al.,
    "Navier-Stokes, fluid dynamics, and image and video inpainting" (2001). A mask of 0 keeps the pixel exactly, 1
    replaces it, values in between blend. Pixels with a mask above 0 are never a source. A photo that is masked
    everywhere gets its mean color. Only windows around holes are computed, each channel in 16 bits: on floats in
    [0, 1], Telea's extrapolation, of about one level, would be as large as the range of colors.
    """
    result = pixels.clone()
    for photo, soft in zip(result, mask, strict=True):
        marked = (soft[0] > 0).cpu().numpy().astype(np.uint8)
        if marked.all():
            photo.copy_(mix(photo, 1 - soft, photo.mean((1, 2), keepdim=True)))
            continue
        for place in _windows(marked):
            part, holes = photo[:, *place], np.ascontiguousarray(marked[place])
            for channel, sound in zip(part, 1 - soft[:, *place].expand_as(part), strict=True):
                levels = _levels(channel.cpu().numpy())
                surface = cv2.inpaint(levels, holes, RADIUS, INPAINTING[method]).astype(np.float32) / _LEVELS
                channel.copy_(mix(channel, sound, torch.from_numpy(surface).to(channel)))
    return result


def _levels(values: np.ndarray) -> np.ndarray:
    return np.rint(np.ascontiguousarray(values).clip(0, 1) * _LEVELS).astype(np.uint16)


def _windows(marked: np.ndarray) -> list[tuple[slice, slice]]:
    """Rows and columns of disjoint boxes that hold all marked pixels with a margin; boxes that touch are merged."""
    boxes, margin = _boxes(marked), _MARGIN
    while True:
        painted = np.zeros_like(marked)
        for box in boxes:
            painted[tuple(slice(max(side.start - margin, 0), side.stop + margin) for side in box)] = 1
        joined = _boxes(painted)
        if len(joined) == len(boxes):
            return joined
        boxes, margin = joined, 0


def _boxes(marked: np.ndarray) -> list[tuple[slice, slice]]:
    """Bounding boxes of the connected components."""
    stats = cv2.connectedComponentsWithStats(marked, connectivity=8)[2][1:, :4].tolist()
    return [(slice(top, top + height), slice(left, left + width)) for left, top, width, height in stats]


def denoise(pixels: Tensor, method: str = "bilateral", strength: float = STRENGTH) -> Tensor:
    """Denoise photos; `method` is a key of `DENOISING`, `strength` the noise deviation in 8-bit levels.

    "nlm": non-local means of Buades et al., "A non-local algorithm for image denoising" (2005), in 16 bits;
    "bilateral": Tomasi and Manduchi, "Bilateral filtering for gray and color images" (1998), in floats. A strength of 0
    returns an exact copy. Works in strips of rows with enough overlap to leave no seams.
    """
    if strength == 0:
        return pixels.clone()
    result = torch.empty_like(pixels)
    for photo, made in zip(pixels, result, strict=True):
        for rows in strips(pixels):
            first = max(rows.start - _HALO, 0)
            part = photo[:, first : rows.stop + _HALO].permute(1, 2, 0).cpu().numpy()
            clean = DENOISING[method](np.ascontiguousarray(part, dtype=np.float32), strength / 255)
            place = made[:, rows]
            place.copy_(torch.from_numpy(clean).permute(2, 0, 1)[:, rows.start - first :][:, : place.shape[1]])
    return result


def _nlm(picture: np.ndarray, deviation: float) -> np.ndarray:
    # with NORM_L1 OpenCV sums differences over the channels before squaring, which needs a larger filter strength
    filtering = [deviation * _LEVELS * 3**0.5]
    clean = cv2.fastNlMeansDenoising(_levels(picture), filtering, None, _PATCH, _SEARCH, cv2.NORM_L1)
    return clean.astype(np.float32) / _LEVELS


def _bilateral(picture: np.ndarray, deviation: float) -> np.ndarray:
    return cv2.bilateralFilter(picture, -1, _SPREAD * deviation, _SPACE)


DENOISING: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {"nlm": _nlm, "bilateral": _bilateral}
