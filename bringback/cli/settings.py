"""Turn option values into arguments of `Pipeline.from_pretrained`. Raises ValueError for values that conflict."""

from pathlib import Path
from typing import Any

from bringback.cli.options import STAGES

Settings = dict[str, dict[str, Any]]  # arguments of stages, by the name of the stage


def faces_settings(
    min_size: int | None, only_center_face: bool, fidelity: float | None, *, aligned: bool = False
) -> Settings:
    """The settings given for the stage `faces`."""
    given = {"min_size": min_size, "only_center_face": only_center_face, "fidelity": fidelity, "aligned": aligned}
    return {"faces": {name: value for name, value in given.items() if value is not None and value is not False}}


def method_settings(**methods: str | None) -> Settings:
    """The methods given for stages that offer several, by the name of the stage."""
    return {stage: {"method": method} for stage, method in methods.items() if method is not None}


def prior_settings(fill: str | None, stages: str | None, config: str | None = None, **given: Any) -> Settings:
    """The settings given for the deep image prior, for each stage that uses it, by the options or the configuration."""
    given = {name: value for name, value in given.items() if value is not None}
    names = parse_stages(stages)
    if given and config is not None:
        from bringback.pipeline_config import PipelineConfig

        known = PipelineConfig.read(config)
        fill, names = fill or known.settings.get("fill", {}).get("method"), names or known.stages
    uses = {"fill": fill == "prior", "prior": "prior" in (names or [])}
    if given and not any(uses.values()):
        raise ValueError("--prior-form, --prior-seconds and --seed go with --fill prior or with prior in --stages")
    return {stage: given for stage, used in uses.items() if used}


def upscale_settings(factor: float | None, to: int | None, model: Path | None) -> Settings:
    """The settings given for the stage `upscale`, which any of them turns on."""
    if factor is not None and to is not None:
        raise ValueError("--upscale and --upscale-to exclude each other")
    given = {"factor": factor, "side": to, "model": None if model is None else str(model)}
    given = {name: value for name, value in given.items() if value is not None}
    return {"upscale": given} if given else {}


def merge_settings(*sources: Settings) -> Settings:
    """Settings from several sources; later sources override earlier ones."""
    result: Settings = {}
    for source in sources:
        for stage, given in source.items():
            result[stage] = result.get(stage, {}) | given
    return result


def compute_settings(
    dtype: str, tile: int | None = None, batch_size: int | None = None, memory: float | None = None
) -> dict[str, Any]:
    """The arguments about precision and memory; `memory` is in GB."""
    in_bytes = None if memory is None else int(memory * 1e9)
    return {"dtype": dtype, "tile": tile, "batch_size": batch_size, "memory": in_bytes}


def parse_stages(stages: str | None) -> list[str] | None:
    """The names in the value of `--stages`; None without the option."""
    if stages is None:
        return None
    names = [name.strip() for name in stages.split(",") if name.strip()]
    if not names:
        raise ValueError(f"--stages names no stage; they are {STAGES}")
    return names


def reject_conflict(overwrite: bool, skip_existing: bool) -> None:
    """Raise ValueError if both `--overwrite` and `--skip-existing` are given."""
    if overwrite and skip_existing:
        raise ValueError("--overwrite and --skip-existing exclude each other")
