"""Plans a command: finds the photos among its inputs, their output files and their damage masks."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from bringback.errors import UsageError
from bringback.images.shards import RAW, output_name, survey

MANIFEST = "manifest.jsonl"  # in an output folder
SIDECARS = frozenset([".xmp", ".json", ".aae"])  # what other programs keep of a photo in files beside it
NAMED = 5  # files of each kind that are named when they are left out

_URL = re.compile(r"[A-Za-z][\w+.-]+:[/\\]")  # drives of Windows have one letter
Tell = Callable[[str], None]  # called with a line for each input that is skipped without losing a photo


@dataclass(frozen=True)
class Job:
    """One photo to process: its file, its path in the mirrored tree, and the file of its result.

    `stem` is `relative` without its extension, or with it if two photos share the stem or it is the name of another
    photo. A job with a `problem` is a folder or link that cannot be read; it is reported like a failed photo.
    `sidecars` are files beside the photo with its name and the suffix of captions or edits. `format` is the format to
    write, by Pillow's name, "" for the photo's own.
    """

    source: Path
    relative: Path
    output: Path
    stem: Path
    problem: str = ""
    sidecars: tuple[Path, ...] = ()
    format: str = ""


def silent(line: str) -> None:
    """Ignore the line."""


def plan(inputs: Sequence[Path], out: Path, tell: Tell = silent, *, follow_links: bool = True) -> list[Job]:
    """The photos of `inputs`: files, or folders with their subfolders, whose trees are mirrored in `out`.

    Folders, also linked ones unless `follow_links` is False, are searched for files with an image suffix; unreadable
    folders and links come last, as jobs with a problem. Raises `UsageError` if an input is missing
    or has no photos, if `out` is or lies in an input folder, or if a result would overwrite an input, the manifest or
    another result.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"the output {out} is not a folder")
    sources: dict[Path, Path] = {}
    problems: dict[Path, Job] = {}
    others: list[Path] = []
    beside: dict[Path, list[Path]] = {}  # sidecars by folder
    refuse_urls([*inputs, out])
    for given in inputs:
        if given.is_dir():
            if out.resolve().is_relative_to(given.resolve()):
                raise UsageError(f"the output folder {out} is inside the input {given}: choose one outside")
            found = survey(given, out, follow_links=follow_links)
            if given in found.unread:
                raise UsageError(f"{given}: {found.unread[given]}")
            pairs = [(path, path.relative_to(given)) for path in found.pictures]
            for path, reason in sorted(found.unread.items()):
                relative = path.relative_to(given)
                problems[path] = Job(path, relative, out / relative, relative, reason)
            for path, reason in sorted(found.passed.items()):
                tell(f"{path}: {reason}")
            others += found.others
            for path in found.others:
                if is_sidecar(path):
                    beside.setdefault(path.parent, []).append(path)
            if not found.pictures and not found.unread:
                raise UsageError(f"no photos in {given}")
        elif given.exists():
            pairs = [(given, Path(given.name))]
            if given.parent not in beside:
                with suppress(OSError):  # the folder may not be listed
                    beside[given.parent] = [path for path in given.parent.iterdir() if is_sidecar(path)]
        else:
            raise UsageError(f"no such file or folder: {given}")
        for path, relative in pairs:
            other = sources.setdefault(relative, path)
            if other != path and not _same(other, path):
                raise UsageError(f"{other} and {path} would both be written to {out / relative}")
    protect(sources.values(), (out / output_name(relative) for relative in sources))
    stems = Counter(relative.with_suffix("") for relative in sources)
    sidecars = shared_out(beside, sources.values())
    outputs: dict[Path, Path] = {}
    jobs = []
    for relative, path in sources.items():
        output = out / output_name(relative)
        if output == out / MANIFEST:
            raise UsageError(f"{path} would be written over the manifest: rename it")
        if (other := outputs.setdefault(output, path)) != path:
            raise UsageError(f"{other} and {path} would both be written to {output}")
        stem = relative.with_suffix("")
        own = relative if stems[stem] > 1 or stem in sources else stem
        jobs.append(Job(path, relative, output, own, sidecars=tuple(sorted(sidecars.get(path, ())))))
    others = sorted(set(others).difference(*(job.sidecars for job in jobs)))
    if others:
        tell(no_pictures(others))
    return jobs + list(problems.values())


def refuse_urls(places: Iterable[Path]) -> None:
    """Raise `UsageError` if one of the places is a URL, and not below a folder named like its scheme."""
    for place in places:
        if _URL.match(str(place)) and not Path(place.parts[0]).exists():
            if str(place).startswith("file:"):
                raise UsageError(f"{place}: give the path without file://")
            raise UsageError(f"{place}: restore and faces alone take URLs; copy the photos into a folder here")


def _is_raw(path: Path) -> bool:
    return path.suffix.lower() in RAW


def is_sidecar(path: Path) -> bool:
    """Whether a file has the suffix of captions or edits of a photo."""
    return path.suffix.lower() in SIDECARS and path.is_file()


def shared_out(beside: Mapping[Path, Iterable[Path]], photos: Iterable[Path]) -> dict[Path, list[Path]]:
    """The sidecars of each photo: named like it, with its suffix or a part of it, or like its stem.

    Of photos with the same stem the RAW gets the latter, which editors of RAW files write, else the first.
    """
    by_name, by_stem = {photo: photo for photo in photos}, dict[Path, Path]()
    for photo in by_name:
        stem = photo.with_suffix("")
        if stem not in by_stem or (_is_raw(photo) and not _is_raw(by_stem[stem])):
            by_stem[stem] = photo
    shared: dict[Path, list[Path]] = {}
    for sidecar in chain.from_iterable(beside.values()):
        ends = [at for at, letter in enumerate(sidecar.name) if letter == "." and at]
        named = (by_name.get(sidecar.with_name(sidecar.name[:end])) for end in reversed(ends))
        owner = next((photo for photo in named if photo), by_stem.get(sidecar.with_suffix("")))
        if owner:
            shared.setdefault(owner, []).append(sidecar)
    return shared


def _same(one: Path, other: Path) -> bool:
    """Whether two paths are the same file; False for inaccessible ones, which fail later, when they are read."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def no_pictures(paths: Sequence[Path]) -> str:
    """The message about files that are not pictures of a format that is read: how many of each kind, and some names."""
    kinds: dict[str, list[str]] = {}
    for path in paths:
        kinds.setdefault(path.suffix.lower() or "no suffix", []).append(path.name)
    shown = [
        f"{len(names)} {kind} ({', '.join(names[:NAMED])}{', ...' if len(names) > NAMED else ''})"
        for kind, names in sorted(kinds.items())
    ]
    count = f"{len(paths)} file{'s' * (len(paths) > 1)}"
    return f"{count} left out, no picture or of a format that is not read: {', '.join(shown)}"


def protect(inputs: Iterable[Path], files: Iterable[Path], folders: Iterable[Path] = ()) -> None:
    """Raise `UsageError` if one of the `files` to write is an input, or one of the `folders` to write into has one.

    Inputs are all files of the user that a command reads: photos and masks.
    """
    kept = {path.resolve(): path for path in inputs}
    below = {path.parent: shown for path, shown in kept.items()}
    hit = next((path for path in files if path.resolve() in kept), None)
    hit = hit or next((below[path.resolve()] for path in folders if path.resolve() in below), None)
    if hit:
        raise UsageError(f"{hit} is an input itself: choose another output")


def plan_with_masks(
    inputs: Sequence[Path], out: Path, mask: Path | None, tell: Tell = silent, *, follow_links: bool = True
) -> tuple[list[Job], dict[Path, Path]]:
    """`plan` and `pair_masks`; masks among the inputs are not photos. Raises `UsageError`."""
    jobs = plan(inputs, out, tell, follow_links=follow_links)
    masks = pair_masks(jobs, mask)
    used = {path.resolve() for path in masks.values()}
    jobs = [job for job in jobs if job.source.resolve() not in used]
    protect(masks.values(), (job.output for job in jobs))
    return jobs, masks


def pair_masks(jobs: Sequence[Job], mask: Path | None) -> dict[Path, Path]:
    """The damage mask file of each photo that has one, by the photo's relative path.

    `mask` is one file for one photo, or a folder with `<stem>_mask.png` or `<stem>.png` at the photos' relative paths
    (any image suffix; a stem with the photo's extension takes precedence). Raises `UsageError` if it is missing, cannot
    be read or matches no photo.
    """
    if mask is None:
        return {}
    lost, jobs = [job.source for job in jobs if job.problem], [job for job in jobs if not job.problem]
    if mask.is_file():
        if len(jobs) != 1:
            raise UsageError(f"{mask} is one mask for {len(jobs)} photos: give a folder of masks")
        return {jobs[0].relative: mask}
    if not mask.is_dir():
        raise UsageError(f"no such mask file or folder: {mask}")
    below = survey(mask)
    # An unreadable path may hide a mask, so it is an error, unless it is reported among the photos anyway.
    for path in sorted(below.unread.keys() - set(lost)):
        raise UsageError(f"{path}: {below.unread[path]}")
    masks = {path.relative_to(mask).with_suffix(""): path for path in below.pictures}
    photos = {job.source.resolve() for job in jobs}
    found: dict[Path, Path] = {}
    for job in jobs:
        bare = job.relative.with_suffix("")
        names = [_marked(job.relative), _marked(bare), job.relative, bare]
        # If masks and photos share a folder, a plain stem matches a photo, which is not a mask.
        fitting = [masks[name] for name in names if name in masks]
        fitting = [path for path in fitting if path.stem.endswith("_mask") or path.resolve() not in photos]
        if fitting and fitting[0].resolve() != job.source.resolve():
            found[job.relative] = fitting[0]
    if not found:
        raise UsageError(f"no mask in {mask} belongs to a photo: the mask of a.jpg is named a_mask.png or a.png")
    return found


def _marked(stem: Path) -> Path:
    return stem.with_name(f"{stem.name}_mask")


def mask_path(job: Job, out: Path) -> Path:
    """Where the damage mask of a photo is written: `<stem>_mask.png`."""
    return out / job.stem.with_name(f"{job.stem.name}_mask.png")
