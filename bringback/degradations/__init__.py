"""Degradations of clean photos: batched, seeded tensor operations with exact damage masks."""

from bringback.degradations.eval_recipes import Aged
from bringback.degradations.marks import OverlayBank
from bringback.degradations.recipes import RECIPES, age

__all__ = ["RECIPES", "Aged", "OverlayBank", "age"]
