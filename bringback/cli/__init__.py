"""The `bringback` command."""

from bringback.cli.main import app

__all__ = ["app"]
