"""What became of each photo of a run, one JSON line each, and the rule that nothing is left half done."""

import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

from bringback.photo import PhotoError, write_beside
from bringback.tree import Job

Entry = dict[str, Any]
OnStart = Callable[[int], None]  # is told the number of photos
OnPhoto = Callable[[Entry], None]  # is told what became of each


def new_entry(job: Job, output: Path) -> Entry:
    """The entry of a photo that is about to be worked on."""
    return {
        "photo": job.relative.as_posix(),
        "input": str(job.source),
        "output": str(output),
        "status": "done",
        "seconds": 0.0,
        "stages": {},
        "faces": {"count": 0, "each": []},
        "message": "",
    }


def as_line(entry: Entry) -> str:
    """One line of JSON."""
    return json.dumps(entry, default=float)  # float: numbers that are numpy's or torch's


class Manifest:
    """`manifest.jsonl`: a line a photo is added the moment the photo is finished; earlier runs are read back.

    `done` is the last finished entry of each photo, by its place in the tree. A line cut short is passed over.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._lock = path, Lock()
        self.done: dict[str, Entry] = {}
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.exists() else [""]
        self._torn = bool(lines[-1])
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and entry.get("status") == "done" and "photo" in entry:
                self.done[entry["photo"]] = entry

    def add(self, entry: Entry) -> None:
        """Append an entry; several threads may."""
        with self._lock:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write("\n" * self._torn + as_line(entry) + "\n")
            self._torn = False
            if entry["status"] == "done":
                self.done[entry["photo"]] = entry


def each(
    jobs: Sequence[Job],
    work: Callable[[Job, Entry], None],
    output: Callable[[Job], Path],
    on_start: OnStart | None,
    on_photo: OnPhoto | None,
) -> list[Entry]:
    """Do the work on each photo in turn, whose result goes to `output(job)`; an entry for each, failed ones too."""
    if on_start:
        on_start(len(jobs))
    entries = []
    for job in jobs:
        entries.append(attempt(new_entry(job, output(job)), partial(work, job)))
        if on_photo:
            on_photo(entries[-1])
    return entries


def attempt(entry: Entry, work: Callable[[Entry], None]) -> Entry:
    """Do the work on one photo and put into its entry what became of it; only an interruption gets through."""
    begin = time.perf_counter()
    try:
        work(entry)
    except PhotoError as error:
        entry |= {"status": "failed", "message": str(error)}
    except Exception as error:  # one bad photo must not end the run
        first = (str(error).splitlines() or [""])[0]
        entry |= {"status": "failed", "message": f"{entry['input']}: {type(error).__name__}: {first}"}
    if entry["status"] != "done":
        entry["seconds"] = seconds_since(begin)
    return entry


def seconds_since(begin: float) -> float:
    """Seconds from a `time.perf_counter()` until now, in milliseconds' steps."""
    return round(time.perf_counter() - begin, 3)


def write_all(files: dict[Path, bytes], after: Callable[[], None] = lambda: None) -> None:
    """Write files and call `after`; if anything breaks off, take back the files that were not there before."""
    fresh = [path for path in files if not path.exists()]
    try:
        for path, data in files.items():
            try:
                write_beside(path, data)
            except OSError as error:
                raise PhotoError(f"{path}: cannot be written: {error.strerror or error}") from None
        after()
    except BaseException:  # Ctrl-C too
        for path in fresh:
            if path.is_file():
                path.unlink()
        raise


def refuse_existing(paths: Iterable[Path], advice: str) -> None:
    """Raise `PhotoError` with the advice when one of the files is there already."""
    for path in paths:
        if os.path.lexists(path):
            raise PhotoError(f"{path} exists already: {advice}")
