"""Stage `denoise`: removes noise and grain without a network."""

from typing import Self

import torch
from torch import Tensor

from bringback.errors import known_names
from bringback.images.adapters import accepts_any_image
from bringback.ops.metrics import mean_change
from bringback.ops.opencv import DENOISING, STRENGTH, denoise
from bringback.ops.strips import STRIP
from bringback.runtime.compute import Compute
from bringback.stages.base import StageBase
from bringback.stages.record import Restoration
from bringback.weights.checkpoints import Checkpoints


class Denoiser(StageBase):
    """Denoises with a bilateral filter or non-local means, see `ops.opencv.denoise`; no network, not a default."""

    name = "denoise"

    def __init__(self, *, method: str = "bilateral", strength: float = STRENGTH) -> None:
        """Args: method: "bilateral", or "nlm", 25 times as slow; strength: deviation of the noise in 8-bit levels.

        Raises ValueError for an unknown method or a negative strength.
        """
        if method not in DENOISING:
            raise ValueError(f"unknown denoising {method!r}: one of {known_names(method, DENOISING)}")
        if not strength >= 0:
            raise ValueError(f"denoising strength {strength:g}: wants levels of 255, 0 or more")
        self.method, self.strength, self.compute = method, strength, Compute()

    @classmethod
    def from_checkpoints(
        cls,
        checkpoints: Checkpoints,
        compute: Compute | torch.device,
        *,
        method: str = "bilateral",
        strength: float = STRENGTH,
    ) -> Self:
        """Build the stage, which runs on the CPU and loads nothing."""
        return cls(method=method, strength=strength)

    def needs(self, height: int, width: int, tile: int | None) -> int:
        """Bytes in addition to photo, pixels and mask: the result, and a strip being processed."""
        return 12 * height * width + 60 * min(height * width, STRIP)

    @accepts_any_image
    def denoise(self, pixels: Tensor) -> Tensor:
        """Denoise photos (B, 3, H, W) in [0, 1]; without a gradient."""
        return denoise(pixels.detach(), self.method, self.strength)

    def __call__(self, restoration: Restoration) -> Restoration:
        """Denoise the photo. Notes the mean absolute change, in [0, 1] units."""
        before = restoration.pixels
        restoration.pixels = self.denoise(before)
        restoration.cleaned |= self.strength > 0
        restoration.notes[self.name] = {"mean_change": round(mean_change(restoration.pixels, before), 4)}
        return restoration
