"""Colorization: predict a distribution over colors at each place from luminance and optional hints."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bringback.degradations import OverlayBank
from bringback.degradations.rng import Draws
from bringback.models.base import Network
from bringback.models.colorizer import PATCH, ColorUNet, expected, on_grid
from bringback.ops.color import chroma, luminance, rgb_to_lab, tinged
from bringback.ops.metrics import color_error, colorfulness
from bringback.training.config import TrainConfig
from bringback.training.data import Batch
from bringback.training.losses import charbonnier, perceptual_distance
from bringback.training.task import Losses, TrainingTask

_MAX_HINTS = 8  # per photo
_UNIFORM = 1 / 300  # the frequency of a color if all colors of sRGB were equally frequent
_AB_SCALE = 50.0  # scales a* and b* for losses of the usual magnitude


@dataclass(frozen=True, slots=True)
class ColorBatch:
    """Inputs `light` (B, 1, H, W), `hints` (B, 3, H, W); targets `ab` (B, 2, H / 4, W / 4); the photos `pixels`.

    Only every second place of `ab` in each direction is used, starting at `corner`: neighbors teach nearly the same,
    and 440 colors per place are most of the computation.
    """

    light: Tensor
    hints: Tensor
    ab: Tensor
    pixels: Tensor
    corner: tuple[int, int]


def rebalancing_weight(ab: Tensor, power: float) -> Tensor:
    """The weight (B, H, W) of colors (B, 2, H, W): their rarity to the given power (Zhang et al. 2016); 1 for gray.

    The frequency by distance from gray is a curve fitted to 321 training photos, mixed half and half with a uniform
    distribution.
    """
    saturation = ab.norm(dim=1)
    frequency = (0.45 * torch.exp(-saturation / 4.5) + 0.045 * torch.exp(-saturation / 14) + _UNIFORM) / 2
    return ((0.495 + _UNIFORM) / 2 / frequency) ** power


class ColorTask(TrainingTask):
    """Trains `colorize`: cross-entropy over colors, weighted by rarity, and regression of their mean.

    Options:
        rebalance: power of the rarity that weights the cross-entropy (0: all colors alike, 1: as in Zhang et al. 2016).
        regression: weight of the distance of the mean color.
        hinted: share of the photos with color hints.
        semantics: weight of predicting from the deepest level the backbone's features of the photo in color
            (knowledge distillation, Hinton et al. 2015), if the config names a backbone.
        dropout: probability of dropping channels of the deepest level.
        temperature: of the predicted distribution, for validation.
    """

    OPTIONS: ClassVar = {
        "rebalance": 0.5,
        "regression": 1.0,
        "hinted": 0.25,
        "semantics": 0.5,
        "dropout": 0.2,
        "temperature": 0.5,
    }
    RENAMED: ClassVar = {**TrainingTask.RENAMED, "tell": "semantic_head"}

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.net = self.load_or_create("colorize", ColorUNet)
        distance = perceptual_distance(config.backbone) if self.options["semantics"] else None
        # a list hides the frozen backbone from the saved state and from the optimizer
        self._backbone = [] if distance is None else [distance.network]
        self.semantic_head = None if distance is None else nn.LazyConv2d(512, 1)
        if self.semantic_head is not None:
            self.semantic_head(torch.zeros(1, self.net.widths[-1], 1, 1))

    def networks(self) -> dict[str, Network]:
        return {"colorize": self.net}

    def prepare(self, batch: Batch, overlays: OverlayBank | None) -> ColorBatch:
        draws = Draws([seed + 2 for seed in batch.seeds], batch.pixels.device)
        pixels = _random_crop(batch.pixels, draws)
        ab = rgb_to_lab(F.avg_pool2d(pixels, PATCH))[:, 1:]
        light, hints = _degrade_luminance(luminance(pixels), draws), _random_hints(ab, draws, self.options["hinted"])
        return ColorBatch(light, hints, ab, pixels, (batch.seeds[0] % 2, batch.seeds[0] // 2 % 2))

    def forward(self, phase: str, batch: ColorBatch) -> Losses:
        down, across = batch.corner
        levels = self.net.look(batch.light, batch.hints)
        semantics = self.semantic_head(levels[-1]).float() if self.semantic_head is not None else None
        levels[-1] = F.dropout2d(levels[-1], self.options["dropout"])  # photos are few, for all the kinds of objects
        logits = self.net.head(self.net.ascend(levels)[..., down::2, across::2]).float()
        ab = batch.ab[..., down::2, across::2]
        bins, shares = on_grid(ab)
        entropy = -(logits.log_softmax(1).gather(1, bins) * shares).sum(1)
        weight = rebalancing_weight(ab, self.options["rebalance"])
        parts = {"entropy": (weight * entropy).sum() / weight.sum()}
        parts["regression"] = charbonnier(expected(logits, 1.0) / _AB_SCALE, ab / _AB_SCALE, 1e-2)
        total = parts["entropy"] + self.options["regression"] * parts["regression"]
        if semantics is not None:
            parts["semantics"] = self._semantic_loss(semantics, batch.pixels)
            total = total + self.options["semantics"] * parts["semantics"]
        return Losses(total, parts)

    def _semantic_loss(self, predicted: Tensor, pixels: Tensor) -> Tensor:
        size = (predicted.shape[-2], predicted.shape[-1])
        with torch.no_grad():
            features = self._backbone[0].to(pixels.device)(pixels)[-1].float()
            target = F.adaptive_avg_pool2d(features, size)
        return (1 - F.cosine_similarity(predicted, target)).mean()

    def validate(self, batch: Batch, overlays: OverlayBank | None) -> tuple[dict[str, float], Tensor]:
        light = luminance(batch.pixels)
        ab = expected(self.net(light), self.options["temperature"])
        ab = F.interpolate(ab, light.shape[-2:], mode="bilinear", align_corners=False)
        made = tinged(light, chroma(light, ab))
        gray = light.expand_as(made)
        error, error_of_gray = (float(color_error(x, batch.pixels).mean()) for x in (made, gray))
        full = float((colorfulness(made) / colorfulness(batch.pixels).clamp_min(0.02)).median())
        # at equal errors the more colorful result is better
        score = 1 - error / error_of_gray + 0.2 * min(full, 0.8)
        metrics = {"score": score, "ab_error": error, "ab_error_of_grey": error_of_gray, "colourfulness": full}
        return metrics, torch.cat([gray[:8], made[:8], batch.pixels[:8]])


def _random_crop(pixels: Tensor, draws: Draws) -> Tensor:
    """A random part of each photo, 0.65 to 1 of its sides, resized to the same size (augmentation)."""
    part = draws.uniform(0.65, 1.0)[:, 0, 0]
    across, down = (draws.uniform(-1, 1)[:, 0, 0] * (1 - part) for _ in range(2))
    zero = torch.zeros_like(part)
    rows = torch.cat([part, zero, across], 1), torch.cat([zero, part, down], 1)
    grid = F.affine_grid(torch.stack(rows, 1), list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)


def _degrade_luminance(light: Tensor, draws: Draws) -> Tensor:
    """Luminance with the gamma, contrast, blur and noise of old photos."""
    light = light.clamp_min(1e-4) ** torch.exp(draws.uniform(-0.4, 0.4))
    black, white = draws.uniform(-0.03, 0.12), 1 - draws.uniform(-0.03, 0.12)
    blurred = F.avg_pool2d(F.pad(light, (1, 1, 1, 1), mode="replicate"), 3, 1)
    light = torch.where(draws.chance(0.3), blurred, light)
    noisy = light + draws.normal(1, *light.shape[-2:]) * draws.uniform(0, 0.04) * draws.chance(0.5)
    return (black + (white - black) * noisy).clamp(0, 1)


def _random_hints(ab: Tensor, draws: Draws, hinted: float) -> Tensor:
    """Color hints (B, 3, 4 H, 4 W) for a share of the photos: the true color in a few blocks of 4x4 pixels."""
    height, width = ab.shape[-2:]
    known = torch.zeros_like(ab[:, :1])
    numbers, chosen = draws.integers(1, _MAX_HINTS + 1), draws.chance(hinted).flatten().tolist()
    counts = [number if has_hints else 0 for number, has_hints in zip(numbers, chosen, strict=True)]
    places = draws.uniform(size=2 * _MAX_HINTS)[:, :, 0, 0]
    for sample, count in enumerate(counts):
        rows = (places[sample, :count] * height).long()
        columns = (places[sample, _MAX_HINTS : _MAX_HINTS + count] * width).long()
        known[sample, 0, rows, columns] = 1
    hints = torch.cat([known, known * ab / 110], 1)
    return F.interpolate(hints, scale_factor=PATCH, mode="nearest")
