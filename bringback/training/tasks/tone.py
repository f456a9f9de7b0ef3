"""Tone curves: learn to undo fading and casts from a thumbnail and histograms."""

from dataclasses import replace

import torch
from torch import Tensor

from bringback.degradations import Aged, OverlayBank, age
from bringback.models.base import Network
from bringback.models.tone import ToneCurves, tone
from bringback.ops.color import greyed
from bringback.ops.metrics import psnr
from bringback.training.config import TrainConfig
from bringback.training.data import Batch
from bringback.training.losses import charbonnier
from bringback.training.task import Losses, TrainingTask


def _greyed(aged: Aged) -> Aged:
    return replace(aged, aged=greyed(aged.aged, aged.grey))


class ToneTask(TrainingTask):
    """Trains `tone`. The loss is on undamaged pixels only; grey and sepia samples are made grey as in a restoration."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.net = self.begin("tone", ToneCurves)

    def networks(self) -> dict[str, Network]:
        return {"tone": self.net}

    def ready(self, aged: Aged, seeds: list[int]) -> Aged:
        return _greyed(aged)

    def forward(self, phase: str, aged: Aged) -> Losses:
        with torch.autocast(aged.aged.device.type, enabled=False):
            toned = tone(self.net, aged.aged, aged.mask)
            good = (aged.mask < 0.05).float()
            return Losses(charbonnier(toned * good, aged.truth * good, 1e-2))

    def validate(self, batch: Batch, overlays: OverlayBank | None) -> tuple[dict[str, float], Tensor]:
        aged = _greyed(age(batch.pixels, "mixed", batch.seeds, overlays))
        pixels, truth, mask = aged.aged, aged.truth, aged.mask
        toned = tone(self.net, pixels, mask).clamp(0, 1)
        after = float(psnr(toned, truth).mean())
        metrics = {"score": after, "mixed_before": float(psnr(pixels, truth).mean()), "mixed_after": after}
        metrics["clean"] = float(psnr(tone(self.net, batch.pixels, torch.zeros_like(mask)), batch.pixels).mean())
        return metrics, torch.cat([pixels[:8], toned[:8], truth[:8]])
