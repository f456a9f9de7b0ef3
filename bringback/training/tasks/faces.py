"""Face refinement on aligned crops with unknown (blind) degradations."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from bringback.degradations import DegradedBatch, OverlayBank, degrade
from bringback.errors import ConfigError
from bringback.models.base import Network
from bringback.models.discriminators import PatchDiscriminator
from bringback.models.faces.generator import FaceGenerator
from bringback.models.native_scale import NativeScale
from bringback.models.registry import SCALE
from bringback.models.translation.mapping import LatentMapping
from bringback.models.translation.vae import VAE
from bringback.ops.color import grayed
from bringback.ops.masks import dilate_edges, fill_mask
from bringback.ops.metrics import psnr
from bringback.ops.push_pull import fill
from bringback.runtime.files import file_hash
from bringback.stages.faces.identity import descriptors, identity_distances
from bringback.stages.translate import LatentTranslator
from bringback.training.adversarial import discriminator_loss, feature_matching, generator_loss
from bringback.training.config import TrainConfig
from bringback.training.data import Batch
from bringback.training.losses import charbonnier, perceptual_distance
from bringback.training.task import Losses, TrainingTask
from bringback.weights.checkpoints import Checkpoints

_SIDE = 256
_SHIFT = 4  # pixels by which a crop is moved at most
_NEAR = 0.04  # identity distance that is added where others are divided by it
_WATCHED = slice(None, None, 3)  # the samples of a batch that the perceptual distance, which is slow, looks at
_FACE = ..., slice(48, 240), slice(32, 224)  # rows and columns of a crop from the brows to the chin
# where the alignment template puts the eyes and the mouth: x, y and standard deviation in pixels
_FEATURES = ((89.0, 108.5, 26.0), (167.0, 108.5, 26.0), (128.0, 190.0, 34.0))


class FaceTask(TrainingTask):
    """Trains `faces` on aligned 256x256 crops whose damage was filled, half of them translated at their native scale.

    Three quarters of the damage is filled, and the network gets its mask, as from the stages before it; the rest counts
    as not detected.

    Options:
        restored: a file of crops of portraits that were aged and restored whole, by train/restored_portraits.py, in
            `data_dir`; half of the samples are taken from it. Empty: none.
        translated: share of the samples that passes through the translation first (0: needs none of its checkpoints).
        perceptual: weight of the perceptual distance, measured in the middle, where the face is, of every third sample.
        features: additional weight of the pixels of eyes and mouth.
        identity: weight of the distance between dlib's descriptors of the output and of the truth, in shares of that
            of the face as it came.
        adversarial, matching: weights of the hinge loss and of feature matching (both 0: no discriminator).
        judge_width: channels of the discriminator.
    """

    OPTIONS: ClassVar = {
        "restored": "",
        "translated": 0.5,
        "perceptual": 0.015,
        "features": 2.0,
        "identity": 0.08,
        "adversarial": 0.0,
        "matching": 0.0,
        "judge_width": 48,
    }

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        if config.resolution != _SIDE:
            raise ConfigError(f"resolution: faces are aligned crops of {_SIDE} pixels, not {config.resolution}")
        self.net = self.load_or_create("faces", FaceGenerator)
        self.distance = perceptual_distance(config.backbone)
        self.discriminator = (
            PatchDiscriminator(self.options["judge_width"])
            if self.options["adversarial"] or self.options["matching"]
            else None
        )
        if self.options["translated"]:
            checkpoints = Checkpoints(config.weights or None)
            self.old_vae, self.clean_vae = checkpoints.load("old_vae", VAE), checkpoints.load("clean_vae", VAE)
            self.mapping = checkpoints.load("mapping", LatentMapping)
            checkpoints.check_vaes(self.mapping)
            self.scale = checkpoints.load(SCALE, NativeScale)
            self.parents |= checkpoints.hashes(["old_vae", "mapping", "clean_vae", SCALE])
        self.lessons: Tensor | None = None
        if self.options["restored"]:
            path = Path(config.data_dir, self.options["restored"])
            self.lessons = _read_lessons(path)
            self.parents["restored"] = file_hash(path)
        self.weight: Tensor
        self.register_buffer("weight", _pixel_weights(self.options["features"]), persistent=False)
        self._pair: tuple[Tensor, Tensor]

    def networks(self) -> dict[str, Network]:
        return {"faces": self.net}

    def restored(self, aged: DegradedBatch, seeds: list[int]) -> DegradedBatch:
        """The faces with their damage filled, a share of them translated; their mask is that of what was filled."""
        pixels, holes, truth = _fill_damage(aged, seeds)
        came = pixels.clone()
        # in whole numbers: seeds have 62 bits, more than a float
        others = [index for index, seed in enumerate(seeds) if self._lesson(seed) is None]
        translated = [index for index in others if seeds[index] // 4 % 1000 < 1000 * self.options["translated"]]
        if translated:
            translator = LatentTranslator(self.old_vae, self.mapping, self.clean_vae, pixels.device)
        for index in translated:  # one by one: each at its native scale, as in a restoration
            own = slice(index, index + 1)
            made = translator.translate(pixels[own], holes[own], self.scale.of(aged.aged[own]))
            pixels[own] = grayed(made, aged.gray[own])
        came = torch.lerp(came, pixels, holes)
        return DegradedBatch(torch.cat([pixels, came], 1), holes, truth, aged.gray)

    def prepare_aged(self, aged: DegradedBatch, seeds: list[int]) -> tuple[Tensor, ...]:
        """Degraded faces, how they came, the mask of what was filled, and the truth.

        All are moved as the finder misses its points.
        """
        together = F.pad(torch.cat([aged.aged, aged.mask, aged.truth], 1), (_SHIFT,) * 4, mode="reflect")
        moved = together.new_empty(len(together), together.shape[1], _SIDE, _SIDE)
        for index, seed in enumerate(seeds):
            if (lesson := self._lesson(seed)) is not None:
                moved[index] = lesson.to(moved.device).float() / 255
                continue
            top, left = divmod(seed // 8 % (2 * _SHIFT + 1) ** 2, 2 * _SHIFT + 1)
            moved[index] = together[index, :, top : top + _SIDE, left : left + _SIDE]
        return moved.split([3, 3, 1, 3], 1)

    def _lesson(self, seed: int) -> Tensor | None:
        """The crops of a portrait that was restored whole, uint8 (10, 256, 256), in place of a sample; or None."""
        if self.lessons is None or seed // 2**39 % 2:
            return None
        lesson = self.lessons[seed // 2**41 % len(self.lessons)]
        return lesson.flip(2) if seed // 2**40 % 2 else lesson

    def forward(self, phase: str, prepared: tuple[Tensor, ...]) -> Losses:
        pixels, came, holes, truth = prepared
        if self.discriminator is not None and phase == "discriminator":
            real, fake = self._pair
            return Losses(discriminator_loss(self.discriminator(real), self.discriminator(fake)))
        made = self.net(pixels, holes, came).float()
        self._pair = truth, made.detach()
        parts = {"l1": charbonnier(made * self.weight, truth * self.weight)}
        if self.distance is not None:
            parts["perceptual"] = self.distance(made[_WATCHED][_FACE], truth[_WATCHED][_FACE]).mean()
        if self.discriminator is not None:
            fake = self.discriminator(made)
            parts["adversarial"] = generator_loss(fake)
            parts["matching"] = feature_matching(self.discriminator(truth), fake)
        if self.options["identity"]:
            with torch.no_grad():
                theirs = descriptors(truth)
                before = (descriptors(came) - theirs).norm(dim=1)
            # in shares of how far the face came: those that hardly are damaged are not to be lost, either
            parts["identity"] = ((descriptors(made) - theirs).norm(dim=1) / (before + _NEAR)).mean()
        total = parts["l1"]
        for name in [*parts][1:]:
            total = total + self.options[name] * parts[name]
        return Losses(total, parts)

    def validate(self, batch: Batch, overlays: OverlayBank | None) -> tuple[dict[str, float], Tensor]:
        pixels, holes, truth = _fill_damage(degrade(batch.pixels, "faces", batch.seeds, overlays), batch.seeds)
        made = self.net(pixels, holes).clamp(0, 1)
        before, after = float(psnr(pixels, truth).mean()), float(psnr(made, truth).mean())
        kept = float(psnr(self.net(batch.pixels).clamp(0, 1), batch.pixels).mean())
        metrics = {"score": after, "before": before, "after": after, "clean": kept}
        if self.options["identity"]:
            for when, crops in (("before", pixels), ("after", made)):
                id_distance = float(np.mean(identity_distances(crops, truth)))
                metrics[f"stranger_{when}"] = id_distance  # the name in the records of earlier runs
        return metrics, torch.cat([pixels[:8], made[:8], truth[:8]])


def _read_lessons(path: Path) -> Tensor:
    """Crops restored, as they came, their masks, and the truth, uint8 (N, 10, 256, 256); raises ConfigError."""
    try:
        lessons = load_file(path)
        parts = [lessons[key] for key in ("aged", "came", "mask", "truth")]
        together = torch.cat(parts, 1)
    except (OSError, LookupError, RuntimeError, SafetensorError) as error:
        raise ConfigError(f"options.restored: {path}: no file of train/restored_portraits.py: {error}") from error
    if together.dtype != torch.uint8 or together.shape[1:] != (10, _SIDE, _SIDE):
        raise ConfigError(f"options.restored: {path}: wants crops of {_SIDE} pixels in 8 bits")
    return together


def _pixel_weights(features: float) -> Tensor:
    """Weights (1, 1, 256, 256) with mean 1; eyes and mouth weigh up to `features` more than the rest."""
    y, x = torch.meshgrid(torch.arange(float(_SIDE)), torch.arange(float(_SIDE)), indexing="ij")
    weight = torch.ones(_SIDE, _SIDE)
    for left, top, spread in _FEATURES:
        weight += features * torch.exp(-((x - left) ** 2 + (y - top) ** 2) / (2 * spread**2))
    return (weight / weight.mean())[None, None]


def _fill_damage(aged: DegradedBatch, seeds: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Degraded faces with the damage of three quarters of them filled, the mask of what was filled, and the truth."""
    detected = torch.tensor([seed % 4 > 0 for seed in seeds], device=aged.aged.device)[:, None, None, None]
    holes = fill_mask(dilate_edges(aged.damage() * detected))
    return fill(aged.aged, holes), holes, aged.truth
