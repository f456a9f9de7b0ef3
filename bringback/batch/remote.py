"""Photos and results in object stores (s3://, gs:// and others), through fsspec and a temporary folder, the desk."""

import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bringback.batch.jobs import MANIFEST, Job, Tell, no_pictures, plan, silent
from bringback.batch.locks import Locks, locks_in
from bringback.batch.manifest import Entry, Manifest, OnPhoto, OnStart
from bringback.batch.runner import FolderRestorer
from bringback.errors import UsageError
from bringback.images.shards import is_picture
from bringback.pipeline import Pipeline
from bringback.runtime.files import file_hash

PARTS = f"{MANIFEST}.d/"
PART = re.compile(re.escape(PARTS) + r"([0-9]{15})\.jsonl")
GROUP = 16  # photos processed at a time, while as many are downloaded


def is_remote(place: str) -> bool:
    """Whether `place` is a URL other than file://."""
    scheme, mark, _ = place.partition("://")
    return bool(mark) and scheme != "file"


def restore_remote(
    inputs: Sequence[str],
    out: str,
    pipeline: Pipeline,
    *,
    on_start: OnStart | None = None,
    on_photo: OnPhoto | None = None,
    tell: Tell = silent,
    **choices: Any,
) -> list[Entry]:
    """`bringback.batch.runner.restore_folder` for fsspec URLs as `inputs`, `out` or both, with the same `choices`.

    A few photos at a time are downloaded, restored in a temporary folder and uploaded to `out`, each completely or not
    at all, after what is new in the manifest: its parts are joined at the end of the run. Photos that the manifest has
    as done with the same settings are not restored again, nor are their results downloaded. An interrupted run can be
    resumed. Object stores have no locks: only one run at a time may use a remote `out`, which supports neither
    `save_stages` nor `compare`. Failed transfers are failed entries.

    Raises `UsageError` before anything is written, also for a name that leads out of `out` or an unreachable store;
    ModuleNotFoundError without fsspec or its package for a store; OSError if the manifest cannot be uploaded.
    """
    if is_remote(out) and (choices.get("save_stages") or choices.get("compare")):
        raise UsageError(f"{out}: stages and strips are written into local folders alone")
    dry, entries = choices.get("dry_run", False), list[Entry]()
    with TemporaryDirectory(prefix="bringback-") as folder:
        desk = _Desk(Path(folder), inputs, out, tell)
        if on_start:
            on_start(len(desk.jobs))
        restorer = FolderRestorer(desk.out, pipeline, **choices)
        manifest = restorer.manifest = _Manifest(restorer.claims, desk)
        restorer.check(desk.jobs)  # all of them: `run` checks only its own group
        groups = [desk.jobs[begin : begin + GROUP] for begin in range(0, len(desk.jobs), GROUP)]
        with nullcontext() if dry else locks_in(desk.out), ThreadPoolExecutor(1, "fetch") as pool:
            ahead = pool.submit(desk.fetch, groups[0], restorer)
            try:
                for number, group in enumerate(groups, 1):
                    ahead.result()
                    if number < len(groups):
                        ahead = pool.submit(desk.fetch, groups[number], restorer)
                    finished: list[Entry] = []
                    try:
                        restorer.run(group, on_photo=finished.append)
                    finally:  # finished photos are uploaded after an interruption too
                        desk.put_manifest()
                        for entry in map(desk.told, finished):
                            desk.put(entry, manifest)
                            entries.append(entry)
                            if on_photo:
                                on_photo(entry)
                        desk.clear(group)
            finally:
                desk.join_manifest()  # with the failed uploads
    return entries


class _Desk:
    """A temporary folder with an empty file for each photo of a store, for `plan`; only a few have content at a time.

    `out` is the folder to restore into, a part of the desk if the real one is remote.
    """

    def __init__(self, folder: Path, inputs: Sequence[str], out: str, tell: Tell = silent) -> None:
        self.folder, self.there, self.size = folder, set[str](), 0
        self.store: Any = None  # of the results; `root`: their path; `there`: files in it
        self.parts: list[str] = []  # of the manifest, in the store; `size`: of what of it is there
        self.root = ""
        self.out = folder / "out" if is_remote(out) else _local(out)
        self.names: dict[str, str] = {}  # real names by paths on the desk
        self.keys: dict[Path, tuple[Any, str]] = {}  # the store and key of each photo
        self.problems: dict[str, str] = {}
        self.others: list[Path] = []  # files in a store that are not pictures
        if is_remote(out):
            self.names[str(self.out)] = out.rstrip("/")
            self.store, self.root = _reach(out)
        places = [
            self._lay(number, given, out) if is_remote(given) else _local(given) for number, given in enumerate(inputs)
        ]
        if self.store:
            self.there = {key.removeprefix(self.root).lstrip("/") for key in _ask(out, self.store.find, self.root)}
            self.out.mkdir()
            self._get_manifest(out)
        try:
            self.jobs = plan(places, self.out, tell)
        except UsageError as error:
            raise UsageError(self.shown(str(error))) from None
        if self.others:
            tell(no_pictures(self.others))
        originals = {key for store, key in self.keys.values() if type(store) is type(self.store)}
        for job in self.jobs:
            if self.store and f"{self.root}/{job.output.relative_to(self.out).as_posix()}" in originals:
                raise UsageError(f"{self.shown(str(job.output))} is an input itself: choose another output folder")
        self.sources = {job.relative.as_posix(): str(job.source) for job in self.jobs}

    def _lay(self, number: int, given: str, out: str) -> Path:
        place, top = self.folder / f"in-{number:06}", given.rstrip("/")
        store, root = _reach(given)
        single = _ask(given, store.isfile, root)
        keys = [root] if single else sorted(_ask(given, store.find, root))
        if single:
            top, _, _ = top.rpartition("/")
        elif type(store) is type(self.store) and f"{self.root}/".startswith(f"{root}/"):
            raise UsageError(f"the output {out} is inside the input {given}: choose one outside")
        self.names[str(place)] = top
        place.mkdir()
        for key in keys:
            relative = root.rpartition("/")[2] if single else key.removeprefix(root).removeprefix("/")
            if not single and not is_picture(Path(relative)):
                self.others.append(Path(relative))
                continue
            if {"", ".", ".."} & set(re.split(r"[/\\]", relative)) or Path(relative).drive or "\0" in relative:
                raise UsageError(f"{top}/{relative}: a name that leads out of its folder: rename it, or leave it out")
            path = place / relative
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch(exist_ok=False)
            except OSError as error:  # too long, taken by a folder, or different from another only in case
                reason = f"no name for a file on this machine: {error.strerror}"
                raise UsageError(f"{top}/{relative}: {reason}: rename it, or leave it out") from None
            self.keys[path] = store, key
        return place / root.rpartition("/")[2] if single else place

    def shown(self, text: str) -> str:
        """The text with real names for paths on the desk."""
        for place, name in self.names.items():
            text = text.replace(place, name)
        return text

    def told(self, entry: Entry) -> Entry:
        """The entry with real names, and the reason of a failed download."""
        entry = {**entry, **{key: self.shown(entry[key]) for key in ("input", "output", "message")}}
        if entry["status"] == "failed":
            entry["message"] = self.problems.get(entry["photo"], entry["message"])
        return entry

    def fetch(self, jobs: Sequence[Job], restorer: FolderRestorer) -> None:
        """Download the photos, and those results in `out` that are needed to decide what to do."""
        for job in jobs:
            if job.problem:
                continue
            try:
                if job.source in self.keys:
                    store, key = self.keys[job.source]
                    store.get_file(key, str(job.source))
                name = job.output.relative_to(self.out).as_posix()
                if self.store and name in self.there:
                    job.output.parent.mkdir(parents=True, exist_ok=True)
                    job.output.touch()  # its existence may be enough
                    if self._may_be_redone(job, restorer):
                        self.store.get_file(f"{self.root}/{name}", str(job.output))
            except Exception as error:  # the type depends on the store
                self.problems[job.relative.as_posix()] = (
                    f"{self.shown(str(job.source))}: cannot be fetched: {_why(error)}"
                )
                if job.source in self.keys:
                    job.source.unlink(missing_ok=True)

    def _may_be_redone(self, job: Job, restorer: FolderRestorer) -> bool:
        before: Any = restorer.manifest and restorer.manifest.done.get(job.relative.as_posix())
        if not before:
            return False  # not a result of ours
        same = (
            before.get("settings") == restorer.settings_of(job) and before.get("weights") == restorer.pipeline.weights
        )
        masks = before.get("mask") or job.relative in restorer.masks
        return bool(not same or masks or before.get("earlier") or before.get("sha256") != file_hash(job.source))

    def put(self, entry: Entry, manifest: Manifest) -> None:
        """Upload a result; on failure its entry becomes a failed one."""
        if not self.store or entry["status"] != "done":
            return
        try:
            for name in entry["written"]:
                self.store.pipe_file(f"{self.root}/{name}", (self.out / name).read_bytes())  # completely or not at all
        except Exception as error:
            entry |= {"status": "failed", "message": f"{entry['output']}: cannot be put: {_why(error)}"}
            manifest.add(entry)

    def _get_manifest(self, out: str) -> None:
        """Download the manifest, with the parts that a run left which could not join them."""
        path = self.out / MANIFEST
        if MANIFEST in self.there:
            _ask(out, self.store.get_file, f"{self.root}/{MANIFEST}", str(path))
            self.size = path.stat().st_size
        places = {name: int(part[1]) for name in self.there if (part := PART.fullmatch(name))}
        self.parts = sorted(places)
        for name in self.parts:
            if places[name] == self.size:  # others were joined before
                with path.open("ab") as stream:
                    stream.write(_ask(out, self.store.cat_file, f"{self.root}/{name}"))
                self.size = path.stat().st_size

    def put_manifest(self) -> None:
        """Upload what was added to the manifest, as a part of its own, named by its place; raises OSError."""
        path = self.out / MANIFEST
        if self.store and path.exists() and path.stat().st_size != self.size:
            with path.open("rb") as stream:
                stream.seek(self.size)
                added = stream.read()
            name = f"{PARTS}{self.size:015}.jsonl"
            self._put(name, added)
            self.parts.append(name)
            self.size += len(added)

    def join_manifest(self) -> None:
        """Upload the whole manifest once, in place of its parts; raises OSError."""
        self.put_manifest()
        if self.store and self.parts:
            self._put(MANIFEST, (self.out / MANIFEST).read_bytes())
            with suppress(Exception):  # those that stay are known by their place; the first one goes first
                for name in self.parts:
                    self.store.rm_file(f"{self.root}/{name}")
            self.parts = []

    def _put(self, name: str, data: bytes) -> None:
        try:
            self.store.pipe_file(f"{self.root}/{name}", data)
        except Exception as error:  # the type depends on the store
            raise OSError(f"{self.shown(str(self.out / MANIFEST))}: cannot be put: {_why(error)}") from None

    def clear(self, jobs: Sequence[Job]) -> None:
        """Delete photos from the desk, and results for a remote `out`."""
        for job in jobs:
            if job.source in self.keys:
                job.source.unlink(missing_ok=True)
            if self.store and not job.problem:
                job.output.unlink(missing_ok=True)


class _Manifest(Manifest):
    """A manifest with real names in the file and paths on the desk in memory."""

    def __init__(self, claims: Locks, desk: _Desk) -> None:
        self.desk = desk
        super().__init__(claims)

    def says(self, entry: Entry) -> bool:
        """The same, of an entry with paths on the desk."""
        return super().says(self.desk.told(entry))

    def add(self, entry: Entry) -> None:
        """Append an entry with real names."""
        super().add(self.desk.told(entry))

    def _take_in(self, line: bytes) -> None:
        with suppress(ValueError, AttributeError, KeyError):
            entry = json.loads(line)
            source = self.desk.sources[entry.get("photo")]
            if entry.get("input") == self.desk.shown(source):
                line = json.dumps({**entry, "input": source}).encode()
        super()._take_in(line)


def _local(place: str) -> Path:
    return Path(place.removeprefix("file://"))


def _reach(place: str) -> tuple[Any, str]:
    """The fsspec file system of a URL and the path within it."""
    try:
        from fsspec.core import url_to_fs

        store, root = url_to_fs(place)
        store.invalidate_cache()
    except ImportError:  # of fsspec or of its package for this store
        raise ModuleNotFoundError(f'{place}: wants what is not installed: pip install "bringback[cloud]"') from None
    except Exception as error:
        raise UsageError(f"{place}: cannot be reached: {_why(error)}") from None
    return store, root.rstrip("/")


def _ask(place: str, do: Any, *given: str) -> Any:
    try:
        return do(*given)
    except Exception as error:  # no network, no permission, no bucket: the type depends on the store
        raise UsageError(f"{place}: cannot be reached: {_why(error)}") from None


def _why(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0] or type(error).__name__
