"""The one registry of models, and which of them a state dict is, by the names and shapes of its tensors."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from bringback.models import graphs
from bringback.models.base import Network
from bringback.models.colorizer import ColorUNet
from bringback.models.faces.generator import FaceGenerator
from bringback.models.graphs import Graph, Runs, method
from bringback.models.native_scale import NativeScale
from bringback.models.relight import RelightNet
from bringback.models.tone import ToneCurves
from bringback.models.translation.mapping import LatentMapping
from bringback.models.translation.vae import VAE
from bringback.models.unet import ScratchUNet
from bringback.models.upscale import UpscaleNet
from bringback.models.wan2020.face import PaperFaceGenerator
from bringback.models.wan2020.mapping import PaperMapping
from bringback.models.wan2020.unet import PaperUNet
from bringback.models.wan2020.vae import PaperVAE

State = Mapping[str, Tensor]

TRANSLATION = ("old_vae", "mapping", "clean_vae")  # the networks of the stage `translate`
SCALE = "scale"  # the network that estimates the native scale, for all stages
SIDE = "side"  # of a thumbnail, which no weight tells: a tensor of its own where it is known


class Model(NamedTuple):
    """A network and what other parts of the package know of it, so that a new one is entered in one place."""

    network: type[Network]
    task: str  # that trains it: module and class within `training.tasks`
    graphs: Callable[[Any], list[Graph]]  # what other runtimes compute of it
    attach: Callable[[Any, Runs], None]  # lets a network compute with those
    config: Callable[[State], dict[str, Any]]  # the constructor's arguments that a state dict tells
    keys: frozenset[str]  # that any state dict of it has
    outputs: tuple[int, ...] = ()  # channels that its last convolution, `head`, may have; empty: it has none


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


def _scale(state: State) -> dict[str, Any]:
    return {"hidden": len(state["layers.0.weight"])}


def _tone(state: State) -> dict[str, Any]:
    sizes = {"width": len(state["look.0.weight"]), "hidden": len(state["decide.0.weight"])}
    judge = state.get("judge.last.weight")
    judges = {} if judge is None else {"judges": len(judge)}
    return _side(state) | sizes | {"knots": len(state["decide.4.weight"]) // 3 - 1} | judges


def _relight(state: State) -> dict[str, Any]:
    sizes = {"look": len(state["look.0.weight"]), "knots": len(state["decide.2.weight"])}
    return _side(state) | sizes | {"width": len(state["stem.weight"]), "blocks": _count(state, "body")}


def _upscale(state: State) -> dict[str, Any]:
    return {"width": len(state["stem.weight"]), "blocks": _count(state, "body")}


def _side(state: State) -> dict[str, Any]:
    return {SIDE: int(state[SIDE])} if SIDE in state else {}


_U = frozenset(["down.0.0.weight", "down.0.4.running_var"])
_V = frozenset(["stem.weight", "encoder.0.first.weight", "decoder.0.first.weight"])
MODELS: dict[str, Model] = {
    SCALE: Model(
        NativeScale,
        "native_scale:NativeScaleTask",
        graphs.of_scale,
        method("forward"),
        _scale,
        frozenset(["layers.0.weight", "layers.2.weight", "layers.4.weight"]),
    ),
    "scratches": Model(ScratchUNet, "scratches:ScratchTask", graphs.of_scratches, method("forward"), _unet, _U, (4,)),
    "relight": Model(
        RelightNet,
        "relight:RelightTask",
        graphs.of_relight,
        graphs.attach_relight,
        _relight,
        frozenset(["look.4.weight", "whole.0.weight", "decide.2.weight"]),
        (12,),
    ),
    "tone": Model(
        ToneCurves,
        "tone:ToneTask",
        graphs.of_tone,
        method("curves"),
        _tone,
        frozenset(["look.4.weight", "decide.0.weight", "decide.4.weight"]),
    ),
    "old_vae": Model(VAE, "vae:OldVAETask", graphs.of_old_vae, method("encode"), _vae, _V, (12, 48)),
    "mapping": Model(
        LatentMapping,
        "mapping:MappingTask",
        graphs.of_mapping,
        graphs.attach_mapping,
        _mapping,
        frozenset(["attention.query.weight", "trust.layers.6.weight"]),
    ),
    "clean_vae": Model(VAE, "vae:CleanVAETask", graphs.of_clean_vae, graphs.attach_clean_vae, _vae, _V, (12, 48)),
    "faces": Model(
        FaceGenerator,
        "faces:FaceTask",
        graphs.of_faces,
        graphs.attach_faces,
        _faces,
        frozenset(["build.0.0.gamma_beta.weight", "build.0.0.told.weight"]),
        (48,),
    ),
    "colorize": Model(ColorUNet, "colorize:ColorTask", graphs.of_colorize, method("forward"), _unet, _U, (440,)),
    "upscale": Model(
        UpscaleNet,
        "upscale:UpscaleTask",
        graphs.of_upscale,
        method("forward"),
        _upscale,
        frozenset(["stem.weight", "body.0.first.weight", "head.weight"]),
        (16,),
    ),
}
"""What is known of each network, by the name of its checkpoint, in the order of the stages."""

NETWORKS: dict[str, type[Network]] = {
    kind.__name__: kind
    for kind in (
        *(model.network for model in MODELS.values()),
        *(PaperFaceGenerator, PaperMapping, PaperUNet, PaperVAE),
    )
}
"""The networks that checkpoints are of, those of the family paper too, by the name in their `config.json`."""

ALONE = tuple(name for name in MODELS if name not in (*TRANSLATION, SCALE))
"""Networks that restore something by themselves."""


def is_of(state: State, name: str) -> bool:
    """Whether a state dict, compact or not, is of the network of that checkpoint."""
    model = MODELS[name]
    return model.keys <= state.keys() and (not model.outputs or _outputs(state) in model.outputs)


def _outputs(state: State) -> int:
    return len(state["head.weight"]) if "head.weight" in state else 0


def parts(state: State) -> dict[str, dict[str, Tensor]]:
    """The state dicts of several networks, by what stands before the first dot; empty when one of them is not ours."""
    found: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for key, value in state.items():
        name, _, rest = key.partition(".")
        found[name][rest] = value
    whole = len(found.keys() & set(TRANSLATION)) in (0, len(TRANSLATION))
    if not whole or not all(name in MODELS and is_of(part, name) for name, part in found.items()):
        return {}
    return {name: found[name] for name in MODELS if name in found}
