"""Workers of a real Ray restore a folder as one process does."""

import json
import os
import sys

import pytest
import torch
from PIL import Image

from bringback.batch.jobs import plan
from bringback.batch.runner import FolderRestorer
from bringback.errors import UsageError
from bringback.integrations import ray as integration
from bringback.pipeline import Pipeline


def maker(deadly=None):
    """A function that makes a pipeline; nested, so that workers need not find this file.

    The first process that comes to a photo when there is no file `deadly` makes it and dies.
    """

    def load():
        class Lighten:
            name = "tone"

            def __call__(self, restoration):
                if deadly and not deadly.exists():
                    deadly.touch()
                    os._exit(1)
                restoration.pixels = 0.75 * restoration.pixels + 0.25
                return restoration

        return Pipeline([Lighten()], {"tone": "1234"})

    return load


@pytest.fixture
def photos(tmp_path, pixels):
    root = tmp_path / "in"
    for number in range(6):
        path = root / f"{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).rotate(15 * number).save(path)
    return root


@pytest.fixture(scope="module")
def cluster():
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield ray
    ray.shutdown()


def content(out):
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.name != "manifest.jsonl"
    }


def test_two_workers_make_what_one_process_makes(cluster, photos, tmp_path):
    alone, out, begun, told = tmp_path / "alone", tmp_path / "out", [], []
    (photos / "broken.png").write_text("Dear Aunt Emma")
    FolderRestorer(alone, maker()()).run(plan([photos], alone))
    entries = integration.restore_folder(
        [photos], out, batch_size=2, pipeline=maker(), on_start=begun.append, on_photo=told.append
    )
    assert content(out) == content(alone) and len(content(out)) == 6
    names = [job.relative.as_posix() for job in plan([photos], out)]
    assert [entry["photo"] for entry in entries] == names and begun == [7] and len(told) == 7
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert sorted(line["photo"] for line in lines) == sorted(names)
    failed = [entry for entry in entries if entry["status"] == "failed"]
    assert [entry["photo"] for entry in failed] == ["broken.png"] and "not a picture" in failed[0]["message"]
    assert {line["threads"] for line in lines if line["status"] == "done"} == {torch.get_num_threads()}

    again = integration.restore_folder([photos], out, batch_size=4, pipeline=maker())
    assert [entry["status"] for entry in again].count("skipped") == 6


def test_what_a_worker_had_that_died_is_done_by_another(cluster, photos, tmp_path):
    deadly, out = tmp_path / "deadly", tmp_path / "out"
    entries = integration.restore_folder([photos], out, workers=1, batch_size=3, pipeline=maker(deadly))
    assert deadly.exists() and len(content(out)) == 6 and [entry["status"] for entry in entries] == ["done"] * 6


def test_what_cannot_be_had_is_told_at_once(cluster, photos, tmp_path):
    with pytest.raises(ValueError, match="3 CPUs and 1 GPUs for a worker"):
        integration.restore_folder([photos], tmp_path / "out", threads=3, gpus=1, pipeline=maker())
    with pytest.raises(UsageError, match="no such file or folder"):
        integration.restore_folder([tmp_path / "absent"], tmp_path / "out", pipeline=maker())
    assert not (tmp_path / "out").exists()
    (photos / "0").rename(photos / "stages")
    with pytest.raises(UsageError, match="a folder 'stages' of their own"):
        integration.restore_folder([photos], tmp_path / "out", save_stages=True, pipeline=maker())
    assert not (tmp_path / "out").exists()
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "manifest.jsonl").symlink_to(tmp_path / "absent")
    with pytest.raises(UsageError, match="is a link"):
        integration.restore_folder([photos], tmp_path / "linked", pipeline=maker())
    with pytest.raises(RuntimeError, match=r"^workers died.*unknown stage 'nonsense'[^\n]*$"):
        integration.restore_folder([photos], tmp_path / "out", workers=1, pipeline={"stages": ["nonsense"]})


def test_without_ray_one_line_says_what_to_install(photos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "bringback\[ray\]"'):
        integration.restore_folder([photos], tmp_path / "out")
