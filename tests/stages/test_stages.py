"""The stages with tiny weights: exact at strength 0, masks united, VAEs that belong together."""

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage import data

from bringback.images.photo import Photo
from bringback.models import tone as tone_module
from bringback.models.tone import ToneCurves, bend, doubted, likely, marked, narrow, one_for_gray, tone
from bringback.models.translation.mapping import LatentMapping
from bringback.models.translation.vae import VAE
from bringback.models.unet import EAGER
from bringback.ops.areas import Area
from bringback.ops.masks import fill_mask
from bringback.ops.metrics import psnr
from bringback.ops.monochrome import Tint
from bringback.ops.push_pull import push_pull
from bringback.ops.strips import strips
from bringback.ops.tiny import TINY
from bringback.ops.views import View
from bringback.runtime.compute import Compute
from bringback.stages import STAGES, guards, looks
from bringback.stages.looks import Looks
from bringback.stages.record import Restoration
from bringback.stages.scratches import ScratchDetector
from bringback.stages.tone import ToneCorrector
from bringback.stages.translate import LatentTranslator
from bringback.weights.checkpoints import Checkpoints, MissingWeights, save_network

CPU = torch.device("cpu")


def restless(network: torch.nn.Module) -> torch.nn.Module:
    """The same network with weights that do something."""
    torch.manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return network.eval()


def start(pixels: torch.Tensor, mask: np.ndarray | None = None) -> Restoration:
    return Restoration.start(Photo.from_array(pixels[0].permute(1, 2, 0).numpy()), mask)


def test_the_stages_stand_in_the_order_of_a_photo() -> None:
    order = ["stains", "scratches", "relight", "tone", "fill", "prior", "denoise", "translate", "faces"]
    assert list(STAGES) == [*order, "colorize", "upscale"]


def test_a_stage_is_imported_when_it_is_asked_for() -> None:
    assert "tone" in STAGES and "colour" not in STAGES and len(STAGES) == 11
    assert all(stage.name == name for name, stage in STAGES.items())
    with pytest.raises(KeyError):
        STAGES["colour"]
    code = """
import sys
sys.modules["dlib"] = None  # as if it were not installed
from bringback.stages import STAGES
assert STAGES["fill"].name == "fill" and "faces" in list(STAGES)
assert "bringback.stages.faces.stage" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)


@pytest.fixture
def one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Detectors look at a photo and its mirror image as they are, however small."""
    monkeypatch.setattr("bringback.stages.looks.COARSER", ())
    monkeypatch.setattr(Looks, "_larger_too", Looks._both)
    monkeypatch.setattr("bringback.stages.looks.SMALL", 1)


class Found(torch.nn.Module):
    """Says of white pixels that they are damaged for certain, of all others that they may be."""

    def __init__(self, others: float) -> None:
        super().__init__()
        self.others, self.widths = others, (1,)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.where(pixels[:, :1] == 1, 4.0, self.others)


@pytest.mark.usefixtures("one_look")
def test_a_photo_is_damaged_all_over_only_if_much_of_it_is_certain() -> None:
    pixels = torch.rand(2, 3, 64, 100) * 0.9
    pixels[0, ..., :5], pixels[1, ..., :20] = 1, 1  # 5 and 20 % are certain
    few, many = (
        [ScratchDetector(Found(others - EAGER), CPU).detect(pixels)[n] for others in (-0.15, 2.85)] for n in (0, 1)
    )
    assert few[0][..., :5].min() > 0.98  # little is damaged: the odds stay
    assert few[0][..., 5:].mean() == pytest.approx(1 / (1 + math.exp(0.15)))
    assert few[1].max() < 0.5 and (few[1][..., :5].min() > few[1][..., 5:].max())  # nothing is filled, the order stays
    assert many[1].min() > 0.9


@pytest.mark.usefixtures("one_look")
def test_doubts_about_all_of_a_photo_are_told_and_a_given_mask_is_filled_nevertheless() -> None:
    stage = ScratchDetector(Found(2.85 - EAGER), CPU)
    given = np.zeros((64, 100), np.float32)
    given[10:30, 20:60] = 1
    restoration = stage(start(torch.rand(1, 3, 64, 100) * 0.9, given))
    assert torch.equal(restoration.mask > 0.5, torch.from_numpy(given)[None, None] > 0.5)
    assert restoration.notes["scratches"]["withdrawn_share"] > 0.9
    assert len(restoration.warnings) == 1 and "too doubtful to be filled" in restoration.warnings[0]
    doubtless = ScratchDetector(Found(-9.0), CPU)(start(torch.rand(1, 3, 64, 100) * 0.9))
    assert not doubtless.warnings and list(doubtless.notes["scratches"]) == ["damaged_share"]


@pytest.mark.parametrize(("found", "scales", "given"), [(True, [1.4, 5.0], 5.0), (False, [1.4], 1.4)])
def test_a_photo_is_looked_at_again_if_all_that_is_sharp_is_marked(
    monkeypatch: pytest.MonkeyPatch, found: bool, scales: list[float], given: float
) -> None:
    seen: list[float] = []

    def find(self: ScratchDetector, pixels: torch.Tensor, areas: object, scale: float) -> tuple[torch.Tensor, Any]:
        seen.append(scale)
        return torch.full_like(pixels[:, :1], float(found)), guards.Found()

    monkeypatch.setattr(ScratchDetector, "_find_inside", find)
    restoration = start(torch.rand(1, 3, 256, 256))
    restoration.scale, restoration.softer = 1.4, 5.0
    assert ScratchDetector(Found(0.0), CPU)(restoration).scale == given
    assert seen == scales
    restoration.scale, restoration.softer = 1.4, None
    seen.clear()
    assert ScratchDetector(Found(0.0), CPU)(restoration).scale == 1.4 == seen.pop() and not seen


class Bluish(Found):
    """Takes blue for damage, the surer the bluer."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return 4 * pixels[:, 2:] - 1.5


@pytest.mark.usefixtures("one_look")
def test_trails_of_stars_are_left_and_told_and_a_given_mask_is_filled_nevertheless() -> None:
    rng, blue = np.random.default_rng(0), np.zeros((160, 200), np.uint8)
    for _ in range(50):
        radius, begin = int(rng.uniform(15, 180)), rng.uniform(0, 360)
        cv2.ellipse(blue, (70, 40), (radius, radius), 0, begin, begin + 14, 1, 1)
    pixels = torch.stack((*(0.2 * torch.rand(2, 160, 200)), torch.from_numpy(blue).float()))[None]
    given = np.zeros((160, 200), np.float32)
    given[150:, 190:] = 1
    restoration = ScratchDetector(Bluish(0.0), CPU)(start(pixels, given))
    marked = restoration.mask[0, 0].numpy() > 0.5
    assert marked[given > 0].all() and marked[given == 0].mean() < 0.1 * blue.mean()
    assert restoration.notes["scratches"]["withdrawn_share"] == pytest.approx(blue.mean(), rel=0.1)
    assert len(restoration.warnings) == 1 and "too doubtful to be filled" in restoration.warnings[0]


@pytest.mark.usefixtures("one_look")
def test_writing_is_left_and_noted() -> None:
    drawn = np.zeros((160, 320), np.uint8)
    cv2.putText(drawn, "Boston, No. 1417", (12, 60), cv2.FONT_HERSHEY_SIMPLEX, 1.0, 1, 2)
    pixels = torch.from_numpy(0.95 * drawn).float().expand(1, 3, -1, -1).clone()
    pixels[:, :2, :, 160:].clamp_(min=0.4)  # an even ground would be a page
    restoration = ScratchDetector(Bluish(0.0), CPU)(start(pixels))
    assert restoration.mask.max() <= 0.5 and restoration.notes["scratches"]["damaged_share"] == 0
    assert restoration.notes["scratches"]["writing_share"] == pytest.approx(drawn.mean(), rel=0.1)
    assert not restoration.warnings


@pytest.mark.usefixtures("one_look")
def test_certainty_that_was_withdrawn_lends_none_to_other_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    blue = torch.zeros(200, 300)
    blue[60:140, 60:140], blue[20:60, 280:283] = 0.9, 0.6  # certain; log odds of 0.9, which alone would not be filled
    red = 0.4 + 0.2 * torch.rand(200, 300)
    pixels = torch.stack((red, 0.5 - 0.114 / 0.587 * blue, blue))[None]
    stage, alone = ScratchDetector(Bluish(0.0), CPU), pixels.clone()
    alone[:, 2, :, :260] = 0
    assert stage.detect(alone).max() <= 0.5
    assert stage.detect(pixels)[..., 20:60, 280:283].min() > 0.5

    def withdraw(odds: torch.Tensor, _: View) -> float:
        odds[..., 50:150, 50:150] = -5
        return 0.1

    monkeypatch.setattr("bringback.stages.guards.lower_snow_", withdraw)
    found, (about,) = stage._find(pixels, 1.0)
    assert about.withdrawn == pytest.approx(0.1) and found.max() <= 0.5


@pytest.mark.usefixtures("one_look")
def test_a_broad_mark_that_is_hardly_sure_is_left_in_a_photo_without_sure_ones() -> None:
    blue = torch.zeros(200, 300)
    # log odds of 1.5, of 4.5 in a small part, and, of a scratch, of 8
    blue[60:140, 60:140], blue[70:80, 70:130], sure = ((odds - EAGER + 1.5) / 4 for odds in (1.5, 4.5, 8.0))
    pixels = torch.stack((*(0.2 * torch.rand(2, 200, 300)), blue))[None]
    found, (about,) = ScratchDetector(Bluish(0.0), CPU)._find(pixels, 1.0)
    assert about.withdrawn == pytest.approx(80 * 80 / 60000) and found.max() <= 0.5
    pixels[:, 2, 20:50, 200:204] = sure
    found, (about,) = ScratchDetector(Bluish(0.0), CPU)._find(pixels, 1.0)
    assert about.withdrawn == 0 and found[..., 65:135, 65:135].min() > 0.5


def ruled() -> torch.Tensor:
    """A page (1, 3, 96, 128) of white lines, one in two of which is white enough to be marked."""
    pixels = torch.full((1, 3, 96, 128), 0.5)
    pixels[..., 8:90:12, 10:110], pixels[..., 8:90:24, 10:110] = 1, 0.9
    return pixels


class Warm(ToneCorrector):
    """Takes everything for faded."""

    def __init__(self) -> None:
        super().__init__(ToneCurves(side=16, width=8))

    def _corrected(self, pixels: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        return pixels * 0.8, torch.ones(1)


@pytest.mark.usefixtures("one_look")
def test_on_a_page_only_a_given_mask_is_filled_and_its_tones_stay() -> None:
    given = np.zeros((96, 128), np.float32)
    given[30:34, 20:60] = 1
    restoration = ScratchDetector(Found(-9.0), CPU)(start(ruled(), given))  # type: ignore[arg-type]
    assert restoration.pages == {0} and restoration.mask is not None
    assert torch.equal(restoration.mask > 0.5, torch.from_numpy(given)[None, None] > 0.5)
    assert restoration.notes["scratches"]["on_page_share"] > 0.01
    assert restoration.warnings == [
        "looks like writing or a drawing: its tones stay, nothing but known damage is filled"
    ]
    before = restoration.pixels.clone()
    tone = Warm()(restoration)
    assert torch.equal(tone.pixels, before) and tone.notes["tone"]["faded"] == 0


@pytest.mark.usefixtures("one_look")
def test_a_page_on_which_nothing_is_marked_is_told() -> None:
    restoration = ScratchDetector(Found(-9.0), CPU)(start(ruled() * 0.9))  # type: ignore[arg-type]
    notes = restoration.notes["scratches"]
    assert (notes["page_share"], notes["on_page_share"], notes["damaged_share"]) == (1, 0, 0)
    assert restoration.warnings == ["looks like writing or a drawing: its tones stay, nothing is filled"]


@pytest.mark.usefixtures("one_look")
def test_of_two_areas_only_the_page_keeps_its_tones() -> None:
    photo = torch.rand(1, 3, 96, 170, generator=torch.Generator().manual_seed(0)) * 0.9
    restoration = start(torch.cat([photo, ruled()], 3))
    restoration.areas = tuple(
        Area(((left, 0), (right, 0), (right, 96), (left, 96))) for left, right in ((0, 170), (170, 298))
    )
    restoration = ScratchDetector(Found(-9.0), CPU)(restoration)  # type: ignore[arg-type]
    assert restoration.pages == {1} and restoration.notes["scratches"]["page_share"] == pytest.approx(0.43, abs=0.01)
    assert restoration.warnings == [
        "43 % of it looks like writing or a drawing: its tones stay, nothing is filled there"
    ]
    before = restoration.pixels.clone()
    after = Warm()(restoration).pixels
    assert torch.equal(after[..., 170:], before[..., 170:]) and torch.equal(after[..., :170], 0.8 * before[..., :170])


def test_tones_of_a_cyanotype_stay() -> None:
    restoration, blue = start(torch.rand(1, 3, 40, 50)), Tint(torch.tensor([[0.0, 0, 0], [0, 0, 0], [0.3, 0, 0]]))
    restoration.tint, before = blue, restoration.pixels.clone()
    restoration = Warm()(restoration)
    assert torch.equal(restoration.pixels, before) and restoration.notes["tone"] == {"faded": 0, "mean_change": 0}
    restoration.tint = Tint.none()
    assert not torch.equal(Warm()(restoration).pixels, before)


@pytest.mark.parametrize(("gray", "masked"), [(False, True), (True, False)])
def test_tone_in_strips_is_tone_of_the_whole(monkeypatch: pytest.MonkeyPatch, gray: bool, masked: bool) -> None:
    torch.manual_seed(1)
    network = restless(ToneCurves(side=16, width=8))
    pixels = torch.rand(2, 3, 150, 130) ** 2
    if gray:
        pixels[0] = pixels[0, :1]
    mask = (torch.rand(2, 1, 150, 130) > 0.8).float() if masked else None
    monkeypatch.setattr(tone_module, "_DOUBT", 0.0)  # the stage doubts its curves, the function does not
    with torch.no_grad():
        whole = tone(network, pixels, torch.zeros(2, 1, 150, 130) if mask is None else mask).clamp(0, 1)
    bent = []
    real = tone_module.apply_curves
    monkeypatch.setattr(tone_module, "apply_curves", lambda p, c: bent.append(p[:, 0].numel()) or real(p, c))
    monkeypatch.setattr("bringback.ops.strips.STRIP", 3000)
    result = ToneCorrector(network, CPU).correct(pixels, mask)
    assert (result - whole).abs().max() < 1e-6
    assert (result - pixels).abs().max() > 1e-2
    assert bent[1:] and max(bent[1:]) <= 2 * 3000  # after the knots of the curves, never more than a strip


@pytest.mark.usefixtures("one_look")
def test_the_detector_s_tiles_lie_on_the_grid_of_its_network(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Spy(torch.nn.Module):
        widths = (1, 1, 1, 1, 1)

        def forward(self, tile: torch.Tensor) -> torch.Tensor:
            seen.append((*tile.shape[-2:], *(tile[0, :2, 0, 0] * 1000).round().int().tolist()))
            return tile[:, :1]

    monkeypatch.setattr("bringback.stages.looks.OVERLAP", 20)
    rows, columns = torch.meshgrid(torch.arange(150.0), torch.arange(110.0), indexing="ij")
    stage = ScratchDetector(Spy(), Compute(tile=80))  # type: ignore[arg-type]
    stage.detect(torch.stack([rows, columns, rows])[None] / 1000)
    tiles, mirrored = seen[::2], seen[1::2]
    assert len(tiles) > 4
    assert all(number % 32 == 0 for tile in tiles for number in tile)
    assert all(a[:3] == b[:3] and a[3] != b[3] for a, b in zip(tiles, mirrored, strict=True))


@pytest.mark.usefixtures("one_look")
def test_the_detector_asks_about_the_mirror_image_too() -> None:
    class Leftish(torch.nn.Module):
        widths = (1,)

        def forward(self, tile: torch.Tensor) -> torch.Tensor:
            return tile[:, :1] + torch.linspace(1, -1, tile.shape[-1])

    pixels = torch.rand(1, 3, 32, 48) * 2 - 6
    pixels[..., :4] = 5  # with certain damage, doubts count as they are
    found = ScratchDetector(Leftish(), CPU).detect(pixels)  # type: ignore[arg-type]
    assert torch.allclose(torch.logit(found) - EAGER, pixels[:, :1], atol=1e-3)


@pytest.mark.parametrize(
    ("enlarged", "mirrored", "broad"),
    [
        (-4.0, -8.0, 6.0),
        (-5.4, -8.0, 6.0),
        (-5.6, 0.9, 0.2),  # refused, and not confirmed
        (-5.6, 1.1, 6.0),
    ],
)
def test_the_mirror_image_is_seen_larger_and_what_is_broad_counts_as_it_is_unless_two_looks_are_against_it(
    enlarged: float, mirrored: float, broad: float
) -> None:
    class Fine(torch.nn.Module):
        """Marks what is white: surely as it is, and as told in what is enlarged or mirrored only."""

        widths = (1, 1)

        def __init__(self) -> None:
            super().__init__()
            self.seen: list[tuple[int, ...]] = []

        def forward(self, tile: torch.Tensor) -> torch.Tensor:
            self.seen.append(tuple(tile.shape[-2:]))
            says = enlarged if tile.shape[-1] > 320 else 6.0 if len(self.seen) == 1 else mirrored
            return torch.where(tile[:, :1] > 0.9, says, -8.0)

    pixels, network = torch.zeros(1, 3, 200, 320), Fine()
    pixels[..., 40:80, 100:140], pixels[..., 100:180, 200:206] = 1, 1  # a broad mark, and a thin one
    odds, _ = Looks(network, Compute.of(CPU), 640).united(pixels, 1.0)  # type: ignore[arg-type]
    third = [(200, 320)] if enlarged < -5.5 else []
    assert network.seen == [(200, 320), (260, 416), *third]  # 1.3 times as large, on the grid of the network
    assert torch.allclose(odds[0, 0, 140, 10:90], torch.tensor(-8.0), atol=0.05)
    assert torch.allclose(odds[0, 0, 60, 110:130], torch.tensor(broad), atol=0.05)
    assert torch.allclose(odds[0, 0, 140, 202:204], torch.tensor(3 + enlarged / 2), atol=0.1)  # mirrored back


@pytest.mark.usefixtures("one_look")
def test_a_half_of_the_mask_is_where_filling_begins() -> None:
    class Plain(torch.nn.Module):
        """Log odds as the pixels say."""

        widths = (1,)

        def forward(self, tile: torch.Tensor) -> torch.Tensor:
            return tile[:, :1]

    stage = ScratchDetector(Plain(), CPU)  # type: ignore[arg-type]
    for odds, begins in ((-EAGER - 0.01, False), (-EAGER + 0.01, True)):
        pixels = torch.full((1, 3, 40, 50), -9.0)
        pixels[..., :20, :30], pixels[..., 30:, 40:] = odds, 9  # with certain damage, doubts count as they are
        mask = stage.detect(pixels)[..., :20, :30]
        assert mask.mean() == pytest.approx(0.5, abs=0.01)
        assert bool((mask > 0.5).all()) is begins is bool((fill_mask(mask) > 0).all())


def test_sure_marks_seen_at_the_native_scale_reach_farther_in_the_scan() -> None:
    odds = torch.full((1, 1, 20, 24), -6.0)
    odds[..., 8:10, 4], odds[..., 8:10, 16] = 6.0, 0.5  # a sure mark and a doubtful one
    size = (1200, 1440)  # several strips
    plain, wide = (
        torch.cat([looks._enlarged(odds, rows, size, reach) for rows in strips(torch.zeros(1, 1, *size))], 2) > 0
        for reach in (0, 60)
    )
    sure = [int(marks[..., :600].any(-2).sum()) for marks in (plain, wide)]
    doubtful = [int(marks[..., 600:].any(-2).sum()) for marks in (plain, wide)]
    assert sure[0] + 90 < sure[1] <= sure[0] + 120
    assert 0 < doubtful[0] == doubtful[1]


def test_tone_at_strength_zero_is_exact() -> None:
    pixels, mask = torch.rand(2, 3, 40, 50), torch.zeros(2, 1, 40, 50)
    network = restless(ToneCurves(side=16, width=8))
    assert torch.equal(tone(network, pixels, mask, 0.0), pixels)
    assert not torch.allclose(tone(network, pixels, mask, 1.0), pixels, atol=1e-3)


def test_tone_keeps_gray_gray() -> None:
    stage = ToneCorrector(restless(ToneCurves(side=16, width=8)), CPU)
    gray = torch.rand(1, 1, 40, 50).expand(1, 3, 40, 50)
    result = stage.correct(gray)
    assert torch.equal(result[:, 0], result[:, 1]) and torch.equal(result[:, 1], result[:, 2])


def shown() -> torch.Tensor:
    """A photo in color (1, 3, 128, 128) that has not faded."""
    return torch.from_numpy(data.astronaut()[::4, ::4].copy()).permute(2, 0, 1)[None].float() / 255


def test_a_photo_that_has_not_faded_keeps_its_tones() -> None:
    torch.manual_seed(2)
    network, photo = restless(ToneCurves(side=48, width=8)), shown()
    blue = photo * torch.tensor([0.72, 0.72, 1.0]).view(3, 1, 1)  # of a narrower luminance, but with all of its blue
    evening = photo**3 * 0.92  # dark, with few light places, none white
    for sound in (photo, photo.mean(1, keepdim=True).expand_as(photo), blue, evening):
        assert narrow(network.thumbnail(sound, torch.zeros_like(sound[:, :1]))) == 0
        assert torch.equal(ToneCorrector(network).correct(sound), sound)
    faded = 0.35 + 0.35 * photo
    mixed = ToneCorrector(network).correct(torch.cat([photo, faded]))  # each photo of a batch by itself
    assert torch.equal(mixed[:1], photo) and not torch.equal(mixed[1:], faded)


def test_the_more_surely_a_photo_has_faded_the_more_it_is_corrected() -> None:
    network, photo, none = ToneCurves(), shown(), torch.zeros(1, 1, 128, 128)
    sure = [narrow(network.thumbnail(share * photo + 0.5 * (1 - share), none)).item() for share in (0.6, 0.8, 0.84, 1)]
    assert sure[0] == 1 and sure[-1] == 0 and 0 < sure[2] < sure[1] < 1
    torn = 0.25 + 0.5 * photo  # a faded photo with a white and a black hole: they say nothing of its tones
    torn[..., :30], torn[..., -30:], mask = 0, 1, none.clone()
    mask[..., :30] = mask[..., -30:] = 1
    assert narrow(network.thumbnail(torn, none)) == 0 and narrow(network.thumbnail(torn, mask)) == 1
    assert narrow(network.thumbnail(torn, torch.ones_like(none))) == 0


def test_tones_are_corrected_as_far_as_their_range_and_the_judge_agree() -> None:
    network, sound, none = restless(ToneCurves(side=48, width=8, judges=2)), shown(), torch.zeros(1, 1, 128, 128)
    assert network.judge is not None
    faded, scratched, speck = 0.25 + 0.5 * sound, none.clone(), none.clone()
    scratched[..., :4], speck[..., :2, :4] = 1, 1
    assert marked(torch.cat([none, scratched, none + 0.4])).tolist() == [0, 1, 0]  # doubts are no marks
    assert 0 < marked(speck) < 1
    network.judge.last.weight.data.zero_()
    for mask, answer, strength in (
        (scratched, 0.14, 0.0), (scratched, 0.25, 0.5), (scratched, 0.36, 1.0),
        (none, 0.29, 0.0), (none, 1 - 1e-12, 1.0),  # 1 in float32
    ):  # fmt: skip
        network.judge.last.bias.data.fill_(math.log(answer / (1 - answer)))
        curves = one_for_gray(faded, doubted(network(faded, mask)))
        meant = likely(network.thumbnail(faded, mask), curves)
        corrected = ToneCorrector(network).correct(faded, mask)
        torch.testing.assert_close(corrected, bend(faded, curves, strength * meant).clamp(0, 1))
        assert torch.equal(corrected, faded) is (strength == 0)
        assert torch.equal(ToneCorrector(network).correct(sound, mask), sound)
    network.judge.last.bias.data.fill_(1.0)  # 0.73: sure, but not certain
    network.decide[-1].bias.data.view(3, -1)[:, :2] = 2.0  # type: ignore[operator]  # stretch the whole range
    made = [ToneCorrector(network).correct(faded, mask) for mask in (none, scratched)]
    changes = [(one - faded).square().mean().sqrt() for one in made]
    assert 0.015 < changes[0] < 0.018 < 0.05 < changes[1]


def test_photos_of_strong_colors_and_lifted_blacks_were_made_so() -> None:
    network, none = ToneCurves(), torch.zeros(1, 1, 128, 128)
    steps, photo = torch.linspace(0, 1, 33).expand(1, 3, 33), shown()
    vivid = torch.cat([0.2 + 0.6 * photo[:, :1], 0.2 + 0.3 * photo[:, 1:]], 1)
    slight, strong = steps + 0.025, steps * 1.1  # root mean square changes of 0.025, and above 0.045 with a cast
    strong = (strong + torch.tensor([0.0, 0.05, 0.1]).view(1, 3, 1)).clamp(0, 1)
    gray = vivid.mean(1, keepdim=True).expand_as(vivid)

    def believed(pixels: torch.Tensor, mask: torch.Tensor, curves: torch.Tensor) -> float:
        return likely(network.thumbnail(pixels, mask), curves).item()

    assert believed(vivid, none, slight) == 0
    assert believed(gray, none, slight) == believed(vivid, none, strong) == 1
    marked, few = none.clone(), none.clone()
    marked[..., :8], few[..., :2] = 1, 1
    assert believed(vivid, marked, slight) == 1 and 0.3 < believed(vivid, few, slight) < 0.7
    assert believed(vivid, torch.ones_like(none), slight) == 1


def test_the_shipped_judge_tells_faded_photos_from_dim_ones() -> None:
    stage, photo = ToneCorrector.from_checkpoints(Checkpoints(None), CPU), shown()
    dusk = (photo * 0.6).clamp(0, 1)
    for sound in (photo, dusk):
        assert torch.equal(stage.correct(sound), sound)
    for faded in (0.3 + 0.45 * photo, 0.15 + 0.6 * photo):
        assert psnr(stage.correct(faded), photo) > psnr(faded, photo) + 2


def test_the_tone_stage_says_when_it_did_nothing() -> None:
    network = restless(ToneCurves(side=48, width=8))
    gray = shown().mean(1, keepdim=True).expand(1, 3, 128, 128)
    notes = [ToneCorrector(network)(start(photo)).notes["tone"] for photo in (shown(), 0.25 + 0.5 * gray)]
    assert notes[0] == {"faded": 0.0, "mean_change": 0.0}
    assert notes[1]["faded"] == 1 and notes[1]["mean_change"] > 0


def test_tones_are_read_and_corrected_inside_the_picture_areas() -> None:
    torch.manual_seed(3)
    stage = ToneCorrector(restless(ToneCurves(side=48, width=8)))
    framed = torch.ones(1, 3, 168, 148)  # with the white of its border it does not look faded
    framed[..., 20:148, 10:138] = faded = 0.15 + 0.4 * shown()
    whole = stage(start(framed))
    assert whole.notes["tone"]["faded"] == 0 and torch.equal(whole.pixels, framed)
    one = start(framed)
    one.areas = (Area(((10.0, 20.0), (138.0, 20.0), (138.0, 148.0), (10.0, 148.0))),)
    inside = stage(one).pixels
    change = (stage.correct(faded) - faded).abs().mean().item()
    assert one.notes["tone"] == {"faded": 1, "mean_change": pytest.approx(change, abs=1e-4)}  # of the picture alone
    assert torch.equal(inside[..., 20:148, 10:138], stage.correct(faded))
    inside[..., 20:148, 10:138] = faded
    assert torch.equal(inside, framed)
    tilted = start(framed)
    tilted.areas = (Area(((20.0, 20.0), (138.0, 30.0), (128.0, 148.0), (10.0, 138.0))),)
    kept = stage(tilted).pixels == framed
    assert kept[0, :, 20, 130].all() and kept[0, :, 147, 12].all() and not kept[0, :, 26:142, 74].all(0).any()


@pytest.mark.usefixtures("one_look")
def test_damage_is_looked_for_inside_the_picture_areas() -> None:
    stage, pixels = ScratchDetector(Found(-9.0)), torch.full((1, 3, 60, 80), 0.5)  # type: ignore[arg-type]
    pixels[..., :10], pixels[..., 30:33, :] = 1, 1  # a white border, and a scratch that crosses it
    given = np.zeros((60, 80), np.float32)
    given[50:, :5] = 1
    one = start(pixels, given)
    one.areas = (Area(((10.0, 0.0), (80.0, 0.0), (80.0, 60.0), (10.0, 60.0))),)
    mask = stage(one).mask > 0.5
    assert mask[..., 30:33, 10:].all() and mask[..., 50:, :5].all()
    assert mask.sum() == 3 * 70 + 10 * 5
    assert (stage(start(pixels)).mask > 0.5)[..., :10].all()


def test_a_given_mask_is_united_with_what_is_found() -> None:
    class Glare(torch.nn.Module):
        """Finds what is brighter than gray, blurred by nine pixels."""

        widths = (4, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.avg_pool2d(20 * x.mean(1, keepdim=True) - 10, 9, 1, 4)

    stage = ScratchDetector(Glare(), CPU)
    pixels = torch.rand(1, 3, 37, 41)
    given = np.zeros((37, 41), np.float32)
    given[:5] = 1
    result = stage(start(pixels, given))
    found = stage.detect(push_pull(pixels, fill_mask(torch.from_numpy(given)[None, None])))
    assert torch.equal(result.mask[..., :5, :], torch.ones(1, 1, 5, 41))
    assert torch.allclose(result.mask[..., 5:, :], found[..., 5:, :])
    assert "damaged_share" in result.notes["scratches"]
    doubt = np.full_like(given, 0.02)  # of a soft mask: nothing is known to be damaged
    assert torch.allclose(stage(start(pixels, doubt)).mask, stage.detect(pixels).clamp_min(0.02))
    # what is damaged casts no doubt on what is around it, whatever it shows
    pixels[..., :5, :] = 1 - pixels[..., :5, :]
    assert torch.equal(stage(start(pixels, given)).mask, result.mask)
    assert not torch.equal(stage.detect(pixels)[..., 5:, :], found[..., 5:, :])


@pytest.mark.parametrize("size", [(1, 1), (33, 70)])
def test_translation_of_any_size(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bringback.stages.translate.TINY", 0)  # so few pixels of noise would stay
    mapping = restless(LatentMapping(widths=(8, 8, 8), blocks=(1, 1, 1), inner=4))
    stage = LatentTranslator(VAE().eval(), mapping, VAE().eval(), CPU)
    pixels = torch.rand(1, 3, *size)
    result = stage(start(pixels)).pixels
    assert result.shape == pixels.shape and result.min() >= 0 and result.max() <= 1
    assert not torch.allclose(result, pixels, atol=1e-3)


def test_vaes_of_another_mapping_are_refused(tmp_path: Path) -> None:
    hashes = {name: save_network(VAE(blocks=1), tmp_path / name) for name in ("old_vae", "clean_vae")}
    save_network(LatentMapping(widths=(8, 8, 8), blocks=(1, 1, 1), inner=4, **hashes), tmp_path / "mapping")
    assert LatentTranslator.from_checkpoints(Checkpoints(tmp_path), CPU).name == "translate"
    save_network(VAE(blocks=1), tmp_path / "clean_vae")
    with pytest.raises(MissingWeights, match="is not the clean_vae"):
        LatentTranslator.from_checkpoints(Checkpoints(tmp_path), CPU)


def test_the_translator_is_told_what_was_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    monkeypatch.setattr(LatentTranslator, "_translated", lambda self, pixels, filled, _: told.append(filled) or pixels)
    stage = LatentTranslator(VAE(), LatentMapping(), VAE(), CPU)
    mask = np.zeros((40, 50), np.float32)
    mask[:4], mask[10:14], mask[20:24] = 1, 0.45, 0.7
    stage(start(torch.rand(1, 3, 40, 50), mask))
    assert (told[0][..., :4, :] == 1).all() and (told[0][..., 10:14, :] == 0).all()
    assert (told[0][..., 20:24, :] > 0.6).all() and (told[0][..., 20:24, :] < 1).all()


def test_salt_and_pepper_go_before_the_networks_see_the_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LatentTranslator, "_translated", lambda self, pixels, filled, _: pixels)
    stage = LatentTranslator(VAE(), LatentMapping(), VAE(), CPU)
    sound = torch.from_numpy(data.astronaut()[:200, :260]).permute(2, 0, 1)[None] / 255
    draw = torch.rand(1, 1, *sound.shape[-2:], generator=torch.Generator().manual_seed(0))
    worn = torch.where(draw < 0.01, 0.05, torch.where(draw < 0.02, 0.95, sound))
    restoration = stage(start(worn.clone()))
    assert psnr(restoration.pixels, sound) > psnr(worn, sound) + 9
    assert restoration.notes["translate"]["mean_change"] > 0.003
    assert torch.equal(stage.translate(worn), restoration.pixels)
    restoration = start(worn.clone())
    restoration.areas = (Area(((20.0, 20.0), (240.0, 20.0), (240.0, 180.0), (20.0, 180.0))),)
    own, seen = restoration.pixels.untyped_storage().data_ptr(), []

    def restored(pixels: torch.Tensor, *_: object) -> tuple[torch.Tensor, list[float]]:
        seen.append(pixels.untyped_storage().data_ptr())
        return pixels.clone(), [0.0]

    monkeypatch.setattr(stage, "_restored", restored)
    result = stage(restoration).pixels
    assert seen == [own]  # in place: no other copy of the area is held meanwhile
    assert restoration.notes["translate"]["mean_change"] > 0.002
    assert torch.equal(result[..., :20, :], worn[..., :20, :])
    inside = ..., slice(25, 175), slice(25, 235)
    assert psnr(result[inside], sound[inside]) > psnr(worn[inside], sound[inside]) + 9


@pytest.fixture
def listening() -> LatentTranslator:
    """Small networks of which each says something, the attention most of all, in tiles of 128 pixels."""
    torch.manual_seed(0)
    old, new = (VAE(channels=48, blocks=1).eval() for _ in range(2))
    mapping = LatentMapping(48, widths=(16, 16, 16), blocks=(1, 1, 1), inner=8).eval()
    attention = mapping.attention
    for layer in (attention.query, attention.key, attention.value, attention.out):
        torch.nn.init.normal_(layer.weight)
    for layer, deviation in ((mapping.up[0], 0.2), (mapping.up[1], 0.2), (mapping.head, 0.05)):
        torch.nn.init.normal_(layer.weight, std=deviation)
    torch.nn.init.constant_(mapping.trust.layers[-1].bias, -9.0)  # all is taken from the networks
    return LatentTranslator(old, mapping, new, Compute(tile=128))


def strip() -> tuple[torch.Tensor, torch.Tensor]:
    """A photo (1, 3, 200, 260) that is of another kind on its right than on its left, damaged all across."""
    rows, columns = torch.meshgrid(torch.linspace(0, 1, 200), torch.linspace(0, 1, 260), indexing="ij")
    pixels = torch.stack([columns, rows * columns, 1 - columns])[None] * (0.5 + 0.5 * torch.rand(1, 1, 200, 260))
    filled = torch.zeros(1, 1, 200, 260)
    filled[..., 90:100, 10:250] = 1
    return pixels, filled


def test_filled_places_of_a_tile_look_at_the_whole_photo(
    listening: LatentTranslator, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, filled = strip()
    tiled = listening.translate(pixels, filled)
    monkeypatch.setattr(listening, "_seen", lambda *_: None)
    by_itself = listening.translate(pixels, filled)
    monkeypatch.setattr(listening, "tile", 1024)
    whole = listening.translate(pixels, filled)
    torch.nn.init.zeros_(listening.mapping.attention.out.weight)
    silent = listening.translate(pixels, filled)
    here = filled.expand_as(pixels) > 0
    error, worse, said = ((other - whole).abs()[here].mean() for other in (tiled, by_itself, silent))
    assert said > 0.1 and worse > 0.02  # the attention counts, and so do the keys of other tiles
    assert error < 0.02 * worse
    middles = [(slice(40, 88), slice(40, 88)), (slice(112, 160), slice(172, 220)), (slice(88, 112), slice(40, 60))]
    for rows, columns in middles:
        assert (tiled - whole)[..., rows, columns].abs().mean() < 1e-3


def test_the_keys_of_all_tiles_are_those_of_the_whole(listening: LatentTranslator) -> None:
    pixels, filled = strip()
    pixels, filled = pixels[..., :192, :256], filled[..., :192, :256]  # on the grid: no border is mirrored
    mapping = listening.mapping
    with torch.no_grad():
        coarse = torch.nn.functional.max_pool2d(filled, 4)
        latent = listening.old_vae.encode(pixels)
        looked = mapping.look(latent, coarse)
        seen = listening._seen(pixels, filled)
        assert seen is not None and seen.shape == looked.shape == (1, 2 * 8 + 1, 12, 16)
        assert torch.equal(seen[:, -1], looked[:, -1])  # each is seen once, and the damaged ones are not
        assert (seen - looked).abs().mean() < 0.02 * looked.abs().mean()
        told = mapping(latent, coarse, mapping.attention.pool(looked, (12, 16)))
        assert torch.allclose(told, mapping(latent, coarse), atol=1e-5)


def test_a_photo_of_one_tile_and_one_without_damage_look_at_nothing_more(listening: LatentTranslator) -> None:
    pixels, filled = strip()
    assert listening._seen(pixels[..., :128, :120], filled[..., :128, :120]) is None
    assert listening._seen(pixels, torch.zeros_like(filled)) is None
    assert listening._seen(pixels, filled) is not None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_several_tiles_at_once_are_translated_as_one_by_one(listening: LatentTranslator, dtype: torch.dtype) -> None:
    pixels, filled = strip()
    parts = (listening.old_vae, listening.mapping, listening.clean_vae)
    one, four = (LatentTranslator(*parts, Compute(dtype=dtype, tile=128, batch=n)) for n in (1, 4))
    made = one.translate(pixels, filled)
    assert (made - four.translate(pixels, filled)).abs().max() < (1e-5 if dtype == torch.float32 else 0.05)
    assert made.dtype == torch.float32 and made.isfinite().all()


@pytest.mark.parametrize("sound", [0.1, 0.0])
def test_texture_stays_where_another_part_of_a_photo_is_quiet(
    listening: LatentTranslator, monkeypatch: pytest.MonkeyPatch, sound: float
) -> None:
    def smoothed(*parts: Any, **_: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """All is made plain but what is dark, which is trusted, though it would change a little."""
        tile = parts[3]
        dark = (tile.mean(1, keepdim=True) < 0.3).float()
        return tile + (0.6 - tile) * (1 - dark) + 0.005 * dark, dark

    monkeypatch.setattr("bringback.stages.translate.decoded", smoothed)
    gravel = torch.full((2, 3, 200, 260), sound)
    gravel[..., 170:] = 0.6 + 0.04 * torch.randn(2, 1, 200, 90, generator=torch.Generator().manual_seed(0))
    grain = torch.randn(1, 200, 140, generator=torch.Generator().manual_seed(1))
    gravel[1, :, :, 30:170] = 0.6 + 0.03 * grain  # this one is as restless nearly everywhere
    made = listening.translate(gravel)  # in several tiles
    if sound:
        assert (made[0] - gravel[0]).abs().max() < 1e-3
    else:  # in black, grain is cut off
        assert (made[0, ..., 170:] - 0.6).abs().max() < 1e-5
    assert (made[1, ..., 30:] - 0.6).abs().max() < 1e-5


def test_smaller_tiles_need_less(listening: LatentTranslator) -> None:
    for stage in (listening, ScratchDetector(Found(0.0), Compute(tile=512))):
        own, held, smaller = (stage.needs(3000, 4000, tile) for tile in (None, stage.tile, 64))
        assert smaller < own == held == stage.needs(3000, 4000, 2000)
        assert stage.needs(30, 40, None) < smaller


def test_a_photo_little_larger_than_a_tile_is_looked_at_in_much_smaller_ones() -> None:
    detector = ScratchDetector(Found(0.0), Compute(tile=512))
    larger, fits = detector.needs(512, 560, None), detector.needs(512, 512, None)
    assert larger < 0.8 * fits
    assert detector.needs(4 * 512, 4 * 560, None, 4.0) > 1.3 * larger  # finer detail is looked for in larger tiles


def test_what_guards_take_is_planned_where_tiles_take_less() -> None:
    detector = ScratchDetector(Found(0.0), Compute(tile=512))
    small, same = detector.needs(1024, 1024, 128), detector.needs(1024, 1024, 64)
    assert small == same > 100 * 1024**2
    assert detector.needs(1024, 1024, None) > 1.2 * small
    assert 2 * detector.needs(2048, 1024, 64) < 3 * small  # at most a megapixel is looked at


def test_tiles_of_coarser_looks_may_be_the_largest_and_a_photo_has_no_more_tiles_than_it_has() -> None:
    one, eight = (Looks(Found(0.0), Compute(tile=512, batch=batch), 512) for batch in (1, 8))  # type: ignore[arg-type]
    assert one.at_once(1000, 1000) == round(500**2 / 1.3**2)  # 376 pixels a side at its own scale
    assert eight.at_once(300, 400) == one.at_once(300, 400) == 300 * 400
    assert eight.at_once(2000, 3000) == 8 * one.at_once(2000, 3000)


@pytest.mark.usefixtures("one_look")
def test_the_detector_takes_several_tiles_at_once() -> None:
    sizes = []

    class Spy(torch.nn.Module):
        widths = (1,)

        def forward(self, tile: torch.Tensor) -> torch.Tensor:
            sizes.append(len(tile))
            return 8 * tile[:, :1] - 6

    pixels = torch.rand(1, 3, 250, 200)
    one, four = (ScratchDetector(Spy(), Compute(tile=128, batch=n)).detect(pixels) for n in (1, 4))
    assert torch.equal(one, four) and sizes == [1] * 18 + [4, 4, 4, 4, 1, 1]  # nine tiles and their mirror images


class Bright(torch.nn.Module):
    """Says that white is damage, and remembers how large the photos were that it saw."""

    widths = (1,)

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, tile: torch.Tensor) -> torch.Tensor:
        self.sizes.append(tuple(tile.shape[-2:]))
        return (tile[:, :1] - 0.8) * 40


def test_the_detector_looks_at_the_native_scale_and_coarser() -> None:
    spy = Bright()
    stage = ScratchDetector(spy, Compute(tile=2048))  # type: ignore[arg-type]
    stage.detect(torch.full((1, 3, 1200, 1600), 0.5), 2.0)
    # with the mirror image, enlarged, first; a quarter would tell nothing
    assert spy.sizes == [(600, 800), (780, 1040), (300, 400)]
    spy.sizes.clear()
    stage.detect(torch.full((1, 3, 40, 60), 0.5))
    assert set(spy.sizes) == {(214, 320), (278, 416)}  # small photos are enlarged


def test_the_detector_looks_closer_only_where_something_is_sharper_than_the_print() -> None:
    spy = Bright()
    stage = ScratchDetector(spy, Compute(tile=256))  # type: ignore[arg-type]
    pixels = torch.full((1, 3, 960, 1280), 0.4)
    stage.detect(pixels, 4.0)
    first = len(spy.sizes)
    assert first == 4  # two tiles and their mirror images
    pixels[..., 30:200, 100] = 1.0  # a hair on the glass, a quarter of a pixel wide at the native scale
    found = stage.detect(pixels, 4.0)
    assert 2 * first < len(spy.sizes) <= 2 * first + 8  # of the photo's own 35 tiles, those with the hair
    assert (found[..., 30:200, 100] > 0.5).all() and (found[..., 300:, :] < 0.5).all()


@pytest.mark.parametrize(
    ("native", "scale", "width", "speck", "sure", "marked"),
    [
        (-9.0, 1.0, 12, 60, 8.0, False),
        (-2.0, 1.0, 12, 60, 8.0, True),
        (-9.0, 1.6, 12, 60, 8.0, True),  # it is seen larger than at its native scale
        (-9.0, 1.0, 60, 60, 8.0, True),  # a broad stain
        (-2.0, 1.6, 60, 2, 2.5, False),  # hardly anything else is damage
        (-9.0, 1.0, 60, 2, 8.0, True),  # but it is surely seen: a lone hole
    ],
)
def test_lines_that_are_seen_smaller_only_are_the_picture(
    native: float, scale: float, width: int, speck: int, sure: float, marked: bool
) -> None:
    class Smaller(torch.nn.Module):
        """As `sure` that red is damage once it is seen at less than 500 pixels, before it says `native`; blue is."""

        widths = (1,)

        def forward(self, tile: torch.Tensor) -> torch.Tensor:
            red = torch.where(tile[:, :1] > 0.9, sure if tile.shape[-1] < 500 else native, -9.0)
            return torch.where(tile[:, 2:] > 0.9, 8.0, red)

    pixels = torch.full((1, 3, 600, 600), 0.5)
    pixels[:, 0, 100:300, 100 : 100 + width], pixels[:, 2, 400:420, 300 : 300 + speck] = 1, 1
    odds = looks.Looks(Smaller(), Compute(), 640).united(pixels, scale)[0]  # type: ignore[arg-type]
    assert bool((odds[..., 120:280, 104 : 96 + width] > 0).all()) is marked and (odds[..., 310:390, :] < 0).all()


def dots(height: int, width: int, period: float) -> torch.Tensor:
    """Gray (1, 3, H, W), printed in dark dots on white."""
    y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    u, v = (x + y) / 2**0.5, (x - y) / 2**0.5
    screen = (torch.cos(2 * math.pi * u / period) + torch.cos(2 * math.pi * v / period)) * 2
    return torch.sigmoid(screen).expand(1, 3, -1, -1).clone()


@pytest.mark.usefixtures("one_look")
@pytest.mark.parametrize("period", [4.0, 7.0])
def test_printed_dots_are_no_damage_but_a_scratch_across_them_is(period: float) -> None:
    pixels = dots(256, 320, period)
    assert (Bright()(pixels) > 0).float().mean() > 0.1  # dots are as white as scratches
    stage = ScratchDetector(Bright(), CPU)  # type: ignore[arg-type]
    assert stage.detect(pixels).max() < 0.5
    pixels[..., 150:170, :] = 1
    restoration = stage(start(pixels))
    found = restoration.mask > 0.5
    assert found[..., 154:166, :].all() and not found[..., :140, :].any() and not found[..., 180:, :].any()
    assert restoration.notes["scratches"]["periodic_share"] == 1 and "printed dots" in restoration.warnings[0]


def test_a_scale_in_doubt_does_not_make_coarser_looks_count_more() -> None:
    detector = ScratchDetector.from_checkpoints(Checkpoints(), CPU)
    photo = torch.from_numpy(data.astronaut()).permute(2, 0, 1)[None] / 255
    own, doubtful, known = (detector.detect(photo, scale) for scale in (1.0, 1.4, 1.6))
    assert torch.equal(own, doubtful) and not torch.equal(own, known)


def test_dots_finer_than_the_native_scale_are_no_hairs_on_the_glass() -> None:
    assert ScratchDetector(Bright(), CPU).detect(dots(960, 1280, 5.0), 4.0).max() < 0.5  # type: ignore[arg-type]


def test_the_translation_does_not_make_a_pattern_stronger(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = LatentTranslator.from_pretrained(device="cpu")
    factor = [1.3]
    monkeypatch.setattr(stage, "_translated", lambda pixels, filled, _: (0.5 + factor[0] * (pixels - 0.5)).clamp(0, 1))
    pixels = 0.3 + 0.4 * dots(256, 320, 7.0)
    restoration = stage(start(pixels))
    assert torch.allclose(restoration.pixels, pixels, atol=1e-5)
    assert restoration.notes["translate"]["kept_share"] == 1 and "left 100 % alone" in restoration.warnings[0]
    factor[0] = 0.5
    restoration = stage(start(pixels))
    assert restoration.pixels.std() < 0.6 * pixels.std() and not restoration.warnings
    stage.translate(pixels.requires_grad_()).sum().backward()
    assert pixels.grad is not None and pixels.grad.abs().sum() > 0


def test_gradients_flow_through_all_looks_of_the_detector() -> None:
    class Soft(torch.nn.Module):
        widths = (1,)

        def forward(self, tile: torch.Tensor) -> torch.Tensor:
            return tile[:, :1] * 2

    for pixels in (torch.rand(1, 3, 400, 400), dots(400, 400, 5.0)):  # the latter are looked at twice
        pixels.requires_grad_()
        for scale in (1.0, 2.0, 4.0):
            ScratchDetector(Soft(), CPU).detect(pixels, scale).sum().backward()  # type: ignore[arg-type]
        assert pixels.grad is not None and pixels.grad.abs().sum() > 0


def test_sound_places_of_very_small_photos_change_less() -> None:
    torch.manual_seed(0)
    stage = LatentTranslator(VAE(), LatentMapping(), VAE(), CPU)
    pixels, filled = torch.rand(1, 3, 32, 32), torch.zeros(1, 1, 32, 32)
    filled[..., :8, :8] = 1
    change = (stage.translate(pixels, filled) - pixels).abs()
    assert change[..., :8, :8].mean() > 1.6 * change[..., 16:, 16:].mean() > 0


def watched(monkeypatch: pytest.MonkeyPatch) -> tuple[LatentTranslator, list[torch.Size]]:
    """A translator, and the shapes of the latents that its mapping gets."""
    stage, seen = LatentTranslator(VAE(), LatentMapping(), VAE(), CPU), list[torch.Size]()
    real = stage.mapping.forward

    def forward(latent: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        seen.append(latent.shape)
        return real(latent, *rest)

    monkeypatch.setattr(stage.mapping, "forward", forward)
    return stage, seen


def test_very_small_photos_alone_are_asked_whether_they_are_worn(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, seen = watched(monkeypatch)
    for side, times in ((TINY - 16, 2), (TINY, 1)):
        stage.translate(torch.rand(1, 3, side, side))
        assert len(seen) == times
        seen.clear()


def test_repeated_pixels_are_smooth_before_the_networks_see_the_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LatentTranslator, "_translated", lambda self, pixels, filled, _: pixels)
    stage = LatentTranslator(VAE(), LatentMapping(), VAE(), CPU)
    sound = torch.from_numpy(data.astronaut()[:200, :260]).permute(2, 0, 1)[None] / 255
    small = F.interpolate(sound, (80, 104), mode="area")
    worn = (F.interpolate(small, (200, 260), mode="nearest-exact") * 255).round() / 255
    restoration = start(worn.clone())
    restoration.pixels[..., 50:150, 60:200] = 0.5  # a large fill
    restoration = stage(restoration)
    outside = ..., slice(0, 48), slice(None)
    assert psnr(restoration.pixels[outside], sound[outside]) > psnr(worn[outside], sound[outside]) + 1
    assert restoration.notes["translate"]["blocks"] == 2.5
    assert restoration.notes["translate"]["mean_change"] > 0.005
    assert torch.equal(restoration.as_it_came(), stage.translate(worn))  # so the faces are told of no blocks
    again, came = restoration.pixels.clone(), restoration.as_it_came()
    restoration = stage(restoration)
    assert torch.equal(restoration.pixels, again) and torch.equal(restoration.as_it_came(), came)  # smoothed once
    enlarged = start(worn.clone())
    enlarged.enlarge(F.interpolate(worn, (300, 390), mode="bicubic").clamp(0, 1))
    before = enlarged.pixels.clone()
    assert torch.equal(stage(enlarged).pixels, before)  # the photo's blocks are not those of an enlarged one
    restoration = stage(start(sound.clone()))
    assert restoration.blocks is None and "blocks" not in restoration.notes["translate"]
    assert torch.equal(restoration.pixels, sound)


def test_a_soft_scan_is_translated_at_its_native_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, seen = watched(monkeypatch)
    monkeypatch.setattr("bringback.stages.translate.TINY", 0)  # very small photos are looked at once more
    pixels = torch.rand(1, 3, 96, 128)
    for scale in (1.0, 1.5, 3.0, 4.0):
        assert stage.translate(pixels, None, scale).shape == pixels.shape
    # 1.5 is too little to gain by shrinking; above 1 it is looked at at its native scale, too, or at half its size, and
    # shrunk less if that is in doubt
    shapes = [tuple(shape[-2:]) for shape in seen]
    assert shapes == [(24, 32), (12, 16), (16, 22), (24, 32), (8, 11), (12, 16), (12, 12)]


def test_noise_that_was_enlarged_is_seen_at_its_own_scale_and_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, seen = watched(monkeypatch)
    monkeypatch.setattr("bringback.stages.translate.TINY", 0)
    found = {"noise": 3.1}
    monkeypatch.setattr("bringback.stages.translate.noise_scale", lambda pixels: found["noise"])
    freed = []
    monkeypatch.setattr("bringback.stages.translate.without_impulses", lambda x: freed.append((*x.shape[-2:],)) or x)
    added = []
    keeps = stage._keeps
    monkeypatch.setattr(stage, "_keeps", lambda *given: added.append(keeps(*given)) or added[-1])
    monkeypatch.setattr(stage, "_sound", lambda pixels, filled, times: torch.zeros(1, 1, 1, 1))
    pixels = torch.rand(2, 3, 96, 128)
    stage.translate(pixels, None, 3.0)
    assert [tuple(shape[-2:]) for shape in seen] == [(8, 12)] * 2  # photo by photo, without the room of others
    assert [more.item() for more in added] == [0.0, 0.0]
    assert freed == [(96, 128), (32, 43), (32, 43)]
    found["noise"] = 2.0  # of the file, not of the print
    stage.translate(pixels[:1], None, 3.0)
    assert tuple(seen[-1][-2:]) == (12, 16) and added[-1].item() == 2.5 and freed[3:] == [(96, 128)]


def test_more_is_kept_of_a_scan_larger_than_it_is_sharp_but_not_of_what_was_filled() -> None:
    stage = LatentTranslator(VAE(), LatentMapping(), VAE(), CPU)
    pixels, filled = torch.rand(1, 3, 96, 128), torch.zeros(1, 1, 96, 128)
    filled[..., :48] = 1
    own, doubtful, scanned = (stage.translate(pixels, filled, scale) for scale in (1.0, 1.4, 1.5))
    changes = [(made - pixels).abs() for made in (own, doubtful, scanned)]
    assert changes[2][..., 64:].mean() < 0.95 * changes[0][..., 64:].mean()
    assert changes[2][..., 64:].mean() < 0.95 * changes[1][..., 64:].mean()
    assert torch.equal(own[..., :40], scanned[..., :40])


def test_what_is_sound_at_its_native_scale_is_kept_in_the_scan() -> None:
    stage = LatentTranslator(VAE(), LatentMapping(), VAE(), CPU)
    last = stage.mapping.trust.layers[-1]
    pixels, filled = torch.rand(2, 3, 96, 128), torch.zeros(2, 1, 96, 128)
    filled[..., :48] = 1
    for bias, more in ((-8.0, 2.5), (0.0, 12.5)):  # the gate keeps nothing, or half
        last.bias.data.fill_(bias)
        for scale in (1.8, 3.84):
            assert torch.allclose(stage._keeps(pixels, filled, scale), torch.tensor(more))
        # as sound shrunk by less: it may be blurred itself
        assert torch.allclose(stage._keeps(pixels, filled, 1.6), torch.tensor(2.5))
        one, two = ((stage.translate(pixels, filled, scale) - pixels).abs() for scale in (1.0, 1.6))
        assert torch.equal(one[..., :40], two[..., :40])
        assert two[..., 64:].mean() < one[..., 64:].mean()


@pytest.mark.parametrize(
    ("scale", "native", "less", "kept"),
    [
        (1.0, 0.9, 0.0, 0.0),
        (1.4, 0.4, 0.1, 4.0),
        (1.4, 0.3, 0.3, 0.0),  # a worn photo that is not very sharp looks as sound in both
        (1.5, 0.5, 0.1, 12.5),
        (1.5, 0.3, 0.3, 2.5),
        (1.8, 0.05, 0.0, 2.5),
        (1.8, 0.3, 0.9, 10.5),
        (3.84, 0.4, 0.9, 12.5),  # enlarged by exactly four
        (4.0, 0.9, 0.0, 2.5),  # is not asked: of worn photos shrunk so far no noise is left
    ],
)
def test_how_much_more_is_kept_of_what_is_sound_at_its_native_scale(
    monkeypatch: pytest.MonkeyPatch, scale: float, native: float, less: float, kept: float
) -> None:
    stage = LatentTranslator(VAE(), LatentMapping(), VAE(), CPU)
    shares = {1.5: less, max(scale, 2.0): native}
    monkeypatch.setattr(stage, "_sound", lambda pixels, filled, times: torch.full((2, 1, 1, 1), shares[times]))
    keeps = stage._keeps(torch.rand(2, 3, 8, 8), torch.zeros(2, 1, 8, 8), scale)
    assert keeps.shape == (2, 1, 1, 1) and torch.allclose(keeps, torch.tensor(kept))


def test_each_photo_of_a_batch_is_judged_by_itself() -> None:
    stage = LatentTranslator.from_checkpoints(Checkpoints(), CPU)
    generator = torch.Generator().manual_seed(1)
    smooth = torch.nn.functional.interpolate(torch.rand(1, 3, 12, 16, generator=generator), (96, 128), mode="bicubic")
    noisy = smooth + 0.1 * torch.randn(1, 3, 96, 128, generator=generator)
    photos = torch.cat([smooth, noisy]).clamp(0, 1)
    both = stage.translate(photos, None, 1.4)
    for number in range(2):
        alone = stage.translate(photos[number : number + 1], None, 1.4)
        torch.testing.assert_close(both[number : number + 1], alone, rtol=0, atol=2e-3)
