"""Restoration without networks, against scikit-image and OpenCV, and end to end in every combination."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data, filters, morphology, restoration
from torch import Tensor
from typer.testing import CliRunner

from bringback.cli import main as cli
from bringback.images.photo import Photo
from bringback.ops import opencv
from bringback.ops.opencv import DENOISING, INPAINTING, GradientSettings, denoise, gradient_mask, inpaint
from bringback.pipeline import Pipeline
from bringback.runtime.compute import Compute
from bringback.stages.denoise import Denoiser
from bringback.stages.fill import METHODS as FILLS
from bringback.stages.fill import HoleFiller
from bringback.stages.prior.settings import PriorSettings
from bringback.stages.record import Restoration
from bringback.stages.scratches import METHODS as DETECTORS
from bringback.stages.scratches import ScratchDetector
from bringback.weights.checkpoints import Checkpoints

GRADIENT = {"scratches": {"method": "gradient"}}


def picture(height: int = 96, width: int = 144) -> Tensor:
    """A real photo (1, 3, H, W)."""
    pixels = data.astronaut()[:height, 150 : 150 + width]
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None].float() / 255


def smooth(height: int = 120, width: int = 160) -> Tensor:
    rows, columns = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return torch.stack([0.2 + 0.4 * rows, 0.3 + 0.3 * columns, 0.5 - 0.3 * rows * columns])[None]


def scratch(height: int, width: int, thickness: int = 3) -> Tensor:
    """A mask (1, 1, H, W) of two long scratches."""
    mask = np.zeros((height, width), np.uint8)
    cv2.line(mask, (width // 5, 0), (width // 3, height - 1), 1, thickness)
    cv2.line(mask, (width // 2, height // 8), (width - width // 8, height // 2), 1, thickness)
    return torch.from_numpy(mask).float()[None, None]


def decibels(a: Tensor, b: Tensor) -> float:
    return float(-10 * torch.log10((a - b).square().mean()))


def as_array(pixels: Tensor) -> np.ndarray:
    return np.ascontiguousarray(pixels[0].permute(1, 2, 0).numpy())


@pytest.mark.parametrize("share", [0.17, 0.4])
def test_the_mask_is_what_scikit_image_makes_of_it(share: float) -> None:
    pixels = picture(200, 240)
    settings = GradientSettings(share=share, closing=2, smallest=25)
    plane = as_array(pixels) @ np.array([0.299, 0.587, 0.114], np.float32)
    steepness = filters.sobel(np.pad(plane, 1, mode="reflect"))[1:-1, 1:-1]
    found = steepness > share * steepness.max()
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    # what lies beyond the border neither widens nor holds back
    closed = morphology.closing(np.pad(found, 4), disk)[4:-4, 4:-4]
    expected = morphology.remove_small_objects(closed, max_size=24, connectivity=2)
    mask = gradient_mask(pixels, settings)[0, 0].numpy() > 0
    assert 0.01 < expected.mean() < 0.6
    inside = (slice(4, -4), slice(4, -4))
    assert (mask != expected)[inside].mean() < 1e-3 and (mask != expected).mean() < 0.01


@pytest.mark.parametrize(("size", "thickness"), [((120, 160), 3), ((120, 160), 1), ((1350, 1800), 6)])
def test_a_bright_scratch_on_a_smooth_photo_is_found_and_filled(size: tuple[int, int], thickness: int) -> None:
    truth, mask = smooth(*size), scratch(*size, thickness)
    spoilt = torch.where(mask > 0, torch.ones(()), truth)
    found = gradient_mask(spoilt)
    assert found.shape == mask.shape and set(found.unique().tolist()) == {0, 1}
    assert found[mask > 0].mean() > 0.8
    assert found.sum() < 6 * mask.sum()
    for method in FILLS[:3]:
        assert decibels(HoleFiller(method=method).fill(spoilt, found), truth) > decibels(spoilt, truth) + 10


def test_small_things_are_no_damage_and_wrong_settings_are_named() -> None:
    pixels = torch.full((2, 3, 60, 80), 0.4)
    pixels[:, :, 20, 20] = 1
    pixels[1, :, 40, 10:60] = 1
    masks = gradient_mask(pixels)
    assert masks[0].sum() == 0 and masks[1, :, :30].sum() == 0 and masks[1, :, 40, 10:60].all()
    assert gradient_mask(pixels, GradientSettings(smallest=0))[0].sum() > 0
    for wrong in ({"share": 0}, {"share": 1.1}, {"closing": -1}, {"smallest": -1}, {"working": 3}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            GradientSettings(**wrong)


@pytest.mark.parametrize("method", INPAINTING)
def test_inpainting_is_opencv_s_window_by_window(method: str) -> None:
    pixels, mask = picture(180, 220), scratch(180, 220)
    mask[..., 100:130, 10:30] = mask[..., 175:, 200:] = mask[..., 20, 20] = 1
    spoilt = torch.where(mask > 0, torch.ones(()), pixels)
    holes = mask[0, 0].numpy().astype(np.uint8)
    assert len(opencv._windows(holes)) > 1
    levels, plain = np.rint(as_array(spoilt) * 65535).astype(np.uint16), np.rint(as_array(spoilt) * 255)
    whole = [cv2.inpaint(np.ascontiguousarray(levels[..., k]), holes, 5, INPAINTING[method]) for k in range(3)]
    result = inpaint(spoilt, mask, method)
    assert np.array_equal(np.rint(as_array(result) * 65535), np.dstack(whole))
    sound = (mask == 0).expand_as(pixels)
    assert torch.equal(result[sound], spoilt[sound])
    eight = torch.from_numpy(cv2.inpaint(plain.astype(np.uint8), holes, 5, INPAINTING[method])).permute(2, 0, 1) / 255
    # of eight bits each filled pixel is rounded before the next is made of it
    assert (result[0] - eight).abs()[:, holes > 0].mean() < 2 / 255
    assert decibels(result, pixels) > decibels(eight[None], pixels) - 0.1


@pytest.mark.parametrize("method", INPAINTING)
def test_half_covered_pixels_are_mixed_and_teach_nothing(method: str) -> None:
    pixels = torch.full((1, 3, 40, 40), 0.25)
    mask = torch.zeros(1, 1, 40, 40)
    mask[..., 9:31, 9:31], mask[..., 10:30, 10:30] = 0.5, 1
    spoilt = torch.where(mask > 0, torch.ones(()), pixels)
    result = inpaint(spoilt, mask, method)
    assert (result[..., 10:30, 10:30] - 0.25).abs().max() < 1e-3
    assert (result[..., 9, 9:31] - 0.625).abs().max() < 1e-3


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (2, 2), (33, 57)])
def test_any_size_constant_photos_and_all_damaged(size: tuple[int, int]) -> None:
    pixels = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    constant = torch.full((1, 3, *size), 0.3)
    assert gradient_mask(pixels).shape == (2, 1, *size)
    for settings in (None, GradientSettings(smallest=0, working=16)):
        assert not gradient_mask(constant, settings).any()
    for method in INPAINTING:
        assert torch.equal(inpaint(pixels, torch.zeros(2, 1, *size), method), pixels)
        everything = inpaint(pixels, torch.ones(2, 1, *size), method)
        assert torch.allclose(everything, pixels.mean((2, 3), keepdim=True).expand_as(pixels), atol=1e-6)
    for method in DENOISING:
        clean = denoise(pixels, method)
        assert clean.shape == pixels.shape and clean.isfinite().all() and clean.min() >= 0 and clean.max() <= 1
        assert (denoise(constant, method) - constant).abs().max() < 1e-4


def noisy(deviation: float) -> tuple[Tensor, Tensor]:
    truth = picture(128, 128)
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    return truth, (truth + deviation / 255 * noise).clamp(0, 1)


@pytest.mark.parametrize("method", DENOISING)
@pytest.mark.parametrize("deviation", [5.0, 12.0])
def test_noise_of_the_given_strength_is_taken_away(method: str, deviation: float) -> None:
    truth, spoilt = noisy(deviation)
    clean = denoise(spoilt, method, deviation)
    assert decibels(clean, truth) > decibels(spoilt, truth) + 1.5
    assert torch.equal(denoise(spoilt, method, 0), spoilt)
    assert len(clean.unique()) > 2000  # more levels than eight bits have


def test_non_local_means_are_those_of_opencv_and_of_scikit_image() -> None:
    truth, spoilt = noisy(12.0)
    clean = denoise(spoilt, "nlm", 12.0)
    levels = np.rint(as_array(spoilt) * 255).astype(np.uint8)
    eight = cv2.fastNlMeansDenoising(levels, [12.0 * 3**0.5], None, 7, 21, cv2.NORM_L1).astype(np.float32) / 255
    assert np.abs(as_array(clean) - eight).mean() < 1 / 255
    reference = restoration.denoise_nl_means(as_array(spoilt), 7, 10, h=0.8 * 12 / 255, sigma=12 / 255, channel_axis=-1)
    expected = torch.from_numpy(reference.transpose(2, 0, 1))[None]
    assert decibels(clean, truth) > decibels(expected, truth) - 1
    assert decibels(clean, expected) > decibels(spoilt, expected) + 3


@pytest.mark.parametrize("method", DENOISING)
def test_strips_do_not_show(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    _, spoilt = noisy(8.0)
    whole = denoise(spoilt, method)
    monkeypatch.setattr("bringback.ops.strips.STRIP", 128 * 20)
    assert (denoise(spoilt, method) - whole).abs().max() < 1e-4


@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize("fill", FILLS)
def test_every_detector_goes_with_every_fill(tmp_path: Path, detector: str, fill: str) -> None:
    truth, mask = smooth(288, 384), scratch(288, 384)
    spoilt = torch.where(mask > 0, torch.ones(()), truth)
    settings: dict = {"scratches": {"method": detector}, "fill": {"method": fill}}
    settings["fill"] |= {"iterations": 10, "size": 96} if fill == "prior" else {}
    stages = ["scratches", "fill"]
    pipeline = Pipeline.from_pretrained(stages=stages, settings=settings, device="cpu", dtype="float32", scale=4)
    assert list(pipeline.weights) == (["scratches"] if detector == "unet" else [])
    done = pipeline.restore(Photo.from_array(as_array(spoilt)))
    assert (done.damage()[mask > 0] > 0.5).float().mean() > 0.6
    gain = decibels(done.pixels, truth) - decibels(spoilt, truth)
    # the network is not at home in so small a photo, and a prior takes more than ten iterations
    assert gain > (8 if detector == "gradient" and fill != "prior" else 0)


@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize("fill", FILLS)
def test_and_so_they_do_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, detector: str, fill: str
) -> None:
    monkeypatch.setattr("bringback.stages.prior.settings.PriorSettings", lambda: PriorSettings(iterations=2, size=96))
    spoilt = torch.where(scratch(288, 384) > 0, torch.ones(()), smooth(288, 384))
    Image.fromarray(np.rint(as_array(spoilt) * 255).astype(np.uint8)).save(tmp_path / "a.png")
    arguments = ["restore", tmp_path / "a.png", "-o", tmp_path / "out", "--preset", "classical", "--json"]
    arguments += ["--scratches", detector, "--fill", fill, "--scale", 4]
    result = CliRunner().invoke(cli.app, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    entry = json.loads(result.stdout)
    assert list(entry["stages"]) == ["scratches", "fill", "denoise"] and entry["stages"]["fill"]["filled"] > 0


def test_the_preset_touches_no_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise AssertionError("a checkpoint was asked for")

    monkeypatch.setattr(Checkpoints, "folder", none)
    pipeline = Pipeline.from_pretrained(config="classical", device="cpu")
    assert [stage.name for stage in pipeline.stages] == ["scratches", "fill", "denoise"] and not pipeline.weights
    own = Pipeline.from_pretrained(
        config="classical", device="cpu", settings={"scratches": {"share": 0.5}, "denoise": {"strength": 6}}
    )
    assert own.settings["scratches"] == {"method": "gradient", "share": 0.5}
    for size in ((1, 1), (3, 500)):
        assert pipeline(np.full((*size, 3), 77, np.uint8)).tolist() == np.full((*size, 3), 77).tolist()
    assert pipeline.plan(3000, 4000).tile is None


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"scratches": {"method": "net"}}, "unknown detector 'net': one of unet, gradient"),
        ({"scratches": {"method": "unet", "share": 0.2}}, "share"),
        ({"scratches": {"method": "gradient", "share": 2}}, "share 2: wants"),
        ({"scratches": {"method": "gradient", "sharing": 2}}, "sharing"),
        ({"fill": {"method": "paint"}}, "unknown fill 'paint': one of pushpull, telea, ns, prior"),
        ({"fill": {"method": "telea", "iterations": 3}}, "settings of the stage 'fill': the fill 'telea' has no"),
        ({"fill": {"method": "prior", "steps": 3}}, "steps"),
        ({"denoise": {"method": "median"}}, "unknown denoising 'median': one of nlm, bilateral"),
        ({"denoise": {"strength": -1}}, "strength -1"),
    ],
)
def test_wrong_settings_are_one_line(settings: dict, reason: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]*$") as caught:
        Pipeline.from_pretrained(stages=["scratches", "fill", "denoise"], settings=settings, device="cpu")
    assert reason in str(caught.value)


def test_sixteen_bits_stay() -> None:
    rows, columns = np.meshgrid(np.arange(90), np.arange(120), indexing="ij")
    truth = np.stack([20_000 + 131 * rows + 17 * columns, 30_000 + 57 * columns, 9_000 + 3 * rows], -1).astype(
        np.uint16
    )
    mask = scratch(90, 120)[0, 0].numpy() > 0
    spoilt = np.where(mask[..., None], np.uint16(65535), truth)
    for fill in ("telea", "ns"):
        settings = GRADIENT | {"fill": {"method": fill}}
        pipeline = Pipeline.from_pretrained(stages=["scratches", "fill"], settings=settings, device="cpu")
        done = pipeline.restore(Photo.from_array(spoilt))
        result = done.result().array()
        near = cv2.dilate(done.damage()[0, 0].numpy().astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        assert result.dtype == np.uint16 and 0 < near.mean() < 0.5
        assert np.array_equal(result[~near], spoilt[~near])
        filled = result[near].astype(int)
        assert (filled % 257 != 0).mean() > 0.9 and np.abs(filled - truth[near]).mean() < 400


def test_a_given_mask_is_united_with_what_is_steep() -> None:
    pixels = smooth(60, 80)
    pixels[..., 40:43, 10:70] += 0.1
    given = np.zeros((60, 80), np.float32)
    given[5:15, 5:15] = 1
    pixels[..., 5:15, 5:15] = 0  # steeper than the scratch, unless what is known is filled before
    stage = ScratchDetector.from_checkpoints(Checkpoints(), Compute(), method="gradient", share=0.5)
    result = stage(Restoration.start(Photo.from_array(as_array(pixels)), given))
    assert result.mask is not None and result.mask[..., 5:15, 5:15].all() and result.mask[..., 41, 10:70].all()
    assert result.notes["scratches"]["damaged_share"] == round(result.mask.mean().item(), 5)
    assert not hasattr(stage, "tile")


def test_the_stage_denoises_and_tells() -> None:
    truth, spoilt = noisy(10.0)
    restored = Denoiser(strength=10)(Restoration.start(Photo.from_array(as_array(spoilt))))
    assert decibels(restored.pixels, truth) > decibels(spoilt, truth) + 2
    assert 0.01 < restored.notes["denoise"]["mean_change"] < 0.1


def test_classical_stages_tell_what_they_need() -> None:
    small, large = (100, 100), (3000, 4000)
    stages = [HoleFiller(method=method) for method in FILLS] + [Denoiser()]
    for stage in stages:
        assert stage.needs(*small, None) < stage.needs(*large, None) < 800_000_000
