"""The membrane fill, against OpenCV's and at its edges."""

import io
import math
import time
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from bringback.images.photo import Photo
from bringback.images.shards import read_shards
from bringback.ops import push_pull as inpaint
from bringback.ops.masks import calm_, dilate_edges, fill_mask
from bringback.ops.push_pull import push, push_pull
from bringback.ops.tiled_fill import _boxes, fill_into, filled
from bringback.stages.fill import HoleFiller
from bringback.stages.record import Restoration


def scene(height: int = 96, width: int = 128, batch: int = 1) -> Tensor:
    """Smooth shapes with edges: something between a photo and a test card."""
    y, x = torch.meshgrid(torch.linspace(0, 6, height), torch.linspace(0, 8, width), indexing="ij")
    planes = [0.5 + 0.3 * torch.sin(x + k) * torch.cos(y - k) + 0.15 * ((x - y + k) % 3 > 1.5) for k in range(3)]
    return torch.stack(planes).clamp(0, 1).expand(batch, 3, height, width).clone()


def scratches(height: int = 96, width: int = 128) -> Tensor:
    mask = np.zeros((height, width), np.uint8)
    for k in range(5):
        cv2.line(mask, (12 * k, 0), (width - 20 * k, height - 1), 1, 1 + k)
    cv2.circle(mask, (width // 3, height // 2), 9, 1, -1)
    return torch.from_numpy(mask).float()[None, None]


def decibels(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b.astype(float)) ** 2)))


def compare(truth: np.ndarray, damaged: np.ndarray) -> tuple[float, float, float]:
    """PSNR of push-pull, Telea and Navier-Stokes for a truth (H, W, 3) uint8 and a damage mask (H, W) bool."""
    spoiled = truth.copy()
    spoiled[damaged] = (255, 240, 230)
    pixels = torch.from_numpy(spoiled.transpose(2, 0, 1).copy())[None] / 255
    ours = push_pull(pixels, torch.from_numpy(damaged)[None, None].float())
    results = [(ours[0].clamp(0, 1) * 255).round().byte().numpy().transpose(1, 2, 0)]
    for method in (cv2.INPAINT_TELEA, cv2.INPAINT_NS):
        results.append(cv2.inpaint(spoiled, damaged.astype(np.uint8), 5, method))
    ours_db, telea, ns = (decibels(result, truth) for result in results)
    return ours_db, telea, ns


def test_near_the_classics() -> None:
    truth = (scene()[0].numpy().transpose(1, 2, 0) * 255).round().astype(np.uint8)
    ours, telea, ns = compare(truth, scratches()[0, 0].numpy() > 0)
    assert ours > max(telea, ns) - 0.3


def test_near_the_classics_on_photos(data_folder: Path) -> None:
    def pictures(shard: str, mode: str, step: int) -> list[np.ndarray]:
        contents = islice(read_shards(data_folder / shard), None, None, step)
        return [np.array(Image.open(io.BytesIO(data)).convert(mode)) for _, data in contents]

    photos = pictures("photos-val-000.tar", "RGB", 6)
    overlays = pictures("damage-val-000.tar", "L", 15)
    gains = []
    for index, alpha in enumerate(overlays):
        truth = photos[index % len(photos)][:400, :400]
        mask = cv2.dilate((alpha[: truth.shape[0], : truth.shape[1]] > 25).astype(np.uint8), np.ones((3, 3))) > 0
        if 0.001 < mask.mean() < 0.3:
            ours, *others = compare(truth, mask)
            gains.append(ours - np.array(others))
    assert len(gains) > 5
    assert (np.mean(gains, 0) > -0.3).all()


def test_sound_pixels_come_back_exactly() -> None:
    pixels, mask = scene(), scratches()
    result = push_pull(pixels, mask)
    sound = (mask == 0).expand_as(pixels)
    assert torch.equal(result[sound], pixels[sound])
    assert (result[~sound] != pixels[~sound]).any()
    assert torch.equal(push_pull(pixels, torch.zeros_like(mask)), pixels)


def test_a_ramp_is_continued() -> None:
    pixels = torch.linspace(0, 1, 64).expand(1, 3, 64, 64).contiguous()
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 20:44, 24:36] = 1
    spoiled = torch.where(mask > 0, torch.ones(()), pixels)
    assert (push_pull(spoiled, mask) - pixels).abs().max() < 0.02


def test_damage_does_not_leak_from_soft_masks() -> None:
    pixels = torch.full((1, 3, 40, 40), 0.25)
    mask = torch.zeros(1, 1, 40, 40)
    mask[..., 10:30, 10:30] = 0.95
    result = push_pull(torch.where(mask > 0, torch.ones(()), pixels), mask)
    assert (result - 0.25).abs().max() < 0.05


def test_a_given_mask_with_soft_edges_is_damage_up_to_where_it_ends() -> None:
    pixels = torch.full((1, 3, 60, 60), 0.25)
    mask = torch.zeros(1, 1, 60, 60)
    for inset, cover in ((20, 0.15), (21, 0.9), (22, 1.0)):  # an edge as any painting program draws it
        mask[..., inset : 60 - inset, inset : 60 - inset] = cover
    spoiled = torch.lerp(pixels, torch.ones(()), mask)
    restored = HoleFiller()(
        Restoration.start(Photo.from_array(spoiled[0].numpy().transpose(1, 2, 0)), mask[0, 0].numpy())
    )
    left, soft = ((result - pixels).abs().max() for result in (restored.pixels, HoleFiller().fill(spoiled, mask)))
    assert left < 0.03 < soft
    hard = (mask > 0.5).float()
    assert torch.equal(dilate_edges(hard), hard) and torch.equal(dilate_edges(mask) > 0, mask > 0)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3), (7, 1), (33, 57)])
@pytest.mark.parametrize("damage", [0.0, 0.5, 1.0])
def test_any_size_and_all_damaged(size: tuple[int, int], damage: float) -> None:
    pixels = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    result = push_pull(pixels, torch.full((2, 1, *size), damage))
    assert result.shape == pixels.shape
    assert result.isfinite().all() and result.min() >= 0 and result.max() <= 1
    if damage == 1:
        assert torch.allclose(result, pixels.mean((2, 3), keepdim=True).expand_as(pixels), atol=1e-5)


def test_samples_do_not_see_each_other() -> None:
    pixels = torch.cat((scene(), 1 - scene()))
    mask = torch.cat((scratches(), scratches().flip(3)))
    alone = torch.cat([push_pull(pixels[k : k + 1], mask[k : k + 1]) for k in range(2)])
    assert torch.allclose(push_pull(pixels, mask), alone, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtype_stays(dtype: torch.dtype) -> None:
    result = push_pull(scene().to(dtype), scratches().to(dtype))
    assert result.dtype == dtype
    assert torch.allclose(result.float(), push_pull(scene(), scratches()), atol=0.02)


def test_gradients_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    # edge directions are taken as given, so hold them fixed
    monkeypatch.setattr(inpaint, "_flow", lambda surface, weight: [torch.full_like(weight, 0.125)] * 4)
    generator = torch.Generator().manual_seed(1)
    pixels = torch.rand(1, 3, 5, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    mask = (0.1 + 0.8 * torch.rand(1, 1, 5, 6, generator=generator, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda p, m: push_pull(p, m, smoothing=2), (pixels, mask))


def test_gradients_stay_finite_and_shares_sum_to_one() -> None:
    pixels = (0.2 + 0.6 * scene(40, 40)).requires_grad_()
    mask = torch.zeros(1, 1, 40, 40, requires_grad=True)
    with torch.no_grad():
        mask[..., 10:24, 12:30] = 1
    result = push_pull(pixels, mask)
    shares, slope = torch.autograd.grad(result[0, 0, 17, 20], (pixels, mask))
    assert shares.sum() == pytest.approx(1, abs=1e-4)
    assert (shares[0, :, 10:24, 12:30] == 0).all() and slope.isfinite().all()


def test_solid_steepens_and_widens() -> None:
    mask = torch.zeros(1, 1, 7, 7)
    mask[..., 3, 3] = 1
    assert torch.equal(fill_mask(mask, rim=0), mask)
    widened = fill_mask(mask, rim=0.5)
    assert widened[0, 0, 3, 3] == 1 and widened.sum() == 1 + 8 * 0.5
    between = {"sound": 0.2, "damaged": 0.6}
    assert (fill_mask(0.2 * mask, **between) == 0).all()
    assert fill_mask(0.6 * mask, **between).max() == 1
    assert 0 < fill_mask(0.4 * mask, **between).max() < 1


def test_doubts_count_for_less_where_nothing_is_certain() -> None:
    doubtful = {}
    for certain in (0, 16, 1600):  # pixels of 40,000
        odds = torch.full((1, 1, 200, 200), -14.0)
        odds[..., 100, 100:160], odds.view(-1)[:certain] = math.log(0.7 / 0.3), 14
        calm_(odds)
        calm = odds.sigmoid()
        doubtful[certain] = float(calm[0, 0, 100, 100])
        assert (calm.view(-1)[:certain] > 0.9999).all() and (calm.view(-1)[-100:] < 1e-4).all()
    assert doubtful[0] < doubtful[16] < doubtful[1600] == pytest.approx(0.7)
    least, most = (fill_mask(torch.tensor(doubtful[certain]).view(1, 1, 1, 1)) for certain in (0, 1600))
    assert least == 0 < most


def test_doubts_count_for_less_where_few_marks_are_certain() -> None:
    for marked, lowered in ((2000, True), (300, False)):  # pixels of 40,000, of which 100 are certain
        odds = torch.full((1, 1, 200, 200), -3.0)
        odds.view(-1)[:marked], odds.view(-1)[:100] = 0.5, 4
        calm_(odds)
        assert (odds.view(-1)[marked - 1] < 0.5) == lowered
        assert odds.view(-1)[0] > 2


def test_what_is_left_when_marks_are_withdrawn_is_lowered_by_what_is_lacking() -> None:
    rest = torch.full((1, 1, 200, 200), -6.0)
    rest[..., 150, :100], rest[..., 152, :20] = 0.9, 3.1
    alone, with_certain, with_doubtful = rest.clone(), rest.clone(), rest.clone()
    calm_(alone)
    for odds, level in ((with_certain, 8.0), (with_doubtful, 1.3)):
        odds[..., :50, :20] = level
        lowered = calm_(odds)
        before = odds.clone()
        odds[..., :50, :20] = -6  # withdrawn
        more = calm_(odds, lowered)
        assert more == pytest.approx(float(before[0, 0, 150, 0] - odds[0, 0, 150, 0]))
        assert lowered + more == pytest.approx(max(lowered, float(rest[0, 0, 150, 0] - alone[0, 0, 150, 0])), abs=0.01)
    assert with_certain[0, 0, 150, 0] == pytest.approx(alone[0, 0, 150, 0].item(), abs=0.01)
    assert more == 0  # the doubtful mark lent nothing


def test_stage_fills_and_says_how_much() -> None:
    pixels, mask = scene(), scratches()
    spoiled = torch.where(mask > 0, torch.ones(()), pixels)
    photo = Photo.from_array(spoiled[0].numpy().transpose(1, 2, 0))
    restoration = HoleFiller()(Restoration.start(photo, mask[0, 0].numpy()))
    assert (restoration.pixels - pixels).square().mean() < 0.2 * (spoiled - pixels).square().mean()
    assert torch.equal(restoration.pixels, HoleFiller().fill(spoiled, mask))
    assert mask.mean() < restoration.notes["fill"]["filled"] < 1


HOLES = {
    "lines": (slice(40, 44), slice(20, 260)),
    "a hole over many tiles": (slice(30, 170), slice(50, 230)),
    "the border": (slice(0, 25), slice(200, 304)),
}


def holed(where: str, height: int, width: int) -> Tensor:
    target = torch.zeros(1, 1, height, width)
    target[(..., *HOLES[where])] = 1
    target[..., 190:200, 100:110] = 0.6
    target[..., 195:, 40:60] = 1
    return target


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bringback.ops.tiled_fill.WHOLE", 5_000)
    monkeypatch.setattr("bringback.ops.tiled_fill.TILE", 64)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("where", HOLES)
@pytest.mark.parametrize(("whole", "error"), [(20_000, 2e-4), (5_000, 5e-4), (1_200, 5e-4)])
def test_a_large_photo_is_filled_as_a_whole(
    monkeypatch: pytest.MonkeyPatch, where: str, whole: int, error: float
) -> None:
    monkeypatch.setattr("bringback.ops.tiled_fill.WHOLE", whole)
    pixels, target = scene(208, 304), holed(where, 208, 304)
    pixels = torch.where(target == 1, torch.ones(()), pixels)
    expected = push_pull(pixels, target)
    for layout in (torch.contiguous_format, torch.channels_last):
        given = pixels.clone(memory_format=layout)
        result = filled(given, target)
        assert (result - expected).abs().max() < error
        assert torch.equal(given, pixels) and torch.equal(torch.where(target > 0, given, result), given)
        fill_into(given, target)
        assert torch.equal(given, result)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("where", HOLES)
@pytest.mark.parametrize("size", [(203, 301), (205, 304), (208, 303)])
def test_sides_that_do_not_divide_are_rounded_up(where: str, size: tuple[int, int]) -> None:
    pixels, target = scene(*size), holed(where, *size)
    height, width = size
    beyond = (0, -width % 4, 0, -height % 4)
    padded = [F.pad(part, beyond, mode="replicate") for part in (pixels, target)]
    result = filled(pixels, target)
    assert (result - push_pull(*padded)[..., :height, :width]).abs().max() < 5e-4
    change = (result - push_pull(pixels, target)).abs()
    assert change.max() < 0.1 and change[target.expand_as(change) > 0].mean() < 0.01


@pytest.mark.usefixtures("small_tiles")
def test_only_what_is_damaged_is_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, target = scene(208, 304, batch=2), torch.zeros(2, 1, 208, 304)
    target[0, :, 5:9, 5:9] = target[0, :, 100:104, 200:204] = 1
    sizes = []

    def watched(surface: Tensor, values: list[Tensor], weights: list[Tensor], plain: int) -> Tensor:
        sizes.append(tuple(values[0].shape))
        return push(surface, values, weights, plain=plain)

    monkeypatch.setattr("bringback.ops.tiled_fill.push", watched)
    result = filled(pixels, target)
    # of 44 and 68 pixels a side with 32 around, what the iterations reach: 4 or 2, and 18 around, as far as there are
    assert sizes == [(1, 3, 22, 22), (1, 3, 28, 28), (1, 3, 34, 34), (1, 3, 40, 40)]
    assert torch.equal(result[1], pixels[1]) and not torch.equal(result[0], pixels[0])


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("size", [(40, 48), (208, 304)])
def test_a_soft_photo_is_filled_at_its_native_scale(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    smoothed = []

    def watched(surface: Tensor, value: Tensor, weight: Tensor, iterations: int) -> Tensor:
        smoothed.append(max(value.shape[-2:]))
        return diffuse(surface, value, weight, iterations)

    diffuse = inpaint._diffuse
    monkeypatch.setattr(inpaint, "_diffuse", watched)
    height, width = size
    truth = F.interpolate(scene(height // 4, width // 4), size, mode="bicubic").clamp(0, 1)
    target = torch.zeros(1, 1, *size)
    target[..., 10:34, 16:22] = 1
    spoiled = torch.where(target > 0, torch.ones(()), truth)
    errors = []
    for scale in (1.0, 3.9, 4.0):
        smoothed.clear()
        fill_into(result := spoiled.clone(), target, scale=scale)
        assert max(smoothed) <= max(size) / 2 ** int(math.log2(scale))
        assert torch.equal(torch.where(target > 0, truth, result), truth)
        errors.append((result - truth).square().mean())
    assert max(errors[1:]) < max(1.2 * errors[0], 1e-5)


def test_boxes_hold_all_damage_and_no_wide_sound_places() -> None:
    damaged = np.zeros((512, 480), bool)
    assert not _boxes(damaged, (slice(512, 1024), slice(0, 480)), 4)
    cv2.line(canvas := damaged.astype(np.uint8), (20, 30), (450, 500), 1, 3)  # a scratch across, and a speck
    canvas[40:43, 440:450] = 1
    boxes = _boxes(canvas > 0, (slice(512, 1024), slice(0, 480)), 4)
    covered = np.zeros((1024, 480), int)
    for rows, columns in boxes:
        assert rows.start % 4 == columns.start % 4 == 0
        covered[rows, columns] += 1
    assert covered.max() == 1 and covered[512:][canvas > 0].all()
    assert covered.sum() < 0.35 * damaged.size  # one box would be nine tenths
    assert _boxes(~damaged, (slice(0, 512), slice(0, 480)), 4) == [[slice(0, 512), slice(0, 480)]]


@pytest.mark.usefixtures("small_tiles")
def test_photos_of_a_batch_are_filled_as_alone() -> None:
    pixels = torch.cat((scene(208, 304), 1 - scene(208, 304)))
    target = torch.cat([holed(where, 208, 304) for where in list(HOLES)[:2]])
    alone = [filled(pixels[k : k + 1], target[k : k + 1]) for k in range(2)]
    assert torch.equal(filled(pixels, target), torch.cat(alone))


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("size", [(40, 50), (208, 304)])
def test_stage_writes_into_the_pixels_that_another_has_made(size: tuple[int, int]) -> None:
    mask = np.zeros(size, np.float32)
    mask[10:20, 10:20] = 1
    restoration = Restoration.start(Photo.from_array(scene(*size)[0].numpy().transpose(1, 2, 0)), mask)
    with torch.no_grad():
        restoration.pixels = restoration.pixels.clone()
    before, place = restoration.pixels.clone(), restoration.pixels.data_ptr()
    HoleFiller()(restoration)
    assert restoration.pixels.data_ptr() == place and not torch.equal(restoration.pixels, before)
    filled = restoration.pixels
    with torch.inference_mode():  # what is made there may not be written into outside
        restoration.pixels = before.clone()
    HoleFiller()(restoration)
    assert torch.equal(restoration.pixels, filled)


def test_what_is_replaced_does_not_hang_on_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = torch.rand(2, 1, 37, 29, generator=torch.Generator().manual_seed(0)) ** 8
    expected = fill_mask(mask)
    monkeypatch.setattr("bringback.ops.strips.STRIP", 60)
    assert torch.equal(fill_mask(mask), expected) and 0 < expected.mean() < 1


def test_a_given_mask_is_filled_from_a_half_on_however_little_it_is() -> None:
    pixels, mask = scene(), torch.zeros(1, 1, 96, 128)
    mask[..., 40:42, 30:40] = 0.6
    restoration = Restoration.start(Photo.from_array(pixels[0].numpy().transpose(1, 2, 0)), mask[0, 0].numpy())
    marked = restoration.damage() > 0.5
    assert torch.equal(restoration.to_fill() >= 0.3, marked) and marked.sum() == 20


@pytest.mark.parametrize("level", [None, 0.0, 0.08])
def test_stage_leaves_a_sound_photo_alone(level: float | None) -> None:
    photo = Photo.from_array(scene()[0].numpy().transpose(1, 2, 0))
    restoration = Restoration.start(photo, None if level is None else np.full((96, 128), level, np.float32))
    before = restoration.pixels.clone()
    assert torch.equal(HoleFiller()(restoration).pixels, before)
    assert restoration.notes["fill"]["filled"] == 0


def test_a_megapixel_takes_about_a_second() -> None:
    mask = (torch.rand(1, 1, 1000, 1000, generator=torch.Generator().manual_seed(0)) < 0.1).float()
    begin = time.process_time()
    push_pull(torch.rand(1, 3, 1000, 1000), mask)
    assert time.process_time() - begin < 4  # generous: machines are shared
