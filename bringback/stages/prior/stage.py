"""Stage `prior`: removes noise and grain with a network that is fitted to this one photo."""

from functools import partial
from typing import Any, Self

import torch
from torch import Tensor

from bringback.images.adapters import accepts_any_image
from bringback.ops.masks import fill_mask
from bringback.runtime.compute import Compute
from bringback.stages.base import StageBase
from bringback.stages.prior.fit import computing, denoise, working_memory
from bringback.stages.prior.settings import OnIteration, PriorSettings, Progress
from bringback.stages.record import Restoration
from bringback.weights.checkpoints import Checkpoints

_A_PIXEL = 48  # bytes per pixel of a photo solved at a smaller size: four pictures of its own size


class PriorDenoiser(StageBase):
    """Denoises with the deep image prior, see `prior.fit.denoise`: minutes a photo, no weights, not a default."""

    name = "prior"

    def __init__(self, compute: Compute | torch.device | str = "cpu", **settings: Any) -> None:
        """Args: settings: those of `PriorSettings`. Raises ValueError for values out of range."""
        self.compute, self.settings = computing(compute), PriorSettings(**settings)

    @classmethod
    def from_checkpoints(cls, checkpoints: Checkpoints, compute: Compute | torch.device, **settings: Any) -> Self:
        """Build the stage; it loads nothing. `settings` are those of the constructor."""
        return cls(compute, **settings)

    def needs(self, height: int, width: int, tile: int | None) -> int:
        """Bytes in addition to photo, pixels and masks: the network at work, or a large photo and its detail."""
        return max(working_memory(height, width, self.settings), _A_PIXEL * height * width)

    @accepts_any_image
    def denoise(self, pixels: Tensor, mask: Tensor | None = None, on_step: OnIteration | None = None) -> Tensor:
        """Denoise photos (B, 3, H, W) in [0, 1], with damage masks (B, 1, H, W) or None, one after the other.

        Without a gradient. `on_step` gets the progress of each photo. Raises `PhotoError` as `__call__` does.
        """
        mask = torch.zeros_like(pixels[:, :1]) if mask is None else fill_mask(mask.detach())
        photos = zip(pixels.detach().split(1), mask.split(1), strict=True)
        return torch.cat([self._denoise(photo, damage, on_step)[0] for photo, damage in photos])

    def __call__(self, restoration: Restoration) -> Restoration:
        """Denoise the photo; the network does not learn from what `fill` replaces. Notes what was done, see `Progress`.

        Raises `PhotoError` if everything is damaged or the time was too short.
        """
        on_step = restoration.on_step
        # The detector's own mask is nowhere exactly zero, and only pixels without any damage can be held back.
        mask = restoration.to_fill()
        restoration.pixels, last = self._denoise(
            restoration.pixels, mask, partial(on_step, self.name) if on_step else None
        )
        restoration.notes[self.name] = {"form": self.settings.form, **last.notes}
        return restoration

    def _denoise(self, photo: Tensor, mask: Tensor, on_step: OnIteration | None) -> tuple[Tensor, Progress]:
        steps: list[Progress] = []

        def keep(progress: Progress) -> None:
            steps[:] = [progress]
            if on_step:
                on_step(progress)

        clean = denoise(photo, settings=self.settings, mask=mask, device=self.compute, on_step=keep)
        return clean, steps[-1]
