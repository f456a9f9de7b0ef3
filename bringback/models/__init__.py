"""The networks: torch modules only, no files, no devices, no loops."""
