"""The original method's published weights -> checkpoint folders of the family `paper`.

docs/original.md tells which file becomes what.
"""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bringback.assets import presets
from bringback.errors import ConversionError
from bringback.models.base import Network
from bringback.runtime.files import file_hash
from bringback.weights.checkpoints import save_network
from bringback.weights.wan2020.key_maps import ORIGINALS, Original
from bringback.weights.wan2020.legacy import File, files, read


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
            for source in files(sources):
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
    source: File, found: dict[str, tuple[str, str]], made: Path, scratch: Path, out: Path, overwrite: bool
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
    own = save_network(network, made / original.folder, half=False)
    (made / original.folder / "README.md").write_text(_card(name, original, network, digest, own), encoding="utf-8")
    found[original.folder] = str(source), digest
    return Converted(str(source), original.folder, original.what)


def _choose_pipeline(made: Path, out: Path, overwrite: bool) -> None:
    """Write the pipeline that the checkpoints are complete for; one that the user has changed stays."""
    there = out / "pipeline.yaml"
    ours = {path.read_bytes() for path in presets().values()}
    if there.exists() and not overwrite and not (there.is_file() and there.read_bytes() in ours):
        return
    scratched = ("paper_scratches", "paper_mapping_scratch")
    complete = all((made / name).exists() or (out / name).exists() for name in scratched)
    plain = not complete and ((made / "paper_mapping_quality").exists() or (out / "paper_mapping_quality").exists())
    shutil.copyfile(presets()["paper-quality" if plain else "paper"], made / "pipeline.yaml")


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


def _card(name: str, original: Original, network: Network, digest: str, own: str) -> str:
    count = sum(value.numel() for value in network.parameters()) / 1e6
    return f"""---
license: mit
library_name: bringback
sha256: {own}
---
# {original.folder}

The {original.what} of "Bringing Old Photos Back to Life" (Wan et al. 2020), {count:.1f} M parameters in float32, from
the original's `{name}/{original.file}`, spectral norms, where it has them, divided out.
SHA-256 of that file: `{digest}`.

The weights were published by Microsoft under the MIT licence, Copyright (c) Microsoft Corporation; who passes them on
passes this notice on.
"""
