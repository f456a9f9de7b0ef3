"""Stage `fill`: damaged places are filled from their surroundings before the translation sees them."""

from typing import Self

import torch
from torch import Tensor

from bringback.checkpoints import Checkpoints
from bringback.inpaint import fill, solid
from bringback.restoration import Restoration
from bringback.tiling import run_tiled

TILE, OVERLAP = 2048, 256  # pixels; a tile of this size takes about a gigabyte

# The texture of a sound photo raises doubts everywhere, damage certainties somewhere. Where fewer pixels than this
# share are certainly damaged, doubts count for less, down to exp(-CALM) times the odds.
CERTAIN, SHARE, CALM = 0.95, 0.001, 2.0


class HoleFiller:
    """Fills what the damage mask marks with the edge-following push-pull fill. Has no weights.

    References: Gortler et al., "The Lumigraph" (1996) for push-pull; Perez et al., "Poisson Image Editing" (2003) for
    the membrane it approaches; Weickert, "Coherence-enhancing diffusion filtering" (1999) for following edges. Texture
    is not invented here: that is left to the stage `translate`, which is told what was filled.
    """

    name = "fill"

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)

    @classmethod
    def from_checkpoints(cls, checkpoints: Checkpoints, device: torch.device) -> Self:
        """Build the stage for `device`; there is nothing to load."""
        return cls(device)

    def fill(self, pixels: Tensor, mask: Tensor) -> Tensor:
        """Fill `pixels` (B, 3, H, W) in [0, 1] where `mask` (B, 1, H, W), a soft damage mask, says so.

        Pixels more than one pixel away from any damage come back exactly. What is certain is filled, what is doubtful
        only in a photo where something is certain.
        """
        return fill_tiled(pixels, replaced(mask))

    def __call__(self, restoration: Restoration) -> Restoration:
        """Fill the photo's damage; a photo without any passes untouched. Notes the share that was filled."""
        target = replaced(restoration.damage().to(self.device))
        if target.any():
            home = restoration.pixels.device
            restoration.pixels = fill_tiled(restoration.pixels.to(self.device), target).to(home)
        restoration.notes[self.name] = {"filled": round(target.mean().item(), 5)}
        return restoration


def replaced(mask: Tensor) -> Tensor:
    """How far each pixel is to be filled, in [0, 1], by a soft damage mask (B, 1, H, W); same shape."""
    return solid(calmed(mask))


def calmed(mask: Tensor) -> Tensor:
    """A soft damage mask (B, 1, H, W) with lower odds in a photo where little is certain; zeros and ones stay."""
    certain = (mask > CERTAIN).float().mean((1, 2, 3), keepdim=True)
    return torch.sigmoid(torch.logit(mask, 1e-6) + (certain / SHARE).log().clamp(-CALM, 0))


def fill_tiled(pixels: Tensor, target: Tensor) -> Tensor:
    """`push_pull` in tiles, passing over those without damage; what is sound (target 0) comes back exactly."""
    filled = run_tiled(fill, [pixels, target], tile=TILE, overlap=OVERLAP)  # whose blending touches it
    return torch.where(target > 0, filled, pixels)
