"""The original method's published weights -> checkpoint folders of the family `paper`.

The only place that reads a pickle, and that with `weights_only=True`. docs/original.md tells which file becomes what.
"""

import pickle
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath

import torch
from torch import Tensor

from bringback.checkpoints import file_hash, save_network
from bringback.nets.blocks import Network
from bringback.originals import ORIGINALS, Modules, Original
from bringback.pipeline_config import SHIPPED

_SUFFIXES = (".pth", ".pt")
_MOST_BYTES = 1 << 31  # the largest of the original's files has 370 MB
_NAMED = 4  # so many keys are named when they are wrong


class ConversionError(ValueError):
    """Weights that cannot be converted; one line, naming the file and what is wrong with it."""


@dataclass(frozen=True)
class Converted:
    """What was done with one file: its `source` and the checkpoint `folder` it became; None: it was passed over."""

    source: str
    folder: str | None
    message: str


def convert(
    sources: Sequence[Path],
    out: Path,
    *,
    overwrite: bool = False,
    on_file: Callable[[Converted], None] | None = None,
) -> list[Converted]:
    """Convert the original's weights, all or none, into checkpoint folders and a `pipeline.yaml` in `out`.

    A source is the original's `checkpoints` folder or one above or below it, a zip archive of it, or a single file,
    which is known by its folder's name (as in `VAE_A_quality/latest_net_G.pth`) or its own (`VAE_A_quality.pth`).
    Returns, and tells `on_file`, what became of each file of weights.

    Raises `ConversionError` when a file cannot be read safely or is not the network that its name says, when none is
    known, one checkpoint would be written twice, or one is in `out` already (without `overwrite`): `out` is then as it
    was.
    """
    done: list[Converted] = []
    found: dict[str, str] = {}
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.absolute().parent) as scratch:
        made = Path(scratch) / "made"
        for source in _files(sources):
            name = source.name()
            if name is None:
                result = Converted(str(source), None, "none of the original's networks that restore")
            else:
                original = ORIGINALS[name]
                _only_once(original, str(source), found, out, overwrite)
                with source.on_disk(Path(scratch)) as file:
                    network = read(file, original, str(source))
                    save_network(network, made / original.folder, half=False)
                    card = _card(name, original, network, file_hash(file))
                    (made / original.folder / "README.md").write_text(card, encoding="utf-8")
                result = Converted(str(source), original.folder, original.what)
            done.append(result)
            if on_file:
                on_file(result)
        if not found:
            raise ConversionError(f"{', '.join(map(str, sources))}: none of the original's files there; {_names()}")
        shutil.copyfile(SHIPPED["paper"], made / "pipeline.yaml")
        out.mkdir(exist_ok=True)
        for item in sorted(made.iterdir()):
            if (out / item.name).is_dir():
                (out / item.name).rename(Path(scratch) / f"old-{item.name}")
            item.replace(out / item.name)
    return done


def absent(out: Path) -> list[str]:
    """Those of the original's networks, by its names, of which `out` has no checkpoint."""
    return [name for name, one in ORIGINALS.items() if not (out / one.folder / "model.safetensors").is_file()]


def read(file: Path, original: Original, shown: str = "") -> Network:
    """The network that a file of the original's holds, in eval mode. Raises `ConversionError`."""
    shown = shown or str(file)
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        foreign = re.search(r"(?:GLOBAL|[Uu]nsupported class) ([\w.]+)", str(error))
        if foreign:
            raise ConversionError(f"{shown}: holds code beside weights ({foreign[1]}); it was not run") from None
        raise ConversionError(f"{shown}: cut short, or no file of weights: {_first_line(error)}") from None
    except Exception as error:  # what a damaged file raises depends on where the damage is
        raise ConversionError(f"{shown}: cut short, or no file of weights: {_first_line(error)}") from None
    if original.inside is not None and isinstance(state, Mapping):
        if original.inside not in state:
            raise ConversionError(f"{shown}: has no {original.inside!r}, under which the {original.what} lies")
        state = state[original.inside]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ConversionError(f"{shown}: holds something else than named tensors")
    network = original.network()
    try:
        network.load_state_dict(renamed(state, network, original.modules))
    except ConversionError as error:
        raise ConversionError(f"{shown}: is not the {original.what}: {error}") from None
    return network.eval()


def renamed(state: Mapping[str, Tensor], network: Network, modules: Modules) -> dict[str, Tensor]:
    """The original's tensors under the names of `network`, float32, spectral norms divided out.

    Where the original has `weight_orig`, `weight_u` and `weight_v`, the weight is W / (u^T W v) (Miyato et al. 2018).
    Raises `ConversionError` naming keys that are missing, surplus or misshapen.
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
        "not finite": [key for key in wanted if key in state and not state[key].isfinite().all()],
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
    return result


@dataclass(frozen=True)
class _File:
    """A file of weights, on disk or in an archive."""

    path: Path
    member: zipfile.ZipInfo | None = None

    def __str__(self) -> str:
        return str(self.path) if self.member is None else f"{self.path}:{self.member.filename}"

    def name(self) -> str | None:
        """Its name in `ORIGINALS`, by its own and its folder's."""
        path: PurePath = self.path.absolute() if self.member is None else PurePosixPath(self.member.filename)
        for name, one in ORIGINALS.items():
            if path.name == one.file and (path.parent.name == name or one.inside is not None):
                return name
            if path.stem == name and path.suffix.lower() in _SUFFIXES:
                return name
        return None

    @contextmanager
    def on_disk(self, folder: Path) -> Iterator[Path]:
        """Where it can be read; an archive's is unpacked into the folder for as long as that takes."""
        if self.member is None:
            yield self.path
            return
        if self.member.file_size > _MOST_BYTES:
            raise ConversionError(
                f"{self}: {self.member.file_size / 1e9:.1f} GB are more than any of these networks has"
            )
        target = folder / "unpacked.pth"  # a name of ours: an archive's may lead anywhere
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as packed, target.open("wb") as plain:
                shutil.copyfileobj(packed, plain)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise ConversionError(f"{self}: cannot be unpacked: {_first_line(error)}") from None
        yield target
        target.unlink()


def _files(sources: Sequence[Path]) -> Iterator[_File]:
    for source in sources:
        if source.is_dir():
            files = sorted(path for path in source.rglob("*") if path.suffix.lower() in (*_SUFFIXES, ".zip"))
        elif source.is_file():
            files = [source]
        else:
            raise ConversionError(f"{source}: not there")
        for file in files:
            if file.suffix.lower() in _SUFFIXES:  # even if it is an archive inside: torch writes such
                yield _File(file)
                continue
            try:
                with zipfile.ZipFile(file) as archive:
                    members = [one for one in archive.infolist() if one.filename.lower().endswith(_SUFFIXES)]
            except (OSError, zipfile.BadZipFile) as error:
                raise ConversionError(f"{file}: neither weights (.pth, .pt) nor a zip archive: {error}") from None
            yield from (_File(file, member) for member in members)


def _only_once(original: Original, shown: str, found: dict[str, str], out: Path, overwrite: bool) -> None:
    if original.folder in found:
        raise ConversionError(f"{shown}: the {original.what} again, after {found[original.folder]}")
    found[original.folder] = shown
    if (out / original.folder).exists() and not overwrite:
        raise ConversionError(f"{out / original.folder}: is there already; use --overwrite or another folder")


def _names() -> str:
    return "they are known by their folders' names: " + ", ".join(ORIGINALS)


def _some(keys: list[str]) -> str:
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return ", ".join(keys[:_NAMED]) + more


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _card(name: str, original: Original, network: Network, digest: str) -> str:
    count = sum(value.numel() for value in network.parameters()) / 1e6
    return f"""---
license: mit
library_name: bringback
---
# {original.folder}

The {original.what} of "Bringing Old Photos Back to Life" (Wan et al. 2020), {count:.1f} M parameters in float32, by the
same numbers as in the original's `{name}/{original.file}`.
SHA-256 of that file: `{digest}`.

The weights were published by Microsoft under the MIT licence, Copyright (c) Microsoft Corporation; who passes them on
passes this notice on.
"""
