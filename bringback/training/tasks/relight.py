"""Relighting: dark and noisy photos as they would be with enough light."""

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from bringback.degradations import DegradedBatch, OverlayBank, degrade
from bringback.models.base import Network
from bringback.models.relight import RelightNet, median, places, without_dots
from bringback.ops.color import grayed, luminance
from bringback.ops.metrics import psnr
from bringback.training.config import TrainConfig
from bringback.training.data import Batch
from bringback.training.losses import charbonnier, perceptual_distance
from bringback.training.task import Losses, TrainingTask

_CLEAN_PSNR = 34.0  # dB; the score does not reward leaving well-lit photos closer to the input than this


class RelightTask(TrainingTask):
    """Trains `relight`: its curves and its residual network together, and the curves by themselves.

    Options:
        curves: weight of the loss before the residual network, on medians, which are robust to noise.
        perceptual: weight of the perceptual distance (content loss, Johnson et al. 2016), if the config names a
            backbone.
    """

    OPTIONS: ClassVar = {"curves": 0.5, "perceptual": 0.0}

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.net = self.load_or_create("relight", RelightNet)
        self.distance = perceptual_distance(config.backbone) if self.options["perceptual"] else None

    def networks(self) -> dict[str, Network]:
        return {"relight": self.net}

    def prepare_aged(self, aged: DegradedBatch, seeds: list[int]) -> DegradedBatch:
        return replace(aged, aged=without_dots(grayed(aged.aged, aged.gray)))

    def forward(self, phase: str, aged: DegradedBatch) -> Losses:
        pixels, truth = aged.aged, aged.truth
        light = median(luminance(pixels))
        lit = self.net.lit(pixels, light, self.net.curves(self.net.thumbnail(pixels)), places(pixels))
        made = self.net.cleaned(lit, pixels).float()
        parts = {
            "l1": charbonnier(made, truth),
            "curves": charbonnier(median(luminance(lit)), median(luminance(truth))),
        }
        total = parts["l1"] + self.options["curves"] * parts["curves"]
        if self.distance is not None:
            parts["perceptual"] = self.distance(made.clamp(0, 1), truth).mean()
            total = total + self.options["perceptual"] * parts["perceptual"]
        return Losses(total, parts)

    def validate(self, batch: Batch, overlays: OverlayBank | None) -> tuple[dict[str, float], Tensor]:
        dark = degrade(batch.pixels, "dark-noisy", batch.seeds, overlays)
        made, kept = (self.net(x).clamp(0, 1) for x in (dark.aged, batch.pixels))
        before, after = (float(psnr(x, dark.truth).mean()) for x in (dark.aged, made))
        clean = float(psnr(kept, batch.pixels).mean())
        score = after + min(clean, _CLEAN_PSNR)
        metrics = {"score": score, "dark_before": before, "dark_after": after, "clean": clean}
        return metrics, torch.cat([dark.aged[:8], made[:8], dark.truth[:8]])
