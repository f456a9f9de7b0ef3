"""Real old photos in the evaluation: which are taken, what is told of them."""

import io
import json
import tarfile

import numpy as np
import pytest
import torch.nn.functional as F
from PIL import Image
from skimage import data
from typer.testing import CliRunner

from bringback.cli import main as cli
from bringback.evaluation.real_photos import OldReport, OldRow, choose_old_photos, evaluate_old_photos
from bringback.images.shards import held_out
from bringback.pipeline import Pipeline

NAMES = [f"old-{k}.png" for k in range(60)]
HELD_OUT = [name for name in NAMES if held_out(name)]


def shard(path, contents):
    with tarfile.open(path, "w") as tar:
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def png(picture):
    stream = io.BytesIO()
    picture.save(stream, "png")
    return stream.getvalue()


@pytest.fixture
def old(tmp_path):
    """A shard of noisy photos; of those held out the first is too small and the second broken."""
    noise = np.random.default_rng(0).normal(0, 40, (200, 200, 3))
    picture = Image.fromarray((data.astronaut()[:200, 100:300] + noise).clip(0, 255).astype(np.uint8))
    contents = {name: png(picture.rotate(90 * k)) for k, name in enumerate(NAMES)}
    contents[HELD_OUT[0]] = png(picture.resize((90, 120)))
    contents[HELD_OUT[1]] = contents[HELD_OUT[1]][:80]
    return shard(tmp_path / "old.tar", contents)


class Smooth:
    """A stage without weights: means of 3x3 pixels."""

    name = "translate"

    def __call__(self, restoration):
        restoration.pixels = F.avg_pool2d(restoration.pixels, 3, 1, 1, count_include_pad=False)
        return restoration


@pytest.fixture
def use(monkeypatch):
    return lambda *stages: monkeypatch.setattr(Pipeline, "from_pretrained", lambda *_, **__: Pipeline(stages))


def test_a_tenth_is_held_out_whatever_the_folder():
    assert 4 <= len(HELD_OUT) <= 9
    assert all(held_out(f"a/b/{name}") for name in HELD_OUT)


def test_only_held_out_ones_are_chosen_evenly_and_in_order(tmp_path):
    names = [f"{k:04}.png" for k in range(900)]
    first, second = (
        shard(tmp_path / f"{letter}.tar", dict.fromkeys(reversed(half), b""))
        for letter, half in (("z", names[:600]), ("a", names[600:]))
    )
    there = [name for name in names if held_out(name)]
    chosen = [entry.name for entry in choose_old_photos([first, second])]
    assert len(chosen) == 40 < len(there) and chosen == sorted(chosen) and set(chosen) <= set(there)
    steps = np.diff([there.index(name) for name in chosen])
    assert set(steps) <= {len(there) // 40, len(there) // 40 + 1}
    assert [entry.name for entry in choose_old_photos([first, second], 3)] == [
        there[k * len(there) // 3] for k in range(3)
    ]
    with pytest.raises(FileNotFoundError, match=r"none\.tar: no old photo there is held out"):
        choose_old_photos([shard(tmp_path / "none.tar", {"old-0.txt": b""})])


def test_better_and_worse_photos_are_told_apart(old, use, mark, tmp_path):
    use(mark, Smooth())
    seen = []
    report = evaluate_old_photos(choose_old_photos([old]), sheet=tmp_path / "old.png", on_photo=seen.append)
    assert [row.name for row in report.rows] == sorted(HELD_OUT[2:]) and seen == report.rows
    assert all(row.niqe_after < row.niqe_before and row.damaged == 0.5 for row in report.rows)
    assert report.summary()["better"] == len(report.rows)
    small, broken = sorted(report.left_out, key=lambda reason: "90x120" not in reason)
    assert small == f"{HELD_OUT[0]}: 90x120 pixels: NIQE wants at least 96 a side" and broken.startswith(HELD_OUT[1])
    with Image.open(tmp_path / "old.png") as sheet:
        assert sheet.size == (3 * 320 + 2 * 6, len(report.rows) * 326 - 6)
    use()
    same = evaluate_old_photos(choose_old_photos([old]))
    assert all(row.niqe_after == row.niqe_before for row in same.rows) and same.summary()["better"] == 0


def test_table_of_means():
    rows = [OldRow("a", 6.0, 4.0, 0.02, 1.0), OldRow("b", 5.0, 5.5, 0.04, 1.0)]
    *table, _, left_out = OldReport(("tone",), rows, ["c: broken"]).table().splitlines()
    assert table[2] == "| R | 5.50 -> 4.75 | -0.75 | 1 of 2 | 3.00 % |" and left_out == "left out: c: broken"
    assert len({line.count("|") for line in table}) == 1


def test_nothing_but_broken_photos(tmp_path, use):
    use()
    with pytest.raises(ValueError, match=HELD_OUT[0]):
        evaluate_old_photos(choose_old_photos([shard(tmp_path / "old.tar", {HELD_OUT[0]: b"nothing"})]))


def test_the_command(old, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(data.astronaut()[:64, :64]).save(photos / "a.png")

    def run(*arguments):
        return CliRunner().invoke(cli.app, [str(argument) for argument in ("evaluate", photos, *arguments)])

    protocol = ("--protocol", "default", "--stages", "tone", "--device", "cpu")
    result = run(*protocol, "--old-photos", old, "--sheet", tmp_path / "sheets")
    assert result.exit_code == 0, result.output
    assert f"of {len(HELD_OUT) - 2} |" in result.stdout and "1 photos" in result.stdout
    assert (tmp_path / "sheets" / "old.png").is_file()
    known = json.loads(run(*protocol, "--old-photos", old, "--json").stdout)
    assert list(known) == [*"USMCHWFE", "old"] and len(known["old"]["rows"]) == len(HELD_OUT) - 2
    assert "old" not in json.loads(run(*protocol, "--json").stdout)
    for arguments, said in (
        (("--recipe", "clean", "--old-photos", old), "--old-photos belongs to --protocol"),
        ((*protocol, "--old-photos", tmp_path / "no.tar"), "no.tar"),
    ):
        wrong = run(*arguments)
        assert wrong.exit_code == 2 and said in wrong.stderr and wrong.stderr.count("\n") == 1
