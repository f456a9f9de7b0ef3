"""Find, load, save and hash checkpoint folders (`config.json`, `model.safetensors`, `README.md`)."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from bringback.assets import weights
from bringback.errors import MissingWeights
from bringback.models.base import Network
from bringback.models.quantize import compacted
from bringback.runtime.files import file_hash
from bringback.runtime.hub import fetched

N = TypeVar("N", bound=Network)

Attach = Callable[[Network, str, Path, torch.device], None]


def weight_hash(file: Path) -> str:
    """SHA-256 of a file of weights, computed once a process as long as the file is unchanged; raises OSError."""
    status = file.stat()
    # Inode and time of change too: a file replaced within the clock's resolution, or with its time copied, is another.
    return _weight_hash(file.absolute(), status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)


@lru_cache(64)
def _weight_hash(file: Path, *_: int) -> str:
    return file_hash(file)


def save_network(network: Network, folder: Path, *, half: bool = True, compact: bool = False) -> str:
    """Write a network as a checkpoint folder, in half precision or as it is; returns the SHA-256 of its weights.

    Buffers keep their type: the variances of a batch norm can exceed the range of half precision. `compact` stores
    kernels in eight bits (`models.quantize`), half the size again, for networks that tolerate it. The file gets its
    name only when it is complete.
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
        except SafetensorError as error:  # for instance, the disk is full
            raise OSError(f"{partial}: cannot be written: {error}") from None
        partial.replace(folder / "model.safetensors")
    finally:
        partial.unlink(missing_ok=True)
    network.save_config(folder)
    return file_hash(folder / "model.safetensors")


class Checkpoints:
    """The shipped checkpoints; those of another folder take precedence, name by name."""

    def __init__(
        self,
        overlay: Path | str | None = None,
        *,
        revision: str | None = None,
        cache_dir: Path | str | None = None,
        local_files_only: bool = False,
        attach: Attach | None = None,
    ) -> None:
        """Args: overlay: a folder of checkpoint folders (`scratches/`, `mapping/`, ...) that take precedence over the
        shipped ones, or the id of one on the hub (`org/name`), for which the other arguments are as in `hub.fetched`.

        `attach` is called with each network, its name, its folder and the device, and may let it compute with another
        engine than torch, see `weights.onnx.engine.attach`.

        Raises MissingWeights if the overlay has no checkpoint at all, and as `hub.fetched` does.
        """
        self.attach = attach
        self.roots = [weights()]
        if overlay is not None:
            root = fetched(overlay, revision=revision, cache_dir=cache_dir, local_files_only=local_files_only)
            if not any(root.glob("*/model.safetensors")):
                raise MissingWeights(f"{overlay}: no checkpoint folder in it (NAME/model.safetensors)")
            self.roots.insert(0, root)

    def folder(self, name: str) -> Path:
        """The folder of a checkpoint; raises MissingWeights if there is none."""
        for root in self.roots:
            if (root / name / "model.safetensors").is_file():
                return root / name
        places = ", ".join(str(root) for root in self.roots)
        raise MissingWeights(
            f"weights {name!r} not found in {places}; train or convert them, or give their folder with --weights"
        )

    def load(self, name: str, kind: type[N], device: torch.device | str = "cpu") -> N:
        """A network of class `kind`, float32, in eval mode, on the device.

        Raises MissingWeights if the checkpoint is absent, unreadable, or of another network, and as `attach` does.
        """
        folder = self.folder(name)
        network = kind.from_pretrained(folder)
        # convolutions of most devices are faster with channels last
        layout = torch.contiguous_format if torch.device(device).type == "mps" else torch.channels_last
        network = network.to(memory_format=layout)  # type: ignore[call-overload] # missing in torch's stubs
        network.requires_grad_(False)
        if self.attach is not None:
            self.attach(network, name, folder, torch.device(device))
        return network.to(device)

    def hashes(self, names: list[str]) -> dict[str, str]:
        """SHA-256 of each checkpoint's weights, by name."""
        return {name: weight_hash(self.folder(name) / "model.safetensors") for name in names}

    def check_vaes(self, mapping: Network) -> None:
        """Raise MissingWeights if the VAEs here are not those that the mapping was trained with, by their hashes."""
        for name, hash_ in self.hashes(["old_vae", "clean_vae"]).items():
            if getattr(mapping, name) not in ("", hash_):
                raise MissingWeights(f"{self.folder(name)}: is not the {name} that the mapping was trained with")
