"""Convert the original method's published weights to checkpoint folders of the family `paper`.

docs/original.md lists the files.
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
    """Result for one file: its `source` and the checkpoint `folder` it became, or None if it was skipped."""

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
    """Convert the original's weights, all or none, to checkpoint folders and a `pipeline.yaml` in `out`.

    A source is the original's `checkpoints` folder or one above or below it, a zip archive of it, or a single file.
    Files are recognized by the name of their folder (`VAE_A_quality/latest_net_G.pth`) or their own
    (`VAE_A_quality.pth`). Returns the result for each weight file; `on_file` is called with each as well.

    Duplicates are converted once. `pipeline.yaml` is the preset for scratched photos, or that for unscratched ones if
    only its networks are there. Without `overwrite`, a user's own `pipeline.yaml` is kept.

    Raises `ConversionError` if `out` is a file, a weight file cannot be read safely or is not the network that its name
    says, none is recognized, two differ for one checkpoint, or a checkpoint exists in `out` (without `overwrite`).
    Raises OSError if reading or writing fails. On errors `out` is left as it was.
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
    """Convert a file to a checkpoint in `made`; `found` has source and hash of each checkpoint so far."""
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
    """Write the preset for which the checkpoints are complete, unless the user's own is to be kept."""
    there = out / "pipeline.yaml"
    ours = {path.read_bytes() for path in presets().values()}
    if there.exists() and not overwrite and not (there.is_file() and there.read_bytes() in ours):
        return
    scratched = ("paper_scratches", "paper_mapping_scratch")
    complete = all((made / name).exists() or (out / name).exists() for name in scratched)
    plain = not complete and ((made / "paper_mapping_quality").exists() or (out / "paper_mapping_quality").exists())
    shutil.copyfile(presets()["paper-quality" if plain else "paper"], made / "pipeline.yaml")


def _place(made: Path, out: Path, aside: Path) -> None:
    """Move everything in `made` to `out` and what it replaces to `aside`; undone on errors."""
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
    """The original's names of the networks for which `out` has no checkpoint."""
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
