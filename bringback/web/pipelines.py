"""User choices on the web page, and the pipelines that apply them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Self

from bringback.images.photo import Photo
from bringback.pipeline import Pipeline
from bringback.pipeline_config import PipelineConfig
from bringback.runtime.hub import fetched
from bringback.stages import ordered


@dataclass(frozen=True)
class Choices:
    """Choices of a user: arguments of `Pipeline` and of its stages, with the names they have there."""

    stages: tuple[str, ...]
    strength: float = 1.0
    fidelity: float = 0.0
    saturation: float = 1.0
    scale: str = "auto"
    upscale: float = 1.0  # no stage here: strokes mend the result before it is enlarged

    @classmethod
    def of(cls, config: PipelineConfig) -> Self:
        """The initial choices."""
        fidelity, saturation = (
            config.settings.get(stage, {}).get(name, getattr(cls, name))
            for stage, name in (("faces", "fidelity"), ("colorize", "saturation"))
        )
        stages = tuple(name for name in config.stages if name != ENLARGING)
        factor = config.settings.get(ENLARGING, {}).get("factor", 2.0) if ENLARGING in config.stages else 1.0
        return cls(stages, fidelity=fidelity, saturation=saturation, upscale=factor)

    def of_stage(self, name: str) -> dict[str, Any]:
        """The settings of one stage."""
        chosen = {"faces": {"fidelity": self.fidelity}, "colorize": {"saturation": self.saturation}}
        return chosen.get(name, {})


ENLARGING = "upscale"  # the stage


class Stopped(Exception):
    """Raised to stop work when the user cancels or the server shuts down."""


class Pipelines:
    """Pipelines for any choice of stages, shared by all users; callers hold `lock`, so that one photo runs at a time.

    A stage stays loaded until its settings change.
    """

    def __init__(
        self, load: Callable[[str, Mapping[str, Any]], Pipeline], config: PipelineConfig | None = None
    ) -> None:
        """Args: load: builds the pipeline of one stage from its name and settings; config: the family of stages and the
        initial choices (default "lean").
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
        """Takes arguments of `Pipeline.from_pretrained`, raises what it does, and loads the initially chosen stages."""
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
        """Stop running work after its current stage, and wait for it."""
        self.closed = True
        with self.lock:
            self._loaded.clear()

    def of(self, choices: Choices) -> Pipeline:
        """The pipeline for these choices, to be used under `lock`. Raises what `Pipeline.from_pretrained` does."""
        parts = [self._part(name, choices.of_stage(name)) for name in ordered(self.config.family, choices.stages)]
        return Pipeline.joined(parts, choices.strength, None if choices.scale == "auto" else float(choices.scale))

    def note(self, choices: Choices) -> dict[str, str]:
        """The provenance of a result, see `Pipeline.note`; to be used under `lock`."""
        pipeline = self.of(choices)
        if choices.upscale == 1:
            return pipeline.note
        return Pipeline.joined([pipeline, self._part(ENLARGING, {"factor": choices.upscale})]).note

    def enlarged(self, photo: Photo, factor: float) -> Photo:
        """A finished photo, enlarged; waits for `lock`. Raises what `Pipeline.restore` does."""
        with self.lock:
            return self._part(ENLARGING, {"factor": factor}).restore(photo).result()

    def _part(self, name: str, settings: Mapping[str, Any]) -> Pipeline:
        if name not in self._loaded or self._loaded[name][0] != settings:
            self._loaded[name] = settings, self.load(name, settings)
        return self._loaded[name][1]
