"""What ships with the package beside its code: presets of pipelines, and the weights of the networks."""

from functools import cache
from importlib.resources import files
from pathlib import Path

_HERE = Path(str(files(__name__)))


@cache
def presets() -> dict[str, Path]:
    """The pipelines that come with the package: YAML files by name, as `--preset` takes them."""
    return {path.stem: path for path in sorted((_HERE / "presets").glob("*.yaml"))}


def weights() -> Path:
    """The folder of the shipped checkpoints: in here in a wheel, `checkpoints/` at the top of a clone."""
    inside = _HERE / "weights"
    return inside if inside.is_dir() else _HERE.parents[1] / "checkpoints"
