"""Integrations with other libraries, one file each, imported on demand; see docs/README.md."""
