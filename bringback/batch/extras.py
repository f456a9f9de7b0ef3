"""Extra pictures that a run writes: before-and-after strips, and each photo after each stage."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bringback.batch.jobs import Job, protect
from bringback.batch.masks import mask_png
from bringback.errors import UsageError
from bringback.images.photo import Photo
from bringback.stages.record import Restoration

GAP = 8  # white pixels between before and after


def strip_path(out: Path, job: Job) -> Path:
    """The file for a photo's before-and-after strip."""
    return out / "compare" / job.relative.with_name(f"{job.relative.name}.png")


def strip_png(before: np.ndarray, after: np.ndarray) -> bytes:
    """A photo before and after, side by side."""
    gap = np.ones((len(before), GAP, 3), np.float32)
    return Photo.from_array(np.concatenate([before, gap, after], axis=1)).encode()


def stages_folder(out: Path, job: Job) -> Path:
    """The folder for the pictures of a photo after each stage."""
    return out / "stages" / job.stem


def stage_pictures(folder: Path, stage: str, restoration: Restoration) -> dict[Path, bytes]:
    """The photo after a stage, numbered by the stages done so far; after the detector also the damage mask."""
    name = f"{restoration.passed}-{stage}"
    pictures = {folder / f"{name}.png": replace(restoration.result(), format="PNG", extra={}).encode()}
    if stage == "scratches":
        pictures[folder / f"{name}_mask.png"] = mask_png(restoration.damage())
    return pictures


def check_extras(out: Path, jobs: Sequence[Job], masks: Mapping[Path, Path], extras: Mapping[str, bool]) -> None:
    """Raise `UsageError` if the pictures of `extras` ("stages", "compare") would overwrite photos or masks."""
    for name, wanted in extras.items():
        if wanted and any(job.relative.parts[0] == name for job in jobs):
            raise UsageError(f"the photos have a folder {name!r} of their own, where other pictures would go")
    photos = [job for job in jobs if not job.problem]
    inputs = [*(job.source for job in photos), *masks.values()]
    if extras["compare"]:
        protect(inputs, (strip_path(out, job) for job in photos))
    if extras["stages"]:
        protect(inputs, (), (stages_folder(out, job) for job in photos))
