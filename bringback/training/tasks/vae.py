"""The two VAEs: clean photos (Y); real old (R) and synthetically degraded photos (X) in one latent space."""

from dataclasses import replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.degradations import OverlayBank
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
    """Trains `clean_vae` to reconstruct photos from a noisy latent.

    Options:
        noise: standard deviation of the noise added to the latent.
        kl: weight of the latent's mean square.
        perceptual: weight of the perceptual distance, if the config names a backbone.
    """

    OPTIONS: ClassVar = {"noise": 0.3, "kl": 1e-5, "perceptual": 0.0}

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.noise, self.kl, self.perceptual = (self.options[name] for name in ("noise", "kl", "perceptual"))
        # the old VAE starts from the clean one, too: this keeps their latent spaces similar
        self.net = self.load_or_create("clean_vae", VAE)
        self.distance = perceptual_distance(config.backbone) if self.perceptual else None

    def networks(self) -> dict[str, Network]:
        return {"clean_vae": self.net}

    def prepare(self, batch: Batch, overlays: OverlayBank | None) -> Batch:
        """The batch with the pixels to encode and reconstruct."""
        return batch

    def reconstruction_losses(self, batch: Batch, latent: Tensor) -> Losses:
        """The losses of decoding the latent with noise, which is seeded per sample."""
        pixels = batch.pixels
        # seeds other than those of the degradation, so that the noise is independent of it
        draws = Draws([seed + 1 for seed in batch.seeds], pixels.device)
        noise = self.noise * draws.normal(*latent.shape[1:])
        reconstructed = self.net.decode(latent + noise, (pixels.shape[-2], pixels.shape[-1])).float()
        parts = {"l1": charbonnier(reconstructed, pixels), "kl": latent.float().square().mean()}
        total = parts["l1"] + self.kl * parts["kl"]
        if self.distance is not None:
            parts["perceptual"] = self.distance(reconstructed, pixels).mean()
            total = total + self.perceptual * parts["perceptual"]
        return Losses(total, parts)

    def forward(self, phase: str, batch: Batch) -> Losses:
        return self.reconstruction_losses(batch, self.net.encode(batch.pixels))

    def validate(self, batch: Batch, overlays: OverlayBank | None) -> tuple[dict[str, float], Tensor]:
        pixels = self.prepare(batch, overlays).pixels
        reconstructed = self.net(pixels).clamp(0, 1)
        latent = self.net.encode(pixels)
        value = float(psnr(reconstructed, pixels).mean())
        metrics = {"score": value, "psnr": value, "latent_std": float(latent.std())}
        return metrics, torch.cat([pixels[:8], reconstructed[:8]])


class OldVAETask(CleanVAETask):
    """Trains `old_vae`, starting from the clean VAE, on degraded and on real old photos.

    A discriminator distinguishes the latents of the two domains, and the encoder learns to make them alike (the triplet
    domain of Wan et al. 2020).

    Options, beside those of the clean VAE:
        adversarial: weight of the encoder's adversarial loss (0: no discriminator).
    """

    OPTIONS: ClassVar = {**CleanVAETask.OPTIONS, "adversarial": 0.0}

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.adversarial = self.options["adversarial"]
        self.discriminator = LatentDiscriminator(self.net.stem.out_channels) if self.adversarial else None
        self._latent: Tensor

    def networks(self) -> dict[str, Network]:
        return {"old_vae": self.net}

    def prepare(self, batch: Batch, overlays: OverlayBank | None) -> Batch:
        aged = batch.degraded(self.config.recipe, overlays).aged
        return replace(batch, pixels=torch.where(batch.old[:, None, None, None], batch.pixels, aged))

    def forward(self, phase: str, batch: Batch) -> Losses:
        if self.discriminator is None:
            return super().forward(phase, batch)
        # +1 for real old photos, -1 for degraded ones; a batch may consist of one kind alone
        label = (batch.old.float() * 2 - 1)[:, None, None, None]
        if phase == "discriminator":
            return Losses(F.relu(1 - label * self.discriminator(self._latent).float()).mean())
        latent = self.net.encode(batch.pixels)
        self._latent = latent.detach()
        losses = self.reconstruction_losses(batch, latent)
        losses.parts["telling"] = (label * self.discriminator(latent).float()).mean()
        losses.total = losses.total + self.adversarial * losses.parts["telling"]
        return losses
