"""The web page: what it does, without a browser; then a real Chromium drops, paints, restores and downloads."""

import io
import os
import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageCms
from typer.testing import CliRunner

from bringback.images.photo import Photo
from bringback.pipeline import Pipeline
from bringback.stages import FAMILIES
from bringback.stages.record import Face
from bringback.web import mask_layer as web_mask
from bringback.web import text as web_text
from bringback.web.mask_layer import CANVAS, MARGIN, PAINTED, Place
from bringback.web.pipelines import Choices, Pipelines, Stopped
from bringback.web.server import is_loopback
from bringback.web.session import Session, attempt, base_name

DATE = "1961:04:12 07:07:00"
CHROMIUM = os.environ.get("BRINGBACK_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


class Seen:
    """Stages that need no weights and keep what they were given: the names, and the mask at the last one."""

    def __init__(self):
        self.stages, self.mask, self.loaded = [], None, []

    def load(self, name, settings):
        self.loaded.append((name, dict(settings)))
        seen = self

        class Stage:
            def __init__(self):
                self.name = name

            def __call__(self, restoration):
                seen.stages.append(name)
                if name == "scratches":  # the left half, united with what was there
                    found = restoration.damage().clone()
                    found[..., : found.shape[-1] // 2] = 1
                    restoration.mask = found
                elif name == "faces":
                    points = np.array([[30, 30], [40, 30], [50, 30], [60, 30], [45, 40]], np.float32)
                    restoration.faces = [
                        Face((20, 10, 60, 50), points, 0.1, "refined"),
                        Face((0, 0, 20, 20), points, 0.5, "left alone: refinement would change the person"),
                        Face((70, 10, 80, 20), points, None, "left alone: too small, 10 pixels wide"),
                    ]
                    restoration.notes["faces"] = {"found": 3, "refined": 1}
                else:
                    restoration.pixels = 0.75 * restoration.pixels + 0.25
                seen.mask = None if restoration.mask is None else restoration.mask[0, 0].numpy().copy()
                return restoration

        return Pipeline([Stage()], {name: "0123456789abcdef" * 4}, settings={name: settings})


@pytest.fixture
def seen():
    return Seen()


@pytest.fixture
def pipelines(seen):
    return Pipelines(seen.load)


@pytest.fixture
def desk(tmp_path):
    return Session(tmp_path)


def jpeg(path: Path, pixels: np.ndarray, size=(96, 64)) -> Path:
    exif = Image.Exif()
    exif[0x0132] = DATE
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(pixels).resize(size).save(path, exif=exif, icc_profile=profile, dpi=(300, 300), quality=92)
    return path


def silent(done: float, what: str) -> None:
    pass


def listed(page, count):
    page.wait_for_function(
        "count => document.querySelectorAll('#list button.thumbnail-item').length == count", arg=count, timeout=60_000
    )


def put(desk: Session, pixels: np.ndarray, *names: str, size=(96, 64)):
    """Drop photos of these names; the last of them."""
    files = []
    for name in names:
        files.append((jpeg(desk.folder / f"upload{len(files)}.jpg", pixels, size), name))
    assert desk.add(files, silent) == []
    return desk.scans[-1]


def paint(layer: np.ndarray, rows: slice, columns: slice, color=(*PAINTED, 255)) -> np.ndarray:
    painted = layer.copy()
    painted[rows, columns] = color
    return painted


DEFAULT = Choices(("scratches", "tone", "fill"))


# The mask: what is painted on a canvas, and what becomes of it at the photo's size


@pytest.mark.parametrize(("height", "width"), [(64, 96), (3000, 1000), (50, 4000), (1, 1), (768, 1024)])
def test_a_photo_lies_inside_the_margins_of_its_canvas(height, width):
    place = Place.of(height, width)
    assert place.top >= MARGIN
    assert place.left >= MARGIN
    assert place.top + place.height <= CANVAS[0] - MARGIN
    assert place.left + place.width <= CANVAS[1] - MARGIN
    if min(height, width) > 50:
        assert place.width / place.height == pytest.approx(width / height, rel=0.01)


def test_a_scratch_of_one_pixel_of_a_large_photo_is_shown():
    mask = np.zeros((4000, 6000), np.float32)
    mask[:, 3001] = 0.9
    assert web_mask.shown(mask).any(1).all()
    assert web_mask.shown(mask).sum(1).max() <= 2


def test_a_layer_that_comes_back_as_it_went_is_no_edit(desk, pixels, pipelines):
    scan = put(desk, pixels, "a.jpg")
    scan.find(pipelines)
    desk.edit(desk.layer(scan))
    assert scan.edits is None
    assert scan.mask(scan.edits) is None


def test_only_what_was_painted_or_rubbed_out_overrides_the_mask_at_full_size():
    found = np.full((2000, 3000), 0.3, np.float32)  # soft, not to be filled
    found[:, 100:1500:7] = 0.8
    place = Place.of(*found.shape)
    layer = web_mask.layer(place, web_mask.shown(found), None, 1)
    part = place.of_canvas(layer)
    part[:100, :200] = 0
    part[-100:, -200:] = (*PAINTED, 255)
    part[300:400, :100] = (*PAINTED, 255)  # over what was found
    mask = web_mask.Edits.between(web_mask.shown(found), part).apply(found)
    scale = 3000 / place.width
    rows, columns = int(100 * scale), int(200 * scale)
    assert not (mask[: rows - 3, : columns - 3] > 0.5).any()
    assert (mask[-rows + 3 :, -columns + 3 :] == 1).all()
    assert (mask[int(300 * scale) + 3 : int(400 * scale) - 3, : int(100 * scale) - 3] == 1).all()
    untouched = np.s_[int(450 * scale) : -int(150 * scale)]
    assert np.array_equal(mask[untouched], found[untouched])


def test_the_number_of_a_layer_survives_paint_over_one_margin():
    layer = web_mask.layer(Place.of(64, 96), np.zeros((64, 96), bool)[:0, :0].reshape(0, 0), None, 0) * 0
    assert web_mask.numbers(layer) == set()
    place = Place.of(64, 96)
    layer = web_mask.layer(place, np.zeros((place.height, place.width), bool), None, 40001)
    assert web_mask.numbers(layer) == {40001}
    assert 40001 in web_mask.numbers(paint(layer, np.s_[:200], np.s_[:]))
    assert web_mask.numbers(paint(layer, np.s_[-200:], np.s_[:], 0)) == {40001}
    # rubbed out in a corner, one number must not become another
    assert web_mask.numbers(paint(layer, np.s_[:30], np.s_[:30], 0)) == {40001}


def test_layers_that_are_not_the_latest_of_their_photo_are_not_taken_in(desk, pixels, pipelines):
    first, second = put(desk, pixels, "a.jpg"), put(desk, pixels, "b.jpg")
    early = desk.layer(first)
    desk.layer(second)
    first.find(pipelines)
    desk.layer(first)
    desk.edit(early)  # the browser had not got the new one yet: nothing was rubbed out
    desk.edit(np.zeros_like(early))
    assert first.edits is None
    assert second.edits is None
    desk.edit(paint(desk.layer(second), np.s_[400:500], np.s_[600:700]))
    assert first.edits is None
    assert second.edits is not None


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
    assert Image.open(scan.preview).size == (1400, 933)
    assert Image.open(scan.canvas).size == CANVAS[::-1]
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
    scan.find(pipelines)
    assert scan.share == pytest.approx(0.5)
    place = Place.of(*scan.size)
    half, middle = place.left + place.width // 2, place.top + place.height // 2
    layer = paint(desk.layer(scan), np.s_[:middle], np.s_[:half], 0)  # rubbed out, over the margin too
    desk.edit(paint(layer, np.s_[middle + 100 : middle + 200], np.s_[half + 100 : half + 300]))
    seen.stages.clear()
    scan.restore(pipelines, DEFAULT, silent)
    assert seen.stages == ["tone", "fill"]
    height, width = scan.size
    assert not seen.mask[: height // 2 - 2, : width // 2].any()
    assert seen.mask[height // 2 + 2 :, : width // 2 - 2].all()
    assert seen.mask[height // 2 + 12, width // 2 + 20] == 1
    assert "scratches" not in scan.outcome.file.read_bytes().decode("latin1").partition("bringback:stages")[2][:40]
    assert scan.done_with(DEFAULT)
    desk.edit(desk.layer(scan))  # nothing new
    assert scan.done_with(DEFAULT)


def test_what_is_painted_before_the_detector_has_looked_is_united_with_what_it_finds(desk, pixels, pipelines, seen):
    scan = put(desk, pixels, "a.jpg")
    desk.edit(paint(desk.layer(scan), np.s_[320:450], np.s_[720:800]))
    scan.restore(pipelines, DEFAULT, silent)
    assert seen.stages == ["scratches", "tone", "fill"]
    assert seen.mask[:, :48].all()
    assert seen.mask[32, 70] == 1
    assert not seen.mask[:10, 60:].any()


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
    assert desk.zip(bare=False) is None
    for scan in desk.scans:
        scan.restore(pipelines, DEFAULT, silent)
    with zipfile.ZipFile(desk.zip(bare=True)) as archive:
        assert archive.namelist() == ["a.jpg", "A-2.jpg", "b.jpg"]
        assert Photo.decode(archive.read("b.jpg"), "b.jpg").exif is None


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
    assert "plainly the same person" in rows[0]
    assert "somebody else" in rows[1]
    assert "too small" in rows[2]
    assert all(row.count("<img") == 2 for row in rows)
    assert "found 3, refined 1" in web_text.notes(scan.outcome)


def test_names_are_escaped(desk, pixels, pipelines):
    scan = put(desk, pixels, "<img src=x>.jpg")
    scan.find(pipelines)
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


# In a browser


@pytest.fixture(scope="module")
def server():
    pytest.importorskip("gradio")
    from bringback.web import page as web_page
    from bringback.web.server import served

    seen = Seen()
    with pytest.MonkeyPatch.context() as patch:
        for module in (web_mask, web_page):  # a browser without a GPU takes seconds for a large one
            patch.setattr(module, "CANVAS", (384, 512))
        with served(Pipelines(seen.load), port=free_port(), max_file_size=1) as url:
            yield url, seen


def free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium: install it, or set BRINGBACK_CHROMIUM")
    flags = ("sandbox", "first-run")
    flags = [f"--no-{flag}" for flag in flags] + [
        f"--disable-{flag}" for flag in ("gpu", "background-networking", "component-update", "sync")
    ]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


class Visitor:
    """A page in the browser, and what is done on it."""

    def __init__(self, browser, url, **context):
        self.elsewhere, self.errors = [], []
        size = {"width": 1280, "height": 900}  # coarse, as a machine without a GPU paints every pixel by hand
        self.page = browser.new_context(viewport=size, device_scale_factor=0.4, **context).new_page()
        ours = (url, url.replace("http", "ws"), "data:", "blob:")
        self.page.on("request", lambda request: request.url.startswith(ours) or self.elsewhere.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(url)
        self.page.wait_for_selector("#editor canvas")

    def says(self, words):
        script = "words => document.querySelector('#status').innerText.includes(words)"
        self.page.wait_for_function(script, arg=words, timeout=60_000)

    def drop(self, *files):
        self.page.set_input_files("#photos input[type=file]", files)
        self.says("taken")

    def click(self, name, role="button"):
        self.page.get_by_role(role, name=name, exact=True).click()

    def stroke(self, x):
        """From above the middle of the canvas down, `x` pixels to the right of it."""
        box, mouse = self.page.locator("#editor canvas").first.bounding_box(), self.page.mouse
        x, y = box["x"] + box["width"] / 2 + x, box["y"] + box["height"] / 2
        mouse.move(x, y - 60)
        mouse.down()
        mouse.move(x, y + 60, steps=3)
        mouse.up()

    def download(self, where):
        with self.page.expect_download() as waiting:
            self.page.click(where)
        return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


def test_a_visitor_drops_ten_files_edits_the_mask_restores_and_downloads(server, browser, pixels, tmp_path):
    url, seen = server
    files = [jpeg(tmp_path / f"photo #{number}.jpg", pixels) for number in range(8)]
    broken, huge = tmp_path / "broken.jpg", tmp_path / "huge.tif"
    broken.write_bytes(files[0].read_bytes()[:700])
    huge.write_bytes(bytes(1_500_000))
    visitor = Visitor(browser, url)
    page = visitor.page
    visitor.drop(*files[:4], broken, huge, *files[4:])
    assert page.inner_text("#too-large") == "huge.tif: 2 MB, 1 MB are the limit of this page"
    assert page.inner_text("#problems").startswith("broken.jpg: broken or cut short")
    listed(page, 8)

    visitor.click("Find damage")
    visitor.says("50.0% damaged")
    page.wait_for_timeout(500)  # the layer comes after the words
    visitor.stroke(120)
    visitor.click("Erase")
    visitor.stroke(-120)
    seen.stages.clear()
    visitor.click("Restore this photo")
    visitor.says("1 of 1 photo restored")
    assert seen.stages == ["tone", "fill", "translate", "faces"]
    column = seen.mask[32]
    left, right = np.flatnonzero(column[:48] < 0.5), 48 + np.flatnonzero(column[48:] > 0.5)
    assert 0 < len(left) < 12
    assert 0 < len(right) < 12
    assert abs((left.mean() + right.mean()) / 2 - 47.5) < 1.5  # as far to the left as to the right
    assert seen.mask[2, :48].all()
    assert not seen.mask[2, 48:].any()

    page.wait_for_selector("#slider img")
    assert page.locator("#slider img").first.is_visible()
    assert "plainly the same person" in page.inner_text("#faces")
    name, data = visitor.download("#download")
    assert name == "photo #0.jpg"
    photo, original = Photo.decode(data, name), Photo.read(files[0])
    assert (photo.format, photo.icc, photo.dpi) == (original.format, original.icc, original.dpi)
    assert DATE.encode() in photo.exif
    assert photo.pixels.shape == original.pixels.shape
    assert photo.pixels.mean() > original.pixels.mean() + 0.05

    page.locator("#list button.thumbnail-item").nth(2).click()
    visitor.says("photo #2.jpg: 96 x 64 pixels")
    seen.stages.clear()
    visitor.click("Restore all")
    visitor.says("8 of 8 photos restored")
    assert len(seen.stages) == 7 * 5  # the first is done, and the others are found to be damaged as ever
    page.get_by_label("Without metadata").check()
    page.wait_for_timeout(500)
    name, data = visitor.download("#zip")
    assert name == "bringback.zip"
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == [path.name for path in files]
        assert Photo.decode(archive.read("photo #7.jpg"), "7").exif is None
    another = jpeg(tmp_path / "another.jpg", pixels)
    visitor.drop(another)  # after all kinds of clicks
    listed(page, 9)
    assert visitor.elsewhere == []
    assert visitor.errors == []


def test_the_server_is_for_this_machine_alone(server):
    import httpx

    for headers, status in (
        ({}, 200),
        ({"Origin": server[0].rstrip("/")}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ):
        assert httpx.get(f"{server[0]}config", headers=headers, trust_env=False).status_code == status, headers


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
        layer = desk.layer(scan)
        place = Place.of(*scan.size)
        place.of_canvas(layer)[:] = (*PAINTED, 255)
        desk.edit(layer)

    choices = Choices(("tone",))
    scan.restore(Pipelines(lambda name, settings: Pipeline([lighten])), choices, paint_now)
    assert scan.edits is not None and not scan.done_with(choices)


def test_the_server_refuses_large_files_itself(server):
    import httpx

    answer = httpx.post(f"{server[0]}gradio_api/upload", files={"files": ("a.jpg", bytes(1_100_000))}, trust_env=False)
    assert answer.status_code == 413


def test_visitors_have_photos_of_their_own_and_a_page_survives_bad_drops(server, browser, pixels, tmp_path):
    url, _ = server
    text, good = tmp_path / "text.jpg", jpeg(tmp_path / "good.png", pixels)
    text.write_text("no picture")
    visitor = Visitor(browser, url, color_scheme="dark")
    visitor.drop(text)
    assert visitor.page.inner_text("#problems").startswith("text.jpg: not a picture")
    assert visitor.page.get_by_role("button", name="Restore all").is_disabled()
    made = """bytes => {
        const dropped = new DataTransfer();
        dropped.items.add(new File([new Uint8Array(1500000)], "<b>huge</b>.tif"));
        dropped.items.add(new File([new Uint8Array(bytes)], "good.png"));
        return dropped;
    }"""
    dropped = visitor.page.evaluate_handle(made, list(good.read_bytes()))
    visitor.page.dispatch_event("#photos button", "drop", {"dataTransfer": dropped})
    visitor.says("1 photo taken")
    assert visitor.page.inner_text("#too-large") == "<b>huge</b>.tif: 2 MB, 1 MB are the limit of this page"
    listed(visitor.page, 1)
    assert visitor.page.inner_text("#problems").strip() == ""
    assert visitor.errors == []
