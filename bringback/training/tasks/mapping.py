"""The mapping: translate old latents into clean ones."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.aging import Aged, OverlayBank, age
from bringback.checkpoints import Checkpoints
from bringback.inpaint import fill, firm, solid
from bringback.metrics import psnr
from bringback.nets.blocks import Network
from bringback.nets.mapping import Mapping, translate
from bringback.nets.unet import ScratchUNet, damage
from bringback.nets.vae import VAE
from bringback.tint import greyed
from bringback.training.config import ConfigError, TrainConfig
from bringback.training.data import Batch
from bringback.training.losses import charbonnier, perceptual_distance
from bringback.training.task import Losses, TrainingTask


class MappingTask(TrainingTask):
    """Trains `mapping` on what the stages before it hand over: filled photos that are not faded, told what was filled.

    Fading is left out of the recipe and not undone here: a tone curve read off a crop errs more than one read off a
    photo, and would teach the mapping to mend tones instead of noise and blur. A quarter of the samples comes with the
    exact mask, the others with what the detector finds. What its `trust` keeps of a photo is learned beside it; that
    loss does not reach the mapping.
    Options: `latent`, `perceptual`: weights beside the pixel loss; `masks`: false for a mapping that never sees damage
    (give it a recipe without any); `joint`: the encoder before and the decoder behind learn too, and are saved beside
    the mapping: for a last leg, at a small learning rate, on from a mapping (`init_from`); `only_trust`: train
    `trust` and nothing else, all in float32.
    """

    OPTIONS: ClassVar = {"latent": 0.02, "perceptual": 0.01, "masks": True, "joint": False, "only_trust": False}

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        checkpoints = Checkpoints(config.weights or None)
        self.old_vae, self.clean_vae = checkpoints.load("old_vae", VAE), checkpoints.load("clean_vae", VAE)
        hashes = checkpoints.hashes(["old_vae", "clean_vae"])
        self.net = self.begin("mapping", Mapping, channels=self.clean_vae.stem.out_channels, **hashes)
        checkpoints.check_vaes(self.net)
        self.parents |= hashes
        self.detector = checkpoints.load("scratches", ScratchUNet) if self.options["masks"] else None
        if self.detector is not None:
            self.parents |= checkpoints.hashes(["scratches"])
        if self.options["only_trust"]:
            if self.options["joint"]:
                raise ConfigError("options: only_trust and joint exclude each other")
            self.net.requires_grad_(False).trust.requires_grad_(True)
        if self.options["joint"]:
            for part in (self.old_vae.stem, self.old_vae.encoder, self.clean_vae.decoder, self.clean_vae.head):
                part.requires_grad_(True)
        self.distance = perceptual_distance(config.backbone)

    def networks(self) -> dict[str, Network]:
        if not self.options["joint"]:
            return {"mapping": self.net}
        # the VAEs first: the mapping's config names their hashes
        return {"old_vae": self.old_vae, "clean_vae": self.clean_vae, "mapping": self.net}

    def saved(self, name: str, sha256: str) -> None:
        if name != "mapping":
            self.net.tie(**{name: sha256})

    def train(self, mode: bool = True) -> "MappingTask":
        self.training = mode
        for part in self.children():
            if part is not self.detector:  # a thread may be running it: it is in eval mode from the start, for good
                part.train(mode)
        return self

    def ready(self, aged: Aged, seeds: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Filled pixels, how far they were filled, and the truth."""
        pixels = greyed(aged.aged, aged.grey)
        if self.detector is None:
            return pixels, torch.zeros_like(aged.mask), aged.truth
        found = damage(self.detector(pixels).float())
        exact = torch.tensor([seed % 4 == 0 for seed in seeds], device=pixels.device)[:, None, None, None]
        mask = torch.where(exact, firm(aged.damage()), found)
        holes = solid(mask)
        return fill(pixels, holes), holes, aged.truth

    def forward(self, phase: str, prepared: tuple[Tensor, Tensor, Tensor]) -> Losses:
        pixels, mask, truth = prepared
        coarse = F.max_pool2d(mask, self.old_vae.stride, ceil_mode=True)
        if self.options["only_trust"]:
            with torch.autocast(pixels.device.type, enabled=False), torch.no_grad():
                made = self._decode(self.net(self.old_vae.encode(pixels), coarse), pixels)
            return Losses(self._trust_loss(pixels, made, coarse, truth))
        latent = self.net(self.old_vae.encode(pixels), coarse)
        made = self._decode(latent, pixels).float()
        with torch.no_grad():
            wanted = self.clean_vae.encode(truth).float()
            with torch.autocast(pixels.device.type, enabled=False):
                precise = self._decode(latent.float(), pixels)  # trust takes what bfloat16 rounds away for noise
        parts = {
            "l1": charbonnier(made, truth),
            "latent": (latent.float() - wanted).abs().mean(),
            "squares": F.mse_loss(made, truth),  # where there is doubt the mean of what may be, not the likeliest
            "trust": self._trust_loss(pixels, precise, coarse, truth),
        }
        total = parts["l1"] + self.options["latent"] * parts["latent"] + 10 * parts["squares"] + parts["trust"]
        if self.options["joint"]:  # the decoder must go on to show what latents of clean photos mean
            parts["rebuilt"] = charbonnier(self._decode(wanted, truth).float(), truth)
            total = total + parts["rebuilt"]
        if self.distance is not None:
            parts["perceptual"] = self.distance(made, truth).mean()
            total = total + self.options["perceptual"] * parts["perceptual"]
        return Losses(total, parts)

    def _decode(self, latent: Tensor, pixels: Tensor) -> Tensor:
        return self.clean_vae.decode(latent, (pixels.shape[-2], pixels.shape[-1]))

    def _trust_loss(self, pixels: Tensor, made: Tensor, coarse: Tensor, truth: Tensor) -> Tensor:
        kept = torch.lerp(made, pixels, self.net.trust(pixels, made, coarse))
        # a decibel of a good photo is worth as much as one of a bad one (the PSNR loss of Chen et al. 2021, HINet)
        errors = (kept - truth).square().mean((1, 2, 3))
        return charbonnier(kept, truth) + 0.01 * torch.log(errors + 1e-5).mean()

    def _restore(self, pixels: Tensor, mask: Tensor) -> Tensor:
        return translate(self.old_vae, self.net, self.clean_vae, pixels, mask)

    def validate(self, batch: Batch, overlays: OverlayBank | None) -> tuple[dict[str, float], Tensor]:
        metrics, shown = {}, []
        for recipe in ("unstructured", "structured", "worn"):
            pixels, mask, truth = self.ready(age(batch.pixels, recipe, batch.seeds, overlays), batch.seeds)
            made = self._restore(pixels, mask).clamp(0, 1)
            metrics[f"{recipe}_gain"] = float((psnr(made, truth) - psnr(pixels, truth)).mean())
            metrics[recipe] = float(psnr(made, truth).mean())
            shown += [pixels[:8], made[:8], truth[:8]]
        return {"score": sum(v for k, v in metrics.items() if k.endswith("gain")), **metrics}, torch.cat(shown)
