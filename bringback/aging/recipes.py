"""All recipes by name, and the way to age by one."""

from collections.abc import Sequence

import torch
from torch import Tensor

from bringback.aging import lessons, pinned
from bringback.aging.draws import Draws
from bringback.aging.pinned import Aged, Overlays, Recipe
from bringback.aging.second_order import second_order

RECIPES: dict[str, Recipe] = {
    "unstructured": pinned.unstructured,
    "structured": pinned.structured,
    "mixed": pinned.mixed,
    "holes": pinned.holes,
    "clean": pinned.clean,
    "grainy-bw": pinned.grainy_bw,
    "dark-noisy": pinned.dark_noisy,
    "faces": lessons.faces,
    "portraits": lessons.portraits,
    "battered": lessons.battered,
    "worn": lessons.worn,
    "faded": lessons.faded,
    "dim": lessons.dim,
    "marked": lessons.marked,
    "training": lessons.training,
    "translation": lessons.translation,
    "second-order": second_order,
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
