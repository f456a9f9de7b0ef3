"""Restore scanned old photographs: scratches, fading, noise, blur and faces.

    >>> from bringback import Pipeline
    >>> pipeline = Pipeline.from_pretrained()
    >>> pipeline("scan.jpg").write("restored.jpg")

A `Pipeline` restores photos, and pictures of Pillow, NumPy and torch; `restore_folder` does it to folders of files.
Each stage of a pipeline can be used alone as well: `ScratchDetector.from_pretrained().detect(picture)`.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "Colorizer",
    "Denoiser",
    "FaceRefiner",
    "HoleFiller",
    "LatentTranslator",
    "Photo",
    "PhotoError",
    "Pipeline",
    "PriorDenoiser",
    "Relighter",
    "Restoration",
    "ScratchDetector",
    "ToneCorrector",
    "Upscaler",
    "__version__",
    "restore_folder",
]

if TYPE_CHECKING:
    from bringback.batch.runner import restore_folder
    from bringback.errors import PhotoError
    from bringback.images.photo import Photo
    from bringback.pipeline import Pipeline
    from bringback.stages.colorize import Colorizer
    from bringback.stages.denoise import Denoiser
    from bringback.stages.faces.stage import FaceRefiner
    from bringback.stages.fill import HoleFiller
    from bringback.stages.prior.stage import PriorDenoiser
    from bringback.stages.record import Restoration
    from bringback.stages.relight import Relighter
    from bringback.stages.scratches import ScratchDetector
    from bringback.stages.tone import ToneCorrector
    from bringback.stages.translate import LatentTranslator
    from bringback.stages.upscale import Upscaler

_HOMES = {
    "Photo": "images.photo",
    "PhotoError": "images.photo",
    "Pipeline": "pipeline",
    "Restoration": "stages.record",
    "restore_folder": "batch.runner",
    "Colorizer": "stages.colorize",
    "Denoiser": "stages.denoise",
    "FaceRefiner": "stages.faces.stage",
    "HoleFiller": "stages.fill",
    "LatentTranslator": "stages.translate",
    "PriorDenoiser": "stages.prior.stage",
    "Relighter": "stages.relight",
    "ScratchDetector": "stages.scratches",
    "ToneCorrector": "stages.tone",
    "Upscaler": "stages.upscale",
}


def __dir__() -> list[str]:
    """The public names, whether or not they have been imported: for `dir`, `help` and completion by tab."""
    return list(__all__)


def __getattr__(name: str) -> Any:
    """The public names, imported when they are first asked for: torch takes seconds that `--help` need not wait."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
