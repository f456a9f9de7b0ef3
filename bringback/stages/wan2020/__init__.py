"""The original method's stages, for converted weights: one file each, by the names of the stages they stand in for."""
