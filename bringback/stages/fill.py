"""Stage `fill`: fills damaged places from their surroundings, before the translation."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from bringback.errors import known_names
from bringback.images.adapters import accepts_any_image
from bringback.ops import opencv
from bringback.ops.areas import fill_inside
from bringback.ops.masks import fill_mask
from bringback.ops.scale import divisor
from bringback.ops.tiled_fill import fill_into, solved_at_once
from bringback.ops.veils import Veiled, add_detail_, detail_under
from bringback.runtime.compute import Compute
from bringback.stages.base import StageBase
from bringback.stages.record import Restoration
from bringback.weights.checkpoints import Checkpoints

if TYPE_CHECKING:
    from bringback.stages.prior.settings import Progress

METHODS = ("pushpull", *opencv.INPAINTING, "prior")

MUCH = 0.08  # share of a photo, above which a person should look at what was filled

_A_PIXEL = 310  # bytes per pixel solved at once, measured
_CLASSICAL = 50  # bytes per pixel if the window is the whole photo, measured
_VEILED = 11  # bytes per pixel of marks and of the means in them, or of the detail that shows through
_PRIOR = 36  # bytes per pixel: the network's output, its share of the result, and the remainder


class HoleFiller(StageBase):
    """Fills what the damage mask marks, with the edge-following push-pull fill or another `method`. Has no weights.

    References: Gortler et al., "The Lumigraph" (1996) for push-pull; Perez et al., "Poisson Image Editing" (2003) for
    the membrane it approaches; Weickert, "Coherence-enhancing diffusion filtering" (1999) for following edges. The
    fill is smooth; texture is added by the stage `translate`, which gets the filled mask. "telea" and "ns" are
    `opencv.inpaint`, on the CPU; "prior" is `prior.fit.inpaint`, slow.
    """

    name = "fill"

    def __init__(
        self, compute: Compute | torch.device | str = "cpu", *, method: str = "pushpull", **settings: Any
    ) -> None:
        """Args: method: one of `METHODS`; settings: those of `PriorSettings`, for "prior" only.

        Raises ValueError for unknown methods and values out of range, TypeError for unknown settings.
        """
        if method not in METHODS:
            raise ValueError(f"unknown fill {method!r}: one of {known_names(method, METHODS)}")
        if settings and method != "prior":
            raise TypeError(f"the fill {method!r} has no {next(iter(settings))!r}")
        self.compute, self.method = Compute.of(compute), method
        if method == "prior":
            from bringback.stages.prior.settings import PriorSettings  # imported only if used

            self.prior = PriorSettings(**settings)

    @classmethod
    def from_checkpoints(cls, checkpoints: Checkpoints, compute: Compute | torch.device, **settings: Any) -> Self:
        """Build the stage; it loads nothing. `settings` are those of the constructor."""
        return cls(compute, **settings)

    def needs(self, height: int, width: int, tile: int | None) -> int:
        """Bytes in addition to photo, pixels and masks: what is solved at once."""
        if self.method in opencv.INPAINTING:
            return _CLASSICAL * height * width
        at_once = _A_PIXEL * solved_at_once(height * width)
        if self.method == "prior":
            from bringback.stages.prior.fit import working_memory

            return max(working_memory(height, width, self.prior), at_once + _PRIOR * height * width)
        return at_once + _VEILED * height * width

    @accepts_any_image
    def fill(self, pixels: Tensor, mask: Tensor, on_step: "Callable[[Progress], None] | None" = None) -> Tensor:
        """Fill `pixels` (B, 3, H, W) in [0, 1] where `mask` (B, 1, H, W), a soft damage mask, marks damage.

        From 0.5 on a pixel is filled, from 0.77 on entirely; pixels more than one pixel away from any of those stay
        exactly the same. Only the push-pull fill has a gradient. `on_step` gets the progress of the method "prior".
        """
        result = pixels.clone() if self.method == "pushpull" else pixels.detach().clone()
        self._fill(result, fill_mask(mask), on_step)
        return result

    def __call__(self, restoration: Restoration) -> Restoration:
        """Fill the photo's damage; a photo without damage stays as it is. Notes the share that was filled.

        Inside broad marks that were found in the picture, not given, the push-pull fill keeps the detail that shows
        through them, see `ops.veils`. Warns of a share above `MUCH`.
        """
        target, on_step = restoration.to_fill(), restoration.on_step
        if restoration.pixels.is_inference() and not torch.is_inference_mode_enabled():  # in-place writes would raise
            restoration.pixels = restoration.pixels.clone()
        steps: list[Progress] = []

        def fill(pixels: Tensor, holes: Tensor) -> None:
            step = partial(on_step, self.name) if on_step else None
            steps.extend(self._fill(pixels, holes, step, divisor(restoration.scale)))

        veiled: Veiled = []
        if self.method == "pushpull" and restoration.seen is not None:
            whole, sound = restoration.seen & (target == 1), target == 0
            if (frame := restoration.frame()) is not None:
                sound &= ~frame.to(sound.device)
            veiled = detail_under(restoration.pixels, whole, sound, divisor(restoration.scale))
        restoration.seen = None
        fill_inside(restoration.pixels, target, restoration.areas, fill)
        add_detail_(restoration.pixels, veiled)
        restoration.filled = target
        share = target.mean().item()
        restoration.notes[self.name] = {"filled": round(share, 5)}
        if share > MUCH:
            restoration.warnings.append(f"{100 * share:.0f} % filled")
        if steps:
            restoration.notes[self.name] |= steps[-1].notes
        return restoration

    def _fill(
        self, pixels: Tensor, target: Tensor, on_step: "Callable[[Progress], None] | None", scale: float = 1.0
    ) -> "list[Progress]":
        """Fill photos of a native scale in place; returns the last progress of the method "prior", else nothing."""
        steps: list[Progress] = []
        if self.method == "pushpull":
            fill_into(pixels, target, self.compute.device, scale)
        elif self.method == "prior":
            from bringback.stages.prior.fit import inpaint

            def keep(progress: "Progress") -> None:
                steps[:] = [progress]
                if on_step:
                    on_step(progress)

            for photo, holes in zip(pixels.split(1), target.detach().split(1), strict=True):
                photo.copy_(inpaint(photo, holes, settings=self.prior, device=self.compute, on_step=keep))
        else:
            pixels.copy_(opencv.inpaint(pixels, target.detach(), self.method))
        return steps
