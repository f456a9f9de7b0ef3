"""The perceptual distance and its backbones: what they see, where they come from, what learns from them."""

import io
import json
import logging
import sys
import urllib.request
from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from typer.testing import CliRunner

from bringback.cli import main as cli
from bringback.errors import ConfigError
from bringback.models import perceptual as module
from bringback.models.perceptual import CAFFE, Features, PerceptualDistance, SqueezeNetFeatures, VGG19Features
from bringback.training.config import Source, TrainConfig
from bringback.training.data import Batch
from bringback.training.losses import perceptual_distance
from bringback.training.tasks import build_task
from bringback.weights.backbones import load_distance

CACHED = {"vgg19": "vgg19-dcbb9e9d.pth", "squeezenet1_1": "squeezenet1_1-b8a52dc0.pth"}
KINDS: dict[str, type[Features]] = {"vgg19": VGG19Features, "squeezenet1_1": SqueezeNetFeatures}


def pictures(height: int = 48, width: int = 61, batch: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    coarse = torch.rand(batch, 3, 6, 6, generator=generator)
    a = nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")
    return a, (a + 0.1 * torch.randn(a.shape, generator=generator)).clamp(0, 1)


@pytest.fixture(scope="module")
def networks() -> dict[str, Features]:
    """Both networks with random weights, by name."""
    torch.manual_seed(0)
    return {name: kind().eval() for name, kind in KINDS.items()}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of torch hub, on a machine without a network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(urllib.request, "_opener", None)  # one that was built before looks at no proxy any more
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def first_input(network: Features) -> Tensor:
    """What the first layer is given for an orange picture: (3,)."""
    seen: list[Tensor] = []
    handle = network.features[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(torch.tensor([1.0, 0.5, 0.0])[None, :, None, None].expand(1, 3, 32, 32))
    handle.remove()
    return seen[0][0, :, 0, 0]


@pytest.mark.parametrize("name", KINDS)
def test_equal_pictures_are_no_distance_apart_and_others_some(name: str, networks: dict[str, Features]) -> None:
    distance = PerceptualDistance(networks[name])
    a, b = pictures()
    assert torch.equal(distance(a, a), torch.zeros(2))
    near, far = distance(a, a + 0.3 * (b - a)), distance(a, b)
    assert far.shape == (2,) and (near > 0).all() and (near < far).all()
    assert not distance.train().training
    both = torch.stack([distance(a[k : k + 1], b[k : k + 1])[0] for k in range(2)])
    assert torch.allclose(far, both, rtol=1e-4)


def test_the_networks_are_looked_at_once_a_scale(networks: dict[str, Features]) -> None:
    a, _ = pictures(32, 32, batch=1)
    sizes = {name: [tuple(x.shape[1:3]) for x in network(a)] for name, network in networks.items()}
    assert sizes["vgg19"] == [(64, 32), (128, 16), (256, 8), (512, 4), (512, 2)]
    assert sizes["squeezenet1_1"] == [(64, 15), (128, 7), (256, 3), (512, 1)]
    assert all((x >= 0).all() and (x == 0).any() for x in networks["vgg19"](a))  # after a ReLU


@pytest.mark.parametrize("name", KINDS)
def test_the_networks_are_those_of_torchvision(
    name: str, networks: dict[str, Features], torchvision: ModuleType
) -> None:
    with torch.device("meta"):
        theirs = getattr(torchvision.models, name)()
    ours = networks[name]
    shapes = {key: value.shape for key, value in theirs.state_dict().items() if key.startswith("features.")}
    assert shapes == {key: value.shape for key, value in ours.state_dict().items()}
    theirs.features.load_state_dict(ours.features.state_dict(), assign=True)
    preset = torchvision.models.get_model_weights(name).IMAGENET1K_V1.transforms()
    a, _ = pictures(batch=1)
    x = (a - torch.tensor(preset.mean)[:, None, None]) / torch.tensor(preset.std)[:, None, None]
    with torch.no_grad():
        for tap, mine in zip(ours.taps, ours(a), strict=True):
            assert torch.allclose(theirs.features[: tap + 1](x), mine, atol=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_the_gradient_reaches_the_pictures_but_no_weight(name: str, networks: dict[str, Features]) -> None:
    distance = PerceptualDistance(networks[name])
    flat, (_, b) = torch.zeros(1, 3, 48, 48, requires_grad=True), pictures(48, 48, batch=1)
    distance(flat, b).sum().backward()
    assert flat.grad is not None and flat.grad.isfinite().all() and flat.grad.abs().sum() > 0
    assert all(not weight.requires_grad and weight.grad is None for weight in distance.parameters())


@pytest.mark.parametrize(
    ("task", "network"),
    [
        ("clean_vae", {"channels": 48, "blocks": 1}),
        ("mapping", {"widths": [16, 16, 16], "blocks": [1, 1, 1], "inner": 8}),
        ("faces", {"widths": [24, 16, 16], "blocks": [1, 1, 1], "hidden": 4}),
    ],
)
def test_what_is_trained_learns_from_the_distance(
    task: str, network: dict[str, object], networks: dict[str, Features], tmp_path: Path
) -> None:
    save_file(networks["squeezenet1_1"].state_dict(), tmp_path / "features.safetensors")
    settings = TrainConfig(
        task=task,
        output_dir=str(tmp_path / "run"),
        train_data=[Source(".")],
        network=network,
        options={"perceptual": 1.0},
        recipe="faces" if task == "faces" else "training",
        backbone=str(tmp_path / "features.safetensors"),
    )
    torch.manual_seed(0)
    built = build_task(settings).train()
    side = 256 if task == "faces" else 64
    batch = Batch(pictures(side, side)[0], [1, 2], torch.zeros(2, dtype=torch.bool), ["", ""])
    losses = built("generator", built.prepare(batch, None))
    losses.parts["perceptual"].backward()
    learns = [weight for weight in built.networks()[task].parameters() if weight.grad is not None]
    assert learns and sum(float(weight.grad.abs().sum()) for weight in learns) > 0
    assert losses.parts["perceptual"] < losses.total
    assert all(weight.grad is None for weight in built.distance.parameters())


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("size", [(1, 1), (3, 40), (16, 16)])
def test_tiny_pictures_are_measured(name: str, size: tuple[int, int], networks: dict[str, Features]) -> None:
    a, b = pictures(*size)
    a.requires_grad_()
    values = PerceptualDistance(networks[name])(a, b)
    values.sum().backward()
    assert values.isfinite().all() and (values > 0).all() and a.grad is not None and a.grad.abs().sum() > 0


def test_large_pictures_are_measured_in_parts(networks: dict[str, Features], monkeypatch: pytest.MonkeyPatch) -> None:
    distance, (a, b) = PerceptualDistance(networks["squeezenet1_1"]), pictures(120, 230, batch=1)
    whole = distance(a, b)
    monkeypatch.setattr(module, "LARGEST", 100)
    sides: list[tuple[int, int]] = []
    handle = distance.network.register_forward_pre_hook(lambda _, inputs: sides.append(tuple(inputs[0].shape[-2:])))
    parts = distance(a, b)
    handle.remove()
    assert len(sides) == 2 * 2 * 3 and all(max(side) <= 100 for side in sides)
    assert sum(height * width for height, width in sides) == 2 * 120 * 230
    assert torch.allclose(parts, whole, rtol=0.1)
    c = torch.cat([a[..., :115], b[..., 115:]], -1)  # half of it is equal
    assert torch.allclose(distance(a, c), parts / 2, rtol=0.2)


def test_a_file_says_what_input_its_weights_expect(networks: dict[str, Features], tmp_path: Path) -> None:
    state = {key: value.half() for key, value in networks["squeezenet1_1"].state_dict().items()}
    save_file(state, tmp_path / "plain.safetensors")
    save_file(state, tmp_path / "caffe.safetensors", {"source": "somebody; Caffe input convention"})
    torch.save(state | {"classifier.1.bias": torch.zeros(1000)}, tmp_path / "caffe.pth")  # the name alone says nothing
    imagenet = torch.tensor([(1 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, -0.406 / 0.225])
    for file in ("plain.safetensors", "caffe.pth"):
        assert torch.allclose(first_input(load_distance(tmp_path / file).network), imagenet)
    caffe = load_distance(tmp_path / "caffe.safetensors")
    assert torch.allclose(first_input(caffe.network), torch.tensor([-104.006, 127.5 - 116.669, 255 - 122.679]))
    assert all(value.dtype == torch.float32 for value in caffe.state_dict().values())
    own = SqueezeNetFeatures(CAFFE)
    own.load_state_dict(networks["squeezenet1_1"].state_dict())
    assert torch.allclose(caffe(*pictures()), PerceptualDistance(own)(*pictures()), rtol=0.05)


def test_the_shared_features_measure_what_they_always_did(data_folder: Path) -> None:
    backbone = data_folder.parent / "backbones" / "squeezenet1_1_features.safetensors"
    if not backbone.is_file():
        pytest.skip("no backbone file")
    distance = load_distance(backbone)
    assert distance(*pictures(96, 96)).tolist() == pytest.approx([2.60052156, 2.56742311], rel=1e-5)
    assert distance(*pictures(64, 81)).tolist() == pytest.approx([2.48130369, 2.63955021], rel=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_a_name_takes_the_weights_of_torchvision_from_its_cache(
    name: str, networks: dict[str, Features], torchvision: ModuleType, cache: Path
) -> None:
    state = networks[name].state_dict() | {"classifier.6.bias": torch.zeros(1000)}
    torch.save(state, cache / CACHED[name], _use_new_zipfile_serialization=False)  # the format of their files
    named, given = perceptual_distance(name), load_distance(cache / CACHED[name])
    assert named is not None and type(named.network) is KINDS[name]
    assert torch.equal(named(*pictures()), PerceptualDistance(networks[name])(*pictures()))
    assert torch.equal(given(*pictures()), named(*pictures()))


def test_weights_that_cannot_be_fetched_have_a_place_to_be_put(
    torchvision: ModuleType, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match=r"^vgg19: cannot be had; put its weights at ") as caught:
        load_distance("vgg19")
    assert str(cache / CACHED["vgg19"]) in str(caught.value) and "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""  # where somebody's JSON goes
    (cache / CACHED["vgg19"]).write_bytes(b"half a download")
    with pytest.raises(ValueError, match="vgg19: cannot be had"):
        load_distance("vgg19")


@pytest.mark.parametrize("line", ["import no_such_module", "raise RuntimeError('no operator nms')", "raise OSError()"])
def test_a_torchvision_that_is_not_there_or_broken_is_named(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(line)
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"backbone: vgg19: torchvision cannot be imported; .* path") as caught:
        perceptual_distance("vgg19")
    assert "\n" not in str(caught.value)


def test_a_bad_backbone_is_named(networks: dict[str, Features], tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"nothing of the kind")
    (tmp_path / "bad.pth").write_bytes(b"nothing of the kind")
    state = networks["vgg19"].state_dict()
    torch.save({"state_dict": {"features.0.weight": torch.zeros(1)}, "epoch": 3}, tmp_path / "wrapped.pth")
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    save_file({key: value for key, value in state.items() if "34" not in key}, tmp_path / "shorter.safetensors")
    for name, message in [
        ("bad", "cannot be read as weights"),
        ("bad.pth", "cannot be read as weights"),
        ("wrapped.pth", "holds neither VGG-19 nor SqueezeNet 1.1"),
        ("tensor.pth", "holds neither VGG-19 nor SqueezeNet 1.1"),
        ("shorter.safetensors", "holds neither VGG-19 nor SqueezeNet 1.1"),
        ("vgg16", "no such file; a backbone is the path of one, or vgg19 or squeezenet1_1"),
    ]:
        with pytest.raises(ConfigError, match=f"{name}: {message}") as caught:
            perceptual_distance(str(tmp_path / name))
        assert "\n" not in str(caught.value)


class Trap:
    """A pickle of it writes a file when it is read by one that runs what it reads."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return io.open, (str(self.file), "w")


def test_nothing_that_a_file_of_weights_brings_along_is_run(tmp_path: Path) -> None:
    torch.save({"features.0.weight": Trap(tmp_path / "caught")}, tmp_path / "trap.pth")
    with pytest.raises(ValueError, match=r"trap\.pth: cannot be read as weights"):
        load_distance(tmp_path / "trap.pth")
    assert not (tmp_path / "caught").exists()
    torch.load(tmp_path / "trap.pth", weights_only=False)["features.0.weight"].close()
    assert (tmp_path / "caught").exists()  # the trap works


def test_training_without_a_backbone_is_said_once(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.INFO)
    settings = TrainConfig(
        task="faces",
        output_dir=str(tmp_path),
        train_data=[Source(".")],
        recipe="faces",
        network={"widths": [24, 16, 16], "blocks": [1, 1, 1], "hidden": 4},
    )
    assert build_task(settings).distance is None
    assert [record.getMessage() for record in caplog.records] == ["no backbone: training without a perceptual loss"]


def test_evaluate_measures_by_the_backbone_it_is_given(networks: dict[str, Features], tmp_path: Path) -> None:
    torch.save(networks["vgg19"].state_dict(), tmp_path / "vgg.pth")
    (tmp_path / "photos").mkdir()
    a, _ = pictures(40, 9, batch=1)
    picture = (a[0].permute(1, 2, 0) * 255).byte().numpy()
    Image.fromarray(picture).save(tmp_path / "photos" / "narrow.png")
    arguments = ["evaluate", tmp_path / "photos", "--recipe", "holes", "--seed", 1, "--stages", "fill", "--json"]
    result = CliRunner().invoke(cli.app, [*map(str, arguments), "--backbone", str(tmp_path / "vgg.pth")])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert 0 < report["perceptual_after"] < report["perceptual_before"] and report["backbone"] == "vgg.pth"
    result = CliRunner().invoke(cli.app, [*map(str, arguments), "--backbone", "vgg16"])
    assert result.exit_code == 2 and "vgg16: no such file" in result.stderr
