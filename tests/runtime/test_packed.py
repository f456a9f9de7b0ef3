"""Convolutions with packed weights give what plain ones give."""

import copy

import pytest
import torch
from torch import nn

from bringback.runtime.packed import PackedConv2d, packed


@pytest.fixture
def network() -> nn.Module:
    parts = (
        nn.Conv2d(3, 24, 3, padding=1),
        nn.Sequential(nn.SiLU(), nn.Conv2d(24, 16, 1, bias=False)),
        nn.Conv2d(16, 8, 3, 2),
    )
    return nn.Sequential(*parts).requires_grad_(False).bfloat16()


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


def test_without_torch_s_packing_convolutions_stay_plain(network, monkeypatch):
    monkeypatch.setattr("bringback.runtime.packed._REORDER", None)
    assert not any(isinstance(one, PackedConv2d) for one in packed(network).modules())
