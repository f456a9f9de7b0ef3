"""Two views of each face for the generator: as it is, and as it came, with the tone and fill of now."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bringback.models.faces.generator import Box, FaceGenerator
from bringback.ops.color import luminance
from bringback.ops.masks import ramp
from bringback.ops.windows import window_maxima, window_means
from bringback.stages.faces.alignment import align

# How far the stages before changed a face (root mean square) that was worn, and one that they changed at all. What they
# left as it came is sound: the generator would take up to 17 dB from it.
WORN, CHANGED = 0.02, 0.3 / 255
ALIKE, MOST = 0.9, 2.0  # least correlation of both views' tones, greatest gain between them
# A face that was hardly worn keeps this share of its detail as it came (what is broader than 3 pixels, as finer is
# noise, and finer than 27): the networks take more from such faces than wear did. Between both root mean squares of how
# far the refined face is from that, the share falls to 0.
KEPT, HARDLY = 0.6, (2 / 255, 2.8 / 255)
_FINEST, _BROAD = 3, 27
_COARSE = 16  # blocks a side by whose means tones are compared
# Share to which a place of a crop was filled from which on nothing is taken of it, or of its neighbors, as they came:
# in a crop that is shrunk a thin scratch fills no pixel, and shows beside those that it fills.
_FILLED = 0.25


class TwoViews(nn.Module):
    """A generator that is told how each face came before a stage cleaned it, and sees its mirror image or not.

    Called like the generator it is a self-ensemble, the mean of a face and its mirror image. Where it is known how a
    face came, that tells nearly as much, and `once` is enough.
    """

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator
        self.train(generator.training)  # one that seems to learn would not be packed, see `runtime.compute.Cast`

    def forward(self, crops: Tensor, mask: Tensor, came: Tensor, box: Box | None = None) -> Tensor:
        """Crops (B, 3, S, S), the mask of what was filled (B, 1, S, S), and how they came -> refined crops.

        `box`: what is needed, the same when mirrored, see `FaceGenerator.inside`; outside it is not to be used. The
        generator gets as many at once as there are crops; for a single one, both, which is still less than a tile.
        """
        size = max(2, len(crops))  # a crop and its mirror image together are a bit faster
        both = [torch.cat([one, one.flip(3)]).split(size) for one in (crops, mask, came)]
        made = [self.once(some, filled, how, box) for some, filled, how in zip(*both, strict=True)]
        plain, mirrored = torch.cat(made).chunk(2)
        return (plain + mirrored.flip(3)) / 2

    def once(self, crops: Tensor, mask: Tensor, came: Tensor, box: Box | None = None) -> Tensor:
        """The same without the mirror image: half of the time."""
        if isinstance(self.generator, FaceGenerator):
            return self.generator.inside(crops, mask, box, came)
        return self.generator(crops, mask, came)


def kept(came: Tensor, refined: Tensor, box: Box | None = None) -> Tensor:
    """What refined faces (B, 3, S, S) are to keep of how they came (same shape): luminance (B, 1, S, S), see `KEPT`.

    `box`: where they were refined.
    """
    soft = window_means(luminance(came - refined), _FINEST, _FINEST)
    detail = soft - window_means(soft, _BROAD, _BROAD)
    left, top, right, bottom = box or (0, 0, detail.shape[-1], detail.shape[-2])
    # the root has no gradient at 0, where nothing changed
    far = detail[..., top:bottom, left:right].square().mean((1, 2, 3), keepdim=True).clamp_min(1e-12).sqrt()
    return KEPT * ramp(far, *reversed(HARDLY)) * detail


def changed_by(crop: Tensor, came: Tensor) -> float:
    """How far a face (3, S, S) is from how it came, as root mean square."""
    return float((crop - came).square().mean().sqrt())


def aligned(photo: np.ndarray, matrix: np.ndarray, size: int) -> Tensor:
    """The crop (3, S, S) of a photo (H, W, 3) under a similarity; plane by plane in memory, as sums with one number for
    each color take ten times as long with channels last.
    """
    return torch.from_numpy(np.ascontiguousarray(align(photo, matrix, size).transpose(2, 0, 1)))


def as_it_came(photo: np.ndarray, crop: Tensor, filled: Tensor, matrix: np.ndarray) -> Tensor | None:
    """A face (3, S, S) of the photo as it came (H, W, 3), with the tone of its `crop` now and what was filled in that.

    None if the tones of both do not go together: then they are not the same picture, and how it came is not known.
    Args: filled: (1, S, S), the share to which it was; matrix: takes the photo into the crop.
    """
    came = aligned(photo, matrix, crop.shape[-1])
    if filled.any():
        came = torch.lerp(came, crop, (window_maxima(filled[None])[0] / _FILLED).clamp_max(1))
    if torch.equal(came, crop):  # no stage has changed it
        return crop
    own, now = (F.adaptive_avg_pool2d(one, _COARSE).flatten(1) for one in (came, crop))
    mean, wanted = own.mean(1, keepdim=True), now.mean(1, keepdim=True)
    own, now = own - mean, now - wanted
    product, power = (own * now).sum(1, keepdim=True), own.square().sum(1, keepdim=True)
    gain = product / power.clamp_min(1e-6)
    if (product < ALIKE * (power * now.square().sum(1, keepdim=True)).sqrt()).any() or gain.max() > MOST:
        return None
    return ((came - mean[..., None]) * gain[..., None] + wanted[..., None]).clamp(0, 1)
