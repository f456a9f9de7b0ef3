"""Scratch detection: a U-Net learns the exact masks of synthetic damage, on damaged and on clean photos."""

import math
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
        hardest: of the undamaged pictures of each batch, the share to learn from: those that the network, as it is,
            marks most (online hard example mining, Shrivastava et al. 2016); 1: all. Most undamaged pictures have
            nothing to teach. The share of damaged pictures rises with it, and a step takes a forward pass more.
    """

    OPTIONS: ClassVar = {"rare": 2.0, "dice": 0.5, "focal": 0.0, "frozen_norms": False, "hardest": 1.0}

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.net = self.load_or_create("scratches", ScratchUNet)
        self.frozen_norms = self.options.pop("frozen_norms")  # the other options are arguments of the loss
        self.hardest = self.options.pop("hardest")
        if not 0 < self.hardest <= 1:
            raise ConfigError(f"options: hardest must be above 0, and 1 at most, not {self.hardest}")
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
        if self.hardest < 1:
            kept = self._instructive(aged)
            aged = DegradedBatch(aged.aged[kept], aged.mask[kept], aged.truth[kept], aged.gray[kept])
        return Losses(bce_dice(self.net(aged.aged), aged.damage(), **self.options))

    @torch.no_grad()
    def _instructive(self, aged: DegradedBatch) -> Tensor:
        """Indices of the damaged pictures, and of the undamaged ones that are marked most: at least one, if any."""
        damaged = aged.mask.flatten(1).any(1)
        sound = (~damaged).nonzero().flatten()
        if len(sound) < 2:
            return torch.arange(len(damaged), device=damaged.device)
        self.net.eval()  # the statistics of batch norms are of what is learned from
        marked = damage(self.net(aged.aged[sound])).float().square().mean((1, 2, 3))  # squared: surely, not faintly
        self.train()
        torch.clear_autocast_cache()  # what was cast without gradients has none
        most = marked.topk(math.ceil(self.hardest * len(sound))).indices
        return torch.cat([damaged.nonzero().flatten(), sound[most]])

    def validate(self, batch: Batch, overlays: OverlayBank | None) -> tuple[dict[str, float], Tensor]:
        structured = degrade(batch.pixels, "structured", batch.seeds, overlays)
        scores = damage(self.net(structured.aged))
        clean = damage(self.net(batch.pixels))
        area = auc(scores.flatten(), structured.mask.flatten() > 0.1)
        pictures = torch.cat([structured.aged[:8], *(m[:8].expand(-1, 3, -1, -1) for m in (structured.mask, scores))])
        metrics = {"score": area, "auc": area, "false_alarms": float((clean > 0.5).float().mean())}
        return metrics, pictures
