"""Whole folders: each photo once, bad ones do not stop the rest, the same command again goes on where it stopped."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from bringback import __version__
from bringback.batch import mask_png
from bringback.manifest import Entry, Manifest, OnPhoto, OnStart, each, refuse_existing, seconds_since, write_all
from bringback.photo import Photo, PhotoError
from bringback.pipeline import Pipeline, mask_array
from bringback.restoration import Restoration
from bringback.tree import Job, UsageError, pair_masks, plan

GAP = 8  # white pixels between before and after


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
    restorer = _Restorer(pipeline, out, masks, manifest, extras, overwrite, skip_existing)

    def finish(entry: Entry) -> None:
        if entry["status"] != "done":  # done ones are in it already, together with their files
            manifest.add(entry)
        if on_photo:
            on_photo(entry)

    return each(jobs, restorer, lambda job: job.output, on_start, finish)


@dataclass(frozen=True)
class _Restorer:
    pipeline: Pipeline
    out: Path
    masks: dict[Path, Path]
    manifest: Manifest
    extras: dict[str, bool]
    overwrite: bool
    skip_existing: bool

    def __call__(self, job: Job, entry: Entry) -> None:
        begin = time.perf_counter()
        mask = self.masks.get(job.relative)
        entry |= {
            "sha256": _sha256(job.source),
            "mask": _sha256(mask) if mask else None,
            "settings": {
                "stages": [stage.name for stage in self.pipeline.stages],
                "strength": self.pipeline.strength,
                **self.pipeline.settings,
            },
            "weights": self.pipeline.weights,
        }
        before = self.manifest.done.get(entry["photo"])
        if reason := self._reason_to_skip(job, entry, before):
            entry |= {"status": "skipped", "message": reason}
            return
        ours = self._ours(job, before)
        advice = "use --overwrite or --skip-existing"
        if not self.overwrite:
            refuse_existing({job.output} - ours.keys(), advice)
        restoration, files = self._restore(job, mask)
        if not self.overwrite:
            refuse_existing(files.keys() - ours.keys(), advice)
        written = ours | {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
        faces = [
            {"box": [round(float(side)) for side in face.box], "identity": face.identity, "status": face.status}
            for face in restoration.faces
        ]
        entry |= {
            "seconds": seconds_since(begin),
            "stages": restoration.notes,
            "faces": {"count": len(faces), "each": faces},
            "extras": self.extras,
            "written": {path.relative_to(self.out).as_posix(): digest for path, digest in written.items()},
            "device": self.pipeline.device,
            "threads": torch.get_num_threads(),
            "version": __version__,
        }
        write_all(files, after=lambda: self.manifest.add(entry))

    def _reason_to_skip(self, job: Job, entry: Entry, before: Entry | None) -> str | None:
        if not job.output.exists():
            return None
        if before:  # entries of earlier versions know no strength
            before = before | {"settings": {"strength": 1.0} | before.get("settings", {})}
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
        return {path: digest for path, digest in written.items() if path.is_file() and _sha256(path) == digest}

    def _restore(self, job: Job, mask: Path | None) -> tuple[Restoration, dict[Path, bytes]]:
        photo = Photo.read(job.source)
        files: dict[Path, bytes] = {}
        number = 0

        def keep(stage: str, restoration: Restoration) -> None:
            nonlocal number
            number += 1
            folder = self.out / "stages" / job.stem
            files[folder / f"{number}-{stage}.png"] = replace(restoration.result(), format="PNG", extra={}).encode()
            if stage == "scratches":
                files[folder / f"{number}-{stage}_mask.png"] = mask_png(restoration.damage())

        try:
            given = mask_array(mask) if mask else None
            restoration = self.pipeline.restore(photo, given, keep if self.extras["stages"] else None)
        except PhotoError as error:
            where = "" if mask and str(error).startswith(str(mask)) else f"{job.source}: "
            raise PhotoError(f"{where}{error}") from None
        result = restoration.result()
        if self.extras["compare"]:
            path = self.out / "compare" / job.relative.with_name(f"{job.relative.name}.png")
            files[path] = _strip(photo.pixels, result.pixels)
        files[job.output] = result.encode()  # last: where it is, all is
        return restoration, files


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise PhotoError(f"{path}: cannot be read: {error.strerror or error}") from None


def _strip(before: np.ndarray, after: np.ndarray) -> bytes:
    gap = np.ones((len(before), GAP, 3), np.float32)
    return Photo.from_array(np.concatenate([before, gap, after], axis=1)).encode()
