"""Second-order degradation: the recipe and its operations."""
