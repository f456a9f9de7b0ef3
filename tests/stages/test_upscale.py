"""Enlarging: the sizes that are asked for, tiles that agree, gray and tints kept, everything that follows the photo."""

import json
import struct
from io import BytesIO
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from skimage import data
from torch import Tensor, nn

from bringback.batch.runner import restore_folder
from bringback.errors import CodecError, MissingWeights
from bringback.images import jpeg, xmp
from bringback.images.photo import Photo
from bringback.models.upscale import UpscaleNet, doubled
from bringback.ops.areas import Area
from bringback.ops.color import luminance
from bringback.pipeline import Pipeline
from bringback.runtime.compute import Compute
from bringback.stages.faces.alignment import EYES, NOSE_BASE
from bringback.stages.record import Face, Restoration
from bringback.stages.run import finalize
from bringback.stages.upscale import Upscaler
from bringback.weights.foreign import ForeignUpscaler


def restless(width: int = 8) -> UpscaleNet:
    """A network that adds something everywhere."""
    torch.manual_seed(0)
    network = UpscaleNet(width=width, blocks=1).eval()
    nn.init.normal_(network.head.weight, std=0.05)
    return network.requires_grad_(False)


class Reddened(nn.Module):
    """What spandrel makes of a file: enlarges three times, and gives everything a color."""

    def forward(self, pixels: Tensor) -> Tensor:
        red = torch.tensor([1.0, 0.8, 0.8]).view(1, 3, 1, 1)
        return F.interpolate(pixels, scale_factor=3.0, mode="nearest") * red


def foreign() -> ForeignUpscaler:
    architecture = SimpleNamespace(name="Reddened")
    model = Reddened()

    class Descriptor(SimpleNamespace):
        def __call__(self, pixels: Tensor) -> Tensor:
            return model(pixels)

    described = Descriptor(model=model, scale=3, architecture=architecture, supports_bfloat16=False)
    return ForeignUpscaler(described, "red.pth", sha256="ab" * 32)


def test_a_fresh_network_is_the_bicubic_enlargement() -> None:
    photo = torch.rand(2, 3, 13, 18)
    assert torch.equal(UpscaleNet()(photo), doubled(photo))


def test_the_network_adds_luminance_alone_and_any_size_will_do() -> None:
    photo = torch.rand(1, 3, 15, 22)
    made, plain = restless()(photo), doubled(photo)
    assert made.shape == (1, 3, 30, 44)
    change = made - plain
    assert change.abs().mean() > 0.01
    assert torch.allclose(change, change[:, :1].expand_as(change), atol=1e-6)


@pytest.mark.parametrize(
    ("given", "size"),
    [({}, (82, 126)), ({"factor": 1.3}, (53, 82)), ({"factor": 4}, (164, 252)), ({"side": 100}, (65, 100))],
)
def test_the_size_is_what_was_asked_for(given: dict, size: tuple[int, int]) -> None:
    stage = Upscaler(restless(), **given)
    assert stage.size(41, 63) == size
    assert stage.upscale(torch.rand(2, 3, 41, 63)).shape == (2, 3, *size)


def test_what_cannot_be_is_told() -> None:
    for given in ({"factor": 1}, {"factor": 4.1}, {"factor": float("nan")}, {"side": 0}, {"factor": 2, "side": 100}):
        with pytest.raises(ValueError, match=r"enlarg"):
            Upscaler(restless(), **given)
    with pytest.raises(ValueError, match="settings of the stage 'upscale'"):
        Upscaler.from_pretrained(sharpness=3)


@pytest.mark.parametrize("factor", [2, 4])
def test_tiles_put_together_are_the_whole(factor: int) -> None:
    photo = torch.rand(1, 3, 230, 141)
    network = restless()
    whole = Upscaler(network, factor=factor).upscale(photo)
    tiled = Upscaler(network, Compute(tile=160), factor=factor).upscale(photo)
    assert (whole - tiled).abs().max() < 1e-5


def test_kinds_of_pictures_are_kept(pixels: np.ndarray) -> None:
    stage = Upscaler(restless())
    assert stage.upscale(pixels).shape == (96, 128, 3) and stage.upscale(pixels).dtype == np.uint8
    gray = np.ascontiguousarray(pixels[..., :1])
    assert stage.upscale(gray).shape == (96, 128, 1)
    image = stage.upscale(Image.fromarray(pixels).convert("LA"))
    assert image.mode == "LA" and image.size == (128, 96)


def everything(pixels: np.ndarray, kind: type = np.uint16) -> Photo:
    deep = pixels.astype(kind) * (257 if kind is np.uint16 else 1)
    alpha = np.linspace(0, np.iinfo(kind).max, deep[..., 0].size).reshape(deep.shape[:2]).astype(kind)
    made = Photo.from_array(np.dstack([deep, alpha]))
    exif = Image.Exif()
    exif[282], exif[283], exif[296] = 300.0, 150.0, 2
    exif.get_ifd(0x8769).update({0xA002: 64, 0xA003: 48})
    info = {"exif": exif.tobytes(), "dpi": (300.0, 150.0)}
    return Photo(**{name: getattr(made, name) for name in ("pixels", "alpha", "bit_depth")}, **info, format="TIFF")


def test_everything_in_a_file_follows(pixels: np.ndarray) -> None:
    made = Pipeline([Upscaler(restless())])(everything(pixels))
    again = Photo.decode(made.encode(), "photo.tif")
    assert again.bit_depth == 16 and again.pixels.shape == (96, 128, 3)
    assert again.alpha is not None and again.alpha.shape == (96, 128)
    assert again.alpha[0, 0] < 0.02 and again.alpha[-1, -1] > 0.98
    assert again.dpi == (600, 300)  # as many inches as before
    exif = Image.Exif()
    exif.load(made.exif)
    assert (exif[282], exif[283]) == (600, 300)
    inner = exif.get_ifd(0x8769)
    assert (inner[0xA002], inner[0xA003]) == (128, 96)


XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/"
 xmlns:mwg-rs="http://www.metadataworkinggroup.com/schemas/regions/"
 xmlns:stDim="http://ns.adobe.com/xap/1.0/sType/Dimensions#" xmlns:stArea="http://ns.adobe.com/xmp/sType/Area#"
 tiff:XResolution="3000000/10000" tiff:YResolution="150/1" exif:PixelXDimension="64" exif:PixelYDimension="48">
<mwg-rs:Regions rdf:parseType="Resource"><mwg-rs:AppliedToDimensions stDim:w="64" stDim:h="48" stDim:unit="pixel"/>
<mwg-rs:RegionList><rdf:Bag><rdf:li><rdf:Description>
<mwg-rs:Area stArea:x="0.5" stArea:y="0.25" stArea:w="0.1" stArea:h="0.2" stArea:unit="normalized"/>
</rdf:Description></rdf:li><rdf:li><rdf:Description>
<mwg-rs:Area stArea:x="32" stArea:y="12" stArea:w="6" stArea:h="10" stArea:unit="pixel"/>
</rdf:Description></rdf:li></rdf:Bag></mwg-rs:RegionList></mwg-rs:Regions></rdf:Description></rdf:RDF></x:xmpmeta>"""


def test_xmp_tells_of_the_larger_picture() -> None:
    made = xmp.resized(XMP, (64, 48), (96, 96)).decode()
    for told in ('XResolution="450/1"', 'YResolution="300/1"', 'XDimension="96"', 'YDimension="96"'):
        assert told in made
    assert 'stDim:w="96" stDim:h="96"' in made
    assert 'stArea:x="0.5" stArea:y="0.25" stArea:w="0.1" stArea:h="0.2"' in made
    assert 'stArea:x="48" stArea:y="24" stArea:w="9" stArea:h="20"' in made
    assert xmp.resized(b"none of it", (1, 1), (2, 2)) == b"none of it"


def test_photoshops_word_of_the_resolution_follows() -> None:
    told = struct.pack(">IHHIHH", 300 << 16, 1, 1, 150 << 16, 1, 1)
    caption = b"8BIM\x04\x04\0\0" + struct.pack(">I", 3) + b"abc\0"
    blocks = caption + b"8BIM\x03\xed\0\0" + struct.pack(">I", len(told)) + told + b"rest"
    segment = b"Photoshop 3.0\0" + blocks
    whole = struct.pack(">BBH", 0xFF, 0xED, len(segment) + 2) + segment
    made = jpeg.with_resolution(whole, 2, 3)
    assert len(made) == len(whole) and caption in made and made.endswith(b"rest")
    assert struct.pack(">IHHIHH", 600 << 16, 1, 1, 450 << 16, 1, 1) in made
    assert jpeg.with_resolution(b"", 2, 2) == b""


def test_what_a_format_has_no_room_for_is_told() -> None:
    wide = Photo(np.zeros((1, 16_384, 3), np.float32), format="WEBP")
    with pytest.raises(CodecError, match="WEBP holds 16383 pixels a side, not 16384x1: name another format"):
        wide.encode()


def test_a_profile_keeps_its_colors(pixels: np.ndarray) -> None:
    photo = Photo.from_array(pixels)
    wide = Photo(pixels=photo.pixels, levels=pixels, icc=None, format="TIFF")
    made = Pipeline([Upscaler(restless())])(wide)
    assert made.levels.shape == (96, 128, 3) and made.levels.dtype == np.uint8


def test_mask_areas_and_faces_follow(pixels: np.ndarray) -> None:
    mask = np.zeros((48, 64), np.float32)
    mask[10:20, 30:40] = 1
    record = Restoration.start(Photo.from_array(pixels), mask)
    record.faces = [Face((8, 4, 24, 20), np.array([[10.0, 6.0]] * 5))]
    torn = torch.zeros(1, 1, 40, 60, dtype=torch.bool)
    torn[..., :10, :] = True
    record.areas = (Area(((2, 4), (62, 4), (62, 44), (2, 44)), missing=torn),)
    made = Upscaler(restless(), side=128)(record)
    assert made.mask.shape == (1, 1, 96, 128)
    assert made.mask[0, 0, 30, 70] == 1 and made.mask[0, 0, 60, 70] == 0
    assert made.faces[0].box == (16, 8, 48, 40)
    assert made.faces[0].points[0].tolist() == [20.5, 12.5]
    assert made.areas[0].box == (4, 8, 124, 88) and made.frame().shape == (1, 1, 96, 128)
    assert made.areas[0].missing[..., :20, :].all() and not made.areas[0].missing[..., 20:, :].any()
    assert made.notes["upscale"] == {"width": 128, "height": 96, "factor": 2.0}


def test_it_is_the_last_stage_and_enlarges_the_finished_photo(lighten, redden, pixels: np.ndarray) -> None:
    gray = np.repeat(pixels[..., :1], 3, axis=2)
    sepia = (gray * [1.0, 0.85, 0.7]).astype(np.uint8)
    up = Upscaler(restless())
    pipeline = Pipeline([up, lighten, redden])
    assert [stage.name for stage in pipeline.stages] == ["tone", "translate", "upscale"]
    made = pipeline(gray)
    assert made.shape == (96, 128, 3) and np.ptp(made, axis=2).max() == 0
    steps = Pipeline([up])(Pipeline([lighten, redden], strength=0.5)(Photo.from_array(sepia)))
    both = Pipeline([lighten, redden, up], strength=0.5)(Photo.from_array(sepia))
    assert np.abs(steps.pixels - both.pixels).max() < 1e-5
    warm = both.pixels[..., 0] - both.pixels[..., 2]
    assert warm.mean() > 0.05


def test_the_plan_knows_the_larger_photo() -> None:
    plain, twice, four = (
        Pipeline([Upscaler(restless(), factor=factor)] if factor else []).plan(1000, 1500).peak for factor in (0, 2, 4)
    )
    assert twice - plain > 4 * 1.5e6 * 19 - 1.5e6 * 19 - 1
    assert four - plain > 16 * 1.5e6 * 30
    tight = Compute(memory=Pipeline([Upscaler(restless(), factor=2)]).plan(500, 500).peak - 1)
    small = Pipeline([Upscaler(restless(), tight, factor=2)], compute=tight)
    assert small.plan(500, 500).tile is not None
    with pytest.raises(ValueError, match="restore a smaller copy"):
        small.plan(6000, 6000)


def test_photos_that_are_large_already_stay_and_small_ones_are_told(pixels: np.ndarray) -> None:
    stage = Upscaler(restless(), side=64)
    kept = stage(Restoration.start(Photo.from_array(pixels)))
    assert kept.pixels.shape[-2:] == (48, 64) and "kept" in kept.notes["upscale"]
    made = Upscaler(restless(), side=1000)(Restoration.start(Photo.from_array(pixels)))
    assert made.pixels.shape[-2:] == (192, 256)
    assert made.warnings == ["enlarged to 256 pixels, not to 1000: 4 times are the most"]


def test_a_folder_is_enlarged_with_strips_and_a_manifest(tmp_path: Path, pixels: np.ndarray) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(pixels).save(tmp_path / "in" / "a.jpg", dpi=(200, 200), quality=95)
    pipeline = Pipeline([Upscaler(restless(), factor=1.5)], settings={"upscale": {"factor": 1.5}})
    (entry,) = restore_folder([tmp_path / "in"], tmp_path / "out", pipeline, compare=True, review=tmp_path / "look")
    assert entry["status"] == "done", entry["message"]
    assert entry["stages"]["upscale"] | {"seconds": 0} == {"width": 96, "height": 72, "factor": 1.5, "seconds": 0}
    assert entry["settings"]["upscale"] == {"factor": 1.5}
    with Image.open(tmp_path / "out" / "a.jpg") as made:
        assert made.size == (96, 72) and made.info["dpi"] == (300, 300)
    with Image.open(tmp_path / "out" / "compare" / "a.jpg.png") as strip:
        assert strip.size == (96 * 2 + 8, 72)
    lines = (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["settings"]["stages"] == ["upscale"]
    (again,) = restore_folder([tmp_path / "in"], tmp_path / "out", pipeline, compare=True, review=tmp_path / "look")
    assert again["status"] == "skipped"


def test_the_same_photo_gives_the_same_bytes() -> None:
    photo = Photo.from_array(np.ascontiguousarray(data.camera()[:90, :120]))
    pipeline = Pipeline([Upscaler(restless(), factor=3)])
    one, other = (pipeline(photo).encode() for _ in range(2))
    assert one == other
    with Image.open(BytesIO(one)) as made:
        assert made.mode == "L" and made.size == (360, 270)


def test_another_programs_network_gives_gray_no_color_and_is_named(pixels: np.ndarray) -> None:
    stage = Upscaler(foreign())
    assert stage.factor == 3 and stage.hashes == {"upscale": "ab" * 32}
    assert stage.about == "red.pth: Reddened, 3 times, license unknown"
    gray = np.repeat(pixels[..., :1], 3, axis=2)
    made = Pipeline([stage]).restore(Photo.from_array(gray))
    assert made.pixels.shape == (1, 3, 144, 192)
    assert (made.pixels - luminance(made.pixels)).abs().max() < 1e-5
    note = {"model": "red.pth", "architecture": "Reddened", "scale": 3, "license": "unknown"}
    assert note.items() <= made.notes["upscale"].items()
    color = Pipeline([stage])(pixels)
    assert color[..., 0].mean() > 1.1 * color[..., 1].mean()
    assert Upscaler(foreign(), factor=4).upscale(pixels).shape == (192, 256, 3)  # twice, then shrunk


def test_files_that_are_no_models_are_told_in_one_line(tmp_path: Path, torchvision: ModuleType) -> None:
    pytest.importorskip("spandrel")
    with pytest.raises(MissingWeights, match="no such file"):
        ForeignUpscaler.read(tmp_path / "none.pth")
    for name, content in (("a.txt", b"x"), ("a.pth", b"x"), ("a.safetensors", b"x")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(MissingWeights, match=name) as caught:
            ForeignUpscaler.read(tmp_path / name)
        assert len(str(caught.value).splitlines()) == 1
    save_file({"w": torch.zeros(3)}, tmp_path / "b.safetensors")
    with pytest.raises(MissingWeights, match="spandrel does not know this model"):
        ForeignUpscaler.read(tmp_path / "b.safetensors")


def test_a_model_that_spandrel_knows_enlarges(tmp_path: Path, torchvision: ModuleType, pixels: np.ndarray) -> None:
    pytest.importorskip("spandrel")
    from spandrel.architectures.Compact import Compact

    network = Compact(num_feat=8, num_conv=1, upscale=2)
    save_file(network.state_dict(), tmp_path / "own.safetensors", {"modelspec.license": "MIT"})
    torch.save({"params_ema": network.state_dict()}, tmp_path / "own.pth")
    made = []
    for name, license in (("own.safetensors", "MIT"), ("own.pth", "unknown")):
        settings = {"upscale": {"model": str(tmp_path / name)}}
        pipeline = Pipeline.from_pretrained(stages=["upscale"], settings=settings, dtype="float32", device="cpu")
        assert pipeline.stages[0].about.endswith(f"2 times, license {license}")
        assert len(pipeline.weights["upscale"]) == 64
        made.append(pipeline(pixels))
    assert made[0].shape == (96, 128, 3) and np.array_equal(*made)


def small_face() -> tuple[Restoration, torch.Tensor]:
    """A face at a quarter of the size of its refined crop, and the photo as it should become."""
    truth = torch.from_numpy(np.ascontiguousarray(data.astronaut()[:256, 90:346]) / np.float32(255))
    truth = truth.permute(2, 0, 1)[None]
    record = Restoration.start(Photo.from_array(F.avg_pool2d(truth, 4)[0].permute(1, 2, 0).numpy()))
    points = (np.array([EYES[0], EYES[0], EYES[1], EYES[1], NOSE_BASE]) + 0.5) / 4 - 0.5
    record.faces = [Face((15, 15, 50, 50), points, light=luminance(truth)[0, 0].half().numpy())]
    return record, truth


def test_small_faces_get_the_detail_of_their_crops() -> None:
    stage, (record, truth) = Upscaler(restless(), factor=4), small_face()
    plain = stage.upscale(record.pixels)
    made = stage(record).pixels
    middle = (..., slice(100, 190), slice(80, 176))
    before, after = ((luminance(one) - luminance(truth))[middle].square().mean() for one in (plain, made))
    assert after < 0.4 * before
    assert torch.equal(made[..., :20, :], plain[..., :20, :])
    change = made - plain
    assert (change - luminance(change))[middle].abs().mean() < 1e-3  # colors only where cut off


def test_faces_in_the_frame_and_blended_ones_are_enlarged_like_the_rest() -> None:
    stage, (record, _) = Upscaler(restless(), factor=4), small_face()
    plain = stage.upscale(record.pixels)
    record.areas = (Area(((0, 0), (64, 0), (64, 10), (0, 10))),)
    assert torch.equal(stage(record).pixels, plain)
    record, _ = small_face()
    finalize(record, 0.5)
    assert torch.equal(stage(record).pixels, plain)


def test_a_network_that_is_learning_puts_faces_in_too() -> None:
    record, _ = small_face()
    made = Upscaler(UpscaleNet(), factor=4)(record).pixels
    assert made.shape == (1, 3, 256, 256) and not made.requires_grad


def test_no_frame_is_made_for_photos_without_refined_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    record, _ = small_face()
    record.faces[0].light = None
    monkeypatch.setattr(Restoration, "frame", lambda _: pytest.fail("takes 80 MB for a large photo"))
    assert Upscaler(restless())(record).pixels.shape[-2:] == (128, 128)
