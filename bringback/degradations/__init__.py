"""Degradations of clean photos: batched, seeded tensor operations with exact damage masks."""

from bringback.degradations.eval_recipes import DegradedBatch
from bringback.degradations.marks import OverlayBank
from bringback.degradations.recipes import RECIPES, degrade

__all__ = ["RECIPES", "DegradedBatch", "OverlayBank", "degrade"]
