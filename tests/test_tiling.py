"""Tiles put together are the whole."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.tiling import run_tiled


def noise(height: int, width: int, channels: int = 3, batch: int = 1) -> Tensor:
    return torch.rand(batch, channels, height, width, generator=torch.Generator().manual_seed(height * 1000 + width))


@pytest.mark.parametrize("size", [(1, 1), (1, 70), (37, 53), (64, 64), (131, 200)])
@pytest.mark.parametrize(
    ("tile", "overlap", "multiple"), [(64, 16, 1), (64, 16, 16), (48, 5, 8), (32, 0, 1), (33, 32, 4)]
)
def test_identity_is_exact(size: tuple[int, int], tile: int, overlap: int, multiple: int) -> None:
    picture = noise(*size, batch=2)
    result = run_tiled(lambda x: x, [picture], tile=tile, overlap=overlap, multiple=multiple)
    assert result.shape == picture.shape
    assert (result - picture).abs().max() < 1e-6


@pytest.mark.parametrize("tile", [16, 20, 33, 48])
@pytest.mark.parametrize("overlap", [1, 8, 15])
def test_an_overlap_that_the_grid_eats_leaves_no_holes(tile: int, overlap: int) -> None:
    picture = noise(64, 100)
    result = run_tiled(lambda x: x, [picture], tile=tile, overlap=overlap, multiple=16)
    assert torch.allclose(result, picture, atol=1e-6)  # NaN where no tile had a weight


def test_tiles_are_bounded_aligned_and_divisible() -> None:
    shapes = []

    def record(x: Tensor, position: Tensor) -> Tensor:
        shapes.append(tuple(x.shape[-2:]))
        assert position[0, 0, 0, 0] % 16 == 0
        return x

    picture = noise(150, 101)
    position = torch.arange(150.0)[:, None].expand(1, 1, 150, 101)
    run_tiled(record, [picture, position], tile=70, overlap=20, multiple=16)
    assert len(shapes) > 4
    assert all(side <= 70 and side % 16 == 0 for shape in shapes for side in shape)


def test_picture_that_fits_is_one_call_of_its_own_size() -> None:
    shapes = []
    run_tiled(lambda x: shapes.append(tuple(x.shape)) or x, [noise(40, 61)], tile=64, overlap=16)  # type: ignore[func-returns-value]
    assert shapes == [(1, 3, 40, 61)]


def test_convolution_equals_the_untiled_one() -> None:
    kernel = torch.randn(5, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    picture = noise(131, 97)
    whole = F.conv2d(picture, kernel, padding=1)
    tiled = run_tiled(lambda x: F.conv2d(x, kernel, padding=1), [picture], tile=40, overlap=8)
    assert tiled.shape == (1, 5, 131, 97)
    assert torch.allclose(tiled, whole, atol=1e-5)  # the seams are trimmed, the borders its own


def test_several_inputs_and_fewer_channels() -> None:
    picture, mask = noise(90, 77), noise(90, 77, channels=1)
    result = run_tiled(lambda x, m: (x * m).sum(1, keepdim=True), [picture, mask], tile=32, overlap=8, multiple=8)
    assert torch.allclose(result, (picture * mask).sum(1, keepdim=True), atol=1e-5)


def test_overlap_must_be_smaller_than_the_tile() -> None:
    with pytest.raises(ValueError, match="overlap"):
        run_tiled(lambda x: x, [noise(10, 10)], tile=32, overlap=32)
