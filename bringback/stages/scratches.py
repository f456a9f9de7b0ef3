"""Stage `scratches`: finds damage."""

import math
from typing import Any, Self

import torch
from torch import Tensor

from bringback.images.adapters import accepts_any_image
from bringback.models.unet import EAGER, ScratchUNet
from bringback.ops.masks import fill_mask
from bringback.ops.opencv import GradientSettings, gradient_mask
from bringback.ops.tiled_fill import filled
from bringback.ops.tiling import run_tiled
from bringback.runtime.compute import Compute
from bringback.stages.base import StageBase
from bringback.stages.record import Restoration
from bringback.weights.checkpoints import Checkpoints

TILE, OVERLAP = 640, 64
_A_PIXEL = 490  # bytes per pixel of a tile being processed, measured in float32
_GRADIENT = 14  # bytes per pixel with the method "gradient", measured

# Damage rarely covers more of a photo; a larger mask is mostly a false alarm, such as a sky taken for a stain.
_MOST = 0.35


METHODS = ("unet", "gradient")


class ScratchDetector(StageBase):
    """Finds scratches, dust, stains and cracks: by the scratch U-Net at the photo's own resolution, or by gradients."""

    name = "scratches"

    def __init__(self, means: ScratchUNet | GradientSettings, compute: Compute | torch.device | str = "cpu") -> None:
        """Args: means: the network, or the settings of `ops.opencv.gradient_mask`."""
        self.means, self.compute = means, Compute.of(compute)
        if not isinstance(means, GradientSettings):
            self.tile = self.compute.tile or TILE

    @classmethod
    def from_checkpoints(
        cls, checkpoints: Checkpoints, compute: Compute | torch.device, method: str = "unet", **settings: Any
    ) -> Self:
        """With the checkpoint `scratches`; with method "gradient" without one, `settings` are of `GradientSettings`.

        Raises ValueError for an unknown method or values out of range.
        """
        if method not in METHODS:
            raise ValueError(f"unknown detector {method!r}: one of {', '.join(METHODS)}")
        if method == "gradient":
            return cls(GradientSettings(**settings), compute)
        return cls(checkpoints.load("scratches", ScratchUNet, Compute.of(compute).device), compute, **settings)

    def needs(self, height: int, width: int, tile: int | None) -> int:
        """Bytes in addition to photo, pixels and mask; `tile` limits the stage's own tiles."""
        if isinstance(self.means, GradientSettings):
            return _GRADIENT * height * width
        return height * width + self.compute.tiles_need(height * width, self.tile, tile, _A_PIXEL)

    @accepts_any_image
    def detect(self, pixels: Tensor) -> Tensor:
        """Photos (B, 3, H, W) in [0, 1] -> their damage masks (B, 1, H, W) in [0, 1]; filling begins at 0.5.

        The network's logits for a photo and its mirror image are averaged (the self-ensemble of Lim et al. 2017),
        because their errors differ. If more than 35 % of a photo is above 0.5, all its logits are lowered until it is
        35 %. Gradient masks are binary.
        """
        if isinstance(self.means, GradientSettings):
            return gradient_mask(pixels, self.means)
        network = self.means

        def both(tile: Tensor) -> Tensor:
            tile = tile.to(self.compute.device)
            with self.compute.autocast():
                return (network(tile).float() + network(tile.flip(-1)).flip(-1).float()) / 2

        multiple = 2 ** len(network.widths)  # the grid of the deepest level
        tiling = {"tile": self.tile, "overlap": min(OVERLAP, self.tile // 2), "multiple": multiple}
        odds = run_tiled(both, [pixels], **tiling, batch=self.compute.batch).add_(EAGER)
        for number in range(len(odds)):
            photo = odds[number : number + 1]
            most = math.floor(_MOST * photo.numel())
            if int(torch.count_nonzero(photo > 0)) > most:  # rare; kthvalue takes several times the mask's memory
                photo.sub_(photo.flatten().kthvalue(photo.numel() - most).values)
        return odds.sigmoid_()

    def __call__(self, restoration: Restoration) -> Restoration:
        """Set the photo's damage mask; a given one is united with what is found.

        Notes the share of pixels above 0.5.
        """
        pixels, given = restoration.pixels, restoration.mask
        if given is not None:  # known damage must not cause false alarms around it
            pixels = filled(pixels, fill_mask(given), self.compute.device)
        found = self.detect(pixels)
        restoration.mask = found if given is None else torch.maximum(given, found)
        share = int(torch.count_nonzero(restoration.mask > 0.5)) / restoration.mask.numel()
        restoration.notes[self.name] = {"damaged_share": round(share, 5)}
        return restoration
