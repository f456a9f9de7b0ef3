"""The pipeline takes every kind of picture and gives the same kind back, keeps greys grey and never hides a failure."""

import numpy as np
import pytest
import torch
from PIL import Image

import bringback
from bringback.compute import pick_device
from bringback.photo import Photo, PhotoError
from bringback.pipeline import Pipeline, mask_array
from bringback.pipeline_config import DEFAULT


@pytest.fixture
def light(lighten) -> Pipeline:
    return Pipeline([lighten])


def test_the_public_names_are_there():
    for name in bringback.__all__:
        assert getattr(bringback, name)
    with pytest.raises(AttributeError, match="Pipelines"):
        _ = bringback.Pipelines


def test_paths_give_photos(light, tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    for path in (tmp_path / "a.png", str(tmp_path / "a.png")):
        result = light(path)
        assert isinstance(result, Photo)
        np.testing.assert_allclose(result.pixels, 0.75 * (pixels / 255) + 0.25, atol=1e-6)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_pillow_images_give_pillow_images(light, pixels, mode):
    image = Image.fromarray(pixels).convert(mode)
    result = light(image)
    assert result.mode == mode and result.size == image.size
    np.testing.assert_allclose(np.asarray(result)[0, 0], 0.75 * np.asarray(image)[0, 0] + 0.25 * 255, atol=0.51)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(48, 64, 3), (48, 64), (48, 64, 1), (48, 64, 4)])
def test_arrays_give_arrays(light, pixels, dtype, shape):
    top = 1.0 if dtype in (np.float32, np.float64) else np.iinfo(dtype).max
    array = np.dstack([pixels, np.full((48, 64), 255)])[..., : shape[2] if len(shape) == 3 else 1].reshape(shape)
    array = (array / 255 * top).astype(dtype)
    result = light(array)
    assert result.dtype == array.dtype and result.shape == array.shape
    expected = 0.75 * array.astype(float) + 0.25 * top
    np.testing.assert_allclose(result, np.minimum(expected, top), atol=0.51 if top > 1 else 1e-6)


@pytest.mark.parametrize("shape", [(3, 48, 64), (1, 3, 48, 64)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_tensors_give_tensors(light, pixels, shape, dtype):
    tensor = (torch.from_numpy(pixels).permute(2, 0, 1) / 255).reshape(shape).to(dtype)
    result = light(tensor)
    assert result.dtype == dtype and result.shape == shape and not result.is_inference()
    torch.testing.assert_close(result.float(), 0.75 * tensor.float() + 0.25, atol=2e-3, rtol=0)


def test_the_given_picture_is_not_changed(light, pixels):
    tensor = torch.from_numpy(pixels).permute(2, 0, 1) / 255
    before = tensor.clone()
    light(tensor)
    assert torch.equal(tensor, before)


@pytest.mark.parametrize("what", [3, "a list", torch.zeros(2, 3, 4, 4), torch.zeros(3, 4, 4, dtype=torch.uint8)])
def test_what_is_no_photo_is_refused_in_one_line(light, what):
    with pytest.raises(PhotoError) as caught:
        light([what] if what == "a list" else what)
    assert "\n" not in str(caught.value)


def test_masks_of_all_kinds(tmp_path):
    plane = np.zeros((4, 6), np.uint8)
    plane[1, 2] = 255
    Image.fromarray(plane).save(tmp_path / "m.png")
    Image.fromarray(np.dstack([plane] * 3)).save(tmp_path / "rgb.png")
    tensor = torch.from_numpy(plane / 255)
    kinds = [tmp_path / "m.png", str(tmp_path / "rgb.png"), Image.fromarray(plane), plane, plane == 255, plane / 255.0]
    whole = torch.from_numpy(plane)
    for mask in [*kinds, plane[..., None, :, :], tensor, tensor[None, None], tensor.half(), tensor > 0, whole]:
        np.testing.assert_allclose(mask_array(mask), plane / 255, atol=1e-6)


def test_a_mask_reaches_the_stages_and_one_of_another_size_is_refused(pixels, mark):
    pipeline = Pipeline([mark])
    mask = np.zeros((48, 64), np.float32)
    mask[:, -1] = 1
    damage = pipeline.restore(Photo.from_array(pixels), mask).damage()
    assert damage[0, 0, :, 0].min() == 1 and damage[0, 0, :, -1].min() == 1 and damage[0, 0, :, -2].max() == 0
    with pytest.raises(PhotoError, match="64x47 pixels, the photo 64x48"):
        pipeline(pixels, mask[1:])


def test_a_grey_photo_stays_grey_and_a_coloured_one_does_not(pixels, redden):
    seen = []

    def on_stage(name, restoration):
        seen.append((name, restoration.pixels.clone()))

    grey = np.repeat(pixels[..., 1:2], 3, axis=2).astype(int)
    noisy = np.clip(grey + np.random.default_rng(0).integers(-3, 4, grey.shape), 0, 255).astype(np.uint8)
    result = Pipeline([redden]).restore(Photo.from_array(noisy), on_stage=on_stage)
    assert seen[0][0] == "translate"
    for tensor in (seen[0][1], result.pixels):
        assert torch.equal(tensor[:, 0], tensor[:, 1]) and torch.equal(tensor[:, 0], tensor[:, 2])
    assert result.pixels.mean() == pytest.approx(grey.mean() / 255 * (0.299 + 0.5 * 0.701), abs=0.01)
    coloured = Pipeline([redden])(pixels)
    np.testing.assert_array_equal(coloured[..., 0], pixels[..., 0])
    sepia = (grey * np.array([1.0, 0.9, 0.75])).astype(np.uint8)
    assert np.ptp(Pipeline([])(sepia).astype(int), axis=2).max() > 30


def test_little_colour_is_kept_and_damage_in_colour_is_excused(mark, redden):
    from skimage import data

    seen = []

    class Look:
        name = "scratches"

        def __call__(self, restoration):
            seen.append(restoration.pixels.clone())
            return mark(restoration)  # damage in the left half

    sepia = (data.camera()[::2, ::2, None] * np.array([1.0, 0.9, 0.75])).astype(np.uint8)
    for left, single in ((150, False), (20, True)):
        photo = sepia.copy()
        photo[100:130, left : left + 30] = (40, 60, 230)  # 1.4 % of the picture
        result = Pipeline([Look(), redden]).restore(Photo.from_array(photo))
        np.testing.assert_allclose(seen[-1][0].permute(1, 2, 0), photo / 255, atol=1e-6)  # the detector sees it all
        blue = result.pixels[0, 2, 105:125, left + 5 : left + 25] - result.pixels[0, 0, 105:125, left + 5 : left + 25]
        assert (blue.max() < 0) == single
        assert (result.pixels[0, 2, -1, -1] < 0.5 * photo[-1, -1, 2] / 255 + 0.01) != single  # reddened or toned


@pytest.mark.parametrize("value", [float("nan"), 1.5, -0.2, 255.0, float("inf")])
def test_floats_that_are_no_picture_are_refused(light, pixels, value):
    array = (pixels / 255).astype(np.float32)
    array[3, 4, 1] = value
    for what in (array, torch.from_numpy(array).permute(2, 0, 1)):
        with pytest.raises(PhotoError, match=r"lie in \[0, 1\]"):
            light(what)
    with pytest.raises(PhotoError, match=r"lie in \[0, 1\]"):
        light(pixels, array[..., 1])


def test_notes_tell_the_seconds_of_each_stage(pixels, lighten, mark):
    notes = Pipeline([mark, lighten]).restore(Photo.from_array(pixels)).notes
    assert list(notes) == ["scratches", "tone"] and all(note["seconds"] >= 0 for note in notes.values())


def test_pixels_that_are_not_finite_are_a_failure(pixels, lighten):
    class Broken:
        name = "tone"

        def __call__(self, restoration):
            restoration.pixels = restoration.pixels * float("nan")
            return restoration

    with pytest.raises(ArithmeticError, match="'tone'"):
        Pipeline([lighten, Broken()])(pixels)


def test_unknown_stages_and_devices_are_named():
    with pytest.raises(ValueError, match="unknown stage 'blur'; the stages are scratches, tone, fill"):
        Pipeline.from_pretrained(stages=["tone", "blur"])
    with pytest.raises(ValueError, match="no device 'abacus'"):
        pick_device("abacus")
    assert pick_device("auto").type in ("cuda", "mps", "cpu")


def test_stages_run_in_their_order_and_weights_are_hashed(monkeypatch, tmp_path):
    from bringback import stages
    from bringback.nets.blocks import Network

    class Net(Network):
        def __init__(self, width: int = 3) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(width, width)

    class Loads:
        def __init__(self, name):
            self.name = name

        def from_checkpoints(self, checkpoints, compute):
            if self.name == "tone":
                self.net = checkpoints.load("tone", Net, compute.device)
            return self

    from bringback.checkpoints import MissingWeights, save_network

    monkeypatch.setitem(stages.FAMILIES, "lean", {name: Loads(name) for name in DEFAULT})
    digest = save_network(Net(), tmp_path / "weights" / "tone")
    pipeline = Pipeline.from_pretrained(tmp_path / "weights", stages=["fill", "tone", "scratches"], device="cpu")
    assert [stage.name for stage in pipeline.stages] == ["scratches", "tone", "fill"]
    assert pipeline.weights == {"tone": digest} and pipeline.compute.device.type == "cpu"
    with pytest.raises(MissingWeights, match="no checkpoint"):
        Pipeline.from_pretrained(tmp_path / "none")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_strength_mixes_with_the_photo_and_at_none_gives_it_exactly(lighten, dtype):
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (12, 9, 3), dtype)
    np.testing.assert_array_equal(Pipeline([lighten], strength=0.0)(pixels), pixels)
    whole, half = (Pipeline([lighten], strength=strength)(pixels).astype(float) for strength in (1.0, 0.5))
    assert np.abs(half - (whole + pixels) / 2).max() <= 1 and np.abs(half - whole).max() > 1
    sepia = np.stack([pixels[..., 0] * scale for scale in (1.0, 0.8, 0.6)], 2).astype(dtype)
    np.testing.assert_array_equal(Pipeline([lighten], strength=0.0)(sepia), sepia)
    with pytest.raises(ValueError, match=r"strength 1\.5: wants 0"):
        Pipeline([lighten], strength=1.5)


def test_settings_reach_their_stage_and_the_record(tmp_path):
    settings = {"faces": {"fidelity": 0.4, "min_size": 50}, "scratches": {}}
    pipeline = Pipeline.from_pretrained(stages=["faces"], device="cpu", settings=settings)
    assert (pipeline.stages[0].fidelity, pipeline.stages[0].min_size) == (0.4, 50)
    assert pipeline.settings == {"faces": {"fidelity": 0.4, "min_size": 50}}
    with pytest.raises(ValueError, match="settings of the stage 'faces', which is not among those to run: tone"):
        Pipeline.from_pretrained(stages=["tone"], settings=settings)
    with pytest.raises(ValueError, match=r"settings of the stage 'faces': .*fidelty"):
        Pipeline.from_pretrained(stages=["faces"], settings={"faces": {"fidelty": 0.5}})
    with pytest.raises(ValueError, match="fidelity -1: wants 0"):
        Pipeline.from_pretrained(stages=["faces"], settings={"faces": {"fidelity": -1}})
