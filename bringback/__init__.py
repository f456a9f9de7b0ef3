"""Restore scanned old photographs: scratches, fading, noise, blur and faces."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Photo", "PhotoError", "Pipeline", "Restoration", "__version__", "restore_folder"]

if TYPE_CHECKING:
    from bringback.folder import restore_folder
    from bringback.photo import Photo, PhotoError
    from bringback.pipeline import Pipeline
    from bringback.restoration import Restoration

_HOMES = {
    "Photo": "photo",
    "PhotoError": "photo",
    "Pipeline": "pipeline",
    "Restoration": "restoration",
    "restore_folder": "folder",
}


def __getattr__(name: str) -> Any:
    """The public names, imported when they are first asked for: torch takes seconds that `--help` need not wait."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
