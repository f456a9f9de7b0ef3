"""Devices and precision, memory, atomic file writes, the Hugging Face Hub, optional packages."""
