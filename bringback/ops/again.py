"""Second looks at broad marks: what a network sees at one size of a photo only is the picture, as a light forehead."""

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.ops.scale import shrink
from bringback.ops.views import View

Look = Callable[[Tensor], Tensor]  # at photos (1, 3, h, w): a network's logits (1, 1, h, w)

_TIMES = (2.0, 1.0, 0.7)  # times its native scale at which a photo is looked at again
# Below these a mark's logits say that it is none: their mean in all looks, and in the look that is least sure. Of 90
# true marks on 60 portraits aged by two recipes none has less than -1.5 and none less than -3.8 in looks at the whole
# photo; shirts have -3.6 and -7, a light forehead -2.5 and -5.7.
_UNSEEN, _DENIED = -1.5, -4.5
_REFUSED = -6.0  # and so does a single look that is this sure: the rays of a statue's crown have -6.7
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
    return min(means) < (_DENIED if sum(means) < _UNSEEN * len(_TIMES) else _REFUSED)
