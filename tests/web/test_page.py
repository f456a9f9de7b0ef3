"""The web page without a browser: photos that come in, restorations, mending, files, words."""

import io
import json
import threading
import time
import zipfile
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace

import made_profiles
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner
from web.stand_ins import DATE, Seen, areas_told, jpeg, silent

from bringback.images.photo import Photo
from bringback.ops.areas import Area
from bringback.pipeline import Pipeline
from bringback.stages import FAMILIES
from bringback.web import areas as web_areas
from bringback.web import text as web_text
from bringback.web.copies import PREVIEW
from bringback.web.pipelines import Choices, Pipelines, Stopped
from bringback.web.server import is_loopback
from bringback.web.session import Session, attempt, base_name
from bringback.web.strokes import Stroke


@pytest.fixture
def seen():
    return Seen()


@pytest.fixture
def pipelines(seen):
    return Pipelines(seen.load)


@pytest.fixture
def desk(tmp_path):
    return Session(tmp_path)


def put(desk: Session, pixels: np.ndarray, *names: str, size=(96, 64)):
    """Drop photos of these names; the last of them."""
    files = []
    for name in names:
        files.append((jpeg(desk.folder / f"upload{len(files)}.jpg", pixels, size), name))
    assert desk.add(files, silent) == []
    return desk.scans[-1]


def paint(*points, width=4.0, erases=False) -> Stroke:
    return Stroke(erases, width, points)


DEFAULT = Choices(("scratches", "tone", "fill"))


# Photos that come in


def test_broken_files_are_a_line_each_and_the_others_are_taken(desk, pixels):
    good = jpeg(desk.folder / "1.jpg", pixels)
    cut = desk.folder / "2"
    cut.write_bytes(good.read_bytes()[:700])
    text, empty = desk.folder / "3", desk.folder / "4"
    text.write_text("no picture")
    empty.touch()
    lines = desk.add([(cut, "cut.jpg"), (text, "text</b>.jpg"), (good, "good.jpg"), (empty, "empty.jpg")], silent)
    assert [scan.name for scan in desk.scans] == ["good.jpg"]
    assert [line.split(":")[0] for line in lines] == ["cut.jpg", "b>.jpg", "empty.jpg"]
    assert all(str(desk.folder) not in line and "\n" not in line for line in lines)
    assert "b>.jpg" not in web_text.problems(lines)


def test_a_photo_of_too_many_pixels_is_refused_by_its_header(tmp_path, pixels):
    desk = Session(tmp_path, max_pixels=1000)
    (line,) = desk.add([(jpeg(tmp_path / "1.jpg", pixels), "a.jpg")], silent)
    assert line.startswith("a.jpg: too large: 96x64")


def test_more_photos_than_a_page_takes_are_refused(desk, pixels, monkeypatch):
    monkeypatch.setattr("bringback.web.session.MAX_PHOTOS", 1)
    put(desk, pixels, "a.jpg")
    (line,) = desk.add([(jpeg(desk.folder / "1.jpg", pixels), "b.jpg")], silent)
    assert line.startswith("b.jpg: not taken")


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("Oma & Opa #3 (1950).jpg", "Oma & Opa #3 (1950).jpg"),
        ("../../etc/passwd", "passwd"),
        ("C:\\photos\\a.jpg", "a.jpg"),
        ("..", "photo"),
        ("", "photo"),
        ("a\n\0b.jpg", "ab.jpg"),
    ],
)
def test_names_of_uploads_are_names_of_files(given, name):
    assert base_name(given) == name


def test_what_the_browser_gets_is_small(desk, pixels):
    scan = put(desk, pixels, "a.jpg", size=(3000, 2000))
    assert scan.size == (2000, 3000)
    assert max(Image.open(scan.preview).size) == PREVIEW
    assert max(Image.open(scan.thumb).size) == 256
    assert Image.open(scan.preview).info["icc_profile"]


# Restoring


def test_an_unedited_photo_goes_through_the_stages_as_chosen(desk, pixels, pipelines, seen):
    scan = put(desk, pixels, "a.jpg")
    told = []
    scan.restore(pipelines, DEFAULT, lambda done, what: told.append((round(done, 2), what)))
    assert seen.stages == ["scratches", "tone", "fill"]
    assert told == [(0, "scratches"), (0.25, "tone"), (0.5, "fill"), (0.75, "writing")]
    assert scan.done_with(DEFAULT)
    assert not scan.done_with(Choices(DEFAULT.stages, strength=0.5))


def test_an_edited_mask_stands_for_the_detector(desk, pixels, pipelines, seen):
    scan = put(desk, pixels, "a.jpg")
    scan.find(pipelines, "auto", silent)
    assert scan.share == pytest.approx(0.5)
    scan.strokes = (paint((0, 10), (44, 10), width=6, erases=True), paint((60, 50), (90, 50)))
    seen.stages.clear()
    scan.restore(pipelines, DEFAULT, silent)
    assert seen.stages == ["tone", "fill"]
    assert not seen.mask[8:12, 4:40].any()  # but for the rim of what is left
    assert seen.mask[32, :46].all() and not seen.mask[32, 52:].any()
    assert seen.mask[49:51, 60:90].all()
    assert "scratches" not in scan.outcome.file.read_bytes().decode("latin1").partition("bringback:stages")[2][:40]
    assert scan.done_with(DEFAULT)
    scan.strokes += (paint((5, 5)),)
    assert not scan.done_with(DEFAULT)


def test_what_was_found_in_other_areas_does_not_stand_for_the_detector(desk, pixels, pipelines, seen):
    scan = put(desk, pixels, "a.jpg")
    scan.find(pipelines, "auto", silent)
    scan.strokes, scan.areas = (paint((65, 32), (75, 32)),), (Area(((8, 8), (88, 8), (88, 56), (8, 56))),)
    assert not scan.searched
    seen.stages.clear()
    scan.restore(pipelines, DEFAULT, silent)
    assert seen.stages == ["scratches", "tone", "fill"] and seen.mask[32, 70] == 1
    scan.areas = None
    assert scan.searched


def test_what_is_painted_before_the_detector_has_looked_is_united_with_what_it_finds(desk, pixels, pipelines, seen):
    scan = put(desk, pixels, "a.jpg")
    scan.strokes = (paint((65, 32), (75, 32)),)
    scan.restore(pipelines, DEFAULT, silent)
    assert seen.stages == ["scratches", "tone", "fill"]
    assert seen.mask[:, :48].all()
    assert seen.mask[32, 70] == 1
    assert not seen.mask[:10, 60:].any()


def test_a_stroke_mends_the_result_there_and_nowhere_else_and_undo_takes_it_back(desk, pixels, pipelines, seen):
    scan = put(desk, pixels, "a.png")
    scan.restore(pipelines, Choices(("tone",)), silent)
    made = scan.outcome
    whole, first = np.load(made.pixels), made.file.read_bytes()
    one, two = paint((70, 20), (80, 30)), paint((20, 50))
    seen.stages.clear()
    boxes = list(made.follow((one, two), pipelines))
    assert seen.stages == ["fill", "translate"] * 2 and len(boxes) == 2 and made.strokes == (one, two)
    mended = np.load(made.pixels)
    changed = (mended != whole).any(2)
    assert changed[25, 75] and changed[50, 20]
    assert not changed[:, 35:60].any() and changed.mean() < 0.03
    assert made.file.read_bytes() == first and made.changed
    made.write(scan.photo())
    assert made.file.read_bytes() != first and not made.changed

    assert len(list(made.follow((one,), pipelines))) == 1
    assert np.array_equal(np.load(made.pixels)[40:], whole[40:]) and made.strokes == (one,)
    list(made.follow((two,), pipelines))  # undone, and another stroke drawn since
    assert made.strokes == (two,)
    list(made.follow((), pipelines))
    assert np.array_equal(np.load(made.pixels), whole)
    made.write(scan.photo())
    assert made.file.read_bytes() == first  # to the bit


def test_what_mending_cannot_do_waits_for_the_next_restoration(desk, pixels, pipelines):
    scan = put(desk, pixels, "a.jpg")
    scan.strokes = (paint((20, 20)),)
    scan.restore(pipelines, Choices(("tone",)), silent)
    made, erased = scan.outcome, paint((20, 20), erases=True)
    assert list(made.follow((), pipelines)) == [] and made.strokes == scan.strokes  # was in the restoration itself
    assert list(made.follow((*scan.strokes, erased, paint((50, 50))), pipelines)) == []
    assert made.strokes == scan.strokes
    outside = (*scan.strokes, paint((-90, -90)))
    assert list(made.follow(outside, pipelines)) == [] and made.strokes == outside
    assert list(made.follow(scan.strokes, pipelines)) == [] and made.strokes == scan.strokes


def test_a_long_stroke_is_mended_in_pieces_along_it(desk, pixels, pipelines, monkeypatch):
    monkeypatch.setattr("bringback.web.outcome.PIECE", 50)
    scan = put(desk, pixels, "a.png", size=(400, 300))
    scan.restore(pipelines, Choices(("tone",)), silent)
    made = scan.outcome
    whole, stroke = np.load(made.pixels), paint((10, 10), (390, 290))
    boxes = list(made.follow((stroke,), pipelines))
    areas = [(rows.stop - rows.start) * (columns.stop - columns.start) for rows, columns in boxes]
    assert len(boxes) > 5 and max(areas) < 0.15 * whole[..., 0].size
    assert 1000 < sum(len(mend.before) for mend in made.mends[0]) < 4000  # of the stroke alone
    changed = (np.load(made.pixels) != whole).any(2)
    drawn = stroke.draw((slice(0, 300), slice(0, 400)))
    assert changed[drawn].all() and changed.sum() < 1.5 * drawn.sum()
    list(made.follow((), pipelines))
    assert np.array_equal(np.load(made.pixels), whole)  # to the bit


def test_half_a_stroke_is_none(desk, pixels, pipelines, monkeypatch):
    monkeypatch.setattr("bringback.web.outcome.PIECE", 50)
    scan = put(desk, pixels, "a.png", size=(400, 300))
    scan.restore(pipelines, Choices(("tone",)), silent)
    made = scan.outcome
    whole, of, left = np.load(made.pixels), pipelines.of, iter([True] * 3)
    monkeypatch.setattr(pipelines, "of", lambda choices: of(choices) if next(left, False) else None)
    boxes = []
    with pytest.raises(AttributeError):
        boxes.extend(made.follow((paint((10, 10), (390, 290)),), pipelines))
    assert np.array_equal(np.load(made.pixels), whole) and made.strokes == () and made.mends == []


def test_strokes_before_one_that_fails_are_in_the_result(desk, pixels, pipelines, monkeypatch):
    scan = put(desk, pixels, "a.png")
    scan.restore(pipelines, Choices(("tone",)), silent)
    made, boxes = scan.outcome, []
    one, two = paint((70, 20)), paint((20, 50))
    of, first = pipelines.of, iter([True])
    monkeypatch.setattr(pipelines, "of", lambda choices: of(choices) if next(first, False) else None)
    with pytest.raises(AttributeError):
        boxes.extend(made.follow((one, two), pipelines))
    assert len(boxes) == 1 and made.strokes == (one,) and made.changed


def test_a_new_result_leaves_the_pixels_of_the_old_one_to_who_has_them_mapped(desk, pixels, pipelines):
    scan = put(desk, pixels, "a.png")
    scan.restore(pipelines, Choices(("tone",)), silent)
    mapped = np.load(scan.outcome.pixels, mmap_mode="r+")  # as a stroke that is followed
    kept = np.array(mapped)
    scan.restore(pipelines, Choices(("tone",), strength=0.5), silent)
    assert np.array_equal(mapped, kept) and not np.array_equal(np.load(scan.outcome.pixels), kept)
    assert len(list(scan.folder.glob("*.npy"))) == 1


def test_a_result_keeps_no_pixels_in_memory(desk, pixels, pipelines):
    scan = put(desk, pixels, "a.png")
    scan.restore(pipelines, Choices(("tone",)), silent)
    kind = scan.outcome.kind
    assert kind.pixels.base is None and kind.levels is kind.infrared is None


def test_a_gray_photo_with_a_profile_can_get_color(desk, pixels, pipelines):
    scan = put(desk, pixels, "a.png")
    Image.fromarray(pixels[..., 0]).save(scan.original, "PNG", icc_profile=made_profiles.ADOBE)
    scan.restore(pipelines, Choices(("tone",)), silent)
    made = scan.outcome
    assert Photo.read(made.file).gray
    made.kind = made.kind.in_color()  # as colorizing makes it
    made.write(scan.photo())
    written = Photo.read(made.file)
    assert not written.gray and written.icc == made_profiles.ADOBE


def test_a_patch_has_the_scale_of_the_preview(desk, pixels, pipelines):
    scan = put(desk, pixels, "a.jpg", size=(4096, 400))
    scan.restore(pipelines, Choices(("tone",)), silent)
    patch = Image.open(io.BytesIO(scan.outcome.patch((slice(100, 200), slice(1000, 1300)))))
    assert patch.size == (150, 50)


def test_a_removed_photo_is_gone_with_its_files(desk, pixels):
    put(desk, pixels, "a.jpg", "b.jpg", "c.jpg")
    first, second, third = desk.scans
    desk.chosen = third
    desk.remove(third)
    assert desk.chosen is second and not third.folder.exists() and first.folder.exists()
    desk.remove(first)
    assert desk.chosen is second and desk.numbered(second.number) is second and desk.numbered(first.number) is None
    desk.remove(second)
    assert desk.chosen is None and desk.scans == []
    assert put(desk, pixels, "d.jpg").number == 4  # numbers are not used again


def test_results_keep_name_and_metadata_and_lose_them_when_asked(desk, pixels, pipelines):
    scan = put(desk, pixels, "Oma & Opa #3.jpg")
    scan.restore(pipelines, DEFAULT, silent)
    with_, without = Photo.read(scan.outcome.file), Photo.read(scan.outcome.bare)
    assert scan.outcome.file.name == scan.outcome.bare.name == "Oma & Opa #3.jpg"
    assert with_.format == without.format == "JPEG"
    assert DATE.encode() in with_.exif
    assert b"scratches,tone,fill" in with_.extra["xmp"]
    assert without.exif is None
    assert without.extra["xmp"] is None
    assert with_.icc == without.icc
    assert with_.icc
    assert with_.dpi == without.dpi == (300, 300)
    assert with_.pixels.mean() > scan.photo().pixels.mean()


def test_strength_and_settings_reach_the_pipeline_and_stages_are_loaded_once(desk, pixels, pipelines, seen):
    scan = put(desk, pixels, "a.png")
    both = ("tone", "colorize")
    scan.restore(pipelines, Choices(both), silent)
    scan.restore(pipelines, Choices(both, strength=0.0), silent)
    assert np.abs(Photo.read(scan.outcome.file).pixels - scan.photo().pixels).mean() < 0.01
    scan.restore(pipelines, Choices(both, saturation=1.5), silent)
    assert seen.loaded == [("tone", {}), ("colorize", {"saturation": 1.0}), ("colorize", {"saturation": 1.5})]


def test_files_are_enlarged_and_the_page_shows_the_photos_own_size(desk, pixels):
    class Doubled:
        name, enlarges = "upscale", True

        def __call__(self, restoration):
            restoration.enlarge(restoration.pixels.repeat_interleave(2, 2).repeat_interleave(2, 3))
            return restoration

    def load(name, settings):
        assert name != "upscale" or settings == {"factor": 2.0}
        return Pipeline([Doubled()] if name == "upscale" else [], {name: "ab" * 32})

    scan = put(desk, pixels, "a.jpg")
    with_two = Pipelines(load)
    scan.restore(with_two, Choices((), upscale=2.0), silent)
    made = scan.outcome
    assert Photo.read(made.file).pixels.shape == (128, 192, 3) and Photo.read(made.file).dpi == (600, 600)
    assert b"upscale" in Photo.read(made.file).extra["xmp"]
    assert Image.open(made.preview).size == (96, 64) and np.load(made.pixels).shape == (64, 96, 3)
    assert made.notes["upscale"] == {"width": 192, "height": 128, "factor": 2.0}
    scan.strokes = (paint((30.0, 30.0)),)
    list(made.follow(scan.strokes, with_two))
    scan.settle()  # mended at the photo's own size, and enlarged again
    assert Photo.read(made.file).pixels.shape == (128, 192, 3)


def test_restoring_stops_between_stages(desk, pixels, pipelines, seen):
    scan = put(desk, pixels, "a.jpg")

    def tell(done, what):
        if what == "tone":
            raise Stopped

    with pytest.raises(Stopped):
        attempt(scan, lambda: scan.restore(pipelines, DEFAULT, tell))
    assert seen.stages == ["scratches"]
    assert scan.outcome is None
    assert not pipelines.lock.locked()


def test_a_slow_stage_tells_how_far_it_is_and_can_be_stopped(desk, pixels):
    class Slow:
        name = "prior"

        def __call__(self, restoration):
            for step in range(1, 5):
                restoration.on_step(self.name, SimpleNamespace(done=step / 4))
            return restoration

    scan, told = put(desk, pixels, "a.jpg"), []
    slow = Pipelines(lambda name, settings: Pipeline([Slow()]))
    scan.restore(slow, Choices(("prior",)), lambda done, what: told.append((round(done, 3), what)))
    assert told == [
        (0, "prior"),
        (0.125, "prior"),
        (0.25, "prior"),
        (0.375, "prior"),
        (0.495, "prior"),
        (0.5, "writing"),
    ]
    slow.close()
    with pytest.raises(Stopped):
        scan.restore(slow, Choices(("prior",)), silent)


def test_what_fails_is_one_line_without_places_of_this_machine(desk, pixels):
    scan = put(desk, pixels, "a.jpg")

    def broken(name, settings):
        raise RuntimeError("first line\nsecond")

    line = attempt(scan, lambda: scan.restore(Pipelines(broken), DEFAULT, silent))
    assert line == "a.jpg: RuntimeError: first line"
    scan.original.unlink()
    line = attempt(scan, scan.look)
    assert line.startswith("a.jpg: ")
    assert str(desk.folder) not in line


def test_an_archive_has_all_results_and_tells_two_of_one_name_apart(desk, pixels, pipelines):
    put(desk, pixels, "a.jpg", "A.jpg", "b.jpg")
    for scan in desk.scans:
        scan.restore(pipelines, DEFAULT, silent)
    with zipfile.ZipFile(desk.zip(bare=True)) as archive:
        assert archive.namelist() == ["a.jpg", "A-2.jpg", "b.jpg"]
        assert Photo.decode(archive.read("b.jpg"), "b.jpg").exif is None
    with desk.zip(bare=True).open("rb") as downloaded, zipfile.ZipFile(desk.zip(bare=False)) as archive:
        assert Photo.decode(archive.read("b.jpg"), "b.jpg").exif
        assert Photo.decode(zipfile.ZipFile(downloaded).read("b.jpg"), "b.jpg").exif is None  # not broken by the other


# What the page says


def test_every_stage_has_a_text():
    assert all(web_text.stage(name) for family in FAMILIES.values() for name in family)


def test_faces_are_told_with_distance_and_meaning(desk, pixels, pipelines):
    scan = put(desk, pixels, "a.jpg")
    scan.restore(pipelines, Choices(("faces",)), silent)
    table = web_text.faces(scan.outcome)
    rows = [row for row in table.split("<tr>") if 'scope="row"' in row]
    assert len(rows) == 3
    assert "0.100" in rows[0]
    assert "very likely" in rows[0]
    assert "doubtful" in rows[1]
    assert "too small" in rows[2]
    assert all(row.count("<img") == 2 for row in rows)
    assert "found 3, refined 1" in web_text.notes(scan.outcome)


def test_names_are_escaped(desk, pixels, pipelines):
    scan = put(desk, pixels, "<img src=x>.jpg")
    scan.find(pipelines, "auto", silent)
    for said in (web_text.title(scan), web_text.damage(scan), web_text.problems([scan.name])):
        assert "<img" not in said


# The command


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_is_known(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_other_hosts_are_not_loopback(host):
    assert not is_loopback(host)


def test_a_wrong_preset_is_one_line():
    pytest.importorskip("gradio")
    from bringback.cli.main import app

    done = CliRunner().invoke(app, ["web", "--config", "nonsense"])
    assert done.exit_code == 2
    assert done.output.startswith("bringback: nonsense: no pipeline")
    assert done.output.count("\n") == 1


def test_without_gradio_the_extra_is_named(monkeypatch):
    from bringback.cli.main import app

    monkeypatch.setitem(__import__("sys").modules, "gradio", None)
    monkeypatch.delitem(__import__("sys").modules, "bringback.web.page", raising=False)
    done = CliRunner().invoke(app, ["web", "--host", "0.0.0.0"])
    assert done.exit_code == 2
    assert 'pip install "bringback[web]"' in done.output
    assert "0.0.0.0: whoever reaches it" in done.output


def test_a_file_that_is_dropped_twice_is_there_twice(tmp_path, pixels):
    one, desk = jpeg(tmp_path / "a.jpg", pixels), Session(tmp_path)
    assert desk.add([(one, "a.jpg"), (one, "a.jpg"), (tmp_path / "gone.jpg", "gone.jpg")], lambda done, what: None) == [
        "gone.jpg: FileNotFoundError: No such file or directory"
    ]
    assert len(desk.scans) == 2 and one.exists()


def test_a_mask_painted_during_a_restoration_is_not_said_to_be_in_it(tmp_path, pixels, lighten):
    desk = Session(tmp_path)
    desk.add([(jpeg(tmp_path / "a.jpg", pixels), "a.jpg")], lambda done, what: None)
    (scan,) = desk.scans

    def paint_now(done: float, what: str) -> None:
        scan.strokes = (paint((20, 20)),)

    choices = Choices(("tone",))
    scan.restore(Pipelines(lambda name, settings: Pipeline([lighten])), choices, paint_now)
    assert scan.strokes and not scan.done_with(choices)


# The handlers, as gradio calls them


@pytest.fixture
def page(tmp_path, pipelines):
    pytest.importorskip("gradio")
    from bringback.web.page import Page

    return Page(tmp_path, pipelines, 10_000_000)


SECRET = "0123456789abcdef" * 2


def opened(page, pixels, *names):
    desk = page._arrive(SECRET, False)[page.desk]
    put(desk, pixels, *names)
    desk.chosen = desk.scans[0]
    return desk


CHOSEN = (False, ["tone"], 1.0, 0.0, 1.0, "auto")  # without metadata, stages, strength, fidelity, saturation, scale


def test_a_reload_finds_the_photos_again_and_the_last_page_closed_deletes_them(page, pixels):
    desk = opened(page, pixels, "a.jpg")
    again = page._arrive(SECRET, True)
    assert again[page.desk] is desk and again[page.status] == "<p>a.jpg: 96 x 64 pixels</p>"
    assert not again[page.choices]["open"] and page._arrive(SECRET, False)[page.choices]["open"]
    assert page._arrive("0" * 32, False)[page.desk] is not desk
    assert page._arrive("", False)[page.desk] is not page._arrive("", False)[page.desk]  # nobody shares a guess
    page._forget(desk)
    page._forget(desk)
    assert desk.folder.exists()
    page._forget(desk)
    assert not desk.folder.exists() and page._arrive(SECRET, False)[page.desk] is not desk


def test_strokes_from_the_browser_mend_a_result(page, pixels):
    desk = opened(page, pixels, "a.jpg")
    (scan,) = desk.scans
    sent = {"desk": SECRET, "photo": scan.number, "strokes": [paint((20, 20)).sent()]}
    assert page._draw(sent) == {"patches": [], "done": 0, "said": ""}  # no result yet
    assert scan.strokes == (paint((20, 20)),)
    *_, last = page._restore(desk, *CHOSEN)
    assert last[page.status] == "<p>1 of 1 photo restored.</p>"
    assert json.loads(last[page.canvas])["done"] == 1
    sent["strokes"].append(paint((70, 30)).sent())
    answer = page._draw(sent)
    assert (answer["done"], answer["said"]) == (2, "Mended.")
    ((left, top, width, height),) = [patch["box"] for patch in answer["patches"]]
    assert left <= 68 and left + width >= 72 and top <= 28 and top + height >= 32
    before = scan.outcome.file.read_bytes()
    assert page.download in page._drawn(desk, False) and scan.outcome.file.read_bytes() != before
    assert page._drawn(desk, False) == page._as_is()  # nothing new
    sent["strokes"].pop()
    assert page._draw(sent)["said"] == "Undone."
    sent["strokes"].append(paint((70, 30), erases=True).sent())
    assert page._draw(sent)["said"] == "Restore again to see this."


def test_what_was_mended_is_written_whatever_is_on_display(page, pixels):
    desk = opened(page, pixels, "a.jpg", "b.jpg")
    list(page._restore_all(desk, *CHOSEN))
    first, second = desk.scans

    def mend() -> bytes:
        desk.chosen, before = first, first.outcome.file.read_bytes()
        sent = [stroke.sent() for stroke in (*first.strokes, paint((20, 20 + 9 * len(first.strokes))))]
        assert page._draw({"desk": SECRET, "photo": first.number, "strokes": sent})["said"] == "Mended."
        desk.chosen = second
        return before

    for end in (
        lambda: page._drawn(desk, False),
        lambda: page._choose(desk, False, SimpleNamespace(index=0)),
        lambda: list(page._find(desk, "auto")),
        lambda: list(page._restore(desk, *CHOSEN)),
        lambda: page._zip(desk, False),
    ):
        before = mend()
        end()
        assert first.outcome.file.read_bytes() != before and not first.outcome.changed


def test_results_are_not_deleted_by_their_age(tmp_path, monkeypatch, pipelines, pixels):
    pytest.importorskip("gradio")
    from gradio.route_utils import delete_files_created_by_app

    from bringback.web.page import Page

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    page = Page(tmp_path, pipelines, 10_000_000)
    desk = opened(page, pixels, "a.jpg", "b.jpg")
    list(page._restore_all(desk, *CHOSEN))
    uploaded = jpeg(tmp_path / "uploaded.jpg", pixels)
    made = desk.scans[0].outcome
    for component, file in (
        (page.drop, uploaded),
        (page.list, desk.scans[0].thumb),
        (page.download, made.file),
        (page.archive, desk.zip(bare=False)),
    ):
        assert component.move_resource_to_block_cache(str(file)) == str(file)  # handed out as it is
    delete_files_created_by_app(page.blocks, age=None)
    assert not uploaded.exists() and made.file.exists() and desk.scans[0].thumb.exists()
    assert desk.zip(bare=False).exists()


def test_strokes_for_nobody_are_answered_and_change_nothing(page, pixels):
    desk = opened(page, pixels, "a.jpg")
    for sent in ({}, {"desk": "guessed", "photo": 1, "strokes": []}, {"desk": SECRET, "photo": 9, "strokes": []}):
        assert page._draw(sent)["said"] == "This photo is gone."
    assert page._draw({"desk": SECRET, "photo": 1, "strokes": "x"})["said"].startswith("no list")
    assert desk.scans[0].strokes == ()


def test_another_photo_can_be_chosen_while_one_is_at_work(page, pixels):
    desk = opened(page, pixels, "a.jpg", "b.jpg")
    work = page._restore(desk, *CHOSEN)
    started = next(work)
    assert not started[page.restore]["interactive"] and started[page.stop]["interactive"]
    assert page.status not in page._choose(desk, False, SimpleNamespace(index=1))
    assert (
        list(page._restore(desk, *CHOSEN)) == [] and page._remove(desk, False) == page._as_is()
    )  # a.jpg is still at work
    *_, last = work
    assert last[page.status] == "<p>1 of 1 photo restored.</p>" and page.canvas not in last  # b.jpg is on display
    assert page.status in page._choose(desk, False, SimpleNamespace(index=0))


def test_a_stop_ends_the_work_within_a_second_whatever_a_stage_is_doing(page, pixels, seen, monkeypatch):
    begun, go = threading.Event(), threading.Event()

    def slow(name, settings):
        begun.set()
        go.wait(20)
        return Seen.load(seen, name, settings)

    monkeypatch.setattr(page.pipelines, "load", slow)
    desk = opened(page, pixels, "a.jpg", "b.jpg")
    work = page._restore_all(desk, *CHOSEN)
    next(work)
    assert begun.wait(10)
    begin = time.perf_counter()
    desk.work.stop()
    *_, last = work
    assert time.perf_counter() - begin < 1 and last[page.status] == "<p>Stopped.</p>"
    assert last[page.restore]["interactive"] and not desk.busy
    go.set()
    with page.pipelines.lock:  # the thread has let go, and done nothing more
        assert seen.stages == []
    assert all(scan.outcome is None for scan in desk.scans)


def test_a_reload_stops_what_is_at_work_and_can_start_again(page, pixels):
    desk = opened(page, pixels, "a.jpg", "b.jpg")
    work = page._restore_all(desk, *CHOSEN)
    next(work)
    view = page._arrive(SECRET, False)
    assert view[page.restore]["interactive"] and not desk.busy
    again = page._restore(desk, *CHOSEN)
    next(again)
    work.close()  # gradio notices later that the old page is gone
    assert desk.busy
    *_, last = again
    assert last[page.status] == "<p>1 of 1 photo restored.</p>" and not desk.busy


def test_a_removed_photo_leaves_the_page_with_the_next_one(page, pixels):
    desk = opened(page, pixels, "a.jpg", "b.jpg")
    view = page._remove(desk, False)
    assert view[page.status] == "<p>a.jpg is removed.</p>" and json.loads(view[page.canvas])["label"].startswith(
        "b.jpg"
    )
    view = page._remove(desk, False)
    assert not view[page.bench]["visible"] and not view[page.restore]["interactive"]


def test_areas_from_the_browser_are_those_of_the_next_restoration(page, pixels, monkeypatch):
    told = areas_told(monkeypatch)
    desk = opened(page, pixels, "a.jpg")
    (scan,) = desk.scans
    oval = Area(((10.0, 4.5), (90.0, 4.5), (90.0, 50.0), (10.0, 50.0)), (40.0, 22.75))
    given = {"corners": [[10, 4.5], [90, 4.5], [90, 50], [10, 50]], "radii": [40, 22.75]}
    sent = {"desk": SECRET, "photo": scan.number, "strokes": [], "areas": [given]}
    assert page._draw(sent)["said"] == web_text.AREAS and scan.areas == (oval,)
    list(page._restore(desk, *CHOSEN))
    made = scan.outcome
    assert told[-1] == (oval,) and made.by_hand == scan.areas == made.areas
    shown = json.loads(page._about(desk, False)[page.canvas])
    assert shown["byHand"] == [given]
    assert page._draw(sent | {"areas": shown["byHand"]})["said"] == ""
    assert list(page._moved(desk, *CHOSEN)) == []  # nothing was moved since
    assert page._draw(sent | {"areas": []})["said"] == web_text.RESTORING
    assert list(page._moved(desk, *CHOSEN)) and told[-1] == () and scan.outcome is not made
    page._draw(sent | {"areas": None})
    list(page._moved(desk, *CHOSEN))
    assert told[-1] is None
    for wrong in (
        "x",
        [[1, 2, 3]],
        [[0, 0, float("nan"), 9]],
        [[0, 0, 10**400, 9]],
        [[0, 0, 96, 5]],
        [[0, 0, 20, 20]] * 101,
    ):
        assert page._draw(sent | {"areas": wrong})["said"] and scan.areas is None
    said = page._draw(sent | {"areas": [[-3, -3, 40, 99], [20, 0, 60, 64]]})["said"]
    assert said == web_text.OVERLAP
    assert list(page._moved(desk, *CHOSEN)) == []  # until that is put right
    for complete in (False, True):  # moved while another photo was at work, which is stopped, or done
        page._draw(sent | {"areas": [[0, 0, 40, 64]]})
        desk.work = SimpleNamespace(complete=complete, stop=lambda: None)
        threading.Timer(0.1, desk.end, (desk.work,)).start()
        assert bool(list(page._moved(desk, *CHOSEN))) == complete
    assert scan.outcome.by_hand == scan.areas


def test_areas_are_looked_for_when_they_are_asked_for(page, pixels):
    desk = opened(page, np.pad(pixels, ((40, 40), (40, 40), (0, 0)), constant_values=245), "a.jpg")
    (scan,) = desk.scans
    assert scan.seen is None and not json.loads(page._about(desk, False)[page.canvas])["looked"]
    answer = page._draw({"desk": SECRET, "photo": scan.number, "strokes": [], "areas": None, "look": True})
    assert answer["areas"] == [web_areas.sent(area) for area in scan.seen] and scan.areas is None
    assert json.loads(page._about(desk, False)[page.canvas])["looked"]


def test_a_page_is_split_into_photos_of_their_own(page, pixels, monkeypatch):
    desk = opened(page, pixels, "page.jpg", "b.jpg")
    prints = [
        Area(tuple((x + dx, y + dy) for dx, dy in ((0, 0), (30, 0), (30, 40), (0, 40)))) for x, y in ((5, 5), (50, 9))
    ]
    monkeypatch.setattr("bringback.web.session.find_prints", lambda pixels: tuple(prints))
    monkeypatch.setattr("bringback.web.session.is_more", lambda pixels, prints: True)
    *_, view = page._split(desk, False)
    assert [scan.name for scan in desk.scans] == ["page.jpg", "page-1.jpg", "page-2.jpg", "b.jpg"]
    assert desk.scans[1].size == (40, 30) and desk.chosen is desk.scans[1]
    assert DATE.encode() in desk.scans[2].photo().exif
    assert "2 prints found" in view[page.status] and "more on the page" in view[page.problems]
    monkeypatch.setattr("bringback.web.session.find_prints", lambda pixels: ())
    *_, view = page._split(desk, False)
    assert "no prints" in view[page.status] and len(desk.scans) == 4 and desk.chosen is desk.scans[1]


def test_a_split_waits_for_its_turn_and_leaves_nothing_when_stopped(desk, pixels, pipelines, monkeypatch):
    scan = put(desk, pixels, "page.jpg")
    prints = [Area(tuple((x + dx, y) for dx, y in ((0, 0), (30, 0), (30, 40), (0, 40)))) for x in (5, 50)]
    monkeypatch.setattr("bringback.web.session.find_prints", lambda pixels: tuple(prints))
    folders = set(desk.folder.iterdir())

    def tell(share, step, at):
        if (share, step) == at:
            raise Stopped

    for at in ((0.5, "splitting"), (1, "splitting"), (0, "waiting")):
        with pytest.raises(Stopped), pipelines.lock if at[1] == "waiting" else nullcontext():
            desk.split(scan, pipelines, partial(tell, at=at))
        assert desk.scans == [scan] and set(desk.folder.iterdir()) == folders and not pipelines.lock.locked()
    made, _ = desk.split(scan, pipelines, silent)
    assert desk.scans == [scan, *made] and len(made) == 2


def test_no_stage_is_an_answer_and_not_an_error(page, pixels):
    (view,) = page._restore(opened(page, pixels, "a.jpg"), False, [], 1.0, 0.0, 1.0, "auto")
    assert view[page.status] == "<p>Choose at least one thing to do.</p>"


def test_warnings_are_shown_beside_the_result(page, pixels, seen, monkeypatch):
    monkeypatch.setattr(seen, "warnings", ["much is <filled>"])
    *_, last = page._restore(opened(page, pixels, "a.jpg"), *CHOSEN)
    assert "Please look: much is &lt;filled&gt;" in last[page.warnings]
