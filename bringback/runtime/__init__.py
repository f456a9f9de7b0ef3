"""The machine: devices and precision, memory, files written whole, optional packages."""
