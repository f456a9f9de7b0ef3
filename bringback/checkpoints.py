"""Checkpoint folders (`config.json`, `model.safetensors`, `README.md`): find, load, save, name by hash."""

import json
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from bringback.files import file_hash
from bringback.nets.blocks import Network
from bringback.nets.compact import compacted, expanded
from bringback.nets.mapping import Mapping

N = TypeVar("N", bound=Network)

# inside an installed wheel the weights lie beside the package's modules, in a clone at its top
_SHIPPED = (Path(__file__).parent / "weights", Path(__file__).parent.parent / "checkpoints")


class MissingWeights(FileNotFoundError):
    """A checkpoint is not where it should be, or cannot be read; one line, naming it."""


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its name when it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def save_network(network: Network, folder: Path, *, half: bool = True, compact: bool = False) -> str:
    """Write a network as a checkpoint folder, in half precision or as it is; returns the SHA-256 of its weights.

    Buffers keep their type: the variances of a batch norm can be larger than half precision holds. `compact` keeps
    kernels in eight bits (`nets.compact`): half the size again, for networks that bear it. The weights appear under
    their name only when they are complete.
    """
    folder.mkdir(parents=True, exist_ok=True)
    learned = {key for key, _ in network.named_parameters()}
    state = {key: value.contiguous().cpu() for key, value in network.state_dict().items()}
    state = compacted(state) if compact else state
    if half:
        state = {
            key: value.half() if key in learned and value.dtype != torch.int8 else value for key, value in state.items()
        }
    partial = folder / "model.safetensors.part"
    try:
        try:
            save_file(state, partial)
        except SafetensorError as error:  # what safetensors makes of a full disk
            raise OSError(f"{partial}: cannot be written: {error}") from None
        partial.replace(folder / "model.safetensors")
    finally:
        partial.unlink(missing_ok=True)
    config = {"network": type(network).__name__, **network._hub_mixin_config}  # type: ignore[dict-item]
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return file_hash(folder / "model.safetensors")


class Checkpoints:
    """The shipped checkpoints, with those of another folder laid over them name by name."""

    def __init__(self, overlay: Path | str | None = None) -> None:
        """Args: overlay: a folder of checkpoint folders (`scratches/`, `mapping/`, ...) that go before the shipped.

        Raises MissingWeights when the overlay holds no checkpoint at all.
        """
        self.roots = list(_SHIPPED)
        if overlay is not None:
            if not any(Path(overlay).glob("*/model.safetensors")):
                raise MissingWeights(f"{overlay}: no checkpoint folder in it (NAME/model.safetensors)")
            self.roots.insert(0, Path(overlay))

    def folder(self, name: str) -> Path:
        """The folder of a checkpoint; raises MissingWeights when no place has it."""
        for root in self.roots:
            if (root / name / "model.safetensors").is_file():
                return root / name
        places = ", ".join(str(root) for root in self.roots)
        raise MissingWeights(
            f"weights {name!r} not found in {places}; train or convert them, or give their folder with --weights"
        )

    def load(self, name: str, kind: type[N], device: torch.device | str = "cpu") -> N:
        """A network of class `kind`, float32, in eval mode, on the device.

        Raises MissingWeights when the checkpoint is absent, unreadable, or of another network.
        """
        folder = self.folder(name)
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            if config.pop("network") != kind.__name__:
                raise MissingWeights(f"{folder}: config.json is not of a {kind.__name__}")
            network = kind(**config)
            network.load_state_dict(expanded(load_file(folder / "model.safetensors")))
        except (OSError, ValueError, KeyError, TypeError, SafetensorError, RuntimeError) as error:
            if isinstance(error, MissingWeights):
                raise
            raise MissingWeights(f"{folder}: cannot be read as {kind.__name__}: {first_line(error)}") from error
        # convolutions of most devices are faster on maps whose channels lie side by side
        layout = torch.contiguous_format if torch.device(device).type == "mps" else torch.channels_last
        network = network.to(memory_format=layout)  # type: ignore[call-overload] # which torch's own stubs lack
        return network.eval().requires_grad_(False).to(device)

    def hashes(self, names: list[str]) -> dict[str, str]:
        """SHA-256 of the weights of each name."""
        return {name: file_hash(self.folder(name) / "model.safetensors") for name in names}

    def check_vaes(self, mapping: Mapping) -> None:
        """Raise MissingWeights when the VAEs here are not those whose hashes the mapping carries."""
        for name, hash_ in self.hashes(["old_vae", "clean_vae"]).items():
            if getattr(mapping, name) not in ("", hash_):
                raise MissingWeights(f"{self.folder(name)}: is not the {name} that the mapping was trained with")
