"""Bridges to other programs, one file each, imported only by those who want them; see docs/README.md."""
