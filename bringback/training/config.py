"""Typed training configs: YAML and `--set key=value` in one dataclass. Unknown or wrongly typed keys are errors."""

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from bringback.errors import ConfigError, did_you_mean

_EXPONENT = re.compile(r"[-+]?\d+[eE][-+]?\d+")  # YAML 1.1 reads 1e-4 as a string


@dataclass(frozen=True, slots=True)
class Source:
    """Training pictures: a folder, a tar shard or a glob of shards.

    `domain` is `clean` (Y, to be degraded) or `old` (R, real old photos); `weight` is the sampling weight; `recipe`
    degrades pictures of this source in training in place of the config's, if it is not empty.
    """

    path: str
    domain: Literal["clean", "old"] = "clean"
    weight: float = 1.0
    recipe: str = ""


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """The configuration of one training run. Field names follow diffusers and accelerate; these are our own:

    data_dir: paths of pictures and overlays are relative to it.
    whole_pictures: downscale pictures to the resolution instead of cutting crops from them.
    in_memory_max_gb: how much of a machine's memory, in 10^9 bytes, the decoded pictures of a set (training or
        validation) may take; 0 is half of the free memory. Larger sets are read and decoded when drawn.
    decoded_cache: keep the decoded pictures in a file beside them, which later runs and all processes map into memory.
    ageing_processes: worker processes that degrade pictures, for a device that is faster than one core can degrade
        (0: a thread, if a core is idle).
    reuse: how many times each degraded picture is used, on average; needs `ageing_processes`.
    weights: a folder of checkpoints that replace the shipped ones as frozen networks.
    init_from: a folder of checkpoints to continue training from.
    backbone: the network of perceptual losses.
    optimizer: "adamw", or "muon" for the kernels of convolutions and AdamW for the rest; see `training.muon`.
    """

    task: str
    output_dir: str
    train_data: list[Source]
    data_dir: str = "data"
    validation_data: list[Source] = field(default_factory=list)
    overlays: str = ""
    validation_overlays: str = ""
    recipe: str = "training"
    resolution: int = 256
    whole_pictures: bool = False
    in_memory_max_gb: float = 0.0
    decoded_cache: bool = False
    ageing_processes: int = 0
    reuse: int = 1
    network: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    weights: str = ""
    init_from: str = ""
    backbone: str = ""
    seed: int = 0
    train_batch_size: int = 16
    max_train_steps: int = 1_000_000
    max_train_minutes: float = 1e9
    gradient_accumulation_steps: int = 1
    learning_rate: float = 1e-3
    lr_scheduler: Literal["cosine", "linear", "constant"] = "cosine"
    lr_warmup_steps: int = 100
    optimizer: Literal["adamw", "muon"] = "adamw"
    adam_beta1: float = 0.9
    adam_beta2: float = 0.99
    adam_weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    mixed_precision: Literal["no", "bf16", "fp16"] = "bf16"
    use_ema: bool = True
    ema_decay: float = 0.998
    checkpointing_steps: int = 500
    checkpoints_total_limit: int = 2
    resume_from_checkpoint: str = ""
    validation_steps: int = 500
    validation_samples: int = 24
    logging_steps: int = 20
    report_to: str = ""

    def __post_init__(self) -> None:
        """Raises ConfigError for settings that do not go together."""
        if self.ageing_processes < 0:
            raise ConfigError(f"ageing_processes: must be 0 or more, not {self.ageing_processes}")
        if self.reuse < 1:
            raise ConfigError(f"reuse: must be 1 or more, not {self.reuse}")
        if self.optimizer == "muon" and self.mixed_precision == "fp16":
            raise ConfigError("optimizer: muon does not go with fp16, whose scaled gradients it would share with AdamW")
        if self.reuse > 1 and not self.ageing_processes:
            raise ConfigError(f"reuse: {self.reuse} needs worker processes: set ageing_processes to 1 or more")


def _check_keys(given: Iterable[Any], known: Iterable[str], where: str) -> None:
    for key in given:
        if key not in known:
            raise ConfigError(f"{where}{key}: no such key{did_you_mean(key, known)}")


def _check_choice(choices: Sequence[str], value: Any, where: str) -> str:
    if value is False and "no" in choices:  # YAML reads a bare `no` as false
        return "no"
    if value not in choices:
        near = difflib.get_close_matches(str(value), choices, 1, cutoff=0)[0]
        raise ConfigError(f"{where}{value!r} is none of {', '.join(choices)}; did you mean {near!r}?")
    return value


def _parse(kind: Any, value: Any, where: str) -> Any:
    """The value as the annotated type `kind`; raises ConfigError, with `where` as the start of the message."""
    origin = typing.get_origin(kind)
    if origin is Literal:
        return _check_choice(typing.get_args(kind), value, where)
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise ConfigError(f"{where or 'config'}: must be keys and values, not {value!r}")
        hints = typing.get_type_hints(kind)
        _check_keys(value, hints, where)
        try:
            return kind(**{key: _parse(hints[key], item, f"{where}{key}: ") for key, item in value.items()})  # type: ignore[operator]
        except TypeError as error:
            raise ConfigError(f"{where}{error}") from error
    if origin is list:
        if not isinstance(value, list):
            raise ConfigError(f"{where}must be a list, not {value!r}")
        return [_parse(typing.get_args(kind)[0], item, where) for item in value]
    if origin in (dict, types.UnionType):
        kind = origin
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is float and isinstance(value, str) and _EXPONENT.fullmatch(value):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ConfigError(f"{where}must be {kind.__name__}, not {value!r}")
    return value


def read_options(given: Mapping[str, Any], defaults: Mapping[str, Any], where: str = "options: ") -> dict[str, Any]:
    """A task's options: `given` over `defaults`, each of the type of its default.

    Raises ConfigError for an unknown name or a value of another type.
    """
    _check_keys(given, defaults, where)
    return {**defaults, **{key: _parse(type(defaults[key]), value, f"{where}{key}: ") for key, value in given.items()}}


def check_recipe(name: str, recipes: Iterable[str]) -> str:
    """The recipe's name; raises ConfigError, with the nearest name, if there is no such recipe."""
    return _check_choice(list(recipes), name, "recipe: ")


def load_config(path: Path, overrides: list[str]) -> TrainConfig:
    """Read a YAML file and apply `key=value` (or `key.sub=value`) overrides; raises ConfigError."""
    values = _yaml(path.read_text(encoding="utf-8", errors="replace"), str(path))
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: must be keys and values, not {values!r}")
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"--set {override}: must be key=value")
        place = values
        *parents, last = key.split(".")
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise ConfigError(f"--set {override}: {parent} has no keys of its own")
        place[last] = _yaml(text, f"--set {override}") if text else ""
    return _parse(TrainConfig, values, "")


def _yaml(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: {' '.join(str(error).split())}") from None
