"""Tone curves: undo fading and casts by one smooth curve a channel, read off a thumbnail and histograms."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bringback.models.base import Network
from bringback.models.layers import glance, silence
from bringback.ops.strips import strips

_BINS = 256
# the error of a curve on a photo that has not faded, root mean square
_DOUBT = 0.035
_SHARES = (0.002, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.998)


class ToneCurves(Network, license="apache-2.0", tags=["photo-restoration", "tone-mapping"]):
    """Photos (B, 3, H, W) in [0, 1] and damage masks (B, 1, H, W) -> curves (B, 3, 33), values at even steps over 0..1.

    A curve first stretches the range that the channel really uses, then bends it. What that range is, is computed;
    how far to stretch it and how to bend it is learned, from where the quantiles lie and from what the photo shows.
    Damaged pixels are not looked at. Curves never fall. A fresh network gives the identity.
    Args: side: of the thumbnail; width: of the first convolution; hidden: of the decision; knots: of the bend.
    """

    samples = 33

    def __init__(self, side: int = 48, width: int = 24, hidden: int = 192, knots: int = 9) -> None:
        super().__init__()
        self.side, self.knots = side, knots
        self.look = glance(4, (width, 2 * width, 4 * width))
        seen = 4 * width + 3 * len(_SHARES) + 3 * 32
        last = nn.Linear(hidden, 3 * (knots + 1))
        silence(last)
        self.decide = nn.Sequential(nn.Linear(seen, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), last)

    def thumbnail(self, pixels: Tensor, mask: Tensor) -> Tensor:
        """(B, 4, side, side): the mean colour of the undamaged pixels of each cell, and the share of them."""
        height, cells = pixels.shape[-2], []
        for row in range(self.side):
            # the rows of the photo that adaptive pooling gives to this row of cells
            rows = slice(row * height // self.side, -(-(row + 1) * height // self.side))
            good = 1 - mask[..., rows, :]
            share = F.adaptive_avg_pool2d(good, (1, self.side))
            colour = F.adaptive_avg_pool2d(pixels[..., rows, :] * good, (1, self.side)) / share.clamp_min(1e-3)
            cells.append(torch.cat([colour * 2 - 1, share], 1))
        return torch.cat(cells, 2)

    def forward(self, pixels: Tensor, mask: Tensor) -> Tensor:
        return self.curves(self.thumbnail(pixels, mask), cumulated(pixels, mask))

    def curves(self, thumbnail: Tensor, cumulated: Tensor) -> Tensor:
        """The curves (B, 3, 33) of photos of which `thumbnail` and `cumulated` tell all that the network looks at."""
        shares = torch.tensor(_SHARES, device=cumulated.device)
        quantiles = (cumulated[:, :, None] < shares[:, None]).sum(-1) / _BINS
        seen = self.look(thumbnail).mean((-1, -2))
        facts = torch.cat([seen, quantiles.flatten(1) * 2 - 1, cumulated[..., 7::8].flatten(1) - 0.5], 1)
        raw = self.decide(facts).view(-1, 3, self.knots + 1).float()
        # 0 = leave the range alone (a fresh network), 1 = use all of it; a little beyond either is allowed
        stretch = 1.2 * torch.tanh(raw[..., :2])
        black = quantiles[..., :1] * stretch[..., :1]
        white = 1 - (1 - quantiles[..., -1:]) * stretch[..., 1:]
        places = torch.linspace(0, 1, self.samples, device=cumulated.device)
        used = ((places - black) / (white - black).clamp_min(0.05)).clamp(0, 1)
        steps = torch.exp(raw[..., 2:])
        bend = F.pad((steps / steps.sum(-1, keepdim=True)).cumsum(-1), (1, 0))
        return apply_curves(used[..., None], bend)[..., 0]


def cumulated(pixels: Tensor, mask: Tensor) -> Tensor:
    """(B, 3, 256): the share of undamaged pixels up to each level."""
    counts, total = [], []
    for rows in strips(pixels):
        part = pixels[..., rows, :]
        weight = (1 - mask[..., rows, :]).expand_as(part).flatten(2).contiguous()
        index = (part.clamp(0, 1).flatten(2) * (_BINS - 1)).round().long()
        none = torch.zeros(*part.shape[:2], _BINS, device=part.device, dtype=weight.dtype)
        counts.append(none.scatter_add_(2, index, weight))
        total.append(weight.sum(2, keepdim=True))
    # strips are summed as such: adding pixel by pixel, float32 would stop counting at 16.7 million
    return torch.stack(counts).sum(0).cumsum(2) / torch.stack(total).sum(0).clamp_min(1e-3)


def tone(network: ToneCurves, pixels: Tensor, mask: Tensor, strength: float = 1.0) -> Tensor:
    """Photos (B, 3, H, W) in [0, 1] bent by the network's curves, `strength` of the way; not clamped.

    Mask (B, 1, H, W), 1 = damaged. A photo whose channels are equal gets one curve for all. At strength 0 the pixels
    come back exactly.
    """
    return bend(pixels, one_for_grey(pixels, network(pixels, mask)), strength)


def doubted(curves: Tensor) -> Tensor:
    """Curves (B, 3, K) drawn back towards the identity, the more the less they say.

    A small change is as likely an error of the network as a fade of the photo. This is the shrinkage of a Wiener
    filter.
    """
    identity = torch.linspace(0, 1, curves.shape[-1], device=curves.device)
    change = curves - identity
    power = change.square().mean((1, 2), keepdim=True)
    return identity + change * power / (power + _DOUBT**2)


def one_for_grey(pixels: Tensor, curves: Tensor) -> Tensor:
    """The curves (B, 3, K), their mean in place of all three where a photo of (B, 3, H, W) has equal channels."""
    parts = (pixels[..., rows, :] for rows in strips(pixels))
    grey = torch.stack([(part == part[:, :1]).flatten(1).all(1) for part in parts]).all(0)
    return torch.where(grey[:, None, None].to(curves.device), curves.mean(1, keepdim=True), curves)


def bend(pixels: Tensor, curves: Tensor, strength: float) -> Tensor:
    """Photos (B, 3, H, W) `strength` of the way to what the curves (B, 3, K) make of them; not clamped."""
    return pixels + strength * (apply_curves(pixels, curves) - pixels)


def apply_curves(pixels: Tensor, curves: Tensor) -> Tensor:
    """Bend each channel of (B, C, H, W) by its curve (B, C, knots), linear between knots; not clamped."""
    steps = curves.shape[-1] - 1
    place = pixels.clamp(0, 1) * steps
    low = place.floor().clamp_max(steps - 1)
    index = low.long().flatten(2)
    left, right = (curves.gather(2, i).view_as(pixels) for i in (index, index + 1))
    return left + (right - left) * (place - low)
