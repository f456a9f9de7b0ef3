"""How stages are to compute: what is picked, what is refused, and what autocast leaves alone."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch

from bringback.runtime import compute as compute_module
from bringback.runtime.compute import Cast, Compute, has_bfloat16, pick_device
from bringback.runtime.memory import machine_memory

CPU = torch.device("cpu")


def test_a_device_or_its_name_is_float32_one_by_one():
    plain = Compute()
    assert (plain.device, plain.dtype, plain.tile, plain.batch, plain.memory) == (CPU, torch.float32, None, 1, None)
    assert Compute.of("cpu") == Compute.of(CPU) == plain
    given = Compute(dtype=torch.bfloat16, tile=200, batch=3)
    assert Compute.of(given) is given


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"dtype": "float16"}, "dtype 'float16': one of auto, float32, bfloat16"),
        ({"tile": 127}, "tile 127: wants 128 pixels a side or more"),
        ({"batch": 0}, "batch size 0: wants 1 or more"),
        ({"batch": -2}, "batch size -2: wants 1 or more"),
        ({"device": "abacus"}, "no device 'abacus': one of auto, cuda, mps, cpu"),
        ({"device": "cuda:99"}, "no device 'cuda:99' here: "),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(wrong, reason):
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        Compute.pick(**{"device": "cpu", **wrong})
    assert str(caught.value).startswith(reason)


def test_what_is_asked_for_is_what_there_is():
    picked = Compute.pick("cpu", "float32", tile=128, batch=1, memory=7)
    assert picked == Compute(CPU, torch.float32, 128, 1, 7)
    assert Compute.pick("cpu", "bfloat16").dtype == torch.bfloat16  # emulated, where it has to be
    assert Compute.pick("auto").device == pick_device("auto")


@pytest.mark.parametrize(
    ("rank", "gpus", "expected"),
    [("3", 4, "cuda:3"), ("5", 4, "cuda:1"), ("3", 1, "cuda"), ("x", 4, "cuda"), (None, 4, "cuda"), ("1", 0, "cpu")],
)
def test_processes_of_a_launcher_have_a_gpu_each(monkeypatch, rank, gpus, expected):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if rank:
        monkeypatch.setenv("LOCAL_RANK", rank)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch, "empty", lambda *_, device: None)
    assert pick_device("auto") == torch.device(expected)


def test_a_cpu_takes_tiles_one_by_one_and_all_the_memory():
    picked = Compute.pick("cpu")
    assert (picked.tile, picked.batch, picked.memory) == (None, 1, machine_memory())


def test_a_gpu_takes_several_tiles_at_once(monkeypatch):
    monkeypatch.setattr(compute_module, "pick_device", torch.device)
    assert Compute.pick("cuda", "float32").batch > 1
    assert Compute.pick("cuda", "float32", batch=1).batch == 1
    assert Compute.pick("mps", "float32").batch == 1


@pytest.mark.parametrize("has", [True, False])
def test_bfloat16_is_picked_exactly_where_the_device_has_it(monkeypatch, has):
    asked = []
    monkeypatch.setattr(compute_module, "has_bfloat16", lambda device: asked.append(device) or has)
    assert Compute.pick("cpu").dtype == (torch.bfloat16 if has else torch.float32)
    assert asked == [CPU]
    assert Compute.pick("cpu", "float32").dtype == torch.float32
    assert Compute.pick("cpu", "bfloat16").dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("instructions", "has"),
    [
        ({"_is_avx512_bf16_supported": True, "_is_amx_tile_supported": False}, True),
        ({"_is_avx512_bf16_supported": False, "_is_amx_tile_supported": True}, True),
        ({"_is_avx512_bf16_supported": False, "_is_amx_tile_supported": False}, False),
        ({}, False),  # a torch that cannot tell
    ],
)
def test_a_cpu_has_bfloat16_when_it_has_instructions_for_it(monkeypatch, instructions, has):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    for name, there in instructions.items():
        monkeypatch.setattr(torch.cpu, name, lambda there=there: there, raising=False)
    assert has_bfloat16(CPU) is has


def test_a_gpu_has_bfloat16_from_ampere_on(monkeypatch):
    for capability, has in (((7, 5), False), ((8, 0), True), ((9, 0), True)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, it=capability: it)
        assert has_bfloat16(torch.device("cuda")) is has
    assert not has_bfloat16(torch.device("mps"))


def test_settings_are_plain_values_for_a_record():
    assert Compute().settings == {"dtype": "float32", "tile": None}
    given = Compute(dtype=torch.bfloat16, tile=256, batch=4, memory=9)
    assert given.settings == {"dtype": "bfloat16", "tile": 256}


def product() -> torch.dtype:
    return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype


def test_autocast_is_the_dtype_and_float32_leaves_an_outer_one_alone():
    with Compute(dtype=torch.bfloat16).autocast():
        assert product() == torch.bfloat16
    with Compute().autocast():
        assert product() == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        with Compute().autocast():
            assert product() == torch.bfloat16
        assert product() == torch.bfloat16
    assert product() == torch.float32


def test_what_a_tile_needs_grows_with_batch_and_is_the_gpus_own_business():
    def need(pixels: int, tile: int | None, **given) -> int:
        return Compute(**given).tiles_need(pixels, 200, tile, 10)

    assert need(10**6, None) == need(10**6, 200) == need(10**6, 500) == 200 * 200 * 10  # never larger than its own
    assert need(10**6, 100) == 100 * 100 * 10
    assert need(10**6, None, batch=4) == 4 * need(10**6, None)
    assert need(10**6, 100, batch=4) == need(10**6, 100)  # smaller ones go one by one
    assert need(5000, None) == 5000 * 10  # a photo smaller than its tile
    assert need(10**6, 100, device=torch.device("cuda")) == 0


def test_a_network_is_cast_once_and_again_when_its_weights_change():
    network, cast = torch.nn.Linear(2, 2).requires_grad_(False).eval(), Cast()
    one = cast.of(network, torch.bfloat16)
    assert one.weight.dtype == torch.bfloat16 and network.weight.dtype == torch.float32
    torch.testing.assert_close(one.weight, network.weight.bfloat16())
    assert cast.of(network, torch.bfloat16) is one
    network.weight.add_(1)
    other = cast.of(network, torch.bfloat16)
    torch.testing.assert_close(other.weight, network.weight.bfloat16())
    network.load_state_dict(torch.nn.Linear(2, 2).state_dict(), assign=True)
    torch.testing.assert_close(cast.of(network.requires_grad_(False), torch.bfloat16).weight, network.weight.bfloat16())


def test_a_copy_is_prepared_before_it_is_cast():
    network = torch.nn.Linear(2, 2).requires_grad_(False).eval()
    twice = Cast(lambda copy: copy.weight.mul_(2)).of(network, torch.bfloat16)
    torch.testing.assert_close(twice.weight, (2 * network.weight).bfloat16())


def test_a_network_is_cast_again_when_its_buffers_change():
    network, cast = torch.nn.BatchNorm1d(2).requires_grad_(False).eval(), Cast()
    cast.of(network, torch.bfloat16)
    network.running_mean.add_(1)
    torch.testing.assert_close(cast.of(network, torch.bfloat16).running_mean, network.running_mean.bfloat16())


def test_a_network_in_float32_or_that_learns_is_not_cast():
    network, cast = torch.nn.Linear(2, 2).eval(), Cast()
    assert cast.of(network, torch.bfloat16) is network
    assert cast.of(torch.nn.Linear(2, 2).requires_grad_(False), torch.bfloat16).weight.dtype == torch.float32
    assert cast.of(network.requires_grad_(False), torch.float32) is network


def test_threads_that_ask_at_once_get_a_copy_that_was_prepared_once():
    network, started = torch.nn.Linear(2, 2).requires_grad_(False).eval(), Barrier(2)

    def twice(copy: torch.nn.Module) -> None:
        started.wait(10)  # both have begun to make their own
        copy.weight.mul_(2)

    cast = Cast(twice)
    with ThreadPoolExecutor(2) as pool:
        made = [*pool.map(lambda _: cast.of(network, torch.bfloat16), range(2))]
    for one in made:
        torch.testing.assert_close(one.weight, (2 * network.weight).bfloat16())


def test_a_cast_that_was_used_is_copied_and_pickled():
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3)).requires_grad_(False).eval()
    cast, x = Cast(), torch.rand(1, 3, 16, 16)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected = cast.of(network, torch.bfloat16)(x)
        for other in (copy.deepcopy(cast), pickle.loads(pickle.dumps(cast))):
            assert torch.equal(other.of(network, torch.bfloat16)(x), expected)
