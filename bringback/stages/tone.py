"""Stage `tone`: corrects fading, color casts and lost contrast with one curve per channel."""

from typing import Self

import torch
from torch import Tensor

from bringback.images.adapters import accepts_any_image
from bringback.models.tone import ToneCurves, bend, cumulated, doubted, one_for_gray
from bringback.ops.metrics import mean_change
from bringback.ops.strips import STRIP, strips
from bringback.runtime.compute import Compute
from bringback.stages.base import StageBase
from bringback.stages.record import Restoration
from bringback.weights.checkpoints import Checkpoints


class ToneCorrector(StageBase):
    """Corrects fading. Damaged pixels do not influence the curves, but are corrected like the rest.

    Photos are processed in strips, so memory beyond photo, mask and result does not grow with their size.
    """

    name = "tone"

    def __init__(
        self, network: ToneCurves, compute: Compute | torch.device | str = "cpu", strength: float = 1.0
    ) -> None:
        self.network, self.compute, self.strength = network, Compute.of(compute), strength

    @classmethod
    def from_checkpoints(cls, checkpoints: Checkpoints, compute: Compute | torch.device) -> Self:
        """With the checkpoint `tone`."""
        return cls(checkpoints.load("tone", ToneCurves, Compute.of(compute).device), compute)

    def needs(self, height: int, width: int, tile: int | None) -> int:
        """Bytes in addition to photo, pixels and mask: the result, and a strip being processed."""
        return 12 * height * width + 140 * min(height * width, STRIP)

    @accepts_any_image
    def correct(self, pixels: Tensor, mask: Tensor | None = None) -> Tensor:
        """Photos (B, 3, H, W) and damage masks (B, 1, H, W) or None -> corrected photos, all in [0, 1]."""
        mask = torch.zeros_like(pixels[:, :1]) if mask is None else mask
        looked_at = self.network.thumbnail(pixels, mask), cumulated(pixels, mask)
        curves = self.network.curves(*(part.to(self.compute.device) for part in looked_at))
        curves = one_for_gray(pixels, doubted(curves))
        corrected = torch.empty_like(pixels)
        for rows in strips(pixels):
            part = pixels[..., rows, :].to(self.compute.device)
            corrected[..., rows, :] = bend(part, curves, self.strength).clamp(0, 1)
        return corrected

    def __call__(self, restoration: Restoration) -> Restoration:
        """Correct the photo's tones. Notes the mean absolute change, in [0, 1] units."""
        before = restoration.pixels
        restoration.pixels = self.correct(before, restoration.damage())
        restoration.notes[self.name] = {"mean_change": round(mean_change(restoration.pixels, before), 4)}
        return restoration
