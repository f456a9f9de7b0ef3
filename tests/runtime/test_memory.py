"""What a photo will take of the memory there is, who says that there is none left, and what was taken."""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import psutil
import pytest
import torch

from bringback.errors import PhotoError
from bringback.runtime import memory
from bringback.runtime.compute import Compute
from bringback.runtime.memory import (
    HELD,
    SMALLEST_TILE,
    WRITTEN,
    Plan,
    forget_peak,
    give_back_heap,
    halved,
    machine_memory,
    out_of_memory,
    peak_memory,
)

HEIGHT, WIDTH = 2000, 3000
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the peak is kept by Linux")


class Tiled:
    """A stage whose memory is that of a tile, and a network of a million floats."""

    name = "translate"

    def __init__(self, tile: int, each: int = 1000) -> None:
        self.tile, self.each, self.asked = tile, each, []
        self.network = torch.nn.Linear(1000, 1000, bias=False)

    def needs(self, height: int, width: int, tile: int | None) -> int:
        self.asked.append((height, width, tile))
        return self.each * min(tile or self.tile, self.tile) ** 2


class Plain:
    """A stage without tiles, which says nothing of its needs."""

    name = "fill"


def peak_of(stages, tile: int | None) -> int:
    """What a plan says when these tiles are just small enough."""
    return memory._peak(stages, HEIGHT, WIDTH, tile)


def planned(stages, allowed: int | None) -> Plan:
    return Plan.of(stages, Compute(memory=allowed), HEIGHT, WIDTH)


def test_a_plan_counts_program_weights_photo_and_the_hungriest_stage():
    stages = [Tiled(512, each=10), Tiled(1024), Plain()]
    bare, whole = (planned(some, None).peak for some in ([], stages))
    assert bare >= HEIGHT * WIDTH * (HELD + WRITTEN)
    assert whole - bare == 2 * 4 * 10**6 + 1000 * 1024**2 - HEIGHT * WIDTH * WRITTEN  # the larger, not the sum
    assert stages[0].asked == stages[1].asked == [(HEIGHT, WIDTH, None)]
    shared = Tiled(512, each=10)
    shared.network = stages[1].network
    assert planned([shared, stages[1]], None).peak == whole - 4 * 10**6  # what two stages share is loaded once


class Scaled(Tiled):
    """Needs the more the less a photo is shrunk, and most just above 1."""

    at_native_scale = True

    def needs(self, height: int, width: int, tile: int | None, scale: float = 1.0) -> int:
        return 10**9 if scale == 1 else round(2 * 10**9 / scale)


def test_a_plan_is_for_either_scale_that_a_photo_may_have():
    stages = [Scaled(512)]
    peaks = [Plan.of(stages, Compute(), HEIGHT, WIDTH, scale).peak for scale in (1.0, 1.25, 4.0)]
    for scale, softer, peak in ((1.0, 1.25, peaks[1]), (1.0, 4.0, peaks[0]), (1.25, 4.0, peaks[1])):
        plan = Plan.of(stages, Compute(), HEIGHT, WIDTH, scale, softer=softer)
        assert (plan.scale, plan.softer, plan.peak) == (scale, softer, peak)


def test_float32_needs_no_copies_of_weights_and_leaves_less_behind():
    peaks = []
    for dtype in (torch.float32, torch.bfloat16):
        stage = Tiled(1024)
        stage.compute = Compute(dtype=dtype)
        peaks.append(planned([Plain(), stage], None).peak)
    assert peaks[0] == planned([Tiled(1024)], None).peak
    assert peaks[1] - peaks[0] == memory.COPIES + memory.LEFT[-1] - memory.LEFT_IN_FLOAT32[-1]


@pytest.mark.parametrize("own", [1024, 1100, 640])
def test_the_largest_halving_that_fits_is_taken(own):
    stages = [Plain(), Tiled(300), Tiled(own, each=50_000)]
    for halvings in range(4):
        tile = own // 2**halvings if halvings else None
        if tile is None or tile >= SMALLEST_TILE:
            fits = peak_of(stages, tile)
            assert planned(stages, fits) == Plan(HEIGHT, WIDTH, fits, tile)
            assert planned(stages, fits + 1).tile == tile


def test_without_a_limit_and_with_enough_stages_have_their_own_way():
    stages = [Tiled(1024)]
    assert planned(stages, None).tile is None
    assert planned(stages, peak_of(stages, None)).tile is None
    assert planned(stages, peak_of(stages, None) - 1).tile == 512


def test_halving_ends_at_the_smallest_tile():
    stages = [Tiled(1024), Tiled(640), Plain()]
    assert [halved(stages, tile) for tile in (None, 2000, 512, 256, 128)] == [512, 512, 256, 128, None]
    assert halved([Tiled(200)], None) is None and halved([Plain()], None) is None


@pytest.mark.parametrize("stages", [[], [Plain()], [Tiled(1024)]], ids=["none", "plain", "tiled"])
def test_too_large_a_photo_is_refused_with_both_numbers(stages):
    least = peak_of(stages, SMALLEST_TILE)
    with pytest.raises(PhotoError, match=r"^[^\n]*$") as caught:
        planned(stages, 123_456_789)
    message = str(caught.value)
    assert f"3000x2000 pixels takes about {least / 1e9:.1f} GB of memory, 0.1 are there" in message


def test_a_plan_hangs_on_its_arguments_alone(monkeypatch):
    stages = [Tiled(1024)]
    allowed = peak_of(stages, 512)
    first = planned(stages, allowed)
    assert first == planned(stages, allowed) and first.tile == 512
    busy = SimpleNamespace(total=2**34, available=1, free=1, used=2**34, percent=100.0)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: busy)
    monkeypatch.setattr(memory, "machine_memory", lambda: 1)
    monkeypatch.setattr(memory, "peak_memory", lambda: 2**40)
    assert planned(stages, allowed) == first


def test_a_plan_in_words():
    plan = Plan(2000, 3000, 1_234_000_000, None)
    assert str(plan) == "3000x2000 pixels (6.0 MP): at most 1.23 GB"
    assert str(replace(plan, tile=256)) == "3000x2000 pixels (6.0 MP): at most 1.23 GB, in tiles of 256 pixels"


def test_a_machine_has_memory_and_a_container_less(monkeypatch):
    assert 10**8 < machine_memory() <= psutil.virtual_memory().total
    texts = {"/sys/fs/cgroup/memory.max": "1000000\n"}

    def read(path: Path, *_: object, **__: object) -> str:
        if str(path) in texts:
            return texts[str(path)]
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", read)
    assert machine_memory() == 1_000_000
    texts["/sys/fs/cgroup/memory.max"] = "max\n"
    assert machine_memory() == psutil.virtual_memory().total
    texts["/sys/fs/cgroup/memory/memory.limit_in_bytes"] = "2000000"
    assert machine_memory() == 2_000_000


def test_torch_and_opencv_say_in_their_own_words_that_memory_ran_out():
    with pytest.raises(RuntimeError) as torchs:
        torch.empty(10**15)
    with pytest.raises(cv2.error) as opencvs:
        cv2.resize(np.zeros((3, 3, 3), np.float32), (2**20, 2**20))  # 12 TB
    with pytest.raises(MemoryError) as numpys:
        np.empty(2**50)
    assert all(out_of_memory(caught.value) for caught in (torchs, opencvs, numpys))
    assert out_of_memory(MemoryError()) and out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to"))


def test_other_errors_are_not_for_want_of_memory():
    others = [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError(), KeyError("memory"), PhotoError()]
    with pytest.raises(RuntimeError) as shapes:
        torch.ones(2, 3) @ torch.ones(2, 3)
    with pytest.raises(cv2.error) as empty:
        cv2.resize(np.zeros((0, 0, 3), np.float32), (4, 4))
    assert not any(out_of_memory(error) for error in (*others, shapes.value, empty.value))


def test_what_a_convolution_says_that_has_no_room_for_its_own_code_is_known_too():
    assert out_of_memory(RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : std::bad_alloc"))
    assert out_of_memory(RuntimeError("could not create a primitive"))  # oneDNN's, seen under a limit
    assert not out_of_memory(RuntimeError("could not create a primitive descriptor for a convolution"))  # a bug


@LINUX
def test_the_peak_rises_with_what_is_touched_and_is_forgotten():
    give_back_heap()
    forget_peak()
    before = peak_memory()
    block = np.ones(8 << 20)  # 64 MB
    with_it = peak_memory()
    assert 60e6 < with_it - before < 90e6
    assert block.sum() == 8 << 20
    del block
    assert peak_memory() > with_it - 1e6  # a peak: it stays
    forget_peak()
    if peak_memory() >= with_it:
        pytest.skip("the system lets nobody forget the peak")
    assert with_it - peak_memory() > 50e6


def test_a_system_without_that_file_tells_a_peak_all_the_same(monkeypatch):
    monkeypatch.setattr(Path, "exists", lambda self: False)
    assert peak_memory() > 50e6
