"""Enlarging: photos at twice the size of what a scanner, a program or a print has left of them."""

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from bringback.degradations import OverlayBank
from bringback.degradations.rng import Draws
from bringback.degradations.second_order.resampling import Kernel, resized
from bringback.models.base import Network
from bringback.models.upscale import FACTOR, UpscaleNet, doubled
from bringback.ops.color import grayed
from bringback.ops.metrics import psnr
from bringback.training.config import TrainConfig
from bringback.training.data import Batch
from bringback.training.losses import charbonnier, perceptual_distance
from bringback.training.task import Losses, TrainingTask

_AREA = Kernel("area", True)
# How the small photos are made: the shares of each kernel. An area is what a scanner's or camera's sensor averages.
_KERNELS = {_AREA: 0.45, Kernel("cubic", True): 0.25, Kernel("linear", True): 0.12, Kernel("lanczos", True): 0.18}

_Pairs = tuple[Tensor, Tensor]  # small photos and the truth, twice as large


class UpscaleTask(TrainingTask):
    """Trains `upscale` on photos that are shrunk by varied kernels, and degraded by the config's recipe after that.

    Options:
        perceptual: weight of the perceptual distance (content loss, Johnson et al. 2016), if the config names a
            backbone.
    """

    OPTIONS: ClassVar = {"perceptual": 0.0}

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.net = self.load_or_create("upscale", UpscaleNet)
        self.distance = perceptual_distance(config.backbone) if self.options["perceptual"] else None

    def networks(self) -> dict[str, Network]:
        return {"upscale": self.net}

    def prepare(self, batch: Batch, overlays: OverlayBank | None) -> _Pairs:
        names = list(_KERNELS)
        dice = Draws(batch.seeds).uniform().flatten()
        drawn = torch.searchsorted(torch.tensor(list(_KERNELS.values())).cumsum(0), dice)
        kernels = [names[min(number, len(names) - 1)] for number in drawn.tolist()]
        return self._pairs(batch, kernels, self.config.recipe, overlays)

    @staticmethod
    def _pairs(batch: Batch, kernels: list[Kernel], recipe: str, overlays: OverlayBank | None) -> _Pairs:
        height, width = (side // FACTOR for side in batch.pixels.shape[-2:])
        with torch.autocast(batch.pixels.device.type, enabled=False):  # exact, also inside a bfloat16 training step
            small = resized(batch.pixels, (height, width), kernels, [0.0] * len(kernels))
        aged = replace(batch, pixels=small).degraded(recipe, overlays)
        return grayed(aged.aged, aged.gray), grayed(batch.pixels, aged.gray)

    def forward(self, phase: str, prepared: _Pairs) -> Losses:
        small, truth = prepared
        with torch.autocast(small.device.type, enabled=False):
            plain = doubled(small)
        made = plain + self.net.added(small).float()
        parts = {"l1": charbonnier(made, truth)}
        total = parts["l1"]
        if self.distance is not None:
            parts["perceptual"] = self.distance(made.clamp(0, 1), truth).mean()
            total = total + self.options["perceptual"] * parts["perceptual"]
        return Losses(total, parts)

    def validate(self, batch: Batch, overlays: OverlayBank | None) -> tuple[dict[str, float], Tensor]:
        """PSNR after shrinking by area, of sound photos and of lightly worn ones; the score is the sum of the gains."""
        metrics, pictures = {}, []
        for name, recipe in (("clean", "clean"), ("worn", "slightly-worn")):
            small, truth = self._pairs(batch, [_AREA] * len(batch.seeds), recipe, overlays)
            plain, made = doubled(small).clamp(0, 1), self.net(small).clamp(0, 1)
            metrics[f"{name}_bicubic"], metrics[name] = (float(psnr(x, truth).mean()) for x in (plain, made))
            pictures += [plain[:8], made[:8], truth[:8]]
        gain = sum(metrics[name] - metrics[f"{name}_bicubic"] for name in ("clean", "worn"))
        return {"score": gain, **metrics}, torch.cat(pictures)
