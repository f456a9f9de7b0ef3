"""`bringback scratches` and `bringback age` for whole folders."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from bringback.batch.jobs import Job, Tell, mask_path, plan, protect, silent
from bringback.batch.manifest import Entry, OnPhoto, OnStart, each, refuse_existing, seconds_since
from bringback.errors import UsageError
from bringback.images.photo import Photo
from bringback.runtime.files import write_all
from bringback.stages.record import Restoration


def mask_folder(
    inputs: Sequence[Path],
    out: Path,
    detect: Callable[[Restoration], Restoration],
    *,
    overwrite: bool = False,
    skip_existing: bool = False,
    on_start: OnStart | None = None,
    on_photo: OnPhoto | None = None,
) -> list[Entry]:
    """Write the soft damage masks of photos to `<stem>_mask.png` in `out`: 8-bit gray, 0 to 255 for 0 to 1.

    `detect` sets the mask of a restoration. A photo whose mask exists is skipped with `skip_existing`, overwritten with
    `overwrite`, and failed otherwise. Raises `UsageError`; bad photos are failed entries.
    """

    def work(job: Job, entry: Entry) -> None:
        begin = time.perf_counter()
        path = mask_path(job, out)
        if skip_existing and _skipped(entry, path):
            return
        _refuse(overwrite, path)
        with torch.inference_mode():
            found = detect(Restoration.start(Photo.read(job.source)))
        write_all({path: mask_png(found.damage())})
        entry |= {"stages": found.notes, "warnings": found.warnings, "seconds": seconds_since(begin)}

    jobs = plan(inputs, out)
    protect((job.source for job in jobs), (mask_path(job, out) for job in jobs))
    return each(jobs, work, lambda job: mask_path(job, out), out, on_start, on_photo)


def age_folder(
    inputs: Sequence[Path],
    out: Path,
    recipe: str,
    seed: int,
    *,
    overlays: Sequence[Path] = (),
    overwrite: bool = False,
    skip_existing: bool = False,
    tell: Tell = silent,
    on_start: OnStart | None = None,
    on_photo: OnPhoto | None = None,
) -> list[Entry]:
    """Write aged photos under their own names and their damage as `<stem>_mask.png`.

    The seed of a photo is drawn from `seed` and its relative path: others may come or go. Existing files are handled as
    in `mask_folder`. Raises `UsageError`, also for an unknown recipe, and ValueError for invalid overlays; bad photos
    are failed entries. `tell` is called with what is left out of the inputs.
    """
    from bringback.degradations import RECIPES, OverlayBank, degrade
    from bringback.degradations.rng import named_seed

    if recipe not in RECIPES:
        raise UsageError(f"unknown recipe {recipe!r}; the recipes are {', '.join(RECIPES)}")
    jobs = plan(inputs, out, tell)
    if both := {job.output for job in jobs} & {mask_path(job, out) for job in jobs}:
        raise UsageError(f"{min(both)} would be a photo and the mask of another")
    read = [*(job.source for job in jobs), *overlays]
    protect(read, (path for job in jobs for path in (job.output, mask_path(job, out))))
    bank = OverlayBank.from_shards(overlays) if overlays else None

    def work(job: Job, entry: Entry) -> None:
        begin = time.perf_counter()
        if skip_existing and _skipped(entry, job.output):  # it is written last
            return
        _refuse(overwrite, job.output, mask_path(job, out))
        photo = Photo.read(job.source)
        sample = degrade(Restoration.start(photo).pixels, recipe, [named_seed(seed, job.relative.as_posix())], bank)
        aged = photo.with_pixels(sample.aged[0].numpy().transpose(1, 2, 0))
        write_all({mask_path(job, out): mask_png(sample.mask), job.output: aged.encode()})
        entry["seconds"] = seconds_since(begin)

    return each(jobs, work, lambda job: job.output, out, on_start, on_photo)


def _skipped(entry: Entry, path: Path) -> bool:
    if path.exists():
        entry |= {"status": "skipped", "message": f"{path} exists already"}
    return path.exists()


def _refuse(overwrite: bool, *paths: Path) -> None:
    if not overwrite:
        refuse_existing(paths, "use --overwrite or --skip-existing")


def mask_png(mask: Tensor) -> bytes:
    """A damage mask (1, 1, H, W) in [0, 1] as an 8-bit gray PNG."""
    return Photo.from_array(mask[0, 0].clamp(0, 1).cpu().numpy()).encode()
