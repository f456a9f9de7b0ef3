"""An output that names a file: that file and nothing else."""

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from bringback.batch.one_file import names_a_file
from bringback.cli import main as cli
from bringback.images.photo import Photo
from bringback.pipeline import Pipeline


@pytest.fixture
def photo(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    (tmp_path / "a.xmp").write_bytes(b"<xmp/>")
    (tmp_path / "a.tif.json").write_bytes(b"{}")
    (tmp_path / "manifest.jsonl").write_text("another program's\n")
    return tmp_path / "a.tif"


@pytest.fixture
def run(monkeypatch, lighten):
    monkeypatch.setattr(Pipeline, "from_pretrained", lambda *_, **__: Pipeline([lighten]))
    return lambda *words: CliRunner().invoke(cli.app, ["restore", *map(str, words)])


def there(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_one_photo_into_one_file(run, photo, tmp_path, pixels):
    before = there(tmp_path)
    result = run(photo, "-o", tmp_path / "new" / "b.jpg")
    assert result.exit_code == 0, result.output
    assert there(tmp_path) == sorted([*before, "b.jpg"])
    assert (tmp_path / "manifest.jsonl").read_text() == "another program's\n"
    image = Image.open(tmp_path / "new" / "b.jpg")
    assert image.format == "JPEG"
    np.testing.assert_allclose(np.asarray(image).mean(), (0.75 * pixels + 64).mean(), atol=1)
    assert image.info["xmp"].count(b"urn:bringback") and (tmp_path / "new" / "b.jpg").stat().st_mtime_ns == (
        photo.stat().st_mtime_ns
    )


def test_again(run, photo, tmp_path):
    out = tmp_path / "b.PNG"
    assert run(photo, "-o", out, "--dry-run").exit_code == 0 and not out.exists()
    assert run(photo, "-o", out).exit_code == 0
    assert "exists already: use --overwrite" in run(photo, "-o", out).output
    assert "1 skipped" in run(photo, "-o", out, "--skip-existing").output
    assert run(photo, "-o", out, "--overwrite").exit_code == 0


@pytest.mark.parametrize("ending", ["gif", "tga"])
def test_the_format_of_the_photo_may_be_one_to_which_nothing_is_converted(run, tmp_path, pixels, ending):
    Image.fromarray(pixels[..., 0]).save(tmp_path / f"a.{ending}")
    assert run(tmp_path / f"a.{ending}", "-o", tmp_path / f"b.{ending}").exit_code == 0
    assert Image.open(tmp_path / f"b.{ending}").format == ending.upper()


def test_what_lies_beside_it_goes_by_its_name(run, photo, tmp_path):
    out = tmp_path / "b.jpg"
    assert run(photo, "-o", out, "--sidecars", "--compare").exit_code == 0
    assert {"b.jpg", "b.xmp", "b.jpg.json", "b.jpg.png"} < set(there(tmp_path))


def test_with_its_mask(run, photo, tmp_path, pixels, monkeypatch, lighten):
    masks = []
    lighten_it = type(lighten).__call__

    def look(self, restoration):
        masks.append(restoration.damage().mean().item())
        return lighten_it(self, restoration)

    monkeypatch.setattr(type(lighten), "__call__", look)
    Photo.from_array(np.ones(pixels.shape[:2], np.float32)).write(tmp_path / "a_mask.png")
    assert run(photo, "-o", tmp_path / "b.jpg", "--mask", tmp_path / "a_mask.png").exit_code == 0
    assert masks == [1.0]
    result = run(photo, "-o", tmp_path / "a_mask.png", "--mask", tmp_path / "a_mask.png", "--overwrite")
    assert "is an input itself" in result.output


def test_wrong_usage_is_one_line(run, photo, tmp_path):
    for words, reason in (
        ([photo, photo, "-o", tmp_path / "b.jpg"], "one file for 2 inputs; for a folder of this name write"),
        ([tmp_path, "-o", tmp_path / "b.jpg"], "is a folder"),
        ([tmp_path / "none", "-o", tmp_path / "b.jpg"], "no such file"),
        ([photo, "-o", tmp_path / "b.gif"], "no photo is converted to .gif, but to .avif,"),
        ([photo, "-o", tmp_path / "b.pgm"], "converted to .pgm"),  # which has no color
        ([photo, "-o", tmp_path / "b.nef"], "converted to .nef"),
        ([photo, "-o", photo, "--overwrite"], "is an input itself"),
        ([photo, "-o", "memory://x/b.jpg"], "name a folder"),
    ):
        result = run(*words)
        assert result.exit_code == 2 and reason in result.output, result.output
        assert len(result.output.splitlines()) == 1 and not (tmp_path / "b.jpg").exists()


def test_folders_are_still_folders(run, photo, tmp_path):
    (tmp_path / "old.jpg").mkdir()
    assert names_a_file(str(tmp_path / "new.JPG"))
    for name in ("old.jpg", "new.jpg/", "restored.2024", "results.old"):
        assert not names_a_file(f"{tmp_path}/{name}")
    assert run(photo, "-o", f"{tmp_path}/new.jpg/").exit_code == 0 and (tmp_path / "new.jpg" / "a.tif").is_file()
