"""The web page's session, without the page: a visitor's photos, their damage, edits, restorations and files."""

import shutil
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
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
from bringback.stages.prior.settings import Progress
from bringback.stages.record import Face, Restoration
from bringback.web import mask_layer as web_mask
from bringback.web.mask_layer import Edits, Place
from bringback.web.pipelines import Choices, Pipelines, Stopped

MAX_PHOTOS = 100  # of one visitor
PREVIEW, THUMB, CROP = 1400, 256, 96  # pixels a side of the copies for the browser
Tell = Callable[[float, str], None]  # called with the share that is done, 0 to 1, and the next step


@dataclass(frozen=True)
class Outcome:
    """The result of a photo, with the choices and mask edits behind it; the files have the name of the upload."""

    choices: Choices
    edits: Edits | None
    notes: Mapping[str, Mapping[str, Any]]
    faces: list[Face]
    crops: list[tuple[bytes, bytes]]  # of each face, before and after: small JPEGs
    preview: Path
    file: Path
    bare: Path  # without EXIF, XMP, IPTC and texts


@dataclass
class Item:
    """One photo of a visitor, in a folder of its own with the uploaded file."""

    name: str
    folder: Path
    max_pixels: int = MAX_PIXELS
    size: tuple[int, int] = (0, 0)  # height and width
    edits: Edits | None = None
    outcome: Outcome | None = None
    share: float = 0.0
    warnings: list[str] = field(default_factory=list)  # of the search for damage
    layer: int = 0  # the number of the layer that is being painted on
    _found: np.ndarray | None = None  # (h, w) bool, at the size of the canvas

    @property
    def original(self) -> Path:
        """The uploaded file."""
        return self.folder / "original"

    @property
    def preview(self) -> Path:
        """A JPEG for the browser."""
        return self.folder / "before.jpg"

    @property
    def canvas(self) -> Path:
        """A JPEG to paint on."""
        return self.folder / "canvas.jpg"

    @property
    def thumb(self) -> Path:
        """A small JPEG."""
        return self.folder / "thumb.jpg"

    @property
    def mask_file(self) -> Path:
        """The damage mask of the detector, at the photo's size."""
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
        """Where damage was found, (h, w) bool, at the size of the canvas."""
        place = Place.of(*self.size)
        return np.zeros((place.height, place.width), bool) if self._found is None else self._found

    def find(self, pipelines: Pipelines, scale: str = "auto") -> None:
        """Find the damage, the `share` of damaged pixels and `warnings`, at this native scale. Raises `PhotoError`."""
        photo = self.photo()
        with pipelines.lock:
            looked = pipelines.of(Choices(("scratches",), scale=scale)).restore(photo)
        mask, self.warnings = looked.damage(), looked.warnings
        self.mask_file.write_bytes(mask_png(mask))
        plane = mask[0, 0].cpu().numpy()
        self._found = web_mask.shown(plane)
        self.share = float((plane > web_mask.SOUND).mean())

    def edit(self, layer: np.ndarray) -> None:
        """Take over the edits of a layer (H, W, 4), uint8, from the browser."""
        edits = Edits.between(self.found, Place.of(*self.size).of_canvas(layer))
        if self.edits is None or not all(map(np.array_equal, edits, self.edits)):
            self.edits = edits if edits.any else None

    def mask(self, edits: Edits | None) -> np.ndarray | None:
        """The damage mask (H, W) for the pipeline; None if the visitor has not edited the detector's mask."""
        if edits is None:
            return None
        found = luminance(Photo.read(self.mask_file).pixels) if self.searched else np.zeros(self.size, np.float32)
        return edits.apply(found)

    def done_with(self, choices: Choices) -> bool:
        """Whether the photo has been restored with these choices and the current mask."""
        made = self.outcome
        return made is not None and made.choices == choices and made.edits is self.edits

    def restore(self, pipelines: Pipelines, choices: Choices, tell: Tell) -> None:
        """Restore the photo and write its files. Raises `PhotoError`, `Stopped`, and whatever `tell` raises.

        A mask that was found and then edited replaces the detector, which would find again what was erased. A mask that
        was painted without one is united with the detector's.
        """
        edits = self.edits  # the visitor may change them meanwhile
        photo, mask, stages = self.photo(), self.mask(edits), choices.stages
        if mask is not None and self.searched:
            stages = tuple(name for name in stages if name != "scratches")
        with pipelines.lock:
            pipeline = pipelines.of(replace(choices, stages=stages))
            names = [*(stage.name for stage in pipeline.stages), "writing"]

            def report(done: float) -> None:
                if pipelines.closed:
                    raise Stopped
                tell(done / len(names), names[int(done)])

            def on_stage(name: str, restoration: Restoration) -> None:
                report(names.index(name) + 1)

            def on_step(name: str, progress: Progress) -> None:
                report(names.index(name) + min(progress.done, 0.99))

            report(0)
            restoration = pipeline.restore(photo, mask, on_stage, on_step)
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
        notes: dict[str, dict[str, Any]] = {"photo": {"native_scale": restoration.scale}, **restoration.notes}
        if restoration.warnings:
            notes["photo"]["look_at"] = "; ".join(restoration.warnings)
        self.outcome = Outcome(choices, edits, notes, restoration.faces, crops, *made)


class Session:
    """The photos of one visitor, in a folder; `chosen` is the one on display."""

    def __init__(self, folder: Path, max_pixels: int = MAX_PIXELS) -> None:
        """Args: folder: the parent of the visitor's own folder; max_pixels: of a photo."""
        self.folder, self.max_pixels = Path(mkdtemp(dir=folder)), max_pixels
        self.scans: list[Item] = []
        self.chosen: Item | None = None
        self.busy = self.stopped = False
        self._count = 0

    def add(self, files: Iterable[tuple[Path, str]], tell: Tell) -> list[str]:
        """Add copies of files under their own names; returns a line for each that is not a photo."""
        files, problems = list(files), list[str]()
        for number, (path, given) in enumerate(files):
            name = base_name(given)
            tell(number / len(files), f"reading {name}")
            if len(self.scans) >= MAX_PHOTOS:
                problems.append(f"{name}: not taken, {MAX_PHOTOS} photos at a time are the most")
                continue
            self._count += 1
            scan = Item(name, self.folder / f"{self._count:04}", self.max_pixels)
            scan.folder.mkdir()

            def take(path: Path = path, scan: Item = scan) -> None:
                shutil.copyfile(path, scan.original)  # several uploads may share one file
                scan.look()

            if problem := attempt(scan, take):
                problems.append(problem)
            else:
                self.scans.append(scan)
        return problems

    def layer(self, scan: Item) -> np.ndarray:
        """A new layer for a photo, (H, W, 4) uint8; from now on, edits of its older layers are ignored."""
        self._count += 1
        scan.layer = self._count
        return web_mask.layer(Place.of(*scan.size), scan.found, scan.edits, scan.layer)

    def edit(self, layer: np.ndarray) -> None:
        """Take over the edits of a layer from the browser.

        The layer's number identifies its photo: a browser that has not shown a new layer yet returns an empty one, or
        that of another photo.
        """
        known = web_mask.numbers(layer)
        for scan in self.scans:
            if scan.layer in known:
                scan.edit(layer)

    def zip(self, *, bare: bool) -> Path | None:
        """An archive of all results, if there are several; results of the same name get numbers."""
        made = [scan.outcome for scan in self.scans if scan.outcome]
        if len(made) < 2:
            return None
        archive, used = self.folder / "bringback.zip", set[str]()
        with zipfile.ZipFile(archive, "w") as into:  # not compressed: photos already are
            for outcome in made:
                name, number = Path(outcome.file.name), 1
                while name.name.lower() in used:
                    number += 1
                    name = Path(outcome.file.name).with_stem(f"{outcome.file.stem}-{number}")
                used.add(name.name.lower())
                into.write(outcome.bare if bare else outcome.file, name.name)
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


def _jpeg(photo: Photo, side: int = PREVIEW) -> bytes:
    """A copy for the browser, of at most `side` pixels a side, with the photo's color profile."""
    height, width = photo.pixels.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    pixels = cv2.resize(photo.pixels, size, interpolation=cv2.INTER_AREA)
    plain = {"alpha": None, "bit_depth": 8, "format": "JPEG", "exif": None, "dpi": None, "extra": {"quality": 90}}
    return replace(photo, pixels=pixels, **plain).encode()  # type: ignore[arg-type]


def _around(photo: Photo, face: Face) -> bytes:
    """A small picture of a face with a margin."""
    left, top, right, bottom = face.box
    margin = 0.2 * max(right - left, bottom - top)
    rows = slice(max(0, round(top - margin)), max(1, round(bottom + margin)))
    columns = slice(max(0, round(left - margin)), max(1, round(right + margin)))
    return _jpeg(photo.with_pixels(np.ascontiguousarray(photo.pixels[rows, columns])), CROP)
