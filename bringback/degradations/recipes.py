"""All recipes by name, and `degrade`, which applies one."""

from collections.abc import Sequence

import torch
from torch import Tensor

from bringback.degradations import eval_recipes, scale_recipes, train_recipes
from bringback.degradations.eval_recipes import DegradedBatch, Overlays, Recipe
from bringback.degradations.rng import Draws
from bringback.degradations.second_order.program import second_order, small_copy
from bringback.errors import known_names

RECIPES: dict[str, Recipe] = {
    "unstructured": eval_recipes.unstructured,
    "structured": eval_recipes.structured,
    "mixed": eval_recipes.mixed,
    "holes": eval_recipes.holes,
    "clean": eval_recipes.clean,
    "grainy-bw": eval_recipes.grainy_bw,
    "dark-noisy": eval_recipes.dark_noisy,
    "faces": train_recipes.faces,
    "portraits": train_recipes.portraits,
    "battered": train_recipes.battered,
    "worn": train_recipes.worn,
    "faded": train_recipes.faded,
    "dim": train_recipes.dim,
    "marked": train_recipes.marked,
    "old-marked": train_recipes.old_marked,
    "training": train_recipes.training,
    "scans": train_recipes.scans,
    "gate": train_recipes.gate,
    "dense": scale_recipes.dense,
    "translation": train_recipes.translation,
    "small": train_recipes.small,
    "slightly-worn": train_recipes.slightly_worn,
    "second-order": second_order,
    "small-copy": small_copy,
}


def degrade(pixels: Tensor, recipe: str, seeds: Sequence[int], overlays: Overlays = None) -> DegradedBatch:
    """Age clean photos, each with its own seed; results do not depend on batch composition.

    Args: pixels (B, 3, H, W) float32 in [0, 1]; recipe: a name in `RECIPES`; seeds: B integers; overlays: masks of real
    damage, or None for procedural damage only. Raises ValueError for an unknown recipe or a wrong number of seeds.
    """
    if recipe not in RECIPES:
        raise ValueError(f"unknown recipe {recipe!r}; the recipes are {known_names(recipe, RECIPES)}")
    if len(seeds) != len(pixels):
        raise ValueError(f"{len(pixels)} pictures want as many seeds, not {len(seeds)}")
    # always float32, also inside a bfloat16 training step
    with torch.autocast(pixels.device.type, enabled=False), torch.no_grad():
        return RECIPES[recipe](pixels, Draws(seeds, pixels.device), overlays)
