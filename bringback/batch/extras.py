"""Extra files that a run writes: strips and faces to compare or review, each photo after each stage, sidecars."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from bringback.batch.jobs import Job, protect
from bringback.batch.masks import mask_png
from bringback.errors import PhotoError, UsageError
from bringback.images import xmp
from bringback.images.photo import Photo
from bringback.images.shards import output_name
from bringback.stages.record import Restoration

GAP = 8  # white pixels between the pictures of a strip


def strip_path(out: Path, job: Job) -> Path:
    """The file for a photo's before-and-after strip."""
    return out / "compare" / job.relative.with_name(f"{job.relative.name}.png")


def review_path(folder: Path, job: Job) -> Path:
    """The file for the strip of a photo that wants a look."""
    return folder / job.relative.with_name(f"{job.relative.name}.png")


def strip_png(*pictures: np.ndarray) -> bytes:
    """Pictures (H, W, 3) side by side: a photo before and after, or before, its damage mask, and after.

    All get the size of the last one: where that was enlarged, its fine detail is what is to be compared.
    """
    height, width = pictures[-1].shape[:2]
    pictures = tuple(
        one
        if one.shape[:2] == (height, width)
        else cv2.resize(one, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1)
        for one in pictures
    )
    gap = np.ones((len(pictures[0]), GAP, 3), np.float32)
    parts = [part for picture in pictures for part in (gap, picture)]
    return Photo.from_array(np.concatenate(parts[1:], axis=1)).encode()


def review_png(restoration: Restoration, after: np.ndarray) -> bytes:
    """A photo before, its damage mask, and the photo after."""
    mask = restoration.damage()[0, 0].clamp(0, 1).cpu().numpy()
    return strip_png(restoration.photo.pixels, np.repeat(mask[..., None], 3, axis=2), after)


def face_path(folder: Path, job: Job, number: int) -> Path:
    """The file for a face of a photo, by its number in the manifest's list, counted from 1."""
    return folder / job.stem.with_name(f"{job.stem.name}-face-{number}.png")


def face_pictures(folder: Path, job: Job, restoration: Restoration, after: np.ndarray) -> dict[Path, bytes]:
    """Each face of a photo with a margin, before and after side by side, at the size of the result (H, W, 3)."""
    before, pictures = restoration.photo.pixels, dict[Path, bytes]()
    shrunk = [old / new for old, new in zip(before.shape[:2], after.shape[:2], strict=True)]
    for number, face in enumerate(restoration.faces, 1):
        place = face.place()
        old = tuple(slice(round(k * s.start), max(1, round(k * s.stop))) for k, s in zip(shrunk, place, strict=True))
        pictures[face_path(folder, job, number)] = strip_png(before[old], after[place])
    return pictures


def faces_left(folder: Path, job: Job, count: int) -> list[Path]:
    """The pictures that earlier runs wrote of a photo's faces beyond this count: of faces that are no longer found."""
    named = re.compile(re.escape(f"{job.stem.name}-face-") + r"([1-9][0-9]*)\.png")
    place = face_path(folder, job, 1).parent
    found = [(path, named.fullmatch(path.name)) for path in place.iterdir()] if place.is_dir() else []
    return [path for path, match in found if match and int(match[1]) > count]


def stages_folder(out: Path, job: Job) -> Path:
    """The folder for the pictures of a photo after each stage."""
    return out / "stages" / job.stem


def stage_pictures(folder: Path, stage: str, restoration: Restoration) -> dict[Path, bytes]:
    """The photo after a stage, numbered by the stages done so far; after the detector also the damage mask."""
    name = f"{restoration.passed}-{stage}"
    pictures = {folder / f"{name}.png": replace(restoration.result(), format="PNG", extra={}).encode()}
    if stage == "scratches":
        pictures[folder / f"{name}_mask.png"] = mask_png(restoration.damage())
    return pictures


def sidecar_path(job: Job, sidecar: Path) -> Path:
    """Where a sidecar of a photo is copied: beside the result, by the same name, or by that of a renamed result."""
    photo, result = job.source, job.output
    if output_name(Path(photo.name)) == Path(result.name):
        return result.with_name(sidecar.name)
    named = result.name if sidecar.name.startswith(photo.name) else result.stem
    of = photo.name if sidecar.name.startswith(photo.name) else photo.stem
    return result.with_name(named + sidecar.name[len(of) :])


def read_sidecars(job: Job, photo: Photo, size: tuple[int, int]) -> dict[Path, bytes]:
    """The sidecars of a photo by where they go, without those that are there already, as of another photo of the name.

    XMP is made true of the upright picture, and of its result of this height and width; otherwise they are copied byte
    for byte. Raises `PhotoError`.
    """
    height, width = photo.pixels.shape[:2]
    files = {}
    for path in job.sidecars:
        try:
            data, there = path.read_bytes(), sidecar_path(job, path)
            if path.suffix.lower() == ".xmp":
                data, _ = xmp.fitted(data, photo.orientation, width, height)
                if size != (height, width):
                    data = xmp.resized(data, (width, height), size[::-1])
            if not (there.is_file() and there.read_bytes() == data):
                files[there] = data
        except OSError as error:
            raise PhotoError(f"{path}: cannot be read: {error.strerror or error}") from None
    return files


def check_extras(
    out: Path,
    jobs: Sequence[Job],
    masks: Mapping[Path, Path],
    extras: Mapping[str, bool],
    review: Path | None = None,
    faces: Path | None = None,
) -> None:
    """Raise `UsageError` if the files of `extras` ("stages", "compare", "sidecars"), `review` or `faces` hit others."""
    for name in ("stages", "compare"):
        if extras[name] and any(job.relative.parts[0] == name for job in jobs):
            raise UsageError(f"the photos have a folder {name!r} of their own, where other pictures would go")
    photos = [job for job in jobs if not job.problem]
    inputs = [*(job.source for job in photos), *masks.values()]
    if extras["compare"]:
        protect(inputs, (strip_path(out, job) for job in photos))
    if review:
        strips = [review_path(review, job) for job in photos]
        protect(inputs, strips)
        _apart(inputs, strips)
        results = {job.output.resolve(): job.output for job in photos}
        if hit := next((path for path in strips if path.resolve() in results), None):
            raise UsageError(f"{hit} would be a result and a strip to review: choose another folder to review")
    if faces:
        outputs = [job.output for job in photos]
        if hit := _named_like_a_face([*inputs, *outputs], {face_path(faces, job, 1).parent for job in photos}):
            raise UsageError(f"{hit} is named like a face to review: choose another folder for those")
        _apart(inputs, [face_path(faces, job, 1) for job in photos])
    if extras["stages"]:
        protect(inputs, (), (stages_folder(out, job) for job in photos))
    if extras["sidecars"]:
        sidecars = [(path, sidecar_path(job, path)) for job in photos for path in job.sidecars]
        protect([*inputs, *(path for path, _ in sidecars)], (there for _, there in sidecars))


def _apart(inputs: Iterable[Path], pictures: Iterable[Path]) -> None:
    """Raise `UsageError` if a picture to review goes where an input lies: files beside that may be originals too."""
    places = {path.parent.resolve() for path in pictures}
    if hit := next((path for path in inputs if path.parent.resolve() in places), None):
        raise UsageError(f"{hit.parent} has the input {hit.name}: choose another folder to review")


def _named_like_a_face(files: Iterable[Path], folders: Iterable[Path]) -> Path | None:
    """The first of the files that lies where faces are written and has such a name; how many there will be is open."""
    taken = {folder.resolve() for folder in folders}
    named = (path for path in files if re.search(r"-face-[0-9]+\.png$", path.name))
    return next((path for path in named if path.resolve().parent in taken), None)
