"""The pictures of a source, either decoded in memory or read and decoded on access: the same pixels either way.

Files are decoded as by `bringback.images.photo`: upright, 16 bits scaled to 8, CMYK converted by its profile.
"""

import io
import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
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
from bringback.training import cache

logger = logging.getLogger(__name__)

TELL_EVERY = 5.0  # seconds
WHITE_IS_ZERO = 0  # a value of TIFF's PhotometricInterpretation tag


def local_processes() -> int:
    """How many processes of this run share the machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def free_memory(group: Path = Path("/sys/fs/cgroup")) -> int:
    """Free bytes on this machine, or in the container that this process runs in."""
    free = psutil.virtual_memory().available
    if (group / "memory.max").exists() and (limit := (group / "memory.max").read_text().strip()) != "max":
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        # inactive_file is page cache, which the kernel frees on demand
        used = int((group / "memory.current").read_text()) - int(stat["inactive_file"])
        free = min(free, int(limit) - used)
    return free


def memory_budget(max_gb: float) -> float:
    """Bytes of pictures that this process may hold, given `max_gb` for the machine (0: half of the free memory)."""
    return (max_gb * 1e9 or free_memory() / 2) / local_processes()


def downscaled_size(size: tuple[int, int], side: int | None) -> tuple[int, int]:
    """The size after downscaling to a short side of `side`; unchanged if it is None or not smaller."""
    if side is None or min(size) <= side:
        return size
    first, second = (max(side, round(length * side / min(size))) for length in size)
    return first, second


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any mode as 8-bit RGB; raises ValueError for modes without a defined white."""
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
    """The bytes of a file as (H, W, 3) uint8, upright, at its `downscaled_size`; raises whatever the decoder raises."""
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    image.load()
    with suppress(Exception):  # an invalid EXIF block does not make the picture unusable
        ImageOps.exif_transpose(image, in_place=True)
    return np.array(_to_rgb(image).resize(downscaled_size(image.size, side)))


def _warn(entry: Entry, error: Exception) -> None:
    reason = next(iter(str(error).splitlines()), repr(error))
    reason = "no picture" if isinstance(error, UnidentifiedImageError) else reason
    logger.warning("%s: left out, it cannot be read (%s)", entry, reason)


def _read_header(entry: Entry) -> tuple[Entry, tuple[int, int]] | None:
    """The entry and the size in its header; None, with a warning, if it is no picture."""
    try:
        with entry.file.open("rb") as stream:
            return entry, Image.open(ContainerIO(stream, entry.offset, entry.size), formats=FORMATS).size
    except Exception as error:  # decoders raise exceptions of all kinds for broken files
        _warn(entry, error)
        return None


class Pictures:
    """A thread-safe sequence of pictures (H, W, 3) uint8, with None (and one warning) for those that cannot be decoded.

    Files whose header is not that of a picture are left out, with a warning. `nbytes` is the size of all pictures when
    decoded. Indexing raises ConfigError if the file is gone.
    """

    def __init__(self, entries: Iterable[Entry], side: int | None, pool: ThreadPool) -> None:
        found = [header for header in pool.map(_read_header, entries) if header is not None]
        self.entries, self.sizes, self.side = [entry for entry, _ in found], [size for _, size in found], side
        self.nbytes = sum(3 * width * height for width, height in (downscaled_size(size, side) for size in self.sizes))
        self._held: Sequence[np.ndarray | None] = []
        self._broken: set[int] = set()
        self._lock = threading.Lock()

    def hold(self, pool: ThreadPool) -> None:
        """Decode all of them into memory; the log says how far that is, every few seconds."""
        self._held = list(self._decoded(pool))

    def keep(self, pool: ThreadPool) -> Path | None:
        """Hold them in a file beside the first, decoded once for all runs, see `cache`; returns it, None without any.

        Raises ConfigError where it cannot be written or read.
        """
        if not self.entries:
            return None
        path = cache.place(self.entries, self.side)
        if not path.exists():
            cache.write(path, self._decoded(pool))
        self._held = cache.Decoded(path)
        return path

    def _decoded(self, pool: ThreadPool) -> Iterator[np.ndarray | None]:
        told = time.monotonic()
        for number, picture in enumerate(pool.imap(self._decode, range(len(self))), 1):
            yield picture
            if time.monotonic() - told > TELL_EVERY:
                told = time.monotonic()
                logger.info("decoding pictures: %d of %d", number, len(self))

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> np.ndarray | None:
        return self._held[index] if self._held else self._decode(index)

    def _decode(self, index: int) -> np.ndarray | None:
        if index in self._broken:
            return None
        try:
            data = self.entries[index].read()
        except OSError as error:  # the disk is gone: left out one by one, all pictures would disappear
            raise ConfigError(f"{self.entries[index]}: cannot be read any more ({error.strerror})") from error
        try:
            return decode(data, self.side)
        except Exception as error:  # decoders raise exceptions of all kinds for broken files
            with self._lock:
                if index not in self._broken:
                    _warn(self.entries[index], error)
                self._broken.add(index)
            return None
