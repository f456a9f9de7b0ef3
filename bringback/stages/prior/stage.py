"""Stage `prior`: noise and grain taken away by a network that is fitted to this one photo."""

from typing import Any, Self

import torch
from torch import Tensor

from bringback.images.adapters import any_kind
from bringback.ops.masks import replaced
from bringback.runtime.compute import Compute
from bringback.stages.base import Alone
from bringback.stages.prior.fit import OnStep, PriorSettings, Progress, computing, denoise, working_memory
from bringback.stages.record import Restoration
from bringback.weights.checkpoints import Checkpoints

_A_PIXEL = 48  # bytes of a photo that is larger than what it is solved at: four pictures of its size


class PriorDenoiser(Alone):
    """Denoises with the deep image prior, see `prior.fit.denoise`: minutes a photo, no weights, not a default.

    `on_step` may be set to be told how each photo gets on.
    """

    name = "prior"

    def __init__(self, compute: Compute | torch.device | str = "cpu", **settings: Any) -> None:
        """Args: settings: those of `PriorSettings`. Raises ValueError for what they cannot be."""
        self.compute, self.settings = computing(compute), PriorSettings(**settings)
        self.on_step: OnStep | None = None

    @classmethod
    def from_checkpoints(cls, checkpoints: Checkpoints, compute: Compute | torch.device, **settings: Any) -> Self:
        """Build the stage; there is nothing to load. `settings` are those of the constructor."""
        return cls(compute, **settings)

    def needs(self, height: int, width: int, tile: int | None) -> int:
        """Bytes beside photo, pixels and mask: the network at work, or a large photo and its detail."""
        return max(working_memory(height, width, self.settings), _A_PIXEL * height * width)

    @any_kind
    def denoise(self, pixels: Tensor, mask: Tensor | None = None) -> Tensor:
        """Photos (B, 3, H, W) in [0, 1], one after the other, and damage masks (B, 1, H, W) or None -> without noise.

        There is no gradient. Raises `PhotoError` as `__call__` does.
        """
        mask = torch.zeros_like(pixels[:, :1]) if mask is None else replaced(mask.detach())
        photos = zip(pixels.detach().split(1), mask.split(1), strict=True)
        return torch.cat([self._denoise(photo, damage)[0] for photo, damage in photos])

    def __call__(self, restoration: Restoration) -> Restoration:
        """Denoise the photo; what `fill` would replace is not learned from. Notes what was done, see `Progress`.

        Raises `PhotoError` where everything is damaged and where the time was too short.
        """
        # of a detector's doubts there would be some everywhere, and only what is wholly sound can be held back
        restoration.pixels, last = self._denoise(restoration.pixels, replaced(restoration.damage()))
        restoration.notes[self.name] = {"form": self.settings.form, **last.notes}
        return restoration

    def _denoise(self, photo: Tensor, mask: Tensor) -> tuple[Tensor, Progress]:
        steps: list[Progress] = []

        def told(progress: Progress) -> None:
            steps[:] = [progress]
            if self.on_step:
                self.on_step(progress)

        clean = denoise(photo, settings=self.settings, mask=mask, device=self.compute, on_step=told)
        return clean, steps[-1]
