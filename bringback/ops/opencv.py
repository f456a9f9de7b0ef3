"""Restoration without networks: damage by gradients, OpenCV's inpainting, denoising; all with 16-bit levels.

Pixels are (B, 3, H, W) in [0, 1], masks (B, 1, H, W) in [0, 1] with 1 = damaged, on any device; it is all computed on
the CPU, and the results are on the device of the pixels.
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
RADIUS = 5  # pixels around a hole that inpainting looks at
_MARGIN = RADIUS + 3  # of a window; with less, what is inpainted would differ from that of the whole photo

_FLAT = 1 / 255  # a photo whose steepest step is below one level of eight bits has no scratch

STRENGTH = 3.0  # deviation of the noise that is taken away, in levels of 255
_PATCH, _SEARCH = 7, 21  # pixels a side, of non-local means
_SPACE = 3.0  # deviation in pixels, of the bilateral filter
_SPREAD = 3.0  # how far colours of one surface lie apart, in deviations of the noise, for the bilateral filter
_HALO = (_PATCH + _SEARCH) // 2  # pixels around a strip that either looks at

_LEVELS = 65535


@dataclass(frozen=True, slots=True)
class GradientSettings:
    """What a damage mask by gradients takes for damage.

    `share` of the steepest gradient, in (0, 1], above which a pixel counts; `closing`, the radius in pixels in which
    those that count are joined; `smallest`, the pixels of the least component that is kept; `working`, pixels of the
    longer side at which it is all done: larger photos are made smaller before, and their masks larger again. Raises
    ValueError for values outside their range.
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
    """The damage mask of zeros and ones by how steep the luminance is (Sobel).

    What is steeper than a share of the steepest place is closed, so that the two edges of a scratch become one line,
    and small components are dropped. Edges of what the photo shows are found as well: no gradient tells them apart.
    A photo without any edge has an empty mask.
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
    kept[0] = False  # what is no component
    mask = kept[labels].astype(np.float32)
    if scale < 1:
        mask = (cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR) >= 0.5).astype(np.float32)
    return mask


def inpaint(pixels: Tensor, mask: Tensor, method: str) -> Tensor:
    """Photos with what their masks cover inpainted by OpenCV, `method` one of `INPAINTING`.

    "telea": Telea, "An image inpainting technique based on the fast marching method" (2004); "ns": Bertalmio et al.,
    "Navier-Stokes, fluid dynamics, and image and video inpainting" (2001). A mask of 0 gives the pixel back exactly, 1
    replaces it, between them the two are mixed; nothing is learnt from a pixel that is covered at all. Where a whole
    photo is covered the result is its mean colour. Only windows around holes are computed, channel by channel in 16
    bits: in floats of [0, 1] Telea's extrapolation, of about one level, would be as large as the range of colours.
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
    """Rows and columns of the fewest boxes that do not touch and hold all that is marked with a margin."""
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
    """The boxes of the connected components."""
    stats = cv2.connectedComponentsWithStats(marked, connectivity=8)[2][1:, :4].tolist()
    return [(slice(top, top + height), slice(left, left + width)) for left, top, width, height in stats]


def denoise(pixels: Tensor, method: str = "bilateral", strength: float = STRENGTH) -> Tensor:
    """Photos without noise, `method` one of `DENOISING`; `strength` is the noise's deviation in levels of 255.

    "nlm": non-local means of Buades et al., "A non-local algorithm for image denoising" (2005), in 16 bits;
    "bilateral": Tomasi and Manduchi, "Bilateral filtering for gray and color images" (1998), in floats. A strength of 0
    gives the photo back exactly. In strips of rows, which do not show.
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
    # OpenCV sums differences over the channels before it squares them, which takes a larger filter strength
    filtering = [deviation * _LEVELS * 3**0.5]
    clean = cv2.fastNlMeansDenoising(_levels(picture), filtering, None, _PATCH, _SEARCH, cv2.NORM_L1)
    return clean.astype(np.float32) / _LEVELS


def _bilateral(picture: np.ndarray, deviation: float) -> np.ndarray:
    return cv2.bilateralFilter(picture, -1, _SPREAD * deviation, _SPACE)


DENOISING: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {"nlm": _nlm, "bilateral": _bilateral}
