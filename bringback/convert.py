"""The original method's published weights -> checkpoint folders of the family `paper`.

The only place that reads a pickle, and that with `weights_only=True`. docs/original.md tells which file becomes what.
"""

import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

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

    The same file twice is converted once. `pipeline.yaml` is the one for scratched photos, or for others if only their
    networks are there; one of the user's own is kept (without `overwrite`).

    Raises `ConversionError` when a file cannot be read safely or is not the network that its name says, when none is
    known, two differ for one checkpoint, or one is in `out` already (without `overwrite`), and OSError when it cannot
    be written: `out` is then as it was.
    """
    if out.exists() and not out.is_dir():
        raise ConversionError(f"{out}: is a file; the checkpoints want a folder")
    new = [folder for folder in (out, *out.parents) if not folder.exists()]
    done: list[Converted] = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".converting-", dir=out) as scratch:
            made, aside = Path(scratch, "made"), Path(scratch, "aside")
            made.mkdir()
            aside.mkdir()
            found: dict[str, tuple[str, str]] = {}
            for source in _files(sources):
                done.append(_converted(source, found, made, Path(scratch), out, overwrite))
                if on_file:
                    on_file(done[-1])
            if not found:
                names = ", ".join(ORIGINALS)
                where = ", ".join(map(str, sources))
                raise ConversionError(f"{where}: none of the original's files; known by their folders' names: {names}")
            _choose_pipeline(made, out, overwrite)
            _place(made, out, aside)
    except BaseException:
        for folder in new:
            with suppress(OSError):
                folder.rmdir()
        raise
    return done


def _converted(
    source: "_File", found: dict[str, tuple[str, str]], made: Path, scratch: Path, out: Path, overwrite: bool
) -> Converted:
    """Write what a file holds into `made`; `found` has the sources and hashes of the checkpoints written so far."""
    name = source.name()
    if name is None:
        return Converted(str(source), None, "none of the original's networks that restore")
    original = ORIGINALS[name]
    with source.on_disk(scratch) as file:
        digest = file_hash(file)
        if original.folder in found:
            before, same = found[original.folder]
            if digest == same:
                return Converted(str(source), None, f"the same as {before}")
            raise ConversionError(f"{source}: the {original.what} again, and not the same as {before}")
        if (out / original.folder).exists() and not overwrite:
            raise ConversionError(f"{out / original.folder}: is there already; use --overwrite or another folder")
        network = read(file, original, str(source))
    save_network(network, made / original.folder, half=False)
    (made / original.folder / "README.md").write_text(_card(name, original, network, digest), encoding="utf-8")
    found[original.folder] = str(source), digest
    return Converted(str(source), original.folder, original.what)


def _choose_pipeline(made: Path, out: Path, overwrite: bool) -> None:
    """Write the pipeline that the checkpoints are complete for; one that the user has changed stays."""
    there = out / "pipeline.yaml"
    shipped = {path.read_bytes() for path in SHIPPED.values()}
    if there.exists() and not overwrite and not (there.is_file() and there.read_bytes() in shipped):
        return
    scratched = ("paper_scratches", "paper_mapping_scratch")
    complete = all((made / name).exists() or (out / name).exists() for name in scratched)
    plain = not complete and ((made / "paper_mapping_quality").exists() or (out / "paper_mapping_quality").exists())
    shutil.copyfile(SHIPPED["paper-quality" if plain else "paper"], made / "pipeline.yaml")


def _place(made: Path, out: Path, aside: Path) -> None:
    """Move all that was made into `out`, what was there before out of the way; all of it or nothing."""
    moves: list[tuple[Path, Path]] = []
    try:
        for item in sorted(made.iterdir()):
            for start, end in ((out / item.name, aside / item.name), (item, out / item.name)):
                if start.exists():
                    start.rename(end)
                    moves.append((start, end))
    except BaseException:
        for start, end in reversed(moves):
            end.rename(start)
        raise


def absent(out: Path) -> list[str]:
    """Those of the original's networks, by its names, of which `out` has no checkpoint."""
    return [name for name, one in ORIGINALS.items() if not (out / one.folder / "model.safetensors").is_file()]


def read(file: Path, original: Original, shown: str = "") -> Network:
    """The network that a file of the original's holds, in eval mode. Raises `ConversionError`."""
    shown = shown or str(file)
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except PermissionError:
        raise
    except Exception as error:  # what a damaged file raises depends on where the damage is
        foreign = re.search(r"(?:GLOBAL|[Uu]nsupported class) ([\w.]+)", str(error))
        if foreign:
            raise ConversionError(f"{shown}: holds code beside weights ({foreign[1]}); it was not run") from None
        raise ConversionError(f"{shown}: cut short, or no file of weights: {_first_line(error)}") from None
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
    """Is it a tensor with numbers in it, one for each place?"""
    return isinstance(value, Tensor) and value.layout == torch.strided and not (value.is_quantized or value.is_meta)


@dataclass(frozen=True)
class _File:
    """A file of weights, on disk or in an archive."""

    path: Path
    member: zipfile.ZipInfo | None = None

    def __str__(self) -> str:
        return str(self.path) if self.member is None else f"{self.path}:{self.member.filename}"

    def name(self) -> str | None:
        """Its name in `ORIGINALS`, by its own and its folder's."""
        path: PurePath = Path(os.path.abspath(self.path))  # a file in "." has a folder's name, too
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
        except Exception as error:  # what a damaged member raises depends on how it was packed
            raise ConversionError(f"{self}: cannot be unpacked: {_first_line(error)}") from None
        yield target
        target.unlink()


def _files(sources: Sequence[Path]) -> Iterator[_File]:
    for source in sources:
        if source.is_dir():
            below = sorted(path for path in source.rglob("*") if path.is_file())
            files = [path for path in below if path.suffix.lower() in _SUFFIXES]
            files += [path for path in below if path.suffix.lower() == ".zip" and zipfile.is_zipfile(path)]
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
            except Exception as error:  # what a damaged archive raises depends on where the damage is
                reason = _first_line(error)
                raise ConversionError(f"{file}: neither weights (.pth, .pt) nor a zip archive: {reason}") from None
            yield from (_File(file, member) for member in members)


def _some(keys: list[str]) -> str:
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return ", ".join(key if key.isprintable() else repr(key) for key in keys[:_NAMED]) + more


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
