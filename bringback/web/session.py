"""The web page's session, without the page: a visitor's photos, their damage, strokes, restorations and files."""

import os
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PureWindowsPath
from tempfile import NamedTemporaryFile, mkdtemp
from threading import Lock
from typing import Any

import numpy as np
import torch

from bringback.batch.masks import mask_png
from bringback.batch.split import MORE
from bringback.errors import PhotoError
from bringback.images.codecs import MAX_PIXELS
from bringback.images.parts import cut_out, with_infrared
from bringback.images.photo import Photo, luminance
from bringback.images.shards import output_name
from bringback.ops.areas import Area
from bringback.ops.frames import find_areas
from bringback.ops.masks import SOUND
from bringback.ops.prints import find_prints, is_more
from bringback.runtime.progress import watching
from bringback.stages.prior.settings import Progress
from bringback.stages.record import own_pixels
from bringback.web.areas import Areas
from bringback.web.copies import THUMB, around, jpeg, overlay
from bringback.web.outcome import Outcome
from bringback.web.pipelines import ENLARGING, Choices, Pipelines, Stopped
from bringback.web.strokes import Stroke, apply
from bringback.web.work import Tell, Work

MAX_PHOTOS = 100  # of one visitor
WAITING, WRITING, SPLITTING = "waiting", "writing", "splitting"  # steps besides the stages


@dataclass
class Item:
    """One photo of a visitor, in a folder of its own with the uploaded file."""

    name: str
    folder: Path
    number: int = 0  # unique among the visitor's photos
    max_pixels: int = MAX_PIXELS
    size: tuple[int, int] = (0, 0)  # height and width
    strokes: tuple[Stroke, ...] = ()
    areas: Areas = None  # where the picture is, drawn by hand
    seen: tuple[Area, ...] | None = None  # and as it was found last, None before anything looked
    outcome: Outcome | None = None
    share: float = 0.0
    searches: list[Areas] = field(default_factory=list)  # the areas in which `find` looked for damage last, if it did
    warnings: list[str] = field(default_factory=list)  # of the search for damage
    drawing: Lock = field(default_factory=Lock, repr=False)  # while strokes are followed, and files written

    @property
    def original(self) -> Path:
        """The uploaded file."""
        return self.folder / "original"

    @property
    def preview(self) -> Path:
        """A JPEG for the browser."""
        return self.folder / "before.jpg"

    @property
    def thumb(self) -> Path:
        """A small JPEG."""
        return self.folder / "thumb.jpg"

    @property
    def mask_file(self) -> Path:
        """The damage mask of the detector, at the photo's size."""
        return self.folder / "found.png"

    @property
    def overlay(self) -> Path:
        """The damage mask of the detector as a PNG for the browser."""
        return self.folder / "overlay.png"

    @property
    def searched(self) -> bool:
        """Whether `find` has looked for damage in the areas as they are now."""
        return self.areas in self.searches

    def photo(self) -> Photo:
        """The photo; raises `PhotoError`."""
        return Photo.decode(self.original.read_bytes(), self.name, self.max_pixels)

    def look(self) -> None:
        """Read the photo for the first time and make its previews; raises `PhotoError`."""
        photo = self.photo()
        self.size = photo.pixels.shape[:2]
        self.preview.write_bytes(jpeg(photo))
        self.thumb.write_bytes(jpeg(photo, THUMB))

    def look_around(self) -> tuple[Area, ...]:
        """Where the picture is, looked for unless that is known; raises `PhotoError`."""
        if self.seen is None:
            self.seen = find_areas(own_pixels(self.photo()))
        return self.seen

    def find(self, pipelines: Pipelines, scale: str, tell: Tell) -> None:
        """Find the damage, the `share` of damaged pixels and `warnings`, at this native scale.

        Raises `PhotoError`, `Stopped`, and whatever `tell` raises.
        """
        photo, areas = self.photo(), self.areas  # the visitor may change them meanwhile
        with _turn(pipelines, tell), watching(lambda stage, tiles, whole: tell(tiles, stage)):
            looked = pipelines.of(Choices(("scratches",), scale=scale)).restore(photo, areas=areas)
        mask, self.warnings = looked.damage(), looked.warnings
        plane = mask[0, 0].cpu().numpy()
        self.mask_file.write_bytes(mask_png(mask))
        self.overlay.write_bytes(overlay(plane))
        self.share, self.searches = float((plane > SOUND).mean()), [areas]
        if areas is None:
            self.seen = looked.areas

    def mask(self, strokes: tuple[Stroke, ...], *, searched: bool) -> np.ndarray | None:
        """The damage mask (H, W) for the pipeline, of the strokes and what was found, if the photo was `searched`.

        None without strokes, where the detector's own will do.
        """
        if not strokes:
            return None
        found = luminance(Photo.read(self.mask_file).pixels) if searched else np.zeros(self.size, np.float32)
        return apply(strokes, np.array(found))

    def done_with(self, choices: Choices) -> bool:
        """Whether the photo has been restored with these choices and the current strokes and areas."""
        made = self.outcome
        if made is None or made.choices != choices:
            return False
        return made.strokes == self.strokes and made.by_hand == self.areas

    def restore(self, pipelines: Pipelines, choices: Choices, tell: Tell) -> None:
        """Restore the photo and write its files. Raises `PhotoError`, `Stopped`, and whatever `tell` raises.

        A mask that was found and then edited replaces the detector, which would find again what was erased. A mask that
        was painted without one, or with one of other areas, is united with the detector's.
        """
        strokes, areas = self.strokes, self.areas  # the visitor may change them meanwhile
        searched = areas in self.searches
        photo, mask, stages = self.photo(), self.mask(strokes, searched=searched), choices.stages
        if mask is not None and searched:
            stages = tuple(name for name in stages if name != "scratches")
        with _turn(pipelines, tell):
            choosing = replace(choices, stages=stages)
            pipeline, note = pipelines.of(choosing), pipelines.note(choosing)
            names = [*(stage.name for stage in pipeline.stages), WRITING]

            def report(done: float) -> None:
                if pipelines.closed:
                    raise Stopped
                tell(done / len(names), names[int(done)])

            def on_work(stage: str, tiles: float, whole: float) -> None:
                report(names.index(stage) + min(tiles, 0.99))

            def on_step(name: str, progress: Progress) -> None:
                report(names.index(name) + min(progress.done, 0.99))

            with watching(on_work):
                restoration = pipeline.restore(photo, mask, areas=areas, on_step=on_step)
        report(len(names) - 1)
        result, name = restoration.result(), output_name(Path(self.name)).name
        nothing = np.empty((0, result.pixels.shape[1], 3), np.float32)  # a slice would keep all pixels in memory
        bare: dict[str, Any] = {"alpha": None, "exif": None, "dpi": None, "extra": {}, "levels": None, "infrared": None}
        with NamedTemporaryFile(dir=self.folder, suffix=".npy", delete=False) as file:  # strokes may be at the old one
            np.save(file, result.pixels)
        made = Outcome(
            choices,
            strokes,
            areas,
            {"photo": {"native_scale": restoration.scale}, **restoration.notes, **_enlarged(choices, photo)},
            list(restoration.warnings),
            replace(result, pixels=nothing, bit_depth=8, **bare),
            restoration.scale,
            restoration.areas,
            note,
            restoration.faces,
            [(around(photo, face), around(result, face)) for face in restoration.faces],
            Path(file.name),
            self.folder / "after.jpg",
            self.folder / "with" / name,
            self.folder / "without" / name,
            partial(pipelines.enlarged, factor=choices.upscale) if choices.upscale > 1 else None,
        )
        if areas is None:
            self.seen = restoration.areas
        with self.drawing:
            made.write(photo)
            old, self.outcome = self.outcome, made
            if old:
                old.pixels.unlink()

    def settle(self) -> None:
        """Write the files of a result that strokes have mended since; waits for a stroke that is being followed."""
        with self.drawing:
            if self.outcome and self.outcome.changed:
                self.outcome.write(self.photo())


def _enlarged(choices: Choices, photo: Photo) -> dict[str, dict[str, Any]]:
    """The note of the stage that enlarges the files, if they are."""
    if choices.upscale == 1:
        return {}
    height, width = (round(side * choices.upscale) for side in photo.pixels.shape[:2])
    return {ENLARGING: {"width": width, "height": height, "factor": choices.upscale}}


@contextmanager
def _turn(pipelines: Pipelines, tell: Tell) -> Iterator[None]:
    """Wait until no other photo is at work; `tell` may raise meanwhile."""
    while not pipelines.lock.acquire(timeout=0.2):
        tell(0, WAITING)
    try:
        yield
    finally:
        pipelines.lock.release()


class Session:
    """The photos of one visitor, in a folder; `chosen` is the one on display."""

    def __init__(self, folder: Path, max_pixels: int = MAX_PIXELS, token: str = "") -> None:
        """Args: folder: the parent of the visitor's own folder; max_pixels: of a photo; token: a secret of the tab."""
        self.folder, self.max_pixels = Path(mkdtemp(dir=folder)), max_pixels
        self.token = token
        self.visits = 0  # pages on which it is open
        self.version = 0  # of what the canvas shows
        self.scans: list[Item] = []
        self.chosen: Item | None = None
        self.work: Work | None = None  # at work now
        self._count = 0

    @property
    def busy(self) -> bool:
        """Whether photos are at work."""
        return self.work is not None

    def add(self, files: Iterable[tuple[Path, str]], tell: Tell) -> list[str]:
        """Add copies of files under their own names; returns a line for each that is not a photo."""
        files, problems = list(files), list[str]()
        for number, (path, given) in enumerate(files):
            name = base_name(given)
            tell(number / len(files), f"reading {name}")
            if len(self.scans) >= MAX_PHOTOS:
                problems.append(f"{name}: not taken, {MAX_PHOTOS} photos at a time are the most")
                continue
            scan = self._new(name)

            def take(path: Path = path, scan: Item = scan) -> None:
                shutil.copyfile(path, scan.original)  # several uploads may share one file
                scan.look()

            if problem := attempt(scan, take):
                problems.append(problem)
            else:
                self.scans.append(scan)
        return problems

    def end(self, work: Work) -> None:
        """Stop a work that is no longer listened to."""
        work.stop()
        if self.work is work:
            self.work = None

    def split(self, page: Item, pipelines: Pipelines, tell: Tell) -> tuple[list[Item], list[str]]:
        """The prints on a page as photos of their own, right after it in the list, and what there is to be told.

        [] if no print is seen, or only one that fills the page. Raises `PhotoError`, `Stopped`, and whatever `tell`
        raises; there are no new photos then.
        """
        made = list[Item]()
        try:
            with _turn(pipelines, tell):
                problems = self._cut_out(page, made, tell)
            tell(1, SPLITTING)
        except BaseException:
            for one in made:
                shutil.rmtree(one.folder, ignore_errors=True)
            raise
        after = self.scans.index(page) + 1 if page in self.scans else len(self.scans)
        self.scans[after:after] = made
        return made, problems

    def _cut_out(self, page: Item, made: list[Item], tell: Tell) -> list[str]:
        """Append the prints on a page to `made`, each before its files are written; what there is to be told."""
        tell(0, SPLITTING)
        photo = with_infrared(page.photo())
        pixels = torch.from_numpy(photo.pixels).permute(2, 0, 1)[None]
        found = find_prints(pixels)
        name, problems = output_name(Path(page.name)), list[str]()
        for number, area in enumerate(found):
            tell(number / len(found), SPLITTING)
            if len(self.scans) + len(made) >= MAX_PHOTOS:
                problems.append(
                    f"{page.name}: {len(found) - number} prints not taken, {MAX_PHOTOS} photos are the most"
                )
                break
            made.append(one := self._new(f"{name.stem}-{number + 1}{name.suffix}"))
            one.original.write_bytes(cut_out(photo, np.array(area.corners)).encode())
            one.look()
        if found and is_more(pixels, found):
            problems.append(f"{page.name}: {MORE}")
        return problems

    def _new(self, name: str) -> Item:
        """A photo with a folder, not in the list yet."""
        self._count += 1
        one = Item(name, self.folder / f"{self._count:04}", self._count, self.max_pixels)
        one.folder.mkdir()
        return one

    def remove(self, scan: Item) -> None:
        """Remove a photo with all its files; the next one, or else the one before, is chosen instead."""
        place = self.scans.index(scan)
        self.scans.remove(scan)
        if self.chosen is scan:
            self.chosen = self.scans[min(place, len(self.scans) - 1)] if self.scans else None
        shutil.rmtree(scan.folder, ignore_errors=True)

    def numbered(self, number: Any) -> Item | None:
        """The photo of this number, None if there is none any more."""
        return next((scan for scan in self.scans if scan.number == number), None)

    def settle(self) -> list[str]:
        """Write the files of all results that strokes have mended since; returns a line for each that fails."""
        mended = [scan for scan in self.scans if scan.outcome and scan.outcome.changed]
        return [problem for scan in mended if (problem := attempt(scan, scan.settle))]

    @property
    def made(self) -> list[Outcome]:
        """All results."""
        return [scan.outcome for scan in self.scans if scan.outcome]

    def zip(self, *, bare: bool) -> Path:
        """A new archive of all results; those of the same name get numbers."""
        archive, used = self.folder / "bringback.zip", set[str]()
        with (
            NamedTemporaryFile(dir=self.folder, delete=False) as file,
            zipfile.ZipFile(file, "w") as into,  # not compressed: photos already are
        ):
            for outcome in self.made:
                name, number = Path(outcome.file.name), 1
                while name.name.lower() in used:
                    number += 1
                    name = Path(outcome.file.name).with_stem(f"{outcome.file.stem}-{number}")
                used.add(name.name.lower())
                into.write(outcome.bare if bare else outcome.file, name.name)
        os.replace(file.name, archive)  # the one before may be on its way to the browser
        return archive


def attempt(scan: Item, work: Callable[[], object]) -> str:
    """Do the work on a photo; returns "", or one line that names the photo and says what failed."""
    try:
        work()
        return ""
    except Stopped:
        raise
    except PhotoError as error:
        said = str(error)
        return said if said.startswith(scan.name) else f"{scan.name}: {said}"
    except Exception as error:  # one bad photo must not stop the others
        first = (str(error).splitlines() or [""])[0]
        if isinstance(error, OSError) and error.strerror:  # the full message would name a temporary file
            first = error.strerror
        return f"{scan.name}: {type(error).__name__}: {first}"


def base_name(given: str) -> str:
    """A safe file name for an upload, from whatever name the browser sent."""
    name = "".join(letter for letter in PureWindowsPath(given).name if letter.isprintable())
    return "photo" if name in ("", ".", "..") else name
