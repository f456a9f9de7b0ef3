"""Networks of other programs that enlarge pictures (ESRGAN, SPAN, SwinIR, ...), read by spandrel."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import safe_open
from torch import Tensor, nn

from bringback.errors import MissingWeights, first_line
from bringback.runtime.extras import extra
from bringback.runtime.files import file_hash

SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt")
# Where programs put the weights within a file, and what they put before the names of its tensors
_WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "model", "net")
_PREFIXES = ("module.", "netG.")
_UNKNOWN = "unknown"


class ForeignUpscaler(nn.Module):
    """Photos (B, 3, H, W) in [0, 1] -> `scale` times as large, by a network of another program.

    `architecture` is its name in spandrel, `license` what the file says of it ("unknown" in most), `sha256` that of the
    file. It computes in float32, whatever the caller's autocast, unless spandrel says that it works in bfloat16.
    """

    def __init__(self, descriptor: Any, name: str, license: str = _UNKNOWN, sha256: str = "") -> None:
        super().__init__()
        self.descriptor, self.network = descriptor, descriptor.model.eval().requires_grad_(False)
        self.name, self.license, self.sha256 = name, license, sha256
        self.scale, self.architecture = int(descriptor.scale), str(descriptor.architecture.name)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file, with the extra `plugins`. Pickles are read without running code in them.

        Raises `MissingWeights`, one line, for a file that is missing, unreadable, of an architecture that spandrel does
        not know, or of a network that does not enlarge color pictures; `MissingExtra` without spandrel.
        """
        if not path.is_file():
            raise MissingWeights(f"{path}: no such file; a model to enlarge with ends in {', '.join(SUFFIXES)}")
        if path.suffix.lower() not in SUFFIXES:
            raise MissingWeights(f"{path}: no model; it ends in {', '.join(SUFFIXES)}")
        with extra("plugins"):
            import spandrel
        try:
            state, license = _read(path)
        except Exception as error:  # a broken pickle may raise anything
            raise MissingWeights(f"{path}: cannot be read as weights: {first_line(error)}") from error
        try:
            descriptor: Any = spandrel.ModelLoader().load_from_state_dict(state)
        except Exception as error:  # spandrel's own, or of a network that the weights do not fit
            why = str(error).strip().splitlines()[:1] or ["its tensors are those of no network that it knows"]
            raise MissingWeights(f"{path}: spandrel does not know this model: {why[0]}") from error
        kind = getattr(descriptor, "purpose", "")
        if kind != "SR" or (descriptor.input_channels, descriptor.output_channels) != (3, 3) or descriptor.scale < 2:
            raise MissingWeights(f"{path}: {descriptor.architecture.name} does not enlarge color pictures")
        return cls(descriptor, path.name, license, file_hash(path))

    @property
    def note(self) -> dict[str, Any]:
        """For manifests."""
        return {"model": self.name, "architecture": self.architecture, "scale": self.scale, "license": self.license}

    def __str__(self) -> str:
        return f"{self.name}: {self.architecture}, {self.scale} times, license {self.license}"

    def forward(self, pixels: Tensor) -> Tensor:
        """Enlarge pictures by `scale`."""
        if self.descriptor.supports_bfloat16:
            return self._made(pixels)
        with torch.autocast(pixels.device.type, enabled=False):
            return self._made(pixels)

    def _made(self, pixels: Tensor) -> Tensor:
        # one by one, as spandrel wants; clones are no tensors of inference mode, which nobody may write into
        return torch.cat([self.descriptor(one).clone() for one in pixels.split(1)])


def _read(path: Path) -> tuple[dict[str, Any], str]:
    """The tensors of a file by name, and the license that it tells."""
    if path.suffix.lower() == ".safetensors":
        with safe_open(path, "pt") as file:
            told: dict[str, str] = file.metadata() or {}
            state: Any = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    else:
        state, told = torch.load(path, map_location="cpu", weights_only=True), {}
    for name in _WRAPPERS:
        if isinstance(state.get(name), Mapping):
            state = state[name]
            break
    for prefix in _PREFIXES:
        if all(key.startswith(prefix) for key in state):
            state = {key[len(prefix) :]: value for key, value in state.items()}
    licenses = [value for key, value in told.items() if key.lower().endswith(("license", "licence")) and value.strip()]
    return dict(state), " ".join(licenses[0].split()) if licenses else _UNKNOWN
