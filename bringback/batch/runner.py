"""Whole folders: each photo once, bad ones do not stop the rest, the same command again goes on where it stopped."""

import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bringback import __version__
from bringback.batch.jobs import Job, plan_with_masks, protect
from bringback.batch.locks import Claims, claims_in
from bringback.batch.manifest import (
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
from bringback.batch.masks import mask_png
from bringback.batch.prefetch import overlapped
from bringback.errors import PhotoError, UsageError, WriteError
from bringback.images.codecs import MAX_PIXELS
from bringback.images.photo import Photo, luminance
from bringback.pipeline import Pipeline
from bringback.runtime.files import file_hash, leads_out, passing, write_all
from bringback.runtime.memory import Plan, forget_peak, peak_memory
from bringback.stages import origins
from bringback.stages.record import Restoration

GAP = 8  # white pixels between before and after
ALONE = 8_000_000  # pixels of a photo above which no other is read or written while it is restored
ADVICE = "use --overwrite or --skip-existing"


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

    `mask` is as in `jobs.pair_masks`; `choices` are those of `FolderRestorer`, which tells what becomes of each photo.
    Raises `UsageError` before anything is written.
    """
    jobs, masks = plan_with_masks(inputs, out, mask)
    return FolderRestorer(out, pipeline, masks=masks, **choices).run(jobs, on_start, on_photo)


class FolderRestorer:
    """Restores photos into one folder, each an idempotent unit; several processes may, at once, into the same.

    A photo is claimed while it is worked on; one that another process has is skipped. One that `out/manifest.jsonl` has
    as done from the same bytes with the same mask, stages and weights is skipped. A file that is there is overwritten
    if it still is what the manifest says was written for the very same input, or with `overwrite`; else its photo is
    skipped with `skip_existing` and failed without. `save_stages` writes `stages/<stem>/1-scratches.png` and so on,
    `compare` strips of before and after below `compare/`. `strip_metadata` leaves out what the file told beside its
    picture. With `dry_run` photos are read, and what would become of them is told; nothing is written. A photo of more
    than `max_pixels` is refused. A bad photo is an entry with status "failed" and a message of one line.
    """

    def __init__(
        self,
        out: Path,
        pipeline: Pipeline,
        *,
        masks: Mapping[Path, Path] | None = None,
        save_stages: bool = False,
        compare: bool = False,
        overwrite: bool = False,
        skip_existing: bool = False,
        strip_metadata: bool = False,
        dry_run: bool = False,
        max_pixels: int = MAX_PIXELS,
        on_plan: Callable[[str, Plan], None] | None = None,
    ) -> None:
        """Nothing is written yet. `masks` are damage masks by the photos' places in the tree."""
        self.out, self.pipeline, self.masks = out, pipeline, masks or {}
        self.extras = {"stages": save_stages, "compare": compare}
        self.overwrite, self.skip_existing, self.dry_run = overwrite, skip_existing, dry_run
        self.strip_metadata, self.max_pixels, self.on_plan = strip_metadata, max_pixels, on_plan
        compute = pipeline.compute.settings
        stages = [stage.name for stage in pipeline.stages]
        self.settings = {
            "stages": stages,
            "strength": pipeline.strength,
            "dtype": compute["dtype"],
            "tile": compute["tile"],
            **pipeline.settings,
            **({"metadata": "stripped"} if strip_metadata else {}),
            **({"engine": pipeline.engine} if pipeline.engine != "torch" else {}),
            **({"plugins": foreign} if (foreign := origins(stages)) else {}),
        }
        self.claims = Claims.of(out)
        self.manifest = Manifest(self.claims)

    def run(self, jobs: Sequence[Job], on_start: OnStart | None = None, on_photo: OnPhoto | None = None) -> list[Entry]:
        """Restore the photos of these jobs; their entries. Raises `UsageError` before anything is written."""
        self.check(jobs)
        if on_start:
            on_start(len(jobs))
        works = [_Work(job, new_entry(job, job.output)) for job in jobs]
        together = 1 if self.extras["stages"] else self.pipeline.compute.batch
        steps = _Steps(self)
        with nullcontext() if self.dry_run else claims_in(self.out):
            going = overlapped(works, steps.read, steps.restore, steps.write, together=together, alone=_large)
            try:
                with closing(going):  # interrupted, it lets what is being written come to its end and begins no more
                    return [self._finish(work, steps, on_photo) for work in going]
            finally:
                for work in works:
                    self._let_go(work)

    def check(self, jobs: Sequence[Job]) -> None:
        """Raise `UsageError` if the photos of these jobs cannot be restored with these choices."""
        for name, wanted in self.extras.items():
            if wanted and any(job.relative.parts[0] == name for job in jobs):
                raise UsageError(f"the photos have a folder {name!r} of their own, where other pictures would go")
        photos = [job for job in jobs if not job.problem]
        inputs = [*(job.source for job in photos), *self.masks.values()]
        if self.extras["compare"]:
            protect(inputs, map(self.strip_path, photos))
        if self.extras["stages"]:
            protect(inputs, (), map(self.stages_folder, photos))

    def strip_path(self, job: Job) -> Path:
        """Where the strip of before and after of a photo is written."""
        return self.out / "compare" / job.relative.with_name(f"{job.relative.name}.png")

    def stages_folder(self, job: Job) -> Path:
        """Where the pictures of a photo after each stage are written."""
        return self.out / "stages" / job.stem

    def _finish(self, work: "_Work", steps: "_Steps", on_photo: OnPhoto | None) -> Entry:
        work.photo = work.mask = work.restoration = None
        work.files.clear()
        entry = work.entry
        others = entry["status"] == "skipped" and not work.claimed  # what becomes of it is for that run to tell
        if entry["status"] != "done" and not others and not self.dry_run:  # done ones are in it, with their files
            with suppress(OSError):  # on a full disk; it is told all the same
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
    """A photo on its way: what there is of it between reading and writing."""

    job: Job
    entry: Entry
    ours: dict[Path, str] = field(default_factory=dict)
    photo: Photo | None = None
    mask: np.ndarray | None = None
    restoration: Restoration | None = None
    files: dict[Path, bytes] = field(default_factory=dict)
    claimed: bool = False


def _large(work: _Work) -> bool:
    """Whether there should be no other photo in memory beside this one."""
    return work.photo is not None and work.photo.pixels[..., 0].size > ALONE


@dataclass
class _Steps:
    """The steps of each photo: they fill in its `_Work`, and its entry is no longer "done" once it is not to go on."""

    run: FolderRestorer
    full: str = ""  # why nothing more can be written, once that is so

    def read(self, work: _Work) -> None:
        """Take in the file and its mask, if the photo is to be restored at all."""
        attempt(work.entry, lambda entry: self._read(work, entry))

    def _read(self, work: _Work, entry: Entry) -> None:
        begin = time.perf_counter()
        run, job = self.run, work.job
        if job.problem:
            raise PhotoError(f"{job.source}: {job.problem}")
        if self.full:
            raise PhotoError(f"{job.source}: not begun: {self.full}")
        stay_inside(run.out, [job.output])
        if not run.dry_run:
            work.claimed = run.claims.take(entry["photo"])
            if not work.claimed:
                entry |= {"status": "skipped", "message": f"{job.source}: {CLAIMED}"}
                return
            run.manifest.refresh()
        mask = run.masks.get(job.relative)
        data, mask_data = _bytes(job.source), _bytes(mask) if mask else None
        entry |= {
            "sha256": hashlib.sha256(data).hexdigest(),
            "mask": hashlib.sha256(mask_data).hexdigest() if mask_data is not None else None,
            "settings": run.settings,
            "weights": run.pipeline.weights,
        }
        before = run.manifest.done.get(entry["photo"])
        if reason := self._reason_to_skip(job, entry, before):
            entry |= {"status": "skipped", "message": reason}
            return
        work.ours = self._ours(job, before)
        if not run.overwrite:
            refuse_existing({job.output} - work.ours.keys(), ADVICE)
        work.photo = Photo.decode(data, str(job.source), run.max_pixels)
        if mask_data is not None:
            work.mask = luminance(Photo.decode(mask_data, str(mask), run.max_pixels).pixels)
        entry["seconds"] = seconds_since(begin)
        if run.dry_run:
            entry |= {
                "status": "planned",
                "message": f"{job.output} ({run.pipeline.plan(*work.photo.pixels.shape[:2])})",
            }

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
            plans = [self.run.pipeline.plan(*photo.pixels.shape[:2]) for photo in photos]
            if self.run.on_plan:
                for work, plan_ in zip(works, plans, strict=True):
                    self.run.on_plan(work.entry["photo"], plan_)
            if len(works) > 1:
                restorations = self.run.pipeline.restore_many(photos, [work.mask for work in works])
            else:
                keep = partial(self._keep, works[0]) if self.run.extras["stages"] else None
                restorations = [self.run.pipeline.restore(photos[0], works[0].mask, keep)]
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
        folder, number = self.run.stages_folder(work.job), len(restoration.notes)
        picture = replace(restoration.result(), format="PNG", extra={})
        work.files[folder / f"{number}-{stage}.png"] = picture.encode()
        if stage == "scratches":
            work.files[folder / f"{number}-{stage}_mask.png"] = mask_png(restoration.damage())

    def write(self, work: _Work) -> None:
        """Write what was made of a photo, and its entry."""
        attempt(work.entry, lambda entry: self._write(work, entry))

    def _write(self, work: _Work, entry: Entry) -> None:
        begin = time.perf_counter()
        run, restoration, files, job = self.run, work.restoration, work.files, work.job
        assert restoration is not None
        result = restoration.result()
        if run.extras["compare"]:
            files[run.strip_path(job)] = _strip(restoration.photo.pixels, result.pixels)
        files[job.output] = result.encode(run.pipeline.note, run.strip_metadata)  # last: where it is, all is
        stay_inside(run.out, files)
        if not run.overwrite:
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
            "extras": run.extras,
            "written": {path.relative_to(run.out).as_posix(): digest for path, digest in written.items()},
            "device": run.pipeline.compute.device.type,
            "batch_size": run.pipeline.compute.batch,
            "threads": torch.get_num_threads(),
            "version": __version__,
        }
        try:  # told before it is there: a run that is killed in between is known by that, and completed by the next
            write_all(files, ready=lambda: run.manifest.add(entry))
        except WriteError as error:
            self.full = str(error) if error.full else ""
            raise

    def _reason_to_skip(self, job: Job, entry: Entry, before: Entry | None) -> str | None:
        run = self.run
        if before:  # entries of earlier versions know less
            since = {"strength": 1.0, "dtype": "float32", "tile": None}
            settings = since | before.get("settings", {})
            made = before.get("extras", {})
            same = all(before.get(key) == entry[key] for key in ("sha256", "mask", "weights"))
            extras = all(made.get(name) or not wanted for name, wanted in run.extras.items())
            if same and extras and settings == entry["settings"]:
                if not run.dry_run:
                    self._complete(before)
                if job.output.exists():
                    name = job.output.relative_to(run.out).as_posix()
                    earlier = before.get("earlier", {}).get(name, [])
                    if not earlier or file_hash(job.output) not in earlier:  # else a killed run left the old one there
                        return "already done with the same settings"
        return f"{job.output} exists already" if run.skip_existing and job.output.exists() else None

    def _complete(self, before: Entry) -> None:
        """Give their names to files that a run had written whole, and entered, when it was killed."""
        for name, digest in before.get("written", {}).items():
            path = self.run.out / name
            part = passing(path)
            if leads_out(self.run.out, [path]) or part.is_symlink() or not part.is_file():
                continue
            known = before.get("earlier", {}).get(name, [])
            if file_hash(part) == digest and (not os.path.lexists(path) or file_hash(path) in known):
                os.replace(part, path)

    def _ours(self, job: Job, before: Entry | None) -> dict[Path, str]:
        """The files that earlier runs wrote for this input and nobody has touched since, with their hashes."""
        if not before or Path(before["input"]).resolve() != job.source.resolve():
            return {}
        known = {name: [digest] for name, digest in before.get("written", {}).items()}
        for name, digests in before.get("earlier", {}).items():
            known.setdefault(name, []).extend(digests)
        found = {}
        for name, digests in known.items():
            path = self.run.out / name
            if path.is_file() and (digest := file_hash(path)) in digests:
                found[path] = digest
        return found


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PhotoError(f"{path}: cannot be read: {error.strerror or error}") from None


def _strip(before: np.ndarray, after: np.ndarray) -> bytes:
    gap = np.ones((len(before), GAP, 3), np.float32)
    return Photo.from_array(np.concatenate([before, gap, after], axis=1)).encode()
