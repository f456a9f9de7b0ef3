"""Writing files so that nobody ever sees half of one, and nowhere but where they belong."""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from bringback.errors import WriteError

PASSING = ".bringback-"  # how the names of files begin that are not complete yet; they end with .part


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hexadecimal; raises OSError."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def passing(path: Path) -> Path:
    """Where a file is while it is not complete: beside its place, always under the same name.

    So a run that goes on after one that was killed finds what that one left, and leaves nothing behind itself.
    """
    name = hashlib.sha256(path.name.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return path.with_name(f"{PASSING}{name}.part")


def write_beside(path: Path, data: bytes) -> None:
    """Write a file under a passing name, then rename it; raises OSError, the file then being as it was."""
    write_passing(path, data)
    try:
        os.replace(passing(path), path)
    except BaseException:
        passing(path).unlink(missing_ok=True)
        raise


def write_passing(path: Path, data: bytes) -> None:
    """Write what a file is to hold under its passing name, down to the disk; raises OSError and leaves nothing then."""
    path.parent.mkdir(parents=True, exist_ok=True)
    place = passing(path)
    place.unlink(missing_ok=True)  # if it is a link, it must not be followed
    try:
        with place.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        with suppress(OSError):
            place.unlink(missing_ok=True)
        raise


def write_all(files: Mapping[Path, bytes], ready: Callable[[], None] = lambda: None) -> None:
    """Write files, all or none: first under passing names, then `ready` is called, then they are renamed in order.

    If anything breaks off, Ctrl-C too, the files that were not there before are taken back. Raises `WriteError`.
    """
    fresh = [path for path in files if not os.path.lexists(path)]
    path = Path()
    try:
        for path, data in files.items():
            write_passing(path, data)
        ready()
        for path in files:
            os.replace(passing(path), path)
    except BaseException as error:
        for one in files:
            with suppress(OSError):
                passing(one).unlink(missing_ok=True)
        for one in fresh:
            with suppress(OSError):
                one.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise WriteError(path, error) from None
        raise


def leads_out(folder: Path, paths: Iterable[Path]) -> Path | None:
    """The first of the paths that links lead out of the folder they should be in."""
    top = folder.resolve()
    return next((path for path in paths if not path.parent.resolve().is_relative_to(top)), None)
