"""Read and write image files, preserving their metadata."""
