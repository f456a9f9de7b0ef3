"""Stage `prior`: noise and grain taken away by a network that is fitted to this one photo."""

from typing import Any, Self

import torch

from bringback.checkpoints import Checkpoints
from bringback.compute import Compute
from bringback.prior import OnStep, PriorSettings, Progress, denoise, working_memory
from bringback.restoration import Restoration
from bringback.stages.fill import replaced

_A_PIXEL = 48  # bytes of a photo that is larger than what it is solved at: four pictures of its size


class PriorDenoiser:
    """Denoises with the deep image prior, see `prior.denoise`: minutes a photo, no weights, not a default.

    `on_step` may be set to be told how each photo gets on.
    """

    name = "prior"

    def __init__(self, compute: Compute | torch.device | str = "cpu", **settings: Any) -> None:
        """Args: settings: those of `PriorSettings`. Raises ValueError for what they cannot be."""
        self.compute, self.settings = compute, PriorSettings(**settings)
        self.on_step: OnStep | None = None

    @classmethod
    def from_checkpoints(cls, checkpoints: Checkpoints, compute: Compute | torch.device, **settings: Any) -> Self:
        """Build the stage; there is nothing to load. `settings` are those of the constructor."""
        return cls(compute, **settings)

    def needs(self, height: int, width: int, tile: int | None) -> int:
        """Bytes beside photo, pixels and mask: the network at work, or a large photo and its detail."""
        return max(working_memory(height, width, self.settings), _A_PIXEL * height * width)

    def __call__(self, restoration: Restoration) -> Restoration:
        """Denoise the photo; what `fill` would replace is not learned from. Notes what was done, see `Progress`.

        Raises `PhotoError` where everything is damaged and where the time was too short.
        """
        steps: list[Progress] = []

        def told(progress: Progress) -> None:
            steps[:] = [progress]
            if self.on_step:
                self.on_step(progress)

        # of a detector's doubts there would be some everywhere, and only what is wholly sound can be held back
        mask = replaced(restoration.damage())
        restoration.pixels = denoise(
            restoration.pixels, settings=self.settings, mask=mask, device=self.compute, on_step=told
        )
        restoration.notes[self.name] = {"form": self.settings.form, **steps[-1].notes}
        return restoration
