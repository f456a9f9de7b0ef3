"""Stage `colorize`: predicts colors for gray photos and keeps their luminance exactly. Not a default stage."""

import math
import re
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.images.adapters import accepts_any_image
from bringback.models.colorizer import PATCH, ColorUNet, expected
from bringback.ops.color import chroma, luminance, rgb_to_lab, tinged
from bringback.ops.guided_filter import Guided
from bringback.ops.metrics import colorfulness
from bringback.ops.strips import STRIP, strips
from bringback.runtime.compute import Compute
from bringback.stages.base import StageBase
from bringback.stages.record import Restoration
from bringback.weights.checkpoints import Checkpoints

SHORT_SIDE = 192  # pixels of the network's input: colors depend on the context
TEMPERATURE = 0.5  # of the annealed mean of the predicted colors: 1 is pale, near 0 patchy
BELIEF = 0.85  # factor of the predicted colors: on validation photos the error at 1 is as large as that of gray
HINT_REACH = 2  # side, in blocks of `PATCH` pixels, of the square around a hint that gets its color


class Hint(NamedTuple):
    """A known color at pixel (`x`, `y`) of the photo: "#rrggbb", whose lightness is ignored."""

    x: float
    y: float
    color: str


class Colorizer(StageBase):
    """Colorizes gray and single-tint photos; photos with colors stay as they are.

    The U-Net sees a small copy of the whole photo; its output is upsampled along the photo's edges (`Guided`).
    """

    name = "colorize"

    def __init__(
        self,
        network: ColorUNet,
        compute: Compute | torch.device | str = "cpu",
        saturation: float = 1.0,
        hints: Sequence[Hint | Sequence] = (),
    ) -> None:
        """Args: saturation: 0 is gray, 1 as predicted, more is more colorful; hints: for every photo, `Hint` or
        [x, y, "#rrggbb"].

        Raises ValueError for a saturation below 0 or a hint with an invalid color.
        """
        if not 0 <= saturation < math.inf:
            raise ValueError(f"saturation {saturation:g}: wants 0 (grey), 1 (as believed) or more")
        self.network, self.compute, self.saturation = network, Compute.of(compute), saturation
        self.hints = [Hint(*hint) for hint in hints]
        for hint in self.hints:
            _ab(hint.color)

    @classmethod
    def from_checkpoints(
        cls,
        checkpoints: Checkpoints,
        compute: Compute | torch.device,
        saturation: float = 1.0,
        hints: Sequence[Hint | Sequence] = (),
    ) -> Self:
        """With the checkpoint `colorize`."""
        return cls(checkpoints.load("colorize", ColorUNet, Compute.of(compute).device), compute, saturation, hints)

    def needs(self, height: int, width: int, tile: int | None) -> int:
        """Bytes in addition to photo, pixels and mask: luminance, the result, the network's logits and a strip."""
        short, long = sorted((height, width))
        seen = min(short, SHORT_SIDE) ** 2 * long / short
        return int(16 * height * width + 700 * seen + 120 * min(height * width, STRIP) + 24 * SHORT_SIDE * width)

    @partial(accepts_any_image, colors=True)
    def colorize(self, pixels: Tensor, hints: Sequence[Hint] = ()) -> Tensor:
        """Colorize photos (B, 3, H, W) in [0, 1] from their luminance, which is kept.

        `hints` are added to the stage's own, for all photos. Raises ValueError for one outside the photo.
        """
        height, width = pixels.shape[-2:]
        light = luminance(pixels)
        scale = min(1.0, SHORT_SIDE / min(height, width))
        size = max(1, round(height * scale)), max(1, round(width * scale))
        small = F.interpolate(light, size, mode="bilinear", antialias=True, align_corners=False)
        ab = self._believed(
            small.to(self.compute.device), _told([*self.hints, *hints], (height, width), size).to(self.compute.device)
        )
        guide = Guided.of(small, chroma(small, ab.to(small.device)))
        result = torch.empty_like(pixels)
        for rows in strips(pixels):
            part = light[..., rows, :]
            result[..., rows, :] = tinged(part, BELIEF * self.saturation * guide.upsampled(part, rows, height))
        return result

    def _believed(self, small: Tensor, told: Tensor) -> Tensor:
        """Predict a* and b* (B, 2, H, W) for luminance (B, 1, H, W), averaged over the photo and its mirror image."""
        told = told.expand(len(small), -1, -1, -1)
        with self.compute.autocast():
            logits = self.network(small, told).float()
            # padding is on the right: the blocks of the mirror image are aligned only without it
            if small.shape[-1] % PATCH == 0:
                logits = (logits + self.network(small.flip(-1), told.flip(-1)).float().flip(-1)) / 2
        ab = expected(logits, TEMPERATURE)
        ab = F.interpolate(ab, scale_factor=PATCH, mode="bilinear", align_corners=False)
        return ab[..., : small.shape[-2], : small.shape[-1]]

    def __call__(self, restoration: Restoration) -> Restoration:
        """Colorize the photo. Notes its `metrics.colorfulness`, or that it has colors of its own, and warns of that."""
        if restoration.judged and restoration.tint is None:
            restoration.notes[self.name] = {"kept": "the photo has colours of its own"}
            restoration.warnings.append("not colorized: the photo has colors of its own")
            return restoration
        restoration.pixels, restoration.colored = self.colorize(restoration.pixels), True
        small = F.adaptive_avg_pool2d(restoration.pixels, SHORT_SIDE)
        restoration.notes[self.name] = {"colourfulness": round(float(colorfulness(small)), 4)}
        return restoration


def _told(hints: Sequence[Hint], size: tuple[int, int], small: tuple[int, int]) -> Tensor:
    """The network's hint input (1, 3, h, w), of size `small`, for a photo of `size`."""
    told = torch.zeros(1, 3, *small)
    for hint in hints:
        if not (0 <= hint.x < size[1] and 0 <= hint.y < size[0]):
            raise ValueError(f"a hint at ({hint.x:g}, {hint.y:g}) is outside a photo of {size[1]}x{size[0]} pixels")
        color = torch.cat([torch.ones(1), _ab(hint.color) / 110])
        row, column = int(hint.y * small[0] / size[0]), int(hint.x * small[1] / size[1])
        reach = HINT_REACH * PATCH // 2
        place = told[0, :, max(row - reach, 0) : row + reach, max(column - reach, 0) : column + reach]
        place.copy_(color[:, None, None].expand_as(place))
    return told


def _ab(color: str) -> Tensor:
    """a* and b* of "#rrggbb"."""
    if not re.fullmatch("#[0-9a-fA-F]{6}", str(color)):
        raise ValueError(f"a hint's colour is written #rrggbb, not {color!r}")
    levels = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    return rgb_to_lab(torch.tensor(levels).view(1, 3, 1, 1))[0, 1:, 0, 0]
