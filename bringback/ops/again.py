"""Second looks at broad marks: what a network sees at one size of a photo only is the picture, as a light forehead."""

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.ops.scale import shrink
from bringback.ops.views import Size, View

Look = Callable[[Tensor], Tensor]  # at photos (1, 3, h, w): a network's logits (1, 1, h, w)

_TIMES = (2.0, 1.0, 0.7)  # times its native scale at which a photo is looked at again
# Below these a mark's logits say that it is none: their mean in all looks, and in the look that is least sure. Of 90
# true marks on 60 portraits aged by two recipes none has less than -1.5 and none less than -3.8 in looks at the whole
# photo; shirts have -3.6 and -7, a light forehead -2.5 and -5.7.
_UNSEEN, _DENIED = -1.5, -4.5
# On a face the look of less than `_DENIED` is enough: of 26 true marks none has less than -3.6. On it is a mark with
# so much of itself in the box of a face, or above it by this share of the box's height, where forehead and hair are.
_ON_FACE, _ABOVE = 0.7, 0.5
_CERTAIN = 3.5  # mean log odds of a mark from which on it is not looked at again
_AROUND = 128  # native pixels around a mark that are looked at with it, or half of its size if that is more
_LEAST, _MOST = 128, 1 << 20  # pixels of the shorter side of what is looked at, and native pixels of all of it


def is_unseen(look: Look, view: View, odds: np.ndarray, place: tuple[slice, slice], own: np.ndarray) -> bool:
    """Whether a mark is hardly seen in the photo at other sizes.

    Args: look: gives a network's logits; odds: all log odds (H, W) as a guard sees them; place: rows and columns in
    them; own: the mark there (h, w), uint8. What is certain is seen, and so is what is too small or too large.
    """
    if odds[place][own > 0].mean() > _CERTAIN:
        return False
    more = max(_AROUND, max(own.shape) // 2)
    wide = [slice(max(at.start - more, 0), min(at.stop + more, n)) for at, n in zip(place, odds.shape, strict=True)]
    size = [at.stop - at.start for at in wide]
    finer = view.pixels.shape[-2] / odds.shape[0], view.pixels.shape[-1] / odds.shape[1]
    if min(size) < _LEAST or math.prod(size) * math.prod(finer) > _MOST * view.scale**2:
        return False
    rows, columns = (slice(round(at.start * k), round(at.stop * k)) for at, k in zip(wide, finer, strict=True))
    photo, means = view.pixels.detach()[..., rows, columns], list[float]()
    top, left = (at.start - far.start for at, far in zip(place, wide, strict=True))
    with torch.no_grad():
        for times in _TIMES:
            seen = F.interpolate(look(shrink(photo, view.scale * times)).cpu(), size, mode="bilinear")[0, 0].numpy()
            means.append(float(seen[top : top + own.shape[0], left : left + own.shape[1]][own > 0].mean()))
    if min(means) >= _DENIED:
        return False
    return sum(means) < _UNSEEN * len(_TIMES) or _on_face(view, (odds.shape[0], odds.shape[1]), place, own)


def _on_face(view: View, size: Size, place: tuple[slice, slice], own: np.ndarray) -> bool:
    """Whether most of a mark, as `is_unseen` gets it, is on one of the faces of a photo seen at this size."""
    rows, columns = (at.start + axis for at, axis in zip(place, np.nonzero(own), strict=True))
    for left, top, right, bottom in view.faces(size):
        top -= _ABOVE * (bottom - top)
        if np.mean((rows > top) & (rows < bottom) & (columns > left) & (columns < right)) > _ON_FACE:
            return True
    return False
