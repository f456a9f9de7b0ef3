"""Degradations of clean photos as batched, seeded tensor operations with exact damage masks."""

from bringback.aging.recipes import RECIPES, Aged, age
from bringback.aging.structured import OverlayBank

__all__ = ["RECIPES", "Aged", "OverlayBank", "age"]
