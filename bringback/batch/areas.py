"""Picture areas that someone gives for the photos of a folder."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bringback.batch.jobs import Job
from bringback.errors import PhotoError, UsageError
from bringback.ops.areas import Area, parsed_areas


def pair_areas(
    jobs: Sequence[Job], given: Sequence[str] = (), file: Path | None = None
) -> dict[Path, tuple[Area, ...]]:
    """The picture areas of each photo that has some given, by the photo's relative path; () is the whole photo.

    `given` are boxes "left,top,right,bottom", or "all", for every photo. `file` is JSON: an object with a list of areas
    for each relative path of a photo, as manifests have it in `areas`, where a box alone will do, also for the list.
    Raises `UsageError`, also for a wrong area of one photo, unless it only reaches beyond that photo.
    """
    if given and file is not None:
        raise UsageError("--area and --areas exclude each other")
    if given:
        areas = _parsed("--area", given)
        return {job.relative: areas for job in jobs}
    if file is None:
        return {}
    try:
        told = json.loads(file.read_text("utf-8-sig"))  # some editors put a mark of byte order first
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise UsageError(f"{file}: no JSON: {error}") from None
    except RecursionError:
        raise UsageError(f"{file}: no areas: lists within too many lists") from None
    if not isinstance(told, dict):
        raise UsageError(f"{file}: wants an object with a list of areas for each photo")
    names = {job.relative.as_posix(): job.relative for job in jobs}
    if len(jobs) == 1:  # when it is written to a file, its place is that
        names[jobs[0].source.name] = jobs[0].relative
    strangers = [name for name in told if name not in names]
    if strangers:
        raise UsageError(f"{file}: no photo {strangers[0]!r} among the inputs")
    return {names[name]: _parsed(f"{file}: {name}", areas) for name, areas in told.items()}


def _parsed(where: str, given: Any) -> tuple[Area, ...]:
    try:
        return parsed_areas(given)
    except PhotoError as error:
        raise UsageError(f"{where}: {error}") from None
