"""Find the original method's weight files in folders and archives, read them safely, and rename their keys.

Pickles are read with `weights_only=True`.
"""

import os
import re
import shutil
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from bringback.errors import ConversionError, first_line
from bringback.models.base import Network
from bringback.weights.wan2020.key_maps import ORIGINALS, Modules, Original

_SUFFIXES = (".pth", ".pt")
_MOST_BYTES = 1 << 31  # the largest of the original's files has 370 MB
_NAMED = 4  # most keys listed in an error message


@dataclass(frozen=True)
class File:
    """A weight file, on disk or in a zip archive."""

    path: Path
    member: zipfile.ZipInfo | None = None

    def __str__(self) -> str:
        return str(self.path) if self.member is None else f"{self.path}:{self.member.filename}"

    def name(self) -> str | None:
        """The key in `ORIGINALS`, from the file's name and that of its folder, or None."""
        path: PurePath = Path(os.path.abspath(self.path))  # absolute, for the folder's name
        if self.member is not None:
            path = PurePosixPath(self.member.filename.replace("\\", "/"))
        for name, one in ORIGINALS.items():
            if path.name == one.file and (path.parent.name == name or one.inside is not None):
                return name
            if path.stem == name and path.suffix.lower() in _SUFFIXES:
                return name
        return None

    @contextmanager
    def on_disk(self, folder: Path) -> Iterator[Path]:
        """Context with the path of the file; an archive's is unpacked into `folder` and removed on exit.

        Raises `ConversionError` if it is too large or cannot be unpacked.
        """
        if self.member is None:
            yield self.path
            return
        if self.member.file_size > _MOST_BYTES:
            raise ConversionError(
                f"{self}: {self.member.file_size / 1e9:.1f} GB are more than any of these networks has"
            )
        target = folder / "unpacked.pth"  # not the archive's name, which may be a path to anywhere
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as packed, target.open("wb") as plain:
                shutil.copyfileobj(packed, plain)
        except Exception as error:  # error types depend on the compression
            raise ConversionError(f"{self}: cannot be unpacked: {first_line(error)}") from None
        yield target
        target.unlink()


def files(sources: Sequence[Path]) -> Iterator[File]:
    """All weight files in the sources: folders, archives, or weight files. Raises `ConversionError`."""
    for source in sources:
        if source.is_dir():
            below = sorted(path for path in source.rglob("*") if path.is_file())
            chosen = [path for path in below if path.suffix.lower() in _SUFFIXES]
            chosen += [path for path in below if path.suffix.lower() == ".zip" and zipfile.is_zipfile(path)]
        elif source.is_file():
            chosen = [source]
        else:
            raise ConversionError(f"{source}: not there")
        for file in chosen:
            if file.suffix.lower() in _SUFFIXES:  # torch's format is itself a zip archive
                yield File(file)
                continue
            try:
                with zipfile.ZipFile(file) as archive:
                    members = [one for one in archive.infolist() if one.filename.lower().endswith(_SUFFIXES)]
            except Exception as error:  # broken archives raise errors of any type
                reason = first_line(error)
                raise ConversionError(f"{file}: neither weights (.pth, .pt) nor a zip archive: {reason}") from None
            yield from (File(file, member) for member in members)


def read(file: Path, original: Original, shown: str = "") -> Network:
    """Load a file of the original's into our network, in eval mode. Raises `ConversionError` and PermissionError."""
    shown = shown or str(file)
    try:
        with warnings.catch_warnings():  # about pickle versions
            warnings.simplefilter("ignore")
            state = torch.load(file, map_location="cpu", weights_only=True)
    except PermissionError:
        raise
    except Exception as error:  # broken files raise errors of any type
        foreign = re.search(r"(?:GLOBAL|[Uu]nsupported class) ([\w.]+)", str(error))
        if foreign:
            raise ConversionError(f"{shown}: holds code beside weights ({foreign[1]}); it was not run") from None
        raise ConversionError(f"{shown}: cut short, or no file of weights: {first_line(error)}") from None
    if original.inside is not None and isinstance(state, Mapping):
        if original.inside not in state:
            raise ConversionError(f"{shown}: has no {original.inside!r}, under which the {original.what} lies")
        state = state[original.inside]
    if not isinstance(state, Mapping) or not all(isinstance(key, str) and _plain(state[key]) for key in state):
        raise ConversionError(f"{shown}: holds something else than named tensors")
    network = original.network()
    try:
        network.load_state_dict(renamed(state, network, original.modules))
    except ConversionError as error:
        raise ConversionError(f"{shown}: is not the {original.what}: {error}") from None
    return network.eval()


def renamed(state: Mapping[str, Tensor], network: Network, modules: Modules) -> dict[str, Tensor]:
    """The original's tensors under the names and dtypes of `network`, with spectral norms divided out.

    For `weight_orig`, `weight_u` and `weight_v` the weight is W / (u^T W v) (Miyato et al. 2018). Raises
    `ConversionError` naming keys that are missing, surplus, misshapen or not finite.
    """
    ours = network.state_dict()
    wanted: dict[str, tuple[int, ...]] = {}
    sources: dict[str, str] = {}
    for key, value in ours.items():
        module, _, leaf = key.rpartition(".")
        theirs = f"{modules[module]}.{'filt' if leaf == 'blur' else leaf}"
        sources[key] = theirs
        if f"{theirs}_orig" in state:
            parts = {"orig": value.shape, "u": value.shape[:1], "v": value[0].flatten().shape}
            wanted |= {f"{theirs}_{part}": tuple(shape) for part, shape in parts.items()}
        else:
            wanted[theirs] = tuple(value.shape)
    wrong = {
        "missing": [key for key in wanted if key not in state],
        "surplus": [key for key in state if key not in wanted],
        "misshapen": [
            f"{key} {tuple(state[key].shape)} for {shape}"
            for key, shape in wanted.items()
            if key in state and tuple(state[key].shape) != shape
        ],
    }
    told = [f"{what} {_some(keys)}" for what, keys in wrong.items() if keys]
    if told:
        raise ConversionError("; ".join(told))
    result = {}
    for key, theirs in sources.items():
        if theirs in state:
            value = state[theirs]
        else:
            weight = state[f"{theirs}_orig"].float()
            value = weight / (state[f"{theirs}_u"].float() @ (weight.flatten(1) @ state[f"{theirs}_v"].float()))
        result[key] = value.to(ours[key].dtype)
    broken = [sources[key] for key, value in result.items() if not value.isfinite().all()]
    if broken:
        raise ConversionError(f"not finite {_some(broken)}")
    return result


def _plain(value: Any) -> bool:
    """Whether it is a dense tensor, neither quantized nor on the meta device."""
    return isinstance(value, Tensor) and value.layout == torch.strided and not (value.is_quantized or value.is_meta)


def _some(keys: list[str]) -> str:
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return ", ".join(key if key.isprintable() else repr(key) for key in keys[:_NAMED]) + more
