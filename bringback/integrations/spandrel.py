"""Our weights in programs that load models with spandrel: `install()`, and its `ModelLoader` knows them.

spandrel loads one state dict and nothing beside it. A shipped `model.safetensors` of one network is such a file;
`save_merged` makes one of the networks of a whole pipeline. Their sizes are read off the shapes.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bringback.alignment import CROP
from bringback.checkpoints import Checkpoints
from bringback.compute import Compute
from bringback.extras import extra
from bringback.nets.blocks import Network
from bringback.nets.colour import ColourUNet
from bringback.nets.compact import expanded
from bringback.nets.face import FaceGenerator
from bringback.nets.mapping import Mapping as LatentMapping
from bringback.nets.relight import RelightNet
from bringback.nets.tone import ToneCurves
from bringback.nets.unet import ScratchUNet
from bringback.nets.vae import VAE
from bringback.pipeline import Pipeline
from bringback.pipeline_config import DEFAULT
from bringback.stages import STAGES
from bringback.stages.scratches import ScratchDetector

with extra("plugins"):
    import spandrel
    from spandrel.util import KeyCondition, get_seq_len

State = Mapping[str, Tensor]

TRANSLATION = ("old_vae", "mapping", "clean_vae")  # the networks of the stage `translate`


def _lengths(state: State, prefix: str) -> list[int]:
    """How many modules each list in a list of lists has."""
    return [get_seq_len(state, f"{prefix}.{number}") for number in range(get_seq_len(state, prefix))]


def _widths(state: State, first: str, others: str) -> list[int]:
    """Channels that come out of a convolution and of those of a list after it."""
    names = [first, *(f"{others}.{number}" for number in range(get_seq_len(state, others)))]
    return [len(state[f"{name}.weight"]) for name in names]


def _unet(state: State) -> dict[str, Any]:
    levels = range(get_seq_len(state, "down"))
    widths = [len(state[f"down.{number}.0.weight"]) for number in levels]
    return {"widths": widths, "core": get_seq_len(state, "core")}


def _vae(state: State) -> dict[str, Any]:
    return {"channels": len(state["stem.weight"]), "blocks": get_seq_len(state, "encoder")}


def _mapping(state: State) -> dict[str, Any]:
    sizes = {"channels": len(state["head.weight"]), "inner": len(state["attention.query.weight"])}
    return sizes | {"widths": _widths(state, "stem", "down"), "blocks": _lengths(state, "before")}


def _faces(state: State) -> dict[str, Any]:
    hidden = len(state["build.0.0.told.weight"])
    return {"widths": _widths(state, "stem", "down"), "blocks": _lengths(state, "build"), "hidden": hidden}


def _tone(state: State) -> dict[str, Any]:
    knots = len(state["decide.4.weight"]) // 3 - 1
    return _side(state) | {
        "width": len(state["look.0.weight"]),
        "hidden": len(state["decide.0.weight"]),
        "knots": knots,
    }


def _relight(state: State) -> dict[str, Any]:
    sizes = {"look": len(state["look.0.weight"]), "knots": len(state["decide.2.weight"])}
    return _side(state) | sizes | {"width": len(state["stem.weight"]), "blocks": get_seq_len(state, "body")}


def _side(state: State) -> dict[str, Any]:
    """The side of the thumbnail, which no weight tells: in a merged file it is a tensor of its own."""
    return {"side": int(state["side"])} if "side" in state else {}


_Known = tuple[type[Network], Callable[[State], dict[str, Any]], Callable[[State], bool]]
_U = KeyCondition.has_all("down.0.0.weight", "down.0.4.running_var", "head.weight")
_V = KeyCondition.has_all("stem.weight", "head.weight", "encoder.0.first.weight", "decoder.0.first.weight")
_NETWORKS: dict[str, _Known] = {
    "scratches": (ScratchUNet, _unet, lambda state: _U(state) and len(state["head.weight"]) == 4),
    "relight": (RelightNet, _relight, KeyCondition.has_all("look.4.weight", "whole.0.weight", "decide.2.weight")),
    "tone": (ToneCurves, _tone, KeyCondition.has_all("look.4.weight", "decide.0.weight", "decide.4.weight")),
    "old_vae": (VAE, _vae, _V),
    "mapping": (LatentMapping, _mapping, KeyCondition.has_all("attention.query.weight", "trust.layers.6.weight")),
    "clean_vae": (VAE, _vae, _V),
    "faces": (FaceGenerator, _faces, KeyCondition.has_all("build.0.0.gamma_beta.weight", "build.0.0.told.weight")),
    "colorize": (ColourUNet, _unet, lambda state: _U(state) and len(state["head.weight"]) == 440),
}
_ALONE = [name for name in _NETWORKS if name not in TRANSLATION]  # these are a model by themselves


def _read(state: State) -> tuple[str, dict[str, dict[str, Tensor]]]:
    """What a file is ("" when it is none of ours), and the state dicts of the networks in it, by their names."""
    for name in _ALONE:
        if _NETWORKS[name][2](state):
            return name, {name: dict(state)}
    parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for key, value in state.items():
        name, _, rest = key.partition(".")
        parts[name][rest] = value
    ours = bool(parts) and all(name in _NETWORKS and _NETWORKS[name][2](part) for name, part in parts.items())
    if not ours or len(parts.keys() & set(TRANSLATION)) not in (0, len(TRANSLATION)):
        return "", {}
    return "inpaint" if "mapping" in parts and "scratches" not in parts else "restore", dict(parts)


class _Loaded(Checkpoints):
    """Checkpoints that are in memory, and belong together."""

    def __init__(self, networks: nn.ModuleDict) -> None:
        self.networks = networks

    def load(self, name: str, kind: Any, device: torch.device | str = "cpu") -> Any:
        return self.networks[name]

    def check_vaes(self, mapping: LatentMapping) -> None: ...


class Model(nn.ModuleDict):
    """The networks of a file, by their names; called, it does what our stages do with them, in float32.

    Pictures (1, 3, H, W) in [0, 1] -> same shape, of a detector (1, 1, H, W); "inpaint" takes a mask (1, 1, H, W), too.
    """

    def __init__(self, kind: str, networks: Mapping[str, Network]) -> None:
        super().__init__(networks)
        self.kind = kind

    def forward(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        loaded, compute = _Loaded(self), Compute(image.device)
        if self.kind == "scratches":
            return ScratchDetector.from_checkpoints(loaded, compute).detect(image)
        names = {"translate" if name in TRANSLATION else name for name in self}
        names |= {"fill"} if names & {"scratches", "translate"} else set()
        settings = {"faces": {"aligned": True}} if self.kind == "faces" else {}
        kinds: dict[str, Any] = {name: STAGES[name] for name in STAGES if name in names}
        stages = [kind.from_checkpoints(loaded, compute, **settings.get(name, {})) for name, kind in kinds.items()]
        return Pipeline(stages, compute=compute)(image, mask)


class BringbackArch(spandrel.Architecture[Model]):
    """One kind of model: "restore" or "inpaint" (merged files), or a single network by the name of its checkpoint."""

    def __init__(self, kind: str) -> None:
        super().__init__(id=f"bringback-{kind}", name=f"bringback {kind}", detect=lambda state: _read(state)[0] == kind)
        self.kind = kind

    def load(self, state_dict: State) -> spandrel.ModelDescriptor:
        _, parts = _read(state_dict)
        networks, state = {}, {}
        for name, part in parts.items():
            kind, config, _ = _NETWORKS[name]
            networks[name] = kind(**config(part))
            state |= {f"{name}.{key}": value for key, value in expanded(part).items() if key != "side"}
        common: dict[str, Any] = {
            "model": Model(self.kind, networks).eval().requires_grad_(False),
            "state_dict": state,
            "architecture": self,
            "tags": list(parts),
            # stages compute in float32; in bfloat16 a smooth sky would have steps
            "supports_half": False,
            "supports_bfloat16": False,
            "input_channels": 3,
            "output_channels": 1 if self.kind == "scratches" else 3,
            "tiling": spandrel.ModelTiling.INTERNAL,
        }
        if self.kind == "inpaint":
            return spandrel.MaskedImageModelDescriptor(purpose="Inpainting", **common)
        if self.kind == "faces":
            size = spandrel.SizeRequirements(minimum=CROP, square=True)
            return spandrel.ImageModelDescriptor(purpose="FaceSR", scale=1, size_requirements=size, **common)
        return spandrel.ImageModelDescriptor(purpose="Restoration", scale=1, **common)


def install(registry: Any = None) -> None:
    """Let spandrel know our models: in its main registry, or another. Those that are known already stay."""
    registry = spandrel.MAIN_REGISTRY if registry is None else registry
    archs = [BringbackArch(kind) for kind in ("restore", "inpaint", *_ALONE)]
    registry.add(*map(spandrel.ArchSupport.from_architecture, archs), ignore_duplicates=True)


def merged(weights: Path | str | None = None, stages: Sequence[str] = DEFAULT) -> dict[str, Tensor]:
    """The networks of these stages in one state dict, each under its name, as they are stored.

    `weights` is as in `Checkpoints`. Loaded by spandrel, it is the pipeline of these stages; with `translate` and
    without `scratches`, a model that takes a mask. `fill` runs with either. Raises `MissingWeights`, and ValueError for
    stages that have no network.
    """
    without = [stage for stage in stages if stage not in (*_ALONE, "translate", "fill")]
    if without or not {*stages} - {"fill"}:
        raise ValueError(
            f"{', '.join(without) or 'fill'}: no network; those that can be merged: {', '.join(_ALONE)}, translate"
        )
    checkpoints = Checkpoints(weights)
    names = [name for stage in stages for name in (TRANSLATION if stage == "translate" else (stage,)) if name != "fill"]
    if "mapping" in names:
        checkpoints.check_vaes(checkpoints.load("mapping", LatentMapping))
    state: dict[str, Tensor] = {}
    for name in names:
        folder = checkpoints.folder(name)
        state |= {f"{name}.{key}": value for key, value in load_file(folder / "model.safetensors").items()}
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if "side" in config:
            state[f"{name}.side"] = torch.tensor(config["side"])
    return state


def save_merged(path: Path | str, weights: Path | str | None = None, stages: Sequence[str] = DEFAULT) -> None:
    """Write what `merged` gives as a safetensors file; raises as it does, and OSError."""
    save_file(merged(weights, stages), path)
