"""Model cards: what a checkpoint is, how it was trained, and its metrics when it was saved."""

import json
import platform
import subprocess
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml

from bringback import __version__
from bringback.models.base import Network
from bringback.runtime.files import file_hash, write_beside
from bringback.training.config import TrainConfig

_CARD = """---
license: apache-2.0
sha256: {weights}
library_name: bringback
---
# {name}

{about}

{parameters:.2f} M parameters, stored in half precision, computed in float32 or bfloat16.
SHA-256 of the weights: `{weights}`.

## Training

| | |
|---|---|
| reproduce with | {command} |
| data | {data} |
| parents | {parents} |

| steps | minutes | pictures a step | hardware | commit | changes |
|---|---|---|---|---|---|
{segments}

Validation when it was saved: {metrics}.

<details><summary>Config of the last segment, without local paths</summary>

```yaml
{config}```

</details>
"""


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a run with one config on one machine: steps (`begun`, `ended`] and the minutes they took.

    The fields are the keys of `lineage.json`.
    """

    config: dict[str, Any]
    commit: str
    hardware: str
    processes: int
    begun: int
    ended: int
    minutes: float


class History:
    """The segments of a run, kept in `lineage.json` in its folder. Resuming with nothing changed adds no segment."""

    def __init__(self, out: Path, config: TrainConfig, processes: int, step: int, minutes: float) -> None:
        """The history up to `step`, after `minutes` in all; a segment is added if something changed."""
        self.file = out / "lineage.json"
        known = json.loads(self.file.read_text(encoding="utf-8")) if step and self.file.exists() else []
        # a run resumed from an older state drops what came after that
        self.segments = [Segment(**values) for values in known if values["begun"] < step]
        if self.segments:
            self._end_last(step, minutes)
        new = Segment(_without_paths(config), _commit(), _hardware(), processes, step, step, 0.0)
        compared = ("config", "commit", "hardware", "processes")
        if not self.segments or any(getattr(self.segments[-1], key) != getattr(new, key) for key in compared):
            self.segments.append(new)

    def _end_last(self, step: int, minutes: float) -> None:
        before = sum(segment.minutes for segment in self.segments[:-1])
        self.segments[-1] = replace(self.segments[-1], ended=step, minutes=minutes - before)

    def update(self, step: int, minutes: float) -> None:
        """Save that the run has reached `step`, after `minutes` in all."""
        self._end_last(step, minutes)
        values = [asdict(segment) for segment in self.segments]
        # a run that is killed here must find a whole file when it is resumed
        write_beside(self.file, (json.dumps(values, indent=1) + "\n").encode())

    def rows(self) -> str:
        """The rows of the card's table of segments."""
        return "\n".join(
            f"| {segment.begun} to {segment.ended} | {segment.minutes:.0f} | {_batch(segment)} | {segment.hardware} | "
            f"{segment.commit} | {_changes(self.segments[index - 1].config if index else None, segment.config)} |"
            for index, segment in enumerate(self.segments)
        )


def write_card(
    network: Network,
    folder: Path,
    config: TrainConfig,
    history: History,
    parents: dict[str, str],
    metrics: dict[str, float],
) -> None:
    """Write the `README.md` of a checkpoint folder.

    `parents` are the hashes of the checkpoints that the network was made from, by name.
    """
    about = (type(network).__doc__ or "").strip().split("\n\n    Args:")[0].split("\n    Args:")[0]
    sources = [f"{s.path} ({s.domain}, weight {s.weight:g})" for s in config.train_data]
    (folder / "README.md").write_text(
        _CARD.format(
            name=folder.name,
            about=" ".join(line.strip() for line in about.splitlines()),
            parameters=sum(p.numel() for p in network.parameters()) / 1e6,
            weights=file_hash(folder / "model.safetensors"),
            command=_command(config, history.segments),
            data="; ".join([*sources, *([f"damage {config.overlays}"] if config.overlays else [])]),
            parents=", ".join(f"{name} `{value[:16]}`" for name, value in parents.items()) or "none",
            segments=history.rows(),
            metrics=", ".join(f"{key} {value:.4g}" for key, value in metrics.items()),
            config=yaml.safe_dump(_without_paths(config), sort_keys=False),
        ),
        encoding="utf-8",
    )


def _command(config: TrainConfig, segments: list[Segment]) -> str:
    """The command that reproduces the run: by steps, since minutes depend on the machine; from its parents, if any."""
    if len(segments) > 1:
        return "the segments below, one after the other"
    processes = segments[0].processes
    launcher = f"accelerate launch --multi_gpu --num_processes {processes}" if processes > 1 else "python"
    settings = ["output_dir=RUN"]
    settings += [f"{place}={place.upper()}" for place in ("init_from", "weights") if getattr(config, place)]
    if Path(config.backbone).suffix:
        settings.append(f"backbone=FOLDER/{Path(config.backbone).name}")
    settings += [f"max_train_steps={segments[0].ended}", "max_train_minutes=1e9"]
    command = " --set ".join([f"{launcher} train/{config.task}.py --config FILE", *settings])
    return f"`{command}`, FILE being the config below (for `best/` and weights saved during a run: that run)"


def _batch(segment: Segment) -> str:
    config = segment.config
    pictures = segment.processes * config["train_batch_size"] * config["gradient_accumulation_steps"]
    return f"{pictures} of {config['resolution']}x{config['resolution']}"


def _changes(before: dict[str, Any] | None, after: dict[str, Any]) -> str:
    if before is None:
        return "the beginning"
    changed = {key: value for key, value in after.items() if before.get(key) != value}
    return ", ".join(f"{key} {value}" for key, value in changed.items()) or "the code or the machine"


def _without_paths(config: TrainConfig) -> dict[str, Any]:
    """The config without the paths of this machine."""
    paths = ("output_dir", "data_dir", "weights", "init_from", "resume_from_checkpoint")
    values = {key: value for key, value in asdict(config).items() if key not in paths}
    return values | {"backbone": Path(config.backbone).name}


def _hardware() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{torch.get_num_threads()} thread(s) of a {platform.machine()} CPU"


def _commit(root: Path = Path(__file__).parents[2]) -> str:
    """The commit of the checkout that the package lies in, "-dirty" if files are changed; else the version."""
    version = f"version {__version__}"
    if not (root / ".git").exists():  # installed, perhaps into the checkout of another project
        return version
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        result = subprocess.run(command, cwd=root, capture_output=True, text=True)
    except OSError:  # git is not installed
        return version
    return result.stdout.strip() or version
