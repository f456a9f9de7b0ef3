"""Find, load, verify, download, convert and export checkpoints."""
