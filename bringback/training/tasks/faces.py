"""Face refinement on aligned crops, blind degradations."""

from typing import ClassVar

import torch
from torch import Tensor

from bringback.aging import age
from bringback.checkpoints import Checkpoints
from bringback.metrics import psnr
from bringback.nets.blocks import Network
from bringback.nets.face import FaceGenerator
from bringback.training.config import TrainConfig
from bringback.training.data import Batch
from bringback.training.losses import charbonnier, perceptual_distance
from bringback.training.task import Losses, TrainingTask


class FaceTask(TrainingTask):
    """Trains `faces` on aligned 256x256 crops.

    Options: `perceptual` and `features`, weights of the perceptual distance and of extra attention to eyes and mouth.
    """

    OPTIONS: ClassVar = {"perceptual": 0.04, "features": 2.0}

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.perceptual, features = self.options["perceptual"], self.options["features"]
        if config.init_from:
            begun = Checkpoints(config.init_from)
            self.net = begun.load("faces", FaceGenerator).requires_grad_(True)
            self.parents = begun.hashes(["faces"])
        else:
            self.net = FaceGenerator(**config.network)
        self.distance = perceptual_distance(config.backbone)
        y, x = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
        # where the template puts the eyes and, below the nose, the mouth
        spots = [(89.0, 108.5, 26.0), (167.0, 108.5, 26.0), (128.0, 190.0, 34.0)]
        weight = torch.ones(256, 256)
        for left, top, spread in spots:
            weight += features * torch.exp(-((x - left) ** 2 + (y - top) ** 2) / (2 * spread**2))
        self.weight: Tensor
        self.register_buffer("weight", (weight / weight.mean())[None, None], persistent=False)

    def networks(self) -> dict[str, Network]:
        return {"faces": self.net}

    def forward(self, phase: str, batch: Batch) -> Losses:
        aged = age(batch.pixels, self.config.recipe, batch.seeds)
        made = self.net(aged.aged).float()
        parts = {"l1": charbonnier(made * self.weight, aged.truth * self.weight)}
        total = parts["l1"]
        if self.distance is not None:
            parts["perceptual"] = self.distance(made, aged.truth).mean()
            total = total + self.perceptual * parts["perceptual"]
        return Losses(total, parts)

    def validate(self, batch: Batch) -> tuple[dict[str, float], Tensor]:
        aged = age(batch.pixels, self.config.recipe, batch.seeds)
        made = self.net(aged.aged).clamp(0, 1)
        before, after = float(psnr(aged.aged, aged.truth).mean()), float(psnr(made, aged.truth).mean())
        return {"score": after, "before": before, "after": after}, torch.cat([aged.aged[:8], made[:8], aged.truth[:8]])
