"""An output that names a file: one photo, restored into just that file, in the format of its ending."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from bringback.batch.jobs import Job, is_sidecar, pair_masks, protect, refuse_urls, shared_out
from bringback.errors import CodecError, UsageError
from bringback.images.formats import WRITTEN, check_written
from bringback.images.shards import RAW, SUFFIXES


def names_a_file(out: str) -> bool:
    """Whether an output is a file: by an ending of pictures, but not if it is a folder, or has a slash at its end."""
    path = Path(out)
    if path.is_dir() or out.endswith(("/", os.sep)):
        return False
    return path.suffix.lower() in SUFFIXES.union(WRITTEN)


def plan_file(inputs: Sequence[Path], output: Path, mask: Path | None) -> tuple[list[Job], dict[Path, Path]]:
    """The job for the one photo in `inputs`, and its damage mask if there is one, as in `jobs.pair_masks`.

    Raises `UsageError` if there is not just one photo, if the ending is neither the photo's nor of a format to which
    photos are converted, or if the output is the photo or its mask.
    """
    instead = "name a folder" if output.exists() else f"for a folder of this name write {output}{os.sep}"
    if len(inputs) != 1:
        raise UsageError(f"{output} is one file for {len(inputs)} inputs; {instead}")
    photo = inputs[0]
    refuse_urls([photo, output])
    if photo.is_dir():
        raise UsageError(f"{output} is one file, but {photo} is a folder; {instead}")
    if not photo.exists():
        raise UsageError(f"no such file or folder: {photo}")
    ending = output.suffix.lower()
    format = WRITTEN.get(ending, "")
    if not format and (ending != photo.suffix.lower() or ending in RAW):
        raise UsageError(f"{output}: no photo is converted to {ending}, but to {', '.join(sorted(WRITTEN))}; {instead}")
    try:
        if format:
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
