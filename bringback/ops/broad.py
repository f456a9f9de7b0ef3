"""Broad marks that are doubtful: parts of a picture that a detector finds unusual, and that end nowhere."""

import cv2
import numpy as np
import torch
from torch import Tensor

from bringback.ops.again import Look, is_unseen
from bringback.ops.scale import averaged, enlarged_rows
from bringback.ops.strips import strips
from bringback.ops.views import View

_SEEN = 1 << 21  # pixels at which marks are looked at; larger photos are averaged first
_NARROW = 5  # pixels from the edge of a mark to its middle, up to which it is a scratch, a hair or a speck
_LEAST = 1000  # pixels of a broad mark
_BAND = 4  # pixels on each side of an outline in which log odds are compared
_AROUND = 20  # pixels around a mark in which its surroundings are looked at
_SOFT = 1.2  # pixels: standard deviation of the noise filter before gradients are taken
# A mark is doubtful if its mean log odds, and how far they fall at its outline, add up to less than this, and gradients
# at its outline are less than so many times as strong as around it. Chosen on 700 crops of training photos: a little
# above this, stains are lost that are worth up to 8 dB.
_DOUBT, _EDGE = 3.1, 2.0
_STANDS_OUT = 0.5  # log odds by which what is thin rises above a doubtful mark, if it is a scratch across it


def lower_doubtful_(odds: Tensor, view: View, look: Look | None = None) -> float:
    """Lower a detector's log odds (1, 1, H, W), in place, to 0 or less in broad marks that are doubtful.

    Damage ends somewhere: there the odds fall, and the photo has an edge. A cloth, a wall or a glare that is merely
    unusual is marked with middling odds that fade away, and its tones go on beyond the mark. Others are doubtful if the
    network hardly sees them at other sizes of the photo, see `again.is_unseen`; with `look`, which asks it. Thin marks
    across stay. At most two megapixels are looked at. Returns the share of the photo that was marked and no longer is.
    """
    size = view.size(_SEEN)
    seen = averaged(odds, size)[0, 0].numpy()
    marks = _broad(seen)
    if not marks:
        return 0.0
    light, lowered = view.light(size), np.zeros(size, np.float32)
    for place, own, near in marks:
        if _is_doubtful(seen[place], light[place], own) or (look and is_unseen(look, view, seen, place, own)):
            level = np.maximum(cv2.morphologyEx(seen[place], cv2.MORPH_OPEN, _square(_NARROW)), 0)
            level[seen[place] - level < _STANDS_OUT] += _STANDS_OUT
            lowered[place][near] = level[near]
    share = int(np.count_nonzero((seen > 0) & (seen <= lowered))) / lowered.size
    if lowered.any():
        planes, size = torch.from_numpy(lowered)[None, None], (odds.shape[-2], odds.shape[-1])
        for rows in strips(odds):
            odds[..., rows, :] -= enlarged_rows(planes, rows, size, "bilinear").to(odds)
    return share


def _square(reach: int) -> np.ndarray:
    return np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)


def _broad(odds: np.ndarray) -> list[tuple[tuple[slice, slice], np.ndarray, np.ndarray]]:
    """Places (rows, columns) around the broad marks of log odds (h, w): with the mark, uint8, and what is near, bool.

    A mark is what an opening by a disk leaves; two that touch are one. Near are its fringes, too.
    """
    on = (odds > 0).astype(np.uint8)
    core = (cv2.distanceTransform(on, cv2.DIST_L2, 5) > _NARROW).astype(np.uint8)
    if not core.any():
        return []
    wide = (cv2.distanceTransform(1 - core, cv2.DIST_L2, 5) <= _NARROW + 0.5).astype(np.uint8)
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(wide, connectivity=8)
    found = []
    for number, (left, top, across, down, area) in enumerate(boxes[1:].tolist(), 1):
        if area >= _LEAST:
            rows, columns = ((max(at - _AROUND, 0), at + side + _AROUND) for at, side in ((top, down), (left, across)))
            place = slice(*rows), slice(*columns)
            own = (labels[place] == number).astype(np.uint8)
            found.append((place, own & on[place], cv2.dilate(own, _square(_NARROW)) > 0))
    return found


def _is_doubtful(odds: np.ndarray, light: np.ndarray, own: np.ndarray) -> bool:
    """Whether a mark (h, w), uint8, may be no damage, by log odds and luminance (h, w) in it and around it.

    The edge of the photo is not its outline. A mark without surroundings is believed.
    """
    depth, away = (
        cv2.distanceTransform(np.pad(one, 1, mode="edge"), cv2.DIST_L2, 5)[1:-1, 1:-1] for one in (own, 1 - own)
    )
    beyond, around = (away > 0) & (away <= _BAND), (away > _BAND) & (odds <= 0)
    if not beyond.any() or not around.any():
        return False
    fall = odds[(depth > 0) & (depth <= _BAND)].mean() - odds[beyond].mean()
    if odds[own > 0].mean() + fall >= _DOUBT:
        return False
    soft = cv2.GaussianBlur(light, (0, 0), _SOFT)
    steep = np.hypot(cv2.Sobel(soft, cv2.CV_32F, 1, 0), cv2.Sobel(soft, cv2.CV_32F, 0, 1))
    return bool(steep[depth + away < 2.5].mean() < _EDGE * steep[around].mean())
