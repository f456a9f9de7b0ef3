"""Stage `scratches`: where is the photo damaged?"""

import math
from typing import Self

import torch
from torch import Tensor

from bringback.checkpoints import Checkpoints
from bringback.inpaint import solid
from bringback.nets.unet import EAGER, ScratchUNet
from bringback.restoration import Restoration
from bringback.stages.fill import fill_tiled
from bringback.tiling import run_tiled

_TILE, _OVERLAP = 512, 64

# More than this share of a photo is seldom damaged; a network that says so has taken its sky for a stain.
_MOST = 0.35


class ScratchDetector:
    """Finds scratches, dust, stains and cracks with the scratch U-Net, at the photo's own resolution."""

    name = "scratches"

    def __init__(self, network: ScratchUNet, device: torch.device) -> None:
        self.network, self.device = network, device

    @classmethod
    def from_checkpoints(cls, checkpoints: Checkpoints, device: torch.device) -> Self:
        """With the checkpoint `scratches`."""
        return cls(checkpoints.load("scratches", ScratchUNet, device), device)

    @torch.inference_mode()
    def detect(self, pixels: Tensor) -> Tensor:
        """Photos (B, 3, H, W) in [0, 1] -> their damage masks (B, 1, H, W) in [0, 1], from a half to be filled.

        What the network says of a photo and of its mirror image is averaged (the self-ensemble of Lim et al. 2017),
        because it errs in different places. The odds are lowered all over a photo until no more than a third of it
        is above a half.
        """

        def both(tile: Tensor) -> Tensor:
            tile = tile.to(self.device)
            return (self.network(tile) + self.network(tile.flip(-1)).flip(-1)) / 2

        multiple = 2 ** len(self.network.widths)  # the grid of the deepest level
        odds = run_tiled(both, [pixels], tile=_TILE, overlap=_OVERLAP, multiple=multiple) + EAGER
        flat = odds.flatten(1)
        level = flat.kthvalue(math.ceil((1 - _MOST) * flat.shape[1])).values
        return torch.sigmoid(odds - level.clamp_min(0)[:, None, None, None])

    def __call__(self, restoration: Restoration) -> Restoration:
        """Set the photo's damage mask; one that was given is united with what is found beside it.

        Notes the share of pixels above a half.
        """
        pixels, given = restoration.pixels, restoration.mask
        if given is not None:  # what is known to be damaged must not cast doubt on what is around it
            filled = fill_tiled(pixels.to(self.device), solid(given).to(self.device))
            pixels = filled.to(pixels.device)
        found = self.detect(pixels)
        restoration.mask = found if given is None else torch.maximum(given, found)
        restoration.notes[self.name] = {"damaged_share": round(float((restoration.mask > 0.5).float().mean()), 5)}
        return restoration
