"""Which of our networks a state dict is, and with which arguments of its constructor: told by names and shapes."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from bringback.models.base import Network
from bringback.models.colorizer import ColourUNet
from bringback.models.faces.generator import FaceGenerator
from bringback.models.relight import RelightNet
from bringback.models.tone import ToneCurves
from bringback.models.translation.mapping import Mapping as LatentMapping
from bringback.models.translation.vae import VAE
from bringback.models.unet import ScratchUNet

State = Mapping[str, Tensor]

TRANSLATION = ("old_vae", "mapping", "clean_vae")  # the networks of the stage `translate`
SIDE = "side"  # of a thumbnail, which no weight tells: a tensor of its own where it is known


class Shape(NamedTuple):
    """A network, the constructor's arguments that a state dict of it tells, and keys that any such dict has."""

    network: type[Network]
    config: Callable[[State], dict[str, Any]]
    keys: frozenset[str]
    outputs: tuple[int, ...]  # channels that its last convolution, `head`, may have; empty: it has none


def _count(state: State, prefix: str) -> int:
    """How many modules a list has."""
    return len({key[len(prefix) + 1 :].partition(".")[0] for key in state if key.startswith(f"{prefix}.")})


def _blocks(state: State, prefix: str) -> list[int]:
    """How many modules each list in a list of lists has."""
    return [_count(state, f"{prefix}.{number}") for number in range(_count(state, prefix))]


def _widths(state: State) -> list[int]:
    """Channels after the stem, and after each step down."""
    return [len(state[f"{name}.weight"]) for name in ("stem", *(f"down.{n}" for n in range(_count(state, "down"))))]


def _unet(state: State) -> dict[str, Any]:
    widths = [len(state[f"down.{number}.0.weight"]) for number in range(_count(state, "down"))]
    return {"widths": widths, "core": _count(state, "core")}


def _vae(state: State) -> dict[str, Any]:
    stride = math.isqrt(len(state["head.weight"]) // 3)
    sizes = {"channels": len(state["stem.weight"]), "blocks": _count(state, "encoder")}
    return sizes | {"stride": stride, "level": "level" in state}


def _mapping(state: State) -> dict[str, Any]:
    sizes = {"channels": len(state["head.weight"]), "inner": len(state["attention.query.weight"])}
    gate = len(state["trust.layers.0.weight"])
    widths = _widths(state)
    blocks = [_count(state, f"before.{number}") for number in range(len(widths))]  # a level may have none
    return sizes | {"widths": widths, "blocks": blocks, "gate": gate}


def _faces(state: State) -> dict[str, Any]:
    hidden = len(state["build.0.0.told.weight"])
    return {"widths": _widths(state), "blocks": _blocks(state, "build"), "hidden": hidden}


def _tone(state: State) -> dict[str, Any]:
    sizes = {"width": len(state["look.0.weight"]), "hidden": len(state["decide.0.weight"])}
    return _side(state) | sizes | {"knots": len(state["decide.4.weight"]) // 3 - 1}


def _relight(state: State) -> dict[str, Any]:
    sizes = {"look": len(state["look.0.weight"]), "knots": len(state["decide.2.weight"])}
    return _side(state) | sizes | {"width": len(state["stem.weight"]), "blocks": _count(state, "body")}


def _side(state: State) -> dict[str, Any]:
    return {SIDE: int(state[SIDE])} if SIDE in state else {}


_U = frozenset(["down.0.0.weight", "down.0.4.running_var"])
_V = frozenset(["stem.weight", "encoder.0.first.weight", "decoder.0.first.weight"])
SHAPES = {
    "scratches": Shape(ScratchUNet, _unet, _U, (4,)),
    "relight": Shape(RelightNet, _relight, frozenset(["look.4.weight", "whole.0.weight", "decide.2.weight"]), (12,)),
    "tone": Shape(ToneCurves, _tone, frozenset(["look.4.weight", "decide.0.weight", "decide.4.weight"]), ()),
    "old_vae": Shape(VAE, _vae, _V, (12, 48)),
    "mapping": Shape(LatentMapping, _mapping, frozenset(["attention.query.weight", "trust.layers.6.weight"]), ()),
    "clean_vae": Shape(VAE, _vae, _V, (12, 48)),
    "faces": Shape(FaceGenerator, _faces, frozenset(["build.0.0.gamma_beta.weight", "build.0.0.told.weight"]), (48,)),
    "colorize": Shape(ColourUNet, _unet, _U, (440,)),
}
"""The networks by the names of their checkpoints, in the order of the stages."""

ALONE = tuple(name for name in SHAPES if name not in TRANSLATION)
"""Networks that are of use by themselves."""


def is_of(state: State, name: str) -> bool:
    """Whether a state dict, compact or not, is of the network of that checkpoint."""
    shape = SHAPES[name]
    return shape.keys <= state.keys() and (not shape.outputs or _outputs(state) in shape.outputs)


def _outputs(state: State) -> int:
    return len(state["head.weight"]) if "head.weight" in state else 0


def parts(state: State) -> dict[str, dict[str, Tensor]]:
    """The state dicts of several networks, by what stands before the first dot; empty when one of them is not ours."""
    found: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for key, value in state.items():
        name, _, rest = key.partition(".")
        found[name][rest] = value
    whole = len(found.keys() & set(TRANSLATION)) in (0, len(TRANSLATION))
    if not whole or not all(name in SHAPES and is_of(part, name) for name, part in found.items()):
        return {}
    return {name: found[name] for name in SHAPES if name in found}
