"""From the inputs of a command to its outputs: which photos there are, where each goes, what belongs to it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bringback.shards import find_pictures, output_name

MANIFEST = "manifest.jsonl"  # in an output folder


class UsageError(ValueError):
    """A command that cannot be carried out as it was given; one line."""


@dataclass(frozen=True)
class Job:
    """One photo to work on: where it lies, its place in the mirrored tree, where its result goes.

    `stem` is `relative` without its extension, or with it where two photos share the stem or it is a photo's name.
    """

    source: Path
    relative: Path
    output: Path
    stem: Path


def plan(inputs: Sequence[Path], out: Path) -> list[Job]:
    """The photos of `inputs` (files, folders with all below them), the tree of each folder mirrored in `out`.

    From folders come the files with a picture's suffix. Raises `UsageError` when an input is missing or holds no photo,
    when `out` is or lies in an input folder, when a result would lie on an input or two results in one place.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"the output {out} is not a folder")
    sources: dict[Path, Path] = {}
    for given in inputs:
        if given.is_dir():
            if out.resolve().is_relative_to(given.resolve()):
                raise UsageError(f"the output folder {out} is inside the input {given}: choose one outside")
            found = find_pictures(given)
            if not found:
                raise UsageError(f"no photos in {given}")
            pairs = [(path, path.relative_to(given)) for path in found]
        elif given.exists():
            pairs = [(given, Path(given.name))]
        else:
            raise UsageError(f"no such file or folder: {given}")
        for path, relative in pairs:
            other = sources.setdefault(relative, path)
            if not other.samefile(path):
                raise UsageError(f"{other} and {path} would both be written to {out / relative}")
    originals = {path.resolve() for path in sources.values()}
    stems = Counter(relative.with_suffix("") for relative in sources)
    outputs: dict[Path, Path] = {}
    jobs = []
    for relative, path in sources.items():
        output = out / output_name(relative)
        if output.resolve() in originals:
            raise UsageError(f"{output} is an input itself: choose another output folder")
        if output == out / MANIFEST:
            raise UsageError(f"{path} would be written over the manifest: rename it")
        if (other := outputs.setdefault(output, path)) != path:
            raise UsageError(f"{other} and {path} would both be written to {output}")
        stem = relative.with_suffix("")
        jobs.append(Job(path, relative, output, relative if stems[stem] > 1 or stem in sources else stem))
    return jobs


def plan_with_masks(inputs: Sequence[Path], out: Path, mask: Path | None) -> tuple[list[Job], dict[Path, Path]]:
    """`plan` and `pair_masks`; masks that lie among the photos are no photos. Raises `UsageError`."""
    jobs = plan(inputs, out)
    masks = pair_masks(jobs, mask)
    used = {path.resolve() for path in masks.values()}
    return [job for job in jobs if job.source.resolve() not in used], masks


def pair_masks(jobs: Sequence[Job], mask: Path | None) -> dict[Path, Path]:
    """The damage mask file of each photo that has one, by the photo's place in the tree.

    `mask` is one file for one photo, or a folder with `<stem>_mask.png` or `<stem>.png` in the places of the photos
    (any picture suffix; a stem with the photo's extension goes first). Raises `UsageError` when it is missing or fits
    no photo.
    """
    if mask is None:
        return {}
    if mask.is_file():
        if len(jobs) != 1:
            raise UsageError(f"{mask} is one mask for {len(jobs)} photos: give a folder of masks")
        return {jobs[0].relative: mask}
    if not mask.is_dir():
        raise UsageError(f"no such mask file or folder: {mask}")
    masks = {path.relative_to(mask).with_suffix(""): path for path in find_pictures(mask)}
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
