"""Stage `stains`: takes foxing and yellowed tape from prints without colors."""

from typing import Self

import torch
from torch import Tensor

from bringback.images.adapters import accepts_any_image
from bringback.ops.areas import Area
from bringback.ops.stains import SEEN, Stains
from bringback.ops.strips import STRIP
from bringback.runtime.compute import Compute
from bringback.stages.base import StageBase
from bringback.stages.record import Restoration
from bringback.weights.checkpoints import Checkpoints

_A_PIXEL = 150  # bytes per pixel that is looked at, or of a strip from which stains are taken


class StainRemover(StageBase):
    """Takes brown and yellow layers from prints without colors, which show through them. Has no weights.

    Such a print is of one color for each tone, so that stains are told by their color, see `ops.stains`. It runs before
    damage is looked for: what can still be seen through a stain need not be filled.
    """

    name = "stains"
    in_areas = True

    def __init__(self, compute: Compute | torch.device | str = "cpu") -> None:
        self.compute = Compute.of(compute)

    @classmethod
    def from_checkpoints(cls, checkpoints: Checkpoints, compute: Compute | torch.device) -> Self:
        """Build the stage; it loads nothing."""
        return cls(compute)

    def needs(self, height: int, width: int, tile: int | None) -> int:
        """Bytes in addition to photo, pixels and mask: the photo without stains, what is looked at, and a strip."""
        return 12 * height * width + _A_PIXEL * (min(height * width, SEEN) + min(height * width, STRIP))

    @accepts_any_image
    def clean(self, pixels: Tensor) -> Tensor:
        """Photos (B, 3, H, W) in [0, 1] without their stains; what is not stained stays exactly the same.

        It has no gradient where there were stains.
        """
        clean = pixels.detach().clone()
        for photo in clean.split(1):
            if stains := Stains.find(photo):
                stains.remove_(photo)
        return torch.where(clean == pixels, pixels, clean)

    def __call__(self, restoration: Restoration) -> Restoration:
        """Take the stains from the photo, or from each of its picture areas.

        Notes how many spots and strips of tape there were, and the share of the photo that they covered.
        """
        pixels = restoration.pixels
        if pixels.is_inference() and not torch.is_inference_mode_enabled():  # in-place writes would raise
            pixels = restoration.pixels = pixels.clone()
        taken, covered = list[tuple[Area | None, Stains]](), 0.0
        # gray photos have no colors to tell stains by
        for area in () if restoration.photo.gray else restoration.areas or (None,):
            seen, inside = (pixels, None) if area is None else (pixels[area.part], area.inside())
            if stains := Stains.find(seen, inside):
                stains.remove_(seen, inside)
                taken.append((area, stains))
                covered += stains.covered * seen.numel() / pixels.numel()
        restoration.stains = taken
        spots, tapes = sum(one.spots for _, one in taken), sum(one.tapes for _, one in taken)
        restoration.notes[self.name] = {"spots": spots, "tapes": tapes, "stained_share": round(covered, 5)}
        return restoration
