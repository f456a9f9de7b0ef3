"""The deep image prior: what it looks at, what it leaves alone, when it stops."""

import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from bringback.cli.main import app
from bringback.errors import PhotoError
from bringback.images.photo import Photo
from bringback.models.hourglass import Hourglass, SegNet
from bringback.ops.metrics import psnr
from bringback.ops.push_pull import push_pull
from bringback.pipeline import Pipeline
from bringback.stages.fill import HoleFiller
from bringback.stages.prior import fit as prior
from bringback.stages.prior.fit import denoise, inpaint
from bringback.stages.prior.settings import PriorSettings, Progress
from bringback.stages.prior.stage import PriorDenoiser
from bringback.stages.record import Restoration
from bringback.weights.checkpoints import Checkpoints

SHORT = PriorSettings(iterations=6)


def smooth(side: int = 64) -> Tensor:
    """A picture of slow waves in three colors."""
    rows, columns = torch.meshgrid(*(torch.linspace(0, 3, side),) * 2, indexing="ij")
    waves = (torch.sin(rows + 2 * columns), torch.cos(2 * rows - columns), torch.sin(3 * rows))
    return 0.5 + 0.3 * torch.stack(waves)[None]


def hole(side: int = 64) -> Tensor:
    mask = torch.zeros(1, 1, side, side)
    mask[..., 20:36, 24:40] = 1
    return mask


def last(**arguments) -> tuple[Tensor, list[Progress]]:
    steps: list[Progress] = []
    return inpaint(**arguments, on_step=steps.append), steps


@pytest.mark.parametrize("form", [Hourglass, SegNet])
def test_a_network_makes_a_picture_of_the_size_of_the_noise(form) -> None:
    network = form(4, (8, 12, 16))
    made = network(torch.rand(1, 4, 2 * network.multiple, 5 * network.multiple))
    assert made.shape == (1, 3, 16, 40) and made.dtype == torch.float32 and made.min() >= 0 and made.max() <= 1


@pytest.mark.parametrize("form", ["unet", "segnet"])
def test_what_is_damaged_is_not_looked_at_and_what_is_sound_comes_back_exactly(form) -> None:
    pixels, mask = smooth(), hole()
    settings = PriorSettings(form=form, iterations=6)
    made = inpaint(pixels, mask, settings=settings)
    assert torch.equal(made.where(mask == 0, torch.zeros(())), pixels.where(mask == 0, torch.zeros(())))
    other = pixels.where(mask == 0, torch.rand(1, 3, 64, 64))
    assert torch.equal(inpaint(other, mask, settings=settings), made)
    assert torch.equal(denoise(other, settings=settings, mask=mask), denoise(pixels, settings=settings, mask=mask))
    assert not torch.equal(denoise(other, settings=settings), denoise(pixels, settings=settings))


def test_a_soft_mask_blends() -> None:
    pixels, mask = smooth(), hole()
    mask[..., 20:36, 24] = 0.25
    made = inpaint(pixels.where(mask == 0, torch.zeros(())), mask, settings=SHORT)
    soft, hard = made[..., 20:36, 24].mean(), made[..., 20:36, 25].mean()
    assert soft < 0.5 * hard


def test_the_seed_says_all_and_the_random_numbers_of_others_stay() -> None:
    pixels, mask, settings = smooth(), hole(), PriorSettings(iterations=24)  # fewer use little of it
    state = torch.get_rng_state()
    made = inpaint(pixels, mask, settings=settings)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(5)
    assert torch.equal(inpaint(pixels, mask, settings=settings), made)
    assert not torch.equal(inpaint(pixels, mask, settings=PriorSettings(iterations=24, seed=1)), made)


def test_a_hole_is_filled() -> None:
    pixels, mask = smooth(), hole()
    made = inpaint(pixels.where(mask == 0, torch.zeros(())), mask, settings=PriorSettings(iterations=60))
    assert psnr(made, pixels) > 35


def test_noise_goes() -> None:
    pixels = smooth()
    noisy = (pixels + 0.1 * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    assert psnr(denoise(noisy, settings=PriorSettings(iterations=70)), pixels) > psnr(noisy, pixels) + 4


def test_it_ends_in_time(monkeypatch) -> None:
    now = [0.0]

    def tick() -> float:
        now[0] += 0.5
        return now[0]

    monkeypatch.setattr(prior.time, "perf_counter", tick)
    _, steps = last(pixels=smooth(), mask=hole(), settings=PriorSettings(seconds=20))
    assert steps[-1].done == 1 and steps[-1].seconds <= 20 and 10 < steps[-1].iteration < 40
    assert all(one.done < 1 for one in steps[:-2])
    with pytest.raises(PhotoError, match="in 5 seconds a prior gets no further"):
        denoise(smooth(), settings=PriorSettings(seconds=5))


def test_the_average_that_is_best_on_the_pixels_held_back_is_kept(monkeypatch) -> None:
    shown, held = torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8)
    held[..., :2] = 1
    kept = prior._Kept(shown, held, averaging=0.0)
    for iteration, gray in enumerate((0.4, 0.1, 0.3), 1):
        kept.add(torch.full_like(shown, gray), iteration)
        kept.average = torch.full_like(shown, gray)
        kept.judge(iteration, iteration / 3)
    assert kept.best == 2 and kept.kept.unique().item() == pytest.approx(0.1) and kept.decibels == pytest.approx(20)

    monkeypatch.setattr(prior, "EVERY", 1)
    judged = []
    monkeypatch.setattr(prior._Kept, "judge", lambda self, iteration, done: judged.append(done))
    _, steps = last(pixels=smooth(), mask=hole(), settings=PriorSettings(iterations=40, patience=0.2))
    assert steps[-1].stopped_early and steps[-1].iteration == len(judged) == 9


def test_a_network_that_fails_where_pixels_were_held_back_is_not_used(monkeypatch) -> None:
    pixels, mask = smooth(), hole()

    def nonsense(shown, trust, block, settings, device, on_step):
        held = torch.zeros_like(trust)
        held[..., :8, :8] = 1
        return made.expand_as(shown), held, Progress(1.0, 1, 0.0, 64, 64, 1, 8.0)

    monkeypatch.setattr(prior, "_fit", nonsense)
    rows = torch.arange(64) % 2 / 1.0
    made = rows[:, None].expand(64, 64)
    assert psnr(inpaint(pixels, mask), push_pull(pixels, mask)) > 50
    made = pixels
    assert psnr(inpaint(pixels, mask), pixels) > psnr(push_pull(pixels, mask), pixels) + 10


def test_what_is_held_back_is_not_learned_from() -> None:
    trust = 1 - hole()
    left, held = prior._held_back(trust, 0.2, 8, torch.Generator().manual_seed(0))
    squares = held.reshape(8, 8, 8, 8).mean((1, 3))
    assert squares.unique().tolist() == [0, 1] and squares.sum() == int(0.2 * (64 - 9))
    assert torch.equal(left + held, trust)


def test_a_large_photo_is_solved_small_and_keeps_its_size_and_its_detail() -> None:
    pixels = torch.rand(1, 3, 96, 160, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 1, 96, 160)
    mask[..., 40:50, 60:90] = 1
    made, steps = last(pixels=pixels, mask=mask, settings=PriorSettings(iterations=3, size=80))
    assert (steps[-1].height, steps[-1].width) == (48, 80) and made.shape == pixels.shape
    assert torch.equal(made.where(mask == 0, torch.zeros(())), pixels.where(mask == 0, torch.zeros(())))
    steps = []
    edge = smooth(128)
    edge[..., 64:] = 1 - edge[..., 64:]
    noisy = edge + 0.05 * torch.randn(edge.shape, generator=torch.Generator().manual_seed(0))
    settings = PriorSettings(iterations=100, size=64)
    calm = denoise(noisy.clamp(0, 1), settings=settings, on_step=steps.append)
    assert calm.shape == edge.shape and (steps[-1].height, steps[-1].width) == (64, 64)
    assert psnr(calm, edge) > psnr(noisy, edge) + 2


def test_a_hole_is_no_quiet_place_by_which_noise_would_be_measured() -> None:
    noise, sound = (
        0.05 * torch.randn(1, 3, 200, 200, generator=torch.Generator().manual_seed(0)),
        torch.ones(1, 1, 200, 200),
    )
    kept = prior._standing_out(noise, sound)[..., 100:].std()
    sound[..., :80] = 0
    assert prior._standing_out(noise * sound, sound)[..., 100:].std() < 1.2 * kept
    assert not prior._standing_out(noise * 0, sound * 0).any()


@pytest.mark.parametrize("shape", [(1, 1), (3, 70), (65, 33)])
def test_odd_sizes(shape) -> None:
    pixels, mask = torch.rand(1, 3, *shape), torch.zeros(1, 1, *shape)
    assert denoise(pixels, settings=PriorSettings(iterations=2)).shape == pixels.shape
    assert torch.equal(inpaint(pixels, mask), pixels)
    with pytest.raises(PhotoError, match="all of the photo"):
        inpaint(pixels, mask + 1, settings=SHORT)


@pytest.mark.parametrize(
    "wrong",
    [
        {"form": "vgg"}, {"iterations": 0}, {"seconds": 0.0}, {"seconds": float("nan")}, {"seed": -1}, {"noise": -1.0},
        {"averaging": 1.0}, {"held_back": 1.0}, {"patience": 0.0}, {"rate": 0.0}, {"size": 8}, {"seed": 2**64},
    ],
)  # fmt: skip
def test_wrong_settings_are_one_line(wrong) -> None:
    with pytest.raises(ValueError, match=f"prior: {next(iter(wrong))} "):
        PriorSettings(**wrong)


def test_the_stage_works_in_a_pipeline_and_tells_what_was_done() -> None:
    pipeline = Pipeline.from_pretrained(
        stages=["prior"], device="cpu", settings={"prior": {"iterations": 4, "form": "segnet"}}
    )
    assert isinstance(pipeline.stages[0], PriorDenoiser)
    names: list[str] = []
    steps: list[Progress] = []

    def on_step(name: str, progress: Progress) -> None:
        names.append(name)
        steps.append(progress)

    photo = Photo.from_array(smooth()[0].permute(1, 2, 0).numpy())
    restoration = pipeline.restore(photo, hole()[0, 0].numpy(), on_step=on_step)
    pipeline.restore(photo)  # without a callback: the stage has kept none
    notes = restoration.notes["prior"]
    assert (
        names == ["prior"] * 5
        and len(steps) == 5
        and steps[-1].finished
        and notes["form"] == "segnet"
        and notes["working_size"] == "64x64"
    )
    assert notes["iterations"] == 4 and not np.array_equal(restoration.result().pixels, photo.pixels)


def test_doubts_of_the_detector_do_not_keep_pixels_from_being_held_back() -> None:
    photo = Photo.from_array(smooth()[0].permute(1, 2, 0).numpy())
    mask = hole().clamp(0.01, 1.0)  # a network is never sure that a pixel is sound
    for size in (64, 128):
        stage = PriorDenoiser(iterations=10, size=size)
        done = stage(Restoration(photo, smooth(128), torch.nn.functional.interpolate(mask, (128, 128))))
        assert done.notes["prior"]["held_back_psnr"] is not None


def test_the_stage_fill_tells_of_its_prior_too() -> None:
    stage = HoleFiller(method="prior", iterations=6)
    steps: list[Progress] = []
    photo = Photo.from_array(smooth()[0].permute(1, 2, 0).numpy())
    restoration = Restoration.start(photo, hole()[0, 0].numpy())
    restoration.on_step = lambda name, progress: steps.append(progress) if name == "fill" else None
    done = stage(restoration)
    assert done.notes["fill"]["iterations"] == 6 and done.notes["fill"]["filled"] > 0
    assert steps[-1].finished and len(steps) == 7
    again: list[Progress] = []
    assert torch.equal(stage.fill(smooth(), hole(), on_step=again.append), done.pixels) and len(again) == 7
    untouched = stage(Restoration.start(photo))
    assert "iterations" not in untouched.notes["fill"]


def test_the_stage_says_what_memory_it_takes() -> None:
    stage = PriorDenoiser.from_checkpoints(Checkpoints(None), torch.device("cpu"))
    assert stage.needs(100, 100, None) < stage.needs(3000, 3000, None) < stage.needs(6000, 6000, None)
    assert Restoration.start(Photo.from_array(np.zeros((4, 4, 3), np.float32))).mask is None
    with pytest.raises(ValueError, match="prior: size 8"):
        PriorDenoiser(size=8)


def test_the_command_line_hands_its_flags_on_and_refuses_wrong_ones(tmp_path) -> None:
    Photo.from_array(smooth()[0].permute(1, 2, 0).numpy()).write(tmp_path / "a.png")
    Photo.from_array(hole()[0, 0].numpy()).write(tmp_path / "mask.png")
    common = ["restore", str(tmp_path / "a.png"), "-o", str(tmp_path / "out"), "--device", "cpu"]
    filled = ["--stages", "fill", "--mask", str(tmp_path / "mask.png"), "--fill", "prior"]
    for wrong, said in (
        (["--prior-seconds", "0"], "prior: seconds 0.0"),
        (["--prior-form", "vgg"], "prior: form 'vgg'"),
        (["--seed", "-1"], "prior: seed -1"),
        (["--stages", "fill", "--seed", "1"], "go with --fill prior"),
    ):
        done = CliRunner().invoke(app, [*common, "--stages", "prior", *wrong])
        assert done.exit_code == 2 and said in done.output and len(done.output.splitlines()) == 1
    done = CliRunner().invoke(
        app, [*common, *filled, "--prior-form", "segnet", "--prior-seconds", "0.3", "--seed", "3"]
    )
    assert done.exit_code == 0
