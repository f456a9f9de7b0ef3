"""Convolutions with packed weights give what plain ones give."""

import copy
import pickle
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from bringback.runtime import packed as module
from bringback.runtime.compute import has_bfloat16
from bringback.runtime.packed import PackedConv2d, packed

packing = pytest.mark.skipif(
    not (torch.backends.mkldnn.is_available() and has_bfloat16(torch.device("cpu"))),
    reason="this processor has no oneDNN in bfloat16",
)


@pytest.fixture(autouse=True)
def fresh_probe() -> Iterator[None]:
    module._works.cache_clear()
    yield
    module._works.cache_clear()


@pytest.fixture
def network() -> nn.Module:
    parts = (
        nn.Conv2d(3, 24, 3, padding=1),
        nn.Sequential(nn.SiLU(), nn.Conv2d(24, 16, 1, bias=False)),
        nn.Conv2d(16, 8, 3, 2),
    )
    return nn.Sequential(*parts).requires_grad_(False).bfloat16()


@packing
def test_the_result_is_the_same_at_any_size(network):
    fast = packed(copy.deepcopy(network))
    kinds = [type(one) for one in fast.modules() if isinstance(one, nn.Conv2d)]
    assert kinds == [PackedConv2d] * 3
    for size in (40, 17, 64):
        x = torch.rand(2, 3, size, size)
        with torch.no_grad():
            torch.testing.assert_close(fast(x), network(x.bfloat16()))
            last = x[:1].contiguous(memory_format=torch.channels_last)
            torch.testing.assert_close(fast(last), network(x[:1].bfloat16()))


def test_a_gradient_passes(network):
    x = torch.rand(1, 3, 16, 16).bfloat16().requires_grad_()
    (fast,) = torch.autograd.grad(packed(copy.deepcopy(network))(x).float().sum(), x)
    (plain,) = torch.autograd.grad(network(x).float().sum(), x)
    torch.testing.assert_close(fast, plain)
    assert fast.abs().sum() > 0


def test_weights_in_float32_stay_plain(network):
    assert not any(isinstance(one, PackedConv2d) for one in packed(network.float()).modules())


@packing
def test_weights_that_change_are_packed_again(network):
    fast, x = packed(copy.deepcopy(network)), torch.rand(1, 3, 24, 24).bfloat16()
    with torch.no_grad():
        fast(x)
        for one in (fast, network):
            one[0].weight.mul_(2)
        assert torch.equal(fast(x), network(x))
        fast.load_state_dict({name: one / 2 for name, one in network.state_dict().items()})
        network.load_state_dict(fast.state_dict())
        assert torch.equal(fast(x), network(x))


@packing
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_used_one_is_copied_and_pickled_and_goes_to_other_dtypes(network, copied: Callable):
    fast, x = packed(copy.deepcopy(network)), torch.rand(1, 3, 24, 24).bfloat16()
    with torch.no_grad():
        expected = fast(x)
        other = copied(fast)
        assert torch.equal(other(x), expected) and list(other.state_dict()) == list(network.state_dict())
        assert torch.equal(other.float()(x), copy.deepcopy(network).float()(x.float()))
        assert other.to("meta")(x.to("meta")).shape == expected.shape
        assert torch.equal(fast(x), expected)


def _missing(*_: object) -> torch.Tensor:
    raise AttributeError


def _wrong(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, *where: object) -> torch.Tensor:
    return torch.zeros(1, 16, *x.shape[2:], dtype=x.dtype)


@pytest.mark.parametrize(("name", "other"), [("_pack", _missing), ("_convolve", _missing), ("_convolve", _wrong)])
def test_with_a_torch_that_packs_otherwise_convolutions_stay_plain(network, monkeypatch, name, other):
    monkeypatch.setattr(module, name, other)
    assert not any(isinstance(one, PackedConv2d) for one in packed(network).modules())


@packing
def test_a_kind_of_convolution_that_computes_otherwise_stays():
    class Halved(nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) / 2

    network = nn.Sequential(Halved(3, 4, 3)).requires_grad_(False).bfloat16()
    assert type(packed(network)[0]) is Halved
