"""Named ways of ageing a clean photo. The severities are pinned on the validation photos (see `SEVERITY`)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bringback.aging import structured as damage
from bringback.aging import tone
from bringback.aging import unstructured as wear
from bringback.aging.draws import Draws
from bringback.tint import luminance

# pinned by the mean PSNR of the aged validation photos: unstructured 26.6, structured 19.1, mixed 16.3 dB
SEVERITY = {"unstructured": 0.78, "structured": 2.45, "mixed": 1.35}

Overlays = damage.OverlayBank | None


@dataclass(frozen=True, slots=True)
class Aged:
    """A batch of aged photos and what is true of them.

    aged, truth: (B, 3, H, W) in [0, 1]; mask: (B, 1, H, W), the share of each pixel that damage covers; grey: (B,)
    bool, where the aged photo is grey or sepia, its truth is grey and only luminance can be compared.
    """

    aged: Tensor
    mask: Tensor
    truth: Tensor
    grey: Tensor


Recipe = Callable[[Tensor, Draws, Overlays], Aged]


def _aged(aged: Tensor, truth: Tensor, mask: Tensor | None = None, grey: Tensor | None = None) -> Aged:
    if mask is None:
        mask = torch.zeros_like(truth[:, :1])
    if grey is None:
        grey = torch.zeros(len(truth), dtype=torch.bool, device=truth.device)
    return Aged(aged, mask, truth, grey)


def _marks(pixels: Tensor, draws: Draws, overlays: Overlays, amount: Tensor | float) -> tuple[Tensor, Tensor]:
    """Lay a random choice of damage on the pixels; `amount` scales how likely each kind is."""
    h, w = pixels.shape[-2:]
    mask = torch.zeros_like(pixels[:, :1])

    def some(alpha: Tensor, probability: float, bright: float) -> None:
        nonlocal pixels, mask
        light = torch.where(draws.chance(bright), draws.uniform(0.82, 1.0), draws.uniform(0.0, 0.18))
        colour = light + draws.uniform(-0.06, 0.06, 3)
        strength = torch.where(draws.chance(probability * amount), draws.uniform(0.7, 1.0), 0.0)
        pixels, mask = damage.lay(pixels, mask, alpha * strength, colour.clamp(0, 1))

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


def clean(pixels: Tensor, draws: Draws, overlays: Overlays) -> Aged:
    """C: nothing happens."""
    return _aged(pixels, pixels)


def unstructured(pixels: Tensor, draws: Draws, overlays: Overlays) -> Aged:
    """U: blur, noise, low resolution and JPEG in any order."""
    return _aged(wear.any_order(pixels, draws, SEVERITY["unstructured"]), pixels)


def structured(pixels: Tensor, draws: Draws, overlays: Overlays) -> Aged:
    """S: scratches, hairs, dust, stains, cracks, folds and small tears on an otherwise good photo."""
    aged, mask = _marks(pixels, draws, overlays, SEVERITY["structured"])
    return _aged(aged.clamp(0, 1), pixels, mask)


def lightly_structured(pixels: Tensor, draws: Draws, overlays: Overlays) -> Aged:
    """S with fewer marks, from next to none to many: what a crop of a damaged photo looks like."""
    aged, mask = _marks(pixels, draws, overlays, draws.uniform(0.3, 2.4))
    return _aged(aged.clamp(0, 1), pixels, mask)


def stained(pixels: Tensor, draws: Draws, overlays: Overlays) -> Aged:
    """S with a large stain or two: what is rare among marks, but spoils most of a photo where it occurs."""
    h, w = pixels.shape[-2:]
    spoilt, mask = pixels, torch.zeros_like(pixels[:, :1])
    stains = [damage.missing(draws, h, w, 0.01, 0.12) * draws.chance(0.6)]
    if overlays is not None:
        stains.append(overlays.layer(draws, h, w, heavy=True))
    for stain in stains:
        light = torch.where(draws.chance(0.8), draws.uniform(0.7, 1.0), draws.uniform(0.0, 0.25))
        colour = (light + draws.uniform(-0.08, 0.08, 3)).clamp(0, 1)
        spoilt, mask = damage.lay(spoilt, mask, stain * draws.uniform(0.6, 1.0), colour)
    aged, marks = _marks(spoilt, draws, overlays, draws.uniform(0.2, 1.6))
    return _aged(aged.clamp(0, 1), pixels, 1 - (1 - mask) * (1 - marks))


def mixed(pixels: Tensor, draws: Draws, overlays: Overlays) -> Aged:
    """M: an old print. Soft, faded, often grey or sepia, grainy, damaged, then scanned."""
    return _print(pixels, draws, overlays, 1.0, 0.8)


def lightly_mixed(pixels: Tensor, draws: Draws, overlays: Overlays) -> Aged:
    """M of any strength, from next to nothing to the full."""
    return _print(pixels, draws, overlays, draws.uniform(0.1, 1.05), draws.uniform(0.2, 1.0))


def _print(pixels: Tensor, draws: Draws, overlays: Overlays, strength: Tensor | float, marks: Tensor | float) -> Aged:
    grey = draws.uniform() < 0.5
    truth = torch.where(grey, luminance(pixels).expand_as(pixels), pixels)
    aged = wear.any_order(truth, draws, 0.35, 0.5)
    tinted = torch.where(draws.chance(0.5), tone.sepia(luminance(aged).expand_as(aged), draws), aged)
    aged = torch.where(grey, tinted, aged)
    aged = tone.uneven_light(aged, draws, 0.5)
    faded = tone.fade(aged, draws, strength * SEVERITY["mixed"])
    # a grey print fades without a cast: the cast of the scan is the sepia's business
    aged = torch.where(grey, aged + (luminance(faded) - luminance(aged)), faded)
    aged = torch.where(draws.chance(0.3) & ~grey, tone.yellowing(aged, draws), aged)
    aged, mask = _marks(aged.clamp(0, 1), draws, overlays, marks)
    aged = torch.where(draws.chance(0.6), wear.grain(aged, draws, 0.7), aged)
    aged = torch.where(draws.chance(0.5), wear.compression(aged, draws, 0.5), aged)
    # grey photos stay exactly grey when they are not tinted
    plain = grey & ((tinted - luminance(tinted)).abs().amax((1, 2, 3), keepdim=True) < 1e-3)
    aged = torch.where(plain, luminance(aged).expand_as(aged), aged)
    return _aged(aged.clamp(0, 1), truth, mask, grey.flatten())


def _some(pixels: Tensor, draws: Draws, probability: float, way: Callable[..., Tensor], *args: float) -> Tensor:
    """Age a random part of the batch one way; the others draw nothing for it."""
    chosen = draws.chance(probability).flatten().nonzero().flatten().tolist()
    if chosen:
        pixels = pixels.clone()
        pixels[chosen] = way(pixels[chosen], draws[chosen], *args)
    return pixels


def worn(pixels: Tensor, draws: Draws, overlays: Overlays) -> Aged:
    """An old print that has not faded: soft, grainy, marked, often grey."""
    grey = draws.chance(0.5)
    truth = torch.where(grey, luminance(pixels).expand_as(pixels), pixels)
    aged = wear.any_order(truth, draws, 0.5, 0.5)
    aged, mask = _marks(aged, draws, overlays, draws.uniform(0.2, 1.0))
    aged = _some(aged, draws, 0.6, wear.grain, 1.0)
    aged = _some(aged, draws, 0.5, wear.compression, 0.5)
    aged = torch.where(grey, luminance(aged).expand_as(aged), aged)
    return _aged(aged.clamp(0, 1), truth, mask, grey.flatten())


def holes(pixels: Tensor, draws: Draws, overlays: Overlays) -> Aged:
    """H: 5 to 15 % of the area is gone."""
    h, w = pixels.shape[-2:]
    alpha = damage.missing(draws, h, w, 0.05, 0.15)
    aged, mask = damage.lay(pixels, torch.zeros_like(alpha), alpha, damage.paper(draws, h, w))
    return _aged(aged, pixels, mask)


def faces(pixels: Tensor, draws: Draws, overlays: Overlays) -> Aged:
    """Blind damage of a face crop: blur, 2 to 6 times low resolution, noise, JPEG; often grey."""
    grey = draws.chance(0.4)
    truth = torch.where(grey, luminance(pixels).expand_as(pixels), pixels)
    aged = torch.where(draws.chance(0.6), wear.blur(truth, draws, 1.2), truth)
    aged = wear.low_resolution(aged, draws, 3.1)
    aged = torch.where(draws.chance(0.6), wear.noise(aged, draws, 0.6), aged)
    aged = torch.where(draws.chance(0.3), wear.grain(aged, draws, 0.8), aged)
    aged = torch.where(draws.chance(0.7), wear.compression(aged, draws, 0.9), aged)
    aged = torch.where(grey, luminance(aged).expand_as(aged), aged)
    return _aged(aged.clamp(0, 1), truth, None, grey.flatten())


def faded(pixels: Tensor, draws: Draws, overlays: Overlays) -> Aged:
    """What the tone curves learn from: fading and casts of any strength, often none, on worn photos too."""
    grey = draws.chance(0.5)
    truth = torch.where(grey, luminance(pixels).expand_as(pixels), pixels)
    strength = draws.uniform(0.5, 1.1) * SEVERITY["mixed"]
    soft = _some(truth, draws, 0.5, wear.any_order, 0.6, 0.5)
    soft = torch.where(grey, luminance(soft).expand_as(soft), soft)
    dull = tone.fade(tone.uneven_light(soft, draws, 0.5), draws, strength)
    dull = torch.where(grey, luminance(dull).expand_as(dull), dull)
    dull = torch.where(draws.chance(0.3) & ~grey, tone.yellowing(dull, draws), dull)
    aged = torch.where(draws.chance(0.35), soft, dull)
    aged = _some(aged, draws, 0.5, wear.grain, 0.7)
    return _aged(aged.clamp(0, 1), truth, None, grey.flatten())


def mixture(about: str, *shares: tuple[Recipe, float]) -> Recipe:
    """A recipe that draws one of several for each photo; the last takes what the shares before it leave."""

    def recipe(pixels: Tensor, draws: Draws, overlays: Overlays) -> Aged:
        dice = draws.uniform().flatten().tolist()
        aged, mask, truth = torch.empty_like(pixels), torch.empty_like(pixels[:, :1]), torch.empty_like(pixels)
        grey = torch.zeros(len(pixels), dtype=torch.bool, device=pixels.device)
        start = 0.0
        for part, share in shares:
            chosen = [i for i, value in enumerate(dice) if start <= value < start + share]
            start += share
            if chosen:
                result = part(pixels[chosen], draws[chosen], overlays)
                aged[chosen], mask[chosen], truth[chosen] = result.aged, result.mask, result.truth
                grey[chosen] = result.grey
        return Aged(aged, mask, truth, grey)

    recipe.__doc__ = about
    return recipe


training = mixture(
    "What the translation learns from.",
    (unstructured, 0.4), (lightly_structured, 0.15), (worn, 0.35), (holes, 0.05), (clean, 1.0),
)  # fmt: skip
marked = mixture(
    "What the scratch detector learns from: mostly damage, and photos that have none.",
    (structured, 0.28), (stained, 0.18), (lightly_structured, 0.14), (lightly_mixed, 0.18), (unstructured, 0.08),
    (clean, 1.0),
)  # fmt: skip


RECIPES: dict[str, Recipe] = {
    "unstructured": unstructured,
    "structured": structured,
    "mixed": mixed,
    "holes": holes,
    "clean": clean,
    "faces": faces,
    "worn": worn,
    "faded": faded,
    "marked": marked,
    "training": training,
}


def age(pixels: Tensor, recipe: str, seeds: Sequence[int], overlays: Overlays = None) -> Aged:
    """Age clean photos, each by its own seed; the same seed, recipe and photo give the same result in any batch.

    Args: pixels (B, 3, H, W) float32 in [0, 1]; recipe: a name in `RECIPES`; seeds: B integers; overlays: real damage
    to lay on, or None for procedural damage alone. Raises ValueError, naming the recipes, when there is none of that
    name.
    """
    if recipe not in RECIPES:
        raise ValueError(f"unknown recipe {recipe!r}; the recipes are {', '.join(RECIPES)}")
    if len(seeds) != len(pixels):
        raise ValueError(f"{len(pixels)} pictures want as many seeds, not {len(seeds)}")
    # ageing is physics, not a network: it runs in float32 inside a bf16 training step too
    with torch.autocast(pixels.device.type, enabled=False), torch.no_grad():
        return RECIPES[recipe](pixels, Draws(seeds, pixels.device), overlays)
