"""Restores whole folders: bad photos do not stop the others, and a run that was stopped can be resumed."""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bringback import __version__
from bringback.batch.extras import (
    check_extras,
    face_pictures,
    faces_left,
    read_sidecars,
    review_path,
    review_png,
    sidecar_path,
    stage_pictures,
    stages_folder,
    strip_path,
    strip_png,
)
from bringback.batch.jobs import Job, plan_with_masks
from bringback.batch.locks import Locks, locks_in
from bringback.batch.manifest import (
    ALREADY_DONE,
    CLAIMED,
    Entry,
    Manifest,
    OnPhoto,
    OnStart,
    attempt,
    new_entry,
    refuse_existing,
    seconds_since,
    stay_inside,
)
from bringback.batch.prefetch import overlapped
from bringback.batch.resume import complete, own_files, result_is_there, same_work
from bringback.errors import CodecError, PhotoError, UsageError, WriteError
from bringback.images.codecs import MAX_PIXELS
from bringback.images.formats import converted
from bringback.images.photo import Photo
from bringback.ops.areas import areas_by_hand, parsed_areas
from bringback.pipeline import ALONE, Pipeline
from bringback.runtime.files import read_whole, write_all
from bringback.runtime.memory import Plan, forget_peak, peak_memory, queued
from bringback.stages import origins
from bringback.stages.record import OnStep, Restoration

ADVICE = "use --overwrite or --skip-existing"
# Names of settings that are not of one stage; manifests have both kinds side by side.
OF_ALL = {"stages", "strength", "scale", "dtype", "tile", "negative", "metadata", "engine", "plugins", "areas"}


def restore_folder(
    inputs: Sequence[Path],
    out: Path,
    pipeline: Pipeline,
    *,
    mask: Path | None = None,
    on_start: OnStart | None = None,
    on_photo: OnPhoto | None = None,
    **choices: Any,
) -> list[Entry]:
    """Restore files and folders into `out`, trees mirrored and names kept; returns this run's lines of the manifest.

    `mask` is as in `jobs.pair_masks`; `choices` are those of `FolderRestorer`, which has the rules for each photo.
    Raises `UsageError` before anything is written.
    """
    jobs, masks = plan_with_masks(inputs, out, mask)
    return restore_jobs(jobs, out, pipeline, masks=masks, on_start=on_start, on_photo=on_photo, **choices)


def restore_jobs(
    jobs: Sequence[Job],
    out: Path,
    pipeline: Pipeline,
    *,
    on_start: OnStart | None = None,
    on_photo: OnPhoto | None = None,
    **choices: Any,
) -> list[Entry]:
    """`restore_folder` for jobs from `jobs.plan_with_masks`; pass its masks in `choices`."""
    return FolderRestorer(out, pipeline, **choices).run(jobs, on_start, on_photo)


class FolderRestorer:
    """Restores photos into one folder, each an idempotent unit; several processes may share the same folder.

    A photo is locked while it is worked on; a photo that another process has locked is skipped, and so is one that
    `out/manifest.jsonl` records as done from the same bytes with the same mask, stages and weights. An existing file is
    overwritten if it still is the file that the manifest records for the same input, or with `overwrite`; otherwise its
    photo is skipped with `skip_existing` and failed without. `save_stages` writes `stages/<stem>/1-scratches.png` and
    so on, `compare` writes strips of before and after below `compare/`. `review` is a folder for strips of before, mask
    and after of photos with warnings, `faces_review` one for a picture of each face, before and after; those of earlier
    runs are replaced or removed, but a photo that is done and was laid out is not laid out again, whatever the folder.
    `sidecars` copies files with captions and edits that lie beside a photo. `keep_times` gives results the photo's time
    of modification. `strip_metadata` removes the file's metadata.
    Without `record` there is no manifest and no lock: for a single file. A photo is converted to its job's `format`.
    With `dry_run` photos are read, the entries say what would happen to them, and nothing is written. A photo of more
    than `max_pixels` is refused. A bad photo is an entry with status "failed" and a message of one line. `on_plan` is
    called with the memory plan of each photo before it is restored, `on_step` as in `Pipeline.restore`.
    """

    def __init__(
        self,
        out: Path,
        pipeline: Pipeline,
        *,
        masks: Mapping[Path, Path] | None = None,
        areas: Mapping[Path, Any] | None = None,
        save_stages: bool = False,
        compare: bool = False,
        review: Path | None = None,
        faces_review: Path | None = None,
        sidecars: bool = False,
        keep_times: bool = True,
        overwrite: bool = False,
        skip_existing: bool = False,
        strip_metadata: bool = False,
        dry_run: bool = False,
        record: bool = True,
        max_pixels: int = MAX_PIXELS,
        on_plan: Callable[[str, Plan], None] | None = None,
        on_step: OnStep | None = None,
    ) -> None:
        """Writes nothing yet. `masks` are damage mask files, `areas` picture areas as in `Pipeline.restore`, both by
        the photos' relative paths. Raises `UsageError` for a stage whose name is that of another setting.
        """
        self.out, self.pipeline, self.masks = out, pipeline, masks or {}
        self.areas = {path: parsed_areas(given) for path, given in (areas or {}).items()}
        self.extras = {"stages": save_stages, "compare": compare, "review": review is not None, "sidecars": sidecars}
        self.extras["faces_review"] = faces_review is not None
        self.review, self.faces_review, self.keep_times = review, faces_review, keep_times
        self.overwrite, self.skip_existing, self.dry_run = overwrite, skip_existing, dry_run
        self.strip_metadata, self.max_pixels = strip_metadata, max_pixels
        self.on_plan, self.on_step = on_plan, on_step
        compute = pipeline.compute.settings
        stages = [stage.name for stage in pipeline.stages]
        if taken := pipeline.settings.keys() & OF_ALL:
            raise UsageError(
                f"a stage called {min(taken)!r} cannot have settings: the manifest has others by this name"
            )
        self.settings = {
            "stages": stages,
            "strength": pipeline.strength,
            "scale": pipeline.scale if isinstance(pipeline.scale, int | float) else "auto",
            "dtype": compute["dtype"],
            "tile": compute["tile"],
            **pipeline.settings,
            **({"negative": True} if pipeline.negative else {}),
            **({"metadata": "stripped"} if strip_metadata else {}),
            **({"engine": pipeline.engine} if pipeline.engine != "torch" else {}),
            **({"plugins": foreign} if (foreign := origins(stages)) else {}),
        }
        self.claims = Locks.of(out)
        self.manifest = Manifest(self.claims) if record else None

    def settings_of(self, job: Job) -> dict[str, Any]:
        """The settings for a photo, with its areas if they were given."""
        if (areas := self.areas.get(job.relative)) is None:
            return self.settings
        return self.settings | {"areas": [area.as_dict() for area in areas]}

    def run(self, jobs: Sequence[Job], on_start: OnStart | None = None, on_photo: OnPhoto | None = None) -> list[Entry]:
        """Restore these jobs; returns their entries. Raises `UsageError` before anything is written."""
        self.check(jobs)
        if on_start:
            on_start(len(jobs))
        works = [_Work(job, new_entry(job, job.output)) for job in jobs]
        together = 1 if self.extras["stages"] else self.pipeline.compute.batch
        steps = _Steps(self, together if len(jobs) > 1 else 0)
        with nullcontext() if self.dry_run or not self.manifest else locks_in(self.out):
            going = overlapped(works, steps.read, steps.restore, steps.write, together=together, alone=_large)
            try:
                with closing(going):  # when interrupted, it finishes what is being written and starts nothing new
                    return [self._finish(work, steps, on_photo) for work in going]
            finally:
                for work in works:
                    self._let_go(work)

    def check(self, jobs: Sequence[Job]) -> None:
        """Raise `UsageError` if these jobs cannot be done with these choices."""
        check_extras(self.out, jobs, self.masks, self.extras, self.review, self.faces_review)
        if self.faces_review and "faces" not in [stage.name for stage in self.pipeline.stages]:
            raise UsageError("faces to review go with the stage faces, which is not among those to run")

    def _finish(self, work: "_Work", steps: "_Steps", on_photo: OnPhoto | None) -> Entry:
        work.photo = work.mask = work.restoration = None
        work.files.clear()
        entry = work.entry
        others = entry["status"] == "skipped" and not work.claimed  # that run will record it
        recorded = entry["status"] == "done" or others
        if self.manifest and not recorded and not self.dry_run and not self.manifest.says(entry):
            with suppress(OSError):  # the disk may be full; the entry is returned in any case
                self.manifest.add(entry)
        self._let_go(work)
        if on_photo:
            on_photo(entry)
        return entry

    def _let_go(self, work: "_Work") -> None:
        if work.claimed:
            self.claims.give_back(work.entry["photo"])
            work.claimed = False


@dataclass(slots=True)
class _Work:
    """The state of a photo between reading and writing."""

    job: Job
    entry: Entry
    ours: dict[Path, str] = field(default_factory=dict)
    photo: Photo | None = None
    mask: np.ndarray | None = None
    plan: Plan | None = None
    restoration: Restoration | None = None
    files: dict[Path, bytes] = field(default_factory=dict)
    claimed: bool = False


def _large(work: _Work) -> bool:
    """Whether no other photo should be in memory together with this one."""
    return work.photo is not None and work.photo.pixels[..., 0].size > ALONE


@dataclass
class _Steps:
    """The steps of each photo: they fill in its `_Work`; a photo whose entry is no longer "done" gets no further."""

    run: FolderRestorer
    together: int  # photos that are read ahead, and that may wait to be written; 0 for one alone
    largest: int = 0  # pixels of the largest photo whose turn has come and that is not alone in memory
    full: str = ""  # the reason, once nothing more can be written

    def read(self, work: _Work) -> None:
        """Read the file and its mask, if the photo is to be restored."""
        attempt(work.entry, lambda entry: self._read(work, entry))

    def _read(self, work: _Work, entry: Entry) -> None:
        begin = time.perf_counter()
        run, job = self.run, work.job
        if job.problem:
            raise PhotoError(f"{job.source}: {job.problem}")
        if self.full:
            raise PhotoError(f"{job.source}: not begun: {self.full}")
        stay_inside(run.out, [job.output])
        if run.manifest and not run.dry_run:
            work.claimed = run.claims.take(entry["photo"])
            if not work.claimed:
                entry |= {"status": "skipped", "message": f"{job.source}: {CLAIMED}"}
                return
            run.manifest.refresh()
        mask = run.masks.get(job.relative)
        data, mask_data = read_whole(job.source), read_whole(mask) if mask else None
        entry |= {
            "sha256": hashlib.sha256(data).hexdigest(),
            "mask": hashlib.sha256(mask_data).hexdigest() if mask_data is not None else None,
            "settings": run.settings_of(job),
            "weights": run.pipeline.weights,
        }
        before = run.manifest.done.get(entry["photo"]) if run.manifest else None
        if reason := self._reason_to_skip(job, entry, before):
            entry |= {"status": "skipped", "message": reason}
            return
        work.ours = own_files(run.out, job, before)
        if not run.overwrite:
            refuse_existing({job.output} - work.ours.keys(), ADVICE)
        work.photo = Photo.decode(data, str(job.source), run.max_pixels)
        if job.format:
            work.photo = converted(work.photo, job.format)
        try:
            areas_by_hand(run.areas.get(job.relative, ()), *work.photo.pixels.shape[:2])
        except PhotoError as error:
            raise PhotoError(f"{job.source}: {error}") from None
        if mask_data is not None:
            work.mask = Photo.decode(mask_data, str(mask), run.max_pixels).as_mask()
        entry["warnings"] = list(work.photo.warnings)
        if job.sidecars and not run.extras["sidecars"]:
            kinds = ", ".join(sorted({path.suffix.lower() for path in job.sidecars}))
            entry["warnings"].append(f"sidecars ({kinds}) are not copied: --sidecars does it")
        entry["seconds"] = seconds_since(begin)
        if run.dry_run:
            entry |= {
                "status": "planned",
                "message": f"{job.output} ({run.pipeline.plan_for(work.photo)})",
            }

    def restore(self, works: Sequence[_Work]) -> None:
        """Restore photos together; if that fails, one by one, to find out which of them fails."""
        # Here and not where they are read: how far that is ahead is chance, which must not decide on tiles.
        sizes = [work.photo.pixels[..., 0].size for work in works if work.photo is not None and not _large(work)]
        self.largest = max([self.largest, *sizes])
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
            plans = [
                self._plan(work, photo, 0 if number or _large(work) else queued(self.largest, self.together))
                for number, (work, photo) in enumerate(zip(works, photos, strict=True))
            ]
            pipeline, on_step = self.run.pipeline, self.run.on_step
            areas = [self.run.areas.get(work.job.relative) for work in works]
            if len(works) > 1:
                restorations = pipeline.restore_many(photos, [work.mask for work in works], on_step, plans, areas)
            else:
                keep = partial(self._keep, works[0]) if self.run.extras["stages"] else None
                restorations = [pipeline.restore(photos[0], works[0].mask, keep, on_step, plans[0], areas[0])]
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
                "fallback": restoration.tile != plan_.tile,  # memory ran out although the plan had enough
            }

    def _plan(self, work: _Work, photo: Photo, waiting: int) -> Plan:
        if work.plan is None:
            try:
                work.plan = self.run.pipeline.plan_for(photo, waiting)
            except PhotoError:
                if not waiting:
                    raise
                work.plan = self.run.pipeline.plan_for(photo)  # no photo fails because of its neighbors
            if self.run.on_plan:
                self.run.on_plan(work.entry["photo"], work.plan)
        return work.plan

    def _keep(self, work: _Work, stage: str, restoration: Restoration) -> None:
        work.files |= stage_pictures(stages_folder(self.run.out, work.job), stage, restoration)

    def write(self, work: _Work) -> None:
        """Write the result of a photo, and its entry."""
        attempt(work.entry, lambda entry: self._write(work, entry))

    def _write(self, work: _Work, entry: Entry) -> None:
        begin = time.perf_counter()
        run, restoration, files, job = self.run, work.restoration, work.files, work.job
        assert restoration is not None
        result = restoration.result()
        if run.extras["compare"]:
            files[strip_path(run.out, job)] = strip_png(restoration.photo.pixels, result.pixels)
        if run.extras["sidecars"]:
            files |= read_sidecars(job, restoration.photo, result.pixels.shape[:2])
        # Written last: if it exists, all the others do.
        try:
            files[job.output] = result.encode(run.pipeline.note, run.strip_metadata)
        except CodecError as error:
            raise PhotoError(f"{job.source}: {error}") from None
        stay_inside(run.out, files)
        if not run.overwrite:
            refuse_existing(files.keys() - work.ours.keys(), ADVICE)
        strips, gone = {}, list[Path]()
        if run.review:
            strip = review_path(run.review, job)
            stay_inside(run.review, [strip])
            if restoration.warnings:
                strips[strip] = review_png(restoration, result.pixels)
            elif strip.is_file():
                gone.append(strip)
        if run.faces_review:
            pictures = face_pictures(run.faces_review, job, restoration, result.pixels)
            left = faces_left(run.faces_review, job, len(pictures))
            stay_inside(run.faces_review, [*pictures, *left])
            gone += left
            strips |= pictures
        written = work.ours | {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
        faces = [
            {"box": [round(float(side)) for side in face.box], "identity": face.identity, "status": face.status}
            for face in restoration.faces
        ]
        entry["memory"]["peak"] = max(entry["memory"]["peak"], peak_memory())
        entry |= {
            "seconds": round(entry["seconds"] + seconds_since(begin), 3),
            "scale": restoration.scale,
            "areas": [area.as_dict() for area in restoration.areas],
            "stages": restoration.notes,
            "faces": {"count": len(faces), "each": faces},
            "warnings": [*entry["warnings"], *restoration.warnings],
            "extras": run.extras,
            "written": {path.relative_to(run.out).as_posix(): digest for path, digest in written.items()},
            "device": run.pipeline.compute.device.type,
            "batch_size": run.pipeline.compute.batch,
            "threads": torch.get_num_threads(),
            "version": __version__,
        }
        try:  # the entry is written before the files are renamed: the next run then completes what a killed run left
            times = self._times(job) if run.keep_times else None
            record = partial(run.manifest.add, entry) if run.manifest else lambda: None
            write_all(strips | files, record, times)
            for path in gone:
                with suppress(OSError):  # the result is there, which counts
                    path.unlink()
        except WriteError as error:
            self.full = str(error) if error.full else ""
            raise

    def _times(self, job: Job) -> dict[Path, int]:
        """The time of modification of the photo for its result, those of the sidecars for theirs."""
        pairs = [(job.source, job.output), *((path, sidecar_path(job, path)) for path in job.sidecars)]
        times = {}
        for source, output in pairs:
            with suppress(OSError):
                times[output] = source.stat().st_mtime_ns
        return times

    def _reason_to_skip(self, job: Job, entry: Entry, before: Entry | None) -> str | None:
        run = self.run
        if before and same_work(entry, before, run.extras):
            if not run.dry_run:
                complete(run.out, before)
            if result_is_there(run.out, job, before):
                return ALREADY_DONE
        return f"{job.output} exists already" if run.skip_existing and job.output.exists() else None
