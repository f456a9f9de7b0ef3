"""Pictures one after the other as (name, bytes), from folders and from tar shards alike; nothing is decoded here."""

import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
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


def find_pictures(folder: Path) -> list[Path]:
    """The picture files anywhere below a folder, sorted."""
    return [path for path in sorted(folder.rglob("*")) if is_picture(path) and path.is_file()]


def find_entries(place: Path) -> Iterator[Entry]:
    """Every picture in a tar shard, a folder of shards, or a folder and all below it; by name.

    Raises FileNotFoundError when there is no such place, ValueError, naming it, when a shard is none or is cut short.
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
