"""The pipeline takes every kind of picture and gives the same kind back, keeps grays gray and never hides a failure."""

import copy
import gc
import os
import pickle
import subprocess
import sys
import time
import weakref
from dataclasses import replace
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

import bringback
from bringback import pipeline as pipeline_module
from bringback.errors import PhotoError
from bringback.images.adapters import mask_array
from bringback.images.photo import Photo
from bringback.models.native_scale import NativeScale
from bringback.ops.areas import Area
from bringback.ops.metrics import psnr
from bringback.pipeline import Pipeline
from bringback.pipeline_config import DEFAULT
from bringback.runtime.compute import Compute, has_bfloat16, pick_device
from bringback.weights import checkpoints as checkpoints_module


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


@pytest.mark.parametrize("what", [3, "a list", torch.zeros(2, 4, 4), torch.zeros(3, 4, 4, dtype=torch.uint8)])
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


def test_a_gray_photo_stays_gray_and_a_colored_one_does_not(pixels, redden):
    seen = []

    def on_stage(name, restoration):
        seen.append((name, restoration.pixels.clone()))

    gray = np.repeat(pixels[..., 1:2], 3, axis=2).astype(int)
    noisy = np.clip(gray + np.random.default_rng(0).integers(-3, 4, gray.shape), 0, 255).astype(np.uint8)
    result = Pipeline([redden]).restore(Photo.from_array(noisy), on_stage=on_stage)
    assert seen[0][0] == "translate"
    for tensor in (seen[0][1], result.pixels):
        assert torch.equal(tensor[:, 0], tensor[:, 1]) and torch.equal(tensor[:, 0], tensor[:, 2])
    assert result.pixels.mean() == pytest.approx(gray.mean() / 255 * (0.299 + 0.5 * 0.701), abs=0.01)
    colored = Pipeline([redden])(pixels)
    np.testing.assert_array_equal(colored[..., 0], pixels[..., 0])
    sepia = (gray * np.array([1.0, 0.9, 0.75])).astype(np.uint8)
    assert np.ptp(Pipeline([])(sepia).astype(int), axis=2).max() > 30


def test_little_color_is_kept_and_damage_in_color_is_excused(mark, redden):
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
    with pytest.raises(ValueError, match="unknown stage 'blur'; the stages are stains, scratches, "):
        Pipeline.from_pretrained(stages=["tone", "blur"])
    with pytest.raises(ValueError, match="no device 'abacus'"):
        pick_device("abacus")
    assert pick_device("auto").type in ("cuda", "mps", "cpu")


def test_stages_run_in_their_order_and_weights_are_hashed(monkeypatch, tmp_path):
    from bringback import stages
    from bringback.models.base import Network

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

    from bringback.weights.checkpoints import MissingWeights, save_network

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


TORCHS = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to"


class Hungry:
    """A stage that has no memory for tiles of more than `most` pixels, and lightens what it has memory for."""

    name = "translate"

    def __init__(self, most: int, tile: int = 1024) -> None:
        self.most, self.tile, self.compute = most, tile, Compute(batch=4)
        self.tried: list[tuple[int, int]] = []

    def __call__(self, restoration):
        self.tried.append((self.tile, self.compute.batch))
        if self.tile > self.most:
            raise RuntimeError(f"{TORCHS} allocate 4000000000 bytes.\nException raised from alloc_cpu")
        restoration.pixels = 0.5 * restoration.pixels + 0.5
        return restoration


def test_all_tiled_stages_get_the_smaller_tiles_and_their_own_back(pixels, lighten):
    before, after = Hungry(2000, tile=400), Hungry(256)
    before.name = "scratches"
    kept = [(stage.tile, stage.compute) for stage in (before, after)]
    pipeline = Pipeline([before, lighten, after], compute=Compute(batch=4))
    told = []
    restoration = pipeline.restore(Photo.from_array(pixels), on_stage=lambda name, one: told.append((name, one.tile)))
    assert restoration.tile == 256 and list(restoration.notes) == ["scratches", "tone", "translate"]
    assert before.tried == [(400, 4), (400, 4), (256, 1)]  # 512 is no less than its own
    assert after.tried == [(1024, 4), (512, 1), (256, 1)]
    assert [(stage.tile, stage.compute) for stage in (before, after)] == kept
    assert told[-3:] == [("scratches", 256), ("tone", 256), ("translate", 256)]
    plain = Pipeline([Hungry(2000), lighten, Hungry(2000)]).restore(Photo.from_array(pixels))
    assert torch.equal(restoration.pixels, plain.pixels) and plain.tile is None  # each stage once, for all the tries
    assert pipeline.restore(Photo.from_array(pixels)).tile == 256 and after.tried[3] == (1024, 4)  # begins anew


def test_where_memory_never_suffices_the_photo_fails_and_does_not_come_back(pixels, lighten):
    hungry = Hungry(0)
    for stages in ([lighten, hungry], [hungry, lighten]):
        with pytest.raises(PhotoError, match=r"^[^\n]*$") as caught:
            Pipeline(stages)(pixels)
        message = str(caught.value)
        assert message.startswith("memory ran out in the stage 'translate', about 0.") and "wanted: close" in message
        assert caught.value.__cause__ is None and caught.value.__context__ is None
    assert [tile for tile, _ in hungry.tried] == [1024, 512, 256, 128] * 2
    assert (hungry.tile, hungry.compute) == (1024, Compute(batch=4))


def test_a_stage_without_tiles_that_runs_out_of_memory_is_named(pixels):
    class Plain:
        name = "fill"

        def __call__(self, restoration):
            raise MemoryError

    with pytest.raises(PhotoError, match=r"^memory ran out in the stage 'fill', about [^\n]*$"):
        Pipeline([Plain()])(pixels)


def test_other_errors_come_through_as_they_are_and_at_the_first_try(pixels):
    class Wrong(Hungry):
        def __call__(self, restoration):
            self.tried.append(self.tile)
            raise self.error

    stage = Wrong(0)
    for error in (RuntimeError("shapes cannot be multiplied"), PhotoError("no"), KeyboardInterrupt(), ValueError()):
        stage.error = error
        with pytest.raises(type(error)) as caught:
            Pipeline([stage])(pixels)
        assert caught.value is error and stage.tile == 1024
    assert stage.tried == [1024] * 4


def test_what_a_failed_try_held_is_let_go_of_before_the_next(pixels):
    held, alive = [], []

    class Holds(Hungry):
        def __call__(self, restoration):
            alive.extend(one() is not None for one in held)
            held.append(weakref.ref(restoration.pixels))
            return super().__call__(restoration)

    gc.disable()  # at once, and not when Python comes to it
    try:
        Pipeline([Holds(256)]).restore(Photo.from_array(pixels))
    finally:
        gc.enable()
    assert alive == [False] * 3 and len(held) == 3


def test_too_large_a_photo_fails_before_it_is_begun_and_a_plan_holds_tiles_down(pixels):
    class Needs(Hungry):
        def needs(self, height, width, tile):
            return 10**6 * min(tile or self.tile, self.tile)

    hungry = Needs(2000)
    peak = Pipeline([hungry]).plan(48, 64).peak
    tight = Pipeline([hungry], compute=Compute(memory=peak - 1))
    assert tight.plan(48, 64).tile == 512
    assert tight.restore(Photo.from_array(pixels)).tile == 512 and hungry.tried == [(512, 1)]
    with pytest.raises(PhotoError, match=r"64x48 pixels takes about 0\.\d GB of memory, 0\.0 are there"):
        Pipeline([hungry], compute=Compute(memory=1000))(pixels)
    assert len(hungry.tried) == 1


def test_several_photos_are_what_each_would_be_alone(pixels, mark, lighten, redden):
    gray = np.repeat(pixels[::2, :, :1], 3, axis=2)
    sepia = (gray[:, ::2] * np.array([1.0, 0.9, 0.75])).astype(np.uint8)
    photos = [Photo.from_array(array) for array in (pixels, gray, sepia, pixels[::3, ::3])]
    mask = np.zeros((48, 64), np.float32)
    mask[:, -3:] = 1
    masks = [mask, None, None, None]
    pipeline = Pipeline([mark, lighten, redden], strength=0.7)
    together = pipeline.restore_many(photos, masks)
    for one, photo, its in zip(together, photos, masks, strict=True):
        alone = pipeline.restore(photo, its)
        assert one.photo is photo and torch.equal(one.pixels, alone.pixels) and torch.equal(one.mask, alone.mask)
        assert list(one.notes) == list(alone.notes)
    assert together[0].mask[..., -1].min() == 1 and together[1].mask[..., -1].max() == 0
    assert pipeline.restore_many([], []) == []
    with pytest.raises(PhotoError, match="64x48 pixels, the photo 64x24"):
        pipeline.restore_many(photos, [None, mask, None, None])


class Grouped:
    """A stage that records the sizes of the photos that it gets together, and lightens them."""

    name = "translate"

    def __init__(self) -> None:
        self.groups: list[list[tuple[int, int]]] = []

    def needs(self, height, width, tile):
        return 1000 * height * width

    def many(self, restorations):
        self.groups.append([tuple(one.pixels.shape[2:]) for one in restorations])
        for one in restorations:
            one.pixels = 0.5 * one.pixels + 0.5
        return restorations


def several(pixels):
    """Lists and arrays of pictures, with masks and without."""
    gray, mask = pixels[..., 0], np.zeros((48, 64), np.float32)
    mask[:, 40:] = 1
    mixed = [pixels, Image.fromarray(gray), pixels[::2] / 255, torch.from_numpy(pixels).permute(2, 0, 1) / 255, gray]
    stack = np.stack([pixels, pixels[::-1], gray[..., None].repeat(3, 2)])
    tensor = torch.from_numpy(stack).permute(0, 3, 1, 2) / 255
    return [(mixed, None), (stack, mask), (tensor, [mask, 1 - mask, mask]), ([pixels], None), ([], None)]


def test_a_list_of_pictures_goes_in_batches_with_the_results_of_one_by_one(pixels, mark):
    for images, mask in several(pixels):
        results = []
        for batch in (1, 2):
            stage = Grouped()
            results.append(Pipeline([mark, stage], compute=Compute(batch=batch))(images, mask))
            count = len(images)
            assert [len(group) for group in stage.groups] == [min(batch, count - k) for k in range(0, count, batch)]
        assert type(results[0]) is type(results[1]) and len(results[1]) == len(images)
        for one, other in zip(*results, strict=True):
            assert type(one) is type(other)
            np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
            assert np.asarray(one).mean() > 0


def test_a_list_keeps_to_the_memory_there_is(pixels, monkeypatch):
    photos = [pixels] * 4
    sizes, stage = [], Grouped()
    peak = Pipeline([stage]).plan(48, 64).peak
    for memory in (peak, peak + 10**9, None):
        stage = Grouped()
        Pipeline([stage], compute=Compute(batch=4, memory=memory))(photos)
        sizes.append([len(group) for group in stage.groups])
    assert sizes == [[1] * 4, [4], [4]]
    monkeypatch.setattr(pipeline_module, "ALONE", 48 * 64 - 1)
    stage, small = Grouped(), pixels[:20]
    Pipeline([stage], compute=Compute(batch=4))([small, small, pixels, small])
    assert stage.groups == [[(20, 64)] * 2, [(48, 64)], [(20, 64)]]


def test_pictures_of_a_list_are_read_batch_by_batch(pixels, tmp_path, monkeypatch):
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    for path in paths:
        Image.fromarray(pixels).save(path)
    read, seen = [], []
    real = Photo.read
    monkeypatch.setattr(Photo, "read", lambda path: read.append(path) or real(path))
    stage = Grouped()
    stage.many = lambda restorations: seen.append(len(read)) or restorations
    for batch, expected in ((1, [1, 2, 3, 4, 5]), (2, [2, 4, 5])):
        read.clear(), seen.clear()
        Pipeline([stage], compute=Compute(batch=batch))(paths)
        assert seen == expected


def test_the_plan_of_several_photos_is_made_once_each(pixels, monkeypatch):
    planned, photos = [], [Photo.from_array(pixels), Photo.from_array(pixels[:20])]
    real = Pipeline.plan
    monkeypatch.setattr(Pipeline, "plan", lambda self, *size: planned.append(size) or real(self, *size))
    pipeline = Pipeline([Grouped()])
    pipeline.restore_many(photos, [None, None])
    assert planned == [(48, 64, 1.0, 0, None), (20, 64, 1.0, 0, None)]
    given = pipeline.plan(48, 64)
    pipeline.restore(photos[0], plan=given)
    assert len(planned) == 3


def test_callbacks_belong_to_a_call_and_not_to_shared_stages(pixels):
    class Slow:
        name = "prior"

        def __call__(self, restoration):
            if restoration.on_step:
                restoration.on_step(self.name, "half")
            return restoration

    stage, steps = Slow(), {"one": [], "other": []}
    pipelines = Pipeline([stage]), Pipeline([stage], strength=0.5)
    photo = Photo.from_array(pixels)
    pipelines[0].restore(photo, on_step=lambda *step: steps["one"].append(step))
    pipelines[1].restore_many([photo, photo], [None, None], lambda *step: steps["other"].append(step))
    pipelines[1].restore(photo)
    assert steps == {"one": [("prior", "half")], "other": [("prior", "half")] * 2} and not vars(stage)


def test_weights_are_hashed_once_until_they_change(tmp_path, monkeypatch):
    hashed = []
    real = checkpoints_module.file_hash
    monkeypatch.setattr(checkpoints_module, "file_hash", lambda path: hashed.append(path) or real(path))
    file = tmp_path / "a" / "model.safetensors"
    file.parent.mkdir()
    file.write_bytes(b"first")
    first = [checkpoints_module.Checkpoints(tmp_path).hashes(["a"])["a"] for _ in range(3)]
    assert len(hashed) == 1 and set(first) == {real(file)}
    status = file.stat()
    beside = file.with_name("new")
    beside.write_bytes(b"other")  # of the same size
    os.utime(beside, ns=(status.st_atime_ns, status.st_mtime_ns))
    beside.replace(file)
    assert checkpoints_module.Checkpoints(tmp_path).hashes(["a"])["a"] == real(file) != first[0]


def test_of_several_photos_those_for_which_memory_runs_out_go_alone(pixels):
    class Crowded(Hungry):
        """Has room for one photo in large tiles, for small ones in any."""

        def many(self, restorations):
            self.tried.append((self.tile, len(restorations)))
            if len(restorations) > 1 or (restorations[0].pixels.numel() > 5000 and self.tile > 512):
                raise RuntimeError(TORCHS)
            return restorations

    crowded = Crowded(0)
    together = Pipeline([crowded]).restore_many([Photo.from_array(pixels), Photo.from_array(pixels[:9])], [None, None])
    assert [one.tile for one in together] == [512, None]  # what becomes of the second does not hang on the first
    assert crowded.tried == [(1024, 2), (1024, 1), (512, 1), (1024, 1)]


EXAMPLES = Path(__file__).parents[1] / "examples" / "photos"


def test_the_shipped_pipeline_gives_the_same_bits_again_and_in_company():
    photos = [Photo.read(EXAMPLES / "portrait.jpg"), Photo.read(EXAMPLES / "cat.jpg")]
    pipeline = Pipeline.from_pretrained(device="cpu")
    once = pipeline.restore(photos[0])
    assert once.faces and (once.pixels - torch.from_numpy(photos[0].pixels.transpose(2, 0, 1))).abs().mean() > 0.001
    for again in (pipeline.restore(photos[0]), *pipeline.restore_many(photos, [None, None])[:1]):
        assert torch.equal(again.pixels, once.pixels) and torch.equal(again.mask, once.mask)
        assert [face.identity for face in again.faces] == [face.identity for face in once.faces]


@pytest.mark.skipif(not has_bfloat16(torch.device("cpu")), reason="no instructions for bfloat16")
def test_bfloat16_does_not_show():
    photo = Photo.read(EXAMPLES / "cat.jpg")
    exact, near = (
        Pipeline.from_pretrained(device="cpu", dtype=dtype).restore(photo).pixels for dtype in ("float32", "auto")
    )
    assert psnr(near, exact).min() > 45 and not torch.equal(near, exact)


# How much a tile takes depends on the processor: the room shrinks until tiles of 1536 pixels do not fit in it.
LITTLE_MEMORY = """
import resource
import numpy as np, torch
torch.set_num_threads(1)
from bringback.images.photo import Photo
from bringback.pipeline import Pipeline

photo = Photo.from_array(np.random.default_rng(0).random((1600, 1000, 3), dtype=np.float32))
pipeline = Pipeline.from_pretrained(stages=["translate"], device="cpu", dtype="float32", scale=1, tile=1536)
pipeline.restore(Photo.from_array(np.ones((64, 64, 3), np.float32)))  # what torch takes at the first use
for room in (280, 250, 225, 200, 180, 162, 146, 131, 118, 106, 95, 86, 77, 69, 62):
    begin = int(open("/proc/self/status").read().partition("VmSize:")[2].split()[0]) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (begin + room * 1_000_000, -1))
    restored = pipeline.restore(photo)
    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
    if restored.tile is not None:
        break
print(restored.tile, pipeline.stages[0].tile, restored.notes["translate"]["mean_change"] > 0.01)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is one of Linux")
def test_a_photo_is_restored_when_memory_really_runs_out():
    command = [sys.executable, "-c", LITTLE_MEMORY]
    # a thread's first allocation may reserve an arena of 64 MB of addresses, which the limit counts as well
    one_arena = os.environ | {"MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=EXAMPLES.parents[1], timeout=120, env=one_arena)
    assert done.returncode == 0, done.stderr[-2000:]
    tile, own, changed = done.stdout.split()
    assert tile in ("768", "384", "192") and own == "1536" and changed == "True"


def test_a_gpu_is_told_to_let_go_too(monkeypatch, pixels):
    told = []
    monkeypatch.setattr(pipeline_module.torch.cuda, "empty_cache", lambda: told.append(True))
    assert Pipeline([Hungry(512)], compute="cuda").restore(Photo.from_array(pixels)).tile == 512
    assert told == [True]


@pytest.mark.parametrize("scale", [0.5, 0, -1, float("nan"), float("inf"), "large", None])
def test_a_wrong_scale_is_refused(scale):
    with pytest.raises(ValueError, match=r"^scale .*: wants auto, or 1 \(sharp to the pixel\) to 64$"):
        Pipeline([], scale=scale)


def test_the_scale_of_joined_pipelines():
    reader = NativeScale()
    parts = [Pipeline([], {"scale": "12"}, scale=reader), Pipeline([], {"tone": "34"})]
    assert Pipeline.joined(parts).scale is reader and Pipeline.joined(parts).weights == {"scale": "12", "tone": "34"}
    assert Pipeline.joined(parts, scale=3).scale == 3 and Pipeline.joined(parts, scale=3).weights == {"tone": "34"}
    assert Pipeline.joined([Pipeline([], scale=4)] * 2).scale == 4 and Pipeline.joined([]).scale == 1


def test_a_plan_without_a_scale_leaves_the_estimate_to_the_restoration(pixels, monkeypatch):
    monkeypatch.setattr(NativeScale, "of", lambda self, photo: 5.0)
    pipeline = Pipeline([], scale=NativeScale())
    photo = Photo.from_array(pixels)
    assert pipeline.restore(photo, plan=pipeline.plan(48, 64)).scale == 5
    assert pipeline.restore(photo, plan=pipeline.plan(48, 64, 2.0)).scale == 2
    assert pipeline.restore(photo).scale == 5 == pipeline.plan_for(photo).scale


def test_what_a_photo_is_under_sharp_marks_goes_to_the_stages_only_if_its_scale_is_estimated(pixels, monkeypatch):
    monkeypatch.setattr(NativeScale, "of", lambda self, photo: 1.4)
    monkeypatch.setattr("bringback.pipeline.under_marks", lambda photo, scale: 3.0 * scale)
    photo, pipeline = Photo.from_array(pixels), Pipeline([], scale=NativeScale())
    assert pipeline.plan_for(photo).softer == pytest.approx(4.2) == pipeline.restore(photo).softer
    assert pipeline.restore(photo, plan=pipeline.plan(48, 64)).softer == pytest.approx(4.2)
    assert Pipeline([], scale=2.0).restore(photo).softer is None


@pytest.mark.parametrize(("finds", "marked", "given"), [(False, True, 4.2), (False, False, 1.4), (True, True, 1.4)])
def test_a_mask_that_is_given_tells_what_is_under_its_marks_unless_the_detector_does(
    pixels, monkeypatch, finds, marked, given
):
    monkeypatch.setattr(NativeScale, "of", lambda self, photo: 1.4)
    monkeypatch.setattr("bringback.pipeline.under_marks", lambda photo, scale: 3.0 * scale)
    monkeypatch.setattr("bringback.stages.record.all_sharp_is_marked", lambda photo, mask: bool(marked and mask.any()))
    seen = []

    class Looks:
        name = "scratches" if finds else "fill"

        def __call__(self, restoration):
            seen.append(restoration.scale)
            return restoration

    photo, pipeline = Photo.from_array(pixels), Pipeline([Looks()], scale=NativeScale())
    pipeline.restore(photo, np.ones((48, 64), np.float32))
    pipeline.restore(photo)  # no mask tells nothing
    assert seen == pytest.approx([given, 1.4])


class Darken:
    """Halves all pixels, and wants to know where the picture is."""

    name, in_areas = "translate", True

    def __call__(self, restoration):
        restoration.pixels = restoration.pixels / 2
        return restoration


def test_what_is_around_a_picture_stays_as_it_came():
    framed = np.full((300, 340, 3), (240, 236, 225), np.uint8)
    framed[20:276, 40:296] = picture = data.astronaut()[::2, ::2] // 2 + 40
    pipeline = Pipeline([Darken()])
    (area,) = pipeline.areas(Photo.from_array(framed))
    assert area.box == (40, 20, 296, 276)
    restored = pipeline.restore(Photo.from_array(framed))
    assert restored.areas == (area,)
    result = restored.result().array()
    assert np.abs(result[20:276, 40:296] - picture / 2.0).max() <= 1
    result[20:276, 40:296] = picture
    assert np.array_equal(result, framed)
    mask = np.zeros((300, 340), np.float32)
    mask[:10, :10] = 1  # the visitor says that the border is damaged here
    result = pipeline(framed, mask)
    assert np.abs(result[:10, :10] - framed[:10, :10] / 2.0).max() <= 1
    assert np.array_equal(result[:, 300:], framed[:, 300:])
    assert Pipeline([]).areas(Photo.from_array(framed)) == ()  # nobody asks


def test_areas_by_hand_take_the_place_of_those_that_are_found():
    framed = np.random.default_rng(0).integers(4, 240, (60, 80, 3)).astype(np.uint8)
    pipeline = Pipeline([Darken()])
    boxes = [(5, 5, 35, 55), (40, 10, 75, 50)]
    made = pipeline(framed, areas=boxes)
    expected = framed.copy()
    for left, top, right, bottom in boxes:
        expected[top:bottom, left:right] = framed[top:bottom, left:right] // 2
    assert np.abs(made.astype(int) - expected).max() <= 1
    assert np.array_equal(made[:, :5], framed[:, :5]) and np.array_equal(made[:, 35:40], framed[:, 35:40])
    whole, cut, found = pipeline([framed] * 3, areas=["all", boxes[:1], None])
    assert (whole <= 120).all() and np.array_equal(cut[:, 35:], framed[:, 35:])
    assert np.array_equal(found, pipeline(framed)) and np.array_equal(pipeline([framed], areas="all")[0], whole)
    oval = Area(((10.0, 10.0), (70.0, 10.0), (70.0, 50.0), (10.0, 50.0)), (30.0, 20.0))
    made, changed = pipeline(framed, areas=[oval]), np.zeros((60, 80), bool)
    changed[10:50, 10:70] = oval.inside()[0, 0].numpy()
    assert np.array_equal(made[~changed], framed[~changed]) and (made[changed] < framed[changed]).all()
    with pytest.raises(PhotoError, match="reaches beyond the photo of 80x60 pixels"):
        pipeline(framed, areas=[(0, 0, 81, 60)])
    with pytest.raises(PhotoError, match="areas of 2 photos for 1"):
        pipeline([framed], areas=boxes)


def test_a_gray_picture_on_a_colored_page_stays_gray():
    page = np.full((300, 340, 3), (120, 60, 40), np.uint8)
    page[20:276, 40:296] = data.camera()[::2, ::2, None]
    seen = []

    class Look(Darken):
        def __call__(self, restoration):
            seen.append(restoration.tint is not None)
            restoration.pixels = restoration.pixels * restoration.pixels.new_tensor((1.0, 0.9, 0.8)).view(3, 1, 1)
            return restoration

    result = Pipeline([Look()])(page)
    assert seen == [True] and np.ptp(result[20:276, 40:296].astype(int), axis=2).max() <= 2
    assert np.array_equal(result[:, 300:], page[:, 300:])


def test_color_painted_on_a_gray_picture_comes_back():
    picture = np.repeat(data.camera()[..., None], 3, 2)
    picture[100:110, 100:120] = 190, 80, 90
    result = Pipeline([Darken()])(picture).astype(int)
    chroma = result - result[..., 1:2]
    assert chroma[105, 110, 0] > 60 and np.abs(chroma[200:]).max() == 0
    mask = np.zeros((512, 512), np.float32)
    mask[95:115, 95:125] = 1
    result = Pipeline([bringback.HoleFiller(method="telea")])(picture, mask)
    assert np.ptp(result.astype(int), axis=2).max() == 0


def test_a_negative_is_left_alone_or_inverted_first():
    negative = 255 - data.astronaut()[:300, 100:400]

    class Same(torch.nn.Module):
        def forward(self, crops, filled):
            return crops

    faces = bringback.FaceRefiner(Same())
    photos = [Photo.from_array(picture) for picture in (negative, 255 - negative)]
    left, restored = Pipeline([faces, Darken()]).restore_many(photos, [None, None])
    assert np.array_equal(left.result().array(), negative) and "--negative" in left.warnings[0] and not left.notes
    assert not restored.warnings and restored.pixels.mean() < 0.6 * photos[1].pixels.mean()
    positive = Pipeline([], negative=True)(negative).astype(float)
    assert np.abs(positive - (255 - negative)).mean() < 12
    orange = (negative * (0.9, 0.6, 0.35) + (20, 10, 5)).astype(np.uint8)
    assert np.abs(Pipeline([], negative=True)(orange) - positive).mean() < 6


def test_what_things_say_they_are(pixels, lighten):
    photo = Photo.from_array(np.dstack([pixels, pixels[..., 0]]).astype(np.uint16) * 257)
    assert repr(photo) == "<Photo of 64x48 pixels: PNG, color with alpha, 16 bits>"
    pipeline = Pipeline([bringback.HoleFiller(method="telea"), lighten], strength=0.5)
    assert repr(pipeline) == "<Pipeline of fill, tone on cpu in float32: strength 0.5, scale 1>"
    assert repr(pipeline.stages[0]) == "<HoleFiller on cpu in float32: method telea>"
    assert repr(pipeline.restore(photo)) == f"<Restoration of {photo!r} after fill, tone>"
    shipped = Pipeline.from_pretrained(device="cpu", dtype="bfloat16")
    assert repr(shipped).endswith(" on cpu in bfloat16: strength 1, scale auto>")
    assert all(repr(stage).startswith(f"<{type(stage).__name__} on cpu in bfloat16") for stage in shipped.stages)


class Tiled:
    """Notes in `seen` the photo's height, and its own tile at the beginning and the end."""

    name, tile, compute = "fill", 512, Compute()

    def __init__(self, seen):
        self.seen = seen

    def __call__(self, restoration):
        before = self.tile
        time.sleep(0.005)
        self.seen.append((restoration.photo.pixels.shape[0], before, self.tile))
        return restoration


def test_threads_share_a_pipeline():
    """What one photo changes in the stages, another one does not see."""
    seen = []
    stage = Tiled(seen)
    pipeline = Pipeline([stage])
    plans = {8: 128, 16: 256, 24: None}

    def restore(side):
        photo = Photo.from_array(np.zeros((side, side, 3), np.uint8))
        return pipeline.restore(photo, plan=replace(pipeline.plan(side, side, 1.0), tile=plans[side]))

    with ThreadPool(3) as pool:
        pool.map(restore, [8, 16, 24] * 4)
    assert stage.tile == 512 and sorted(set(seen), key=str) == [(16, 256, 256), (24, 512, 512), (8, 128, 128)]


def test_pipelines_of_the_same_stages_wait_for_each_other():
    seen = []
    one, other = Tiled(seen), Tiled(seen)
    parts = [Pipeline([one]), Pipeline([other])]
    pipelines = [
        *parts,
        Pipeline.joined(parts),
        Pipeline.joined(parts[::-1]),
        Pipeline.joined([Pipeline.joined(parts)]),
    ]
    photo = Photo.from_array(np.zeros((8, 8, 3), np.uint8))

    def restore(number):
        pipeline, tile = pipelines[number % 5], (None, 128, 256)[number % 3]
        return pipeline.restore(photo, plan=replace(pipeline.plan(8, 8, 1.0), tile=tile))

    with ThreadPool(5) as pool:
        pool.map(restore, range(15), chunksize=1)
    assert (
        (one.tile, other.tile) == (512, 512) and len(seen) == 24 and all(before == after for _, before, after in seen)
    )


def test_pipelines_are_copied_and_pickled(pixels):
    tone = Pipeline.from_pretrained(stages=["tone"], device="cpu", scale=1)
    again = pickle.loads(pickle.dumps(tone))
    np.testing.assert_array_equal(again(pixels), tone(pixels))
    shipped = Pipeline.from_pretrained(device="cpu")
    deep, shallow = copy.deepcopy(shipped), copy.copy(shipped)
    assert repr(deep) == repr(shipped) and deep.stages[0] is not shipped.stages[0]
    assert deep._turns[0] is not shipped._turns[0]
    assert shallow.stages[0] is shipped.stages[0] and shallow._turns == shipped._turns  # so they wait for each other
    with deep._one_at_a_time():
        pass
