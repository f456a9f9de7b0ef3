"""The base class of stages: loads and moves a stage without a pipeline."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

from bringback.runtime.compute import Compute
from bringback.weights.checkpoints import Checkpoints


class StageBase:
    """A stage with `compute` and perhaps networks among its attributes.

    Its main method (`detect`, `translate`, `refine`, ...) takes images of any kind, see `adapters.accepts_any_image`.
    Unless it says otherwise, gradients flow to the images, and after `requires_grad_` to the networks, which are loaded
    frozen.
    """

    compute: Compute

    def __repr__(self) -> str:
        given = [f"{name} {value}" for name, value in vars(self).items() if isinstance(value, str | int | float)]
        return f"<{type(self).__name__} on {self.compute}{': ' if given else ''}{', '.join(given)}>"

    @classmethod
    def from_pretrained(
        cls,
        weights: Path | str | None = None,
        *,
        revision: str | None = None,
        cache_dir: Path | str | None = None,
        local_files_only: bool = False,
        device: str = "auto",
        dtype: str = "auto",
        tile: int | None = None,
        batch_size: int | None = None,
        **settings: Any,
    ) -> Self:
        """Load the stage with the shipped checkpoints, or those in the folder or hub id `weights`.

        `settings` are the stage's own; the others are as in `hub.fetched` and `Compute.pick`. Raises `MissingWeights`
        and ValueError, one line each.
        """
        checkpoints = Checkpoints(weights, revision=revision, cache_dir=cache_dir, local_files_only=local_files_only)
        return build_stage(cls, checkpoints, Compute.pick(device, dtype, tile, batch_size), settings)

    def to(
        self,
        *where: torch.device | torch.dtype | str | int,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> Self:
        """Compute on another device, in another dtype, or both, see `Compute.to`; returns itself.

        Convolutions and matrix products run in the dtype; weights, inputs and outputs keep theirs.
        """
        compute = self.compute.to(*where, *(one for one in (device, dtype) if one is not None))
        for part in vars(self).values():
            if isinstance(part, nn.Module):
                part.to(compute.device)
        self.compute = compute
        return self


def build_stage(kind: Any, checkpoints: Checkpoints, compute: Compute, settings: Mapping[str, Any]) -> Any:
    """Build a stage of the class `kind`; raises ValueError for a setting that it does not have."""
    try:
        return kind.from_checkpoints(checkpoints, compute, **settings)
    except TypeError as error:
        if not settings:
            raise
        raise ValueError(f"settings of the stage {kind.name!r}: {error}") from error
