"""Where and how the networks of a pipeline run: device, precision, tiles, batches, and how much memory they get."""

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Self

import torch

from bringback.runtime.memory import SMALLEST_TILE, machine_memory

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_GPU_BATCH = 8  # tiles or faces at a time that keep a GPU busy; a CPU gains nothing from more than one


@dataclass(frozen=True, slots=True)
class Compute:
    """How stages run their networks. Every stage takes one, or a device alone.

    `dtype` is what convolutions and products are computed in; everything else stays float32. `tile` is the most pixels
    a side that a network sees at once, None for what each stage does best; `batch` how many tiles or faces at once;
    `memory` the bytes that the whole process may take with a photo, None for no limit.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32
    tile: int | None = None
    batch: int = 1
    memory: int | None = None

    @classmethod
    def of(cls, given: "Compute | torch.device | str") -> "Compute":
        """Itself, or float32 one by one on a device."""
        return given if isinstance(given, Compute) else cls(torch.device(given))

    @classmethod
    def pick(
        cls,
        device: str = "auto",
        dtype: str = "auto",
        tile: int | None = None,
        batch: int | None = None,
        memory: int | None = None,
    ) -> Self:
        """What is best on this machine where nothing else is asked for, by what it is and not by what it is doing.

        "auto" is CUDA, else MPS, else the CPU, and bfloat16 where the device computes in it natively, else float32;
        `memory` is all that there is, if it is not given. Raises ValueError, one line, for what cannot be.
        """
        place = pick_device(device)
        if dtype not in ("auto", *DTYPES):
            raise ValueError(f"dtype {dtype!r}: one of auto, {', '.join(DTYPES)}")
        if tile is not None and tile < SMALLEST_TILE:
            raise ValueError(f"tile {tile}: wants {SMALLEST_TILE} pixels a side or more")
        if batch is not None and batch < 1:
            raise ValueError(f"batch size {batch}: wants 1 or more")
        if dtype == "auto":
            dtype = "bfloat16" if has_bfloat16(place) else "float32"
        batch = batch or (_GPU_BATCH if place.type == "cuda" else 1)
        return cls(place, DTYPES[dtype], tile, batch, memory or machine_memory())

    def to(self, *where: torch.device | torch.dtype | str | int) -> "Compute":
        """The same on another device, in another dtype, or both, as in torch: `to("cuda", torch.bfloat16)`.

        Raises ValueError for a dtype that is neither float32 nor bfloat16.
        """
        result = self
        for one in where:
            if not isinstance(one, torch.dtype):
                result = replace(result, device=torch.device(one))
            elif one in DTYPES.values():
                result = replace(result, dtype=one)
            else:
                raise ValueError(f"stages compute in float32 or bfloat16, not in {one}")
        return result

    @property
    def settings(self) -> dict[str, str | int | None]:
        """What a manifest keeps of it."""
        name = next(name for name, dtype in DTYPES.items() if dtype == self.dtype)
        return {"dtype": name, "tile": self.tile, "batch_size": self.batch}

    def tiles_need(self, pixels: int, own: int, tile: int | None, each: int) -> int:
        """Bytes of the machine on the way through a network, a pixel of which takes `each`; a GPU has its own.

        Tiles smaller than a stage's `own` go one by one.
        """
        at_once = tile**2 if tile and tile < own else own**2 * self.batch
        return min(pixels, at_once) * each if self.device.type == "cpu" else 0

    def autocast(self) -> AbstractContextManager[None]:
        """Within it convolutions and products run in `dtype`."""
        return lower(self.device, self.dtype)


def pick_device(name: str) -> torch.device:
    """The device of that name; "auto" is CUDA, else MPS, else the CPU. Raises ValueError for one that is not there.

    Of several GPUs "auto" takes the one of the environment's `LOCAL_RANK`, by which launchers number processes.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        rank, count = os.environ.get("LOCAL_RANK", ""), torch.cuda.device_count()
        if name == "cuda" and rank.isdecimal() and count > 1:
            name = f"cuda:{int(rank) % count}"  # more processes than GPUs share them; one GPU may be all that it sees
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except Exception as error:  # which kind depends on the backend and the torch version
        raise ValueError(f"no device {name!r} here: {str(error).splitlines()[0]}") from None
    return device


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16; elsewhere it is emulated, and slower than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    return any(
        getattr(torch.cpu, name, lambda: False)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )


def lower(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[None]:
    """Within it convolutions and products run in `dtype`; for float32, in what the caller has chosen."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)
