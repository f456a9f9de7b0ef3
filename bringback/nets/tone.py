"""Tone curves: undo fading and casts by one smooth curve a channel, read off a thumbnail and histograms."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bringback.nets.blocks import Network, silence

_BINS = 256
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
        layers: list[nn.Module] = []
        channels = 4
        for out in (width, width * 2, width * 4):
            layers += [nn.Conv2d(channels, out, 3, stride=2, padding=1), nn.SiLU()]
            channels = out
        self.look = nn.Sequential(*layers)
        seen = channels + 3 * len(_SHARES) + 3 * 32
        last = nn.Linear(hidden, 3 * (knots + 1))
        silence(last)
        self.decide = nn.Sequential(nn.Linear(seen, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), last)

    def thumbnail(self, pixels: Tensor, mask: Tensor) -> Tensor:
        """(B, 4, side, side): the mean colour of the undamaged pixels of each cell, and the share of them."""
        good = 1 - mask
        share = F.adaptive_avg_pool2d(good, self.side)
        colour = F.adaptive_avg_pool2d(pixels * good, self.side) / share.clamp_min(1e-3)
        return torch.cat([colour * 2 - 1, share], 1)

    def forward(self, pixels: Tensor, mask: Tensor) -> Tensor:
        cumulated = _cumulated(pixels, mask)
        shares = torch.tensor(_SHARES, device=pixels.device)
        quantiles = (cumulated[:, :, None] < shares[:, None]).sum(-1) / _BINS
        seen = self.look(self.thumbnail(pixels, mask)).mean((-1, -2))
        facts = torch.cat([seen, quantiles.flatten(1) * 2 - 1, cumulated[..., 7::8].flatten(1) - 0.5], 1)
        raw = self.decide(facts).view(-1, 3, self.knots + 1).float()
        # 0 = leave the range alone (a fresh network), 1 = use all of it; a little beyond either is allowed
        stretch = 1.2 * torch.tanh(raw[..., :2])
        black = quantiles[..., :1] * stretch[..., :1]
        white = 1 - (1 - quantiles[..., -1:]) * stretch[..., 1:]
        places = torch.linspace(0, 1, self.samples, device=pixels.device)
        used = ((places - black) / (white - black).clamp_min(0.05)).clamp(0, 1)
        steps = torch.exp(raw[..., 2:])
        bend = F.pad((steps / steps.sum(-1, keepdim=True)).cumsum(-1), (1, 0))
        return apply_curves(used[..., None], bend)[..., 0]


def _cumulated(pixels: Tensor, mask: Tensor) -> Tensor:
    """(B, 3, 256): the share of undamaged pixels up to each level."""
    weight = (1 - mask).expand_as(pixels).flatten(2).contiguous()
    index = (pixels.clamp(0, 1).flatten(2) * (_BINS - 1)).round().long()
    counts = torch.zeros(*pixels.shape[:2], _BINS, device=pixels.device, dtype=weight.dtype)
    counts.scatter_add_(2, index, weight)
    return counts.cumsum(2) / weight.sum(2, keepdim=True).clamp_min(1e-3)


def apply_curves(pixels: Tensor, curves: Tensor) -> Tensor:
    """Bend each channel of (B, C, H, W) by its curve (B, C, knots), linear between knots; not clamped."""
    steps = curves.shape[-1] - 1
    place = pixels.clamp(0, 1) * steps
    low = place.floor().clamp_max(steps - 1)
    index = low.long().flatten(2)
    left, right = (curves.gather(2, i).view_as(pixels) for i in (index, index + 1))
    return left + (right - left) * (place - low)
