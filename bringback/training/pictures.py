"""The pictures of a source, held decoded in memory or read and decoded when asked for: the same pixels either way.

Files are understood as `bringback.images.photo` understands them: upright, 16 bits scaled, CMYK by its profile.
"""

import io
import logging
import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import psutil
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ContainerIO import ContainerIO

from bringback.errors import ConfigError
from bringback.images import tiff
from bringback.images.modes import FORMATS, from_cmyk
from bringback.images.shards import Entry

logger = logging.getLogger(__name__)

WHITE_IS_ZERO = 0  # a value of the TIFF tag


def local_processes() -> int:
    """How many processes of this run share the machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def free_memory(group: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that are free on this machine, or in the container that it is."""
    free = psutil.virtual_memory().available
    if (group / "memory.max").exists() and (most := (group / "memory.max").read_text().strip()) != "max":
        held = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        used = int((group / "memory.current").read_text()) - int(held["inactive_file"])  # a cache, given up when needed
        free = min(free, int(most) - used)
    return free


def memory_budget(max_gb: float) -> float:
    """Bytes of pictures that this process may hold, of `max_gb` for the machine (0: half of what is free)."""
    return (max_gb * 1e9 or free_memory() / 2) / local_processes()


def shrunk(size: tuple[int, int], side: int | None) -> tuple[int, int]:
    """A size brought down to a short side of `side`, if that is given and smaller."""
    if side is None or min(size) <= side:
        return size
    first, second = (max(side, round(length * side / min(size))) for length in size)
    return first, second


def _rgb(image: Image.Image) -> Image.Image:
    """Any mode as RGB of 8 bits; raises ValueError for those without a known white."""
    if image.mode.startswith("I;16"):
        deep = np.asarray(image).astype(np.uint16)
        if image.format == "TIFF" and image.tag_v2.get(tiff.PHOTOMETRIC) == WHITE_IS_ZERO:  # type: ignore[attr-defined]
            deep = np.uint16(65535) - deep
        image = Image.fromarray(np.rint(deep / 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"pixels of the kind {image.mode!r}; save it with 8 or 16 bits a channel")
    if image.mode == "CMYK":
        return from_cmyk(image, image.info.get("icc_profile"))
    return image.convert("RGB")


def decode(data: bytes, side: int | None = None) -> np.ndarray:
    """The bytes of a file as (H, W, 3) uint8, upright, `shrunk`; raises whatever the decoder trips over."""
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    image.load()
    with suppress(Exception):  # an EXIF block that makes no sense says nothing, and takes nothing from the picture
        ImageOps.exif_transpose(image, in_place=True)
    return np.array(_rgb(image).resize(shrunk(image.size, side)))


def _warn(entry: Entry, error: Exception) -> None:
    reason = next(iter(str(error).splitlines()), repr(error))
    reason = "no picture" if isinstance(error, UnidentifiedImageError) else reason
    logger.warning("%s: left out, it cannot be read (%s)", entry, reason)


def _header(entry: Entry) -> tuple[Entry, tuple[int, int]] | None:
    """The size that a picture will have, of which only the first bytes are read."""
    try:
        with entry.file.open("rb") as stream:
            return entry, Image.open(ContainerIO(stream, entry.offset, entry.size), formats=FORMATS).size
    except Exception as error:  # whatever a decoder trips over is a broken file
        _warn(entry, error)
        return None


class Pictures:
    """Pictures by number, each (H, W, 3) uint8, or None if it cannot be decoded (one warning); safe to use in threads.

    What is seen to be no picture by its first bytes is left out, with a warning; `nbytes` is what all take decoded.
    Getting one raises ConfigError when its file is gone.
    """

    def __init__(self, entries: Iterable[Entry], side: int | None, pool: ThreadPool) -> None:
        found = [header for header in pool.map(_header, entries) if header is not None]
        self.entries, self.sizes, self.side = [entry for entry, _ in found], [size for _, size in found], side
        self.nbytes = sum(3 * width * height for width, height in (shrunk(size, side) for size in self.sizes))
        self._held: list[np.ndarray | None] = []
        self._broken: set[int] = set()
        self._lock = threading.Lock()

    def hold(self, pool: ThreadPool) -> None:
        """Decode all of them into memory."""
        self._held = pool.map(self._decode, range(len(self)))

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> np.ndarray | None:
        return self._held[index] if self._held else self._decode(index)

    def _decode(self, index: int) -> np.ndarray | None:
        if index in self._broken:
            return None
        try:
            data = self.entries[index].read()
        except OSError as error:  # a disk that went away is no broken picture: all would be left out in turn
            raise ConfigError(f"{self.entries[index]}: cannot be read any more ({error.strerror})") from error
        try:
            return decode(data, self.side)
        except Exception as error:  # whatever a decoder trips over is a broken file
            with self._lock:
                if index not in self._broken:
                    _warn(self.entries[index], error)
                self._broken.add(index)
            return None
