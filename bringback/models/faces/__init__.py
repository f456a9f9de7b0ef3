"""Face networks."""
