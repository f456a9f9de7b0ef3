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

_UNSURE = 0.05  # how surely a photo has faded, below which it stays as it is, to the bit


class ToneCorrector(StageBase):
    """Corrects fading; leaves photos alone that have not faded.

    Damaged pixels do not influence the curves, but are corrected like the rest.

    Photos are processed in strips, so memory beyond photo, mask and result does not grow with their size.
    """

    name = "tone"
    in_areas = True

    def __init__(self, network: ToneCurves, compute: Compute | torch.device | str = "cpu") -> None:
        self.network, self.compute = network, Compute.of(compute)

    @classmethod
    def from_checkpoints(cls, checkpoints: Checkpoints, compute: Compute | torch.device) -> Self:
        """With the checkpoint `tone`."""
        return cls(checkpoints.load("tone", ToneCurves, Compute.of(compute).device), compute)

    def needs(self, height: int, width: int, tile: int | None) -> int:
        """Bytes in addition to photo, pixels and mask: the result, the mask of an area, and a strip being processed."""
        return 17 * height * width + 140 * min(height * width, STRIP)

    @accepts_any_image
    def correct(self, pixels: Tensor, mask: Tensor | None = None) -> Tensor:
        """Photos (B, 3, H, W) and damage masks (B, 1, H, W) or None -> corrected photos, all in [0, 1].

        The less surely a photo has faded, the less it is changed, see `ToneCurves.faded`.
        """
        return self._corrected(pixels, mask)[0].clamp(0, 1)

    def _corrected(self, pixels: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """The corrected photos, the same tensor if none has faded; and how surely each has, (B,) in [0, 1]."""
        mask = torch.zeros_like(pixels[:, :1]) if mask is None else mask
        thumbnail, shares = (
            part.to(self.compute.device) for part in (self.network.thumbnail(pixels, mask), cumulated(pixels, mask))
        )
        curves = one_for_gray(pixels, doubted(self.network.curves(thumbnail, shares)))
        with torch.no_grad():
            faded = self.network.faded(pixels, mask, thumbnail, shares, curves)
        faded = faded.where(faded >= _UNSURE, 0)
        if not faded.any():
            return pixels, faded
        strength = faded.view(-1, 1, 1, 1)
        corrected = torch.empty_like(pixels)
        for rows in strips(pixels):
            part = pixels[..., rows, :].to(self.compute.device)
            corrected[..., rows, :] = bend(part, curves, strength).clamp(0, 1)
        return corrected, faded

    def __call__(self, restoration: Restoration) -> Restoration:
        """Correct the tones of the photo, or of each of its picture areas; what is around those stays as it is.

        Notes how surely the photo (or the most faded area) has faded, and the mean absolute change of the photo (or of
        the most changed area, by itself), both in [0, 1]. Cyanotypes stay as they are, see `Tint.is_blue`,
        and so do areas that are pages of writing or lines, see `ops.pages`.
        """
        pixels, damage = restoration.pixels, restoration.damage()
        sure, change = 0.0, 0.0
        # the black of a blueprint is blue, and paper has the color it has: neither has faded
        if restoration.tint and restoration.tint.is_blue:
            restoration.notes[self.name] = {"faded": 0.0, "mean_change": 0.0}
            return restoration
        if not restoration.areas and not restoration.pages:
            restoration.pixels, faded = self._corrected(pixels, damage)
            sure = faded.item()
            change = mean_change(restoration.pixels, pixels) if sure else 0.0
        for number, area in enumerate(restoration.areas):
            if number in restoration.pages:
                continue
            part, around = pixels[area.part], ~area.inside().to(pixels.device)
            mask = damage[area.part].masked_fill(around.to(damage.device), 1)
            corrected, faded = self._corrected(part, mask)
            if corrected is part:
                continue
            area.keep_around_(corrected, part)
            sure = max(sure, faded.item())
            inside = max(around.numel() - around.sum().item(), 1)  # the rest of its box stays as it is
            change = max(change, mean_change(corrected, part) * around.numel() / inside)
            part.copy_(corrected)
        restoration.notes[self.name] = {"faded": round(sure, 2), "mean_change": round(change, 4)}
        return restoration
