"""Colour for grey photos: a distribution over colours at each place, from luminance alone."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bringback.degradations import OverlayBank
from bringback.degradations.rng import Draws
from bringback.models.base import Network
from bringback.models.colorizer import PATCH, ColourUNet, expected, on_grid
from bringback.ops.color import chroma, luminance, rgb_to_lab, tinged
from bringback.ops.metrics import colour_error, colourfulness
from bringback.training.config import TrainConfig
from bringback.training.data import Batch
from bringback.training.losses import charbonnier, perceptual_distance
from bringback.training.task import Losses, TrainingTask

_MOST_HINTS = 8  # to a photo
_BASE = 1 / 300  # how frequent a colour would be if all that sRGB shows were alike
_UNIT = 50.0  # of a* and b*, for losses of pictures to be near 1


@dataclass(frozen=True, slots=True)
class Lesson:
    """`light` (B, 1, H, W), worn a little; `hints` (B, 3, H, W); `ab` (B, 2, H / 4, W / 4), the truth; `pixels` it.

    Of the places of `ab` every second one down and across is asked for, beginning with `corner`: neighbours teach
    nearly the same, and 440 colours for each place are most of the work.
    """

    light: Tensor
    hints: Tensor
    ab: Tensor
    pixels: Tensor
    corner: tuple[int, int]


def rarity(ab: Tensor, power: float) -> Tensor:
    """How much a colour (B, 2, H, W) counts: the `power` of how rare it is (Zhang et al. 2016); (B, H, W).

    How frequent colours are, by their distance from grey, is a curve through what was counted in 321 training photos,
    mixed half and half with a uniform distribution. 1 for grey.
    """
    far = ab.norm(dim=1)
    frequency = (0.45 * torch.exp(-far / 4.5) + 0.045 * torch.exp(-far / 14) + _BASE) / 2
    return ((0.495 + _BASE) / 2 / frequency) ** power


class ColourTask(TrainingTask):
    """Trains `colorize`: cross-entropy over colours, rare ones counting more, and the distance of their mean.

    Options: `rebalance`, the power of rarity that weighs the cross-entropy (0: all colours alike, 1: as Zhang et al.);
    `regression`, weight of the mean's distance; `hinted`, the share of photos of which some colours are told;
    `semantics`, weight of telling from the deepest level what the backbone, if the config names one, sees in the photo
    in colour (knowledge distillation, Hinton et al. 2015); `temperature`, at which colours are judged.
    """

    OPTIONS: ClassVar = {
        "rebalance": 0.5,
        "regression": 1.0,
        "hinted": 0.25,
        "semantics": 0.5,
        "dropout": 0.2,
        "temperature": 0.5,
    }

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.net = self.begin("colorize", ColourUNet)
        distance = perceptual_distance(config.backbone) if self.options["semantics"] else None
        # in a list: what is frozen is neither saved nor averaged
        self._backbone = [] if distance is None else [distance.network]
        self.tell = None if distance is None else nn.LazyConv2d(512, 1)
        if self.tell is not None:
            self.tell(torch.zeros(1, self.net.widths[-1], 1, 1))

    def networks(self) -> dict[str, Network]:
        return {"colorize": self.net}

    def prepare(self, batch: Batch, overlays: OverlayBank | None) -> Lesson:
        draws = Draws([seed + 2 for seed in batch.seeds], batch.pixels.device)
        pixels = _moved(batch.pixels, draws)
        ab = rgb_to_lab(F.avg_pool2d(pixels, PATCH))[:, 1:]
        light, hints = _worn(luminance(pixels), draws), _hints(ab, draws, self.options["hinted"])
        return Lesson(light, hints, ab, pixels, (batch.seeds[0] % 2, batch.seeds[0] // 2 % 2))

    def forward(self, phase: str, lesson: Lesson) -> Losses:
        down, across = lesson.corner
        seen = self.net.look(lesson.light, lesson.hints)
        told = self.tell(seen[-1]).float() if self.tell is not None else None
        seen[-1] = F.dropout2d(seen[-1], self.options["dropout"])  # there are far fewer photos than things in the world
        logits = self.net.head(self.net.ascend(seen)[..., down::2, across::2]).float()
        ab = lesson.ab[..., down::2, across::2]
        numbers, shares = on_grid(ab)
        entropy = -(logits.log_softmax(1).gather(1, numbers) * shares).sum(1)
        weight = rarity(ab, self.options["rebalance"])
        parts = {"entropy": (weight * entropy).sum() / weight.sum()}
        parts["regression"] = charbonnier(expected(logits, 1.0) / _UNIT, ab / _UNIT, 1e-2)
        total = parts["entropy"] + self.options["regression"] * parts["regression"]
        if told is not None:
            parts["semantics"] = self._semantics(told, lesson.pixels)
            total = total + self.options["semantics"] * parts["semantics"]
        return Losses(total, parts)

    def _semantics(self, told: Tensor, pixels: Tensor) -> Tensor:
        size = (told.shape[-2], told.shape[-1])
        with torch.no_grad():
            truth = F.adaptive_avg_pool2d(self._backbone[0].to(pixels.device)(pixels)[-1].float(), size)
        return (1 - F.cosine_similarity(told, truth)).mean()

    def validate(self, batch: Batch, overlays: OverlayBank | None) -> tuple[dict[str, float], Tensor]:
        light = luminance(batch.pixels)
        ab = expected(self.net(light), self.options["temperature"])
        ab = F.interpolate(ab, light.shape[-2:], mode="bilinear", align_corners=False)
        made = tinged(light, chroma(light, ab))
        grey = light.expand_as(made)
        ours, none = (float(colour_error(x, batch.pixels).mean()) for x in (made, grey))
        full = float((colourfulness(made) / colourfulness(batch.pixels).clamp_min(0.02)).median())
        # of two that err alike the less pale one is the better
        metrics = {"score": 1 - ours / none + 0.2 * min(full, 0.8), "ab_error": ours, "ab_error_of_grey": none}
        return metrics | {"colourfulness": full}, torch.cat([grey[:8], made[:8], batch.pixels[:8]])


def _moved(pixels: Tensor, draws: Draws) -> Tensor:
    """Of each photo a part of 0.65 to 1 of its sides: few photos have to teach a lot."""
    part = draws.uniform(0.65, 1.0)[:, 0, 0]
    across, down = (draws.uniform(-1, 1)[:, 0, 0] * (1 - part) for _ in range(2))
    none = torch.zeros_like(part)
    rows = torch.cat([part, none, across], 1), torch.cat([none, part, down], 1)
    grid = F.affine_grid(torch.stack(rows, 1), list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)


def _worn(light: Tensor, draws: Draws) -> Tensor:
    """Luminance as old photos have it: bent, paler or harder, a little soft or noisy."""
    bent = light.clamp_min(1e-4) ** torch.exp(draws.uniform(-0.4, 0.4))
    black, white = draws.uniform(-0.03, 0.12), 1 - draws.uniform(-0.03, 0.12)
    soft = F.avg_pool2d(F.pad(bent, (1, 1, 1, 1), mode="replicate"), 3, 1)
    bent = torch.where(draws.chance(0.3), soft, bent)
    noisy = bent + draws.normal(1, *light.shape[-2:]) * draws.uniform(0, 0.04) * draws.chance(0.5)
    return (black + (white - black) * noisy).clamp(0, 1)


def _hints(ab: Tensor, draws: Draws, hinted: float) -> Tensor:
    """Colours told at a few places, blocks of 4x4 pixels, to a share of the photos: (B, 3, 4 H, 4 W)."""
    height, width = ab.shape[-2:]
    told = torch.zeros_like(ab[:, :1])
    counts = [
        count if told_one else 0
        for count, told_one in zip(
            draws.integers(1, _MOST_HINTS + 1), draws.chance(hinted).flatten().tolist(), strict=True
        )
    ]
    places = draws.uniform(size=2 * _MOST_HINTS)[:, :, 0, 0]
    for sample, count in enumerate(counts):
        rows = (places[sample, :count] * height).long()
        columns = (places[sample, _MOST_HINTS : _MOST_HINTS + count] * width).long()
        told[sample, 0, rows, columns] = 1
    hints = torch.cat([told, told * ab / 110], 1)
    return F.interpolate(hints, scale_factor=PATCH, mode="nearest")
