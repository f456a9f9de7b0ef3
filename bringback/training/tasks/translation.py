"""The whole translation end to end: old VAE, mapping, clean VAE."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.degradations import Aged, OverlayBank
from bringback.degradations.rng import Draws
from bringback.models.base import Network
from bringback.models.translation.mapping import Mapping
from bringback.models.translation.vae import VAE
from bringback.training.config import TrainConfig
from bringback.training.data import Batch
from bringback.training.losses import charbonnier, perceptual_distance
from bringback.training.task import Losses
from bringback.training.tasks.mapping import Filled, FilledTask, filled_pairs, judged
from bringback.weights.checkpoints import Checkpoints

_GOOD = 3e-4  # the squared error of 35 dB: a logarithm that cares for less makes a network timid that sees clean photos


def pixel_losses(made: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """`l1` (Charbonnier) and `log`, the logarithm of the squared error of each sample."""
    errors = (made - truth).square().mean((1, 2, 3))
    return {"l1": charbonnier(made, truth), "log": torch.log(errors + _GOOD).mean()}


class TranslationTask(FilledTask):
    """Trains `old_vae`, `mapping` and `clean_vae` together, from nothing or on from those in `init_from`.

    What is learned from is that of `MappingTask`. On a share of each batch both VAEs go on to be autoencoders with a
    noisy latent (their paper's loss), and translated latents are drawn to those of the clean photos: without that the
    three would be one network, whose parts mean nothing alone. The gate is left to a leg of its own, the option
    `only_trust` of the mapping's task.
    Config: `network` holds the settings of a new `vae` and `mapping`. Options: `log`, weight of the logarithm of the
    squared error of each sample (the PSNR loss of Chen et al. 2021, HINet); `vae`, `latent`, `kl`, weights of the
    VAEs' losses, on the `share` of the batch; `noise`, standard deviation added to their latents; `perceptual`, weight
    of the backbone's distance, if the config names a backbone; `masks`, false for photos that are never damaged.
    """

    OPTIONS: ClassVar = {
        "log": 0.01, "vae": 0.5, "latent": 0.02, "kl": 1e-6, "share": 0.25, "noise": 0.1, "perceptual": 0.0,
        "masks": True,
    }  # fmt: skip

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        if config.init_from:
            self.old_vae, self.clean_vae = self.begin("old_vae", VAE), self.begin("clean_vae", VAE)
            self.net = self.begin("mapping", Mapping)
            Checkpoints(config.init_from).check_vaes(self.net)
        else:
            settings = config.network.get("vae", {})
            self.old_vae, self.clean_vae = (self.made(VAE, settings) for _ in range(2))
            self.old_vae.load_state_dict(self.clean_vae.state_dict())  # two spaces that begin as one
            channels = self.clean_vae.stem.out_channels
            self.net = self.made(Mapping, {"channels": channels, **config.network.get("mapping", {})})
        self.net.trust.requires_grad_(False)
        self.detector = self.detecting()
        self.distance = perceptual_distance(config.backbone) if self.options["perceptual"] else None

    def networks(self) -> dict[str, Network]:
        # the VAEs first: the mapping's config names their hashes
        return {"old_vae": self.old_vae, "clean_vae": self.clean_vae, "mapping": self.net}

    def saved(self, name: str, sha256: str) -> None:
        if name != "mapping":
            self.net.tie(**{name: sha256})

    def ready(self, aged: Aged, seeds: list[int]) -> tuple[Filled, list[int]]:
        return filled_pairs(aged, seeds, self.detector), seeds

    def forward(self, phase: str, prepared: tuple[Filled, list[int]]) -> Losses:
        (pixels, mask, truth), seeds = prepared
        old, latent, made = self._translated(pixels, mask)
        parts = pixel_losses(made, truth)
        some = max(1, round(self.options["share"] * len(pixels)))
        wanted = self.clean_vae.encode(truth[:some])
        parts["vae"] = self._rebuilt(self.clean_vae, wanted, truth[:some], seeds)
        parts["vae"] = parts["vae"] + self._rebuilt(self.old_vae, old[:some], pixels[:some], seeds)
        parts["kl"] = wanted.float().square().mean() + old[:some].float().square().mean()
        parts["latent"] = (latent[:some].float() - wanted.detach().float()).abs().mean()
        if self.distance is not None:
            parts["perceptual"] = self.distance(made, truth).mean()
        total = parts["l1"] + sum(self.options[name] * part for name, part in parts.items() if name != "l1")
        return Losses(total, parts)

    def _translated(self, pixels: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Latents of the old and of the clean domain, and the photos, without the gate."""
        old = self.old_vae.encode(pixels)
        latent = self.net(old, F.max_pool2d(mask, self.old_vae.stride, ceil_mode=True))
        return old, latent, self.clean_vae.decode(latent, (pixels.shape[-2], pixels.shape[-1])).float()

    def _rebuilt(self, vae: VAE, latent: Tensor, pixels: Tensor, seeds: list[int]) -> Tensor:
        # not the seeds of the ageing: the two must not know of each other
        own = [seed + 1 for seed in seeds[: len(latent)]]
        noise = self.options["noise"] * Draws(own, pixels.device).normal(*latent.shape[1:])
        return charbonnier(vae.decode(latent + noise, (pixels.shape[-2], pixels.shape[-1])).float(), pixels)

    def validate(self, batch: Batch, overlays: OverlayBank | None) -> tuple[dict[str, float], Tensor]:
        def restored(aged: Aged) -> tuple[Filled, Tensor]:
            prepared, _ = self.ready(aged, batch.seeds)
            return prepared, self._translated(prepared[0], prepared[1])[2]

        return judged(batch, overlays, restored)
