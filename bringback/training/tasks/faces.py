"""Face refinement on aligned crops, blind degradations."""

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from bringback.degradations import Aged, OverlayBank, age
from bringback.errors import ConfigError
from bringback.models.base import Network
from bringback.models.discriminators import PatchDiscriminator
from bringback.models.faces.generator import FaceGenerator
from bringback.models.translation.mapping import Mapping, translate
from bringback.models.translation.vae import VAE
from bringback.ops.color import greyed
from bringback.ops.masks import firm, solid
from bringback.ops.metrics import psnr
from bringback.ops.push_pull import fill
from bringback.stages.faces.identity import descriptors, identity_distances
from bringback.training.adversarial import feature_matching, fooling, hinge
from bringback.training.config import TrainConfig
from bringback.training.data import Batch
from bringback.training.losses import charbonnier, perceptual_distance
from bringback.training.task import Losses, TrainingTask
from bringback.weights.checkpoints import Checkpoints

GOLDEN = 0.618034  # its multiples, less their whole parts, cover [0, 1) evenly: a share by a sample's seed


class FaceTask(TrainingTask):
    """Trains `faces` on aligned 256x256 crops, filled where they were damaged, some of them translated.

    Three quarters of the damage is filled and told, as the stages before it do; the rest they did not find.
    Options: `translated`: the share of the samples that comes as the `translate` stage hands them over (0: needs none
    of its checkpoints); `perceptual`, weight of the backbone's distance; `features`, extra attention to eyes and mouth;
    `identity`, weight of the distance between dlib's descriptors of made and true face; `adversarial` and `matching`,
    weights of the hinge loss and of feature matching (0: no discriminator), and `judge_width`, channels of the
    discriminator.
    """

    OPTIONS: ClassVar = {
        "translated": 0.12,
        "perceptual": 0.015,
        "features": 2.0,
        "identity": 0.1,
        "adversarial": 0.0,
        "matching": 0.0,
        "judge_width": 48,
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
        if self.options["translated"]:
            checkpoints = Checkpoints(config.weights or None)
            self.old_vae, self.clean_vae = checkpoints.load("old_vae", VAE), checkpoints.load("clean_vae", VAE)
            self.mapping = checkpoints.load("mapping", Mapping)
            checkpoints.check_vaes(self.mapping)
            self.parents |= checkpoints.hashes(["old_vae", "mapping", "clean_vae"])
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

    def ready(self, aged: Aged, seeds: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Degraded faces, how far they were filled, and the truth."""
        pixels, holes, truth = _filled(aged, seeds)
        translated = [index for index, seed in enumerate(seeds) if seed // 4 * GOLDEN % 1 < self.options["translated"]]
        if translated:
            part = pixels[translated]
            made = translate(self.old_vae, self.mapping, self.clean_vae, part, holes[translated]).clamp(0, 1)
            pixels[translated] = greyed(made, aged.grey[translated])
        return pixels, holes, truth

    def forward(self, phase: str, prepared: tuple[Tensor, Tensor, Tensor]) -> Losses:
        pixels, holes, truth = prepared
        if self.judge is not None and phase == "discriminator":
            real, made = self._pair
            return Losses(hinge(self.judge(real), self.judge(made)))
        made = self.net(pixels, holes).float()
        self._pair = truth, made.detach()
        parts = {"l1": charbonnier(made * self.weight, truth * self.weight)}
        if self.distance is not None:
            parts["perceptual"] = self.distance(made, truth).mean()
        if self.judge is not None:
            judged = self.judge(made)
            parts["adversarial"] = fooling(judged)
            parts["matching"] = feature_matching(self.judge(truth), judged)
        if self.options["identity"]:
            parts["identity"] = (descriptors(made) - descriptors(truth)).norm(dim=1).mean()
        total = parts["l1"]
        for name in [*parts][1:]:
            total = total + self.options[name] * parts[name]
        return Losses(total, parts)

    def validate(self, batch: Batch, overlays: OverlayBank | None) -> tuple[dict[str, float], Tensor]:
        pixels, holes, truth = _filled(age(batch.pixels, "faces", batch.seeds, overlays), batch.seeds)
        made = self.net(pixels, holes).clamp(0, 1)
        before, after = float(psnr(pixels, truth).mean()), float(psnr(made, truth).mean())
        kept = float(psnr(self.net(batch.pixels).clamp(0, 1), batch.pixels).mean())
        metrics = {"score": after, "before": before, "after": after, "clean": kept}
        if self.options["identity"]:
            for name, crops in (("stranger_before", pixels), ("stranger_after", made)):
                metrics[name] = float(np.mean(identity_distances(crops, truth)))
        return metrics, torch.cat([pixels[:8], made[:8], truth[:8]])


def _filled(aged: Aged, seeds: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Degraded faces with three quarters of their damage filled, how far they were filled, and the truth."""
    found = torch.tensor([seed % 4 > 0 for seed in seeds], device=aged.aged.device)[:, None, None, None]
    holes = solid(firm(aged.damage() * found))
    return fill(aged.aged, holes), holes, aged.truth
