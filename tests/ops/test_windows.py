"""Means and maxima over windows are those of torch's pooling."""

import pytest
import torch
import torch.nn.functional as F

from bringback.ops.windows import window_maxima, window_means, window_sums


@pytest.mark.parametrize("rows, columns", [(1, 1), (3, 3), (7, 1), (1, 5), (9, 13)])
@pytest.mark.parametrize("height, width", [(20, 31), (3, 2), (1, 1)])
def test_sums_and_means(rows: int, columns: int, height: int, width: int) -> None:
    x = torch.rand(2, 3, height, width, generator=torch.manual_seed(0))
    padding = rows // 2, columns // 2
    means = F.avg_pool2d(x, (rows, columns), 1, padding, count_include_pad=False)
    sums = F.avg_pool2d(x, (rows, columns), 1, padding, divisor_override=1)
    assert torch.allclose(window_means(x, rows, columns), means, atol=1e-6)
    assert torch.allclose(window_sums(x, rows, columns), sums, rtol=1e-5)


@pytest.mark.parametrize("side", [1, 3, 5])
def test_maxima_have_the_gradient_of_pooling(side: int) -> None:
    x = torch.randn(1, 2, 9, 14, generator=torch.manual_seed(0)).requires_grad_()
    mine, pooled = window_maxima(x, side), F.max_pool2d(x, side, 1, side // 2)
    assert torch.equal(mine, pooled)
    for one, other in zip(*(torch.autograd.grad(y.square().sum(), x) for y in (mine, pooled)), strict=True):
        assert torch.allclose(one, other, atol=1e-5)
