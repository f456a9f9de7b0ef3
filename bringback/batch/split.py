"""`bringback split` for whole folders: one file for each print on a page."""

import re
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bringback.batch.jobs import Job, Tell, plan, silent
from bringback.batch.manifest import Entry, OnPhoto, OnStart, each, refuse_existing, seconds_since
from bringback.errors import PhotoError, UsageError
from bringback.images.codecs import MAX_PIXELS
from bringback.images.parts import cut_out, turned, with_infrared
from bringback.images.photo import Photo
from bringback.ops.areas import Area
from bringback.ops.prints import find_prints, is_more
from bringback.runtime.files import read_whole, write_all

FOLDER = "split"  # in the output folder of `restore --split`
NONE = "no print found: copied as it came"
MORE = "there is more on the page than the prints that were found"

Turn = Callable[[np.ndarray], int]  # quarters, counterclockwise, by which pixels (H, W, 3) are to be turned


def split_folder(
    inputs: Sequence[Path],
    out: Path,
    *,
    upright: bool = False,
    overwrite: bool = False,
    skip_existing: bool = False,
    strip_metadata: bool = False,
    keep_times: bool = True,
    follow_links: bool = True,
    max_pixels: int = MAX_PIXELS,
    tell: Tell = silent,
    on_start: OnStart | None = None,
    on_photo: OnPhoto | None = None,
) -> list[Entry]:
    """Write each print on the pages of `inputs` to `<stem>-1`, `<stem>-2`, ... in `out`, in the order of reading.

    A page without a print is copied. `upright` turns prints by their faces; prints without any stay as they lie. A page
    whose files exist is skipped with `skip_existing`, overwritten with `overwrite`, and failed otherwise. Files that an
    overwritten page had and has no more get the suffix `.old`. Links to folders are followed with `follow_links`;
    `tell` is called with what is left out of the inputs. Each entry has the `files`, and the `prints` with their place
    on the page. Raises `UsageError`; bad photos are failed entries.
    """
    jobs = plan(inputs, out, tell, follow_links=follow_links)
    results = {job.output: job for job in jobs}

    def work(job: Job, entry: Entry) -> None:
        begin = time.perf_counter()
        earlier = _earlier(job, results)
        if skip_existing and earlier:
            entry |= {"status": "skipped", "message": f"{earlier[0]} exists already", "files": list(map(str, earlier))}
            entry["warnings"] = [NONE] if earlier == [job.output] else []
            return
        photo = with_infrared(Photo.decode(data := read_whole(job.source), str(job.source), max_pixels))
        pixels = torch.from_numpy(photo.pixels).permute(2, 0, 1)[None]
        areas = find_prints(pixels)
        paths = [print_path(job, number + 1) for number in range(len(areas))] or [job.output]
        if areas and (other := next((results[path] for path in paths if path in results), None)):
            raise PhotoError(f"{job.source}: a print of it would have the name of {other.source}: rename one of them")
        if not overwrite:
            refuse_existing([*paths, *earlier], "use --overwrite or --skip-existing")
        files: dict[Path, bytes] = {}
        if areas:
            turn = _by_faces() if upright else None
            for path, area in zip(paths, areas, strict=True):
                files[path], told = _encoded(photo, area, turn, strip_metadata)
                entry.setdefault("prints", []).append(told)
        else:
            as_it_came = job.output.suffix == job.source.suffix and not strip_metadata
            files[job.output] = data if as_it_came else photo.encode(strip=strip_metadata)
            entry["prints"] = []
        # The first is written last: if it exists, all the others do.
        files = dict(reversed(files.items()))
        times = {}
        if keep_times:
            with suppress(OSError):
                times = dict.fromkeys(files, job.source.stat().st_mtime_ns)
        write_all(files, times=times)
        warnings = [*photo.warnings, *([] if areas else [NONE])]
        if areas and is_more(pixels, areas):
            warnings.append(MORE)
        if rest := [path for path in earlier if path not in files]:
            aside = [path.replace(path.with_name(f"{path.name}.old")).name for path in rest]  # or the next run has them
            warnings.append(f"set aside as of an earlier run: {', '.join(aside)}")
        entry |= {"files": list(map(str, paths)), "warnings": warnings, "seconds": seconds_since(begin)}

    return each(jobs, work, lambda job: job.output, out, on_start, on_photo)


def split_first(
    inputs: Sequence[Path], out: Path, tell: Tell = silent, *, follow_links: bool = True, **choices: Any
) -> tuple[list[Job], list[Entry]]:
    """Split pages into the folder `split` of `out`: the prints as jobs to restore into `out`, and what is to be told.

    The latter are the entries of pages that failed and, with the status "split", of those with warnings. `choices` are
    those of `split_folder`. Pages that were split before are not split again, except with `overwrite`.
    """
    pages = plan(inputs, out, tell, follow_links=follow_links)
    if any(len(job.relative.parts) > 1 and job.relative.parts[0] == FOLDER for job in pages):
        raise UsageError(f"the photos have a folder {FOLDER!r} of their own, where their prints would go")
    folder = out / FOLDER
    choices |= {"skip_existing": not choices.get("overwrite"), "follow_links": follow_links}
    entries = split_folder(inputs, folder, **choices)
    files = {Path(path) for entry in entries for path in entry.get("files", [])}
    jobs = [job for job in plan([folder], out) if job.source in files] if files else []
    failed = [entry for entry in entries if entry["status"] == "failed"]
    return jobs, failed + [entry | {"status": "split"} for entry in entries if entry["warnings"]]


def print_path(job: Job, number: int) -> Path:
    """The file of a print of a page; prints are counted from 1."""
    return job.output.with_name(f"{job.stem.name}-{number}{job.output.suffix}")


def _earlier(job: Job, results: Collection[Path]) -> list[Path]:
    """The files of an earlier run for this page, not those of `results`, of other pages; [] if it did not finish."""
    if job.output.exists():
        return [job.output]
    if (first := print_path(job, 1)) in results or not first.exists():
        return []
    name = re.compile(rf"{re.escape(job.stem.name)}-([1-9]\d*){re.escape(job.output.suffix)}")
    found = {int(match[1]): path for path in job.output.parent.iterdir() if (match := name.fullmatch(path.name))}
    return [found[number] for number in sorted(found) if found[number] not in results]


def _encoded(photo: Photo, area: Area, turn: Turn | None, strip: bool) -> tuple[bytes, dict[str, Any]]:
    one = cut_out(photo, np.array(area.corners))
    quarters = turn(one.pixels) if turn else 0
    told = area.as_dict() | ({"turned": 90 * quarters} if turn else {})
    return turned(one, quarters).encode(strip=strip), told


@cache
def _by_faces() -> Turn:
    from bringback.stages.faces.detector import FaceFinder  # imported late: it loads dlib

    return FaceFinder().quarters
