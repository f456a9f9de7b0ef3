"""An output that names a file: one photo, restored into just that file, in the format of its ending."""

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from bringback.batch.jobs import Job, is_sidecar, pair_masks, protect, shared_out
from bringback.errors import CodecError, UsageError
from bringback.images.formats import WRITTEN, check_written
from bringback.images.shards import SUFFIXES

ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}")  # of a file's name


def names_a_file(out: str, inputs: Sequence[str]) -> bool:
    """Whether an output is a file: by an ending of pictures or, if a file is the only input, by any ending.

    A folder that exists, or a name with a slash at its end, is a folder.
    """
    path = Path(out)
    if path.is_dir() or out.endswith(("/", os.sep)):
        return False
    one = len(inputs) == 1 and Path(inputs[0]).is_file()
    return path.suffix.lower() in SUFFIXES.union(WRITTEN) or (one and bool(ENDING.fullmatch(path.suffix)))


def plan_file(inputs: Sequence[Path], output: Path, mask: Path | None) -> tuple[list[Job], dict[Path, Path]]:
    """The job for the one photo in `inputs`, and its damage mask if there is one, as in `jobs.pair_masks`.

    Raises `UsageError` if there is not just one photo, if the ending names no format that is written, or if the output
    is the photo or its mask.
    """
    instead = "name a folder" if output.exists() else f"for a folder of this name write {output}{os.sep}"
    if len(inputs) != 1:
        raise UsageError(f"{output} is one file for {len(inputs)} inputs; {instead}")
    photo = inputs[0]
    if photo.is_dir():
        raise UsageError(f"{output} is one file, but {photo} is a folder; {instead}")
    if not photo.exists():
        raise UsageError(f"no such file or folder: {photo}")
    format = WRITTEN.get(output.suffix.lower())
    if format is None:
        raise UsageError(f"{output}: {output.suffix} is not written, but {', '.join(sorted(WRITTEN))} are; {instead}")
    try:
        check_written(format)
    except CodecError as error:
        raise UsageError(f"{output}: {error}") from None
    given, relative = Path(photo.name), Path(output.name)
    paired = pair_masks([Job(photo, given, output, Path(photo.stem))], mask)
    masks = {relative: paired[given]} if paired else {}
    protect([photo, *masks.values()], [output])
    beside: list[Path] = []
    with suppress(OSError):  # the folder may not be listed
        beside = [path for path in photo.parent.iterdir() if is_sidecar(path)]
    sidecars = tuple(sorted(shared_out({photo.parent: beside}, [photo]).get(photo, ())))
    return [Job(photo, relative, output, Path(output.stem), sidecars=sidecars, format=format)], masks
