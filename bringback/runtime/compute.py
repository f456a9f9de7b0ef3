"""Compute settings of a pipeline: device, precision, tile size, batch size, memory limit."""

import copy
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Self, TypeVar, cast

import torch
from torch import nn

from bringback.errors import known_names
from bringback.runtime.memory import SMALLEST_TILE, machine_memory
from bringback.runtime.packed import packed

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_Network = TypeVar("_Network", bound=nn.Module)
_GPU_BATCH = 8  # tiles or faces; a CPU gains nothing from more than one


@dataclass(frozen=True, slots=True)
class Compute:
    """How stages run their networks. Every stage accepts one, or just a device.

    `dtype` is the autocast dtype of convolutions and matrix products; everything else stays float32. `tile` is the
    largest side of a network's input in pixels, None for each stage's default. `batch` is the number of tiles or faces
    at once. `memory` is the limit of the whole process in bytes, None for no limit.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32
    tile: int | None = None
    batch: int = 1
    memory: int | None = None

    @classmethod
    def of(cls, given: "Compute | torch.device | str") -> "Compute":
        """Return a `Compute` unchanged; for a device, return float32 and a batch of 1 on it."""
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
        """Choose the settings that are not given by the machine's hardware, regardless of its current load.

        "auto" is CUDA, else MPS, else the CPU, and bfloat16 where the device supports it natively, else float32.
        `memory` defaults to all memory of the machine. Raises ValueError, one line, for invalid or unavailable values.
        """
        place = pick_device(device)
        if dtype not in ("auto", *DTYPES):
            raise ValueError(f"dtype {dtype!r}: one of auto, {known_names(dtype, DTYPES)}")
        if tile is not None and tile < SMALLEST_TILE:
            raise ValueError(f"tile {tile}: wants {SMALLEST_TILE} pixels a side or more")
        if batch is not None and batch < 1:
            raise ValueError(f"batch size {batch}: wants 1 or more")
        if dtype == "auto":
            dtype = "bfloat16" if has_bfloat16(place) else "float32"
        batch = batch or (_GPU_BATCH if place.type == "cuda" else 1)
        return cls(place, DTYPES[dtype], tile, batch, memory or machine_memory())

    def to(self, *where: torch.device | torch.dtype | str | int) -> "Compute":
        """A copy with another device, dtype, or both, as in torch: `to("cuda", torch.bfloat16)`.

        Raises ValueError for a dtype other than float32 and bfloat16.
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
        """The settings recorded in manifests."""
        name = next(name for name, dtype in DTYPES.items() if dtype == self.dtype)
        return {"dtype": name, "tile": self.tile}

    def __str__(self) -> str:
        return f"{self.device} in {self.settings['dtype']}"

    def tiles_need(self, pixels: int, own: int, tile: int | None, each: int) -> int:
        """Bytes of main memory for a network's activations, at `each` bytes a pixel; 0 unless the device is the CPU.

        `own` is the stage's default tile side; tiles smaller than that run one at a time.
        """
        at_once = tile**2 if tile and tile < own else own**2 * self.batch
        return min(pixels, at_once) * each if self.device.type == "cpu" else 0

    def autocast(self) -> AbstractContextManager[None]:
        """Context in which convolutions and matrix products run in `dtype`."""
        return autocast_to(self.device, self.dtype)


class Cast:
    """A network with its weights in the dtype that it computes in, and packed: autocast casts them anew at each call.

    Kept until another network, or another state of its weights and buffers, is asked for. Torch does not count what is
    changed through `Tensor.data`.
    """

    def __init__(self, prepare: Callable[[nn.Module], object] | None = None) -> None:
        """Args: prepare: changes the copy in place before it is cast, as by joining layers."""
        self._prepare = prepare
        self._kept: tuple[tuple[object, ...], nn.Module] | None = None  # of which state; both at once, for threads

    def of(self, network: _Network, dtype: torch.dtype) -> _Network:
        """The network in the dtype; itself in float32, if it learns, and where torch does not count changes."""
        weights = [*network.parameters(), *network.buffers()]
        learns = network.training or any(one.requires_grad for one in weights)
        if dtype == torch.float32 or learns or any(one.is_inference() for one in weights):
            return network
        state = dtype, network, *((one.data_ptr(), one._version) for one in weights)
        kept = self._kept
        if kept is None or kept[0] != state:
            with torch.inference_mode(False):
                own = copy.deepcopy(network)
                if self._prepare:
                    self._prepare(own)
                self._kept = kept = state, packed(own.to(dtype))
        return cast(_Network, kept[1])

    def __getstate__(self) -> dict[str, object]:
        """Without what is kept, which is of no use to a copy: its weights lie elsewhere."""
        return {**self.__dict__, "_kept": None}


def pick_device(name: str) -> torch.device:
    """The device of that name; "auto" is CUDA, else MPS, else the CPU. Raises ValueError if it is not available.

    With several GPUs "auto" uses the environment variable `LOCAL_RANK`, which launchers such as torchrun set.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        rank, count = os.environ.get("LOCAL_RANK", ""), torch.cuda.device_count()
        if name == "cuda" and rank.isdecimal() and count > 1:
            name = f"cuda:{int(rank) % count}"  # processes may outnumber GPUs
    try:
        device = torch.device(name)
    except RuntimeError:
        gpu = "mps" if torch.backends.mps.is_available() else "cuda"
        known = known_names(gpu if name.lower() == "gpu" else name, ("auto", "cuda", "mps", "cpu"))
        raise ValueError(f"no device {name!r}: one of {known}") from None
    try:
        torch.empty(1, device=device)
    except Exception as error:  # its type depends on the backend and the torch version
        raise ValueError(f"no device {name!r} here: {str(error).splitlines()[0]}") from None
    return device


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device has native bfloat16; elsewhere it is emulated and slower than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    return any(
        getattr(torch.cpu, name, lambda: False)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )


def autocast_to(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[None]:
    """Context in which convolutions and matrix products run in `dtype`; for float32, the caller's autocast is kept."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)
