"""Tone curves: learn to correct fading and color casts from a thumbnail and histograms."""

import logging
from dataclasses import replace

import torch
from torch import Tensor

from bringback.degradations import DegradedBatch, OverlayBank, degrade
from bringback.models.base import Network
from bringback.models.tone import ToneCurves, tone
from bringback.ops.color import grayed
from bringback.ops.metrics import psnr
from bringback.training.config import TrainConfig
from bringback.training.data import Batch
from bringback.training.losses import charbonnier
from bringback.training.task import Losses, TrainingTask

logger = logging.getLogger(__name__)


class ToneTask(TrainingTask):
    """Trains the curves of `tone`; the judge of how far to apply them is trained by `train/fading.py`, afterwards.

    The loss covers undamaged pixels only; gray and sepia photos become gray, as in a restoration.
    """

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.net = self.load_or_create("tone", ToneCurves)
        if self.net.judge is not None:
            logger.warning("the judge in `tone` is of the curves before: train it again, by train/fading.py")
            self.net.judge.requires_grad_(False)

    def networks(self) -> dict[str, Network]:
        return {"tone": self.net}

    def prepare_aged(self, aged: DegradedBatch, seeds: list[int]) -> DegradedBatch:
        return replace(aged, aged=grayed(aged.aged, aged.gray))

    def forward(self, phase: str, aged: DegradedBatch) -> Losses:
        with torch.autocast(aged.aged.device.type, enabled=False):
            toned = tone(self.net, aged.aged, aged.mask)
            undamaged = (aged.mask < 0.05).float()
            return Losses(charbonnier(toned * undamaged, aged.truth * undamaged, 1e-2))

    def validate(self, batch: Batch, overlays: OverlayBank | None) -> tuple[dict[str, float], Tensor]:
        aged = self.prepare_aged(degrade(batch.pixels, "mixed", batch.seeds, overlays), batch.seeds)
        pixels, truth, mask = aged.aged, aged.truth, aged.mask
        toned = tone(self.net, pixels, mask).clamp(0, 1)
        after = float(psnr(toned, truth).mean())
        metrics = {"score": after, "mixed_before": float(psnr(pixels, truth).mean()), "mixed_after": after}
        metrics["clean"] = float(psnr(tone(self.net, batch.pixels, torch.zeros_like(mask)), batch.pixels).mean())
        return metrics, torch.cat([pixels[:8], toned[:8], truth[:8]])
