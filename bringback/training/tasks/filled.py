"""What the tasks of the translation share: photos whose damage was filled, by the exact or by a detected mask."""

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor

from bringback.degradations import DegradedBatch, OverlayBank, degrade
from bringback.models.unet import ScratchUNet, damage
from bringback.ops.color import grayed
from bringback.ops.masks import dilate_edges, fill_mask
from bringback.ops.metrics import psnr
from bringback.ops.push_pull import fill
from bringback.training.data import Batch
from bringback.training.task import TrainingTask
from bringback.weights.checkpoints import Checkpoints

Filled = tuple[Tensor, Tensor, Tensor]  # filled pixels, the mask of what was filled, the truth


class FilledTask(TrainingTask):
    """A task that learns from filled photos. `detector` finds the damage; None: the photos have none."""

    detector: ScratchUNet | None

    def load_detector(self) -> ScratchUNet | None:
        """The detector in `weights`, or the shipped one; None if the option `masks` is off."""
        if not self.options["masks"]:
            return None
        checkpoints = Checkpoints(self.config.weights or None)
        self.parents |= checkpoints.hashes(["scratches"])
        return checkpoints.load("scratches", ScratchUNet)

    def train(self, mode: bool = True) -> Self:
        self.training = mode
        for module in self.children():
            if module is not self.detector:  # always in eval mode; a thread may be running it
                module.train(mode)
        return self


def filled_pairs(aged: DegradedBatch, seeds: list[int], detector: ScratchUNet | None) -> Filled:
    """Filled pixels, the mask of what was filled, and the truth; one seed per sample.

    A quarter of the samples is filled by the exact mask, the others by the detected one. Samples without damage skip
    the detector: its false alarms on them are rare, and it costs as much as the training step.
    """
    pixels = grayed(aged.aged, aged.gray)
    damaged = aged.mask.amax((1, 2, 3)) > 0
    holes = torch.zeros_like(aged.mask)
    if detector is None or not damaged.any():
        return pixels, holes, aged.truth
    exact = torch.tensor([seed % 4 == 0 for seed in seeds], device=pixels.device)
    mask = torch.where(exact[:, None, None, None], dilate_edges(aged.damage()), 0.0)
    if (detected := damaged & ~exact).any():
        mask[detected] = damage(detector(pixels[detected]).float())
    holes[damaged] = fill_mask(mask[damaged])
    pixels = pixels.clone()
    pixels[damaged] = fill(pixels[damaged], holes[damaged])
    return pixels, holes, aged.truth


def validate_restoration(
    batch: Batch, overlays: OverlayBank | None, restore: Callable[[DegradedBatch], tuple[Filled, Tensor]]
) -> tuple[dict[str, float], Tensor]:
    """Metrics and pictures (before, after, truth) of three recipes.

    `restore` returns its input and its output. The metrics are PSNR and its gain; the score is the sum of the gains.
    """
    metrics, pictures = {}, []
    for recipe in ("unstructured", "structured", "worn"):
        (pixels, _, truth), restored = restore(degrade(batch.pixels, recipe, batch.seeds, overlays))
        restored = restored.clamp(0, 1)
        metrics[f"{recipe}_gain"] = float((psnr(restored, truth) - psnr(pixels, truth)).mean())
        metrics[recipe] = float(psnr(restored, truth).mean())
        pictures += [pixels[:8], restored[:8], truth[:8]]
    return {"score": sum(v for k, v in metrics.items() if k.endswith("gain")), **metrics}, torch.cat(pictures)
