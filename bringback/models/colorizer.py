"""Color U-Net: colorization as classification (Zhang et al., "Colorful Image Colorization", 2016)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bringback.models.base import Network
from bringback.models.layers import pad_to
from bringback.models.unet import UShape

PATCH = 4  # side in pixels of the blocks that form the finest level
STEP = 10.0  # grid spacing in a* and b*
_LOW, _COUNTS = (-90.0, -110.0), (20, 22)  # the a*, b* grid, which covers sRGB


class ColorUNet(UShape, Network, license="apache-2.0", tags=["colorization", "photo-restoration"]):
    """Luminance (B, 1, H, W) in [0, 1] -> logits (B, 440, ceil(H / 4), ceil(W / 4)) over a grid of a*, b* colors.

    `hints` (B, 3, H, W) give known colors: 1, a* / 110, b* / 110 there, zeros elsewhere (after Zhang et al.,
    "Real-Time User-Guided Image Colorization", 2017). Pass the whole photo, not tiles, with a short side of about 200
    pixels, as in training: objects are recognized by their context.
    Args: widths: channels of each level, the first at a quarter of the resolution; core: residual blocks at the bottom.
    """

    def __init__(self, widths: tuple[int, ...] = (64, 96, 128, 192), core: int = 1) -> None:
        super().__init__(4 * PATCH**2, widths, core)
        self.widths = tuple(widths)
        self.head = nn.Conv2d(widths[0], _COUNTS[0] * _COUNTS[1], 1)

    def look(self, light: Tensor, hints: Tensor | None = None) -> list[Tensor]:
        """Encoder features of each level, the deepest last."""
        if hints is None:
            hints = light.new_zeros(len(light), 3, *light.shape[-2:])
        x = pad_to(torch.cat([light * 2 - 1, hints], 1), PATCH * 2 ** (len(self.widths) - 1))
        return self.descend(F.pixel_unshuffle(x, PATCH))

    def answer(self, seen: list[Tensor], size: tuple[int, int]) -> Tensor:
        """Logits of a photo of `size` from the features of `look`."""
        height, width = ((side + PATCH - 1) // PATCH for side in size)  # not -(-x // y): ONNX rounds differently
        return self.head(self.ascend(seen))[..., :height, :width]

    def forward(self, light: Tensor, hints: Tensor | None = None) -> Tensor:
        return self.answer(self.look(light, hints), (light.shape[-2], light.shape[-1]))


def expected(logits: Tensor, temperature: float) -> Tensor:
    """Annealed mean color, a* and b* (B, 2, H, W): at temperature 1 the mean, which is pale; near 0 the mode."""
    share = (logits.float() / temperature).softmax(1)
    a, b = (low + STEP * torch.arange(count, device=logits.device) for low, count in zip(_LOW, _COUNTS, strict=True))
    return (torch.cartesian_prod(a, b).T @ share.flatten(2)).unflatten(2, share.shape[2:])


def on_grid(ab: Tensor) -> tuple[Tensor, Tensor]:
    """Bilinear encoding of a*, b* (B, 2, H, W): indices and weights of the four nearest grid colors, both (B, 4, H, W).

    The weights sum to 1; the weighted mean of the grid colors is the input.
    """
    low = ab.new_tensor(_LOW).view(1, 2, 1, 1)
    place = ((ab - low) / STEP).clamp_min(0)
    place = torch.minimum(place, place.new_tensor(_COUNTS).view(1, 2, 1, 1) - 1.001)
    corner, part = place.floor(), place.frac()
    first = corner[:, 0] * _COUNTS[1] + corner[:, 1]
    numbers = torch.stack([first, first + 1, first + _COUNTS[1], first + _COUNTS[1] + 1], 1).long()
    (a, b), (not_a, not_b) = part.unbind(1), (1 - part).unbind(1)
    return numbers, torch.stack([not_a * not_b, not_a * b, a * not_b, a * b], 1)
