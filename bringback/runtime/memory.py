"""How much memory there is, how much a photo needs, and how to reduce that."""

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
# Bytes of Python, torch, OpenCV and dlib after a first small photo, without weights; and of the copies of weights that
# bfloat16 takes, packed ones among them.
PROGRAM, COPIES = 360_000_000, 60_000_000
# Bytes a pixel: the photo as it came and as it is now, the damage mask, and the share to which each pixel is filled. At
# the end, in place of a stage's needs: the result as floats and as integers, the encoder's memory, and the file, which
# noise can make as large as the integers.
HELD, WRITTEN = 12 + 12 + 4 + 4, 12 + 3 + 4 + 3
READ = 12 + 4  # of a photo that waits for its turn
# Freed memory that the allocator keeps, bytes, and the more the more tiles there were, bytes a pixel and at most: in
# bfloat16 200 MB after the 20 tiles of 12 megapixels that are sharp to the pixel, 170 MB after those of 3 megapixels;
# in float32 140, 110, and 10 to 40 after the few of a small photo.
LEFT = 110_000_000, 20, 220_000_000
LEFT_IN_FLOAT32 = 60_000_000, 20, 165_000_000

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_MMAP_FROM, _TRIM_FROM = 32 << 20, 256 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """What a photo needs: `peak` bytes of the whole process, `tile` pixels a side (None: the stages' own).

    `scale` is the photo's native scale, None if it is not known, and `softer` the one that it has if what is sharp in
    it is marks, see `native_scale.under_marks`: the plan is for either.
    In a folder run, `queued` photos are included.
    """

    height: int
    width: int
    peak: int
    tile: int | None
    scale: float | None = None
    softer: float | None = None

    @classmethod
    def of(
        cls,
        stages: Sequence[Any],
        compute: "Compute",
        height: int,
        width: int,
        scale: float | None = None,
        beside: int = 0,
        softer: float | None = None,
    ) -> Self:
        """For such a photo: the largest tiles with which the peak stays below `compute.memory`.

        A stage's `needs(height, width, tile)`, or with `at_native_scale` also `scale`, is the number of bytes it
        takes in addition to `HELD`; `beside` are bytes that the photo itself holds beside. Raises `PhotoError`, which
        says what to do, if the smallest tiles still need too much.
        """
        tile: int | None = None
        scales = [scale or 1.0, *([softer] if softer else [])]
        while True:
            peak = max(_peak(stages, height, width, tile, each) for each in scales) + beside
            if compute.memory is None or peak <= compute.memory:
                return cls(height, width, peak, tile, scale, softer)
            tile = halved(stages, tile)
            if tile is None:
                raise PhotoError(
                    f"a photo of {width}x{height} pixels takes about {peak / 1e9:.1f} GB of memory, "
                    f"{compute.memory / 1e9:.1f} are there: restore a smaller copy, or allow more"
                )

    def __str__(self) -> str:
        tiles = f", in tiles of {self.tile} pixels" if self.tile else ""
        size = f"{self.width}x{self.height} pixels ({self.height * self.width / 1e6:.1f} MP)"
        size += f", native scale {self.scale:.2g}" if self.scale and self.scale > 1 else ""
        return f"{size}: at most {self.peak / 1e9:.2f} GB{tiles}"


def halved(stages: Sequence[Any], tile: int | None) -> int | None:
    """The next smaller tiles after `tile`, or after the stages' own (None); None when they would be too small."""
    own = max((stage.tile for stage in stages if hasattr(stage, "tile")), default=0)
    smaller = min(tile or own, own) // 2
    return smaller if smaller >= SMALLEST_TILE else None


def together(stages: Sequence[Any], plans: Sequence[Plan]) -> int:
    """An upper bound of the peak, in bytes of the whole process, of several photos that go through the stages at once.

    A stage may work on all of them at the same time, so the needs of all are added.
    """
    fixed = _fixed(stages)
    return fixed + sum(plan.peak - fixed for plan in plans)


def queued(pixels: int, count: int) -> int:
    """Bytes of other photos in a folder run, of so many pixels: `count` are read ahead, as many wait to be written."""
    return pixels * (count * (READ + HELD) + WRITTEN) if count else 0


def _peak(stages: Sequence[Any], height: int, width: int, tile: int | None, scale: float = 1.0) -> int:
    needs = []
    for stage in stages:
        if hasattr(stage, "needs"):
            scaled = (scale,) if getattr(stage, "at_native_scale", False) else ()
            needs.append(stage.needs(height, width, tile, *scaled))
    pixels = height * width
    least, each, most = LEFT if _in_bfloat16(stages) else LEFT_IN_FLOAT32
    left = min(least + each * pixels, most)
    return _fixed(stages) + left + pixels * HELD + max([WRITTEN * pixels, *needs])


def _fixed(stages: Sequence[Any]) -> int:
    """Bytes that do not depend on the photo: the program and the networks, each counted once."""
    loaded = {id(network): _weight(network) for stage in stages for network in vars(stage).values()}
    return PROGRAM + COPIES * _in_bfloat16(stages) + sum(loaded.values())


def _in_bfloat16(stages: Sequence[Any]) -> bool:
    """Whether any of the stages computes in bfloat16."""
    computes = (getattr(stage, "compute", None) for stage in stages)
    return any(compute is not None and compute.dtype == torch.bfloat16 for compute in computes)


def _weight(network: Any) -> int:
    if not isinstance(network, torch.nn.Module):
        return 0
    return sum(part.numel() * part.element_size() for part in (*network.parameters(), *network.buffers()))


def machine_memory() -> int:
    """Bytes of memory of the machine, or the limit of the control group (container) if that is lower."""
    total = psutil.virtual_memory().total
    for name in ("memory.max", "memory/memory.limit_in_bytes"):  # cgroups, version 2 and 1: containers
        try:
            total = min(total, int((Path("/sys/fs/cgroup") / name).read_text()))
        except (OSError, ValueError):  # not Linux, or no limit ("max")
            continue
    return total


def out_of_memory(error: BaseException) -> bool:
    """Whether an error, of Python, torch, OpenCV, Pillow or onnxruntime, means that memory ran out."""
    said = str(error).lower().strip()
    known = ["can't allocate memory", "not enough memory", "out of memory", "insufficient memory", "failed to allocate"]
    known += ["bad_alloc", "bad allocation"]  # of C++, through onnxruntime
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or any(words in said for words in known):
        return True
    return said in ("could not create a primitive", "could not create a memory object")  # oneDNN's whole message


def peak_memory() -> int:
    """The peak of the process in bytes since `forget_peak`, or since its start where the system has only that."""
    status = Path("/proc/self/status")
    if status.exists() and (rest := status.read_text().partition("VmHWM:")[2]):
        return int(rest.split()[0]) * 1024
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def forget_peak() -> None:
    """Reset `peak_memory`, where the system can do that."""
    with suppress(OSError):  # not Linux, or not allowed
        Path("/proc/self/clear_refs").write_text("5")


def give_back_heap() -> None:
    """Return free blocks in the middle of the heap to the system, if the allocator is glibc's."""
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def keep_tiles_in_heap() -> None:
    """Make glibc, if that is the allocator, reuse the memory of a tile for the next one.

    By default it returns blocks of more than 128 KB to the system, which clears every page again when they are
    allocated the next time: a third of the time of some stages. Photos, larger than `_MMAP_FROM`, are still returned at
    once. This affects the whole process, so programs call it, not the library.
    """
    with suppress(AttributeError, OSError, TypeError):  # another allocator, another system
        for option, value in ((_M_MMAP_THRESHOLD, _MMAP_FROM), (_M_TRIM_THRESHOLD, _TRIM_FROM)):
            ctypes.CDLL(None).mallopt(option, value)
