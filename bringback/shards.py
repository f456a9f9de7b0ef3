"""Pictures one after the other as (name, bytes), from folders and from tar shards alike; nothing is decoded here."""

import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePath

SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif", ".jp2", ".j2k", ".jpx"]
)


def is_picture(path: PurePath) -> bool:
    """Whether a file's name is that of a picture."""
    # macOS leaves "._name.jpg" beside "name.jpg" on foreign disks; it holds no picture.
    return path.suffix.lower() in SUFFIXES and not path.name.startswith("._")


def find_pictures(folder: Path) -> list[Path]:
    """The picture files anywhere below a folder, sorted."""
    return [path for path in sorted(folder.rglob("*")) if is_picture(path) and path.is_file()]


def read_shards(place: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of every picture in a tar shard, a folder of shards, or a folder and all below it; by name.

    Raises FileNotFoundError when there is no such place, ValueError, naming it, when a shard is none or is cut short.
    """
    if not place.exists():
        raise FileNotFoundError(f"no such file or folder: {place}")
    shards = sorted(place.glob("*.tar")) if place.is_dir() else [place]
    for shard in shards:
        yield from _members(shard)
    if not shards:
        for path in find_pictures(place):
            yield path.relative_to(place).as_posix(), path.read_bytes()


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(path) as shard:
            for member in sorted(shard.getmembers(), key=lambda member: member.name):
                stream = shard.extractfile(member) if is_picture(PurePath(member.name)) else None
                if stream is not None:
                    yield member.name, stream.read()
    except tarfile.TarError:
        raise ValueError(f"{path}: not a tar shard, or cut short") from None
