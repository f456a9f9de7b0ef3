"""The memory there is, what a photo will take of it, and what to do about both."""

import ctypes
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import psutil
import torch

from bringback.errors import PhotoError

if TYPE_CHECKING:
    from bringback.runtime.compute import Compute

SMALLEST_TILE = 128  # pixels a side, below which a tile is little but border
PROGRAM = 300_000_000  # bytes of Python, torch, OpenCV and dlib, before any weights
# Bytes a pixel: the photo as it came and as it is now, and the mask. At the end, in place of what a stage would want:
# the result in float and in whole numbers, and what an encoder takes of it.
HELD, WRITTEN = 12 + 12 + 4, 12 + 3 + 4
LEFT, LEFT_A_PIXEL, LEFT_AT_MOST = 30_000_000, 10, 110_000_000  # what the allocator keeps of what was given back

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_MMAP_FROM, _TRIM_FROM = 32 << 20, 256 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """What a photo will take: `peak` bytes of the whole process, `tile` pixels a side (None: stages' own).

    What a folder reads and writes beside a photo, others of no more than `runner.ALONE` pixels, comes on top.
    """

    height: int
    width: int
    peak: int
    tile: int | None

    @classmethod
    def of(cls, stages: Sequence[Any], compute: "Compute", height: int, width: int) -> Self:
        """For a photo of this size: the largest tiles with which the peak stays below `compute.memory`.

        A stage tells by `needs(height, width, tile)` how many bytes it takes beside photo, pixels and mask. Raises
        `PhotoError`, which says what to do, when the smallest tiles are too large.
        """
        tile: int | None = None
        while True:
            peak = _peak(stages, height, width, tile)
            if compute.memory is None or peak <= compute.memory:
                return cls(height, width, peak, tile)
            tile = halved(stages, tile)
            if tile is None:
                raise PhotoError(
                    f"a photo of {width}x{height} pixels takes about {peak / 1e9:.1f} GB of memory, "
                    f"{compute.memory / 1e9:.1f} are there: restore a smaller copy, or allow more"
                )

    def __str__(self) -> str:
        tiles = f", in tiles of {self.tile} pixels" if self.tile else ""
        size = f"{self.width}x{self.height} pixels ({self.height * self.width / 1e6:.1f} MP)"
        return f"{size}: at most {self.peak / 1e9:.2f} GB{tiles}"


def halved(stages: Sequence[Any], tile: int | None) -> int | None:
    """The next smaller tiles after `tile`, or after the stages' own (None); None when they would be too small."""
    own = max((stage.tile for stage in stages if hasattr(stage, "tile")), default=0)
    smaller = min(tile or own, own) // 2
    return smaller if smaller >= SMALLEST_TILE else None


def _peak(stages: Sequence[Any], height: int, width: int, tile: int | None) -> int:
    loaded = {id(network): _weight(network) for stage in stages for network in vars(stage).values()}
    wants = [stage.needs(height, width, tile) for stage in stages if hasattr(stage, "needs")]
    pixels = height * width
    left = min(LEFT + LEFT_A_PIXEL * pixels, LEFT_AT_MOST)
    return PROGRAM + sum(loaded.values()) + left + pixels * HELD + max([WRITTEN * pixels, *wants])


def _weight(network: Any) -> int:
    if not isinstance(network, torch.nn.Module):
        return 0
    return sum(part.numel() * part.element_size() for part in (*network.parameters(), *network.buffers()))


def machine_memory() -> int:
    """Bytes of memory that the machine has in all, or that the group of processes (a container) may use."""
    total = psutil.virtual_memory().total
    for name in ("memory.max", "memory/memory.limit_in_bytes"):  # cgroups, version 2 and 1: containers
        try:
            total = min(total, int((Path("/sys/fs/cgroup") / name).read_text()))
        except (OSError, ValueError):  # not Linux, or "max"
            continue
    return total


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice, whoever says so: Python, torch, OpenCV, Pillow."""
    said = str(error).lower().strip()
    known = ["can't allocate memory", "not enough memory", "out of memory", "insufficient memory", "failed to allocate"]
    known += ["bad_alloc", "bad allocation"]  # of C++, as onnxruntime passes it on
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or any(words in said for words in known):
        return True
    return said in ("could not create a primitive", "could not create a memory object")  # all that oneDNN says of it


def peak_memory() -> int:
    """The most bytes that the process has held since `forget_peak`; since it began where the system keeps no other."""
    status = Path("/proc/self/status")
    if status.exists() and (told := status.read_text().partition("VmHWM:")[2]):
        return int(told.split()[0]) * 1024
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def forget_peak() -> None:
    """Let `peak_memory` begin anew, where the system can."""
    with suppress(OSError):  # not Linux, or not allowed
        Path("/proc/self/clear_refs").write_text("5")


def give_back_heap() -> None:
    """Let glibc, where that is the allocator, give back to the system what is free between what is in use."""
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def keep_tiles_in_heap() -> None:
    """Tell glibc, where that is the allocator, to reuse the memory of a tile for the next one.

    It would give blocks of more than 128 KB back to the system, which has to clear every page of them when they are
    wanted again: a third of the time of some stages. Photos themselves, larger than `_MMAP_FROM`, still go back at
    once. A matter of the whole process, so it is for programs to call.
    """
    with suppress(AttributeError, OSError, TypeError):  # another allocator, another system
        for option, value in ((_M_MMAP_THRESHOLD, _MMAP_FROM), (_M_TRIM_THRESHOLD, _TRIM_FROM)):
            ctypes.CDLL(None).mallopt(option, value)
