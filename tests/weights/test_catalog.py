"""Weights by folder and by hub id, of a hub of our own: loaded whole or refused in a line, listed, verified, pulled."""

import base64
import hashlib
import json
import os
import pkgutil
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path

import pytest
import torch
from conftest import TINY
from huggingface_hub import constants, metadata_load
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from bringback import models
from bringback.cli.main import app
from bringback.models.base import Network
from bringback.models.registry import NETWORKS
from bringback.models.tone import ToneCurves
from bringback.models.translation.mapping import LatentMapping
from bringback.models.translation.vae import VAE
from bringback.models.unet import ScratchUNet
from bringback.models.wan2020.face import PaperFaceGenerator
from bringback.runtime.files import file_hash
from bringback.runtime.hub import fetched, is_hub_id
from bringback.weights.catalog import Weight, fault, files, pull
from bringback.weights.checkpoints import Checkpoints, MissingWeights, save_network

SMALL: dict[str, dict] = {
    "ColorUNet": TINY["colorize"],
    "FaceGenerator": TINY["faces"],
    "LatentMapping": TINY["mapping"],
    "NativeScale": TINY["scale"],
    "RelightNet": TINY["relight"],
    "ScratchUNet": TINY["scratches"],
    "ToneCurves": TINY["tone"],
    "UpscaleNet": TINY["upscale"],
    "VAE": TINY["old_vae"],
    "PaperFaceGenerator": {"widths": [8, 8, 8, 8, 8, 8], "hidden": 4},
    "PaperMapping": {"widths": [8, 8, 8, 8, 8], "blocks": 1},
    "PaperUNet": {"widths": [4, 4, 4, 4, 4]},
    "PaperVAE": {"channels": 8, "blocks": 1},
}
SHIPPED = Path(__file__).parents[2] / "checkpoints"


@dataclass
class Hub:
    """As much of the hub as downloads and uploads of small files need: one commit a revision."""

    url: str = ""
    files: dict[tuple[str, str], dict[str, bytes]] = field(default_factory=dict)  # by id and revision
    asked: list[str] = field(default_factory=list)
    lost: str = ""  # a file that is listed and not there

    def put(self, name: str, folder: Path, revision: str = "main") -> None:
        found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        self.files[name, revision] = found

    def find(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        for (one, other), found in self.files.items():
            commit = hashlib.sha1(f"{one}{other}{sorted(found.items())}".encode()).hexdigest()
            if one == name and revision in (other, commit):
                return commit, found
        return None


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_) -> None:
            pass

        def answer(self, body: bytes, status: int = 200, **headers: str) -> None:
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_GET(self) -> None:
            hub.asked.append(self.path)
            path = self.path.partition("?")[0]
            kinds = (
                r"/api/models/(\w+/\w+)/(revision|tree)/(\w+)",
                r"/(\w+/\w+)/(resolve)/(\w+)/(.+)",
            )
            match = next((found for kind in kinds if (found := re.fullmatch(kind, path))), None)
            if match is None:
                return self.answer(b"{}", 404)
            name, what, revision, *rest = match.groups()
            if not any(one == name for one, _ in hub.files):
                return self.answer(b"{}", 404, X_Error_Code="RepoNotFound")
            found = hub.find(name, revision)
            if found is None:
                return self.answer(b"{}", 404, X_Error_Code="RevisionNotFound")
            commit, contents = found
            if what == "revision":
                siblings = [{"rfilename": path} for path in contents]
                return self.answer(json.dumps({"id": name, "sha": commit, "siblings": siblings}).encode())
            if what == "tree":
                entries = [
                    {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                    for path, data in contents.items()
                ]
                return self.answer(json.dumps(entries).encode())
            if rest[0] == hub.lost:
                return self.answer(b"", 404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
            data = contents[rest[0]]
            etag = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X_Repo_Commit": commit}
            begin = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if begin:
                start = int(begin[1])
                span = f"bytes {start}-{len(data) - 1}/{len(data)}"
                return self.answer(data[start:], 206, Content_Range=span, **etag)
            return self.answer(data, **etag)

        do_HEAD = do_GET

        def do_POST(self) -> None:
            hub.asked.append(self.path)
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/api/repos/create":
                told = json.loads(body)
                name = f"{told['organization']}/{told['name']}"
                hub.files.setdefault((name, "main"), {})
                return self.answer(json.dumps({"url": f"{hub.url}/{name}", "name": name}).encode())
            if "/preupload/" in self.path:
                modes = [
                    {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for one in json.loads(body)["files"]
                ]
                return self.answer(json.dumps({"files": modes}).encode())
            if "/commit/" not in self.path:
                return self.answer(b"{}")  # validate-yaml
            name = re.fullmatch(r"/api/models/(\w+/\w+)/commit/main", self.path)[1]  # type: ignore[index]
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    data = base64.b64decode(line["value"]["content"])
                    hub.files[name, "main"][line["value"]["path"]] = data
            commit, _ = hub.find(name, "main")  # type: ignore[misc]
            done = {"commitUrl": f"{hub.url}/{name}/commit/{commit}", "commitOid": commit}
            return self.answer(json.dumps(done).encode())

    return Handler


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub that this process knows of, and an empty cache."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.chdir(tmp_path)  # where no folder is called like an id
    yield hub
    server.shutdown()
    server.server_close()


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    """A folder of two checkpoints with cards, a pipeline, and what nobody should download."""
    torch.manual_seed(0)
    folder = tmp_path / "set"
    for name, network in (("tone", ToneCurves(**TINY["tone"])), ("scratches", ScratchUNet(**TINY["scratches"]))):
        network.save_pretrained(folder / name)
    (folder / "pipeline.yaml").write_text("stages: [tone]\n")
    (folder / "tone" / "pytorch_model.bin").write_bytes(b"a pickle")
    return folder


def run(*words: object) -> tuple[int, list[str], str]:
    result = CliRunner().invoke(app, ["weights", *map(str, words)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout.splitlines(), result.stderr


def same(a: Network, b: Network) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_every_network_is_known_by_its_name() -> None:
    for module in pkgutil.walk_packages(models.__path__, "bringback.models."):
        import_module(module.name)
    kinds, wanted = [Network], set()
    while kinds:
        below = [kind for kind in kinds.pop().__subclasses__() if kind.__module__.startswith("bringback.models.")]
        kinds += below
        wanted |= {kind.__name__ for kind in below}
    assert set(NETWORKS) == wanted == set(SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_save_pretrained_writes_a_checkpoint_and_from_pretrained_gives_the_same_network(
    name: str, tmp_path: Path
) -> None:
    kind = NETWORKS[name]
    network = kind(**SMALL[name])
    for parameter in network.parameters():  # some begin with zeros, which anything would match
        torch.nn.init.normal_(parameter)
    network.save_pretrained(tmp_path / "it")
    config = json.loads((tmp_path / "it" / "config.json").read_text())
    assert config.pop("network") == name and kind(**config).state_dict().keys() == network.state_dict().keys()
    again = kind.from_pretrained(tmp_path / "it")
    assert not again.training and same(network, again)
    assert same(network, Checkpoints(tmp_path).load("it", kind))
    card = metadata_load(tmp_path / "it" / "README.md")
    assert card["license"] == ("mit" if name.startswith("Paper") else "apache-2.0")
    assert card["library_name"] == "bringback" and len(card["tags"]) > 2
    assert card["sha256"] == file_hash(tmp_path / "it" / "model.safetensors")
    assert f"import {name}\n" in (tmp_path / "it" / "README.md").read_text()


def test_all_that_ships_is_sound_and_loads_as_the_hub_mixin_promises() -> None:
    shipped = Checkpoints()
    for name, file in files(shipped).items():
        weight = Weight.of(name, file)
        assert weight.stated == weight.sha256 and fault(weight, shipped) is None, name
        assert weight.licence == ("public domain" if weight.network == "dlib" else "apache-2.0")
        assert weight.network == "dlib" or weight.parameters > 3e4
    assert {file.name for file in files(shipped).values()} == {
        "model.safetensors",
        "shape_predictor_5_face_landmarks.dat",
        "dlib_face_recognition_resnet_model_v1.dat",
    }
    compact = ScratchUNet.from_pretrained(str(SHIPPED / "scratches"))
    assert not compact.training and same(compact, shipped.load("scratches", ScratchUNet))


def test_another_or_half_a_network_is_refused_in_a_line(tmp_path: Path) -> None:
    def refused(place: Path, kind: type[Network], words: str) -> None:
        with pytest.raises(MissingWeights, match=words) as caught:
            kind.from_pretrained(place)
        assert "\n" not in str(caught.value) and str(place) in str(caught.value)

    folder = tmp_path / "one"
    VAE(**TINY["old_vae"]).save_pretrained(folder)
    refused(folder, ScratchUNet, "is that of a VAE, not of a ScratchUNet")
    (folder / "config.json").write_text(json.dumps({"network": "VAE", "channels": 64}))
    refused(folder, VAE, r"not of the VAE that config.json describes: stem.weight and \d+ more")
    state = load_file(folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(TINY["old_vae"]))  # as the mixin alone writes it
    assert not VAE.from_pretrained(folder).training
    (folder / "config.json").write_text(json.dumps({**TINY["old_vae"], "chanels": 48}))
    refused(folder, VAE, "chanels")
    (folder / "config.json").write_text("{")
    refused(folder, VAE, "cannot be read as VAE: ")
    (folder / "config.json").write_text(json.dumps({"network": "VAE", **TINY["old_vae"]}))
    first = next(iter(state))
    save_file({key: value for key, value in state.items() if key != first}, folder / "model.safetensors")
    refused(folder, VAE, f"{re.escape(first)} missing")
    (folder / "model.safetensors").write_bytes(b"half a file")
    refused(folder, VAE, "cannot be read as VAE: ")
    (folder / "model.safetensors").unlink()
    refused(folder, VAE, r"No such file.*model\.safetensors")
    refused(tmp_path / "nowhere", VAE, r"No such file.*config\.json")


def test_saving_again_keeps_the_card_and_states_the_new_hash(tmp_path: Path) -> None:
    network = ToneCurves(**TINY["tone"])
    network.save_pretrained(tmp_path)
    card = tmp_path / "README.md"
    card.write_text(card.read_text().replace("license: apache-2.0", "license: mit") + "\nMine.\n")
    before = metadata_load(card)["sha256"]
    next(network.parameters()).data += 1
    network.save_pretrained(tmp_path)
    after = metadata_load(card)
    assert before != after["sha256"] == file_hash(tmp_path / "model.safetensors")
    assert after["license"] == "mit" and card.read_text().endswith("\nMine.\n")


def test_a_network_goes_to_the_hub_and_comes_back_by_revision_and_without_the_hub(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (VAE(**TINY["old_vae"]) for _ in range(2))
    first.push_to_hub("me/vae", token="secret")
    hub.files["me/vae", "v1"] = dict(hub.files["me/vae", "main"])
    hub.files["me/vae", "main"]["pytorch_model.bin"] = b"a pickle"
    second.push_to_hub("me/vae", token="secret")
    stored = hub.files["me/vae", "main"]
    assert set(stored) == {"README.md", "config.json", "model.safetensors", "pytorch_model.bin"}
    assert b"license: apache-2.0" in stored["README.md"]
    assert hashlib.sha256(stored["model.safetensors"]).hexdigest().encode() in stored["README.md"]
    pulled = VAE.from_pretrained("me/vae")
    assert same(pulled, second) and not pulled.training
    assert same(VAE.from_pretrained("me/vae", revision="v1", cache_dir=tmp_path / "own"), first)
    assert not any("pytorch_model" in path for path in hub.asked)
    asked = len(hub.asked)
    assert same(VAE.from_pretrained("me/vae", local_files_only=True), second)
    assert same(VAE.from_pretrained("me/vae", revision="v1", cache_dir=tmp_path / "own", local_files_only=True), first)
    with pytest.raises(MissingWeights, match="weights pull me/vae --revision v1"):
        VAE.from_pretrained("me/vae", revision="v1", local_files_only=True)
    assert len(hub.asked) == asked
    with pytest.raises(MissingWeights, match="is that of a VAE, not of a LatentMapping"):
        LatentMapping.from_pretrained("me/vae")
    with pytest.raises(MissingWeights, match="no revision 'v2'"):
        VAE.from_pretrained("me/vae", revision="v2")
    with pytest.raises(MissingWeights, match="no folder here, and not on the hub"):
        VAE.from_pretrained("me/nothing")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody is there
    assert same(VAE.from_pretrained("me/vae"), second)  # what was pulled before will do
    with pytest.raises(MissingWeights, match="the hub cannot be reached"):
        VAE.from_pretrained("me/other")


def test_a_set_of_checkpoints_goes_by_its_id(hub: Hub, checkpoints: Path, tmp_path: Path) -> None:
    hub.put("me/set", checkpoints)
    ours = Checkpoints("me/set", cache_dir=tmp_path / "own")
    assert same(ours.load("tone", ToneCurves), Checkpoints(checkpoints).load("tone", ToneCurves))
    assert ours.folder("mapping").parent == SHIPPED
    place = fetched("me/set", cache_dir=tmp_path / "own", local_files_only=True)
    names = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
    parts = ("config.json", "model.safetensors", "README.md")
    assert names == {"pipeline.yaml", *(f"{name}/{part}" for name in ("tone", "scratches") for part in parts)}
    assert fetched(checkpoints) == checkpoints and fetched(tmp_path / "no") == tmp_path / "no"
    hub.put("me/one", checkpoints / "tone")
    with pytest.raises(MissingWeights, match="me/one: no checkpoint folder in it"):
        Checkpoints("me/one")


def test_a_mistyped_path_is_taken_from_the_hub_with_a_warning_alone(hub: Hub, checkpoints: Path, caplog) -> None:
    hub.put("me/set", checkpoints)
    assert fetched("me/set").is_dir()
    assert [one.getMessage() for one in caplog.records] == [
        "me/set is no folder here: it is looked for on the Hugging Face Hub, as hf://me/set"
    ]
    caplog.clear()
    assert fetched("hf://me/set") == fetched(Path("hf://me/set")) and not caplog.records
    assert not is_hub_id("hf://set") and not is_hub_id(checkpoints)


def test_every_command_takes_a_revision_and_stays_offline(
    hub: Hub, checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.put("me/set", checkpoints)
    hub.files["me/set", "v1"] = dict(hub.files["me/set", "main"])
    given: list[Path] = []
    exporting, evaluating = "bringback.weights.onnx.export.export", "bringback.cli.evaluate._by_recipe"
    monkeypatch.setattr(exporting, lambda name, out, weights, **_: given.append(weights) or [])
    monkeypatch.setattr(evaluating, lambda *_, weights, **__: given.append(weights) or ("", {}))
    commands = [["export", "tone", "-o", "x"], ["evaluate", str(tmp_path), "--recipe", "clean"]]
    for command in commands:
        result = CliRunner().invoke(app, [*command, "--weights", "hf://me/set", "--revision", "v1", "--offline"])
        assert result.exit_code == 2 and "weights pull me/set --revision v1" in result.stderr
    assert not hub.asked and not given
    at_v1 = fetched("me/set", revision="v1")
    for command in commands:
        result = CliRunner().invoke(app, [*command, "--weights", "hf://me/set", "--revision", "v1", "--offline"])
        assert result.exit_code == 0 and given.pop() == at_v1


@pytest.mark.usefixtures("offline")
def test_offline_says_what_to_do_once_online(hub: Hub) -> None:
    for refused in (lambda: Checkpoints("me/set"), lambda: VAE.from_pretrained("me/set")):
        with pytest.raises(MissingWeights, match=r"run once while online: bringback weights pull me/set$"):
            refused()
    assert run("list", "--weights", "me/set")[0] == 2
    assert not hub.asked


def test_half_a_download_is_not_taken_for_all_of_it(hub: Hub, checkpoints: Path) -> None:
    hub.put("me/set", checkpoints)
    (fetched("me/set") / "tone" / "model.safetensors").unlink()
    with pytest.raises(
        MissingWeights, match="not all, in the hub's cache"
    ):  # else the shipped one would take its place
        Checkpoints("me/set", local_files_only=True)
    assert Checkpoints("me/set").load("tone", ToneCurves)


def test_pull_verifies_copies_and_mends(hub: Hub, checkpoints: Path, tmp_path: Path) -> None:
    hub.put("me/set", checkpoints)
    code, lines, _ = run("pull", "me/set")
    assert code == 0 and lines[-1].endswith("--weights me/set") and lines[1].split()[:2] == ["scratches", "ScratchUNet"]
    cached = fetched("me/set", local_files_only=True) / "tone" / "model.safetensors"
    data = bytearray(cached.read_bytes())
    data[-1] ^= 1
    cached.resolve().write_bytes(data)
    code, lines, errors = run("verify", "--weights", "me/set", "--offline")
    assert code == 1 and "tone: " in errors and "its card says" in errors and "weights pull" in errors
    assert len(errors.splitlines()) == 1 and any(line.startswith("scratches: sound") for line in lines)
    assert run("pull", "me/set", "--offline")[0] == 2
    out = tmp_path / "deep" / "copy"
    code, lines, _ = run("pull", "me/set", "-o", out)
    assert code == 0 and lines[-1].endswith(f"--weights {out}")
    copied = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert "pipeline.yaml" in copied and len(copied) == 7 and not any(path.is_symlink() for path in out.rglob("*"))
    assert Weight.of("tone", out / "tone" / "model.safetensors").sha256 == file_hash(
        checkpoints / "tone" / "model.safetensors"
    )
    assert [path.name for path in out.parent.iterdir()] == ["copy"]


def test_a_pull_that_broke_off_goes_on(hub: Hub, checkpoints: Path, tmp_path: Path) -> None:
    hub.put("me/set", checkpoints)
    hub.lost = "tone/model.safetensors"
    code, _, errors = run("pull", "me/set", "-o", tmp_path / "out")
    assert code == 2 and "me/set: cannot be downloaded; the same again goes on" in errors.splitlines()[-1]
    assert not (tmp_path / "out").exists()
    hub.lost = ""
    hub.asked.clear()
    pull("me/set", tmp_path / "out")
    assert {path.rpartition("/")[2] for path in hub.asked if "/resolve/" in path} == {"model.safetensors"}


def test_pull_overwrites_nothing_of_others(hub: Hub, checkpoints: Path, tmp_path: Path) -> None:
    hub.put("me/set", checkpoints)
    pull("me/set", tmp_path / "out")
    (tmp_path / "out" / "tone" / "model.safetensors").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="--overwrite"):
        pull("me/set", tmp_path / "out")
    assert (tmp_path / "out" / "tone" / "model.safetensors").read_bytes() == b"mine"
    pull("me/set", tmp_path / "out", overwrite=True)
    assert fault(Weight.of("tone", tmp_path / "out" / "tone" / "model.safetensors"), Checkpoints()) is None
    (tmp_path / "out" / "tone" / "optimizer.pt").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"has tone.optimizer.pt"):
        pull("me/set", tmp_path / "out", overwrite=True)
    (tmp_path / "out" / "tone" / "optimizer.pt").unlink()
    (tmp_path / "out" / "notes.txt").touch()
    with pytest.raises(FileExistsError, match=r"has notes.txt"):
        pull("me/set", tmp_path / "out", overwrite=True)
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="is a file"):
        pull("me/set", tmp_path / "file", overwrite=True)
    with pytest.raises(ValueError, match="goes before the hub's"):
        pull(str(tmp_path / "out"))
    with pytest.raises(ValueError, match="no id of the hub"):
        pull("nowhere")


def test_what_the_hub_has_spoilt_is_said(hub: Hub, checkpoints: Path, tmp_path: Path) -> None:
    weights = checkpoints / "tone" / "model.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[:-4] + b"\0\0\0\1")
    hub.put("me/set", checkpoints)
    with pytest.raises(MissingWeights, match="its card says"):
        pull("me/set", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    hub.put("me/none", checkpoints / "tone" / "..")
    hub.files["me/none", "main"] = {"README.md": b"nothing"}
    with pytest.raises(MissingWeights, match="has no weights"):
        pull("me/none")


def test_verify_finds_what_a_hash_cannot(tmp_path: Path) -> None:
    network = ToneCurves(**TINY["tone"])
    next(network.parameters()).data[0] = torch.nan
    network.save_pretrained(tmp_path / "tone")
    VAE(**TINY["old_vae"]).save_pretrained(tmp_path / "old_vae")
    hashes = {"old_vae": "0" * 64, "clean_vae": ""}
    save_network(LatentMapping(**TINY["mapping"], channels=TINY["old_vae"]["channels"], **hashes), tmp_path / "mapping")
    save_network(ScratchUNet(**TINY["scratches"]), tmp_path / "mine")
    (tmp_path / "mine" / "config.json").write_text('{"network": "Other"}')
    code, lines, errors = run("verify", "--weights", tmp_path)
    assert code == 1
    found = dict(line.split(": ", 1) for line in errors.splitlines())
    assert set(found) == {"tone", "mapping", "mine"}
    assert "not finite" in found["tone"] and "is not the old_vae" in found["mapping"] and "'Other'" in found["mine"]
    assert any(line.startswith("dlib_descriptor: sound") for line in lines)
    listed = {one["name"]: one for one in map(json.loads, run("list", "--weights", tmp_path, "--json")[1])}
    assert listed["mine"]["parameters"] is None and listed["mine"]["licence"] == "unknown"
    assert listed["tone"]["parameters"] == sum(p.numel() for p in network.parameters())
    assert Path(listed["tone"]["file"]) == tmp_path / "tone" / "model.safetensors"


def test_where_prints_a_folder(tmp_path: Path) -> None:
    assert run("where", "tone")[1] == [str(SHIPPED / "tone")]
    assert any(line.split() == ["hub", constants.HF_HUB_CACHE] for line in run("where")[1])
    code, _, errors = run("where", "tones")
    assert code == 2 and "no weights 'tones'" in errors


def test_the_environment_can_forbid_to_ask_the_hub(hub: Hub, checkpoints: Path) -> None:
    hub.put("me/set", checkpoints)
    pulled = fetched("me/set")
    hub.asked.clear()
    environment = {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": constants.HF_HUB_CACHE, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "bringback", "weights", "where", "tone", "--weights", "me/set"],
        env={**os.environ, **environment, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SHIPPED.parent)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.strip() == str(pulled / "tone"), done.stderr
    assert not hub.asked


def test_a_paper_network_says_its_licence(tmp_path: Path) -> None:
    save_network(PaperFaceGenerator(**SMALL["PaperFaceGenerator"]), tmp_path / "paper_faces_256", half=False)
    code, lines, _ = run("list", "--weights", tmp_path)
    assert code == 0 and any(line.split()[:2] == ["paper_faces_256", "PaperFaceGenerator"] for line in lines)
