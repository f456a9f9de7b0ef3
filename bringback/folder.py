"""Whole folders: each photo once, bad ones do not stop the rest, the same command again goes on where it stopped."""

import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from bringback import __version__
from bringback.batch import mask_png
from bringback.checkpoints import file_hash
from bringback.manifest import (
    Entry,
    Manifest,
    OnPhoto,
    OnStart,
    attempt,
    new_entry,
    refuse_existing,
    seconds_since,
    write_all,
)
from bringback.memory import Plan, forget_peak, peak_memory
from bringback.overlap import overlapped
from bringback.photo import Photo, PhotoError
from bringback.pipeline import Pipeline, mask_array
from bringback.restoration import Restoration
from bringback.tree import Job, UsageError, pair_masks, plan

GAP = 8  # white pixels between before and after
ALONE = 8_000_000  # pixels of a photo above which no other is read or written while it is restored
ADVICE = "use --overwrite or --skip-existing"


def restore_folder(
    inputs: Sequence[Path],
    out: Path,
    pipeline: Pipeline,
    *,
    mask: Path | None = None,
    save_stages: bool = False,
    compare: bool = False,
    overwrite: bool = False,
    skip_existing: bool = False,
    on_start: OnStart | None = None,
    on_photo: OnPhoto | None = None,
    on_plan: Callable[[str, Plan], None] | None = None,
) -> list[Entry]:
    """Restore files and folders into `out`, trees mirrored and names kept; returns this run's lines of the manifest.

    A photo that `out/manifest.jsonl` has as done from the same bytes with the same mask, stages and weights is skipped.
    A file that is there is overwritten if it still is what the manifest says was written for the very same input, or
    with `overwrite`; else its photo is skipped with `skip_existing` and failed without. `mask` is as in
    `tree.pair_masks`. `save_stages` writes `stages/<stem>/1-scratches.png` and so on, `compare` strips of before and
    after below `compare/`.

    Raises `UsageError` before anything is written. A bad photo is an entry with status "failed" and a message of one
    line.
    """
    jobs = plan(inputs, out)
    masks = pair_masks(jobs, mask)
    used = {path.resolve() for path in masks.values()}
    jobs = [job for job in jobs if job.source.resolve() not in used]  # masks that lie among the photos
    extras = {"stages": save_stages, "compare": compare}
    for name, wanted in extras.items():
        if wanted and any(job.relative.parts[0] == name for job in jobs):
            raise UsageError(f"the photos have a folder {name!r} of their own, where other pictures would go")
    manifest = Manifest(out / "manifest.jsonl")
    restorer = _Restorer(pipeline, out, masks, manifest, extras, overwrite, skip_existing, on_plan)

    def finish(work: _Work) -> Entry:
        work.photo = work.mask = work.restoration = None
        work.files.clear()
        entry = work.entry
        if entry["status"] != "done":  # done ones are in it already, together with their files
            manifest.add(entry)
        if on_photo:
            on_photo(entry)
        return entry

    if on_start:
        on_start(len(jobs))
    works = [_Work(job, new_entry(job, job.output)) for job in jobs]
    together = 1 if save_stages else pipeline.compute.batch
    steps = overlapped(works, restorer.read, restorer.restore, restorer.write, together=together, alone=_large)
    with closing(steps):  # interrupted, it lets what is being written come to its end and begins nothing more
        return [finish(work) for work in steps]


@dataclass(slots=True)
class _Work:
    """A photo on its way: what there is of it between reading and writing."""

    job: Job
    entry: Entry
    ours: dict[Path, str] = field(default_factory=dict)
    photo: Photo | None = None
    mask: np.ndarray | None = None
    restoration: Restoration | None = None
    files: dict[Path, bytes] = field(default_factory=dict)


def _large(work: _Work) -> bool:
    """Whether there should be no other photo in memory beside this one."""
    return work.photo is not None and work.photo.pixels[..., 0].size > ALONE


@dataclass(frozen=True)
class _Restorer:
    """The steps of each photo: they fill in its `_Work`, and its entry is no longer "done" once it is not to go on."""

    pipeline: Pipeline
    out: Path
    masks: dict[Path, Path]
    manifest: Manifest
    extras: dict[str, bool]
    overwrite: bool
    skip_existing: bool
    on_plan: Callable[[str, Plan], None] | None

    def read(self, work: _Work) -> None:
        """Take in the file and its mask, if the photo is to be restored at all."""
        attempt(work.entry, lambda entry: self._read(work, entry))

    def _read(self, work: _Work, entry: Entry) -> None:
        begin = time.perf_counter()
        job, mask = work.job, self.masks.get(work.job.relative)
        data = _bytes(job.source)
        compute = self.pipeline.compute.settings
        entry |= {
            "sha256": hashlib.sha256(data).hexdigest(),
            "mask": hashlib.sha256(_bytes(mask)).hexdigest() if mask else None,
            "settings": {
                "stages": [stage.name for stage in self.pipeline.stages],
                "strength": self.pipeline.strength,
                "dtype": compute["dtype"],
                "tile": compute["tile"],
                **self.pipeline.settings,
            },
            "weights": self.pipeline.weights,
        }
        before = self.manifest.done.get(entry["photo"])
        if reason := self._reason_to_skip(job, entry, before):
            entry |= {"status": "skipped", "message": reason}
            return
        work.ours = self._ours(job, before)
        if not self.overwrite:
            refuse_existing({job.output} - work.ours.keys(), ADVICE)
        work.photo = Photo.decode(data, str(job.source))
        work.mask = mask_array(mask) if mask else None
        entry["seconds"] = seconds_since(begin)

    def restore(self, works: Sequence[_Work]) -> None:
        """Take photos through the pipeline, together; one by one where that fails, to know which of them it is."""
        if len(works) > 1:
            with suppress(Exception):
                self._restore(works)
                return
        for work in works:
            attempt(work.entry, lambda entry, work=work: self._restore([work]))  # type: ignore[misc]

    def _restore(self, works: Sequence[_Work]) -> None:
        begin = time.perf_counter()
        photos = [work.photo for work in works if work.photo is not None]
        forget_peak()
        try:
            plans = [self.pipeline.plan(*photo.pixels.shape[:2]) for photo in photos]
            if self.on_plan:
                for work, plan_ in zip(works, plans, strict=True):
                    self.on_plan(work.entry["photo"], plan_)
            if len(works) > 1:
                restorations = self.pipeline.restore_many(photos, [work.mask for work in works])
            else:
                keep = partial(self._keep, works[0]) if self.extras["stages"] else None
                restorations = [self.pipeline.restore(photos[0], works[0].mask, keep)]
        except PhotoError as error:
            raise PhotoError(f"{works[0].job.source}: {error}") from None
        seconds = seconds_since(begin) / len(works)
        for work, restoration, plan_ in zip(works, restorations, plans, strict=True):
            work.restoration = restoration
            work.entry["seconds"] += seconds
            work.entry["memory"] = {
                "planned": plan_.peak,
                "peak": peak_memory(),
                "tile": restoration.tile,
                "fallback": restoration.tile != plan_.tile,  # memory ran out, against the plan
            }

    def _keep(self, work: _Work, stage: str, restoration: Restoration) -> None:
        folder, number = self.out / "stages" / work.job.stem, len(restoration.notes)
        picture = replace(restoration.result(), format="PNG", extra={})
        work.files[folder / f"{number}-{stage}.png"] = picture.encode()
        if stage == "scratches":
            work.files[folder / f"{number}-{stage}_mask.png"] = mask_png(restoration.damage())

    def write(self, work: _Work) -> None:
        """Write what was made of a photo, and its entry."""
        attempt(work.entry, lambda entry: self._write(work, entry))

    def _write(self, work: _Work, entry: Entry) -> None:
        begin = time.perf_counter()
        restoration, files, job = work.restoration, work.files, work.job
        assert restoration is not None
        result = restoration.result()
        if self.extras["compare"]:
            path = self.out / "compare" / job.relative.with_name(f"{job.relative.name}.png")
            files[path] = _strip(restoration.photo.pixels, result.pixels)
        files[job.output] = result.encode()  # last: where it is, all is
        if not self.overwrite:
            refuse_existing(files.keys() - work.ours.keys(), ADVICE)
        written = work.ours | {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
        faces = [
            {"box": [round(float(side)) for side in face.box], "identity": face.identity, "status": face.status}
            for face in restoration.faces
        ]
        entry["memory"]["peak"] = max(entry["memory"]["peak"], peak_memory())
        entry |= {
            "seconds": round(entry["seconds"] + seconds_since(begin), 3),
            "stages": restoration.notes,
            "faces": {"count": len(faces), "each": faces},
            "extras": self.extras,
            "written": {path.relative_to(self.out).as_posix(): digest for path, digest in written.items()},
            "device": self.pipeline.compute.device.type,
            "batch_size": self.pipeline.compute.batch,
            "threads": torch.get_num_threads(),
            "version": __version__,
        }
        write_all(files, after=lambda: self.manifest.add(entry))

    def _reason_to_skip(self, job: Job, entry: Entry, before: Entry | None) -> str | None:
        if not job.output.exists():
            return None
        if before:  # entries of earlier versions know less
            since = {"strength": 1.0, "dtype": "float32", "tile": None}
            before = before | {"settings": since | before.get("settings", {})}
        if before and all(before.get(key) == entry[key] for key in ("sha256", "mask", "settings", "weights")):
            made = before.get("extras", {})
            if all(made.get(name) or not wanted for name, wanted in self.extras.items()):
                return "already done with the same settings"
        return f"{job.output} exists already" if self.skip_existing else None

    def _ours(self, job: Job, before: Entry | None) -> dict[Path, str]:
        """The files that an earlier run wrote for this input and nobody has touched since, with their hashes."""
        if not before or Path(before["input"]).resolve() != job.source.resolve():
            return {}
        written = {self.out / name: digest for name, digest in before.get("written", {}).items()}
        return {path: digest for path, digest in written.items() if path.is_file() and file_hash(path) == digest}


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PhotoError(f"{path}: cannot be read: {error.strerror or error}") from None


def _strip(before: np.ndarray, after: np.ndarray) -> bytes:
    gap = np.ones((len(before), GAP, 3), np.float32)
    return Photo.from_array(np.concatenate([before, gap, after], axis=1)).encode()
