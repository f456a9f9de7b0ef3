"""Model cards: what a checkpoint is, where it comes from, and how good it was when it was saved."""

import platform
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml

from bringback.checkpoints import file_hash
from bringback.nets.blocks import Network
from bringback.training.config import TrainConfig

_CARD = """---
license: apache-2.0
library_name: bringback
---
# {name}

{about}

{parameters:.2f} M parameters, stored in half precision, computed in float32 or bfloat16.
SHA-256 of the weights: `{weights}`.

## Training

| | |
|---|---|
| command | `accelerate launch train/{task}.py --config configs/{task}.yaml` |
| data | {data} |
| steps | {steps} of batch {batch} at {resolution}x{resolution} |
| time | {minutes:.0f} minutes |
| hardware | {hardware} |
| code | commit {commit} |
| parents | {parents} |

Validation when it was saved: {metrics}.

<details><summary>Config, without the places it was run in</summary>

```yaml
{config}```

</details>
"""


def write_card(
    network: Network,
    folder: Path,
    config: TrainConfig,
    parents: dict[str, str],
    steps: int,
    minutes: float,
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
            task=config.task,
            data="; ".join([*sources, *([f"damage {config.overlays}"] if config.overlays else [])]),
            steps=steps,
            batch=config.train_batch_size * config.gradient_accumulation_steps,
            resolution=config.resolution,
            minutes=minutes,
            hardware=_hardware(),
            commit=_commit(),
            parents=", ".join(f"{name} `{value[:16]}`" for name, value in parents.items()) or "none",
            metrics=", ".join(f"{key} {value:.4g}" for key, value in metrics.items()),
            config=yaml.safe_dump(_portable(config), sort_keys=False),
        ),
        encoding="utf-8",
    )


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
