"""Tiles put together are the whole."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.ops.tiling import run_tiled, tiles


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


@pytest.mark.parametrize("batch", [2, 3, 100])
@pytest.mark.parametrize("pictures", [1, 2])
def test_several_tiles_at_once_are_the_same_as_one_by_one(batch: int, pictures: int) -> None:
    photo, mask = noise(131, 200, batch=pictures), noise(131, 200, channels=1, batch=pictures)
    calls: list[tuple[int, int]] = []

    def own(x: Tensor, m: Tensor) -> Tensor:
        calls.append((len(x), len(m)))
        return torch.cat([x * m, m], 1)  # four channels, each tile for itself

    tiling = {"tile": 64, "overlap": 16, "multiple": 8}
    one = run_tiled(own, [photo, mask], **tiling)
    number = len(calls)
    assert number == len(tiles(131, 200, **tiling)) > 3 and set(calls) == {(pictures, pictures)}
    calls.clear()
    some = run_tiled(own, [photo, mask], **tiling, batch=batch)
    assert torch.equal(some, one) and some.shape == (pictures, 4, 131, 200)
    assert len(calls) == -(-number // batch) and max(calls) == (min(batch, number) * pictures,) * 2
    assert sum(count for count, _ in calls) == number * pictures


def test_a_batch_of_tiles_holds_the_pictures_of_a_tile_side_by_side() -> None:
    photos = torch.stack([torch.zeros(3, 70, 70), torch.ones(3, 70, 70)])
    seen: list[list[float]] = []
    run_tiled(lambda x: seen.append(x[:, 0, 0, 0].tolist()) or x, [photos], tile=40, overlap=8, batch=2)  # type: ignore[func-returns-value]
    assert seen == [[0, 1, 0, 1]] * 2


@pytest.mark.parametrize("size", [(1, 1), (64, 70), (131, 200), (500, 97)])
@pytest.mark.parametrize(("tile", "overlap", "multiple"), [(64, 16, 1), (64, 32, 16), (48, 5, 8), (33, 32, 4)])
def test_each_place_of_a_photo_is_one_tile_s_own(size: tuple[int, int], tile: int, overlap: int, multiple: int) -> None:
    padded = [-(-side // multiple) * multiple for side in size]
    count = torch.zeros(padded, dtype=torch.int)
    for place in tiles(*size, tile=tile, overlap=overlap, multiple=multiple):
        rows, columns = place.rows.own, place.columns.own
        assert place.rows.begin <= rows.start < rows.stop <= place.rows.end
        assert place.columns.begin <= columns.start < columns.stop <= place.columns.end
        count[rows, columns] += 1
    assert (count == 1).all()


@pytest.mark.parametrize(
    ("width", "tile", "overlap", "multiple", "expected"),
    [
        (1100, 1024, 96, 16, [0, 496]),  # (1100 + 96) / 2, rounded up to 608; not a tile of 1024 and a copy of it
        (1100, 1024, 96, 1, [0, 502]),
        (1024, 1024, 96, 16, [0]),
        (1025, 1024, 96, 16, [0, 464]),
        (2000, 1024, 100, 1, [0, 634, 1266]),  # (2000 + 200) / 3
    ],
)
def test_no_tile_is_larger_than_it_takes(
    width: int, tile: int, overlap: int, multiple: int, expected: list[int]
) -> None:
    spans = [place.columns for place in tiles(8, width, tile=tile, overlap=overlap, multiple=multiple)]
    assert [span.begin for span in spans] == expected
    side = spans[0].end - spans[0].begin
    needed = (width + (len(spans) - 1) * overlap) / len(spans)
    assert {span.end - span.begin for span in spans} == {side} and side <= tile and side % multiple == 0
    assert needed <= side < needed + 2 * multiple
    assert all(before.end - after.begin >= overlap for before, after in pairwise(spans))
    assert len(spans) == 1 or len(spans) == -(-(width - overlap) // (tile - overlap))  # and no more of them


def test_the_result_lies_in_memory_as_pictures_do_and_on_the_first_input_s_device() -> None:
    result = run_tiled(lambda x: x, [noise(90, 77)], tile=32, overlap=8)
    assert result.is_contiguous(memory_format=torch.channels_last) and result.device.type == "cpu"


def test_a_function_may_answer_in_half_precision() -> None:
    picture = noise(90, 77)
    result = run_tiled(lambda x: x.bfloat16(), [picture], tile=32, overlap=8, batch=4)
    assert result.dtype == torch.bfloat16 and (result.float() - picture).abs().max() < 0.02
