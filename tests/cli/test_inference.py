"""The scripts in inference/: originals are never overwritten, mistakes are one line, gray stays gray."""

import importlib.util
import io
import json
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from skimage import data
from typer.testing import CliRunner

from bringback.models.tone import ToneCurves
from bringback.models.translation.mapping import LatentMapping
from bringback.models.translation.vae import VAE
from bringback.stages.faces import stage as faces
from bringback.weights.checkpoints import save_network

SCRIPTS = Path(__file__).parents[2] / "inference"


def load(name):
    spec = importlib.util.spec_from_file_location(f"inference_{name}", SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(name, *arguments):
    app = typer.Typer(pretty_exceptions_enable=False)
    module = load(name)
    app.command()(getattr(module, "main", None) or getattr(module, name))
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def photos(tmp_path, pixels):
    root = tmp_path / "in"
    root.mkdir()
    faded = Image.fromarray(pixels // 2 + 60)
    faded.save(root / "a.png")
    faded.convert("L").save(root / "grey.png")
    mask = np.zeros((48, 64), np.uint8)
    mask[20:23] = 255
    for name in ("a", "grey"):
        Image.fromarray(mask).save(root / f"{name}_mask.png")
    return root


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    root = tmp_path / "weights"
    hashes = {name: save_network(VAE(blocks=1), root / name) for name in ("old_vae", "clean_vae")}
    mapping = LatentMapping(widths=(8, 8, 8), blocks=(1, 1, 1), inner=4, **hashes)
    tone = ToneCurves(side=16, width=8)
    torch.nn.init.normal_(list(tone.parameters())[-1], std=0.3)
    for name, network in (("mapping", mapping), ("tone", tone)):
        save_network(network, root / name)
    return root


@pytest.mark.parametrize("name", ["fill", "tone", "translate"])
def test_a_stage_alone(name, photos, weights, tmp_path):
    out = tmp_path / "out"
    before = {path: path.read_bytes() for path in photos.iterdir()}
    result = run(name, photos, "-o", out, "--mask", photos, "--weights", weights, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == "2 done, 0 skipped, 0 failed"
    assert not np.array_equal(np.asarray(Image.open(out / "a.png")), np.asarray(Image.open(photos / "a.png")))
    assert Image.open(out / "grey.png").mode == "L"
    assert {path: path.read_bytes() for path in photos.iterdir()} == before
    assert run(name, photos / "a.png", "-o", photos, "--mask", photos, "--weights", weights).exit_code == 2
    assert {path: path.read_bytes() for path in photos.iterdir()} == before
    result = run(name, tmp_path / "gone.jpg", "-o", out, "--mask", photos)
    assert result.exit_code == 2 and result.stderr == f"bringback: no such file or folder: {tmp_path / 'gone.jpg'}\n"
    (out / "a.png").write_bytes(b"somebody's")
    (photos / "a.png").write_bytes(b"")
    result = run(name, photos / "a.png", "-o", out, "--mask", photos, "--weights", weights, "--overwrite")
    assert result.exit_code == 1 and f"failed: {photos / 'a.png'}: the file is empty" in result.stderr


def test_photos_are_enlarged(photos, tmp_path):
    out = tmp_path / "out"
    result = run("upscale", photos / "grey.png", "-o", out, "--upscale", 1.5, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "enlarged to 96x72" in result.stdout
    with Image.open(out / "grey.png") as made:
        assert made.size == (96, 72) and made.mode == "L"
    for given, said in (
        (["--upscale", 2, "--upscale-to", 90], "--upscale and --upscale-to exclude each other"),
        (["--upscale", 5], "enlarging 5 times: wants more than 1 and at most 4 times"),
        (["--upscale-model", tmp_path / "no.pth"], f"{tmp_path / 'no.pth'}: no such file; a model to enlarge with"),
    ):
        wrong = run("upscale", photos / "a.png", "-o", out, *given)
        assert wrong.exit_code == 2 and wrong.stderr.startswith(f"bringback: {said}"), wrong.stderr


def test_aligned_crops(tmp_path, monkeypatch):
    class Darker(torch.nn.Module):
        def forward(self, crops, mask):
            return crops + 0.7 * (crops - torch.nn.functional.avg_pool2d(crops, 5, 1, 2, count_include_pad=False))

    def build(checkpoints, device, **settings):
        return faces.FaceRefiner(Darker(), **settings)

    monkeypatch.setattr(faces.FaceRefiner, "from_checkpoints", build)
    root, out = tmp_path / "crops", tmp_path / "out"
    root.mkdir()
    face = data.astronaut()[:256, 90:346]
    Image.fromarray(face).save(root / "face.png")
    Image.fromarray(face[:200]).save(root / "cut.png")
    before = (root / "face.png").read_bytes()
    result = run("faces", root, "-o", out, "--aligned")
    assert result.exit_code == 1
    said = f"failed: {root / 'cut.png'}: an aligned crop is 256x256 pixels, this is 256x200"
    assert result.stderr == f"{said}\n"
    refined = np.asarray(Image.open(out / "face.png"))
    assert refined.shape == face.shape and np.abs(refined.astype(int) - face).max() > 5
    for wrong in (root, root / "face.png"):
        assert run("faces", wrong, "-o", root, "--aligned").exit_code == 2
    assert (root / "face.png").read_bytes() == before
    half = run("faces", root / "face.png", "-o", tmp_path / "half", "--aligned", "--fidelity", 0.5)
    assert half.exit_code == 0
    milder = np.asarray(Image.open(tmp_path / "half" / "face.png"))
    assert 0 < np.abs(milder.astype(int) - face).mean() < 0.7 * np.abs(refined.astype(int) - face).mean()
    (line,) = map(json.loads, (tmp_path / "half" / "manifest.jsonl").read_text().splitlines())
    assert line["settings"]["faces"] == {"fidelity": 0.5, "aligned": True}
    assert line["faces"]["each"][0]["status"] == "refined at 50%" and line["faces"]["each"][0]["identity"] < 0.45
    assert run("faces", root / "face.png", "-o", tmp_path / "whole", "--only-center-face").exit_code == 0
    wrong = run("faces", root / "face.png", "-o", tmp_path / "wrong", "--fidelity", 2)
    assert wrong.exit_code == 2 and wrong.stderr.startswith("bringback: fidelity 2: wants 0")


def test_align_faces(tmp_path, monkeypatch, capsys):
    main = load("align_faces").main

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["align_faces", *map(str, arguments)])
        code = main()
        return code, capsys.readouterr()

    root, out = tmp_path / "photos", tmp_path / "aligned.tar"
    root.mkdir()
    turned = Image.fromarray(data.astronaut()[:256, 90:346]).rotate(90)
    exif = Image.Exif()
    exif[274] = 6  # to be turned back
    turned.save(root / "face.png", exif=exif)
    (root / "broken.jpg").write_bytes(b"no")
    code, said = call(root, "-o", out, "--least", 10)
    assert code == 0 and said.out.startswith("1 faces from 2 pictures, 0 without a face")
    assert said.err.startswith("left out: broken.jpg: not a picture") and said.err.count("\n") == 1
    with tarfile.open(out) as shard:
        assert shard.getnames() == ["face.webp"]
        assert Image.open(io.BytesIO(shard.extractfile("face.webp").read())).size == (256, 256)
    before = out.read_bytes()
    for arguments in ([out, "-o", out], [root / "broken.jpg", "-o", out], [tmp_path / "gone", "-o", out]):
        code, said = call(*arguments)
        assert code == 2 and said.err.startswith("align_faces: ") and said.err.count("\n") == 1
    assert out.read_bytes() == before and not list(tmp_path.glob("*.part"))
