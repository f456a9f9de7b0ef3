"""`bringback split`: files, metadata and depth of prints; what is not a page; `restore --split`."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from made_profiles import ADOBE
from PIL import Image
from skimage import data
from typer.testing import CliRunner

from bringback.batch.split import MORE, NONE, split_folder
from bringback.cli import main as cli
from bringback.images import codecs, parts
from bringback.images.photo import Photo
from bringback.images.xmp import of_part
from bringback.pipeline import Pipeline

PHOTO = data.coffee()[::2, ::2]  # without a page around it


def page(dtype: type = np.uint8) -> tuple[np.ndarray, list[np.ndarray]]:
    """A white page with two prints that lie straight."""
    top = np.iinfo(dtype).max
    pixels = np.full((400, 600, 3), 0.95 * top).astype(dtype)
    prints = [(data.astronaut()[:200, 100:340] / 255 * 0.8 * top).astype(dtype) for _ in range(2)]
    prints[1] = prints[1][:, ::-1]
    pixels[90:290, 30:270], pixels[70:270, 320:560] = prints
    return pixels, prints


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    root = tmp_path / "scans" / "1974"
    root.mkdir(parents=True)
    exif = Image.Exif()
    exif[306] = "1974:06:01 12:00:00"
    exif.get_ifd(0x8769)[0xA002], exif.get_ifd(0x8769)[0xA003] = 600, 400
    Image.fromarray(page()[0]).save(root / "page.png", exif=exif, dpi=(300, 300))
    Image.fromarray(PHOTO).save(root / "single.jpg")
    (root / "broken.jpg").write_bytes(b"no")
    return root.parent


def run(*arguments: object):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def test_each_print_gets_a_file_that_is_true_to_the_bit(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run("split", scans, "-o", out)
    assert result.exit_code == 1 and result.stderr.count("\n") == 1 and "broken.jpg: " in result.stderr
    assert ": 2 prints (" in result.stdout and "2 done, 0 skipped, 1 failed" in result.stdout
    assert sorted(path.name for path in (out / "1974").iterdir()) == ["page-1.png", "page-2.png", "single.jpg"]
    for number, truth in enumerate(page()[1], 1):
        made = Image.open(out / "1974" / f"page-{number}.png")
        assert np.array_equal(np.asarray(made), truth)
        assert made.info["dpi"] == pytest.approx((300, 300), abs=0.1)
        exif = made.getexif()
        assert exif[306] == "1974:06:01 12:00:00" and exif.get_ifd(0x8769)[0xA002] == 240
        assert exif.get_ifd(0x8769)[0xA003] == 200
    assert (out / "1974" / "single.jpg").read_bytes() == (scans / "1974" / "single.jpg").read_bytes()
    assert NONE in result.stdout
    page_time = (scans / "1974" / "page.png").stat().st_mtime_ns
    assert (out / "1974" / "page-2.png").stat().st_mtime_ns == page_time


def test_files_that_exist_are_left_alone(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (scans / "1974" / "broken.jpg").unlink()
    split_folder([scans], out)
    (out / "1974" / "page-2.png").write_bytes(b"changed")
    (out / "1974" / "page-3.png").write_bytes(b"left")
    entries = split_folder([scans], out)
    assert [entry["status"] for entry in entries] == ["failed", "failed"]
    entries = split_folder([scans], out, skip_existing=True)
    assert [entry["status"] for entry in entries] == ["skipped", "skipped"]
    assert (out / "1974" / "page-2.png").read_bytes() == b"changed"
    entries = split_folder([scans], out, overwrite=True)
    assert [entry["status"] for entry in entries] == ["done", "done"]
    assert entries[0]["warnings"] == ["set aside as of an earlier run: page-3.png.old"]
    assert (out / "1974" / "page-3.png.old").read_bytes() == b"left"
    assert len(split_folder([scans], out, skip_existing=True)[0]["files"]) == 2
    assert np.array_equal(np.asarray(Image.open(out / "1974" / "page-2.png")), page()[1][1])
    Image.fromarray(PHOTO).save(scans / "1974" / "page-1.png")  # has the name of a print
    entries = split_folder([scans], tmp_path / "new", overwrite=True)
    assert {Path(entry["input"]).name: entry["status"] for entry in entries} == {
        "page-1.png": "done",
        "page.png": "failed",
        "single.jpg": "done",
    }


def test_the_file_of_another_page_is_no_print(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    Image.fromarray(page()[0]).save(tmp_path / "scans" / "a.png")
    Image.fromarray(PHOTO).save(tmp_path / "scans" / "a-1.png")  # comes first, and is copied
    for _ in range(2):
        other, entry = split_folder([tmp_path / "scans"], tmp_path / "out", skip_existing=True)
        assert entry["status"] == "failed" and "a-1.png: rename one of them" in entry["message"]
    assert other["status"] == "skipped" and other["warnings"] == [NONE]


@pytest.mark.parametrize("deep", [False, True])
def test_an_infrared_page_becomes_a_channel_of_the_prints(deep: bool, tmp_path: Path) -> None:
    """Of the depth of the photo: here it has the other one."""
    pixels, prints = page(np.uint16 if deep else np.uint8)
    infrared = (pixels[..., 1] // 257).astype(np.uint8) if deep else pixels[..., 1].astype(np.uint16) * 257
    with tifffile.TiffWriter(tmp_path / "page.tif") as writer:
        writer.write(pixels, photometric="rgb", metadata=None)
        writer.write(infrared, photometric="minisblack", metadata=None)
    (entry,) = split_folder([tmp_path / "page.tif"], tmp_path / "out")
    assert entry["warnings"] == [codecs.unspecified_kept(1)]
    made = Photo.read(tmp_path / "out" / "page-1.tif")
    assert np.array_equal(made.array(), prints[0])
    assert np.array_equal(made.infrared, prints[0][..., 1] // 257 * 257 if deep else prints[0][..., 1])


def test_what_is_no_print_is_told(tmp_path: Path) -> None:
    pixels = page()[0]
    Image.fromarray(pixels).save(tmp_path / "page.png")
    down, across = np.mgrid[:400, :600]
    pixels[np.hypot((down - 340) / 50, (across - 300) / 70) < 1] = (90, 60, 40)  # an oval
    Image.fromarray(pixels).save(tmp_path / "oval.png")
    found = split_folder([tmp_path / "page.png", tmp_path / "oval.png"], tmp_path / "out")
    assert [entry["warnings"] for entry in found] == [[], [MORE]]


def test_sixteen_bits_alpha_and_infrared_stay() -> None:
    pixels, prints = page(np.uint16)
    photo = Photo.from_array(np.dstack([pixels, pixels[..., 0]]))
    corners = np.array([(30, 90), (270, 90), (270, 290), (30, 290)], float)
    photo = replace(photo, extra={"unspecified": pixels[..., 1:]})
    cut = parts.cut_out(photo, corners)
    assert cut.bit_depth == 16
    assert np.array_equal(cut.array(), np.dstack([prints[0], prints[0][..., 0]]))
    assert np.array_equal(cut.extra["unspecified"], prints[0][..., 1:])
    around = parts.turned(cut, 1)
    assert np.array_equal(around.array(), np.rot90(cut.array())) and around.extra["unspecified"].shape == (240, 200, 2)


def test_regions_of_the_page_are_not_those_of_a_print() -> None:
    packet = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:mwg-rs="http://www.metadataworkinggroup.com/schemas/regions/" '
        b'xmlns:stArea="http://ns.adobe.com/xmp/sType/Area#" xmlns:exif="http://ns.adobe.com/exif/1.0/" '
        b'exif:PixelXDimension="600"><mwg-rs:Regions><rdf:li stArea:x="0.5" stArea:y="0.5"/></mwg-rs:Regions>'
        b"</rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    made = of_part(packet, 240, 200)
    assert b"<mwg-rs:Regions" not in made and b'PixelXDimension="240"' in made
    assert of_part(b"<broken stArea", 1, 1) == b"<broken stArea"


@pytest.mark.parametrize("quarters", range(4))
def test_prints_are_turned_upright_by_their_faces(quarters: int, tmp_path: Path) -> None:
    picture = np.rot90(data.astronaut()[:400, :400], -quarters)
    pixels = np.full((520, 540, 3), 240, np.uint8)
    pixels[60:460, 70:470] = picture
    Image.fromarray(pixels).save(tmp_path / "page.png")
    (entry,) = split_folder([tmp_path / "page.png"], tmp_path / "out", upright=True)
    assert [one["turned"] for one in entry["prints"]] == [90 * quarters]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / "page-1.png")), data.astronaut()[:400, :400])


def test_restore_splits_first(scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lighten) -> None:
    monkeypatch.setattr(Pipeline, "from_pretrained", lambda *given, **more: Pipeline([lighten]))
    out = tmp_path / "out"
    result = run("restore", scans, "-o", out, "--split")
    assert result.exit_code == 1 and "3 done, 0 skipped, 1 failed" in result.stdout
    restored = np.asarray(Image.open(out / "1974" / "page-1.png")).astype(int)
    assert restored.shape == page()[1][0].shape and (restored.mean() - page()[1][0].mean()) > 1
    assert {path.name for path in (out / "split" / "1974").iterdir()} == {"page-1.png", "page-2.png", "single.jpg"}
    assert f"single.jpg: {NONE}" in result.stdout.partition("want a look:")[2]
    again = run("restore", scans, "-o", out, "--split")
    assert "0 done, 3 skipped, 1 failed" in again.stdout
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert {line["photo"] for line in lines} == {"1974/page-1.png", "1974/page-2.png", "1974/single.jpg"}
    for wrong in (["--upright"], ["--split", "--dry-run"], ["--split", "--mask", scans]):
        assert run("restore", scans, "-o", out, *wrong).exit_code == 2


def test_restore_hands_its_options_to_split(scans: Path, tmp_path: Path, monkeypatch, lighten) -> None:
    monkeypatch.setattr(Pipeline, "from_pretrained", lambda *given, **more: Pipeline([lighten]))
    (tmp_path / "linked").mkdir()
    Image.fromarray(PHOTO).save(tmp_path / "linked" / "a.jpg")
    (scans / "elsewhere").symlink_to(tmp_path / "linked")
    result = run("restore", scans, "-o", tmp_path / "out", "--split", "--no-follow-links", "--strip-metadata")
    assert "elsewhere: a link to a folder" in result.output and not (tmp_path / "out" / "elsewhere").exists()
    assert 306 not in Image.open(tmp_path / "out" / "split" / "1974" / "page-1.png").getexif()


def test_a_straight_print_of_a_page_with_a_profile_is_cropped_to_the_bit(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    Image.fromarray(page()[0]).save(tmp_path / "scans" / "page.png", icc_profile=ADOBE)
    split_folder([tmp_path / "scans"], tmp_path / "out")
    for number, truth in enumerate(page()[1], 1):
        made = Image.open(tmp_path / "out" / f"page-{number}.png")
        assert np.array_equal(np.asarray(made), truth) and made.info["icc_profile"] == ADOBE
