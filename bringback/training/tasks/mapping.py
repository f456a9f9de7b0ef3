"""The mapping: translates old latents into clean ones."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.degradations import DegradedBatch, OverlayBank
from bringback.models.base import Network
from bringback.models.translation.mapping import LatentMapping, translate
from bringback.models.translation.vae import VAE
from bringback.training.config import TrainConfig
from bringback.training.data import Batch
from bringback.training.losses import charbonnier, perceptual_distance
from bringback.training.task import Losses
from bringback.training.tasks.filled import Filled, FilledTask, filled_pairs, validate_restoration
from bringback.weights.checkpoints import Checkpoints

_EPSILON = 3e-5  # the squared error of 45 dB: with a smaller one, sound photos make the gate keep noise in others


class MappingTask(FilledTask):
    """Trains `mapping` on what it gets from the stages before it: filled photos without fading, and the filled mask.

    The recipe contains no fading, and none is corrected here: a tone curve estimated from a crop is less accurate than
    one from a whole photo, and would teach the mapping to correct tones instead of noise and blur. The gate, `trust`,
    is trained beside it; its loss does not reach the mapping.

    Options:
        latent, perceptual: weights beside the pixel loss.
        masks: false for a mapping that never sees damage (with a recipe that has none).
        only_trust: train only `trust`, in float32. It compares places with the whole crop: 256 pixels or more.
    """

    OPTIONS: ClassVar = {"latent": 0.02, "perceptual": 0.01, "masks": True, "only_trust": False}

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        checkpoints = Checkpoints(config.weights or None)
        self.old_vae, self.clean_vae = checkpoints.load("old_vae", VAE), checkpoints.load("clean_vae", VAE)
        hashes = checkpoints.hashes(["old_vae", "clean_vae"])
        self.net = self.load_or_create("mapping", LatentMapping, channels=self.clean_vae.stem.out_channels, **hashes)
        checkpoints.check_vaes(self.net)
        self.parents |= hashes
        self.detector = self.load_detector()
        if self.options["only_trust"]:
            self.net.requires_grad_(False).trust.requires_grad_(True)
        self.distance = perceptual_distance(config.backbone)

    def networks(self) -> dict[str, Network]:
        return {"mapping": self.net}

    def prepare_aged(self, aged: DegradedBatch, seeds: list[int]) -> Filled:
        return filled_pairs(aged, seeds, self.detector)

    def forward(self, phase: str, prepared: Filled) -> Losses:
        pixels, mask, truth = prepared
        latent_mask = F.max_pool2d(mask, self.old_vae.stride, ceil_mode=True)
        if self.options["only_trust"]:
            with torch.no_grad():
                latent = self.net(self.old_vae.encode(pixels), latent_mask).float()
            # in bfloat16 the gradient of dilated convolutions with 24 channels is not finite on CPUs
            with torch.autocast(pixels.device.type, enabled=False):
                return Losses(self._trust_loss(pixels, self._decode(latent, pixels).detach(), mask, truth))
        latent = self.net(self.old_vae.encode(pixels), latent_mask)
        made = self._decode(latent, pixels).float()
        with torch.no_grad():
            target = self.clean_vae.encode(truth).float()
            with torch.autocast(pixels.device.type, enabled=False):
                precise = self._decode(latent.float(), pixels)  # to the gate, rounding to bfloat16 looks like noise
        parts = {
            "l1": charbonnier(made, truth),
            "latent": (latent.float() - target).abs().mean(),
            "squares": F.mse_loss(made, truth),  # favors the mean over the mode where the truth is uncertain
            "trust": self._trust_loss(pixels, precise, mask, truth),
        }
        total = parts["l1"] + self.options["latent"] * parts["latent"] + 10 * parts["squares"] + parts["trust"]
        if self.distance is not None:
            parts["perceptual"] = self.distance(made, truth).mean()
            total = total + self.options["perceptual"] * parts["perceptual"]
        return Losses(total, parts)

    def _decode(self, latent: Tensor, pixels: Tensor) -> Tensor:
        return self.clean_vae.decode(latent, (pixels.shape[-2], pixels.shape[-1]))

    def _trust_loss(self, pixels: Tensor, made: Tensor, mask: Tensor, truth: Tensor) -> Tensor:
        blended = torch.lerp(made, pixels, self.net.trust(pixels, made, mask))
        # the logarithm (PSNR loss of Chen et al. 2021, HINet) weights a decibel the same in good and in bad photos
        errors = (blended - truth).square().mean((1, 2, 3))
        return charbonnier(blended, truth) + 0.01 * torch.log(errors + _EPSILON).mean()

    def _restore(self, pixels: Tensor, mask: Tensor) -> Tensor:
        return translate(self.old_vae, self.net, self.clean_vae, pixels, mask)

    def validate(self, batch: Batch, overlays: OverlayBank | None) -> tuple[dict[str, float], Tensor]:
        def restore(aged: DegradedBatch) -> tuple[Filled, Tensor]:
            prepared = self.prepare_aged(aged, batch.seeds)
            return prepared, self._restore(prepared[0], prepared[1])

        return validate_restoration(batch, overlays, restore)
