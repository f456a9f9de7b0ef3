"""Colour U-Net: which colours could a grey photo have had? (Zhang et al., "Colorful Image Colorization", 2016.)"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bringback.models.base import Network
from bringback.models.layers import pad_to
from bringback.models.unet import UShape

PATCH = 4  # pixels a side that become one place of the finest level
STEP = 10.0  # between two colours, in units of a* and b*
_LOW, _COUNTS = (-90.0, -110.0), (20, 22)  # the grid of a* and b*: all of sRGB lies on it


class ColourUNet(UShape, Network, license="apache-2.0", tags=["colorization", "photo-restoration"]):
    """Luminance (B, 1, H, W) in [0, 1] -> logits (B, 440, ceil(H / 4), ceil(W / 4)) of the colours on a grid of a*, b*.

    `hints` (B, 3, H, W) tell colours that are known: 1, a* / 110, b* / 110 there, zeros elsewhere (after Zhang et al.,
    "Real-Time User-Guided Image Colorization", 2017). A whole photo belongs into one call, at a short side of some 200
    pixels, as it learned: what a place is, its surroundings tell.
    Args: widths: channels of each level, the first at a quarter of the resolution; core: residual blocks at the bottom.
    """

    def __init__(self, widths: tuple[int, ...] = (64, 96, 128, 192), core: int = 1) -> None:
        super().__init__(4 * PATCH**2, widths, core)
        self.widths = tuple(widths)
        self.head = nn.Conv2d(widths[0], _COUNTS[0] * _COUNTS[1], 1)

    def look(self, light: Tensor, hints: Tensor | None = None) -> list[Tensor]:
        """What each level sees on the way down, the deepest last."""
        if hints is None:
            hints = light.new_zeros(len(light), 3, *light.shape[-2:])
        x = pad_to(torch.cat([light * 2 - 1, hints], 1), PATCH * 2 ** (len(self.widths) - 1))
        return self.descend(F.pixel_unshuffle(x, PATCH))

    def answer(self, seen: list[Tensor], size: tuple[int, int]) -> Tensor:
        """The logits of a photo of `size` after a `look` at it."""
        height, width = ((side + PATCH - 1) // PATCH for side in size)  # of negative numbers, ONNX divides otherwise
        return self.head(self.ascend(seen))[..., :height, :width]

    def forward(self, light: Tensor, hints: Tensor | None = None) -> Tensor:
        return self.answer(self.look(light, hints), (light.shape[-2], light.shape[-1]))


def expected(logits: Tensor, temperature: float) -> Tensor:
    """The annealed mean colour, a* and b* (B, 2, H, W): at temperature 1 the mean, pale; near 0 the likeliest."""
    share = (logits.float() / temperature).softmax(1)
    a, b = (low + STEP * torch.arange(count, device=logits.device) for low, count in zip(_LOW, _COUNTS, strict=True))
    return (torch.cartesian_prod(a, b).T @ share.flatten(2)).unflatten(2, share.shape[2:])


def on_grid(ab: Tensor) -> tuple[Tensor, Tensor]:
    """The four colours of the grid around each of (B, 2, H, W): their numbers and shares, both (B, 4, H, W).

    The shares sum to 1, and the colours so weighted give the colour back.
    """
    low = ab.new_tensor(_LOW).view(1, 2, 1, 1)
    place = ((ab - low) / STEP).clamp_min(0)
    place = torch.minimum(place, place.new_tensor(_COUNTS).view(1, 2, 1, 1) - 1.001)
    corner, part = place.floor(), place.frac()
    first = corner[:, 0] * _COUNTS[1] + corner[:, 1]
    numbers = torch.stack([first, first + 1, first + _COUNTS[1], first + _COUNTS[1] + 1], 1).long()
    (a, b), (not_a, not_b) = part.unbind(1), (1 - part).unbind(1)
    return numbers, torch.stack([not_a * not_b, not_a * b, a * not_b, a * b], 1)
