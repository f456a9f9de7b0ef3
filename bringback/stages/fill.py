"""Stage `fill`: damaged places are filled from their surroundings before the translation sees them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from bringback.images.adapters import any_kind
from bringback.ops import opencv
from bringback.ops.masks import replaced
from bringback.ops.tiled_fill import WHOLE, fill_into
from bringback.runtime.compute import Compute
from bringback.stages.base import Alone
from bringback.stages.record import Restoration
from bringback.weights.checkpoints import Checkpoints

if TYPE_CHECKING:
    from bringback.stages.prior.fit import Progress

METHODS = ("pushpull", *opencv.INPAINTING, "prior")

_A_PIXEL = 260  # bytes of what is solved at once, measured
_CLASSICAL = 50  # bytes a pixel where a window is the whole photo, measured
_PRIOR = 36  # bytes a pixel: what the network says, its share, and what that misses


class HoleFiller(Alone):
    """Fills what the damage mask marks: with the edge-following push-pull fill, or as `method` says. Has no weights.

    References: Gortler et al., "The Lumigraph" (1996) for push-pull; Perez et al., "Poisson Image Editing" (2003) for
    the membrane it approaches; Weickert, "Coherence-enhancing diffusion filtering" (1999) for following edges. Texture
    is not invented here: that is left to the stage `translate`, which is told what was filled. "telea" and "ns" are
    `opencv.inpaint`, on the CPU; "prior" is `prior.fit.inpaint`, slow.
    """

    name = "fill"

    def __init__(
        self, compute: Compute | torch.device | str = "cpu", *, method: str = "pushpull", **settings: Any
    ) -> None:
        """Args: method: one of `METHODS`; settings: those of `PriorSettings`, for "prior" alone.

        Raises ValueError for another method and values out of range, TypeError for settings that it does not have.
        """
        if method not in METHODS:
            raise ValueError(f"unknown fill {method!r}: one of {', '.join(METHODS)}")
        if settings and method != "prior":
            raise TypeError(f"the fill {method!r} has no {next(iter(settings))!r}")
        self.compute, self.method = Compute.of(compute), method
        if method == "prior":
            from bringback.stages.prior.fit import PriorSettings  # for those who ask for it

            self.prior = PriorSettings(**settings)
            self.on_step: Callable[[Progress], None] | None = None  # told how far a photo's network is

    @classmethod
    def from_checkpoints(cls, checkpoints: Checkpoints, compute: Compute | torch.device, **settings: Any) -> Self:
        """Build the stage; there is nothing to load. `settings` are those of the constructor."""
        return cls(compute, **settings)

    def needs(self, height: int, width: int, tile: int | None) -> int:
        """Bytes beside photo, pixels and mask: what is to be filled, and what is solved at once."""
        if self.method in opencv.INPAINTING:
            return _CLASSICAL * height * width
        at_once = 4 * height * width + _A_PIXEL * min(height * width, WHOLE)
        if self.method == "prior":
            from bringback.stages.prior.fit import working_memory

            return max(working_memory(height, width, self.prior), at_once + _PRIOR * height * width)
        return at_once

    @any_kind
    def fill(self, pixels: Tensor, mask: Tensor) -> Tensor:
        """Fill `pixels` (B, 3, H, W) in [0, 1] where `mask` (B, 1, H, W), a soft damage mask, says so.

        Pixels more than one pixel away from any damage come back exactly. What is certain is filled, what is doubtful
        only in a photo where something is certain. Only the push-pull fill has a gradient.
        """
        result = pixels.clone() if self.method == "pushpull" else pixels.detach().clone()
        self._fill(result, replaced(mask))
        return result

    def __call__(self, restoration: Restoration) -> Restoration:
        """Fill the photo's damage; a photo without any passes untouched. Notes the share that was filled."""
        target = replaced(restoration.damage())
        if restoration.pixels.is_inference() and not torch.is_inference_mode_enabled():  # it may not be written into
            restoration.pixels = restoration.pixels.clone()
        steps = self._fill(restoration.pixels, target)
        restoration.notes[self.name] = {"filled": round(target.mean().item(), 5)}
        if steps:
            restoration.notes[self.name] |= steps[-1].notes
        return restoration

    def _fill(self, pixels: Tensor, target: Tensor) -> "list[Progress]":
        """Fill photos in place, by the stage's method; of a prior, how it went in the end."""
        steps: list[Progress] = []
        if self.method == "pushpull":
            fill_into(pixels, target, self.compute.device)
        elif self.method == "prior":
            from bringback.stages.prior.fit import inpaint

            def told(progress: "Progress") -> None:
                steps[:] = [progress]
                if self.on_step:
                    self.on_step(progress)

            for photo, holes in zip(pixels.split(1), target.detach().split(1), strict=True):
                photo.copy_(inpaint(photo, holes, settings=self.prior, device=self.compute, on_step=told))
        else:
            pixels.copy_(opencv.inpaint(pixels, target.detach(), self.method))
        return steps
