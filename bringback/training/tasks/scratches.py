"""Scratch detection: a U-Net learns the exact masks of synthetic damage, on damaged and on clean photos."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from bringback.degradations import DegradedBatch, OverlayBank, degrade
from bringback.errors import ConfigError
from bringback.models.base import Network
from bringback.models.unet import ScratchUNet, damage
from bringback.ops.metrics import auc
from bringback.training.config import TrainConfig
from bringback.training.data import Batch
from bringback.training.losses import bce_dice
from bringback.training.task import Losses, TrainingTask


class ScratchTask(TrainingTask):
    """Trains `scratches`.

    Options:
        rare, dice, focal: see `bce_dice`.
        frozen_norms: batch norms keep the statistics of `init_from`, also while training: with few pictures per step
            the statistics of a batch are noisy, and not those used at inference.
    """

    OPTIONS: ClassVar = {"rare": 2.0, "dice": 0.5, "focal": 0.0, "frozen_norms": False}

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.net = self.load_or_create("scratches", ScratchUNet)
        self.frozen_norms = self.options.pop("frozen_norms")  # the other options are arguments of the loss
        if self.frozen_norms and not config.init_from:
            raise ConfigError("options: frozen_norms needs init_from: fresh batch norms have no statistics to keep")

    def train(self, mode: bool = True) -> "ScratchTask":
        super().train(mode)
        if self.frozen_norms:
            for layer in self.net.modules():
                if isinstance(layer, nn.BatchNorm2d):
                    layer.eval()
        return self

    def networks(self) -> dict[str, Network]:
        return {"scratches": self.net}

    def forward(self, phase: str, aged: DegradedBatch) -> Losses:
        return Losses(bce_dice(self.net(aged.aged), aged.damage(), **self.options))

    def validate(self, batch: Batch, overlays: OverlayBank | None) -> tuple[dict[str, float], Tensor]:
        structured = degrade(batch.pixels, "structured", batch.seeds, overlays)
        scores = damage(self.net(structured.aged))
        clean = damage(self.net(batch.pixels))
        area = auc(scores.flatten(), structured.mask.flatten() > 0.1)
        pictures = torch.cat([structured.aged[:8], *(m[:8].expand(-1, 3, -1, -1) for m in (structured.mask, scores))])
        metrics = {"score": area, "auc": area, "false_alarms": float((clean > 0.5).float().mean())}
        return metrics, pictures
