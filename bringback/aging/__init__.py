"""Degradations of clean photos as batched, seeded tensor operations with exact damage masks."""

from bringback.aging.pinned import Aged
from bringback.aging.recipes import RECIPES, age
from bringback.aging.structured import OverlayBank

__all__ = ["RECIPES", "Aged", "OverlayBank", "age"]
