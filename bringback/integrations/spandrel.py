"""spandrel support: after `install()`, its `ModelLoader` recognizes our weights.

spandrel loads a single state dict. The `model.safetensors` of a checkpoint is one; `save_merged` merges all networks of
a pipeline into one.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bringback.models.base import Network
from bringback.models.quantize import expanded
from bringback.models.registry import ALONE, MODELS, SCALE, SIDE, TRANSLATION, State, is_of, parts
from bringback.models.translation.mapping import LatentMapping
from bringback.models.upscale import FACTOR
from bringback.pipeline import Pipeline
from bringback.pipeline_config import DEFAULT
from bringback.runtime.compute import Compute
from bringback.runtime.extras import extra
from bringback.stages import STAGES
from bringback.stages.faces.alignment import CROP
from bringback.stages.scratches import ScratchDetector
from bringback.weights.checkpoints import Checkpoints

with extra("plugins"):
    import spandrel

MERGED = tuple(name for name in DEFAULT if name != "stains")  # that stage has no networks by which a file would tell it


class Model(nn.ModuleDict):
    """The networks of a file by name; the forward pass runs our stages in float32.

    Pictures (1, 3, H, W) in [0, 1] -> same shape, twice that for "upscale", or (1, 1, H, W) for a detector; "inpaint"
    also takes such a mask.
    """

    def __init__(self, kind: str, networks: Mapping[str, Network]) -> None:
        super().__init__(networks)
        self.kind = kind
        self._made: dict[torch.device, Any] = {}

    def forward(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        if image.device not in self._made:  # kept, as some stages read files of their own
            self._made[image.device] = self._stages(Compute(image.device))
        made = self._made[image.device]
        return made.detect(image) if self.kind == "scratches" else made(image, mask)

    def _stages(self, compute: Compute) -> ScratchDetector | Pipeline:
        loaded = _Loaded(self)
        if self.kind == "scratches":
            return ScratchDetector.from_checkpoints(loaded, compute)
        names = {"translate" if name in TRANSLATION else name for name in self if name != SCALE}
        names |= {"fill"} if names & {"scratches", "translate"} else set()
        settings = {"faces": {"aligned": True}} if self.kind == "faces" else {}
        kinds: dict[str, Any] = {name: STAGES[name] for name in STAGES if name in names}
        stages = [kind.from_checkpoints(loaded, compute, **settings.get(name, {})) for name, kind in kinds.items()]
        scale: Any = dict(self.items()).get(SCALE, 1.0)
        return Pipeline(stages, compute=compute, scale=scale)


class _Loaded(Checkpoints):
    """Checkpoints in memory that belong together."""

    def __init__(self, networks: nn.ModuleDict) -> None:
        self.networks = networks

    def load(self, name: str, kind: Any, device: torch.device | str = "cpu") -> Any:
        return self.networks[name]

    def check_vaes(self, mapping: Network) -> None: ...


def _read(state: State) -> tuple[str, dict[str, dict[str, Tensor]]]:
    """The kind of a file ("" if it is not ours), and the state dicts of its networks by name."""
    for name in ALONE:
        if is_of(state, name):
            return name, {name: dict(state)}
    found = parts(state)
    kind = "inpaint" if "mapping" in found and "scratches" not in found else "restore"
    return kind if found else "", found


class BringbackArch(spandrel.Architecture[Model]):
    """One kind of model: "restore" or "inpaint" (merged files), or a single network named like its checkpoint."""

    def __init__(self, kind: str) -> None:
        super().__init__(id=f"bringback-{kind}", name=f"bringback {kind}", detect=lambda state: _read(state)[0] == kind)
        self.kind = kind

    def load(self, state_dict: State) -> spandrel.ModelDescriptor:
        """Build the networks and load their weights; compact and half-precision weights are expanded to float32."""
        _, found = _read(state_dict)
        networks = {name: MODELS[name].network(**MODELS[name].config(part)) for name, part in found.items()}
        model = Model(self.kind, networks).eval().requires_grad_(False)
        common: dict[str, Any] = {
            "model": model.to(memory_format=torch.channels_last),  # type: ignore[call-overload] # as `Checkpoints.load`
            "state_dict": {
                f"{name}.{key}": value
                for name, part in found.items()
                for key, value in expanded(part).items()
                if key != SIDE
            },
            "architecture": self,
            "tags": list(found),
            "supports_half": False,  # stages compute in float32: bfloat16 would cause banding in smooth skies
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
        if self.kind == "upscale":
            return spandrel.ImageModelDescriptor(purpose="SR", scale=FACTOR, **common)
        return spandrel.ImageModelDescriptor(purpose="Restoration", scale=1, **common)


def install(registry: Any = None) -> None:
    """Register our models in spandrel's main registry or another one. Idempotent."""
    registry = spandrel.MAIN_REGISTRY if registry is None else registry
    archs = [BringbackArch(kind) for kind in ("restore", "inpaint", *ALONE)]
    registry.add(*map(spandrel.ArchSupport.from_architecture, archs), ignore_duplicates=True)


def save_merged(path: Path | str, weights: Path | str | None = None, stages: Sequence[str] = MERGED) -> None:
    """Write the networks of these stages into one safetensors file, as stored, with keys prefixed by their names.

    Loaded by spandrel, it is the pipeline of these stages; with `translate` but without `scratches`, a model that takes
    a mask. `fill` has no weights and can always be included; what estimates the native scale is added where it is
    used. `weights` is as in `Checkpoints`. Raises `MissingWeights`,
    OSError, and ValueError for stages that cannot be merged.
    """
    known = [name for name in ALONE if name != "upscale"] + ["translate"]  # a merged model has one scale, which is 1
    odd = [stage for stage in stages if stage not in (*known, "fill")]
    if odd or not {*stages} - {"fill"}:
        raise ValueError(f"no weights to merge of {odd[0] if odd else 'fill'}: name some of {', '.join(known)}")
    checkpoints = Checkpoints(weights)
    if "translate" in stages:
        checkpoints.check_vaes(checkpoints.load("mapping", LatentMapping))
    state: dict[str, Tensor] = {}
    scaled = bool({"scratches", "translate", "faces"} & {*stages})
    for name in MODELS:
        if ("translate" if name in TRANSLATION else name) in stages or (scaled and name == SCALE):
            folder = checkpoints.folder(name)
            state |= {f"{name}.{key}": value for key, value in load_file(folder / "model.safetensors").items()}
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            if SIDE in config:
                state[f"{name}.{SIDE}"] = torch.tensor(config[SIDE])
    save_file(state, path)
