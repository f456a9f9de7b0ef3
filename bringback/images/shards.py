"""Find and read undecoded image files in folders and tar shards."""

import heapq
import os
import stat
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath

PLAIN = frozenset(  # also read by training
    [".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif", ".jp2", ".j2k", ".jpx"]
)
HEIF = frozenset([".heic", ".heif", ".hif"])
MORE = frozenset([".avif", ".jxl", ".ppm", ".pgm", ".pbm", ".pnm", ".pcx", ".tga"])
RAW = frozenset([".dng", ".cr2", ".nef", ".arw", ".raf", ".orf", ".rw2"])  # camera files
SUFFIXES = PLAIN | HEIF | MORE | RAW


@dataclass(frozen=True, slots=True)
class Entry:
    """Location of one image: `size` bytes at `offset` in `file`, an image file or a tar shard."""

    name: str
    file: Path
    offset: int
    size: int

    def __str__(self) -> str:
        return f"{self.file}: {self.name}" if self.offset else str(self.file)  # in a tar, offsets are above 0

    def read(self) -> bytes:
        """The bytes of the image; raises OSError."""
        with self.file.open("rb") as stream:
            stream.seek(self.offset)
            return stream.read(self.size)


def is_picture(path: PurePath) -> bool:
    """Whether a file name has an image suffix."""
    # macOS creates "._name.jpg" next to "name.jpg" on foreign disks; it is not an image.
    return path.suffix.lower() in SUFFIXES and not path.name.startswith("._")


def output_name(relative: Path) -> Path:
    """Output name of a photo: the same, with `.tif` appended for RAW, which cannot be written."""
    return relative.with_name(f"{relative.name}.tif") if relative.suffix.lower() in RAW else relative


def held_out(name: str) -> bool:
    """Whether a real old photo is held out from training for evaluation: a tenth of them, by hash of the file name."""
    return zlib.crc32(PurePath(name).name.encode()) % 10 == 0


@dataclass(slots=True)
class Found:
    """Result of a recursive folder scan, in which everything is accounted for.

    `pictures` are the image files, sorted; `unread` what could not be read and `passed` what was skipped, each with the
    reason; `others` the remaining files.
    """

    pictures: list[Path] = field(default_factory=list)
    unread: dict[Path, str] = field(default_factory=dict)
    passed: dict[Path, str] = field(default_factory=dict)
    others: list[Path] = field(default_factory=list)


def survey(folder: Path, out: Path | None = None, *, follow_links: bool = True) -> Found:
    """Scan a folder recursively, following links to folders unless told not to, but not into the output folder `out`.

    Each folder is read once, so loops end. Real folders come before links, so their files keep their own paths.
    """
    found, read = Found(), dict[str, Path]()
    results = None if out is None else os.path.realpath(out)
    waiting, links, linked = [(folder, os.path.realpath(folder))], list[Path](), False
    while waiting or links:
        if not waiting:
            path, linked = heapq.heappop(links), True
            waiting.append((path, os.path.realpath(path)))
            if not follow_links:
                waiting.pop()
                found.passed[path] = "a link to a folder, which --no-follow-links leaves out"
                continue
        path, real = waiting.pop()
        if real in read:
            found.passed[path] = f"the same folder as {read[real]}: read once"
        elif linked and results is not None and Path(real).is_relative_to(results):
            found.passed[path] = f"not followed: it leads into the output folder {out}"
        else:
            read[real] = path
            _look_into(path, real, found, waiting, links)
    found.pictures.sort()
    return found


def _look_into(path: Path, real: str, found: Found, waiting: list[tuple[Path, str]], links: list[Path]) -> None:
    """Scan one folder, whose path without links is `real`; its folders are added to `waiting` and `links`."""
    try:
        with os.scandir(path) as listing:
            entries = list(listing)
    except OSError as error:
        found.unread[path] = f"cannot be read: {error.strerror or error}"
        return
    for entry in entries:
        place = path / entry.name
        if entry.is_dir(follow_symlinks=False):
            waiting.append((place, os.path.join(real, entry.name)))
            continue
        try:
            kind = place.stat().st_mode if entry.is_symlink() else 0
        except OSError as error:
            # A photo may be on an unmounted disk; without a suffix the link may be to a folder of photos.
            if is_picture(place) or not (place.suffix or place.name.startswith(".")):
                found.unread[place] = f"a link to what cannot be read: {error.strerror or error}"
            else:
                found.others.append(place)
            continue
        if stat.S_ISDIR(kind):
            heapq.heappush(links, place)
        elif is_picture(place) and (stat.S_ISREG(kind) if kind else entry.is_file(follow_symlinks=False)):
            found.pictures.append(place)
        else:
            found.others.append(place)


def find_pictures(folder: Path) -> list[Path]:
    """All image files below a folder, sorted. Raises ValueError naming the first path that cannot be read."""
    found = survey(folder)
    for path, reason in sorted(found.unread.items()):
        raise ValueError(f"{path}: {reason}")
    return found.pictures


def find_entries(place: Path) -> Iterator[Entry]:
    """All images in a tar shard, in the shards of a folder, or, if it has none, below it; sorted by path and name.

    Raises FileNotFoundError if `place` does not exist, ValueError naming the path if a shard is invalid or truncated or
    a folder cannot be read.
    """
    if not place.exists():
        raise FileNotFoundError(f"no such file or folder: {place}")
    shards = sorted(place.glob("*.tar")) if place.is_dir() else [place]
    for shard in shards:
        yield from _members(shard)
    if not shards:
        for path in find_pictures(place):
            yield Entry(path.relative_to(place).as_posix(), path, 0, path.stat().st_size)


def read_shards(place: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of every image of `find_entries`; raises as it does, and OSError."""
    for entry in find_entries(place):
        yield entry.name, entry.read()


def _members(path: Path) -> Iterator[Entry]:
    try:
        with tarfile.open(path, "r:") as shard:
            for member in sorted(shard.getmembers(), key=lambda member: member.name):
                if member.isfile() and is_picture(PurePath(member.name)):
                    yield Entry(member.name, path, member.offset_data, member.size)
    except tarfile.TarError:
        raise ValueError(f"{path}: not a tar shard, or cut short (compressed ones are not read)") from None
