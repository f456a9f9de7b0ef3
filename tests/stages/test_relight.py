"""Relighting: what is bright stays by construction, curves never fall, tiles agree, a dark photo gets lighter."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import median_filter

from bringback.models.relight import BRIGHT, RelightNet, median, places, without_dots
from bringback.ops.color import luminance
from bringback.ops.metrics import psnr
from bringback.ops.tiling import run_tiled
from bringback.pipeline import Pipeline
from bringback.stages.relight import Relighter
from bringback.weights.checkpoints import Checkpoints, save_network


def restless(strength: float = 1.0) -> RelightNet:
    """A network whose curves and residuals do something everywhere."""
    torch.manual_seed(0)
    network = RelightNet(side=16, look=4, width=8, blocks=1).eval()
    torch.nn.init.normal_(network.decide[-1].weight, std=2 * strength)
    torch.nn.init.normal_(network.head.weight, std=0.1 * strength)
    torch.nn.init.constant_(network.head.bias, -0.3)
    return network.requires_grad_(False)


def test_a_fresh_network_is_the_identity() -> None:
    photo = torch.rand(2, 3, 37, 51) * 0.9 + 0.05
    assert torch.allclose(RelightNet(side=16)(photo), photo, atol=1e-6)


def test_curves_never_fall_and_end_where_they_began() -> None:
    network = restless()
    curves = network.curves(network.thumbnail(torch.rand(3, 3, 64, 64)))[:, 0]
    knots = BRIGHT * torch.linspace(0, 1, network.knots + 1).square()
    whole = curves + knots.view(1, -1, 1, 1)
    assert curves.abs().max() > 0.01
    assert (whole.diff(dim=1) >= 0).all()
    assert curves[:, 0].abs().max() == 0 and curves[:, -1].abs().max() < 1e-5


def test_curves_are_looked_up_at_their_knots() -> None:
    network = RelightNet(side=16)
    knots = BRIGHT * torch.linspace(0, 1, network.knots + 1).square()
    ramp = torch.linspace(0, 0.16, network.knots + 1).view(1, 1, -1, 1, 1).expand(-1, -1, -1, 8, 8)
    for number in (1, 5, 16):
        flat = torch.full((1, 3, 20, 20), float(knots[number]))
        lit = network.lit(flat, luminance(flat), ramp, places(flat))
        added = min(0.01 * number, 1 - float(knots[number]))
        assert torch.allclose(lit - flat, torch.full_like(flat, added), atol=1e-4)


def test_what_is_bright_stays_whatever_the_network_says() -> None:
    photo = torch.rand(1, 3, 64, 64) * 0.4
    photo[..., 10:40, 10:40] = 0.97
    photo[0, :, 12:14, 12:14] = 0.99
    made = restless(5.0)(photo)
    assert (made - photo)[..., 11:39, 11:39].abs().max() < 1e-5
    assert (made - photo)[..., 45:, 45:].abs().mean() > 0.05


def test_a_white_dot_in_the_dark_is_no_light() -> None:
    photo = torch.full((1, 3, 32, 32), 0.1)
    photo[..., 16, 16] = 1.0
    assert float((restless()(photo) - photo)[..., 16, 16].abs().max()) > 0.05


def test_a_thin_bright_line_in_the_dark_stays() -> None:
    photo = torch.full((1, 3, 32, 32), 0.1)
    photo[..., 16, :] = 0.97
    made = restless(5.0)(photo)
    assert (made - photo)[..., 16, 1:-1].abs().max() < 1e-5
    assert (made - photo)[..., 20:, :].abs().mean() > 0.01


def test_nothing_goes_beyond_white_and_hues_stay() -> None:
    photo = torch.tensor([0.6, 0.3, 0.1]).view(1, 3, 1, 1).expand(-1, -1, 32, 32)
    network = RelightNet(side=16)
    curves = torch.full((1, 1, network.knots + 1, 8, 8), 0.5)
    lit = network.lit(photo, luminance(photo), curves, places(photo))
    assert lit.max() <= 1 + 1e-6
    assert torch.allclose(lit / lit[:, :1], photo / photo[:, :1], atol=1e-5)


def test_salt_and_pepper_go_and_what_is_no_noise_stays() -> None:
    generator = torch.Generator().manual_seed(0)
    clean = torch.nn.functional.interpolate(torch.rand(1, 3, 8, 8, generator=generator), (600, 700), mode="bicubic")
    clean = clean.clamp(0, 1) * 0.4 + 0.1
    dice = torch.rand(clean.shape, generator=generator)
    noisy = torch.where(dice < 0.01, 0.0, torch.where(dice > 0.99, 1.0, clean))
    mended = without_dots(noisy)
    assert (mended - clean).abs().mean() < 0.05 * (noisy - clean).abs().mean()
    stage = Relighter(RelightNet(side=16))  # which changes nothing by itself
    assert torch.allclose(stage.relight(noisy), mended, atol=1e-5)  # in strips as in one piece
    few = clean.clone()
    few[..., ::60, ::60] = 1.0  # stars
    assert torch.equal(without_dots(few), few)
    assert torch.allclose(stage.relight(few), few, atol=1e-5)


def test_the_median_is_scipys() -> None:
    light = torch.rand(1, 1, 20, 30)
    assert np.allclose(median(light)[0, 0].numpy(), median_filter(light[0, 0].numpy(), 3, mode="nearest"))


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (97, 61)])
def test_any_size(size: tuple[int, int]) -> None:
    photo = torch.rand(1, 3, *size)
    assert Relighter(restless()).relight(photo).shape == photo.shape


def test_floats_a_rounding_below_black_are_black() -> None:
    photo = torch.rand(1, 3, 64, 64)
    photo[..., :20, :] = 0
    stage = Relighter(restless())
    below = torch.where(photo == 0, -1e-5, photo)
    assert (stage.relight(below) - stage.relight(photo)).abs().max() < 1e-3


def test_places_take_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []

    def told(function, inputs, **tiling) -> torch.Tensor:
        held.extend(part.untyped_storage().nbytes() for part in inputs)
        return run_tiled(function, inputs, **tiling)

    monkeypatch.setattr("bringback.stages.relight.run_tiled", told)
    photo = torch.rand(2, 3, 50, 70)
    made = Relighter(restless()).relight(photo)
    assert len(held) == 3 and max(held[1:]) <= 4 * 2 * 70  # a line of x and y, not a plane
    assert (made - restless()(photo).clamp(0, 1)).abs().max() < 1e-5


def test_tiles_do_not_show() -> None:
    torch.manual_seed(1)
    photo = torch.rand(1, 3, 300, 420)
    whole, stage = Relighter(restless()), Relighter(restless())
    stage.tile = 128
    assert (whole.relight(photo) - stage.relight(photo)).abs().max() < 1e-4


def test_the_shipped_network_gives_light_and_leaves_the_day_alone(pixels: np.ndarray) -> None:
    stage = Relighter.from_checkpoints(Checkpoints(), "cpu")
    photo = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    photo = torch.nn.functional.interpolate(photo, (192, 256), mode="bilinear")
    generator = torch.Generator().manual_seed(0)
    dark = photo * 0.4
    dark = torch.where(torch.rand(dark.shape, generator=generator) < 0.01, 1.0, dark)
    dark = (dark + 0.02 * torch.randn(dark.shape, generator=generator)).clamp(0, 1)
    assert psnr(stage.relight(dark), photo) > psnr(dark, photo) + 3
    assert psnr(stage.relight(photo), photo) > 30


def test_it_is_a_stage_of_the_pipeline(tmp_path: Path) -> None:
    save_network(restless(), tmp_path / "relight")
    pipeline = Pipeline.from_pretrained(tmp_path, stages=["relight"], device="cpu")
    gray = np.full((40, 50), 60, np.uint8)
    assert pipeline(gray).shape == gray.shape
    assert set(pipeline.weights) == {"relight"}
