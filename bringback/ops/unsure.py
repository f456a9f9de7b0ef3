"""Marks of which a detector is sure nowhere: in a photo with hardly any damage they are seams, folds and hair."""

import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.ops.masks import CALM, lower_where_, peaks
from bringback.ops.views import View

_SEEN = 1 << 20  # pixels at which marks are looked at; in larger photos the surest of several pixels counts
# Log odds that the surest pixel of a mark has to have had where all odds were lowered by the most, `masks.CALM`. Of 168
# marks in 43 old photos, looked at one by one, 66 of 140 false ones have less, and 4 of 28 true ones.
_SURE = 3.5


def lower_unsure_(odds: Tensor, view: View, calmed: float) -> float:
    """Lower a detector's log odds (1, 1, H, W), in place, to 0 or less in marks that have no sure pixel.

    These are two thresholds, as of Canny (1986): damage is surest somewhere, and what merely looks like it nowhere. It
    holds where damage is rare, so as far as `masks.calm_` has lowered the odds: by `calmed`, 0 to `masks.CALM`. Among
    much damage, faint marks are mostly true. At most a megapixel is looked at. Returns the share of the photo that was
    marked and no longer is.
    """
    if calmed <= 0:
        return 0.0
    seen = F.adaptive_max_pool2d(odds.detach().cpu().float(), view.size(_SEEN))[0, 0].numpy()
    labels, largest = peaks(seen > 0, seen)
    unsure = largest < (_SURE - CALM) * calmed / CALM
    unsure[0] = False  # what is not marked
    if not unsure.any():
        return 0.0
    return lower_where_(odds, torch.from_numpy(unsure[labels])[None, None].float())
