"""The two VAEs: clean photos (Y), and real old (R) with synthetically aged ones (X) in one latent space."""

from dataclasses import replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.degradations import OverlayBank, age
from bringback.degradations.rng import Draws
from bringback.models.base import Network
from bringback.models.discriminators import LatentDiscriminator
from bringback.models.translation.vae import VAE
from bringback.ops.metrics import psnr
from bringback.training.config import TrainConfig
from bringback.training.data import Batch
from bringback.training.losses import charbonnier, perceptual_distance
from bringback.training.task import Losses, TrainingTask


class CleanVAETask(TrainingTask):
    """Trains `clean_vae` to reconstruct photos through a noisy latent.

    Options: `noise`, standard deviation added to the latent; `kl`, weight of its mean square; `perceptual`, weight of
    the backbone's distance, if the config names a backbone.
    """

    OPTIONS: ClassVar = {"noise": 0.3, "kl": 1e-5, "perceptual": 0.0}

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.noise, self.kl, self.perceptual = (self.options[name] for name in ("noise", "kl", "perceptual"))
        # the old VAE too begins as the clean one: what keeps the two latent spaces alike
        self.net = self.begin("clean_vae", VAE)
        self.distance = perceptual_distance(config.backbone) if self.perceptual else None

    def networks(self) -> dict[str, Network]:
        return {"clean_vae": self.net}

    def prepare(self, batch: Batch, overlays: OverlayBank | None) -> Batch:
        """What is encoded and reconstructed."""
        return batch

    def rebuilding(self, batch: Batch, latent: Tensor) -> Losses:
        """The losses of decoding a noisy latent; the noise belongs to the samples, not to the batch."""
        pixels = batch.pixels
        own = [seed + 1 for seed in batch.seeds]  # not those of the ageing: the two must not know of each other
        noise = self.noise * Draws(own, pixels.device).normal(*latent.shape[1:])
        rebuilt = self.net.decode(latent + noise, (pixels.shape[-2], pixels.shape[-1])).float()
        parts = {"l1": charbonnier(rebuilt, pixels), "kl": latent.float().square().mean()}
        total = parts["l1"] + self.kl * parts["kl"]
        if self.distance is not None:
            parts["perceptual"] = self.distance(rebuilt, pixels).mean()
            total = total + self.perceptual * parts["perceptual"]
        return Losses(total, parts)

    def forward(self, phase: str, batch: Batch) -> Losses:
        return self.rebuilding(batch, self.net.encode(batch.pixels))

    def validate(self, batch: Batch, overlays: OverlayBank | None) -> tuple[dict[str, float], Tensor]:
        pixels = self.prepare(batch, overlays).pixels
        rebuilt = self.net(pixels).clamp(0, 1)
        latent = self.net.encode(pixels)
        value = float(psnr(rebuilt, pixels).mean())
        metrics = {"score": value, "psnr": value, "latent_std": float(latent.std())}
        return metrics, torch.cat([pixels[:8], rebuilt[:8]])


class OldVAETask(CleanVAETask):
    """Trains `old_vae`, from the clean VAE's weights: aged photos and real old ones share its latent space.

    A discriminator of latents tells the two domains apart; the encoder learns to leave it no clue (the triplet domain
    of Wan et al. 2020). Options beside those of the clean VAE: `adversarial`, weight of that (0: no discriminator).
    """

    OPTIONS: ClassVar = {**CleanVAETask.OPTIONS, "adversarial": 0.0}

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.adversarial = self.options["adversarial"]
        self.judge = LatentDiscriminator(self.net.stem.out_channels) if self.adversarial else None
        self._latent: Tensor

    def networks(self) -> dict[str, Network]:
        return {"old_vae": self.net}

    def prepare(self, batch: Batch, overlays: OverlayBank | None) -> Batch:
        aged = age(batch.pixels, self.config.recipe, batch.seeds, overlays).aged
        return replace(batch, pixels=torch.where(batch.old[:, None, None, None], batch.pixels, aged))

    def forward(self, phase: str, batch: Batch) -> Losses:
        if self.judge is None:
            return super().forward(phase, batch)
        # +1 for real old photos, -1 for aged ones; a batch of one kind alone teaches little, but no nonsense
        side = (batch.old.float() * 2 - 1)[:, None, None, None]
        if phase == "discriminator":
            return Losses(F.relu(1 - side * self.judge(self._latent).float()).mean())
        latent = self.net.encode(batch.pixels)
        self._latent = latent.detach()
        losses = self.rebuilding(batch, latent)
        losses.parts["telling"] = (side * self.judge(latent).float()).mean()
        losses.total = losses.total + self.adversarial * losses.parts["telling"]
        return losses
