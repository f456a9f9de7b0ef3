"""What is computed on pixels, without weights and files."""
