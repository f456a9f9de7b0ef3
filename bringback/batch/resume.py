"""What earlier runs left in an output folder: what is done, what can be completed, which files are ours."""

import os
from collections.abc import Mapping
from pathlib import Path

from bringback.batch.jobs import Job
from bringback.batch.manifest import Entry
from bringback.runtime.files import file_hash, leads_out, passing

# Settings that earlier versions used without recording them.
_DEFAULTS = {"strength": 1.0, "scale": 1.0, "dtype": "float32", "tile": None}


def same_work(entry: Entry, before: Entry, extras: Mapping[str, bool]) -> bool:
    """Whether an earlier entry has the same photo, mask, weights and settings, and all requested `extras`."""
    settings = _DEFAULTS | before.get("settings", {})
    made = before.get("extras", {})
    same = all(before.get(key) == entry[key] for key in ("sha256", "mask", "weights"))
    return same and settings == entry["settings"] and all(made.get(name) or not extras[name] for name in extras)


def result_is_there(out: Path, job: Job, before: Entry) -> bool:
    """Whether the result of an earlier entry exists; a killed run may have left an even older file in its place."""
    if not job.output.exists():
        return False
    earlier = before.get("earlier", {}).get(job.output.relative_to(out).as_posix(), [])
    return not earlier or file_hash(job.output) not in earlier


def complete(out: Path, before: Entry) -> None:
    """Rename temporary files that a killed run had completely written and recorded in the manifest."""
    for name, digest in before.get("written", {}).items():
        path = out / name
        part = passing(path)
        if leads_out(out, [path]) or part.is_symlink() or not part.is_file():
            continue
        known = before.get("earlier", {}).get(name, [])
        if file_hash(part) == digest and (not os.path.lexists(path) or file_hash(path) in known):
            os.replace(part, path)


def own_files(out: Path, job: Job, before: Entry | None) -> dict[Path, str]:
    """The files that earlier runs wrote for this input, if unchanged since, with their hashes."""
    if not before or Path(before["input"]).resolve() != job.source.resolve():
        return {}
    known = {name: [digest] for name, digest in before.get("written", {}).items()}
    for name, digests in before.get("earlier", {}).items():
        known.setdefault(name, []).extend(digests)
    found = {}
    for name, digests in known.items():
        path = out / name
        if path.is_file() and (digest := file_hash(path)) in digests:
            found[path] = digest
    return found
