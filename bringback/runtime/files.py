"""Atomic file writes, and a check for links that lead out of a folder."""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from bringback.errors import PhotoError, WriteError

PASSING = ".bringback-"  # prefix of temporary files, which end with .part


def file_hash(path: Path) -> str:
    """SHA-256 of a file in hexadecimal; raises OSError."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_whole(path: Path | str) -> bytes:
    """The bytes of a photo's file; raises `PhotoError` if it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise PhotoError(f"{path}: cannot be read: {error.strerror or error}") from None


def passing(path: Path) -> Path:
    """Temporary path of a file while it is incomplete: in the same folder, always under the same name.

    So a run overwrites the remains of an earlier one that was killed.
    """
    name = hashlib.sha256(path.name.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return path.with_name(f"{PASSING}{name}.part")


def write_beside(path: Path, data: bytes) -> None:
    """Write to the temporary path, then rename; raises OSError and leaves the file as it was."""
    write_passing(path, data)
    try:
        os.replace(passing(path), path)
    except BaseException:
        passing(path).unlink(missing_ok=True)
        raise


def write_passing(path: Path, data: bytes) -> None:
    """Write to the file's temporary path and fsync; on error, removes it and raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    place = passing(path)
    place.unlink(missing_ok=True)  # so that no link is followed
    try:
        with place.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        with suppress(OSError):
            place.unlink(missing_ok=True)
        raise


def write_all(
    files: Mapping[Path, bytes], ready: Callable[[], None] = lambda: None, times: Mapping[Path, int] | None = None
) -> None:
    """Write files to their temporary paths, call `ready`, then rename them in order.

    Files in `times` get this time of modification, in nanoseconds. On any error, Ctrl-C included, files that did not
    exist before are removed. Raises `WriteError`.
    """
    fresh = [path for path in files if not os.path.lexists(path)]
    path = Path()
    try:
        for path, data in files.items():
            write_passing(path, data)
            if times and path in times:
                with suppress(OSError):  # some network file systems refuse it
                    os.utime(passing(path), ns=(times[path], times[path]))
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
    """The first path whose parent, with links resolved, is outside `folder`, or None."""
    top = folder.resolve()
    return next((path for path in paths if not path.parent.resolve().is_relative_to(top)), None)
