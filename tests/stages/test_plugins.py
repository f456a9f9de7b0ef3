"""Stages of other packages: a tiny one is built and installed, and works by name on the command line and in YAML."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from bringback import stages
from bringback.cli.main import app

STAGE = """
class Brighten:
    name = "brighten"
    after = "tone"

    def __init__(self, by=0.1):
        self.by = by

    @classmethod
    def from_checkpoints(cls, checkpoints, compute, by=0.1):
        return cls(by)

    def __call__(self, restoration):
        restoration.pixels = (restoration.pixels + self.by).clamp(0, 1)
        restoration.notes[self.name] = {"by": self.by}
        return restoration


class Nameless:
    @classmethod
    def from_checkpoints(cls, checkpoints, compute):
        return cls()
"""
PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "brightener"
version = "1.2"

[project.entry-points."bringback.stages"]
brighten = "brightener:Brighten"
nameless = "brightener:Nameless"
nowhere = "brightener.gone:Gone"
tone = "brightener:Brighten"
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with one that pip has installed there."""
    source, target = tmp_path_factory.mktemp("brightener"), tmp_path_factory.mktemp("site")
    (source / "brightener").mkdir()
    (source / "brightener" / "__init__.py").write_text(STAGE, encoding="utf-8")
    (source / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--no-build-isolation", "--target"]
    subprocess.run([*pip, str(target), str(source)], check=True, capture_output=True)
    return target


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(site))
    stages.plugins.cache_clear()
    yield
    stages.plugins.cache_clear()
    sys.modules.pop("brightener", None)


def test_it_stands_where_it_says_and_ours_stay_ours(installed):
    names = ["brighten", "fill", "scratches", "tone"]
    kinds = stages.ordered("lean", names)
    assert [*kinds] == ["scratches", "tone", "brighten", "fill"]
    assert kinds["tone"].__module__ == "bringback.stages.tone"
    assert [*stages.ordered("lean", ["brighten", "fill"])] == ["brighten", "fill"]  # though `tone` does not run
    assert [*stages.ordered("paper", ["brighten", "translate", "scratches"])] == ["scratches", "brighten", "translate"]
    assert stages.origins(names) == {"brighten": "brightener 1.2"}


@pytest.mark.parametrize(("name", "why"), [("nameless", "another name"), ("nowhere", "cannot be imported")])
def test_what_is_no_stage_is_told_with_its_package(installed, name: str, why: str):
    with pytest.raises(ValueError, match=rf"{name}.*brightener 1.2.*{why}") as caught:
        stages.ordered("lean", ["tone", name])
    assert "\n" not in str(caught.value)


def test_an_unknown_stage_is_told_which_there_are(installed):
    with pytest.raises(ValueError, match=r"'brigthen'.*scratches.*brighten"):
        stages.ordered("lean", ["brigthen"])


def test_it_works_by_name_on_the_command_line_and_in_yaml(installed, site: Path, tmp_path: Path):
    Image.fromarray(np.full((40, 50, 3), 100, np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "mine.yaml").write_text("stages: [brighten]\nsettings: {brighten: {by: 0.2}}\n", encoding="utf-8")

    def restore(out: str, *more: str) -> list[str]:
        return ["restore", str(tmp_path / "a.png"), "-o", str(tmp_path / out), "--device", "cpu", *more]

    # as for whoever has it installed: nothing of this is known to the process that begins
    code = f"import sys; sys.path.insert(0, {str(site)!r}); from bringback.cli.main import app; app()"
    command = [sys.executable, "-c", code, *restore("named", "--stages", "brighten")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert np.asarray(Image.open(tmp_path / "named" / "a.png")).mean() == pytest.approx(100 + 25.5, abs=0.6)
    entry = json.loads((tmp_path / "named" / "manifest.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert entry["stages"]["brighten"]["by"] == 0.1 and entry["settings"]["plugins"] == {"brighten": "brightener 1.2"}
    again = CliRunner().invoke(app, restore("yaml", "--config", str(tmp_path / "mine.yaml")))
    assert again.exit_code == 0, again.output
    assert np.asarray(Image.open(tmp_path / "yaml" / "a.png")).mean() == pytest.approx(100 + 51, abs=0.6)
    refused = CliRunner().invoke(app, restore("none", "--stages", "brighter"))
    assert refused.exit_code == 2 and "brighten" in refused.stderr and refused.stderr.count("\n") == 1
