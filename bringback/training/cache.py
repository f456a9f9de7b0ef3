"""Decoded pictures in a file beside their shards, which later runs and all processes of a machine map into memory.

The file holds the pixels of all pictures, then a table (n, 3) of int64 with the offset, height and width of each
(height 0: none), then n.
"""

import hashlib
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from uuid import uuid4

import numpy as np

from bringback.batch.locks import Locks
from bringback.errors import ConfigError
from bringback.images.shards import Entry

TABLE = np.dtype("<i8")
FORMAT = 1  # one more whenever pictures are decoded, downscaled or laid out in another way
WAIT = 1.0  # seconds between two looks at whether another process has finished


class Decoded(Sequence[np.ndarray | None]):
    """The pictures (H, W, 3) uint8, or None, of a file that `write` made; read-only."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError if it cannot be read, or is another file."""
        try:
            self.pixels = np.memmap(path, np.uint8, "r")
            count = int(np.frombuffer(self.pixels[-TABLE.itemsize :].tobytes(), TABLE)[0])
            table = self.pixels[-TABLE.itemsize * (3 * count + 1) : -TABLE.itemsize]
            self.table = np.frombuffer(table.tobytes(), TABLE).reshape(count, 3)
        except OSError as error:
            raise ConfigError(f"{path}: decoded pictures cannot be read there ({error.strerror})") from error
        except (ValueError, OverflowError) as error:
            raise ConfigError(f"{path}: holds no decoded pictures; delete it, and it is made again") from error

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> np.ndarray | None:  # type: ignore[override] # no slices
        start, height, width = self.table[index].tolist()
        flat = np.asarray(self.pixels[start : start + 3 * height * width])
        return flat.reshape(height, width, 3) if height else None


def place(entries: Sequence[Entry], side: int | None) -> Path:
    """Where these pictures, downscaled to a short side, are kept: beside the first; changed files go elsewhere."""
    told = [[one.name, one.offset, one.size, one.file.stat().st_mtime_ns] for one in entries]
    name = hashlib.sha256(repr((FORMAT, side, told)).encode()).hexdigest()[:16]
    return entries[0].file.parent / f".decoded-{name}.pixels"


def write(path: Path, pictures: Iterable[np.ndarray | None]) -> None:
    """Write the pictures, unless another process has by then; there is no file until all are in it.

    One process at a time writes, and the others wait for it. Raises ConfigError where none can be written.
    """
    try:
        with Locks.of(path.parent) as locks:
            while not locks.take(path.name):
                time.sleep(WAIT)
            try:
                if not path.exists():
                    _write(path, pictures)
            finally:
                locks.give_back(path.name)
    except OSError as error:
        raise ConfigError(f"{path.parent}: decoded pictures cannot be kept there ({error.strerror})") from error


def _write(path: Path, pictures: Iterable[np.ndarray | None]) -> None:
    table, start = list[tuple[int, int, int]](), 0
    passing = path.with_name(f".decoding-{uuid4().hex}")
    try:
        with passing.open("xb") as file:
            for picture in pictures:
                height, width = (0, 0) if picture is None else picture.shape[:2]
                table.append((start, height, width))
                if picture is not None:
                    start += file.write(np.ascontiguousarray(picture).data)
            file.write(np.array([*np.ravel(table), len(table)], TABLE).tobytes())
        os.replace(passing, path)
    except BaseException:
        passing.unlink(missing_ok=True)
        raise
