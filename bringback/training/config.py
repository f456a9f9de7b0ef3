"""Typed training configs: YAML and `--set key=value` into one dataclass; unknown or ill-typed keys are errors."""

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

from bringback.errors import ConfigError

_EXPONENT = re.compile(r"[-+]?\d+[eE][-+]?\d+")  # 1e-4: YAML 1.1 takes it for a word


@dataclass(frozen=True, slots=True)
class Source:
    """Pictures to learn from: a folder, a tar shard or a glob of shards.

    `domain` is `clean` (Y, to be aged) or `old` (R, real old photos), `weight` how often it is drawn beside the others.
    """

    path: str
    domain: Literal["clean", "old"] = "clean"
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """One training run. Field names follow diffusers and accelerate.

    Paths of pictures and overlays are relative to `data_dir`; `whole_pictures` shrinks them
    to the resolution instead of cutting crops; `weights` is a folder of checkpoints laid over the shipped
    ones (the frozen networks come from there), `init_from` one to go on from, `backbone` what perceptual losses see by.
    `in_memory_max_gb` is what the decoded pictures of a set (those to train on, those to validate with) may take on
    one machine, in 10^9 bytes; 0 is half of the memory that is free. What needs more is read when drawn.
    `ageing_processes` age beside the steps, each on a core of its own (0: a thread, if a core is free), for a device
    that learns faster than a core ages; then `reuse` is how many times a picture is learned from once it is aged.
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
        """Raises ConfigError for numbers of processes and of times that are none."""
        if self.ageing_processes < 0:
            raise ConfigError(f"ageing_processes: wants 0 or more, not {self.ageing_processes}")
        if self.reuse < 1:
            raise ConfigError(f"reuse: wants 1 or more, not {self.reuse}")
        if self.reuse > 1 and not self.ageing_processes:
            raise ConfigError(f"reuse: {self.reuse} wants processes that age: set ageing_processes to 1 or more")


def _know(given: Iterable[Any], known: Iterable[str], where: str) -> None:
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            raise ConfigError(f"{where}{key}: no such key" + (f"; did you mean {near[0]!r}?" if near else ""))


def _choose(choices: Sequence[str], value: Any, where: str) -> str:
    if value is False and "no" in choices:  # YAML reads a bare `no` as false
        return "no"
    if value not in choices:
        near = difflib.get_close_matches(str(value), choices, 1, cutoff=0)[0]
        raise ConfigError(f"{where}{value!r} is none of {', '.join(choices)}; did you mean {near!r}?")
    return value


def _build(kind: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(kind)
    if origin is Literal:
        return _choose(typing.get_args(kind), value, where)
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise ConfigError(f"{where or 'config'}: wants keys and values, not {value!r}")
        hints = typing.get_type_hints(kind)
        _know(value, hints, where)
        try:
            return kind(**{key: _build(hints[key], item, f"{where}{key}: ") for key, item in value.items()})  # type: ignore[operator]
        except TypeError as error:
            raise ConfigError(f"{where}{error}") from error
    if origin is list:
        if not isinstance(value, list):
            raise ConfigError(f"{where}wants a list, not {value!r}")
        return [_build(typing.get_args(kind)[0], item, where) for item in value]
    if origin in (dict, types.UnionType):
        kind = origin
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is float and isinstance(value, str) and _EXPONENT.fullmatch(value):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ConfigError(f"{where}wants {kind.__name__}, not {value!r}")
    return value


def read_options(given: Mapping[str, Any], defaults: Mapping[str, Any], where: str = "options: ") -> dict[str, Any]:
    """A task's options over its defaults, each of the type of its default.

    Raises ConfigError for a name that it does not know or a value of another type.
    """
    _know(given, defaults, where)
    return {**defaults, **{key: _build(type(defaults[key]), value, f"{where}{key}: ") for key, value in given.items()}}


def known_recipe(name: str, recipes: Iterable[str]) -> str:
    """The recipe's name, if it is one; raises ConfigError, naming the nearest."""
    return _choose(list(recipes), name, "recipe: ")


def load_config(path: Path, overrides: list[str]) -> TrainConfig:
    """Read a YAML file and lay `key=value` (or `key.sub=value`) over it; raises ConfigError."""
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"--set {override}: wants key=value")
        place = values
        *parents, last = key.split(".")
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = yaml.safe_load(text) if text else ""
    return _build(TrainConfig, values, "")
