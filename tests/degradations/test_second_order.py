"""Degradations of the second order: seeded sample by sample, in range, and each what it says it is."""

import io
import math
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from bringback.degradations import degrade
from bringback.degradations.rng import Draws
from bringback.degradations.second_order.codecs import jpeg_file, webp_file
from bringback.degradations.second_order.filters import box_blur, disc_blur, gaussian_blur, median, sharpened
from bringback.degradations.second_order.noise import impulses, noise, posterized, rows
from bringback.degradations.second_order.program import program
from bringback.degradations.second_order.resampling import ENLARGING, SHRINKING, Kernel, resized, weights
from bringback.degradations.second_order.surfaces import halftone, linen, rough, silk
from bringback.ops.color import luminance


def smooth(count: int, height: int, width: int) -> Tensor:
    knots = torch.rand(count, 3, 9, 11, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(knots, (height, width), mode="bicubic").clamp(0, 1)


def flat(count: int, channels: int = 3, side: int = 128) -> Tensor:
    return torch.full((count, channels, side, side), 0.5)


def correlation_at(field: Tensor, lag: int) -> float:
    field = field - field.mean((-1, -2), keepdim=True)
    return float((field[..., lag:] * field[..., :-lag]).mean() / field.square().mean())


@pytest.mark.parametrize("size", [(96, 96), (81, 107), (128, 160), (256, 256)])
def test_a_sample_is_the_same_to_the_bit_in_any_batch(size: tuple[int, int]) -> None:
    pictures, seeds = smooth(12, *size), list(range(50, 62))
    together = degrade(pictures, "second-order", seeds)
    assert together.aged.shape == pictures.shape and together.aged.isfinite().all()
    assert together.aged.min() >= 0 and together.aged.max() <= 1 and not together.mask.any()
    for part in ([3], [11, 0], [5, 6, 7, 8, 9]):
        again = degrade(pictures[part], "second-order", [seeds[i] for i in part])
        assert torch.equal(again.aged, together.aged[part]) and torch.equal(again.gray, together.gray[part])


def test_an_eighth_is_exactly_clean_and_the_rest_is_of_every_strength() -> None:
    result = degrade(smooth(1, 96, 96).expand(300, -1, -1, -1), "second-order", range(300))
    errors = (result.aged - result.truth).square().mean((1, 2, 3))
    clean = (result.aged == result.truth).all(3).all(2).all(1)
    assert 0.07 < clean.float().mean() < 0.18
    psnr = -10 * errors[~clean].log10()
    assert psnr.quantile(0.1) < 27 and psnr.quantile(0.9) > 38 and psnr.min() > 10


def test_gray_photos_stay_gray() -> None:
    pictures = smooth(1, 96, 96).expand(120, -1, -1, -1)
    result = degrade(pictures, "second-order", range(120))
    assert 0.2 < result.gray.float().mean() < 0.4
    aged = result.aged[result.gray]
    assert torch.equal(aged, aged[:, :1].expand_as(aged))
    assert torch.equal(result.truth[result.gray][:1], luminance(pictures[:1]).expand(1, 3, -1, -1))
    assert torch.equal(result.truth[~result.gray][:1], pictures[:1])


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (13, 6), (2, 400)])
def test_tiny_and_narrow_pictures_are_aged(size: tuple[int, int]) -> None:
    aged = degrade(torch.full((24, 3, *size), 0.5), "second-order", range(24)).aged
    assert aged.shape == (24, 3, *size) and aged.isfinite().all() and aged.min() >= 0 and aged.max() <= 1


def test_programs_differ_and_enlarge_what_they_shrank() -> None:
    programs = [program(Random(seed), (128, 160), True) for seed in range(200)]
    assert len({tuple(step.operation.__name__ for step in steps) for steps in programs}) > 120
    for steps in programs:
        sizes = [step.shared[0] for step in steps if step.operation is resized]
        assert sizes[1::2] == [(128, 160)] * (len(sizes) // 2) and all(h < 128 for h, _ in sizes[::2])


def test_in_a_small_copy_noise_is_enlarged_with_the_picture() -> None:
    seeds = range(40)
    aged = degrade(flat(1).expand(40, -1, -1, -1), "small-copy", seeds).aged
    noisy = [picture for picture in aged.split(1) if picture.std() > 0.01]
    assert len(noisy) > 10  # JPEG leaves level gray alone
    assert sum(correlation_at(picture[:, :1], 1) > 0.3 for picture in noisy) > 0.9 * len(noisy)
    for size in ((8, 40), (3, 5)):
        assert degrade(torch.full((4, 3, *size), 0.5), "small-copy", range(4)).aged.shape == (4, 3, *size)


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
@pytest.mark.parametrize("quality", [30, 80])
def test_a_jpeg_file_is_one(quality: int, subsampling: str) -> None:
    skimage_data = pytest.importorskip("skimage.data")
    picture = np.ascontiguousarray(skimage_data.astronaut()[:160, :208])
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=quality, subsampling=subsampling)
    real = np.asarray(Image.open(stream)).astype(np.float32)
    pixels = torch.from_numpy(picture.astype(np.float32).transpose(2, 0, 1))[None] / 255
    ours = jpeg_file(pixels, subsampling == "4:2:0", [quality], [0], [0])[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(ours - real).mean() < 0.35 * np.abs(picture - real).mean()


def test_jpeg_blocks_begin_where_they_are_told_and_chroma_is_subsampled() -> None:
    pictures = (smooth(1, 128, 128) + torch.randn(1, 3, 128, 128) * 0.1).clamp(0, 1)
    full, half = (jpeg_file(pictures, subsampled, [20], [0], [0]) for subsampled in (False, True))
    assert (full - half).abs().mean() > 0.005
    assert (luminance(full) - luminance(half)).abs().mean() < 0.3 * (full - half).abs().mean()
    ramp = torch.linspace(0.3, 0.7, 128).expand(1, 1, 128, 128)
    for left in (0, 3, 7):
        steps = jpeg_file(ramp, False, [5], [0], [left])[0, 0, 64].diff().abs()
        edges = steps[(8 - left) % 8 + 7 :: 8].sum()  # between the last column of a block and the next
        assert edges > 0.5 * steps.sum()


def test_a_halo_does_not_come_back_at_the_other_side() -> None:
    picture = torch.zeros(1, 1, 128, 128)
    picture[..., 112:] = 1
    blurred = gaussian_blur(picture, 24, [3.0], [1.0], [0.0], [0.25])
    assert blurred[..., :40].max() < 1e-3 < blurred[..., 100].min()


def test_webp_goes_through_the_codec() -> None:
    pictures = (smooth(2, 96, 100) + torch.randn(2, 3, 96, 100) * 0.05).clamp(0, 1)
    errors = [(webp_file(pictures, [q, q]) - pictures).square().mean() for q in (5, 60, 95)]
    assert errors[0] > errors[1] > errors[2] > 0
    gray = webp_file(pictures[:, :1], [50, 50])
    assert gray.shape == (2, 1, 96, 100) and 0 < (gray - pictures[:, :1]).abs().mean() < 0.05


def test_correlation_grows_with_its_length_and_the_deviation_stays() -> None:
    reach = []
    for sigma in (0.3, 1.0, 3.0):
        field = noise(flat(6), Draws(range(6)), 1, "flat", [0.05] * 6, [0.0] * 6, [sigma] * 6) - 0.5
        assert float(field.std()) == pytest.approx(0.05, rel=0.12)
        reach.append([correlation_at(field[:, :1], lag) for lag in (1, 4)])
    assert reach[0][0] < 0.2 < reach[1][0] < reach[2][0] and reach[1][1] < 0.1 < reach[2][1]
    assert reach[1][0] == pytest.approx(math.exp(-1 / 4), abs=0.05)


def test_noise_has_the_color_and_the_dependence_on_light_that_it_is_asked_for() -> None:
    gray = noise(flat(1), Draws([1]), 1, "flat", [0.05], [0.0])
    color = noise(flat(1), Draws([1]), 3, "flat", [0.05], [0.0])
    chroma = noise(flat(1), Draws([1]), 3, "flat", [0.05], [1.0])
    assert torch.equal(gray[:, 0], gray[:, 2]) and not torch.equal(color[:, 0], color[:, 2])
    assert chroma.mean(1).std() < 0.01 * color.mean(1).std() and chroma.std() > 0.03
    light = torch.tensor([0.04, 0.16, 0.5, 0.97]).view(4, 1, 1, 1).expand(-1, 1, 128, 128)
    spread = {
        profile: (noise(light, Draws([5] * 4), 1, profile, [0.02] * 4, [0.0] * 4) - light).std((1, 2, 3)).tolist()
        for profile in ("shot", "speckle", "grain")
    }
    assert spread["shot"][1] / spread["shot"][0] == pytest.approx(2, rel=0.03)
    assert spread["speckle"][1] / spread["speckle"][0] == pytest.approx(4, rel=0.03)
    assert spread["grain"][2] > 2 * max(spread["grain"][0], spread["grain"][3])


def test_impulses_rows_and_few_tones() -> None:
    spoilt = impulses(flat(4), Draws(range(4)), [0.0, 0.01, 0.01, 0.04])
    shares = (spoilt != 0.5).float().mean((1, 2, 3)).tolist()
    assert shares == pytest.approx([0.0, 0.01, 0.01, 0.04], rel=0.2)
    for upright in (False, True):
        for sigma in (0.2, 1.0, 4.0):
            lines = rows(flat(24), Draws(range(24)), upright, [0.02] * 24, [sigma] * 24) - 0.5
            assert lines.std(-2 if upright else -1).max() < 1e-6
            assert float(lines.square().mean().sqrt()) == pytest.approx(0.02, rel=0.15)
    ramp = torch.linspace(0, 1, 256).expand(2, 3, 64, 256)
    bands = posterized(ramp, [8, 8], [0.0, 1.0])
    assert all(len(band.unique()) == 8 for band in bands)
    assert torch.allclose(
        bands[1].view(3, 8, 8, 32, 8).mean((2, 4)), ramp[1].view(3, 8, 8, 32, 8).mean((2, 4)), atol=0.02
    )


def test_a_screen_has_a_peak_at_its_pitch_and_keeps_the_tone() -> None:
    pitches = [2.5, 4.0, 8.0]
    tone = torch.tensor([0.3, 0.5, 0.6]).view(3, 1, 1, 1).expand(-1, 3, 240, 240)
    dots = halftone(tone, pitches, [0.3] * 3, [1.0] * 3, [0.5] * 3, [1.0, 3.0, 6.0], [0.5] * 3)
    assert ((dots - tone).mean((2, 3)).abs() < 0.01).all() and ((dots - tone).std((2, 3)) > 0.03).all()
    power = torch.fft.rfft2((dots - tone)[:, 0]).abs()
    for spectrum, pitch in zip(power, pitches, strict=True):
        y, x = divmod(int(spectrum.argmax()), spectrum.shape[-1])
        assert math.hypot(min(y, 240 - y), x) == pytest.approx(240 / pitch, abs=1)
    assert not torch.equal(dots[:, 0], dots[:, 1])
    ends = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(-1, 3, 32, 32)
    assert torch.equal(halftone(ends, [3.0] * 2, [0.4] * 2, [0.0] * 2, [0.5] * 2, [2.0] * 2, [1.0] * 2), ends)


def test_paper_is_lit_alike_on_all_channels_and_silk_is_a_lattice() -> None:
    draws = Draws(range(3))
    honeycomb = silk(flat(3), draws, [6.0] * 3, [0.2] * 3, [0.0] * 3, [1.0] * 3, [0.04] * 3) - 0.5
    threads = linen(flat(3), draws, [5.0] * 3, [0.0] * 3, [0.0] * 3, [0.04] * 3) - 0.5
    bumps = rough(flat(3), draws, [1.5] * 3, [0.0] * 3, [0.04] * 3) - 0.5
    for shade in (honeycomb, threads, bumps):
        assert torch.equal(shade[:, 0], shade[:, 2])
        assert shade.mean().abs() < 2e-3 and 0.01 < shade.std() < 0.05
    assert float(bumps.std()) == pytest.approx(0.02, rel=0.1)
    power = torch.fft.rfft2(honeycomb[:, 0]).abs().square().mean(0)
    y = torch.fft.fftfreq(128)[:, None]
    near = (torch.hypot(y, torch.fft.rfftfreq(128)[None]) - 1 / 6).abs() < 0.04
    assert power[near].sum() > 0.7 * power.sum()


def test_blurs_keep_light_and_spread_it_as_they_say() -> None:
    point = torch.full((1, 1, 65, 65), 0.5)  # on gray: what is below black would be lost
    point[..., 32, 32] = 1.0
    axis = torch.arange(65.0) - 32

    def deviations(picture: Tensor) -> list[float]:
        spot = (picture[0, 0] - 0.5) * 2
        assert float(spot.sum()) == pytest.approx(1, abs=0.05)
        return [float(((spot.sum(1 - k) * axis**2).sum() / spot.sum()).sqrt()) for k in (0, 1)]

    assert deviations(gaussian_blur(point, 8, [2.0], [1.0], [0.0], [0.0])) == pytest.approx([2, 2], rel=0.05)
    assert deviations(gaussian_blur(point, 8, [2.0], [0.5], [0.0], [0.0])) == pytest.approx([1, 2], rel=0.05)
    assert deviations(disc_blur(point, [4.0])) == pytest.approx([2, 2], rel=0.1)
    line = (box_blur(point, [9.0], [0.5], [0.0])[0, 0] - 0.5) * 2
    assert line[32].sum() > 0.9 and line[32, 29:36].min() > 0.08 > 0.02 > line[32, :26].max()


def test_sharpening_overshoots_and_the_median_is_exact() -> None:
    edge = torch.full((1, 3, 40, 40), 0.3)
    edge[..., 20:] = 0.7
    halo = sharpened(edge, [1.5], [1.0])
    assert halo.max() > 0.8 and halo.min() < 0.2
    assert torch.allclose(halo[..., 2:8], edge[..., 2:8], atol=0.01)
    pictures = torch.rand(2, 3, 30, 41)
    patches = torch.nn.functional.unfold(pictures.flatten(0, 1)[:, None], 3).median(1).values
    assert torch.equal(median(pictures)[..., 1:-1, 1:-1], patches.view(2, 3, 28, 39))


@pytest.mark.parametrize("kernel", sorted({*SHRINKING, *ENLARGING}))
def test_resizing_keeps_flat_tones_and_comes_back_in_place(kernel: Kernel) -> None:
    for before, after in ((128, 43), (43, 128), (96, 77), (5, 1), (1, 9)):
        sums = weights(kernel, before, after, 0.25, torch.device("cpu")).sum(1)
        assert torch.allclose(sums, torch.ones(after), atol=1e-5)
    y, x = torch.meshgrid(torch.arange(120.0), torch.arange(90.0), indexing="ij")
    slopes = (0.2 + 0.003 * x + 0.002 * y).expand(1, 3, -1, -1)
    for phase in (-0.375, 0.0, 0.25):
        small = resized(slopes, (48, 36), [kernel], [phase])
        back = resized(small, (120, 90), [Kernel("linear", False)], [phase])
        shift = (back - slopes)[..., 10:-10, 10:-10].mean()
        assert abs(float(shift)) < (0.003 if kernel.name == "nearest" else 5e-4)
