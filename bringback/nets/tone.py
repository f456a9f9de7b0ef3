"""Tone curves: undo fading and casts by one smooth curve a channel, read off a thumbnail."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bringback.nets.blocks import Network


class ToneCurves(Network, license="apache-2.0", tags=["photo-restoration", "tone-mapping"]):
    """Photos (B, 3, H, W) in [0, 1] and damage masks (B, 1, H, W) -> curves (B, 3, knots), values at even steps over [0, 1].

    The thumbnail is an average over undamaged pixels only; beside it the network sees each channel's histogram, since
    fading is above all a matter of where the blacks and whites have gone. Curves rise everywhere.
    Args: side: of the thumbnail; width: of the convolutions; knots: of each curve; bins: of the histograms.
    """

    def __init__(self, side: int = 48, width: int = 32, knots: int = 17, bins: int = 32) -> None:
        super().__init__()
        self.side, self.knots, self.bins = side, knots, bins
        layers: list[nn.Module] = []
        channels = 4
        for out in (width, width * 2, width * 2, width * 4):
            layers += [nn.Conv2d(channels, out, 3, stride=2, padding=1), nn.SiLU()]
            channels = out
        self.look = nn.Sequential(*layers)
        self.decide = nn.Sequential(
            nn.Linear(channels + 3 * bins, 192), nn.SiLU(), nn.Linear(192, 192), nn.SiLU(), nn.Linear(192, 3 * (knots + 1))
        )
        last = self.decide[-1]
        nn.init.zeros_(last.weight)  # type: ignore[arg-type]
        # softplus(bias) = 1 / (knots - 1): the identity curve
        with torch.no_grad():
            last.bias.view(3, -1)[:, 0] = 0  # type: ignore[operator, union-attr]
            last.bias.view(3, -1)[:, 1:] = torch.tensor(1 / (knots - 1)).expm1().log()  # type: ignore[operator, union-attr]

    def thumbnail(self, pixels: Tensor, mask: Tensor) -> Tensor:
        """(B, 4, side, side): the mean colour of the undamaged pixels of each cell, and the share of them."""
        good = 1 - mask
        share = F.adaptive_avg_pool2d(good, self.side)
        colour = F.adaptive_avg_pool2d(pixels * good, self.side) / share.clamp_min(1e-3)
        return torch.cat([colour * 2 - 1, share], 1)

    def histogram(self, pixels: Tensor, mask: Tensor) -> Tensor:
        """(B, 3, bins): shares of the undamaged pixels, on a scale where one even bin is 1."""
        weight = (1 - mask).expand_as(pixels).flatten(2)
        index = (pixels.clamp(0, 1).flatten(2) * self.bins).long().clamp_max(self.bins - 1)
        counts = torch.zeros(*pixels.shape[:2], self.bins, device=pixels.device, dtype=weight.dtype)
        counts.scatter_add_(2, index, weight.contiguous())
        return counts / weight.sum(2, keepdim=True).clamp_min(1e-3) * self.bins

    def forward(self, pixels: Tensor, mask: Tensor) -> Tensor:
        seen = self.look(self.thumbnail(pixels, mask)).mean((-1, -2))
        shares = self.histogram(pixels, mask).clamp_max(8).sqrt()
        raw = self.decide(torch.cat([seen, shares.flatten(1)], 1)).view(-1, 3, self.knots + 1).float()
        return raw[..., :1] + F.pad(F.softplus(raw[..., 2:]).cumsum(-1), (1, 0))


def apply_curves(pixels: Tensor, curves: Tensor) -> Tensor:
    """Bend each channel of (B, C, H, W) by its curve (B, C, knots), linear between knots; not clamped."""
    steps = curves.shape[-1] - 1
    place = pixels.clamp(0, 1) * steps
    low = place.floor().clamp_max(steps - 1)
    index = low.long().flatten(2)
    left, right = (curves.gather(2, i).view_as(pixels) for i in (index, index + 1))
    return left + (right - left) * (place - low)
