"""What a visitor of the web page may choose, and the pipeline that does it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Self

from bringback.pipeline import Pipeline
from bringback.pipeline_config import PipelineConfig
from bringback.runtime.hub import fetched
from bringback.stages import ordered


@dataclass(frozen=True)
class Choices:
    """What a visitor may choose: arguments of `Pipeline` and of its stages, by their names there."""

    stages: tuple[str, ...]
    strength: float = 1.0
    fidelity: float = 0.0
    saturation: float = 1.0

    @classmethod
    def of(cls, config: PipelineConfig) -> Self:
        """What is chosen to begin with."""
        fidelity, saturation = (
            config.settings.get(stage, {}).get(name, getattr(cls, name))
            for stage, name in (("faces", "fidelity"), ("colorize", "saturation"))
        )
        return cls(tuple(config.stages), fidelity=fidelity, saturation=saturation)

    def of_stage(self, name: str) -> dict[str, Any]:
        """The settings of one stage."""
        chosen = {"faces": {"fidelity": self.fidelity}, "colorize": {"saturation": self.saturation}}
        return chosen.get(name, {})


class Stopped(Exception):
    """The visitor wants no more, or nobody is served any longer."""


class Pipelines:
    """Pipelines of any choice of stages, for all visitors: each stage is loaded once, and one photo goes at a time."""

    def __init__(
        self, load: Callable[[str, Mapping[str, Any]], Pipeline], config: PipelineConfig | None = None
    ) -> None:
        """Args: load: makes the pipeline of one stage, given by its name, with these settings; config: the family that
        there is to choose from, and what is chosen to begin with ("lean").
        """
        self.load, self.config = load, config or PipelineConfig.of(None)
        self.lock, self.closed = Lock(), False
        self._loaded: dict[str, tuple[Mapping[str, Any], Pipeline]] = {}

    @classmethod
    def from_pretrained(
        cls,
        weights: Path | str | None = None,
        *,
        revision: str | None = None,
        local_files_only: bool = False,
        config: str | None = None,
        **computing: Any,
    ) -> Self:
        """With arguments of `Pipeline.from_pretrained`, which raises as it does; what is chosen first is loaded."""
        if weights is not None:
            weights = fetched(weights, revision=revision, local_files_only=local_files_only)

        def load(name: str, settings: Mapping[str, Any]) -> Pipeline:
            return Pipeline.from_pretrained(
                weights, config=config, stages=[name], settings={name: settings}, **computing
            )

        made = cls(load, PipelineConfig.of(weights, config))
        made.of(Choices.of(made.config))
        return made

    def close(self) -> None:
        """Let what goes on stop after its stage, and wait for that."""
        self.closed = True
        with self.lock:
            self._loaded.clear()

    def of(self, choices: Choices) -> Pipeline:
        """The pipeline of these choices, to be used under `lock`. Raises as `Pipeline.from_pretrained`."""
        parts = [self._part(name, choices.of_stage(name)) for name in ordered(self.config.family, choices.stages)]
        return Pipeline(
            [stage for part in parts for stage in part.stages],
            {name: digest for part in parts for name, digest in part.weights.items()},
            parts[0].compute if parts else "cpu",
            choices.strength,
            {name: given for part in parts for name, given in part.settings.items()},
            parts[0].engine if parts else "torch",
        )

    def _part(self, name: str, settings: Mapping[str, Any]) -> Pipeline:
        if name not in self._loaded or self._loaded[name][0] != settings:
            self._loaded[name] = settings, self.load(name, settings)
        return self._loaded[name][1]
