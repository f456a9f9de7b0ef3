"""What lets a stage be used without a pipeline: it is loaded, and moved, by itself."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

from bringback.checkpoints import Checkpoints
from bringback.compute import DTYPES, Compute


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
        """Compute on another device, or in another dtype, or both, as in torch: `to("cuda", torch.bfloat16)`; itself.

        The dtype is float32 or bfloat16, what convolutions and products run in; weights, and what comes in and out,
        stay as they are. Raises ValueError for another one.
        """
        for one in where:
            if isinstance(one, torch.dtype):
                if one not in DTYPES.values():
                    raise ValueError(f"stages compute in float32 or bfloat16, not in {one}")
                self.compute = replace(self.compute, dtype=one)
            else:
                self.compute = replace(self.compute, device=torch.device(one))
        for part in vars(self).values():
            if isinstance(part, nn.Module):
                part.to(self.compute.device)
        return self
