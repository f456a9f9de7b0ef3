"""The two VAEs: clean photos (Y), and real old (R) with synthetically aged ones (X) in one latent space."""

from typing import ClassVar

import torch
from torch import Tensor

from bringback.aging import age
from bringback.checkpoints import Checkpoints
from bringback.metrics import psnr
from bringback.nets.blocks import Network
from bringback.nets.vae import VAE
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
    name = "clean_vae"

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.noise, self.kl, self.perceptual = (self.options[name] for name in ("noise", "kl", "perceptual"))
        if config.init_from:
            begun = Checkpoints(config.init_from)
            self.net = begun.load("clean_vae", VAE).requires_grad_(True)
            self.parents = begun.hashes(["clean_vae"])
        else:
            self.net = VAE(**config.network)
        self.distance = perceptual_distance(config.backbone)

    def networks(self) -> dict[str, Network]:
        return {self.name: self.net}

    def pictures(self, batch: Batch) -> Tensor:
        """What is encoded and reconstructed."""
        return batch.pixels

    def forward(self, phase: str, batch: Batch) -> Losses:
        pixels = self.pictures(batch)
        latent = self.net.encode(pixels)
        rebuilt = self.net.decode(latent + self.noise * torch.randn_like(latent), (pixels.shape[-2], pixels.shape[-1]))
        parts = {"l1": charbonnier(rebuilt.float(), pixels), "kl": latent.float().square().mean()}
        total = parts["l1"] + self.kl * parts["kl"]
        if self.distance is not None and self.perceptual:
            parts["perceptual"] = self.distance(rebuilt.float(), pixels).mean()
            total = total + self.perceptual * parts["perceptual"]
        return Losses(total, parts)

    def validate(self, batch: Batch) -> tuple[dict[str, float], Tensor]:
        pixels = self.pictures(batch)
        rebuilt = self.net(pixels).clamp(0, 1)
        latent = self.net.encode(pixels)
        value = float(psnr(rebuilt, pixels).mean())
        metrics = {"score": value, "psnr": value, "latent_std": float(latent.std())}
        return metrics, torch.cat([pixels[:8], rebuilt[:8]])


class OldVAETask(CleanVAETask):
    """Trains `old_vae`, from the clean VAE's weights: aged photos and real old ones share its latent space."""

    name = "old_vae"

    def pictures(self, batch: Batch) -> Tensor:
        aged = age(batch.pixels, self.config.recipe, batch.seeds, self.overlays).aged
        return torch.where(batch.old[:, None, None, None], batch.pixels, aged)
