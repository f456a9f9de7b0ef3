"""What the web page does, without the page: the photos of a visitor, their damage, edits, restorations and files."""

import shutil
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from tempfile import mkdtemp
from typing import Any

import cv2
import numpy as np

from bringback.batch.masks import mask_png
from bringback.errors import PhotoError
from bringback.images.codecs import MAX_PIXELS
from bringback.images.photo import Photo, luminance
from bringback.images.shards import output_name
from bringback.stages.record import Face, Restoration
from bringback.web import mask_layer as web_mask
from bringback.web.mask_layer import Edits, Place
from bringback.web.pipelines import Choices, Pipelines, Stopped

MAX_PHOTOS = 100  # of one visitor
PREVIEW, THUMB, CROP = 1400, 256, 96  # pixels a side: a browser is not sent a hundred megapixels
Tell = Callable[[float, str], None]  # is told how much is done, 0 to 1, and what comes now


@dataclass(frozen=True)
class Outcome:
    """What came of a photo, and by which choices and edits of the mask; the files have the name of the upload."""

    choices: Choices
    edits: Edits | None
    notes: Mapping[str, Mapping[str, Any]]
    faces: list[Face]
    crops: list[tuple[bytes, bytes]]  # of each face, before and after: small JPEGs
    preview: Path
    file: Path
    bare: Path  # without what the file told of people and places


@dataclass
class Scan:
    """One photo of a visitor, in a folder of its own that has the file as it came."""

    name: str
    folder: Path
    max_pixels: int = MAX_PIXELS
    size: tuple[int, int] = (0, 0)  # height and width
    edits: Edits | None = None
    outcome: Outcome | None = None
    share: float = 0.0
    layer: int = 0  # the number of the layer that is painted on
    _found: np.ndarray | None = None  # (h, w) bool, of the size on the canvas

    @property
    def original(self) -> Path:
        """The file as it came."""
        return self.folder / "original"

    @property
    def preview(self) -> Path:
        """A JPEG for the browser."""
        return self.folder / "before.jpg"

    @property
    def canvas(self) -> Path:
        """One to be painted on."""
        return self.folder / "canvas.jpg"

    @property
    def thumb(self) -> Path:
        """A smaller one."""
        return self.folder / "thumb.jpg"

    @property
    def mask_file(self) -> Path:
        """The damage as it was found, of the photo's size."""
        return self.folder / "found.png"

    def photo(self) -> Photo:
        """The photo; raises `PhotoError`."""
        return Photo.decode(self.original.read_bytes(), self.name, self.max_pixels)

    def look(self) -> None:
        """Read the photo for the first time and make its previews; raises `PhotoError`."""
        photo = self.photo()
        self.size = photo.pixels.shape[:2]
        self.preview.write_bytes(_jpeg(photo))
        self.thumb.write_bytes(_jpeg(photo, THUMB))
        self.canvas.write_bytes(_jpeg(photo.with_pixels(web_mask.on_canvas(photo.pixels))))

    @property
    def searched(self) -> bool:
        """Whether `find` has looked for damage."""
        return self._found is not None

    @property
    def found(self) -> np.ndarray:
        """Where damage was found, (h, w) bool, of the size on the canvas."""
        place = Place.of(*self.size)
        return np.zeros((place.height, place.width), bool) if self._found is None else self._found

    def find(self, pipelines: Pipelines) -> None:
        """Find the damage, and `share`, that of the photo's pixels that are damaged. Raises `PhotoError`."""
        photo = self.photo()
        with pipelines.lock:
            mask = pipelines.of(Choices(("scratches",))).restore(photo).damage()
        self.mask_file.write_bytes(mask_png(mask))
        plane = mask[0, 0].cpu().numpy()
        self._found = web_mask.shown(plane)
        self.share = float((plane > web_mask.SOUND).mean())

    def edit(self, layer: np.ndarray) -> None:
        """Take in the layer (H, W, 4), uint8, as it came back."""
        edits = Edits.between(self.found, Place.of(*self.size).of_canvas(layer))
        if self.edits is None or not all(map(np.array_equal, edits, self.edits)):
            self.edits = edits if edits.any else None

    def mask(self, edits: Edits | None) -> np.ndarray | None:
        """The damage mask (H, W) for the pipeline; None where the visitor has not changed what the detector finds."""
        if edits is None:
            return None
        found = luminance(Photo.read(self.mask_file).pixels) if self.searched else np.zeros(self.size, np.float32)
        return edits.apply(found)

    def done_with(self, choices: Choices) -> bool:
        """Whether it has been restored by these choices and the mask as it is now."""
        made = self.outcome
        return made is not None and made.choices == choices and made.edits is self.edits

    def restore(self, pipelines: Pipelines, choices: Choices, tell: Tell) -> None:
        """Restore it and write its files. Raises `PhotoError`, and what `tell` raises, between stages and in slow ones.

        A mask that was found and then edited stands for the detector, which is not asked again: what was erased would
        come back. One that was painted before is united with what the detector finds.
        """
        edits = self.edits  # as they are now: meanwhile there may be others
        photo, mask, stages = self.photo(), self.mask(edits), choices.stages
        if mask is not None and self.searched:
            stages = tuple(name for name in stages if name != "scratches")
        with pipelines.lock:
            pipeline = pipelines.of(replace(choices, stages=stages))
            names = [*(stage.name for stage in pipeline.stages), "writing"]

            def told(done: float) -> None:
                if pipelines.closed:
                    raise Stopped
                tell(done / len(names), names[int(done)])

            def on_stage(name: str, restoration: Restoration) -> None:
                told(names.index(name) + 1)

            for number, stage in enumerate(pipeline.stages):
                if hasattr(stage, "on_step"):  # it may take minutes
                    stage.on_step = lambda fitted, number=number: told(number + min(fitted.done, 0.99))
            told(0)
            restoration = pipeline.restore(photo, mask, on_stage)
        result, name = restoration.result(), output_name(Path(self.name)).name
        made = {
            self.folder / "after.jpg": _jpeg(result),
            self.folder / "with" / name: result.encode(pipeline.note),
            self.folder / "without" / name: result.encode(strip=True),
        }
        for path, data in made.items():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        crops = [(_around(photo, face), _around(result, face)) for face in restoration.faces]
        self.outcome = Outcome(choices, edits, restoration.notes, restoration.faces, crops, *made)


class Desk:
    """The photos of one visitor, in a folder; `chosen` is the one that is looked at."""

    def __init__(self, folder: Path, max_pixels: int = MAX_PIXELS) -> None:
        """Args: folder: where this one gets a folder of its own; max_pixels: of a photo."""
        self.folder, self.max_pixels = Path(mkdtemp(dir=folder)), max_pixels
        self.scans: list[Scan] = []
        self.chosen: Scan | None = None
        self.busy = self.stopped = False
        self._count = 0

    def add(self, files: Iterable[tuple[Path, str]], tell: Tell) -> list[str]:
        """Take in copies of files, under the names they had; a line for each that is no photo."""
        files, problems = list(files), list[str]()
        for number, (path, given) in enumerate(files):
            name = base_name(given)
            tell(number / len(files), f"reading {name}")
            if len(self.scans) >= MAX_PHOTOS:
                problems.append(f"{name}: not taken, {MAX_PHOTOS} photos at a time are the most")
                continue
            self._count += 1
            scan = Scan(name, self.folder / f"{self._count:04}", self.max_pixels)
            scan.folder.mkdir()

            def take(path: Path = path, scan: Scan = scan) -> None:
                shutil.copyfile(path, scan.original)  # the same file may be here twice, or be another visitor's too
                scan.look()

            if problem := attempt(scan, take):
                problems.append(problem)
            else:
                self.scans.append(scan)
        return problems

    def layer(self, scan: Scan) -> np.ndarray:
        """A new layer for a photo, (H, W, 4) uint8; from now on no other of this photo is taken in."""
        self._count += 1
        scan.layer = self._count
        return web_mask.layer(Place.of(*scan.size), scan.found, scan.edits, scan.layer)

    def edit(self, layer: np.ndarray) -> None:
        """Take in a layer as it came back.

        What a browser has not shown yet comes back empty, or is that of another photo: its number tells.
        """
        known = web_mask.numbers(layer)
        for scan in self.scans:
            if scan.layer in known:
                scan.edit(layer)

    def zip(self, *, bare: bool) -> Path | None:
        """An archive of all results, if there are several; two of one name get numbers."""
        made = [scan.outcome for scan in self.scans if scan.outcome]
        if len(made) < 2:
            return None
        archive, used = self.folder / "bringback.zip", set[str]()
        with zipfile.ZipFile(archive, "w") as into:  # stored: photos are compressed already
            for outcome in made:
                name, number = Path(outcome.file.name), 1
                while name.name.lower() in used:
                    number += 1
                    name = Path(outcome.file.name).with_stem(f"{outcome.file.stem}-{number}")
                used.add(name.name.lower())
                into.write(outcome.bare if bare else outcome.file, name.name)
        return archive


def attempt(scan: Scan, work: Callable[[], object]) -> str:
    """Do the work on a photo; "", or one line that names it and says why it could not be done."""
    try:
        work()
        return ""
    except Stopped:
        raise
    except PhotoError as error:
        said = str(error)
        return said if said.startswith(scan.name) else f"{scan.name}: {said}"
    except Exception as error:  # one bad photo must not end the others
        first = (str(error).splitlines() or [""])[0]
        if isinstance(error, OSError) and error.strerror:  # else it would name a temporary file
            first = error.strerror
        return f"{scan.name}: {type(error).__name__}: {first}"


def base_name(given: str) -> str:
    """The name of an upload as that of a file, whatever a browser says it is."""
    name = "".join(letter for letter in PureWindowsPath(given).name if letter.isprintable())
    return "photo" if name in ("", ".", "..") else name


def _jpeg(photo: Photo, side: int = PREVIEW) -> bytes:
    """A copy for a browser, no larger than that, with the photo's colour profile."""
    height, width = photo.pixels.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    pixels = cv2.resize(photo.pixels, size, interpolation=cv2.INTER_AREA)
    plain = {"alpha": None, "bit_depth": 8, "format": "JPEG", "exif": None, "dpi": None, "extra": {"quality": 90}}
    return replace(photo, pixels=pixels, **plain).encode()  # type: ignore[arg-type]


def _around(photo: Photo, face: Face) -> bytes:
    """A small picture of a face with a little around it."""
    left, top, right, bottom = face.box
    margin = 0.2 * max(right - left, bottom - top)
    rows = slice(max(0, round(top - margin)), max(1, round(bottom + margin)))
    columns = slice(max(0, round(left - margin)), max(1, round(right + margin)))
    return _jpeg(photo.with_pixels(np.ascontiguousarray(photo.pixels[rows, columns])), CROP)
