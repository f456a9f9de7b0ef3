"""Files beside a photo, its file time, and words about what is not in its result."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from bringback.batch.jobs import plan
from bringback.batch.runner import restore_folder
from bringback.errors import UsageError
from bringback.pipeline import Pipeline

TURNED = b'<rdf:RDF xmlns:rdf="r" xmlns:tiff="t"><rdf:Description tiff:Orientation="6"/></rdf:RDF>'
BESIDE = {"a.jpg.xmp": b"<xmp/>", "a.xmp": TURNED, "a.jpg.supplemental-metadata.json": b"{}", "a.AAE": b"edits"}


@pytest.fixture
def light(lighten) -> Pipeline:
    return Pipeline([lighten], {"tone": "1234"})


@pytest.fixture
def album(tmp_path, pixels):
    """A photo on its side with sidecars, one without, and files that are neither."""
    folder = tmp_path / "album"
    (folder / "1931").mkdir(parents=True)
    tags = Image.Exif()
    tags[274] = 6
    Image.fromarray(pixels).save(folder / "1931" / "a.jpg", exif=tags.tobytes())
    Image.fromarray(pixels).save(folder / "b.png")
    for name, data in BESIDE.items():
        (folder / "1931" / name).write_bytes(data)
    for name in ("b2.xmp", "x.psd", "y.psd", "Thumbs.db", "list"):
        (folder / name).write_bytes(b"1")
    for path in folder.rglob("*.*"):
        os.utime(path, (-86_400 * 3650, 315_532_800))
    return folder


def test_sidecars_are_copied_on_request(album, light, tmp_path):
    out, original = tmp_path / "out", album / "1931" / "a.jpg"
    for _ in range(2):
        entries = restore_folder([album], out, light, sidecars=True)
    assert {entry["status"] for entry in entries} == {"skipped"}
    copied = {path.name: path.read_bytes() for path in (out / "1931").iterdir() if path.name != "a.jpg"}
    assert copied == BESIDE | {"a.xmp": TURNED.replace(b"6", b"1")}  # or readers would turn the photo again
    assert not (out / "b2.xmp").exists()
    (out / "1931" / "a.xmp").write_bytes(b"mine")
    (out / "1931" / "a.jpg").unlink()
    entry = restore_folder([original], out / "1931", light, sidecars=True)[0]
    assert entry["status"] == "failed" and "a.xmp exists already" in entry["message"]
    with pytest.raises(UsageError, match="is an input itself"):
        restore_folder([album / "b.png", original], album / "1931", light, sidecars=True, overwrite=True)


def test_sidecars_that_two_photos_share(album, light, tmp_path, pixels):
    Image.fromarray(np.rot90(pixels, -1)).save(album / "1931" / "a.tif")
    entries = restore_folder([album], tmp_path / "out", light, sidecars=True)
    assert {entry["status"] for entry in entries} == {"done"}
    first, second = (job.sidecars for job in plan([album / "1931"], tmp_path / "plan"))
    assert sorted(path.name for path in first) == sorted(BESIDE) and second == ()  # "a.xmp" cannot be true of both


def test_the_raw_file_has_the_sidecar_of_its_stem(tmp_path):
    for name in ("a.jpg", "a.nef", "a.xmp", "a.jpg.xmp"):
        (tmp_path / name).write_bytes(b"1")
    (tmp_path / "a.json").mkdir()
    jobs = plan([tmp_path / "a.jpg", tmp_path / "a.nef"], tmp_path / "out")
    assert [[path.name for path in job.sidecars] for job in jobs] == [["a.jpg.xmp"], ["a.xmp"]]


def test_file_times_that_cannot_be_set_lose_nothing(album, light, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "utime", lambda *args, **more: (_ for _ in ()).throw(PermissionError(1, "no")))
    entries = restore_folder([album / "b.png"], tmp_path / "out", light)
    assert entries[0]["status"] == "done"


def test_what_is_not_copied_is_told(album, light, tmp_path):
    lines = []
    plan([album], tmp_path / "out", lines.append)
    (line,) = lines
    assert line.startswith("5 files left out, no picture or of a format that is not read: ")
    assert "2 .psd (x.psd, y.psd)" in line and "1 .xmp (b2.xmp)" in line and "1 no suffix (list)" in line
    restore_folder([album], tmp_path / "out", light)
    told = [json.loads(one) for one in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    warnings = {entry["photo"]: entry["warnings"] for entry in told}
    assert warnings == {"1931/a.jpg": ["sidecars (.aae, .json, .xmp) are not copied: --sidecars does it"], "b.png": []}
    assert not list((tmp_path / "out").rglob("*.xmp"))


@pytest.mark.parametrize("keep_times", [True, False])
def test_results_have_the_time_of_the_photo(album, light, tmp_path, keep_times):
    choices = {} if keep_times else {"keep_times": False}
    restore_folder([album], tmp_path / "out", light, sidecars=True, **choices)
    for name in ("b.png", "1931/a.jpg", "1931/a.xmp"):
        assert ((tmp_path / "out" / name).stat().st_mtime == 315_532_800) == keep_times
    assert (tmp_path / "out" / "manifest.jsonl").stat().st_mtime > 1_000_000_000


def test_words_about_a_photo_are_in_its_entry(light, tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.mpo", save_all=True, append_images=[Image.fromarray(pixels)])
    (entry,) = restore_folder([tmp_path / "a.mpo"], tmp_path / "out", light)
    assert entry["status"] == "done" and "2 pictures in it" in entry["warnings"][0]
