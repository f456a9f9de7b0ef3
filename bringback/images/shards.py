"""Pictures one after the other as (name, bytes), from folders and from tar shards alike; nothing is decoded here."""

import heapq
import os
import stat
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath

PLAIN = frozenset(  # what training reads too
    [".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif", ".jp2", ".j2k", ".jpx"]
)
HEIF = frozenset([".heic", ".heif", ".hif"])
RAW = frozenset([".dng", ".cr2", ".nef", ".arw", ".raf", ".orf", ".rw2"])  # of cameras
SUFFIXES = PLAIN | HEIF | RAW


@dataclass(frozen=True, slots=True)
class Entry:
    """Where one picture lies: `size` bytes from `offset` on in `file`, a picture file or a tar shard."""

    name: str
    file: Path
    offset: int
    size: int

    def __str__(self) -> str:
        return f"{self.file}: {self.name}" if self.offset else str(self.file)  # a tar begins with a header

    def read(self) -> bytes:
        """The bytes of the picture; raises OSError."""
        with self.file.open("rb") as stream:
            stream.seek(self.offset)
            return stream.read(self.size)


def is_picture(path: PurePath) -> bool:
    """Whether a file's name is that of a picture."""
    # macOS leaves "._name.jpg" beside "name.jpg" on foreign disks; it holds no picture.
    return path.suffix.lower() in SUFFIXES and not path.name.startswith("._")


def output_name(relative: Path) -> Path:
    """The name that the result of a photo gets: its own, and a TIFF's for a RAW file, which nobody can write."""
    return relative.with_name(f"{relative.name}.tif") if relative.suffix.lower() in RAW else relative


def held_out(name: str) -> bool:
    """Whether a real old photo of that name is kept from training, to be judged on: a tenth of them, by file name."""
    return zlib.crc32(PurePath(name).name.encode()) % 10 == 0


@dataclass(slots=True)
class Found:
    """What lies anywhere below a folder; nothing in it is passed over in silence.

    The `pictures`, sorted; what cannot be read (`unread`) and what is not followed (`passed`), each with the reason;
    how many `others` there are, files that are no pictures.
    """

    pictures: list[Path] = field(default_factory=list)
    unread: dict[Path, str] = field(default_factory=dict)
    passed: dict[Path, str] = field(default_factory=dict)
    others: int = 0


def survey(folder: Path, out: Path | None = None) -> Found:
    """Look through a folder and all below it, linked folders too; no link leads into the output folder `out`.

    Each folder is read once, so that loops end: real ones first, which so keep their own names.
    """
    found, read = Found(), dict[str, Path]()
    results = None if out is None else os.path.realpath(out)
    waiting, links, linked = [(folder, os.path.realpath(folder))], list[Path](), False
    while waiting or links:
        if not waiting:
            path, linked = heapq.heappop(links), True
            waiting.append((path, os.path.realpath(path)))
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
    """Take in what lies in one folder, whose `real` path has no links; the folders in it are put where they wait."""
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
            # The photo may be on a disk that is not plugged in, and without a suffix it may be a folder of photos.
            if is_picture(place) or not (place.suffix or place.name.startswith(".")):
                found.unread[place] = f"a link to what cannot be read: {error.strerror or error}"
            else:
                found.others += 1
            continue
        if stat.S_ISDIR(kind):
            heapq.heappush(links, place)
        elif is_picture(place) and (stat.S_ISREG(kind) if kind else entry.is_file(follow_symlinks=False)):
            found.pictures.append(place)
        else:
            found.others += 1


def find_pictures(folder: Path) -> list[Path]:
    """The picture files anywhere below a folder, sorted. Raises ValueError, naming it, for what cannot be read."""
    found = survey(folder)
    for path, reason in sorted(found.unread.items()):
        raise ValueError(f"{path}: {reason}")
    return found.pictures


def find_entries(place: Path) -> Iterator[Entry]:
    """Every picture in a tar shard, a folder of shards, or a folder and all below it; by name.

    Raises FileNotFoundError when there is no such place, ValueError, naming it, when a shard is none or is cut short
    or a folder cannot be read.
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
    """Name and content of every picture that `find_entries` finds; raises as it does."""
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
