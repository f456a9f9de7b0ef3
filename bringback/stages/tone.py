"""Stage `tone`: fading, casts and lost contrast undone by one curve a channel."""

from typing import Any, Self

import torch
from torch import Tensor

from bringback.checkpoints import Checkpoints
from bringback.nets.tone import ToneCurves, apply_curves
from bringback.restoration import Restoration


def tone(network: ToneCurves, pixels: Tensor, mask: Tensor, strength: float = 1.0) -> Tensor:
    """Apply the network's curves to photos (B, 3, H, W); a photo whose channels are equal gets one curve for all.

    At strength 0 the pixels come back exactly.
    """
    curves = network(pixels, mask)
    grey = (pixels == pixels[:, :1]).flatten(1).all(1)[:, None, None]
    curves = torch.where(grey, curves.mean(1, keepdim=True), curves)
    return pixels + strength * (apply_curves(pixels, curves) - pixels)


class ToneCorrector:
    """Undo fading. The damage mask's pixels are not looked at, but are bent like the rest."""

    name = "tone"

    def __init__(self, network: ToneCurves, device: torch.device, strength: float = 1.0) -> None:
        self.network, self.device, self.strength = network, device, strength

    @classmethod
    def from_checkpoints(cls, checkpoints: Checkpoints, device: torch.device) -> Self:
        """With the checkpoint `tone`."""
        return cls(checkpoints.load("tone", ToneCurves, device), device)

    @torch.inference_mode()
    def correct(self, pixels: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, 3, H, W) and mask (B, 1, H, W) or None -> (B, 3, H, W), all in [0, 1]."""
        mask = torch.zeros_like(pixels[:, :1]) if mask is None else mask
        corrected = tone(self.network, pixels.to(self.device), mask.to(self.device), self.strength)
        return corrected.clamp(0, 1).to(pixels.device)

    def __call__(self, restoration: Restoration) -> Restoration:
        corrected = self.correct(restoration.pixels, restoration.damage())
        notes: dict[str, Any] = {"mean_change": round(float((corrected - restoration.pixels).abs().mean()), 4)}
        restoration.pixels, restoration.notes[self.name] = corrected, notes
        return restoration
