"""Our weights in spandrel's own loader: told from all others, read off their shapes, the numbers of our stages."""

import inspect
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import torch
from conftest import TINY
from safetensors.torch import load_file, save_file
from skimage import data
from torch import Tensor, nn

from bringback import Pipeline
from bringback.errors import PhotoError
from bringback.models import registry as shapes
from bringback.models.registry import ALONE, MODELS, is_of, parts
from bringback.stages.faces.detector import FaceFinder
from bringback.stages.faces.stage import FaceRefiner
from bringback.stages.scratches import ScratchDetector
from bringback.stages.upscale import Upscaler
from bringback.weights.checkpoints import MissingWeights, save_network

SHIPPED = Path(__file__).parents[2] / "checkpoints"
STAGES = ["scratches", "relight", "tone", "fill", "translate"]


@pytest.fixture(scope="module")
def ours(torchvision: ModuleType) -> ModuleType:
    """The bridge, installed; spandrel imports torchvision."""
    pytest.importorskip("spandrel")
    bridge = import_module("bringback.integrations.spandrel")
    bridge.install()
    return bridge


@pytest.fixture(scope="module")
def loader(ours: ModuleType) -> object:
    return ours.spandrel.ModelLoader()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of checkpoints of tiny networks that do something."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tiny")
    for name, config in TINY.items():
        sizes = {**config, "channels": TINY["old_vae"]["channels"]} if name == "mapping" else config
        save_network(random_network(name, sizes), folder / name, compact=name in ("scratches", "colorize"))
    return folder


def random_network(name: str, config: dict) -> nn.Module:
    """A network none of whose layers is silent, as most begin."""
    network = MODELS[name].network(**config).eval()
    for parameter in network.parameters():
        parameter.data.add_(0.02 * torch.randn_like(parameter))
    return network


def picture(height: int, width: int) -> Tensor:
    photo = torch.from_numpy(data.astronaut()[:height, 100 : 100 + width].copy())
    return photo.permute(2, 0, 1)[None].float() / 255


def ids(ours: ModuleType, state: dict) -> list[str]:
    """The architectures that say a state dict is theirs."""
    return [arch.architecture.id for arch in ours.spandrel.MAIN_REGISTRY if arch.detect(state)]


def test_a_second_install_changes_nothing_and_another_registry_is_left_alone(ours: ModuleType) -> None:
    registry = ours.spandrel.ArchRegistry()
    ours.install(registry)
    assert len(registry) == 2 + len(ALONE)
    before = len(ours.spandrel.MAIN_REGISTRY)
    ours.install()
    assert len(ours.spandrel.MAIN_REGISTRY) == before


@pytest.mark.parametrize("name", ALONE)
def test_shipped_weights_are_ours_and_nobody_elses(name: str, ours: ModuleType, loader: object) -> None:
    path = SHIPPED / name / "model.safetensors"
    assert ids(ours, loader.load_state_dict_from_file(path)) == [f"bringback-{name}"]
    model = loader.load_from_file(path)
    assert model.dtype == torch.float32 and not model.model.training
    assert model.scale == (2 if name == "upscale" else 1)
    with pytest.raises(ours.spandrel.UnsupportedDtypeError):
        model.half()


def test_the_networks_that_spandrel_knows_are_not_ours(ours: ModuleType) -> None:
    tried = 0
    for arch in ours.spandrel.MAIN_REGISTRY:
        if arch.architecture.id.startswith("bringback"):
            continue
        module = import_module(f"spandrel.architectures.{arch.architecture.id}")
        for name in module.__all__:
            kind = getattr(module, name)
            if not (inspect.isclass(kind) and issubclass(kind, nn.Module)):
                continue
            try:
                with torch.device("meta"):
                    state = kind().state_dict()
            except Exception:  # what computes while it is built, or has no defaults
                continue
            tried += 1
            assert not any(found.startswith("bringback") for found in ids(ours, state)), name
    assert tried > 20
    assert ids(ours, {}) == []


def test_a_detector_gives_the_mask_of_our_stage_at_odd_sizes(ours: ModuleType, loader: object) -> None:
    model = loader.load_from_file(SHIPPED / "scratches" / "model.safetensors")
    assert isinstance(model, ours.spandrel.ImageModelDescriptor) and model.output_channels == 1
    stage = ScratchDetector.from_pretrained(device="cpu", dtype="float32")
    for size in ((90, 77), (1, 5)):
        found = model(picture(*size))
        assert found.shape == (1, 1, *size) and torch.equal(found, stage.detect(picture(*size)))


def test_a_face_refiner_takes_aligned_crops(ours: ModuleType, loader: object) -> None:
    model = loader.load_from_file(SHIPPED / "faces" / "model.safetensors")
    crop = picture(256, 256)
    refiner = FaceRefiner.from_pretrained(device="cpu", dtype="float32", aligned=True)
    assert model.purpose == "FaceSR" and not torch.equal(model(crop), crop)
    assert torch.equal(model(crop), refiner.refine(crop))
    assert model(crop[..., :200, :190]).shape == (1, 3, 200, 190)  # spandrel fills it up
    with pytest.raises(PhotoError, match="256x256 pixels"):
        model(picture(300, 300))


def test_dlib_is_loaded_once(ours: ModuleType, tiny: Path, monkeypatch: pytest.MonkeyPatch, loader: object) -> None:
    finders = []

    class Counted(FaceFinder):
        def __init__(self) -> None:
            finders.append(self)
            super().__init__()

    monkeypatch.setattr("bringback.stages.faces.stage.FaceFinder", Counted)
    ours.save_merged(tiny / "portraits.safetensors", tiny, ["tone", "faces"])
    model = loader.load_from_file(tiny / "portraits.safetensors")
    assert torch.equal(model(picture(40, 40)), model(picture(40, 40))) and len(finders) == 1


def test_the_network_that_enlarges_is_one_that_enlarges(loader: object) -> None:
    model = loader.load_from_file(SHIPPED / "upscale" / "model.safetensors")
    image = picture(61, 45)
    assert (model.purpose, model.scale) == ("SR", 2)
    assert torch.equal(model(image), Upscaler.from_pretrained(device="cpu", dtype="float32").upscale(image))


@pytest.mark.parametrize(("name", "size"), [("relight", (61, 45)), ("colorize", (61, 45)), ("tone", (40, 33))])
def test_one_shipped_network_is_the_pipeline_of_its_stage(name: str, size: tuple[int, int], loader: object) -> None:
    pipeline = Pipeline.from_pretrained(stages=[name], device="cpu", dtype="float32")
    gray = picture(*size).mean(1, keepdim=True).expand(-1, 3, -1, -1) / 3
    for image in (gray, picture(*size) / 3):
        assert torch.equal(loader.load_from_file(SHIPPED / name / "model.safetensors")(image), pipeline(image))


def test_merged_shipped_weights_are_the_shipped_pipeline(ours: ModuleType, loader: object, tmp_path: Path) -> None:
    ours.save_merged(tmp_path / "all.safetensors")
    assert ids(ours, load_file(tmp_path / "all.safetensors")) == ["bringback-restore"]
    model = loader.load_from_file(tmp_path / "all.safetensors")
    image = picture(131, 95)
    restored = model(image)
    assert torch.equal(restored, Pipeline.from_pretrained(device="cpu", dtype="float32")(image))
    assert not torch.equal(restored, image)


def test_without_a_detector_it_takes_a_mask(ours: ModuleType, loader: object, tmp_path: Path) -> None:
    ours.save_merged(tmp_path / "fill.safetensors", stages=["fill", "translate"])
    assert ids(ours, load_file(tmp_path / "fill.safetensors")) == ["bringback-inpaint"]
    model = loader.load_from_file(tmp_path / "fill.safetensors")
    assert isinstance(model, ours.spandrel.MaskedImageModelDescriptor) and model.purpose == "Inpainting"
    image, mask = picture(70, 51), torch.zeros(1, 1, 70, 51)
    mask[..., 20:30, 10:40] = 1
    spoilt = torch.where(mask > 0, 1.0, image)
    restored = model(spoilt, mask)
    ours_too = Pipeline.from_pretrained(stages=["fill", "translate"], device="cpu", dtype="float32")
    assert torch.equal(restored, ours_too(spoilt, mask))
    assert (restored - image)[..., 20:30, 10:40].abs().mean() < 0.5 * (spoilt - image)[..., 20:30, 10:40].abs().mean()


def test_any_family_of_networks_is_merged(ours: ModuleType, loader: object, tiny: Path, tmp_path: Path) -> None:
    """Sizes, compact kernels, half precision, sides of thumbnails, and the order of the stages."""
    ours.save_merged(tmp_path / "tiny.safetensors", tiny, [*reversed(STAGES)])
    image = picture(64, 48)
    pipeline = Pipeline.from_pretrained(tiny, stages=STAGES, device="cpu", dtype="float32")
    assert torch.equal(loader.load_from_file(tmp_path / "tiny.safetensors")(image), pipeline(image))


def test_what_cannot_be_merged_is_one_line(ours: ModuleType, tiny: Path, tmp_path: Path) -> None:
    for stages, name in ((["translate", "prior"], "prior"), (["upscale"], "upscale"), (["fill"], "fill"), ([], "fill")):
        with pytest.raises(ValueError, match=f"no weights to merge of {name}: name some of scratches"):
            ours.save_merged(tmp_path / "none.safetensors", tiny, stages)
    vae = random_network("old_vae", TINY["old_vae"])
    mapping = random_network("mapping", {**TINY["mapping"], "channels": TINY["old_vae"]["channels"]})
    mapping.tie(old_vae=save_network(vae, tmp_path / "w" / "old_vae"), clean_vae="0" * 64)
    save_network(vae, tmp_path / "w" / "clean_vae")
    save_network(mapping, tmp_path / "w" / "mapping")
    with pytest.raises(MissingWeights, match="not the clean_vae that the mapping was trained with"):
        ours.save_merged(tmp_path / "none.safetensors", tmp_path / "w")
    assert not (tmp_path / "none.safetensors").exists()


GRID = [
    ("scratches", {"widths": [4]}),
    ("scratches", {"widths": [4, 6, 8, 10], "core": 0}),
    ("colorize", {"widths": [8, 6], "core": 3}),
    ("relight", {"look": 2, "knots": 5, "width": 6, "blocks": 3}),
    ("upscale", {"width": 6, "blocks": 4}),
    ("tone", {"width": 3, "hidden": 7, "knots": 4}),
    ("tone", {"width": 3, "judges": 2}),
    ("old_vae", {"channels": 50, "blocks": 3}),
    ("old_vae", {"channels": 13, "blocks": 1, "stride": 2}),
    ("mapping", {"channels": 9, "widths": [4, 5], "blocks": [2, 1], "inner": 3}),
    ("mapping", {"channels": 9, "widths": [4, 5, 6, 7], "blocks": [1, 2, 3, 1], "inner": 2}),
    ("faces", {"widths": [24, 16], "blocks": [1, 12], "hidden": 5}),
    *TINY.items(),
]


@pytest.mark.parametrize(("name", "config"), GRID)
def test_sizes_are_read_off_the_shapes(name: str, config: dict, tmp_path: Path) -> None:
    save_network(random_network(name, config), tmp_path, compact=True)
    state = load_file(tmp_path / "model.safetensors")
    side = {"side": torch.tensor(config["side"])} if "side" in config else {}
    told = MODELS[name].config(state | side)
    assert {key: told[key] for key in config} == config
    assert {key: value.shape for key, value in MODELS[name].network(**told).state_dict().items()} == {
        key: value.shape for key, value in state.items() if not key.endswith(":scale")
    }
    assert [other for other in ALONE if is_of(state, other)] == [name] * (name in ALONE)
    assert (name in parts({f"{name}.{key}": value for key, value in state.items()})) == (name in (*ALONE, "scale"))


def test_half_of_a_translation_or_a_stranger_beside_ours_is_no_file_of_ours() -> None:
    state = {f"tone.{key}": value for key, value in load_file(SHIPPED / "tone" / "model.safetensors").items()}
    assert parts(state).keys() == {"tone"}
    assert parts(state | {"vgg.0.weight": torch.zeros(1)}) == {}
    vae = {f"old_vae.{key}": value for key, value in load_file(SHIPPED / "old_vae" / "model.safetensors").items()}
    assert parts(state | vae) == {} and shapes.parts({}) == {}


def test_weights_of_another_file_format_load_too(loader: object, tmp_path: Path) -> None:
    """As somebody may have stored them: in a pickle under a key, or bare, in float32."""
    network = random_network("scratches", TINY["scratches"])
    torch.save({"state_dict": network.state_dict()}, tmp_path / "tiny.pth")
    save_file(network.state_dict(), tmp_path / "tiny.safetensors")
    image = picture(20, 30)
    wanted = ScratchDetector(network).detect(image)
    for name in ("tiny.pth", "tiny.safetensors"):
        assert torch.allclose(loader.load_from_file(tmp_path / name)(image), wanted, atol=1e-6)
