"""ONNX: every graph gives the numbers of its network, of any size; stages run on onnxruntime as they do on torch."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY
from torch import Tensor, nn
from typer.testing import CliRunner

from bringback.cli import app
from bringback.errors import MissingExtra
from bringback.models.base import Network
from bringback.models.graphs import Graph
from bringback.models.native_scale import spectra
from bringback.models.registry import MODELS
from bringback.models.relight import RelightNet, places
from bringback.models.tone import cumulated
from bringback.models.translation.mapping import LatentMapping
from bringback.models.translation.vae import VAE
from bringback.models.unet import ScratchUNet
from bringback.models.wan2020.unet import PaperUNet
from bringback.pipeline import Pipeline
from bringback.runtime.compute import Compute
from bringback.stages.colorize import Colorizer
from bringback.stages.faces.stage import FaceRefiner
from bringback.stages.relight import Relighter
from bringback.stages.scratches import ScratchDetector
from bringback.stages.translate import LatentTranslator
from bringback.weights.checkpoints import Checkpoints, save_network
from bringback.weights.onnx import engine as onnx_engine
from bringback.weights.onnx.engine import Session, attach, cache_dir
from bringback.weights.onnx.export import facts_of, graphs

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

CPU = torch.device("cpu")
# Two levels have every operation that more have, and exports take seconds.
SMALL = TINY | {
    "scratches": {"widths": [4, 6]},
    "mapping": {"widths": [16, 16], "blocks": [0, 1], "inner": 8, "channels": TINY["old_vae"]["channels"]},
}
CLOSE = 1e-4
GRAPHS = [
    *("scale", "scratches", "relight", "relight-curves", "tone", "old_vae", "mapping", "mapping-tile", "mapping-look"),
    *("mapping-noise", "mapping-trust", "clean_vae", "faces", "colorize", "upscale"),
]
KINDS = {name: model.network for name, model in MODELS.items()}
SHIPPED = Path(__file__).parents[2] / "checkpoints"


@pytest.fixture(scope="module", autouse=True)
def kept(request: pytest.FixtureRequest):
    """Graphs are kept from one run of the tests to the next: they take seconds each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BRINGBACK_CACHE", str(request.config.cache.mkdir("onnx")))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of tiny networks that do something."""
    folder = tmp_path_factory.mktemp("tiny")
    for name, kind in KINDS.items():
        torch.manual_seed(0)
        network = kind(**SMALL[name])
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear) and not layer.weight.any():  # silent until it has learned
                nn.init.normal_(layer.weight, std=0.1)
        if isinstance(network, LatentMapping):
            for layer in (network.attention.out, *network.up):
                nn.init.normal_(layer.weight, std=0.5)
            nn.init.zeros_(network.trust.layers[-1].bias)
        if isinstance(network, RelightNet):
            nn.init.normal_(network.decide[-1].weight, std=2)
        save_network(network, folder / name)
    return folder


@pytest.fixture(scope="module")
def graph(folder: Path) -> Callable[[str], tuple[Graph, Session, Network]]:
    """A graph by its name in `GRAPHS`, opened, and a network in torch."""

    def of(full: str) -> tuple[Graph, Session, Network]:
        name, _, own = full.partition("-")
        network = Checkpoints(folder).load(name, KINDS[name])
        one = next(one for one in graphs(name, network) if one.name == own)
        model = onnx_engine.cached(one, facts_of(name, folder / name))
        return one, Session(model, ["CPUExecutionProvider"]), network

    return of


def inputs(full: str, network: Network, batch: int, height: int, width: int) -> list[Tensor]:
    """What a graph may be given: of a photo of that size, a fifth of which is damaged."""
    rng = torch.Generator().manual_seed(batch * height)
    pixels = torch.rand(batch, 3, height, width, generator=rng)
    part = -(-height // 4), -(-width // 4)
    mask = torch.zeros(batch, 1, *part)
    mask[..., : part[0] // 2, : part[1] // 2] = 1
    channels = network.head.in_channels if full == "clean_vae" else 0
    if full.startswith("mapping"):
        channels = network.head.out_channels
    latent = 8 * torch.randn(batch, channels, *part, generator=rng)
    if full == "clean_vae":
        return [latent]
    if full == "scale":
        return [spectra(pixels)]
    if full == "mapping-tile":
        return [latent, mask, network.look(latent, mask)]
    if full in ("mapping", "mapping-look"):
        return [latent, mask]
    if full == "mapping-trust":
        decoded = torch.rand(pixels.shape, generator=rng)
        keeps = torch.linspace(2.5, 0.5, batch).view(-1, 1, 1, 1)
        return [pixels, decoded, (pixels[:, :1] > 0.8).float(), network.trust.look(pixels), keeps]
    if full == "relight":
        return [pixels, network.curves(network.thumbnail(pixels)), places(pixels).repeat(batch, 1, 1, 1)]
    if full == "relight-curves":
        return [network.thumbnail(pixels)]
    if full == "tone":
        whole = torch.zeros_like(pixels[:, :1])
        return [network.thumbnail(pixels, whole), cumulated(pixels, whole)]
    if full == "faces":
        crops = torch.rand(batch, 3, height // 64 * 64 + 64, width // 64 * 64 + 64, generator=rng)
        return [crops, (crops[:, :1] > 0.8).float(), (crops + 0.1 * torch.rand(crops.shape, generator=rng)).clamp(0, 1)]
    if full == "colorize":
        known = (pixels[:, :1] > 0.9).float()
        return [pixels[:, 1:2], torch.cat([known, known * 0.2, known * -0.3], 1)]
    return [pixels]


def in_torch(full: str, network: Network, given: list[Tensor]) -> Tensor:
    """The same by the network itself."""
    named = {"relight": "relit", "relight-curves": "curves", "tone": "curves", "old_vae": "encode"}
    named |= {"mapping-look": "look", "mapping-trust": "trust"}
    if full == "mapping-noise":
        return network.trust.levels(*given)
    if full == "clean_vae":
        return network.decode(*given, tuple(network.stride * side for side in given[0].shape[-2:]))
    return getattr(network, named.get(full, "forward"))(*given)


def check(full: str, session: Session, network: Network, sizes: list[tuple[int, int, int]]) -> None:
    for size in sizes:
        given = inputs(full, network, *size)
        own, made = in_torch(full, network, given), session(*given)
        assert made.shape == own.shape and made.dtype == torch.float32
        assert float((made - own).abs().max()) <= CLOSE


@pytest.mark.parametrize("full", GRAPHS)
def test_a_graph_gives_the_numbers_of_its_network(full: str, graph) -> None:
    _, session, network = graph(full)
    check(full, session, network, [(1, 64, 64), (3, 97, 45)])
    given = inputs(full, network, 1, 97, 45)
    rest = session(*(0.5 * x for x in given))
    assert float((rest - session(*given)).abs().max()) > 10 * CLOSE  # it does look at what it is given


def test_all_graphs_are_tested(folder: Path) -> None:
    found = [(name, Checkpoints(folder).load(name, kind)) for name, kind in KINDS.items()]
    assert [name + f"-{one.name}" * bool(one.name) for name, own in found for one in graphs(name, own)] == GRAPHS


@pytest.mark.parametrize("damage", ["nothing", "something", "everything", "one of two"])
def test_the_mapping_looks_where_the_network_does(damage: str, folder: Path, graph) -> None:
    network = graph("mapping")[2]
    engine = Checkpoints(folder, attach=attach).load("mapping", LatentMapping)
    latent = 8 * torch.randn(2, 16, 18, 23)
    mask = torch.zeros(2, 1, 18, 23)
    if damage == "something":
        mask[..., 3:9, 4:17] = 0.9
    elif damage == "everything":
        mask[:] = 1
    elif damage == "one of two":
        mask[1, :, :, :15] = 1
    own = network(latent, mask)
    assert float((engine(latent, mask) - own).abs().max()) <= CLOSE
    assert float((engine(latent, mask, seen=network.look(latent, mask)) - own).abs().max()) <= CLOSE
    engine.attention.max_keys = network.attention.max_keys = 4  # of a photo so large that keys are averaged
    assert float((engine(latent, mask) - network(latent, mask)).abs().max()) <= CLOSE
    if damage in ("something", "one of two"):
        network.attention.out.requires_grad_(False).weight.zero_()
        assert float((network(latent, mask) - own).abs().max()) > 100 * CLOSE  # what it saw did count


def test_a_file_tells_what_it_is(folder: Path, graph) -> None:
    one, _, _ = graph("mapping-tile")
    model = onnx.load_from_string(onnx_engine.cached(one, facts_of("mapping", folder / "mapping")))
    onnx.checker.check_model(model, full_check=True)
    facts = {prop.key: prop.value for prop in model.metadata_props}
    assert facts["checkpoint"] == "mapping" and facts["network"] == "LatentMapping"
    assert facts["weights_sha256"] == Checkpoints(folder).hashes(["mapping"])["mapping"]
    assert "license" in facts
    assert model.producer_name == "bringback" and model.producer_version and model.doc_string
    ports = {port.name: port for port in (*model.graph.input, *model.graph.output)}
    assert list(ports) == ["latent", "mask", "seen", "translated"]
    assert all(port.doc_string for port in ports.values())
    axes = [axis.dim_param or axis.dim_value for axis in ports["translated"].type.tensor_type.shape.dim]
    assert axes == ["batch", 16, "rows", "columns"]


def test_stages_run_on_onnxruntime_as_on_torch(folder: Path) -> None:
    """In several tiles, a scan a little soft, with damage that looks at all of it, salt and pepper, and hints."""
    torch.manual_seed(1)
    photo = torch.rand(1, 3, 230, 301) ** 2
    holes = torch.zeros(1, 1, 230, 301)
    holes[..., 60:100, 90:260] = 1
    compute = Compute(CPU, tile=128)
    made: dict[str, list[Tensor]] = {}
    for engine, way in {"torch": None, "onnx": attach}.items():
        own = Checkpoints(folder, attach=way)
        made[engine] = [
            ScratchDetector.from_checkpoints(own, compute).detect(photo),
            LatentTranslator.from_checkpoints(own, compute).translate(photo, holes, 1.3),
            Relighter.from_checkpoints(own, compute).relight(photo),
            Colorizer.from_checkpoints(own, compute, hints=[(40, 50, "#aa3322")]).colorize(photo),
        ]
    for one, other in zip(*made.values(), strict=True):
        assert float((one - other).abs().max()) <= CLOSE
    assert not all(torch.equal(one, other) for one, other in zip(*made.values(), strict=True))


def test_a_network_computes_with_the_graph(folder: Path) -> None:
    """And not with torch, whose weights are spoilt here; the graph is made once, and gives no gradients."""
    plain = Checkpoints(folder).load("old_vae", VAE)
    engine = Checkpoints(folder, attach=attach).load("old_vae", VAE)
    pixels = torch.rand(1, 3, 33, 30).contiguous(memory_format=torch.channels_last)
    for parameter in engine.parameters():
        parameter.fill_(torch.nan)
    assert float((engine.encode(pixels) - plain.encode(pixels)).abs().max()) <= CLOSE
    with pytest.raises(ValueError, match="no gradients"):
        engine.encode(pixels.clone().requires_grad_())


def test_faces_asked_for_in_bfloat16_are_those_of_the_graph(folder: Path) -> None:
    """Graphs compute in float32; the stage casts a copy of its network."""
    pytest.importorskip("dlib")
    stage = FaceRefiner.from_checkpoints(Checkpoints(folder, attach=attach), CPU)
    crops = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    expected = stage.refine(crops)
    made = stage.to(torch.bfloat16).refine(crops)  # the check of identity is torch's
    assert float((made - expected).abs().max()) <= CLOSE


def test_a_session_is_opened_once_and_again_where_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[bytes] = []

    def once(self: Session) -> str:
        tries.append(self.model)
        if len(tries) == 1:
            raise MemoryError
        return "open"

    monkeypatch.setattr(Session, "_open", once)
    session = Session(b"a graph", [])
    with pytest.raises(MemoryError):
        _ = session.session
    assert session.session == session.session == "open" and tries == [b"a graph"] * 2 and session.model == b""


def test_graphs_are_kept(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRINGBACK_CACHE", str(tmp_path / "kept"))
    made: list[str] = []

    def proto(self: Graph, facts: dict[str, str]) -> bytes:
        made.append(f"{facts['checkpoint']}-{self.name}")
        return b"a graph"

    monkeypatch.setattr(onnx_engine, "proto", proto)
    monkeypatch.setattr(onnx_engine, "Session", lambda model, providers: model)
    own = Checkpoints(folder)

    def load() -> None:
        attach(own.load("relight", KINDS["relight"]), "relight", own.folder("relight"), CPU)

    load()
    load()
    assert made == ["relight-", "relight-curves"]
    kept = sorted((tmp_path / "kept" / "onnx").iterdir())
    assert [path.read_bytes()[:-32] for path in kept] == [b"a graph"] * 2
    kept[0].write_bytes(kept[0].read_bytes()[:-1])  # cut short: it is made again
    load()
    assert len(made) == 3 and kept[0].read_bytes() == kept[1].read_bytes()
    made.pop()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BRINGBACK_CACHE", str(tmp_path / "file"))  # where nothing can be kept
    load()
    assert len(made) == 4


def test_the_cache_is_where_the_platform_keeps_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BRINGBACK_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("BRINGBACK_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_dir() == tmp_path / "xdg" / "bringback"
    monkeypatch.setattr(sys, "platform", "win32")
    assert cache_dir().is_relative_to(tmp_path / "local" / "bringback")


def test_what_cannot_run_is_told_in_a_line(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="unknown engine 'tensorrt'"):
        Pipeline.from_pretrained(folder, engine="tensorrt")
    save_network(PaperUNet(widths=[4, 4, 4, 4, 4]), tmp_path / "scratches")
    with pytest.raises(ValueError, match="no ONNX graph of the network PaperUNet"):
        Checkpoints(tmp_path, attach=attach).load("scratches", PaperUNet)
    own = Checkpoints(folder)
    for device, told in (("cuda", "install onnxruntime-gpu"), ("mps", "use --device cpu")):
        with pytest.raises(ValueError, match=told):
            attach(own.load("scratches", ScratchUNet), "scratches", folder / "scratches", torch.device(device))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtra, match=r'pip install "bringback\[export\]"'):
        Checkpoints(folder, attach=attach).load("scratches", ScratchUNet)


def test_the_command_writes_files_and_overwrites_none(
    folder: Path, graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = CliRunner().invoke
    graph("clean_vae")  # kept, and not exported once more, which takes seconds
    monkeypatch.setattr("bringback.weights.onnx.export.proto", onnx_engine.cached)
    asked = ["export", "clean_vae", "-o", str(tmp_path / "decoder.onnx"), "--weights", str(folder)]
    done = run(app, asked)
    assert done.exit_code == 0 and done.output.split() == [str(tmp_path / "decoder.onnx")]
    session = Session((tmp_path / "decoder.onnx").read_bytes(), ["CPUExecutionProvider"])
    check("clean_vae", session, Checkpoints(folder).load("clean_vae", VAE), [(1, 20, 33)])
    before = (tmp_path / "decoder.onnx").read_bytes()
    again = run(app, asked)
    assert again.exit_code == 2 and "decoder.onnx: is there already; use --overwrite" in again.output
    monkeypatch.setattr("bringback.weights.onnx.export.proto", lambda graph, facts: graph.name.encode())
    assert run(app, [*asked, "--overwrite"]).exit_code == 0
    assert (tmp_path / "decoder.onnx").read_bytes() != before
    assert run(app, ["export", "mapping", "-o", str(tmp_path / "all"), "--weights", str(folder)]).exit_code == 0
    names = ["mapping-look.onnx", "mapping-noise.onnx", "mapping-tile.onnx", "mapping-trust.onnx", "mapping.onnx"]
    assert sorted(os.listdir(tmp_path / "all")) == names
    unknown = run(app, ["export", "translate", "-o", str(tmp_path / "x.onnx")])
    assert unknown.exit_code == 2 and "no network 'translate' to export; there are scale, scratches" in unknown.output
    assert len(unknown.output.strip().splitlines()) == 1
    monkeypatch.setitem(sys.modules, "onnx", None)
    missing = run(app, ["export", "scratches", "-o", str(tmp_path / "x.onnx")])
    assert missing.exit_code == 2 and 'pip install "bringback[export]"' in missing.output
    assert not (tmp_path / "x.onnx").exists()


@pytest.mark.heavy
@pytest.mark.parametrize("full", GRAPHS)
def test_the_shipped_weights_give_the_same_numbers(full: str) -> None:
    """On a photo: of noise, which no latent is like, the numbers are larger than any other and so are differences."""
    name, _, own = full.partition("-")
    network = Checkpoints().load(name, KINDS[name])
    one = next(one for one in graphs(name, network) if one.name == own)
    session = Session(onnx_engine.cached(one, facts_of(name, SHIPPED / name)), ["CPUExecutionProvider"])
    given = inputs(full, network, 1, 130, 185)
    made, wanted = session(*given), in_torch(full, network, given)
    assert float((made - wanted).abs().max()) <= CLOSE * max(1.0, float(wanted.abs().max()) / 10)
    assert np.isfinite(made.numpy()).all()
