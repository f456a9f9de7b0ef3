"""The original's stages around networks that can be followed by hand; pipelines from YAML."""

from typing import ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from skimage import data
from torch import nn

from bringback.assets import presets
from bringback.cli.settings import faces_settings
from bringback.errors import PhotoError
from bringback.images.photo import Photo
from bringback.models.wan2020.mapping import PaperMapping
from bringback.models.wan2020.vae import PaperVAE
from bringback.ops.metrics import psnr
from bringback.pipeline import Pipeline
from bringback.pipeline_config import DEFAULT, PipelineConfig
from bringback.runtime.compute import Compute
from bringback.stages import FAMILIES
from bringback.stages.record import Restoration
from bringback.stages.wan2020.faces import PaperFaceRefiner
from bringback.stages.wan2020.resizing import resize, rounded
from bringback.stages.wan2020.scratches import PaperScratchDetector
from bringback.stages.wan2020.translate import PaperTranslator

CPU = torch.device("cpu")


class Plain(nn.Module):
    """A VAE that loses nothing: 4x4 pixels are one place of the latent."""

    def encode(self, pixels):
        assert all(side % 4 == 0 for side in pixels.shape[-2:])
        return F.pixel_unshuffle(pixels, 4)

    def decode(self, latent):
        return F.pixel_shuffle(latent, 4)


class Same(nn.Module):
    """A mapping that changes nothing and remembers what it was given."""

    def forward(self, latent, mask):
        self.seen, self.mask = F.pixel_shuffle(latent, 4), mask
        return latent


class Bright(nn.Module):
    """A detector that finds what is bright, and remembers what it saw."""

    def forward(self, gray):
        self.seen = gray
        return torch.logit(gray.clamp(0.01, 0.99))


def start(pixels: np.ndarray, mask: np.ndarray | None = None) -> Restoration:
    return Restoration.start(Photo.from_array(pixels), mask)


def test_sizes_are_rounded_as_the_original_rounds():
    assert [rounded(side, 16) for side in (1, 24, 25, 40, 1480, 1992, 2414)] == [16, 32, 32, 32, 1472, 1984, 2416]
    assert [rounded(side, 4) for side in (17, 18, 22, 1001)] == [16, 16, 24, 1000]


@pytest.mark.parametrize(("mode", "filter_"), [("bicubic", Image.BICUBIC), ("bilinear", Image.BILINEAR)])
def test_resizing_is_pillows(pixels, mode, filter_):
    given = torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None] / 255
    for height, width in ((32, 80), (48, 64), (64, 48)):
        wanted = np.asarray(Image.fromarray(pixels).resize((width, height), filter_)) / 255
        made = resize(given, (height, width), mode)[0].permute(1, 2, 0).numpy()
        off = np.abs(made - wanted) * 255
        assert np.quantile(off, 0.98) <= 1.1 and off.max() < 8  # Pillow rounds and cuts to 8 bit between its two passes


def test_the_translation_paints_damage_white_and_keeps_the_size(pixels):
    pixels = pixels[:45, :61]
    mask = np.zeros((45, 61), np.float32)
    mask[8:12, 20:30] = 1
    mapping = Same()
    restoration = PaperTranslator(Plain(), mapping, Plain(), CPU)(start(pixels, mask))
    assert mapping.seen.shape[-2:] == (48, 64) and restoration.pixels.shape[-2:] == (45, 61)
    assert set(mapping.mask.unique().tolist()) == {0.0, 1.0}
    assert (mapping.seen[(mapping.mask == 1).expand_as(mapping.seen)] == 1).all()
    assert restoration.pixels[0, :, 9:11, 22:28].min() > 0.97
    sound = torch.from_numpy(pixels / 255).permute(2, 0, 1)[:, 20:, :]
    assert (restoration.pixels[0, :, 20:, :] - sound).abs().mean() < 0.02  # twice resized, nothing else
    assert restoration.notes["translate"]["mean_change"] > 0


def test_a_photo_of_a_size_that_divides_is_not_resized(pixels):
    restored = PaperTranslator(Plain(), Same(), Plain(), CPU)(start(pixels))
    assert torch.equal(restored.pixels, start(pixels).pixels)


def test_quality_takes_the_photo_as_it_is_and_hr_grows_the_damage(pixels):
    mask = np.zeros((48, 64), np.float32)
    mask[20, 30] = 1
    mapping = Same()
    PaperTranslator(Plain(), mapping, Plain(), CPU, paint=False)(start(pixels[:46, :62], mask[:46, :62]))
    assert mapping.seen.shape[-2:] == (48, 64) and mapping.seen.max() < 1
    PaperTranslator(Plain(), mapping, Plain(), CPU, grow=3)(start(pixels, mask))
    assert mapping.mask.sum() == 49 and mapping.mask[0, 0, 17:24, 27:34].min() == 1


def test_the_detector_sees_a_short_side_of_256():
    gray = np.full((600, 900, 3), 60, np.uint8)
    gray[100:300, 200:260] = 200
    network = Bright()
    stage = PaperScratchDetector(network, CPU)
    restoration = stage(start(gray))
    assert network.seen.shape == (1, 1, 256, 384)
    found = restoration.mask[0, 0]
    assert found.shape == (600, 900) and set(found.unique().tolist()) == {0.0, 1.0}
    assert found[110:290, 210:250].min() == 1 and found[:, 300:].max() == 0
    assert restoration.notes["scratches"]["damaged_share"] == pytest.approx(200 * 60 / 540000, rel=0.1)
    given = np.zeros((600, 900), np.float32)
    given[500:, 800:] = 1
    assert stage(start(gray, given)).mask[0, 0, 510:, 810:].min() == 1
    strict = PaperScratchDetector(network, CPU, threshold=0.9)
    assert strict.detect(start(gray).pixels).max() == 0
    for wrong in ({"short_side": 250}, {"threshold": 1.5}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            PaperScratchDetector(network, CPU, **wrong)


def test_configs_that_ship():
    assert set(presets()) >= {"lean", "classical", "paper", "paper-hr", "paper-quality"}
    for name in presets():
        config = PipelineConfig.read(name)
        kinds = FAMILIES[config.family]
        assert set(config.settings) <= set(config.stages) <= set(kinds)
        assert all(kinds[stage].name == stage for stage in config.stages)
    lean = PipelineConfig.read("lean")
    assert lean == PipelineConfig.of(None) and tuple(lean.stages) == DEFAULT


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("stages: [tone]\nsteps: 3", "unknown key 'steps'; did you mean 'stages'?"),
        ("family: rich\nstages: [tone]", "family 'rich': one of lean, paper"),
        ("family: [lean]\nstages: [tone]", "family"),
        ("family: lean", "stages: a list of names"),
        ("stages: tone", "stages: a list of names"),
        ("stages: [tone]\nsettings: {tone: 3}", "arguments by stage"),
        ("- tone", "a pipeline has family, stages, settings"),
        ("stages: [tone", "line 1"),
        ("stages: [tune]", "unknown stage 'tune'"),
        ("family: paper\nstages: [tone]", "of the family paper are scratches, translate, faces"),
        ("stages: [fill]\nsettings: {tone: {a: 1}}", "settings of the stage 'tone', which is not among its stages"),
        ("stages: [fill]\nsettings: {fill: {a: 1}}", "settings of the stage 'fill'"),
    ],
)
def test_configs_that_are_wrong(tmp_path, text, reason):
    file = tmp_path / "pipeline.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"^[^\n]*$") as caught:
        Pipeline.from_pretrained(config=file)
    assert reason in str(caught.value)


def test_a_config_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere.*those that ship: .*paper"):
        Pipeline.from_pretrained(config=tmp_path / "nowhere.yaml")


def test_settings_go_before_those_of_the_config(tmp_path):
    file = tmp_path / "pipeline.yaml"
    file.write_text("stages: [fill, faces]\nsettings: {faces: {min_size: 50, fidelity: 0.2}}")
    pipeline = Pipeline.from_pretrained(config=file, settings={"faces": {"fidelity": 0.5}})
    assert [stage.name for stage in pipeline.stages] == ["fill", "faces"]
    assert pipeline.settings == {"faces": {"min_size": 50, "fidelity": 0.5}}
    assert [stage.name for stage in Pipeline.from_pretrained(config=file, stages=["fill"]).stages] == ["fill"]


def test_a_setting_that_is_nought_goes_before_the_configs_too():
    assert faces_settings(None, False, 0.0) == {"faces": {"fidelity": 0.0}}
    assert faces_settings(40, True, None) == {"faces": {"min_size": 40, "only_center_face": True}}


def test_a_line_a_pixel_wide_is_not_lost_in_rounding():
    pixels, mapping = np.full((1480, 40, 3), 0.5, np.float32), Same()
    mask = np.zeros((1480, 40), np.float32)
    rows = range(5, 1480, 31)
    mask[list(rows)] = 1
    restoration = start(pixels)
    restoration.mask = torch.from_numpy(mask)[None, None]
    PaperTranslator(Plain(), mapping, Plain(), CPU)(restoration)
    assert mapping.mask.shape[-2:] == (1472, 32)
    found = mapping.mask[0, 0, :, 10]
    assert all(found[round(row * 1472 / 1480) - 1 : round(row * 1472 / 1480) + 2].sum() in (1, 2) for row in rows)


def test_the_detector_looks_at_a_panorama_piece_by_piece():
    class Counts(Bright):
        sizes: ClassVar = []

        def forward(self, gray):
            self.sizes.append(gray.shape[-1])
            return super().forward(gray)

    band = np.full((100, 3000, 3), 60, np.uint8)
    band[:, 1400:1600] = 200
    found = PaperScratchDetector(Counts(), CPU).detect(start(band).pixels)
    assert found.shape[-2:] == (100, 3000) and found[..., 1420:1580].min() == 1 and found[..., :1380].max() == 0
    assert len(Counts.sizes) > 2 and max(Counts.sizes) <= 2048


class Softer(nn.Module):
    """A generator of aligned crops that blurs, and remembers their size."""

    def forward(self, crops):
        self.size = crops.shape[-1]
        return F.avg_pool2d(crops, 5, 1, 2)


@pytest.mark.parametrize("size", [256, 512])
def test_faces_are_refined_in_crops_of_the_generators_size(size):
    class Has:
        def load(self, name, kind, device):
            assert name == f"paper_faces_{size}"
            return Softer()

    stage = PaperFaceRefiner.from_checkpoints(Has(), CPU, size=size)
    portrait = np.ascontiguousarray(data.astronaut()[:256, 96:352])
    restoration = stage(start(portrait))
    assert stage.generator.generator.size == size
    assert [face.status for face in restoration.faces] == ["refined"] and restoration.faces[0].identity < 0.3
    changed = (restoration.pixels - start(portrait).pixels).abs().amax((0, 1))
    assert changed[90:130, 100:150].mean() > 0.002 and changed[210:].max() == 0
    aligned = PaperFaceRefiner.from_checkpoints(Has(), CPU, size=size, aligned=True)
    crop = np.full((size, size, 3), 0.4, np.float32)
    crop[size // 4 : size // 2] = 0.6
    assert aligned(start(crop)).notes["faces"] == {"found": 1, "refined": 1}
    with pytest.raises(PhotoError, match=f"{size}x{size}"):
        aligned(start(portrait[:100, :100]))
    with pytest.raises(ValueError, match="256 and 512"):
        PaperFaceRefiner.from_checkpoints(Has(), CPU, size=300)
    with pytest.raises(ValueError, match="'faces'"):
        Pipeline.from_pretrained(stages=["faces"], settings={"faces": {"size": 512}})


def small(kind: str, seed: int) -> nn.Module:
    """One of the original's networks at small widths, with the weights that it is begun with."""
    torch.manual_seed(seed)
    made = PaperVAE(8) if kind == "vae" else PaperMapping((8, 12, 16, 16, 16), attention=kind)
    return made.eval()


@pytest.mark.parametrize("attention", ["nonlocal", "patches", ""])
def test_the_translation_in_bfloat16_is_near_that_in_float32(pixels, attention):
    mask = np.zeros((48, 64), np.float32)
    mask[10:16, 8:50] = 1
    networks = small("vae", 0), small(attention, 1), small("vae", 2)
    exact, near, nothing = (
        PaperTranslator(*networks, Compute(dtype=dtype))(start(pixels, given)).pixels
        for dtype, given in ((torch.float32, mask), (torch.bfloat16, mask), (torch.float32, None))
    )
    assert near.dtype == exact.dtype == torch.float32 and near.isfinite().all() and near.shape == (1, 3, 48, 64)
    assert psnr(near, exact).min() > 25 and not torch.equal(near, exact)
    assert psnr(nothing, exact).min() < psnr(near, exact).min() - 5  # the mask counts for more than the rounding
    assert len(near[0, 1].unique()) > 1000  # decoded in float32, and not in the 256 tones of bfloat16


def test_a_whole_photo_is_planned_for_at_once():
    stage = PaperTranslator(Plain(), Same(), Plain(), CPU)
    assert stage.needs(2000, 3000, None) == stage.needs(2000, 3000, 128) == 4 * stage.needs(1000, 1500, None)
    assert stage.needs(1000, 1000, None) > 1000**2 * 12
    detector = PaperScratchDetector(Bright(), CPU)
    assert detector.needs(100, 3000, None) > detector.needs(100, 100, None)


def test_a_preset_is_found_by_its_former_name_with_a_notice(caplog: pytest.LogCaptureFixture) -> None:
    assert PipelineConfig.read("colour") == PipelineConfig.read("color")
    assert [record.getMessage() for record in caplog.records] == ["the preset colour is called color now"]
