"""Training recipes: milder, stronger or more specialized than those for evaluation."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from bringback.degradations import low_light, tone, wear
from bringback.degradations import marks as damage
from bringback.degradations.drawn.program import composed
from bringback.degradations.eval_recipes import (
    SEVERITY,
    DegradedBatch,
    Overlays,
    Recipe,
    aged_print,
    clean,
    completed,
    holes,
    lay_marks,
    structured,
    unstructured,
)
from bringback.degradations.rng import Draws
from bringback.degradations.scale_recipes import dense, rescanned
from bringback.degradations.second_order.program import second_order, small_copy
from bringback.ops.color import grayed


def lightly_structured(pixels: Tensor, draws: Draws, overlays: Overlays) -> DegradedBatch:
    """S with fewer marks, from almost none to many, like crops of a damaged photo."""
    aged, mask = lay_marks(pixels, draws, overlays, draws.uniform(0.3, 2.4))
    return completed(aged.clamp(0, 1), pixels, mask)


def stained(pixels: Tensor, draws: Draws, overlays: Overlays) -> DegradedBatch:
    """S with one or two large stains: rare among marks, but they spoil most of a photo."""
    h, w = pixels.shape[-2:]
    spoilt, mask = pixels, torch.zeros_like(pixels[:, :1])
    stains = [damage.missing(draws, h, w, 0.01, 0.12) * draws.chance(0.6)]
    if overlays is not None:
        stains.append(overlays.layer(draws, h, w, heavy=True))
    for stain in stains:
        light = torch.where(draws.chance(0.8), draws.uniform(0.7, 1.0), draws.uniform(0.0, 0.25))
        color = (light + draws.uniform(-0.08, 0.08, 3)).clamp(0, 1)
        spoilt, mask = damage.lay(spoilt, mask, stain * draws.uniform(0.6, 1.0), color)
    aged, marks = lay_marks(spoilt, draws, overlays, draws.uniform(0.2, 1.6))
    return completed(aged.clamp(0, 1), pixels, 1 - (1 - mask) * (1 - marks))


def lightly_mixed(pixels: Tensor, draws: Draws, overlays: Overlays) -> DegradedBatch:
    """M of any strength, from almost none to full."""
    return aged_print(pixels, draws, overlays, draws.uniform(0.1, 1.05), draws.uniform(0.2, 1.0))


def _drawn(draws: Draws, probability: Tensor | float) -> list[int]:
    """Indices of the samples selected with the given probability."""
    return draws.chance(probability).flatten().nonzero().flatten().tolist()


def _some(pixels: Tensor, draws: Draws, probability: float, way: Callable[..., Tensor], *args: float) -> Tensor:
    """Apply `way` to a random part of the batch; the other samples draw nothing for it."""
    chosen = _drawn(draws, probability)
    if chosen:
        pixels = pixels.clone()
        pixels[chosen] = way(pixels[chosen], draws[chosen], *args)
    return pixels


def _printed(pixels: Tensor, draws: Draws, probability: float) -> Tensor:
    """Halftone screen on some, rough paper on some, each with `probability`."""
    return _some(_some(pixels, draws, probability, wear.screen), draws, probability, wear.relief)


def battered(pixels: Tensor, draws: Draws, overlays: Overlays) -> DegradedBatch:
    """Damage of every kind and color, light or dark, flat or textured, sharp or degraded afterwards."""
    h, w = pixels.shape[-2:]
    gray = draws.chance(0.4)
    truth = grayed(pixels, gray)
    aged = _some(truth.clone(), draws, 0.4, wear.any_order, 0.4, 0.4)  # in-place edits below must not reach the truth
    aged = _some(aged, draws, 0.3, tone.fade, SEVERITY["mixed"])
    aged = _printed(aged, draws, 0.08)
    mask = torch.zeros_like(pixels[:, :1])
    kinds: list[Callable[[Draws, int, int], Tensor]]
    kinds = [damage.strokes, partial(damage.strokes, count=2, thick=3.0), damage.curls, damage.dust, damage.specks]
    kinds += [damage.cracks, damage.folds, damage.flakes, damage.stain, damage.stain, damage.foxing]
    kinds += [partial(damage.missing, low=0.005, high=0.06), *([overlays.layer] * 3 if overlays is not None else [])]
    amount = draws.uniform(0.1, 0.45)
    for kind in kinds:
        chosen = _drawn(draws, amount)
        if chosen:
            part = draws[chosen]
            alpha = kind(part, h, w) * torch.where(part.chance(0.3), part.uniform(0.25, 0.7), part.uniform(0.7, 1.0))
            color = _paint(aged[chosen], part)
            aged[chosen], mask[chosen] = damage.lay(aged[chosen], mask[chosen], alpha, color)
    aged = grayed(aged, gray & draws.chance(0.6))
    # degrade after damaging: otherwise a detector learns pristine damage only
    aged = _some(aged.clamp(0, 1), draws, 0.4, wear.any_order, 0.35, 0.4)
    aged = _some(aged, draws, 0.5, wear.compression, 0.6)
    return completed(_some(aged, draws, 0.3, wear.grain, 0.6).clamp(0, 1), truth, mask, gray.flatten())


def lone(pixels: Tensor, draws: Draws, overlays: Overlays) -> DegradedBatch:
    """One mark or two on a photo that is sound or slightly worn: a scratch, hair, crease, chip, blot or torn corner.

    Other recipes damage all of a photo or nothing. From those alone a detector learns that a photo without a second
    mark has no first one.
    """
    h, w = pixels.shape[-2:]
    gray = draws.chance(0.4)
    truth = grayed(pixels, gray)
    aged = _some(truth.clone(), draws, 0.4, wear.any_order, 0.3, 0.3)  # in-place edits below must not reach the truth
    mask = torch.zeros_like(pixels[:, :1])
    kinds: list[Callable[[Draws, int, int], Tensor]]
    kinds = [partial(damage.strokes, count=1), partial(damage.strokes, count=1, thick=5.0), damage.folds]
    kinds += [partial(damage.curls, count=1), partial(damage.missing, low=0.001, high=0.03), damage.stain]
    weights = torch.tensor([0.3, 0.15, 0.1, 0.15, 0.25, 0.05]).cumsum(0)
    for often in (1.0, 0.4):
        dice = draws.uniform().flatten()
        again = draws.chance(often).flatten()
        drawn_kinds = torch.bucketize(dice.cpu(), weights[:-1])
        for number, kind in enumerate(kinds):
            chosen = (again.cpu() & (drawn_kinds == number)).nonzero().flatten().tolist()
            if chosen:
                part = draws[chosen]
                alpha = kind(part, h, w) * part.uniform(0.7, 1.0)
                aged[chosen], mask[chosen] = damage.lay(aged[chosen], mask[chosen], alpha, _paint(aged[chosen], part))
    aged = grayed(aged, gray & draws.chance(0.6))
    aged = _some(aged.clamp(0, 1), draws, 0.3, wear.any_order, 0.3, 0.3)
    aged = _some(aged, draws, 0.5, wear.compression, 0.5)
    return completed(_some(aged, draws, 0.2, wear.grain, 0.5).clamp(0, 1), truth, mask, gray.flatten())


def _paint(pixels: Tensor, draws: Draws) -> Tensor:
    """Damage color (B, 3, H, W): white, black, any tone or hue, or the darkened photo; flat or grainy."""
    kind = draws.uniform()
    light = torch.where(kind < 0.5, draws.uniform(0.75, 1.0), draws.uniform(0.0, 0.3))
    light = torch.where(kind > 0.85, draws.uniform(), light)
    hue = draws.uniform(-1, 1, 3) * torch.where(draws.chance(0.3), 0.3, 0.06)
    flat = (light + hue).expand_as(pixels)
    flat = torch.where((kind > 0.5) & draws.chance(0.3), pixels * (draws.uniform(0.1, 0.7) + hue), flat)
    grain = draws.normal(1, *pixels.shape[-2:]) * draws.uniform(0.0, 0.08) * draws.chance(0.5)
    return (flat + grain).clamp(0, 1)


def worn(pixels: Tensor, draws: Draws, overlays: Overlays) -> DegradedBatch:
    """An unfaded old print: soft, grainy, marked, often gray, sometimes halftoned or on rough paper."""
    gray = draws.chance(0.5)
    truth = grayed(pixels, gray)
    aged = wear.any_order(truth, draws, 0.5, 0.5)
    aged, mask = lay_marks(aged, draws, overlays, draws.uniform(0.2, 1.0))
    aged = _some(aged, draws, 0.6, wear.grain, 1.0)
    aged = _printed(aged, draws, 0.2)
    aged = _some(aged, draws, 0.5, wear.compression, 0.5)
    aged = grayed(aged, gray)
    return completed(aged.clamp(0, 1), truth, mask, gray.flatten())


def drawn(pixels: Tensor, draws: Draws, overlays: Overlays) -> DegradedBatch:
    """Drawn damage and innocent things on photos of every scale, worn, faded and printed afterwards."""
    made = composed(pixels, draws)
    aged = _some(made.aged, draws, 0.4, wear.any_order, 0.4, 0.4)
    aged = _some(aged, draws, 0.25, tone.fade, SEVERITY["mixed"])
    aged = _printed(aged.clamp(0, 1), draws, 0.07)
    aged = _some(aged, draws, 0.3, wear.grain, 0.7)
    aged = _some(aged.clamp(0, 1), draws, 0.5, wear.compression, 0.6)
    return completed(aged.clamp(0, 1), made.truth, made.mask)


def grainy(pixels: Tensor, draws: Draws, overlays: Overlays) -> DegradedBatch:
    """A print with grain as strong as in fast film, or in a faded print whose contrast was stretched."""
    gray = draws.chance(0.6)
    truth = grayed(pixels, gray)
    aged = _some(truth, draws, 0.6, wear.any_order, 0.4, 0.5)
    aged = wear.grain(aged, draws, 1.4)
    aged = _some(aged, draws, 0.4, wear.grain, 1.0)
    aged = _some(aged.clamp(0, 1), draws, 0.5, wear.compression, 0.5)
    aged = grayed(aged, gray)
    return completed(aged.clamp(0, 1), truth, None, gray.flatten())


def sharp(pixels: Tensor, draws: Draws, overlays: Overlays) -> DegradedBatch:
    """A print whose detail reaches to the pixel, whatever lies on it: marks, noise, grain, print screens, JPEG."""
    gray = draws.chance(0.5)
    truth = grayed(pixels, gray)
    aged, mask = lay_marks(truth, draws, overlays, draws.uniform(0.0, 1.2))
    aged = _some(aged.clamp(0, 1), draws, 0.4, wear.noise, 0.5)
    aged = _some(aged, draws, 0.4, wear.grain, 1.0)
    aged = _printed(aged.clamp(0, 1), draws, 0.1)
    aged = _some(aged.clamp(0, 1), draws, 0.6, wear.compression, 0.8)
    aged = grayed(aged, gray)
    return completed(aged.clamp(0, 1), truth, mask, gray.flatten())


def faces(pixels: Tensor, draws: Draws, overlays: Overlays) -> DegradedBatch:
    """Blind degradation of a face crop: blur, grain, 1x to 8x downscaling, marks, noise, print screens, JPEG.

    Often gray. Some are faded together with their truth: another stage corrects tones, and a face that differs in tone
    from its photo is worse than a faded one.
    """
    gray = draws.chance(0.4)
    truth = _some(grayed(pixels, gray), draws, 0.3, tone.fade, 0.8)
    truth = grayed(truth, gray).clamp(0, 1)
    aged = _some(truth, draws, 0.6, wear.blur, 1.2)
    aged = _some(aged, draws, 0.35, wear.grain, 0.8)
    aged = _some(wear.low_resolution(aged, draws, 2.5), draws, 0.25, wear.low_resolution, 4.4)
    mask = torch.zeros_like(pixels[:, :1])
    marked = _drawn(draws, 0.3)
    if marked:
        aged, part = aged.clone(), draws[marked]
        aged[marked], mask[marked] = lay_marks(aged[marked].clamp(0, 1), part, overlays, part.uniform(0.2, 1.4))
    aged = _some(aged, draws, 0.5, wear.noise, 0.6)
    aged = _printed(aged, draws, 0.1)
    aged = _some(aged, draws, 0.7, wear.compression, 0.9)
    aged = grayed(aged, gray)
    return completed(aged.clamp(0, 1), truth, mask, gray.flatten())


def lightly_worn(pixels: Tensor, draws: Draws, overlays: Overlays) -> DegradedBatch:
    """A good scan of a good print: a little blur, noise or JPEG, sometimes gray."""
    gray = draws.chance(0.3)
    truth = grayed(pixels, gray)
    aged = wear.any_order(truth, draws, 0.25, 0.3)
    aged = grayed(aged, gray)
    return completed(aged.clamp(0, 1), truth, None, gray.flatten())


def slightly_worn(pixels: Tensor, draws: Draws, overlays: Overlays) -> DegradedBatch:
    """What is left after a restoration, or of a good copy: a trace of blur, noise or JPEG, sometimes gray."""
    gray = draws.chance(0.3)
    truth = grayed(pixels, gray)
    aged = wear.any_order(truth, draws, 0.12, 0.2)
    return completed(grayed(aged, gray).clamp(0, 1), truth, None, gray.flatten())


def scanned(pixels: Tensor, draws: Draws, overlays: Overlays) -> DegradedBatch:
    """A sound photo with no more than what a scanner and its file add: faint noise, mild JPEG."""
    noise = draws.normal(3, *pixels.shape[-2:]) * draws.uniform(0.0, 2.5) / 255
    aged = _some((pixels + noise).clamp(0, 1), draws, 0.7, wear.compression, 0.2)
    return completed(aged.clamp(0, 1), pixels)


def faded(pixels: Tensor, draws: Draws, overlays: Overlays) -> DegradedBatch:
    """For training the tone curves: fading and casts of any strength, often none, also on worn photos."""
    gray = draws.chance(0.5)
    truth = grayed(pixels, gray)
    strength = draws.uniform(0.5, 1.1) * SEVERITY["mixed"]
    soft = _some(truth, draws, 0.5, wear.any_order, 0.6, 0.5)
    soft = grayed(soft, gray)
    dull = tone.fade(tone.uneven_light(soft, draws, 0.5), draws, strength)
    dull = grayed(dull, gray)
    dull = torch.where(draws.chance(0.3) & ~gray, tone.yellowing(dull, draws), dull)
    aged = torch.where(draws.chance(0.35), soft, dull)
    aged = _some(aged, draws, 0.5, wear.grain, 0.7)
    return completed(aged.clamp(0, 1), truth, None, gray.flatten())


def dim(pixels: Tensor, draws: Draws, overlays: Overlays) -> DegradedBatch:
    """For training the relighting: dark and noisy photos up to 1.2 times the calibrated severity, and well-lit ones.

    A quarter is well lit, has little or no noise, and should stay as it is. Some of these are overexposed, and their
    truth is too, as blown highlights cannot be recovered. Darkness, noise and speckle are drawn independently, so that
    none of them predicts the others.
    """
    gray = draws.chance(0.3)
    well_lit = draws.chance(0.25)
    blown = torch.where(well_lit & draws.chance(0.4), draws.uniform(1.2, 1.8), 1.0)
    truth = (grayed(pixels, gray) * blown).clamp(0, 1)
    severity = draws.uniform(0, 1.2, 3) * SEVERITY["dark-noisy"]
    dark, noisy, speckled = severity.split(1, 1)
    aged = low_light.underexposed(truth, draws, torch.where(well_lit, 0.0, dark))
    aged = low_light.sensor_noise(aged, draws, torch.where(well_lit, noisy * 0.3 * draws.chance(0.5), noisy))
    aged = low_light.salt_and_pepper(aged, draws, speckled * (~well_lit & draws.chance(0.7)))
    aged = torch.where(gray, aged[:, :1], aged)  # a gray file has the noise of one channel, not the mean of three
    return completed(low_light.eight_bit(aged), truth, None, gray.flatten())


def mixture(about: str, *shares: tuple[Recipe, float]) -> Recipe:
    """A recipe that draws one of several for each photo; the last one takes the remaining probability."""

    def recipe(pixels: Tensor, draws: Draws, overlays: Overlays) -> DegradedBatch:
        dice = draws.uniform().flatten().tolist()
        aged, mask, truth = torch.empty_like(pixels), torch.empty_like(pixels[:, :1]), torch.empty_like(pixels)
        gray = torch.zeros(len(pixels), dtype=torch.bool, device=pixels.device)
        start = 0.0
        for part, share in shares:
            chosen = [i for i, value in enumerate(dice) if start <= value < start + share]
            start += share
            if chosen:
                result = part(pixels[chosen], draws[chosen], overlays)
                aged[chosen], mask[chosen], truth[chosen] = result.aged, result.mask, result.truth
                gray[chosen] = result.gray
        return DegradedBatch(aged, mask, truth, gray)

    recipe.__doc__ = about
    return recipe


training = mixture(
    "What the translation learns from.",
    (unstructured, 0.35), (structured, 0.15), (stained, 0.08), (worn, 0.27), (holes, 0.1), (clean, 1.0),
)  # fmt: skip
translation = mixture(
    "What the translation learns from end to end: narrow wear, as much that is broad, soft scans, and damage.",
    (unstructured, 0.40), (rescanned, 0.05), (second_order, 0.18), (small_copy, 0.16), (worn, 0.06), (grainy, 0.04),
    (structured, 0.03), (stained, 0.02), (holes, 0.05), (clean, 1.0),
)  # fmt: skip
gate = mixture(
    "What the gate learns from: what the translation does, and sound photos, large and small, to be left alone.",
    (translation, 0.70), (dense, 0.05), (scanned, 0.13), (clean, 1.0),
)  # fmt: skip
marked = mixture(
    "What the scratch detector learns from: damage of three programs, and photos that have none, sound or worn.",
    (structured, 0.11), (stained, 0.05), (lightly_structured, 0.04), (lightly_mixed, 0.06), (battered, 0.05),
    (lone, 0.16), (drawn, 0.24), (unstructured, 0.06), (second_order, 0.06), (small_copy, 0.04), (grainy, 0.03),
    (rescanned, 0.02), (faded, 0.02), (clean, 1.0),
)  # fmt: skip
old_marked = mixture(
    "What the scratch detector learns from real old photos, their own damage filled: half as they are, half damaged.",
    (lightly_structured, 0.08), (stained, 0.04), (battered, 0.06), (lone, 0.18), (drawn, 0.18), (lightly_worn, 0.06),
    (clean, 1.0),
)  # fmt: skip
scans = mixture(
    "What the native scale is learned from: sharp prints and worn ones, which are enlarged then.",
    (sharp, 0.1), (unstructured, 0.36), (second_order, 0.08), (clean, 1.0),
)  # fmt: skip
portraits = mixture(
    "What the face generator learns from: blind damage, copies of copies, enlarged noise, little wear, and none.",
    (faces, 0.5), (second_order, 0.17), (small_copy, 0.17), (lightly_worn, 0.08), (clean, 1.0),
)  # fmt: skip
small = mixture(
    "What the enlargement learns from: photos that are sound, or as a scan or a restoration leaves them.",
    (scanned, 0.25), (slightly_worn, 0.25), (clean, 1.0),
)  # fmt: skip
