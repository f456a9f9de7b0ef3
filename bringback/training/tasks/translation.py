"""The whole translation end to end: old VAE, mapping, clean VAE."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.degradations import DegradedBatch, OverlayBank
from bringback.degradations.rng import Draws
from bringback.models.base import Network
from bringback.models.translation.mapping import LatentMapping
from bringback.models.translation.vae import VAE
from bringback.training.config import TrainConfig
from bringback.training.data import Batch
from bringback.training.losses import charbonnier, perceptual_distance
from bringback.training.task import Losses
from bringback.training.tasks.filled import Filled, FilledTask, filled_pairs, validate_restoration
from bringback.weights.checkpoints import Checkpoints

_EPSILON = 3e-4  # the squared error of 35 dB: with a smaller one, clean photos make the network timid


def pixel_losses(made: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """`l1` (Charbonnier), and `log`, the mean logarithm of each sample's squared error."""
    errors = (made - truth).square().mean((1, 2, 3))
    return {"l1": charbonnier(made, truth), "log": torch.log(errors + _EPSILON).mean()}


class TranslationTask(FilledTask):
    """Trains `old_vae`, `mapping` and `clean_vae` together, from scratch or from those in `init_from`.

    The pictures are those of `MappingTask`. On a share of each batch both VAEs are also trained as autoencoders with a
    noisy latent (the loss of their paper), and translated latents are drawn to those of the clean photos. Without
    this, the parts would have no meaning by themselves. The gate is trained afterwards, with the option `only_trust` of
    `MappingTask`.

    `network` in the config holds the settings of a new `vae` and `mapping`.

    Options:
        log: weight of the logarithm of each sample's squared error (PSNR loss of Chen et al. 2021, HINet).
        vae, latent, kl: weights of the VAEs' losses.
        share: the share of the batch that these are computed on.
        noise: standard deviation of the noise added to latents.
        perceptual: weight of the perceptual distance, if the config names a backbone.
        masks: false for photos that are never damaged.
    """

    OPTIONS: ClassVar = {
        "log": 0.01, "vae": 0.5, "latent": 0.02, "kl": 1e-6, "share": 0.25, "noise": 0.1, "perceptual": 0.0,
        "masks": True,
    }  # fmt: skip

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        if config.init_from:
            self.old_vae, self.clean_vae = self.load_or_create("old_vae", VAE), self.load_or_create("clean_vae", VAE)
            self.net = self.load_or_create("mapping", LatentMapping)
            Checkpoints(config.init_from).check_vaes(self.net)
        else:
            settings = config.network.get("vae", {})
            self.old_vae, self.clean_vae = (self.create(VAE, settings) for _ in range(2))
            self.old_vae.load_state_dict(self.clean_vae.state_dict())  # both latent spaces start as the same
            channels = self.clean_vae.stem.out_channels
            self.net = self.create(LatentMapping, {"channels": channels, **config.network.get("mapping", {})})
        self.net.trust.requires_grad_(False)
        self.detector = self.load_detector()
        self.distance = perceptual_distance(config.backbone) if self.options["perceptual"] else None

    def networks(self) -> dict[str, Network]:
        # the VAEs first: the mapping's config contains their hashes
        return {"old_vae": self.old_vae, "clean_vae": self.clean_vae, "mapping": self.net}

    def on_save(self, name: str, sha256: str) -> None:
        if name != "mapping":
            self.net.tie(**{name: sha256})

    def prepare_aged(self, aged: DegradedBatch, seeds: list[int]) -> tuple[Filled, list[int]]:
        return filled_pairs(aged, seeds, self.detector), seeds

    def forward(self, phase: str, prepared: tuple[Filled, list[int]]) -> Losses:
        (pixels, mask, truth), seeds = prepared
        old, latent, made = self._translate(pixels, mask)
        parts = pixel_losses(made, truth)
        count = max(1, round(self.options["share"] * len(pixels)))
        target = self.clean_vae.encode(truth[:count])
        parts["vae"] = self._reconstruction_loss(self.clean_vae, target, truth[:count], seeds)
        parts["vae"] = parts["vae"] + self._reconstruction_loss(self.old_vae, old[:count], pixels[:count], seeds)
        parts["kl"] = target.float().square().mean() + old[:count].float().square().mean()
        parts["latent"] = (latent[:count].float() - target.detach().float()).abs().mean()
        if self.distance is not None:
            parts["perceptual"] = self.distance(made, truth).mean()
        total = parts["l1"] + sum(self.options[name] * part for name, part in parts.items() if name != "l1")
        return Losses(total, parts)

    def _translate(self, pixels: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The old latent, the translated latent, and the decoded photos, without the gate."""
        old = self.old_vae.encode(pixels)
        latent = self.net(old, F.max_pool2d(mask, self.old_vae.stride, ceil_mode=True))
        return old, latent, self.clean_vae.decode(latent, (pixels.shape[-2], pixels.shape[-1])).float()

    def _reconstruction_loss(self, vae: VAE, latent: Tensor, pixels: Tensor, seeds: list[int]) -> Tensor:
        # seeds other than those of the degradation, so that the noise is independent of it
        draws = Draws([seed + 1 for seed in seeds[: len(latent)]], pixels.device)
        noise = self.options["noise"] * draws.normal(*latent.shape[1:])
        return charbonnier(vae.decode(latent + noise, (pixels.shape[-2], pixels.shape[-1])).float(), pixels)

    def validate(self, batch: Batch, overlays: OverlayBank | None) -> tuple[dict[str, float], Tensor]:
        def restore(aged: DegradedBatch) -> tuple[Filled, Tensor]:
            prepared, _ = self.prepare_aged(aged, batch.seeds)
            return prepared, self._translate(prepared[0], prepared[1])[2]

        return validate_restoration(batch, overlays, restore)
