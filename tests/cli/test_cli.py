"""The command: exit codes, one line for what went wrong, JSON that is nothing but JSON."""

import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from rich import progress
from rich.console import Console
from typer.testing import CliRunner

from bringback import __version__
from bringback.batch import jobs
from bringback.cli import console
from bringback.cli import main as cli
from bringback.cli.options import STAGES
from bringback.cli.settings import prior_settings
from bringback.evaluation import runner as evaluate
from bringback.pipeline import Pipeline
from bringback.pipeline_config import DEFAULT
from bringback.runtime.memory import Plan
from bringback.stages.prior.settings import Progress
from bringback.weights.checkpoints import Checkpoints, MissingWeights


@pytest.fixture
def photos(tmp_path, pixels):
    root = tmp_path / "in"
    root.mkdir()
    for name in ("a.png", "Käthe [1].jpg"):
        Image.fromarray(pixels).save(root / name)
    return root


@pytest.fixture
def run(monkeypatch, lighten):
    """Run the command with a pipeline that needs no weights; what it was asked for is in `run.asked`."""

    def from_pretrained(weights=None, *, config=None, stages=None, strength=1.0, settings=None, **computing):
        invoke.asked = {
            "weights": weights,
            "config": config,
            "stages": stages,
            "computing": {name: value for name, value in computing.items() if value not in (None, "auto")},
            "settings": settings,
        }
        return Pipeline([lighten], strength=strength)

    def invoke(*arguments):
        return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])

    monkeypatch.setattr(Pipeline, "from_pretrained", from_pretrained)
    return invoke


def one_line(result):
    """What was said on stderr, which must be one line, and nothing else anywhere."""
    assert result.exit_code == 2 and result.stdout == "" and "Traceback" not in result.stderr
    assert result.stderr.startswith("bringback: ") and result.stderr.count("\n") == 1, result.stderr
    return result.stderr


def test_all_done_is_0_and_some_failed_is_1(run, photos, tmp_path):
    result = run("restore", photos, "-o", tmp_path / "out")
    assert result.exit_code == 0 and result.stderr == ""
    lines = result.stdout.splitlines()
    assert len(lines) == 3 and lines[-1] == "2 done, 0 skipped, 0 failed"
    assert lines[0].startswith(f"done: {photos / 'Käthe [1].jpg'} (")
    (photos / "broken.jpg").write_bytes(b"")
    result = run("restore", photos, "-o", tmp_path / "out")
    assert result.exit_code == 1 and result.stdout.splitlines()[-1] == "0 done, 2 skipped, 1 failed"
    assert result.stderr == f"failed: {photos / 'broken.jpg'}: the file is empty\n" and "failed:" not in result.stdout


def test_what_was_done_and_what_wants_a_look_is_said(run, photos, tmp_path, monkeypatch):
    """A line a photo, a warning after it, and all warnings once more at the end."""

    class Filler:
        name = "fill"

        def __call__(self, restoration):
            restoration.notes["fill"] = {"filled": 0.0042}
            restoration.notes["tone"] = {"mean_change": 0.1, "faded": False}
            if restoration.photo.pixels.shape[1] == 64:
                restoration.warnings += ["much filled", "a pattern"]
            return restoration

    monkeypatch.setattr(Pipeline, "from_pretrained", lambda *args, **settings: Pipeline([Filler()]))
    Image.new("RGB", (40, 30)).save(photos / "small.png")
    lines = run("restore", photos, "-o", tmp_path / "out", "--review", tmp_path / "look").stdout.splitlines()
    assert all(": scratches 0.4 % filled (" in line for line in lines if line.startswith("done: "))
    wanted = [f"{photos / name}: much filled; a pattern" for name in ("Käthe [1].jpg", "a.png")]
    assert [line for line in lines if line.startswith("warning: ")] == [f"warning: {line}" for line in wanted]
    again = [f"  {photos / 'Käthe [1].jpg'} and 1 more: {warning}" for warning in ("much filled", "a pattern")]
    assert lines[-4:] == ["3 done, 0 skipped, 0 failed", "2 of 3 want a look:", *again]
    assert sorted(path.name for path in (tmp_path / "look").iterdir()) == ["Käthe [1].jpg.png", "a.png.png"]


@pytest.mark.parametrize(
    ("faded", "change", "words"),
    [(1.0, 0.05, "fading undone"), (0.3, 0.02, "fading slightly undone"), (0.07, 0.003, ""), (0.0, 0.0, "")],
)
def test_fading_is_said_to_be_undone_as_far_as_it_was(faded, change, words):
    entry = {"stages": {"tone": {"faded": faded, "mean_change": change}}, "faces": {"count": 0}}
    assert ", ".join(console._did(entry)) == words


def test_smoothed_blocks_are_told_however_little_that_changed_a_photo():
    entry = {"stages": {"translate": {"mean_change": 0.0015, "blocks": 4.0}}, "faces": {"count": 0}}
    assert ", ".join(console._did(entry)) == "blocks of 4 pixels smoothed"


def test_a_folder_for_review_inside_the_photos_is_refused(run, photos, tmp_path):
    assert "inside the input" in one_line(run("restore", photos, "-o", tmp_path / "out", "--review", photos / "look"))
    for option in ("--review", "--faces-review"):
        result = run("restore", photos / "a.png", "-o", tmp_path / "out", option, photos)
        assert "has the input" in one_line(result)


def test_urls_that_are_not_taken_are_named(run, photos, tmp_path):
    for places in (
        ("file:///scans", "-o", tmp_path / "out"),
        (photos, "-o", "file:///out"),
        (photos / "a.png", "-o", "file:///o.png"),
    ):
        assert "give the path without file://" in one_line(run("restore", *places))
    assert "restore and faces alone take URLs" in one_line(run("split", "git+ssh://host/a.png", "-o", tmp_path / "out"))


def test_json_is_the_manifest_and_nothing_else(run, photos, tmp_path):
    (photos / "broken.jpg").write_bytes(b"no")
    result = run("restore", photos, "-o", tmp_path / "out", "--json")
    assert result.exit_code == 1 and result.stderr == ""
    assert result.stdout == (tmp_path / "out" / "manifest.jsonl").read_text("utf-8")
    keys = {"input", "output", "status", "seconds", "stages", "faces", "message", "warnings"}
    assert all(json.loads(line).keys() >= keys for line in result.stdout.splitlines())


def test_a_dry_run(run, photos, tmp_path):
    (photos / "broken.jpg").write_bytes(b"no")
    result = run("restore", photos, "-o", tmp_path / "out", "--dry-run")
    assert result.exit_code == 1 and not (tmp_path / "out").exists()
    assert result.stdout.splitlines()[-1] == "2 planned, 0 done, 0 skipped, 1 failed"
    assert result.stderr.startswith(f"failed: {photos / 'broken.jpg'}: ") and result.stderr.count("\n") == 1


def test_options_reach_the_library(run, photos, tmp_path):
    options = ["--stages", "tone, fill", "--device", "cpu", "--weights", tmp_path, "--compare", "--save-stages"]
    options += ["--config", "lean", "--dtype", "float32", "--tile", 256, "--batch-size", 3, "--memory", 2.5]
    options += ["--engine", "onnx", "--revision", "v2", "--offline", "--negative"]
    Image.new("L", (64, 48)).save(tmp_path / "m.png")
    result = run("restore", photos / "a.png", "-o", tmp_path / "out", "--mask", tmp_path / "m.png", *options)
    assert result.exit_code == 0, result.stdout
    asked = {"weights": tmp_path, "config": "lean", "stages": ["tone", "fill"], "settings": {"faces": {}}}
    computing = {"device": "cpu", "dtype": "float32", "tile": 256, "batch_size": 3, "memory": 2_500_000_000}
    computing |= {"engine": "onnx", "revision": "v2", "local_files_only": True, "negative": True}
    computing |= {"also": []}
    assert run.asked == asked | {"computing": computing}
    assert (tmp_path / "out/compare/a.png.png").exists() and (tmp_path / "out/stages/a/1-tone.png").exists()
    assert json.loads((tmp_path / "out/manifest.jsonl").read_text())["mask"]
    assert STAGES.split(",") == list(DEFAULT)


def test_the_inputs_are_searched_once(run, photos, tmp_path, monkeypatch):
    searched = []
    search = jobs.survey
    monkeypatch.setattr(
        jobs, "survey", lambda folder, *rest, **more: searched.append(folder) or search(folder, *rest, **more)
    )
    masks = tmp_path / "masks"
    masks.mkdir()
    Image.new("L", (64, 48)).save(masks / "a_mask.png")
    result = run("restore", photos, "-o", tmp_path / "out", "--mask", masks)
    assert result.exit_code == 0 and searched == [photos, masks]
    entries = [json.loads(line) for line in (tmp_path / "out/manifest.jsonl").read_text("utf-8").splitlines()]
    assert {entry["photo"]: bool(entry["mask"]) for entry in entries} == {"a.png": True, "Käthe [1].jpg": False}


def test_slow_stages_report_to_the_command_and_not_through_shared_stages(run, photos, tmp_path, lighten, monkeypatch):
    shown = []

    def steps(self, restoration):
        for done in (0.5, 1.0):
            share = 1.0 if done == 1 else None
            restoration.on_step(self.name, Progress(done, int(10 * done), 0.0, 48, 64, 1, None, share=share))
        return restoration

    monkeypatch.setattr(type(lighten), "__call__", steps)
    real = console._callbacks

    def callbacks(bar, terminal):
        made = real(bar, terminal)
        return replace(made, on_step=lambda *step: (shown.append(step[0]), made.on_step(*step)))

    monkeypatch.setattr(console, "_callbacks", callbacks)
    result = run("restore", photos / "a.png", "-o", tmp_path / "out")
    assert result.exit_code == 0 and shown == ["tone", "tone"] and "on_step" not in vars(lighten)
    assert "prior: 64x48 pixels, 10 iterations in 0 s, used by 100 %" in result.stdout
    assert run("restore", photos / "a.png", "-o", tmp_path / "lines", "--json").exit_code == 0


def test_the_bar_tells_photo_stage_and_share_of_tiles(capsys):
    terminal = Console(file=io.StringIO(), force_terminal=True, width=100)
    with progress.Progress(console=terminal, auto_refresh=False) as bar:
        show = console._callbacks(bar, terminal)
        photos, at_work = bar.tasks
        show.on_start(2)
        show.on_plan("1931/Käthe [1].jpg", Plan(48, 64, 1, None))
        show.on_work("scratches", 0.5, 0.1)
        assert (at_work.description, at_work.completed, at_work.visible) == ("Käthe [1].jpg: scratches, %", 50, True)
        show.on_work("scratches", 0.0, 0.0)  # looks once more
        assert (photos.completed, photos.total, at_work.completed) == (0.1, 2, 0)
        show.on_photo({"status": "failed", "message": "1931/Käthe [1].jpg: broken", "warnings": []})
        assert (photos.completed, photos.description, at_work.visible) == (1, "photos, 1 failed", False)
        told = capsys.readouterr()  # while the others go on
        assert (told.out, told.err) == ("", "failed: 1931/Käthe [1].jpg: broken\n")
        show.on_plan(f"{'x' * 40}.jpg", Plan(48, 64, 1, None))
        show.on_work("tone", 0.0, 0.5)
        assert photos.completed == 1.5 and at_work.description == f"…{'x' * 19}.jpg: tone, %"
    assert "broken" not in terminal.file.getvalue()


@pytest.mark.parametrize(("option", "said"), [("--overwrite", True), ("--json", False)])
def test_the_first_words_do_not_wait_for_torch(photos, tmp_path, option, said):
    code = """
import sys
class Stop:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            sys.exit("torch")
sys.meta_path.insert(0, Stop())
from bringback.cli.main import app
app()
"""
    program = [sys.executable, "-c", code, "restore", str(photos), "-o", str(tmp_path / "out"), option]
    as_on_a_terminal = os.environ | {"FORCE_COLOR": "1"}
    result = subprocess.run(program, capture_output=True, text=True, encoding="utf-8", env=as_on_a_terminal)
    assert result.stderr == "torch\n" and ("loading" in result.stdout) == said


def test_existing_files(run, photos, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.png").write_bytes(b"somebody's")
    arguments = ["restore", photos / "a.png", "-o", out]
    assert run(*arguments).exit_code == 1
    assert run(*arguments, "--skip-existing").exit_code == 0 and (out / "a.png").read_bytes() == b"somebody's"
    assert "exclude" in one_line(run(*arguments, "--skip-existing", "--overwrite"))
    assert run(*arguments, "--overwrite").exit_code == 0 and Image.open(out / "a.png").size == (64, 48)


def test_wrong_usage_is_2_and_one_line(run, photos, tmp_path, monkeypatch):
    assert "no such file or folder" in one_line(run("restore", tmp_path / "gone.jpg", "-o", tmp_path / "out"))
    assert "inside the input" in one_line(run("restore", photos, "-o", photos / "out"))
    assert "is a folder; name a folder" in one_line(run("restore", photos, "-o", photos / "a.png"))
    assert "no stage" in one_line(run("restore", photos, "-o", tmp_path / "out", "--stages", ","))
    assert "no such mask" in one_line(run("restore", photos, "-o", tmp_path / "out", "--mask", tmp_path / "m.png"))
    assert run("restore", photos).exit_code == 2
    assert run("restore", photos, "-o", tmp_path / "out", "--no-such-option").exit_code == 2

    def none(*args, **kwargs):
        raise MissingWeights("weights 'mapping' not found")

    monkeypatch.setattr(Pipeline, "from_pretrained", none)
    assert "weights 'mapping' not found" in one_line(run("restore", photos, "-o", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_ctrl_c_is_130_and_the_same_command_goes_on(run, photos, tmp_path, lighten, monkeypatch):
    def stop(self, restoration):
        if self.calls == 1:
            raise KeyboardInterrupt
        self.calls += 1
        return restoration

    with monkeypatch.context() as patched:
        patched.setattr(type(lighten), "__call__", stop)
        result = run("restore", photos, "-o", tmp_path / "out")
    assert result.exit_code == 130 and "goes on" in result.stderr and "Traceback" not in result.stderr
    assert len((tmp_path / "out/manifest.jsonl").read_text().splitlines()) == 1
    result = run("restore", photos, "-o", tmp_path / "out")
    assert result.exit_code == 0 and result.stdout.splitlines()[-1] == "1 done, 1 skipped, 0 failed"


def test_what_schedulers_send_is_like_ctrl_c(run, photos, tmp_path, lighten, monkeypatch):
    def terminated(_, restoration):
        os.kill(os.getpid(), signal.SIGTERM)
        return restoration

    before = signal.getsignal(signal.SIGTERM)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(type(lighten), "__call__", terminated)
            result = run("restore", photos, "-o", tmp_path / "out")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert result.exit_code == 130 and "goes on where it stopped" in result.stderr
    assert not list((tmp_path / "out").rglob(".bringback*"))
    assert run("restore", photos, "-o", tmp_path / "out").exit_code == 0


def test_urls(run, photos, tmp_path):
    fsspec = pytest.importorskip("fsspec")
    store = fsspec.filesystem("memory")
    store.put(str(photos), "/archive", recursive=True)
    try:
        result = run("restore", "memory://archive", "-o", "memory://restored")
        assert result.exit_code == 0 and result.stdout.splitlines()[-1] == "2 done, 0 skipped, 0 failed", result.output
        assert sorted(store.find("/restored")) == [
            f"/restored/{name}" for name in ("Käthe [1].jpg", "a.png", "manifest.jsonl")
        ]
        assert "not with URLs" in one_line(run("restore", "memory://archive", "-o", tmp_path, "--mask", photos))
        for places in (("memory://archive", "-o", tmp_path / "out"), (photos, "-o", "memory://masks")):
            assert "restore and faces alone take URLs" in one_line(
                run("age", *places, "--recipe", "clean", "--seed", 1)
            )
    finally:
        for place in ("/archive", "/restored"):
            if store.exists(place):
                store.rm(place, recursive=True)


def test_ctrl_c_promises_no_more_than_there_is(run, photos, tmp_path, monkeypatch):
    from bringback.batch import masks as batch

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(batch, "age_folder", stop)
    monkeypatch.setattr(evaluate, "evaluate", stop)
    arguments = ["-o", tmp_path / "out", "--recipe", "clean", "--seed", 1]
    result = run("age", photos, *arguments)
    assert result.exit_code == 130 and "--skip-existing goes on" in result.stderr
    result = run("evaluate", photos, *arguments[2:])
    assert result.exit_code == 130 and "goes on" not in result.stderr and result.stderr.count("\n") == 1


def test_scratches(photos, tmp_path, monkeypatch):
    from bringback.stages.scratches import ScratchDetector

    def run(*arguments):
        return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])

    class Half:
        name = "scratches"

        def __call__(self, restoration):
            restoration.mask = torch.full_like(restoration.pixels[:, :1], 0.5)
            return restoration

    monkeypatch.setattr(ScratchDetector, "from_checkpoints", lambda checkpoints, device: Half())
    result = run("scratches", photos, "-o", tmp_path / "out", "--json")
    assert result.exit_code == 0 and len(result.stdout.splitlines()) == 2
    mask = Image.open(tmp_path / "out" / "Käthe [1]_mask.png")
    assert mask.size == (64, 48) and np.unique(np.asarray(mask)).tolist() == [128]
    assert "inside the input" in one_line(run("scratches", photos, "-o", photos / "out"))


def test_settings_of_the_prior_go_with_a_configuration_that_has_it(tmp_path):
    (tmp_path / "a.yaml").write_text("stages: [scratches, fill]\nsettings: {fill: {method: prior}}\n")
    (tmp_path / "b.yaml").write_text("stages: [scratches, fill]\n")
    assert prior_settings(None, None, str(tmp_path / "a.yaml"), seconds=60.0) == {"fill": {"seconds": 60.0}}
    with pytest.raises(ValueError, match="go with --fill prior"):
        prior_settings(None, None, str(tmp_path / "b.yaml"), seconds=60.0)


def test_tracebacks_are_logged_on_request_alone(run, tmp_path, caplog, monkeypatch):
    (tmp_path / "a.png").write_bytes(b"no")
    monkeypatch.setattr(logging.getLogger("bringback"), "level", logging.WARNING)  # is put back afterwards
    for debug in ([], ["--debug"]):
        caplog.clear()
        result = run(*debug, "restore", tmp_path / "a.png", "-o", tmp_path / "out", "--stages", "tone")
        assert result.exit_code == 1 and "not a picture" in result.stderr
        assert any(record.exc_info for record in caplog.records) == bool(debug)
    logging.getLogger("bringback").setLevel(logging.WARNING)  # which forgets what it knew of the loggers below


def test_age(run, photos, tmp_path):
    arguments = ["age", photos, "-o", tmp_path / "out", "--seed", 3, "--recipe"]
    assert run(*arguments, "mixed").exit_code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "Käthe [1].jpg",
        "Käthe [1]_mask.png",
        "a.png",
        "a_mask.png",
    ]
    assert "unknown recipe 'rust'" in one_line(run(*arguments, "rust"))
    assert run(*arguments, "mixed").exit_code == 1
    result = run(*arguments, "mixed", "--skip-existing")
    assert result.exit_code == 0 and result.stdout.splitlines()[-1] == "0 done, 2 skipped, 0 failed"
    assert "exclude" in one_line(run(*arguments, "mixed", "--skip-existing", "--overwrite"))
    shard = tmp_path / "notatar.tar"
    shard.write_text("no shard")
    assert str(shard) in one_line(run(*arguments, "mixed", "--overlays", shard))


def test_how_faces_are_refined(run, photos, tmp_path):
    given = ["--faces-min-size", 40, "--only-center-face", "--fidelity", 0.3]
    assert run("restore", photos, "-o", tmp_path / "out", *given).exit_code == 0
    wanted = {"min_size": 40, "only_center_face": True, "fidelity": 0.3}
    assert run.asked["settings"] == {"faces": wanted}
    assert run("faces", photos, "-o", tmp_path / "faces", *given).exit_code == 0
    assert run.asked["stages"] == ["faces"] and run.asked["settings"] == {"faces": wanted}
    assert run("faces", photos, "-o", tmp_path / "crops", "--aligned").exit_code == 0
    assert run.asked["settings"] == {"faces": {"aligned": True}}
    assert run("restore", photos, "-o", tmp_path / "plain").exit_code == 0
    assert run.asked["settings"] == {"faces": {}}


def test_how_damage_is_found_and_filled(run, photos, tmp_path):
    arguments = ["restore", photos, "-o", tmp_path / "out", "--preset", "classical"]
    assert run(*arguments, "--scratches", "unet", "--fill", "ns").exit_code == 0
    assert run.asked["config"] == "classical"
    assert run.asked["settings"] == {"faces": {}, "scratches": {"method": "unet"}, "fill": {"method": "ns"}}


def test_wrong_ways_are_one_line(photos, tmp_path):
    def run(*arguments):
        return CliRunner().invoke(cli.app, [str(argument) for argument in (*arguments, "-o", tmp_path / "out")])

    assert "one of unet, gradient" in one_line(run("restore", photos, "--scratches", "net"))
    assert "one of unet, gradient" in one_line(run("scratches", photos, "--scratches", "net"))
    assert "one of pushpull, telea, ns, prior" in one_line(run("restore", photos, "--fill", "paint"))
    assert "not among those to run" in one_line(run("restore", photos, "--stages", "tone", "--fill", "ns"))
    assert "those that ship: " in one_line(run("restore", photos, "--preset", "classic"))
    assert "scale 0.2: wants auto, or 1" in one_line(run("restore", photos, "--scale", "0.2"))
    assert "scale soft: wants auto, or 1" in one_line(run("scratches", photos, "--scale", "soft"))
    assert run("scratches", photos, "--scratches", "gradient").exit_code == 0
    assert Image.open(tmp_path / "out" / "a_mask.png").size == (64, 48)


def test_evaluate(run, photos, tmp_path):
    arguments = ["evaluate", photos, "--recipe", "unstructured", "--seed", 1, "--stages", "tone"]
    result = run(*arguments)
    assert result.exit_code == 0 and "PSNR" in result.stdout and "a.png" in result.stdout
    result = run(*arguments, "--json", "--limit", 1)
    report = json.loads(result.stdout)
    assert report["photos"] == 1 and report["psnr_gain"] == pytest.approx(report["psnr_after"] - report["psnr_before"])
    assert evaluate.evaluate  # the module, which the command does not hide
    (tmp_path / "none").mkdir()
    assert "strength 2: wants 0" in one_line(run("restore", photos, "-o", tmp_path / "out", "--strength", 2))
    assert "none" in one_line(run("evaluate", tmp_path / "none", "--recipe", "mixed", "--seed", 1))
    assert "unknown recipe 'rust'" in one_line(run("evaluate", photos, "--recipe", "rust", "--seed", 1))
    assert "not both" in one_line(run("evaluate", photos))
    assert "not both" in one_line(run("evaluate", photos, "--recipe", "mixed", "--protocol", "default"))
    assert "own seed" in one_line(run("evaluate", photos, "--protocol", "default", "--seed", 1))
    assert "unknown protocol 'old'" in one_line(run("evaluate", photos, "--protocol", "old"))
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"nothing")
    for option in ("--backbone", "--overlays"):
        assert str(bad) in one_line(run(*arguments, option, bad))


def test_what_is_not_installed_is_one_line(photos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "dlib", None)
    from bringback.stages.faces.stage import FaceRefiner

    monkeypatch.setattr(Checkpoints, "load", lambda *_: torch.nn.Identity())
    with pytest.raises(ModuleNotFoundError, match="the faces stage needs the package dlib-bin"):
        FaceRefiner.from_checkpoints(Checkpoints(), torch.device("cpu"))
    monkeypatch.setattr(Checkpoints, "hashes", lambda *_: {})
    arguments = ["restore", str(photos), "-o", str(tmp_path / "out"), "--stages", "faces"]
    assert "dlib-bin" in one_line(CliRunner().invoke(cli.app, arguments))


def test_version_and_help_do_not_import_torch():
    code = "import sys; from bringback.cli.main import app; app(['--version'], standalone_mode=False)"
    code += "; sys.exit('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0 and result.stdout == f"bringback {__version__}\n", result.stderr
    assert "restore" in CliRunner().invoke(cli.app, []).output


@pytest.mark.parametrize("words", [[], ["restore"], ["faces"], ["web"], ["weights"], ["weights", "pull"]], ids=" ".join)
def test_help(words):
    shown = [CliRunner().invoke(cli.app, [*words, option], env={"COLUMNS": "100"}) for option in ("-h", "--help")]
    assert [result.exit_code for result in shown] == [0, 0] and shown[0].output == shown[1].output
    assert "-h" in shown[0].output and "bool" not in shown[0].output.lower()


def test_help_of_restore_begins_with_what_most_people_want():
    shown = CliRunner().invoke(cli.app, ["restore", "-h"], env={"COLUMNS": "100"}).output
    panels = re.findall(r"^╭─ (.*?) ─", shown, re.MULTILINE)
    assert panels == ["Arguments", "Options", "Damage", "Faces", "Color", "Size", "Files", *panels[-3:]]
    assert panels[-3:] == ["Speed and memory", "Weights", "Expert"]
    assert shown.index("--out") < shown.index("--preset") < shown.index("--help") < shown.index("Damage")


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        (["--device", "gpu"], "mps" if torch.backends.mps.is_available() else "cuda"),
        (["--device", "CPU"], "cpu"),
        (["--preset", "colorise"], "color"),
        (["--stages", "tone,scratch"], "scratches"),
        (["--scratches", "gradiant"], "gradient"),
        (["--fill", "push-pull"], "pushpull"),
        (["--fill", "prior", "--prior-form", "u-net"], "unet"),
        (["--engine", "onxx"], "onnx"),
        (["--dtype", "bf16"], "bfloat16"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_did_you_mean(photos, tmp_path, wrong, meant):
    result = CliRunner().invoke(cli.app, ["restore", str(photos), "-o", str(tmp_path / "out"), *wrong])
    assert one_line(result).endswith(f"; did you mean {meant!r}?\n")


def test_the_stage_that_needs_no_weights(photos, tmp_path, pixels):
    def command(*arguments):
        return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])

    mask = np.zeros((48, 64), np.uint8)
    mask[20:23] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    arguments = ["restore", photos / "a.png", "-o", tmp_path / "out", "--stages", "fill", "--mask", tmp_path / "m.png"]
    result = command(*arguments)
    assert result.exit_code == 0, result.stderr
    restored = np.asarray(Image.open(tmp_path / "out" / "a.png"))
    assert np.array_equal(restored[30:], pixels[30:]) and not np.array_equal(restored[20:23], pixels[20:23])
    empty = tmp_path / "empty"
    (empty / "none").mkdir(parents=True)
    assert str(empty) in one_line(command("restore", photos, "-o", tmp_path / "out", "--weights", empty))


def test_the_real_command_restores_photos_with_the_shipped_weights(photos, tmp_path):
    command = [sys.executable, "-m", "bringback", "restore", str(photos), "-o", str(tmp_path / "out"), "--json"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, encoding="utf-8")
    assert result.returncode == 0, result.stdout + result.stderr
    entries = [json.loads(line) for line in result.stdout.splitlines()]
    assert [list(entry["stages"]) for entry in entries] == [list(DEFAULT)] * 2


def test_what_is_left_out_is_told(run, photos, tmp_path, lock):
    (photos / "1931").mkdir()
    (photos / "notes.txt").touch()
    lock(photos / "1931")
    for arguments in (["restore"], ["restore", "--dry-run"], ["age", "--seed", 1, "--recipe", "mixed"]):
        result = run(*arguments, photos, "-o", tmp_path / arguments[0])
        *_, note, counts = result.stdout.splitlines()
        assert result.exit_code == 1 and note.startswith("1 file left out") and counts.endswith(", 1 failed")
        assert result.stderr == f"failed: {photos / '1931'}: cannot be read: Permission denied\n"
    result = run("restore", photos, "-o", tmp_path / "lines", "--json")
    assert result.exit_code == 1 and [json.loads(line)["status"] for line in result.stdout.splitlines()][2] == "failed"


def test_linked_folders_are_read_once_or_left_out_with_a_word(run, photos, tmp_path, pixels):
    (tmp_path / "elsewhere").mkdir()
    Image.fromarray(pixels).save(tmp_path / "elsewhere" / "c.png")
    (photos / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(photos)
    result = run("restore", photos, "-o", tmp_path / "with")
    assert (tmp_path / "with" / "linked" / "c.png").is_file() and "3 done" in result.output
    result = run("restore", photos, "-o", tmp_path / "without", "--no-follow-links")
    assert not (tmp_path / "without" / "linked").exists() and "2 done" in result.output
    assert f"{photos / 'linked'}: a link to a folder, which --no-follow-links leaves out" in result.output
    result = run("restore", "memory://x", "-o", tmp_path / "out", "--no-follow-links")
    assert "not with URLs" in one_line(result)
