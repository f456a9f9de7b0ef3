"""Evaluation recipes; their severity was calibrated on the validation photos (see `SEVERITY`)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bringback.degradations import low_light, tone, wear
from bringback.degradations import marks as damage
from bringback.degradations.rng import Draws
from bringback.ops.color import grayed, luminance

SPOILED = 0.2  # coverage at which a pixel counts as fully damaged

# calibrated to this mean PSNR of the aged validation photos: unstructured 26.6, structured 19.1, mixed 16.3,
# grainy-bw 17.6, dark-noisy 10.1 dB
SEVERITY = {"unstructured": 0.78, "structured": 2.45, "mixed": 1.35, "grainy-bw": 0.85, "dark-noisy": 1.0}

Overlays = damage.OverlayBank | None


@dataclass(frozen=True, slots=True)
class DegradedBatch:
    """A batch of aged photos with ground truth.

    aged, truth: (B, 3, H, W) in [0, 1]; mask: (B, 1, H, W), the damage coverage of each pixel in [0, 1]; gray: (B,)
    bool, True where the aged photo is gray or sepia: its truth is gray, and only luminance can be compared.
    """

    aged: Tensor
    mask: Tensor
    truth: Tensor
    gray: Tensor

    def damage(self) -> Tensor:
        """The damage mask used as a target: coverage divided by `SPOILED`, clamped to 1."""
        return (self.mask / SPOILED).clamp_max(1)


Recipe = Callable[[Tensor, Draws, Overlays], DegradedBatch]


def completed(aged: Tensor, truth: Tensor, mask: Tensor | None = None, gray: Tensor | None = None) -> DegradedBatch:
    """Build an `DegradedBatch`; defaults: nothing damaged, nothing gray."""
    if mask is None:
        mask = torch.zeros_like(truth[:, :1])
    if gray is None:
        gray = torch.zeros(len(truth), dtype=torch.bool, device=truth.device)
    return DegradedBatch(aged, mask, truth, gray)


def lay_marks(pixels: Tensor, draws: Draws, overlays: Overlays, amount: Tensor | float) -> tuple[Tensor, Tensor]:
    """Composite a random selection of damage layers onto the pixels; `amount` scales the probability of each kind."""
    h, w = pixels.shape[-2:]
    mask = torch.zeros_like(pixels[:, :1])

    def some(alpha: Tensor, probability: float, bright: float) -> None:
        nonlocal pixels, mask
        light = torch.where(draws.chance(bright), draws.uniform(0.82, 1.0), draws.uniform(0.0, 0.18))
        color = light + draws.uniform(-0.06, 0.06, 3)
        strength = torch.where(draws.chance(probability * amount), draws.uniform(0.7, 1.0), 0.0)
        pixels, mask = damage.lay(pixels, mask, alpha * strength, color.clamp(0, 1))

    if overlays is not None:
        some(overlays.layer(draws, h, w), 0.7, 0.88)
        some(overlays.layer(draws, h, w), 0.45, 0.88)
        some(overlays.layer(draws, h, w), 0.3, 0.88)
    some(damage.strokes(draws, h, w), 0.7 if overlays is None else 0.45, 0.88)
    some(damage.dust(draws, h, w), 0.5, 0.88)
    some(damage.cracks(draws, h, w), 0.3, 0.88)
    some(damage.folds(draws, h, w), 0.3, 0.88)
    torn = damage.missing(draws, h, w, 0.005, 0.05) * draws.chance(0.25 * amount)
    return damage.lay(pixels, mask, torn, damage.paper(draws, h, w))


def clean(pixels: Tensor, draws: Draws, overlays: Overlays) -> DegradedBatch:
    """C: unchanged."""
    return completed(pixels, pixels)


def unstructured(pixels: Tensor, draws: Draws, overlays: Overlays) -> DegradedBatch:
    """U: blur, noise, low resolution and JPEG in any order."""
    return completed(wear.any_order(pixels, draws, SEVERITY["unstructured"]), pixels)


def structured(pixels: Tensor, draws: Draws, overlays: Overlays) -> DegradedBatch:
    """S: scratches, hairs, dust, stains, cracks, folds and small tears on an otherwise good photo."""
    aged, mask = lay_marks(pixels, draws, overlays, SEVERITY["structured"])
    return completed(aged.clamp(0, 1), pixels, mask)


def mixed(pixels: Tensor, draws: Draws, overlays: Overlays) -> DegradedBatch:
    """M: an old print: soft, faded, often gray or sepia, grainy, damaged, then scanned."""
    return aged_print(pixels, draws, overlays, 1.0, 0.8)


def aged_print(
    pixels: Tensor, draws: Draws, overlays: Overlays, strength: Tensor | float, marks: Tensor | float
) -> DegradedBatch:
    """M with fading scaled by `strength` and damage probability by `marks`, each (B, 1, 1, 1) or a scalar."""
    gray = draws.uniform() < 0.5
    truth = grayed(pixels, gray)
    aged = wear.any_order(truth, draws, 0.35, 0.5)
    tinted = torch.where(draws.chance(0.5), tone.sepia(luminance(aged).expand_as(aged), draws), aged)
    aged = torch.where(gray, tinted, aged)
    aged = tone.uneven_light(aged, draws, 0.5)
    faded = tone.fade(aged, draws, strength * SEVERITY["mixed"])
    # gray prints fade in luminance only: their tint comes from the sepia step
    aged = torch.where(gray, aged + (luminance(faded) - luminance(aged)), faded)
    aged = torch.where(draws.chance(0.3) & ~gray, tone.yellowing(aged, draws), aged)
    aged, mask = lay_marks(aged.clamp(0, 1), draws, overlays, marks)
    aged = torch.where(draws.chance(0.6), wear.grain(aged, draws, 0.7), aged)
    aged = torch.where(draws.chance(0.5), wear.compression(aged, draws, 0.5), aged)
    # untinted gray photos stay exactly gray
    plain = gray & ((tinted - luminance(tinted)).abs().amax((1, 2, 3), keepdim=True) < 1e-3)
    aged = grayed(aged, plain)
    return completed(aged.clamp(0, 1), truth, mask, gray.flatten())


def holes(pixels: Tensor, draws: Draws, overlays: Overlays) -> DegradedBatch:
    """H: 5 to 15 % of the area is missing."""
    h, w = pixels.shape[-2:]
    alpha = damage.missing(draws, h, w, 0.05, 0.15)
    aged, mask = damage.lay(pixels, torch.zeros_like(alpha), alpha, damage.paper(draws, h, w))
    return completed(aged, pixels, mask)


def grainy_bw(pixels: Tensor, draws: Draws, overlays: Overlays) -> DegradedBatch:
    """G: a grainy, dirty black-and-white print; always gray, with three equal channels."""
    truth = luminance(pixels).expand_as(pixels)
    aged, mask = lay_dirt(worn_film(truth, draws), draws, overlays)
    gray = torch.ones(len(pixels), dtype=torch.bool, device=pixels.device)
    return completed(luminance(aged).expand_as(pixels), truth, mask, gray)


def worn_film(gray: Tensor, draws: Draws) -> Tensor:
    """Blur, fading, uneven light and strong grain; (B, 3, H, W), gray in and out."""
    severity = SEVERITY["grainy-bw"]
    soft = tone.uneven_light(wear.blur(gray, draws, 0.4), draws)
    dull = luminance(tone.fade(soft, draws, severity)).expand_as(gray)
    return wear.grain(dull, draws, 2.0 * severity)


def lay_dirt(pixels: Tensor, draws: Draws, overlays: Overlays) -> tuple[Tensor, Tensor]:
    """Fewer marks than in S, plus dust, specks, spots and faint stains, mostly dark."""
    h, w = pixels.shape[-2:]
    pixels, mask = lay_marks(pixels, draws, overlays, 0.8)
    for kind, thickest in ((damage.dust, 1.0), (damage.specks, 1.0), (damage.foxing, 0.8), (damage.stain, 0.4)):
        strength = draws.uniform(0.4, 1.0) * thickest * draws.chance(0.6)
        light = torch.where(draws.chance(0.7), draws.uniform(0.0, 0.3), draws.uniform(0.8, 1.0))
        pixels, mask = damage.lay(pixels, mask, kind(draws, h, w) * strength, light)
    return pixels.clamp(0, 1), mask


def dark_noisy(pixels: Tensor, draws: Draws, overlays: Overlays) -> DegradedBatch:
    """D: low light (1/14 to 1/3 of the exposure), sensor noise, salt and pepper, 8 bits; some lamps stay bright."""
    severity = SEVERITY["dark-noisy"]
    dark = low_light.underexposed(pixels, draws, severity)
    noisy = low_light.sensor_noise(dark, draws, severity)
    return completed(low_light.eight_bit(low_light.salt_and_pepper(noisy, draws, severity)), pixels)
