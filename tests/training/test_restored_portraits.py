"""Lessons of `faces` from portraits that were restored whole."""

import runpy
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from skimage import data

from bringback.degradations import DegradedBatch
from bringback.errors import ConfigError
from bringback.ops.metrics import psnr
from bringback.training.tasks import build_task

SCRIPT = Path(__file__).parents[2] / "train" / "restored_portraits.py"


def test_portraits_are_aged_restored_and_cut(tmp_path, monkeypatch, capsys):
    folder, made = tmp_path / "portraits", tmp_path / "restored.safetensors"
    folder.mkdir()
    Image.fromarray(data.astronaut()[:256, 90:346]).save(folder / "one.png")
    (folder / "two.png").write_bytes(b"no picture")
    monkeypatch.setattr(sys, "argv", ["restored_portraits", str(folder), "-o", str(made), "--recipe", "unstructured"])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    assert capsys.readouterr().out == "1 faces\n"
    lesson = {key: crop.float() / 255 for key, crop in load_file(made).items()}
    assert {key: (*crop.shape,) for key, crop in lesson.items()} == {
        "aged": (1, 3, 256, 256), "came": (1, 3, 256, 256), "mask": (1, 1, 256, 256), "truth": (1, 3, 256, 256),
    }  # fmt: skip
    came, aged = (float(psnr(lesson[key], lesson["truth"])) for key in ("came", "aged"))
    assert 15 < came < aged  # of the same face at the same place, and nearer to the truth when restored
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--seed", "1"])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    assert (load_file(made)["came"].float() / 255 - lesson["came"]).abs().mean() > 0.005  # worn in another way


def lessons(path):
    """Two lessons, dark and bright, whose left half is filled."""
    pixels = torch.tensor([50, 200], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 256, 256)
    mask = torch.zeros(2, 1, 256, 256, dtype=torch.uint8)
    mask[..., :128] = 255
    save_file({"aged": pixels.clone(), "came": pixels + 10, "mask": mask, "truth": pixels + 20}, path)


def test_half_of_the_samples_are_taken_from_them(tiny, tmp_path):
    lessons(tmp_path / "some.safetensors")
    options = {"translated": 0.0, "restored": str(tmp_path / "some.safetensors")}
    task = build_task(tiny("faces", tmp_path, options=options))
    seeds = torch.randint(2**62, (60,), generator=torch.Generator().manual_seed(0)).tolist()
    rest = torch.full((60, 6, 256, 256), 0.5)
    aged = DegradedBatch(rest, rest[:, :1], rest[:, :3], torch.zeros(60, dtype=torch.bool))
    pixels, came, mask, truth = (part * 255 for part in task.prepare_aged(aged, seeds))
    taken = (pixels[:, 0, 0, 0] - 127.5).abs() > 1
    assert 20 <= taken.sum() <= 40
    assert {*pixels[taken].flatten().round().tolist()} == {50, 200}
    torch.testing.assert_close(came[taken], pixels[taken] + 10)
    torch.testing.assert_close(truth[taken], pixels[taken] + 20)
    assert {*mask[taken][:, 0, 0, 0].tolist()} == {0, 255}  # some are mirrored


def test_what_holds_no_lessons_is_refused(tiny, tmp_path):
    save_file({"odd": torch.zeros(1)}, tmp_path / "other.safetensors")
    small = {key: torch.zeros(1, 1 if key == "mask" else 3, 64, 64) for key in ("aged", "came", "mask", "truth")}
    save_file(small, tmp_path / "small.safetensors")
    for name, message in (("none", "No such file"), ("other.safetensors", "aged"), ("small.safetensors", "256 pixels")):
        with pytest.raises(ConfigError, match=message):
            build_task(tiny("faces", tmp_path, options={"translated": 0.0, "restored": str(tmp_path / name)}))


def test_the_file_is_in_the_lineage_and_what_is_taken_from_it_is_not_translated(tiny, tmp_path):
    lessons(tmp_path / "some.safetensors")
    options = {"translated": 1.0, "restored": str(tmp_path / "some.safetensors")}
    task = build_task(tiny("faces", tmp_path, options=options))
    assert len(task.parents["restored"]) == 64
    seeds = [2**39 * number for number in range(4)]
    pixels = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0)).expand(4, -1, -1, -1)
    aged = DegradedBatch(pixels, torch.zeros(4, 1, 256, 256), pixels, torch.zeros(4, dtype=torch.bool))
    made, came = task.restored(aged, seeds).aged.chunk(2, 1)
    assert [float((a - b).abs().max()) > 1e-4 for a, b in zip(made, came, strict=True)] == [False, True, False, True]
