"""Ageing: seeded sample by sample, exact masks, recipes that do what they say."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import EpsImagePlugin, Image, PngImagePlugin

from bringback.degradations import RECIPES, OverlayBank, degrade, marks
from bringback.degradations.eval_recipes import worn_film
from bringback.degradations.jpeg import jpeg
from bringback.degradations.low_light import lamps, salt_and_pepper, sensor_noise, underexposed
from bringback.degradations.marks import lay
from bringback.degradations.rng import Draws
from bringback.degradations.train_recipes import lone
from bringback.degradations.wear import relief, screen
from bringback.ops.color import luminance

# fading is no business of the face stage; what is blown out is gone; some lessons draw on the photo, or scan it softly
OWN_TRUTH = {"faces", "portraits", "dim", "marked", "old-marked", "translation", "gate", "dense"}


def gray_of(pictures: torch.Tensor) -> torch.Tensor:
    return luminance(pictures).expand_as(pictures)


@pytest.fixture
def pictures() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(4, 3, 9, 11, generator=generator)
    return torch.nn.functional.interpolate(coarse, (72, 90), mode="bicubic").clamp(0, 1)


@pytest.fixture
def bank() -> OverlayBank:
    alphas = torch.zeros(2, 1, 64, 64, dtype=torch.uint8)
    alphas[0, :, 20:24], alphas[1, :, :, 40:45] = 255, 200
    return OverlayBank(alphas)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_sample_does_not_depend_on_its_batch(recipe: str, pictures: torch.Tensor, bank: OverlayBank) -> None:
    for seed in range(7, 13):
        together = degrade(pictures, recipe, [3, 5, seed, 9], bank)
        alone = degrade(pictures[2:3], recipe, [seed], bank)
        for field in ("aged", "mask", "truth", "gray"):
            assert torch.allclose(getattr(together, field)[2:3].float(), getattr(alone, field).float(), atol=1e-5)
        if recipe not in OWN_TRUTH:
            assert any(torch.equal(alone.truth, truth) for truth in (pictures[2:3], gray_of(pictures[2:3])))
    assert together.aged.min() >= 0 and together.aged.max() <= 1 and together.aged.isfinite().all()


def test_a_faded_face_has_a_truth_of_its_tones(pictures: torch.Tensor) -> None:
    result = degrade(pictures[:1].expand(60, -1, -1, -1), "faces", range(60))
    clean = torch.where(result.gray.view(-1, 1, 1, 1), gray_of(pictures[:1]), pictures[:1])
    faded = (result.truth - clean).abs().amax((1, 2, 3)) > 1e-3
    assert 8 <= faded.sum() <= 30
    means = [picture[faded].mean((2, 3)) for picture in (result.aged, result.truth)]
    assert (means[0] - means[1]).abs().mean() < 0.03  # marks and noise aside
    assert (means[1] - clean[faded].mean((2, 3))).abs().mean() > 0.02


def test_another_seed_ages_differently(pictures: torch.Tensor) -> None:
    assert not torch.equal(degrade(pictures[:1], "mixed", [1]).aged, degrade(pictures[:1], "mixed", [2]).aged)


@pytest.mark.parametrize("recipe", ["structured", "holes"])
def test_the_mask_is_exact(recipe: str, pictures: torch.Tensor, bank: OverlayBank) -> None:
    result = degrade(pictures, recipe, [11, 12, 13, 14], bank)
    untouched = result.mask == 0
    # a covering below float32 resolution rounds to nothing in the mask
    gap = (result.aged - pictures)[untouched.expand_as(pictures)].abs()
    assert gap.max() < 1e-6
    assert (result.mask > 0.5).any()


def test_lay_unites_masks() -> None:
    pixels, alpha = torch.zeros(1, 3, 2, 2), torch.full((1, 1, 2, 2), 0.5)
    covered, mask = lay(pixels, alpha, alpha, torch.ones(1, 3, 1, 1))
    assert torch.allclose(covered, torch.full_like(covered, 0.5)) and torch.allclose(mask, torch.full_like(mask, 0.75))


def test_holes_cover_the_share_that_they_name() -> None:
    masks = degrade(torch.rand(8, 3, 96, 128), "holes", range(8)).mask
    shares = masks.mean((1, 2, 3))
    assert ((shares > 0.04) & (shares < 0.17)).all()


def test_clean_is_untouched(pictures: torch.Tensor) -> None:
    assert torch.equal(degrade(pictures, "clean", [1, 2, 3, 4]).aged, pictures)


def test_gray_truths_are_gray(pictures: torch.Tensor) -> None:
    result = degrade(pictures.repeat(4, 1, 1, 1), "mixed", range(16))
    assert result.gray.any() and not result.gray.all()
    truths = result.truth[result.gray]
    assert torch.allclose(truths, luminance(truths).expand_as(truths), atol=1e-5)


def test_a_screen_is_periodic_and_keeps_the_mean_tone() -> None:
    flat = torch.full((4, 3, 240, 240), 0.4)
    dots = screen(flat, Draws([1, 2, 3, 4])) - flat
    assert (dots.mean((2, 3)).abs() < 0.004).all() and (dots.std((2, 3)) > 0.02).all()
    power = torch.fft.rfft2(dots[:, 0]).abs().square().flatten(1).sort(descending=True).values
    assert (power[:, :24].sum(1) > 0.8 * power.sum(1)).all()  # a few peaks of 29,000 frequencies
    black = torch.zeros(4, 3, 16, 16)
    assert torch.equal(screen(black, Draws([1, 2, 3, 4])), black)


def test_rough_paper_is_slopes_alone_alike_on_all_channels() -> None:
    flat = torch.full((4, 3, 240, 240), 0.5)
    shade = relief(flat, Draws([1, 2, 3, 4])) - flat
    assert (shade.mean((2, 3)).abs() < 1e-3).all() and (shade.std((2, 3)) > 4e-3).all()
    assert torch.equal(shade[:, 0], shade[:, 1])
    power = torch.fft.fft2(shade[:, 0]).abs().square()[:, :60, :60]
    assert (power[:, :2, :2].mean((1, 2)) < 0.1 * power.amax((1, 2))).all()  # slopes have no level


@pytest.mark.parametrize("quality", [30, 80])
def test_jpeg_is_what_a_jpeg_file_keeps(quality: int) -> None:
    skimage_data = pytest.importorskip("skimage.data")
    picture = skimage_data.astronaut()[:160, :200]
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=quality, subsampling="4:2:0")
    real = np.asarray(Image.open(stream)).astype(np.float32)
    pixels = torch.from_numpy(picture.astype(np.float32).transpose(2, 0, 1))[None] / 255
    ours = jpeg(pixels, torch.full((1, 1, 1, 1), float(quality)))[0].permute(1, 2, 0).numpy() * 255
    apart, harm = np.abs(ours - real).mean(), np.abs(picture - real).mean()
    assert apart < 0.35 * harm  # far nearer to the file than the original picture is


def test_unknown_recipe_names_the_known() -> None:
    with pytest.raises(ValueError, match=r"unknown recipe 'rusty'; the recipes are .*mixed"):
        degrade(torch.zeros(1, 3, 8, 8), "rusty", [1])


def test_overlays_that_are_none_are_named(tmp_path: Path) -> None:
    (tmp_path / "notatar.tar").write_text("Dear Aunt Emma")
    with pytest.raises(ValueError, match=r"notatar\.tar: not a tar shard"):
        OverlayBank.from_shards([tmp_path / "notatar.tar"])
    folder = tmp_path / "overlays"
    folder.mkdir()
    with pytest.raises(ValueError, match="overlays: no damage overlays"):
        OverlayBank.from_shards([folder])
    Image.new("L", (8, 8)).save(folder / "a.png")
    assert OverlayBank.from_shards([folder]).alphas.shape == (1, 1, 8, 8)
    Image.new("L", (8, 9)).save(folder / "b.png")
    with pytest.raises(ValueError, match=r"b\.png is of another size"):
        OverlayBank.from_shards([folder])
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes()[:30])
    with pytest.raises(ValueError, match=r"b\.png cannot be read"):
        OverlayBank.from_shards([folder])


def test_overlays_are_of_the_formats_that_are_read_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "a.png").write_bytes(program)
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("a program was run"))
    with pytest.raises(ValueError, match=r"a\.png cannot be read: cannot identify image file"):
        OverlayBank.from_shards([tmp_path])
    Image.new("L", (64, 64)).save(tmp_path / "a.png")
    monkeypatch.setattr(marks, "MAX_PIXELS", 64 * 64)
    assert len(OverlayBank.from_shards([tmp_path]).alphas) == 1
    monkeypatch.setattr(marks, "MAX_PIXELS", 64 * 64 - 1)
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(ValueError, match=r"a\.png cannot be read: too large: 64x64 pixels"):
        OverlayBank.from_shards([tmp_path])


def test_seeds_must_match_the_batch() -> None:
    with pytest.raises(ValueError, match="2 pictures"):
        degrade(torch.zeros(2, 3, 8, 8), "clean", [1])


@pytest.mark.parametrize("recipe", ["battered", "marked", "grainy-bw", "dim"])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (13, 6), (2, 1000)])
def test_tiny_and_narrow_pictures_are_aged(recipe: str, size: tuple[int, int], bank: OverlayBank) -> None:
    aged = degrade(torch.full((8, 3, *size), 0.5), recipe, range(8), bank)
    assert aged.aged.shape == (8, 3, *size) and aged.mask.shape == (8, 1, *size)
    for pixels in (aged.aged, aged.mask):
        assert pixels.isfinite().all() and pixels.min() >= 0 and pixels.max() <= 1


def test_dirt_on_grainy_film_has_an_exact_mask_and_no_color(pictures: torch.Tensor, bank: OverlayBank) -> None:
    result = degrade(pictures, "grainy-bw", range(4), bank)
    assert result.gray.all()
    assert all(torch.equal(x, x[:, :1].expand_as(x)) for x in (result.aged, result.truth))
    film = worn_film(result.truth, Draws(range(4)))
    untouched = result.mask == 0
    assert untouched.float().mean() > 0.2 and (result.mask > 0.5).any()
    assert (result.aged - film)[untouched.expand_as(film)].abs().max() < 1e-6
    assert (film - result.truth).std((1, 2, 3)).min() > 0.02
    bare = degrade(pictures, "grainy-bw", range(4))
    assert (bare.mask > 0.5).any()


def test_the_dark_is_dark_in_linear_light() -> None:
    flat = torch.full((200, 3, 24, 24), 0.6)
    dark = underexposed(flat, Draws(range(200)))
    shares = (dark**2.2).mean((1, 2, 3)) / 0.6**2.2
    assert shares.max() < 0.42 and shares.min() > 0.04 and 0.1 < shares.median() < 0.2
    aged = degrade(flat, "dark-noisy", range(200))
    assert not aged.mask.any() and torch.equal(aged.truth, flat) and not aged.gray.any()
    assert (aged.aged.mean((1, 2, 3)) < 0.5).all()
    assert torch.allclose(aged.aged * 255, (aged.aged * 255).round(), atol=1e-4)
    assert torch.allclose(underexposed(flat, Draws(range(200)), 0.0), flat, atol=1e-5)


def test_shot_noise_grows_with_the_square_root_of_the_light() -> None:
    light = torch.tensor([0.1, 0.4]).view(2, 1, 1, 1).expand(2, 3, 200, 200)
    seen = sensor_noise(light ** (1 / 2.2), Draws([5, 5])) ** 2.2
    dim, bright = (seen - light).std((1, 2, 3)).tolist()
    assert bright / dim == pytest.approx(2, rel=0.03)


def test_salt_and_pepper_are_as_many_as_named() -> None:
    flat = torch.full((60, 3, 80, 80), 0.5)
    spoilt = salt_and_pepper(flat, Draws(range(60)))
    changed = spoilt != flat
    shares = changed.float().mean((1, 2, 3))
    assert shares.min() > 0.002 and 0.03 < shares.max() < 0.045
    assert set(spoilt.unique().tolist()) == {0.0, 0.5, 1.0}
    assert (spoilt[changed] == 1).float().mean() == pytest.approx(0.5, abs=0.02)
    alike = (changed == changed[:, :1]).all(1).all(-1).all(-1)
    assert 0.25 < alike.float().mean() < 0.75


def test_lamps_stay_in_some_of_the_dark_photos() -> None:
    ramp = torch.linspace(0, 1, 4000).view(1, 1, 40, 100).expand(200, 3, -1, -1)
    dark = underexposed(ramp, Draws(range(200)))
    lit = dark.amax((1, 2, 3)) > 0.95
    assert 0.2 < lit.float().mean() < 0.4
    assert (dark[~lit] < 0.75).all()
    assert (dark[lit][:, :, :20] < 0.4).all()  # the rest is dark there too
    tones = lamps(ramp[:, :1], Draws(range(200))).flatten(1)
    assert (tones.diff() >= 0).all() and tones.diff().max() < 0.05  # no step
    assert (tones[:, 0] == 0).all() and (tones[:, -1] > 0.9).all()


def test_dim_lessons_leave_well_lit_photos_alone(pictures: torch.Tensor) -> None:
    result = degrade(pictures[:1].expand(300, -1, -1, -1), "dim", range(300))
    assert 0.2 < result.gray.float().mean() < 0.4
    whole = ((result.aged - result.truth).abs() < 0.6 / 255).all(3).all(2).all(1)
    assert 0.06 < whole.float().mean() < 0.25
    clean = torch.where(result.gray.view(-1, 1, 1, 1), gray_of(pictures[:1]), pictures[:1])
    blown = ((result.truth - clean).abs() > 1e-3).any(3).any(2).any(1)
    assert 0.05 < blown.float().mean() < 0.16
    assert ((result.aged - result.truth)[blown].mean((1, 2, 3)).abs() < 0.02).all()
    fall = (result.truth - result.aged).mean((1, 2, 3))
    assert (fall > 0.1).float().mean() > 0.5


def test_dense_photos_are_sound_and_steeper_than_they_were(pictures: torch.Tensor) -> None:
    made = degrade(pictures, "dense", range(4))
    assert torch.equal(made.aged, made.truth) and made.aged.shape == pictures.shape
    assert (made.aged.diff(dim=-1).abs().mean((1, 2, 3)) > 1.4 * pictures.diff(dim=-1).abs().mean((1, 2, 3))).all()
    assert (made.aged.mean((1, 2, 3)) - pictures.mean((1, 2, 3))).abs().max() < 0.05


def test_lone_marks_are_few_and_small(pictures: torch.Tensor) -> None:
    masks = lone(pictures[:1].expand(40, -1, -1, -1), Draws(range(40)), None).mask
    shares = (masks > 0.5).float().mean((1, 2, 3))
    assert shares.max() < 0.2 and shares.median() < 0.02
    assert ((masks > 0.05).flatten(1).sum(1) > 0).sum() >= 36  # some fall outside of the picture
