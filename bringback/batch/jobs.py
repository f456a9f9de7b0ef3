"""From the inputs of a command to its outputs: which photos there are, where each goes, what belongs to it."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bringback.errors import UsageError
from bringback.images.shards import output_name, survey

MANIFEST = "manifest.jsonl"  # in an output folder

Tell = Callable[[str], None]  # is told, a line each, what of the inputs is left out, though no photo is lost by it


@dataclass(frozen=True)
class Job:
    """One photo to work on: where it lies, its place in the mirrored tree, where its result goes.

    `stem` is `relative` without its extension, or with it where two photos share the stem or it is a photo's name. With
    a `problem` it stands for a folder, or a link, that cannot be read: all there is to do is to say so, as of a photo.
    """

    source: Path
    relative: Path
    output: Path
    stem: Path
    problem: str = ""


def silent(line: str) -> None:
    """Tell nobody."""


def plan(inputs: Sequence[Path], out: Path, tell: Tell = silent) -> list[Job]:
    """The photos of `inputs` (files, folders with all below them), the tree of each folder mirrored in `out`.

    From folders, linked ones too, come the files with a picture's suffix; what cannot be read comes last, as jobs with
    a problem. Raises `UsageError` when an input is missing or holds no photo, when `out` is or lies in an input folder,
    when a result would lie on an input or two results in one place.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"the output {out} is not a folder")
    sources: dict[Path, Path] = {}
    problems: dict[Path, Job] = {}
    others = 0
    for given in inputs:
        if given.is_dir():
            if out.resolve().is_relative_to(given.resolve()):
                raise UsageError(f"the output folder {out} is inside the input {given}: choose one outside")
            found = survey(given, out)
            if given in found.unread:
                raise UsageError(f"{given}: {found.unread[given]}")
            pairs = [(path, path.relative_to(given)) for path in found.pictures]
            for path, reason in sorted(found.unread.items()):
                relative = path.relative_to(given)
                problems[path] = Job(path, relative, out / relative, relative, reason)
            for path, reason in sorted(found.passed.items()):
                tell(f"{path}: {reason}")
            others += found.others
            if not found.pictures and not found.unread:
                raise UsageError(f"no photos in {given}")
        elif given.exists():
            pairs = [(given, Path(given.name))]
        else:
            raise UsageError(f"no such file or folder: {given}")
        for path, relative in pairs:
            other = sources.setdefault(relative, path)
            if other != path and not _same(other, path):
                raise UsageError(f"{other} and {path} would both be written to {out / relative}")
    if others:
        tell(no_pictures(others))
    protect(sources.values(), (out / output_name(relative) for relative in sources))
    stems = Counter(relative.with_suffix("") for relative in sources)
    outputs: dict[Path, Path] = {}
    jobs = []
    for relative, path in sources.items():
        output = out / output_name(relative)
        if output == out / MANIFEST:
            raise UsageError(f"{path} would be written over the manifest: rename it")
        if (other := outputs.setdefault(output, path)) != path:
            raise UsageError(f"{other} and {path} would both be written to {output}")
        stem = relative.with_suffix("")
        jobs.append(Job(path, relative, output, relative if stems[stem] > 1 or stem in sources else stem))
    return jobs + list(problems.values())


def _same(one: Path, other: Path) -> bool:
    """Whether two paths are one file; those that cannot be looked at are not, and fail when they are read."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def no_pictures(count: int) -> str:
    """The line that tells of files that are no pictures."""
    return f"{count} files that are no pictures left out" if count > 1 else "1 file that is no picture left out"


def protect(inputs: Iterable[Path], files: Iterable[Path], folders: Iterable[Path] = ()) -> None:
    """Raise `UsageError` when one of the files to be written is an input, or one of the folders to be filled holds one.

    Inputs are whatever of the user's a command reads, photos and masks alike.
    """
    kept = {path.resolve(): path for path in inputs}
    below = {path.parent: shown for path, shown in kept.items()}
    hit = next((path for path in files if path.resolve() in kept), None)
    hit = hit or next((below[path.resolve()] for path in folders if path.resolve() in below), None)
    if hit:
        raise UsageError(f"{hit} is an input itself: choose another output folder")


def plan_with_masks(
    inputs: Sequence[Path], out: Path, mask: Path | None, tell: Tell = silent
) -> tuple[list[Job], dict[Path, Path]]:
    """`plan` and `pair_masks`; masks that lie among the photos are no photos. Raises `UsageError`."""
    jobs = plan(inputs, out, tell)
    masks = pair_masks(jobs, mask)
    used = {path.resolve() for path in masks.values()}
    jobs = [job for job in jobs if job.source.resolve() not in used]
    protect(masks.values(), (job.output for job in jobs))
    return jobs, masks


def pair_masks(jobs: Sequence[Job], mask: Path | None) -> dict[Path, Path]:
    """The damage mask file of each photo that has one, by the photo's place in the tree.

    `mask` is one file for one photo, or a folder with `<stem>_mask.png` or `<stem>.png` in the places of the photos
    (any picture suffix; a stem with the photo's extension goes first). Raises `UsageError` when it is missing, cannot
    be read or fits no photo.
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
    # No photo may be restored without the mask that it has; what lies among the photos is told of with these.
    for path in sorted(below.unread.keys() - set(lost)):
        raise UsageError(f"{path}: {below.unread[path]}")
    masks = {path.relative_to(mask).with_suffix(""): path for path in below.pictures}
    photos = {job.source.resolve() for job in jobs}
    found: dict[Path, Path] = {}
    for job in jobs:
        bare = job.relative.with_suffix("")
        names = [_marked(job.relative), _marked(bare), job.relative, bare]
        # With the masks beside the photos a plain stem leads to a photo, and that is no mask.
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
