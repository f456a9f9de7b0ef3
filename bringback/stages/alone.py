"""What lets a stage be used without a pipeline: it is loaded, and moved, by itself."""

from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

from bringback.checkpoints import Checkpoints
from bringback.compute import Compute


class Alone:
    """A stage with `compute` and perhaps networks among its attributes.

    Its verb (`detect`, `translate`, `refine`, ...) takes pictures of every kind, see `kinds.any_kind`, with `no_grad`
    or without: gradients reach the pictures, and the networks once `requires_grad_` says so. They are loaded frozen.
    """

    compute: Compute

    @classmethod
    def from_pretrained(
        cls,
        weights: Path | str | None = None,
        *,
        device: str = "auto",
        dtype: str = "auto",
        tile: int | None = None,
        batch_size: int | None = None,
        **settings: Any,
    ) -> Self:
        """The stage with the shipped checkpoints, or those in the folder `weights`; `settings` are the stage's own.

        The others are as in `Compute.pick`. Raises `MissingWeights` and ValueError, in one line.
        """
        build: Any = cls.from_checkpoints  # type: ignore[attr-defined] # each stage's own
        return build(Checkpoints(weights), Compute.pick(device, dtype, tile, batch_size), **settings)

    def to(self, *where: torch.device | torch.dtype | str | int) -> Self:
        """Compute on another device, or in another dtype, or both, see `Compute.to`; itself.

        The dtype is what convolutions and products run in; weights, and what comes in and out, stay as they are.
        """
        self.compute = self.compute.to(*where)
        for part in vars(self).values():
            if isinstance(part, nn.Module):
                part.to(self.compute.device)
        return self
