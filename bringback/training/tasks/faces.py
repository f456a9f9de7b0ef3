"""Face refinement on aligned crops, blind degradations."""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from bringback.aging import Aged, OverlayBank, age
from bringback.metrics import psnr
from bringback.nets.blocks import Network
from bringback.nets.discriminators import PatchDiscriminator
from bringback.nets.face import FaceGenerator
from bringback.training.adversarial import feature_matching, fooling, hinge
from bringback.training.config import ConfigError, TrainConfig
from bringback.training.data import Batch
from bringback.training.losses import charbonnier, perceptual_distance
from bringback.training.task import Losses, TrainingTask


class FaceTask(TrainingTask):
    """Trains `faces` on aligned 256x256 crops.

    Options: `perceptual`, weight of the backbone's distance; `features`, extra attention to eyes and mouth;
    `adversarial` and `matching`, weights of the hinge loss and of feature matching (0: no discriminator), and
    `judge_width`, channels of the discriminator; `identity`,
    weight of 1 - cosine of the embeddings that `identity_network` gives: a `torch.export` program, (B, 3, 256, 256)
    aligned faces in [0, 1] -> (B, D).
    """

    OPTIONS: ClassVar = {
        "perceptual": 0.04,
        "features": 2.0,
        "adversarial": 0.0,
        "matching": 0.0,
        "judge_width": 48,
        "identity": 0.0,
        "identity_network": "",
    }

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        if config.resolution != 256:
            raise ConfigError(f"resolution: faces are aligned crops of 256 pixels, not {config.resolution}")
        self.net = self.begin("faces", FaceGenerator)
        self.distance = perceptual_distance(config.backbone)
        self.judge = (
            PatchDiscriminator(self.options["judge_width"])
            if self.options["adversarial"] or self.options["matching"]
            else None
        )
        self.embed = _load_embedding(self.options["identity_network"]) if self.options["identity"] else None
        y, x = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
        # where the template puts the eyes and, below the nose, the mouth
        spots = [(89.0, 108.5, 26.0), (167.0, 108.5, 26.0), (128.0, 190.0, 34.0)]
        weight = torch.ones(256, 256)
        for left, top, spread in spots:
            weight += self.options["features"] * torch.exp(-((x - left) ** 2 + (y - top) ** 2) / (2 * spread**2))
        self.weight: Tensor
        self.register_buffer("weight", (weight / weight.mean())[None, None], persistent=False)
        self._pair: tuple[Tensor, Tensor]

    def networks(self) -> dict[str, Network]:
        return {"faces": self.net}

    def forward(self, phase: str, aged: Aged) -> Losses:
        if self.judge is not None and phase == "discriminator":
            truth, made = self._pair
            return Losses(hinge(self.judge(truth), self.judge(made)))
        made, truth = self.net(aged.aged).float(), aged.truth
        self._pair = truth, made.detach()
        parts = {"l1": charbonnier(made * self.weight, truth * self.weight)}
        if self.distance is not None:
            parts["perceptual"] = self.distance(made, truth).mean()
        if self.judge is not None:
            judged = self.judge(made)
            parts["adversarial"] = fooling(judged)
            parts["matching"] = feature_matching(self.judge(truth), judged)
        if self.embed is not None:
            with torch.autocast(made.device.type, enabled=False):
                parts["identity"] = 1 - torch.cosine_similarity(self.embed(made), self.embed(truth)).mean()
        total = parts["l1"]
        for name in [*parts][1:]:
            total = total + self.options[name] * parts[name]
        return Losses(total, parts)

    def validate(self, batch: Batch, overlays: OverlayBank | None) -> tuple[dict[str, float], Tensor]:
        aged = age(batch.pixels, self.config.recipe, batch.seeds, overlays)
        made = self.net(aged.aged).clamp(0, 1)
        before, after = float(psnr(aged.aged, aged.truth).mean()), float(psnr(made, aged.truth).mean())
        return {"score": after, "before": before, "after": after}, torch.cat([aged.aged[:8], made[:8], aged.truth[:8]])


def _load_embedding(path: str) -> Callable[[Tensor], Tensor]:
    """A frozen program, out of sight of the task: it is neither trained nor saved with the run."""
    try:
        module = torch.export.load(path).module().requires_grad_(False)
    except Exception as error:  # a zip, a pickle or a file system may object
        reason = str(error).splitlines()[0]
        raise ConfigError(f"options: identity_network: {path!r} is no torch.export program: {reason}") from None
    return lambda pixels: module.to(pixels.device)(pixels)
