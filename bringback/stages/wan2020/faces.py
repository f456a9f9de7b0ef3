"""Stage `faces` of the original method: its generators with our alignment and blending."""

from typing import Any, Self

import torch
from torch import Tensor, nn

from bringback.models.wan2020.face import PaperFaceGenerator
from bringback.runtime.compute import Compute
from bringback.stages.faces.stage import FaceRefiner
from bringback.weights.checkpoints import Checkpoints

SIZES = (256, 512)


class PaperFaceRefiner(FaceRefiner):
    """Refines faces with a generator of the original method, which does not get the fill mask."""

    at_native_scale = False

    @classmethod
    def from_checkpoints(
        cls, checkpoints: Checkpoints, compute: Compute | torch.device, *, size: int = 256, **settings: Any
    ) -> Self:
        """With the checkpoint `paper_faces_256` or `paper_faces_512`; `settings` are those of the constructor."""
        if size not in SIZES:
            raise ValueError(f"size {size}: there are generators for {' and '.join(map(str, SIZES))} pixels")
        generator = checkpoints.load(f"paper_faces_{size}", PaperFaceGenerator, Compute.of(compute).device)
        stage = cls(_Untold(generator), compute, **settings)
        stage.size = size
        return stage


class _Untold(nn.Module):
    """Crops and masks -> crops, with a generator that takes only crops."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, crops: Tensor, mask: Tensor) -> Tensor:
        return self.generator(crops)
