"""The manifest: the outcome of each photo as one JSON line; and the loop over photos that writes such entries."""

import errno
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

from bringback.batch.jobs import MANIFEST, Job
from bringback.batch.locks import Locks, locks_in
from bringback.errors import PhotoError, UsageError, WriteError
from bringback.runtime.files import leads_out

logger = logging.getLogger(__name__)

Entry = dict[str, Any]
OnStart = Callable[[int], None]  # called with the number of photos
OnPhoto = Callable[[Entry], None]  # called with the entry of each photo
CLAIMED = "another run is working on it"
ALREADY_DONE = "already done with the same settings"
KEPT = ("input", "sha256", "mask", "settings", "weights", "extras", "written")  # what a later run needs


def new_entry(job: Job, output: Path) -> Entry:
    """The initial entry of a photo."""
    return {
        "photo": job.relative.as_posix(),
        "input": str(job.source),
        "output": str(output),
        "status": "done",
        "seconds": 0.0,
        "stages": {},
        "faces": {"count": 0, "each": []},
        "warnings": [],
        "message": "",
    }


def as_line(entry: Entry) -> str:
    """One line of JSON."""
    return json.dumps(entry, default=float)  # float: NumPy and torch numbers


class Manifest:
    """`manifest.jsonl` in an output folder; a line is added as soon as a photo is finished.

    `done` has, by the photo's relative path, what a later run needs of its last finished entry, with `earlier`, the
    hashes of older versions of its files. Truncated lines are ignored. Several processes may add lines; `refresh` reads
    theirs. What its last line says of a photo is not said again, so that it does not grow by runs that change nothing.
    """

    def __init__(self, claims: Locks) -> None:
        """Raises `UsageError` if the manifest is a symbolic link, which could point anywhere."""
        self.path, self._claims, self._lock = claims.folder / MANIFEST, claims, Lock()
        if self.path.is_symlink():
            raise UsageError(f"{self.path} is a link: put the file itself there, or choose another output folder")
        self.done: dict[str, Entry] = {}
        self._last: dict[str, str] = {}  # outcomes in the photos' last lines
        self._read, self._same = 0, dict[str, Any]()
        self.refresh()

    def refresh(self) -> None:
        """Read the lines added since the last call."""
        with self._lock, suppress(FileNotFoundError), self.path.open("rb") as stream:
            if os.fstat(stream.fileno()).st_size < self._read:
                self._read = 0  # truncated or replaced: read all of it
            stream.seek(self._read)
            for line in stream:
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                self._take_in(line)

    def _take_in(self, line: bytes) -> None:
        try:
            entry = json.loads(line)
        except ValueError:
            return
        if not isinstance(entry, dict) or "photo" not in entry:
            return
        self._last[entry["photo"]] = _outcome(entry)
        if entry.get("status") != "done":
            return
        kept = {key: entry[key] for key in KEPT if key in entry}
        for key in ("settings", "weights", "extras"):  # equal for thousands of photos: stored once
            if key in kept:
                kept[key] = self._same.setdefault(json.dumps(kept[key], sort_keys=True), kept[key])
        if before := self.done.get(entry["photo"]):
            earlier = {name: list(hashes) for name, hashes in before.get("earlier", {}).items()}
            for name, digest in before.get("written", {}).items():
                earlier.setdefault(name, []).append(digest)
            now = kept.get("written", {})  # may equal a version before the last one
            earlier = {name: [one for one in hashes if one != now.get(name)] for name, hashes in earlier.items()}
            if any(earlier.values()):
                kept["earlier"] = earlier
        self.done[entry["photo"]] = kept

    def says(self, entry: Entry) -> bool:
        """Whether the last line of the photo says the same of it as an entry that is not of a new result."""
        return self._last.get(entry["photo"]) == _outcome(entry)

    def add(self, entry: Entry) -> None:
        """Append an entry, completely or not at all; thread-safe. Raises OSError."""
        line = as_line(entry).encode() + b"\n"
        with self._claims.manifest(), self.path.open("ab+", buffering=0) as stream:
            end = stream.seek(0, os.SEEK_END)
            if end and (stream.seek(end - 1), stream.read(1))[1] != b"\n":
                line = b"\n" + line  # after a line that a killed process truncated
            try:
                if stream.write(line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                if entry["status"] == "done":
                    os.fsync(stream.fileno())
            except BaseException:
                stream.truncate(end)
                raise


def _outcome(entry: Entry) -> str:
    """A hash of what happened to a photo, and of which file by which settings; "" if it is done."""
    message = str(entry.get("message", ""))
    if message in ("", ALREADY_DONE):
        return ""
    told = [message, *(entry.get(key) for key in ("sha256", "mask", "settings", "weights"))]
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=float).encode()).hexdigest()


def each(
    jobs: Sequence[Job],
    work: Callable[[Job, Entry], None],
    output: Callable[[Job], Path],
    out: Path,
    on_start: OnStart | None,
    on_photo: OnPhoto | None,
) -> list[Entry]:
    """Process each photo, whose result goes to `output(job)` in `out`; returns all entries, including failed ones.

    Photos that another process is working on are skipped. Raises `UsageError` if nothing can be written in `out`.
    """
    if on_start:
        on_start(len(jobs))
    entries = []
    with locks_in(out) as claims:
        for job in jobs:
            entry = new_entry(job, output(job))
            if job.problem:
                entry |= {"status": "failed", "message": f"{job.source}: {job.problem}"}
            elif claims.take(entry["photo"]):
                try:
                    attempt(entry, partial(_inside, out, work, job))
                finally:
                    claims.give_back(entry["photo"])
            else:
                entry |= {"status": "skipped", "message": f"{job.source}: {CLAIMED}"}
            entries.append(entry)
            if on_photo:
                on_photo(entry)
    return entries


def _inside(out: Path, work: Callable[[Job, Entry], None], job: Job, entry: Entry) -> None:
    stay_inside(out, [Path(entry["output"])])
    work(job, entry)


def stay_inside(out: Path, paths: Iterable[Path]) -> None:
    """Raise `PhotoError` if a link leads one of the paths out of the output folder."""
    if led := leads_out(out, paths):
        raise PhotoError(f"{led}: a link leads out of the output folder: nothing is written there")


def attempt(entry: Entry, work: Callable[[Entry], None]) -> Entry:
    """Process one photo and record any error in its entry; only interruptions propagate."""
    begin = time.perf_counter()
    try:
        work(entry)
    except (PhotoError, WriteError) as error:
        logger.debug("%s", error, exc_info=True)
        entry |= {"status": "failed", "message": str(error)}
    except Exception as error:  # one bad photo must not end the run
        logger.debug("%s", entry["input"], exc_info=True)
        first = (str(error).splitlines() or [""])[0]
        entry |= {"status": "failed", "message": f"{entry['input']}: {type(error).__name__}: {first}"}
    if entry["status"] != "done":
        entry["seconds"] = seconds_since(begin)
    return entry


def seconds_since(begin: float) -> float:
    """Seconds since a `time.perf_counter()`, rounded to milliseconds."""
    return round(time.perf_counter() - begin, 3)


def refuse_existing(paths: Iterable[Path], advice: str) -> None:
    """Raise `PhotoError` with the advice if one of the files exists."""
    for path in paths:
        if os.path.lexists(path):
            raise PhotoError(f"{path} exists already: {advice}")
