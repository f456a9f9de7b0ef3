"""What shows through broad marks: stains, tape and tide lines let the picture be seen, only lighter or darker."""

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from torch import Tensor

_SPREAD = 24.0  # pixels of the native scale: standard deviation of what counts as the tone of a place
_RIM, _INSIDE = 5.0, 12.0  # pixels from the edge of a mark where detail begins to be its picture's, and where all is
_EDGE = 1.5  # pixels beside the edge of a mark, which show both
_LOST = 1.6  # times as strong detail is without the veil
_MOST = 0.6  # of the strength of detail around the mark, which it does not exceed
_TILE = 512  # side in pixels
_REACH = 2.5  # deviations of the Gaussian that are looked at
_WIDEST = 2.0  # times the pixels: of scans with more, a place is less wide, for the memory that its tile takes
_COARSE = 4  # pixels of the native scale: means are taken of averages of so many

Veiled = list[tuple[slice, slice, Tensor]]


def seen_through(pixels: Tensor, marks: Tensor, scale: float = 1.0) -> Veiled:
    """The detail of a photo (1, 3, H, W) inside broad marks (1, 1, H, W), bool: (rows, columns, detail (1, 3, h, w)).

    Detail is what differs from the mean of the mark around it. It is weaker than that of the picture around the
    mark, so opaque marks have little of it and cracks do not come back. `scale` is the native scale. Add it to the
    filled photo.
    """
    found: Veiled = []
    reach = round(_REACH * _SPREAD * min(scale, _WIDEST) + _INSIDE * scale)
    for rows, columns in _tiles(marks):
        if not marks[..., rows, columns].any():
            continue
        outer = [slice(max(side.start - reach, 0), side.stop + reach) for side in (rows, columns)]
        part, on = pixels.detach()[..., outer[0], outer[1]], marks[0, 0, outer[0], outer[1]]
        detail = _detail(part[0].permute(1, 2, 0).cpu().numpy(), on.cpu().numpy().astype(np.uint8), scale)
        if detail is None:
            continue
        down, across = rows.start - outer[0].start, columns.start - outer[1].start
        own = detail[down : down + rows.stop - rows.start, across : across + columns.stop - columns.start]
        if own.any():
            found.append((rows, columns, torch.from_numpy(own).permute(2, 0, 1)[None].to(torch.float16)))
    return found


def add_(pixels: Tensor, veiled: Veiled) -> None:
    """Add what `seen_through` found to the filled photo, in place; the result is in [0, 1]."""
    for rows, columns, detail in veiled:
        part = pixels[..., rows, columns]
        part.add_(detail.to(part)).clamp_(0, 1)


def _tiles(marks: Tensor) -> Iterator[tuple[slice, slice]]:
    height, width = marks.shape[-2:]
    for top in range(0, height, _TILE):
        for left in range(0, width, _TILE):
            yield slice(top, min(top + _TILE, height)), slice(left, min(left + _TILE, width))


def _detail(picture: np.ndarray, on: np.ndarray, scale: float) -> np.ndarray | None:
    """The detail (h, w, 3) inside marks (h, w) of a picture; None where no mark is broad."""
    depth = cv2.distanceTransform(on, cv2.DIST_L2, 5) / scale
    shown = ((depth - _RIM) / (_INSIDE - _RIM)).clip(0, 1)
    if not shown.any():
        return None
    inside = (depth >= _EDGE).astype(np.float32)
    around = (cv2.distanceTransform(1 - on, cv2.DIST_L2, 5) / scale > _EDGE).astype(np.float32)
    height, width = on.shape
    coarse = _COARSE * min(scale, _WIDEST)
    small = tuple(max(round(side / coarse), 1) for side in (width, height))

    def mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
        total, seen = (
            cv2.GaussianBlur(cv2.resize(part, small, interpolation=cv2.INTER_AREA), (0, 0), _SPREAD / _COARSE)
            for part in (values * weights[..., None], weights)
        )
        ratio = total.reshape(*seen.shape, -1) / np.maximum(seen, 1e-3)[..., None]
        return cv2.resize(ratio, (width, height)).reshape(values.shape)

    own = _LOST * (picture - mean(picture, inside))
    most = np.sqrt(mean(np.square(picture - mean(picture, around)).mean(2, keepdims=True), around))
    strength = np.sqrt(np.square(own).mean(2, keepdims=True))
    return own * np.minimum(1, _MOST * most / np.maximum(strength, 1e-6)) * (shown * inside)[..., None]
