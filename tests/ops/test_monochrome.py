"""Gray, sepia and color are told apart, and a tint can be put back."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from bringback.degradations import degrade
from bringback.degradations.rng import Draws
from bringback.degradations.tone import sepia
from bringback.ops.color import grayed, luminance, make_gray_
from bringback.ops.monochrome import DOUBTFUL, SOUND, SPREAD, Tint, find_tint


@pytest.fixture
def color() -> torch.Tensor:
    data = pytest.importorskip("skimage.data")
    return torch.from_numpy(data.astronaut().transpose(2, 0, 1).copy()).float()[None, :, :300, :400] / 255


def test_color_is_no_tint(color: torch.Tensor) -> None:
    assert find_tint(color) is None


def test_the_colors_of_a_small_photo_are_no_tint(color: torch.Tensor) -> None:
    for height, width in ((30, 40), (45, 60), (75, 100)):
        small = F.interpolate(color, (height, width), mode="area")
        small = luminance(small) + 0.35 * (small - luminance(small))  # pale
        toned = sepia(luminance(small).expand_as(small), Draws([4]))
        assert find_tint(small) is None and find_tint(toned) is not None


@pytest.mark.parametrize("share", [0.01, 0.014, 0.04])
@pytest.mark.parametrize("toned", [False, True])
def test_a_little_color_is_color(color: torch.Tensor, share: float, toned: bool) -> None:
    picture = luminance(color).expand_as(color).clone()
    if toned:
        picture = sepia(picture, Draws([4]))
    assert find_tint(picture) is not None
    side = round((share * color[0, 0].numel()) ** 0.5)
    jacket = torch.tensor([0.8, 0.1, 0.15]).view(3, 1, 1)
    picture[0, :, 101 : 101 + side, 33 : 33 + side] = jacket
    assert find_tint(picture) is None


def test_gray_with_noisy_chroma_is_gray(color: torch.Tensor) -> None:
    gray = luminance(color).expand_as(color) + 0.03 * torch.randn_like(color)
    tint = find_tint(gray.clamp(0, 1))
    assert tint is not None
    toned = tint.apply(luminance(color).expand_as(color))
    assert (toned - luminance(toned)).abs().max() < 0.01


def test_sepia_comes_back_as_it_was(color: torch.Tensor) -> None:
    toned = sepia(luminance(color).expand_as(color), Draws([4]))
    tint = find_tint(toned)
    assert tint is not None
    assert (tint.apply(luminance(toned).expand_as(toned)) - toned).abs().mean() < 0.01


def test_damage_in_color_does_not_hide_a_tint(color: torch.Tensor) -> None:
    toned = sepia(luminance(color).expand_as(color), Draws([4]))
    mask = torch.zeros_like(toned[:, :1])
    mask[..., 50:120, 40:200] = 1
    blue = torch.where(mask > 0, torch.tensor([0.1, 0.2, 0.9]).view(1, 3, 1, 1), toned)
    assert find_tint(blue) is None and find_tint(blue, mask) is not None


def test_most_aged_photos_are_told_right(color: torch.Tensor) -> None:
    result = degrade(color.expand(12, -1, -1, -1), "mixed", range(12))
    found = [find_tint(aged[None], mask[None]) is not None for aged, mask in zip(result.aged, result.mask, strict=True)]
    assert sum(f == bool(g) for f, g in zip(found, result.gray, strict=True)) >= 10


def light_of(pixels: torch.Tensor) -> torch.Tensor:
    return (pixels * torch.tensor([0.299, 0.587, 0.114]).to(pixels).view(3, 1, 1)).sum(1, keepdim=True)


def tint_as_a_whole(pixels: torch.Tensor, mask: torch.Tensor) -> Tint | None:
    """`find_tint` with planes of the whole photo."""
    height, width = pixels.shape[-2:]
    block = min(8, max(2, int((height * width) ** 0.5 / 12)))
    blocks = [min(max(side // block, 1), 64) for side in (height, width)]
    good = (mask < DOUBTFUL).float()
    share = F.adaptive_avg_pool2d(good, blocks)
    sound = share[0, 0] > 0.5
    if not sound.any():
        return None
    light = light_of(pixels)
    planes = torch.cat([torch.ones_like(light), light, light * light, pixels], 1)
    means = (F.adaptive_avg_pool2d(planes * good, blocks) / share.clamp_min(1e-6))[0][:, sound]
    powers, chroma = means[:3], means[3:] - means[1]
    normal = powers @ powers.T + 1e-4 * powers.shape[1] * torch.eye(3)
    coefficients = torch.linalg.solve(normal, powers @ chroma.T).T
    if (chroma - coefficients @ powers).abs().amax(0).quantile(SOUND) > SPREAD:
        return None
    return Tint(coefficients, *powers[1].quantile(torch.tensor([0.01, 0.99])).tolist())


def applied_as_a_whole(tint: Tint, gray: torch.Tensor) -> torch.Tensor:
    light = light_of(gray)
    within = light.clamp(tint.low, tint.high)
    powers = torch.cat([torch.ones_like(light), within, within * within], 1)
    return (light + torch.einsum("cp,bphw->bchw", tint.coefficients, powers)).clamp(0, 1)


@pytest.fixture(params=[1, 1000, 1 << 18])
def strip(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    for place in ("bringback.ops.monochrome.STRIP", "bringback.ops.strips.STRIP"):
        monkeypatch.setattr(place, request.param)
    return request.param


LAYOUTS = [torch.contiguous_format, torch.channels_last]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(7, 5), (61, 97), (299, 131), (20, 400)])
def test_a_tint_is_found_strip_by_strip_as_from_the_whole(
    color: torch.Tensor, shape: tuple[int, int], layout: torch.memory_format, strip: int
) -> None:
    part = color[..., : shape[0], : shape[1]]
    toned = sepia(light_of(part).expand_as(part), Draws([4])).contiguous(memory_format=layout)
    half = torch.zeros_like(toned[:, :1])
    half[..., : shape[1] // 3] = 1
    for mask in (None, half, torch.ones_like(half)):
        expected = tint_as_a_whole(toned, torch.zeros_like(half) if mask is None else mask)
        found = find_tint(toned, mask)
        assert (found is None) == (expected is None) == (mask is not None and mask is not half)
        if found is not None and expected is not None:
            torch.testing.assert_close(found.apply(toned), applied_as_a_whole(expected, toned), atol=1e-6, rtol=0)
            assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-6)
    if shape == (299, 131):
        assert find_tint(part) is None and tint_as_a_whole(part, half * 0) is None


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_tint_is_applied_strip_by_strip_as_to_the_whole(layout: torch.memory_format, strip: int) -> None:
    tint = Tint(torch.tensor([[0.02, 0.3, -0.2], [0.0, -0.02, 0.01], [-0.05, -0.4, 0.3]]), 0.2, 0.8)
    picture = torch.rand(2, 3, 37, 53, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=layout)
    expected = applied_as_a_whole(tint, picture)
    result = tint.apply(picture)
    torch.testing.assert_close(result, expected, atol=1e-6, rtol=0)
    assert result.stride() == picture.stride()
    other = torch.full_like(picture, torch.nan)
    assert tint.apply(picture, out=other) is other and torch.equal(other, result)
    assert tint.apply(picture, out=picture) is picture and torch.equal(picture, result)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gray_in_place_is_the_luminance(layout: torch.memory_format, strip: int) -> None:
    picture = torch.rand(2, 3, 37, 53, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=layout)
    expected = light_of(picture).expand_as(picture)
    torch.testing.assert_close(luminance(picture), light_of(picture), atol=1e-7, rtol=0)
    one = grayed(picture, torch.tensor([True, False]))
    assert torch.equal(one[1], picture[1]) and torch.equal(one[0], luminance(picture)[0].expand(3, -1, -1))
    assert make_gray_(picture) is picture
    torch.testing.assert_close(picture, expected, atol=1e-7, rtol=0)
    assert (picture == picture[:, :1]).all()


class Largest(TorchDispatchMode):
    """Remembers the bytes of the largest tensor that was made, parts of those that were `known` before left aside."""

    def __init__(self, *known: torch.Tensor) -> None:
        super().__init__()
        self.known, self.bytes = [tensor.untyped_storage().data_ptr() for tensor in known], 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for made in result if isinstance(result, tuple | list) else [result]:
            if isinstance(made, torch.Tensor) and made.untyped_storage().data_ptr() not in self.known:
                self.bytes = max(self.bytes, made.untyped_storage().nbytes())
        return result


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("strip", [1000], indirect=True)
def test_no_plane_of_a_large_photo_is_made(color: torch.Tensor, layout: torch.memory_format, strip: int) -> None:
    toned = sepia(light_of(color).expand_as(color), Draws([4])).contiguous(memory_format=layout)
    mask = torch.zeros_like(toned[:, :1])
    tint = find_tint(toned)
    assert tint is not None
    works = (
        lambda: find_tint(toned),
        lambda: find_tint(toned, mask),
        lambda: tint.apply(toned, out=toned),
        lambda: make_gray_(toned),
    )
    for work in works:
        with Largest(toned, mask) as largest:
            work()
        assert 0 < largest.bytes < mask.nbytes / 3


def test_the_tint_of_a_cyanotype_is_blue_and_no_other_is(color: torch.Tensor) -> None:
    light = luminance(color)
    blue = torch.cat([0.05 + 0.8 * light, 0.15 + 0.75 * light, 0.4 + 0.5 * light], 1)
    cool = torch.cat([0.05 + 0.9 * light, 0.06 + 0.9 * light, 0.1 + 0.9 * light], 1)
    tints = [find_tint(picture) for picture in (blue, cool, light.expand_as(color), sepia(color, Draws([4])))]
    assert [tint is not None and tint.is_blue for tint in tints] == [True, False, False, False]
