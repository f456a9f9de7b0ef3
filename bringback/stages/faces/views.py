"""Two views of each face for the generator, in one picture: as it is, and as it came, with the tone and fill of now."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bringback.models.faces.generator import Box, FaceGenerator
from bringback.ops.color import luminance
from bringback.ops.masks import ramp
from bringback.ops.windows import window_maxima, window_means
from bringback.stages.faces.alignment import align

# How much of the difference between a face as it came and as it is the generator is shown: of what is finer than so
# many pixels, and not than the size before. Fine differences are mostly noise, broad ones what a translation lost.
SHARES = ((3, 0.14), (7, 0.2), (27, 0.37))
# The most of it, as root mean square: more is strong noise, of which blotches stay on the skin.
SHOWN = 1.2 / 255
SAME = 1 / 255  # root mean square of the difference below which both views are one picture
# How far the stages before changed a face (root mean square) that was worn, and one that they changed at all. What they
# left as it came is sound: the generator would take up to 17 dB from it.
WORN, CHANGED = 0.02, 0.3 / 255
ALIKE, MOST = 0.9, 2.0  # least correlation of both views' tones, greatest gain between them
# A face that was hardly worn keeps this share of what is finer than the last of `SHARES` in it as it came: the networks
# take more from such faces than wear did. Ramps of how far the refined face is from that (root mean square of luminance
# in the middle band, the finest band), between which the share falls to 0. On half of 177 worn training portraits that
# share of a face with less is nearer to the truth or as near, of one with more farther.
KEPT, MIDDLE, FINEST = 0.6, (2.5 / 255, 3.3 / 255), (1.2 / 255, 1.8 / 255)
# A face that was worn more keeps this share of what is between the last two of `SHARES` in it: a translation takes some
# of who that is with the noise, of which little is as broad. On 120 worn training portraits 0.35 brings identity nearer
# by 0.0011 and costs nothing; 0.5 costs 0.005 dB. Nothing where both views are one picture.
KEPT_BROAD = 0.35
_COARSE = 16  # blocks a side by whose means tones are compared
# Share to which a place of a crop was filled from which on nothing is taken of it, or of its neighbors, as they came:
# in a crop that is shrunk a thin scratch fills no pixel, and shows beside those that it fills.
_FILLED = 0.25


class TwoViews(nn.Module):
    """A generator that sees more of each face than one picture of it: its mirror image, or how it came.

    Called like the generator it is a self-ensemble, the mean of a face and its mirror image. Of faces that a stage has
    cleaned it is known how they came, and `mixed` makes as much of them in a single look.
    """

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, crops: Tensor, mask: Tensor, box: Box | None = None) -> Tensor:
        """Crops (B, 3, S, S) and the mask of what was filled (B, 1, S, S) -> refined crops.

        `box`: what is needed, the same when mirrored, see `FaceGenerator.inside`; outside it is not to be used. The
        generator gets as many at once as there are crops; for a single one, both, which is still less than a tile.
        """
        make = self._inside(box)
        size = max(2, len(crops))  # a crop and its mirror image together are a bit faster
        both = [torch.cat([one, one.flip(3)]).split(size) for one in (crops, mask)]
        made, mirrored = torch.cat([make(*parts) for parts in zip(*both, strict=True)]).chunk(2)
        return (made + mirrored.flip(3)) / 2

    def mixed(self, crops: Tensor, mask: Tensor, came: Tensor, box: Box | None = None) -> Tensor:
        """What the generator makes of crops that have some of how the faces `came` (B, 3, S, S) in them, see `SHARES`.

        The rest is as for a call.
        """
        shown = _share(luminance(came - crops))
        # the root has no gradient at 0, where nothing changed
        much = shown.square().mean((1, 2, 3), keepdim=True).clamp_min(SHOWN**2).sqrt()
        return self._inside(box)((crops + shown * (SHOWN / much)).clamp(0, 1), mask)

    def _inside(self, box: Box | None) -> Callable[..., Tensor]:
        """The generator for what is needed."""
        if box and isinstance(self.generator, FaceGenerator):
            return partial(self.generator.inside, box=box)
        return self.generator


def _one_picture(crops: Tensor, came: Tensor) -> Tensor:
    """Which of both views (B, 3, S, S) are one picture: bool (B, 1, 1, 1)."""
    apart = torch.linalg.vector_norm(came - crops, dim=(1, 2, 3), keepdim=True)
    return apart < SAME * crops[0].numel() ** 0.5


def _share(difference: Tensor) -> Tensor:
    """What the generator is shown of a difference (B, 1, S, S), see `SHARES`."""
    total, finer = torch.zeros_like(difference), difference
    for size, share in SHARES:
        broader = window_means(difference, size, size)
        total += share * (finer - broader)
        finer = broader
    return total


def kept(crops: Tensor, came: Tensor, refined: Tensor, box: Box | None = None) -> Tensor:
    """What refined faces (B, 3, S, S) are to keep of how they came (same shape): luminance (B, 1, S, S), see `KEPT` and
    `KEPT_BROAD`.

    `box`: where they were refined.
    """
    difference = luminance(came - refined)
    soft = window_means(difference, SHARES[0][0], SHARES[0][0])
    softer = window_means(soft, SHARES[1][0], SHARES[1][0])
    broad = softer - window_means(softer, SHARES[2][0], SHARES[2][0])
    middle, finest = soft - softer, difference - soft
    left, top, right, bottom = box or (0, 0, difference.shape[-1], difference.shape[-2])
    far, fine = (
        # the root has no gradient at 0, where nothing changed
        one[..., top:bottom, left:right].square().mean((1, 2, 3), keepdim=True).clamp_min(1e-12).sqrt()
        for one in (middle + broad, finest)
    )
    share = KEPT * ramp(far, *reversed(MIDDLE))
    least = torch.where(_one_picture(crops, came), 0.0, KEPT_BROAD)
    return share * (middle + ramp(fine, *reversed(FINEST)) * finest) + torch.maximum(share, least) * broad


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
