"""Pipeline configurations (family, stages and settings), read from YAML files as in assets/presets/."""

import logging
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

import yaml

from bringback.assets import presets
from bringback.errors import did_you_mean, known_names
from bringback.stages import FAMILIES

_LOG = logging.getLogger(__name__)
_FORMER_NAMES = {"colour": "color"}  # of presets, for one release

DEFAULT = ("stains", "scratches", "tone", "fill", "translate", "faces")


@dataclass(frozen=True, slots=True)
class PipelineConfig:
    """A family of networks, the stages to run, and their arguments by stage name."""

    family: str
    stages: list[str]
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, config: Path | str) -> Self:
        """From a YAML file, or one of `assets.presets` by name. Raises ValueError, one line, if it is invalid."""
        if str(config) in _FORMER_NAMES:
            _LOG.warning("the preset %s is called %s now", config, _FORMER_NAMES[str(config)])
        path = presets().get(_FORMER_NAMES.get(str(config), str(config)), Path(config))
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            names = known_names(str(config), presets())
            raise ValueError(f"{config}: no pipeline can be read there ({error}); those that ship: {names}") from None
        try:
            found = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ValueError(f"{path}: {' '.join(str(error).split())}") from None
        return cls(**_checked(path, found))

    @classmethod
    def of(cls, weights: Path | str | None, config: Path | str | None = None) -> Self:
        """`config` if it is given, else `pipeline.yaml` in the folder of the weights, else "lean" with `DEFAULT`."""
        beside = None if weights is None else Path(weights) / "pipeline.yaml"
        if config is None and beside is not None and beside.is_file():
            config = beside
        return cls("lean", list(DEFAULT)) if config is None else cls.read(config)


def _checked(path: Path, found: Any) -> dict[str, Any]:
    known = [one.name for one in fields(PipelineConfig)]
    if not isinstance(found, dict):
        raise ValueError(f"{path}: a pipeline has {', '.join(known)}")
    for key in found:
        if key not in known:
            raise ValueError(f"{path}: unknown key {key!r}{did_you_mean(key, known)}")
    result = {"family": "lean", "settings": {}} | found
    if str(result["family"]) not in FAMILIES:
        raise ValueError(f"{path}: family {result['family']!r}: one of {', '.join(FAMILIES)}")
    stages, settings = result.get("stages"), result["settings"]
    if not isinstance(stages, list) or not stages or not all(isinstance(name, str) for name in stages):
        raise ValueError(f"{path}: stages: a list of names, as in [scratches, translate, faces]")
    if not isinstance(settings, dict) or not all(isinstance(values, dict) for values in settings.values()):
        raise ValueError(f"{path}: settings: arguments by stage, as in {{faces: {{min_size: 48}}}}")
    idle = [name for name in settings if name not in stages]
    if idle:
        raise ValueError(f"{path}: settings of the stage {idle[0]!r}, which is not among its stages")
    return result
