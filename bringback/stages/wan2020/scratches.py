"""Stage `scratches` of the original method: finds scratches in a copy with a short side of 256 pixels."""

from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.images.adapters import accepts_any_image
from bringback.models.wan2020.unet import PaperUNet
from bringback.ops.color import luminance
from bringback.ops.tiling import run_tiled
from bringback.runtime.compute import Compute
from bringback.stages.base import StageBase
from bringback.stages.record import Restoration
from bringback.stages.wan2020.resizing import resize, rounded
from bringback.weights.checkpoints import Checkpoints

_TILE, _OVERLAP = 2048, 256  # the copy of a panorama can be very long; others are one tile


class PaperScratchDetector(StageBase):
    """Finds scratches in a small gray copy of the photo; the mask is binary."""

    name = "scratches"

    def __init__(
        self,
        network: PaperUNet,
        compute: Compute | torch.device | str = "cpu",
        *,
        short_side: int = 256,
        threshold: float = 0.4,
    ) -> None:
        """Args: short_side: pixels of the copy's shorter side; threshold: probability from which a pixel is damaged.

        Raises ValueError for a side that is not a multiple of 16 from 32, or a threshold outside [0, 1].
        """
        if short_side < 32 or short_side % 16:
            raise ValueError(f"short_side {short_side}: wants a multiple of 16 from 32")
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold {threshold:g}: wants a probability, 0 to 1")
        self.network, self.compute = network, Compute.of(compute)
        self.short_side, self.threshold = short_side, threshold

    @classmethod
    def from_checkpoints(cls, checkpoints: Checkpoints, compute: Compute | torch.device, **settings: Any) -> Self:
        """With the checkpoint `paper_scratches`; `settings` are those of the constructor."""
        network = checkpoints.load("paper_scratches", PaperUNet, Compute.of(compute).device)
        return cls(network, compute, **settings)

    def needs(self, height: int, width: int, tile: int | None) -> int:
        """Bytes in addition to photo, pixels and mask: a rounded copy, and the feature maps of the small copy."""
        small = self.short_side**2 * max(height, width) // min(height, width)
        return 16 * height * width + 2_000 * min(small, _TILE**2)

    @accepts_any_image
    def detect(self, pixels: Tensor) -> Tensor:
        """Photos (B, 3, H, W) in [0, 1] -> their binary damage masks (B, 1, H, W)."""
        height, width = pixels.shape[-2:]
        gray = luminance(resize(pixels, (rounded(height, 16), rounded(width, 16)))).to(self.compute.device)
        scale = self.short_side / min(gray.shape[-2:])
        small = rounded(gray.shape[-2] * scale, 16), rounded(gray.shape[-1] * scale, 16)
        looked_at = F.interpolate(gray, small, mode="bilinear", align_corners=False)

        def look(tile: Tensor) -> Tensor:
            with self.compute.autocast():
                return self.network(tile).float()

        logits = run_tiled(look, [looked_at], tile=_TILE, overlap=_OVERLAP, multiple=16)
        found = F.interpolate(torch.sigmoid(logits), (height, width), mode="nearest")
        return (found >= self.threshold).to(pixels)

    def __call__(self, restoration: Restoration) -> Restoration:
        """Set the photo's damage mask; a given one is united with it. Notes the share of damaged pixels."""
        found = self.detect(restoration.pixels)
        restoration.mask = found if restoration.mask is None else torch.maximum(restoration.mask, found)
        restoration.notes[self.name] = {"damaged_share": round(float((restoration.mask > 0.5).float().mean()), 5)}
        return restoration
