"""The mapping: translate old latents into clean ones."""

from collections.abc import Callable
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.degradations import Aged, OverlayBank, age
from bringback.models.base import Network
from bringback.models.translation.mapping import Mapping, translate
from bringback.models.translation.vae import VAE
from bringback.models.unet import ScratchUNet, damage
from bringback.ops.color import greyed
from bringback.ops.masks import firm, solid
from bringback.ops.metrics import psnr
from bringback.ops.push_pull import fill
from bringback.training.config import TrainConfig
from bringback.training.data import Batch
from bringback.training.losses import charbonnier, perceptual_distance
from bringback.training.task import Losses, TrainingTask
from bringback.weights.checkpoints import Checkpoints

Filled = tuple[Tensor, Tensor, Tensor]  # filled pixels, how far they were filled, the truth


class FilledTask(TrainingTask):
    """A task that learns from filled photos, with a detector, or None, that tells what is to be filled."""

    detector: ScratchUNet | None

    def detecting(self) -> ScratchUNet | None:
        """The detector in `weights`, or that which ships; None where the option `masks` says so."""
        if not self.options["masks"]:
            return None
        checkpoints = Checkpoints(self.config.weights or None)
        self.parents |= checkpoints.hashes(["scratches"])
        return checkpoints.load("scratches", ScratchUNet)

    def train(self, mode: bool = True) -> Self:
        self.training = mode
        for part in self.children():
            if part is not self.detector:  # a thread may be running it: it is in eval mode from the start, for good
                part.train(mode)
        return self


class MappingTask(FilledTask):
    """Trains `mapping` on what the stages before it hand over: filled photos that are not faded, told what was filled.

    Fading is left out of the recipe and not undone here: a tone curve read off a crop errs more than one read off a
    photo, and would teach the mapping to mend tones instead of noise and blur. A quarter of the samples comes with the
    exact mask, the others with what the detector finds. What its `trust` keeps of a photo is learned beside it; that
    loss does not reach the mapping.
    Options: `latent`, `perceptual`: weights beside the pixel loss; `masks`: false for a mapping that never sees damage
    (give it a recipe without any); `only_trust`: train `trust` and nothing else, all in float32.
    """

    OPTIONS: ClassVar = {"latent": 0.02, "perceptual": 0.01, "masks": True, "only_trust": False}

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        checkpoints = Checkpoints(config.weights or None)
        self.old_vae, self.clean_vae = checkpoints.load("old_vae", VAE), checkpoints.load("clean_vae", VAE)
        hashes = checkpoints.hashes(["old_vae", "clean_vae"])
        self.net = self.begin("mapping", Mapping, channels=self.clean_vae.stem.out_channels, **hashes)
        checkpoints.check_vaes(self.net)
        self.parents |= hashes
        self.detector = self.detecting()
        if self.options["only_trust"]:
            self.net.requires_grad_(False).trust.requires_grad_(True)
        self.distance = perceptual_distance(config.backbone)

    def networks(self) -> dict[str, Network]:
        return {"mapping": self.net}

    def ready(self, aged: Aged, seeds: list[int]) -> Filled:
        return filled_pairs(aged, seeds, self.detector)

    def forward(self, phase: str, prepared: Filled) -> Losses:
        pixels, mask, truth = prepared
        coarse = F.max_pool2d(mask, self.old_vae.stride, ceil_mode=True)
        if self.options["only_trust"]:
            # the gradient of dilated convolutions of 24 channels is not finite in bfloat16 on a CPU
            with torch.autocast(pixels.device.type, enabled=False):
                with torch.no_grad():
                    made = self._decode(self.net(self.old_vae.encode(pixels), coarse), pixels)
                return Losses(self._trust_loss(pixels, made, mask, truth))
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
        kept = torch.lerp(made, pixels, self.net.trust(pixels, made, mask))
        # a decibel of a good photo is worth as much as one of a bad one (the PSNR loss of Chen et al. 2021, HINet)
        errors = (kept - truth).square().mean((1, 2, 3))
        return charbonnier(kept, truth) + 0.01 * torch.log(errors + 1e-5).mean()

    def _restore(self, pixels: Tensor, mask: Tensor) -> Tensor:
        return translate(self.old_vae, self.net, self.clean_vae, pixels, mask)

    def validate(self, batch: Batch, overlays: OverlayBank | None) -> tuple[dict[str, float], Tensor]:
        def restored(aged: Aged) -> tuple[Filled, Tensor]:
            prepared = self.ready(aged, batch.seeds)
            return prepared, self._restore(prepared[0], prepared[1])

        return judged(batch, overlays, restored)


def filled_pairs(aged: Aged, seeds: list[int], detector: ScratchUNet | None) -> Filled:
    """Filled pixels, how far they were filled, and the truth, of photos and their samples' seeds.

    A quarter is filled by the exact mask, the others by what the detector finds. Where nothing was laid on a photo it
    is not asked: what it takes for damage there is rare, and costs as much as learning.
    """
    pixels = greyed(aged.aged, aged.grey)
    marked = aged.mask.amax((1, 2, 3)) > 0
    holes = torch.zeros_like(aged.mask)
    if detector is None or not marked.any():
        return pixels, holes, aged.truth
    exact = torch.tensor([seed % 4 == 0 for seed in seeds], device=pixels.device)
    mask = torch.where(exact[:, None, None, None], firm(aged.damage()), 0.0)
    if (asked := marked & ~exact).any():
        mask[asked] = damage(detector(pixels[asked]).float())
    holes[marked] = solid(mask[marked])
    pixels = pixels.clone()
    pixels[marked] = fill(pixels[marked], holes[marked])
    return pixels, holes, aged.truth


def judged(
    batch: Batch, overlays: OverlayBank | None, restored: Callable[[Aged], tuple[Filled, Tensor]]
) -> tuple[dict[str, float], Tensor]:
    """PSNR and its gain on three recipes, whose gains add up to the score, and pictures before, after, truth."""
    metrics, shown = {}, []
    for recipe in ("unstructured", "structured", "worn"):
        (pixels, _, truth), made = restored(age(batch.pixels, recipe, batch.seeds, overlays))
        made = made.clamp(0, 1)
        metrics[f"{recipe}_gain"] = float((psnr(made, truth) - psnr(pixels, truth)).mean())
        metrics[recipe] = float(psnr(made, truth).mean())
        shown += [pixels[:8], made[:8], truth[:8]]
    return {"score": sum(v for k, v in metrics.items() if k.endswith("gain")), **metrics}, torch.cat(shown)
