"""Model cards: what a checkpoint is, where it comes from leg by leg, and how good it was when it was saved."""

import json
import platform
import subprocess
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml

from bringback.models.base import Network
from bringback.runtime.files import file_hash
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
| again by | {command} |
| data | {data} |
| parents | {parents} |

| steps | minutes | pictures a step | hardware | commit | what the leg changed |
|---|---|---|---|---|---|
{legs}

Validation when it was saved: {metrics}.

<details><summary>Config of the last leg, without the places it was run in</summary>

```yaml
{config}```

</details>
"""


@dataclass(frozen=True, slots=True)
class Leg:
    """A part of a run with one config on one machine: steps (`begun`, `ended`] and the minutes they took."""

    config: dict[str, Any]
    commit: str
    hardware: str
    processes: int
    begun: int
    ended: int
    minutes: float


class Lineage:
    """The legs of a run, kept in `lineage.json` in its folder. Going on with nothing changed is no new leg."""

    def __init__(self, out: Path, config: TrainConfig, processes: int, step: int, minutes: float) -> None:
        """Begin at a step, after so many minutes in all."""
        self.file = out / "lineage.json"
        known = json.loads(self.file.read_text(encoding="utf-8")) if step and self.file.exists() else []
        # what came after the state that the run goes on from is forgotten
        legs = [Leg(**leg) for leg in known if leg["begun"] < step]
        if legs:
            before = sum(leg.minutes for leg in legs[:-1])
            legs[-1] = replace(legs[-1], ended=step, minutes=minutes - before)
        new = Leg(_portable(config), _commit(), _hardware(), processes, step, step, 0.0)
        plan = ("config", "commit", "hardware", "processes")
        if not legs or any(getattr(legs[-1], key) != getattr(new, key) for key in plan):
            legs.append(new)
        self.legs = legs

    def reach(self, step: int, minutes: float) -> None:
        """Note how far the run has come, after so many minutes in all."""
        before = sum(leg.minutes for leg in self.legs[:-1])
        self.legs[-1] = replace(self.legs[-1], ended=step, minutes=minutes - before)
        self.file.write_text(json.dumps([asdict(leg) for leg in self.legs], indent=1) + "\n", encoding="utf-8")

    def rows(self) -> str:
        """The rows of the card's table of legs."""
        return "\n".join(
            f"| {leg.begun} to {leg.ended} | {leg.minutes:.0f} | {_batch(leg)} | {leg.hardware} | {leg.commit} | "
            f"{_changes(self.legs[index - 1].config if index else None, leg.config)} |"
            for index, leg in enumerate(self.legs)
        )


def write_card(
    network: Network,
    folder: Path,
    config: TrainConfig,
    lineage: Lineage,
    parents: dict[str, str],
    metrics: dict[str, float],
) -> None:
    """Write `README.md` beside the weights in a checkpoint folder, out of what the run knows of itself.

    `parents` are the hashes of the checkpoints it was made from, by name.
    """
    about = (type(network).__doc__ or "").strip().split("\n\n    Args:")[0].split("\n    Args:")[0]
    sources = [f"{s.path} ({s.domain}, weight {s.weight:g})" for s in config.train_data]
    (folder / "README.md").write_text(
        _CARD.format(
            name=folder.name,
            about=" ".join(line.strip() for line in about.splitlines()),
            parameters=sum(p.numel() for p in network.parameters()) / 1e6,
            weights=file_hash(folder / "model.safetensors"),
            command=_command(config, lineage.legs),
            data="; ".join([*sources, *([f"damage {config.overlays}"] if config.overlays else [])]),
            parents=", ".join(f"{name} `{value[:16]}`" for name, value in parents.items()) or "none",
            legs=lineage.rows(),
            metrics=", ".join(f"{key} {value:.4g}" for key, value in metrics.items()),
            config=yaml.safe_dump(_portable(config), sort_keys=False),
        ),
        encoding="utf-8",
    )


def _command(config: TrainConfig, legs: list[Leg]) -> str:
    """What trains it again: so many steps, whatever a minute is on the machine, on from the parents if it had any."""
    if len(legs) > 1:
        return "the legs below, one after the other"
    many = f" --multi_gpu --num_processes {legs[0].processes}" if legs[0].processes > 1 else ""
    settings = ["output_dir=RUN"]
    settings += [f"{place}={place.upper()}" for place in ("init_from", "weights") if getattr(config, place)]
    if Path(config.backbone).suffix:
        settings.append(f"backbone=FOLDER/{Path(config.backbone).name}")
    settings += [f"max_train_steps={legs[0].ended}", "max_train_minutes=1e9"]
    command = " --set ".join([f"accelerate launch{many} train/{config.task}.py --config FILE", *settings])
    return f"`{command}`, FILE being the config below (`best/` and weights saved on the way: the run that they are of)"


def _batch(leg: Leg) -> str:
    config = leg.config
    many = leg.processes * config["train_batch_size"] * config["gradient_accumulation_steps"]
    return f"{many} of {config['resolution']}x{config['resolution']}"


def _changes(before: dict[str, Any] | None, after: dict[str, Any]) -> str:
    if before is None:
        return "the beginning"
    changed = {key: value for key, value in after.items() if before.get(key) != value}
    return ", ".join(f"{key} {value}" for key, value in changed.items()) or "the code or the machine"


def _portable(config: TrainConfig) -> dict[str, Any]:
    """The config without the places on the machine it ran on."""
    places = ("output_dir", "data_dir", "weights", "init_from", "resume_from_checkpoint")
    values = {key: value for key, value in asdict(config).items() if key not in places}
    return values | {"backbone": Path(config.backbone).name}


def _hardware() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{torch.get_num_threads()} thread(s) of a {platform.machine()} CPU"


def _commit() -> str:
    command = ["git", "rev-parse", "--short=12", "HEAD"]
    try:
        result = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    except OSError:  # there is no git on this machine
        return "unknown"
    return result.stdout.strip() or "unknown"
