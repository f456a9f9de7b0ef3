"""What a stranger meets first: metadata, licence, README, the shipped weights, the command."""

import doctest
import pydoc
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from PIL import Image

import bringback
from bringback.assets import presets
from bringback.training.run import main

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
CHECKPOINTS = ROOT / "checkpoints"
NAMES = {"scale", "scratches", "tone", "clean_vae", "old_vae", "mapping", "faces", "colorize", "relight", "upscale"}
MIB = 2**20


def installed() -> bool:
    return any(True for _ in metadata.distributions(name="bringback"))


needs_installation = pytest.mark.skipif(not installed(), reason="bringback is not installed; `make test` does it")


def test_module_version_is_the_declared_one():
    assert bringback.__version__ == PROJECT["project"]["version"]


@needs_installation
def test_installed_version_is_the_declared_one():
    assert metadata.version("bringback") == bringback.__version__


@needs_installation
def test_entry_point_is_callable():
    (script,) = metadata.entry_points(group="console_scripts", name="bringback")
    assert script.value == PROJECT["project"]["scripts"]["bringback"] == "bringback.cli:app"
    assert callable(script.load())


def test_help_names_the_commands():
    code = "from bringback.cli.main import app; app(prog_name='bringback')"
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
    for command in ("restore", "scratches", "age", "evaluate"):
        assert command in done.stdout


def test_the_library_shows_what_is_public(pixels, tmp_path, monkeypatch):
    code = "import bringback, sys; print(*dir(bringback)); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0 and done.stdout.split() == sorted(bringback.__all__)
    assert all(hasattr(bringback, name) for name in bringback.__all__)
    shown = pydoc.plain(pydoc.render_doc(bringback))
    assert "class Pipeline" in shown and "restore_folder(" in shown
    Image.fromarray(pixels).save(tmp_path / "scan.jpg")
    monkeypatch.chdir(tmp_path)
    example = doctest.DocTestParser().get_examples(bringback.__doc__)
    assert len(example) == 3
    exec("".join(line.source for line in example), {})
    assert Image.open("restored.jpg").size == (64, 48)


def test_every_extra_is_open_and_every_dependency_has_a_floor():
    extras = PROJECT["project"]["optional-dependencies"]
    assert set(extras) == {"cloud", "dev", "export", "io", "plugins", "ray", "test", "train", "web"}
    for requirement in PROJECT["project"]["dependencies"]:
        assert re.fullmatch(r"[\w-]+>=[\d.]+", requirement), requirement


def test_training_alone_needs_accelerate(monkeypatch, capsys):
    assert not any(one.startswith("accelerate") for one in PROJECT["project"]["dependencies"])
    monkeypatch.setitem(sys.modules, "accelerate.utils", None)
    monkeypatch.setattr(sys, "argv", ["tone.py"])
    with pytest.raises(SystemExit) as ended:
        main("configs/tone.yaml")
    assert ended.value.code == 2
    assert capsys.readouterr().err == 'error: accelerate.utils is not installed: pip install "bringback[train]"\n'


def test_licence_is_apache_2():
    text = (ROOT / "LICENSE").read_text("utf-8")
    assert "Apache License" in text and "Version 2.0, January 2004" in text
    assert PROJECT["project"]["license"] == "Apache-2.0"


def test_readme_names_the_two_commands_and_its_files_exist():
    readme = (ROOT / "README.md").read_text("utf-8")
    assert "make restore" in readme and "make test" in readme
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    commands = " ".join(re.findall(r"`[^`]+`|^ {4}.*$", readme, re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)", commands)) <= targets
    for link in re.findall(r"\]\((?!https?:|#)([^)]+)\)", readme):
        assert (ROOT / link).exists(), link


def test_all_checkpoints_are_complete():
    assert {folder.name for folder in CHECKPOINTS.iterdir() if folder.is_dir()} == NAMES
    for name in NAMES:
        for file in ("config.json", "model.safetensors", "README.md"):
            assert (CHECKPOINTS / name / file).is_file(), f"checkpoints/{name}/{file}"


def test_checkpoints_keep_to_their_budget():
    sizes = {path: path.stat().st_size for path in CHECKPOINTS.rglob("*") if path.is_file()}
    assert sum(sizes.values()) <= 32 * MIB
    assert max(sizes.values()) <= 15 * MIB


def test_the_wheel_carries_the_weights(tmp_path):
    pytest.importorskip("hatchling")
    code = f"from hatchling.build import build_wheel; print(build_wheel({str(tmp_path)!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"bringback/assets/weights/{name}/model.safetensors" for name in NAMES} <= names
    assert {"bringback/evaluation/niqe.safetensors", "bringback/models/faces/judge.safetensors"} <= names
    assert {f"bringback/assets/presets/{name}.yaml" for name in presets()} <= names
    assert "bringback/cli/main.py" in names and "bringback/py.typed" in names
    assert not any(name.startswith(("tests/", "checkpoints/", "train/")) for name in names)


def test_examples_are_small_jpegs():
    photos = sorted((ROOT / "examples" / "photos").glob("*.jpg"))
    assert 4 <= len(photos) <= 6
    assert all(photo.stat().st_size < MIB // 2 for photo in photos)
    notes = (ROOT / "examples" / "README.md").read_text("utf-8")
    assert all(photo.name in notes for photo in photos)
