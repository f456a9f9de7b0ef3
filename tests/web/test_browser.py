"""The page in a real Chromium: drop, paint, undo, mend, compare, download, at two sizes, and by keyboard alone."""

import io
import os
import shutil
import socket
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from web.stand_ins import DATE, Seen, areas_told, jpeg

from bringback.images.photo import Photo
from bringback.web.pipelines import Pipelines

CHROMIUM = os.environ.get("BRINGBACK_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
DESK, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def server():
    pytest.importorskip("gradio")
    from bringback.web.server import served

    seen = Seen()
    with served(Pipelines(seen.load), port=free_port(), max_file_size=1) as url:
        yield url, seen


def free_port() -> int:
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

    def __init__(self, browser, url, viewport=DESK, **context):
        self.elsewhere, self.errors = [], []
        self.page = browser.new_context(viewport=viewport, **context).new_page()
        ours = (url, url.replace("http", "ws"), "data:", "blob:")
        self.page.on("request", lambda request: request.url.startswith(ours) or self.elsewhere.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(url)
        self.page.wait_for_selector("#photos input[type=file]", state="attached")

    def says(self, words, where="#status", seconds=60):
        script = "([words, where]) => document.querySelector(where)?.innerText.includes(words)"
        self.page.wait_for_function(script, arg=[words, where], timeout=1000 * seconds)

    def drop(self, *files):
        """Again if nothing came of it: on a busy machine the page is there before it listens."""
        self.page.set_input_files("#photos input[type=file]", files)
        try:
            self.says("Loaded", seconds=20)
        except pytest.importorskip("playwright.sync_api").TimeoutError:
            self.page.set_input_files("#photos input[type=file]", files)
            self.says("Loaded")

    def shows(self, view):
        """Wait until the canvas has a photo on this view."""
        script = """view => {
            const canvas = document.querySelector('#canvas canvas'), shown = document.querySelector('[data-view]');
            return canvas.dataset.photo && canvas.clientHeight > 50 && shown.value == view;
        }"""
        self.page.wait_for_function(script, arg=view, timeout=60_000)
        self.page.wait_for_timeout(300)

    def click(self, name, role="button"):
        self.page.get_by_role(role, name=name, exact=True).click()

    def stroke(self, x, rows=(-60, 60)):
        """Down the canvas, `x` pixels to the right of its middle."""
        box, mouse = self.page.locator("#canvas canvas").bounding_box(), self.page.mouse
        x, y = box["x"] + box["width"] / 2 + x, box["y"] + box["height"] / 2
        mouse.move(x, y + rows[0])
        mouse.down()
        mouse.move(x, y + rows[1], steps=3)
        mouse.up()

    def drag(self, start, end):
        """From a place to another, pixels from the middle of the canvas."""
        box, mouse = self.page.locator("#canvas canvas").bounding_box(), self.page.mouse
        middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        mouse.move(middle[0] + start[0], middle[1] + start[1])
        mouse.down()
        mouse.move(middle[0] + end[0], middle[1] + end[1], steps=3)
        mouse.up()

    def color(self, x, y=0):
        """What the canvas shows there, RGB, `x` and `y` pixels from its middle, once what was asked for is drawn."""
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        data = Image.open(io.BytesIO(self.page.locator("#canvas canvas").screenshot())).convert("RGB")
        return np.array(data.getpixel((data.width // 2 + x, data.height // 2 + y)), int)

    def download(self, where):
        with self.page.expect_download() as waiting:
            self.page.click(where)
        return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


def told_of(told, visitor, box):
    """Wait until a pipeline is told of this area (left, top, right, bottom), or of none, and has restored the photo."""
    for _ in range(150):
        visitor.page.wait_for_timeout(100)
        last = told[-1][0].box if told[-1] else None
        if last is box or (last and box and np.allclose(last, box, atol=1.5)):
            break
    else:
        raise AssertionError(f"{last}, not {box}")
    visitor.says("1 of 1 photo restored")


def listed(page, count):
    page.wait_for_function(
        "count => document.querySelectorAll('#list button.thumbnail-item').length == count", arg=count, timeout=60_000
    )


def test_a_visitor_drops_ten_files_edits_the_mask_restores_and_downloads(server, browser, pixels, tmp_path):
    url, seen = server
    files = [jpeg(tmp_path / f"photo #{number}.jpg", pixels) for number in range(8)]
    broken, huge = tmp_path / "broken.jpg", tmp_path / "huge.tif"
    broken.write_bytes(files[0].read_bytes()[:700])
    huge.write_bytes(bytes(1_500_000))
    visitor = Visitor(browser, url)
    page = visitor.page
    assert not page.locator("#canvas canvas").is_visible()  # no empty editor
    visitor.drop(*files[:4], broken, huge, *files[4:])
    assert page.inner_text("#too-large") == "huge.tif: 2 MB, 1 MB are the limit of this page"
    assert page.inner_text("#problems").startswith("broken.jpg: broken or cut short")
    listed(page, 8)

    visitor.click("Find damage")
    visitor.says("50.0% damaged")
    visitor.shows("before")
    visitor.stroke(120)
    visitor.click("Erase")
    visitor.stroke(-120)
    page.wait_for_timeout(500)
    seen.stages.clear()
    visitor.click("Restore this photo")
    visitor.says("1 of 1 photo restored")
    assert seen.stages == ["stains", "tone", "fill", "translate", "faces"]
    column = seen.mask[32]
    left, right = np.flatnonzero(column[:46] < 0.5), 50 + np.flatnonzero(column[50:] > 0.5)
    assert 0 < len(left) < 12
    assert 0 < len(right) < 12
    assert abs((left.mean() + right.mean()) / 2 - 47.5) < 1.5  # as far to the left as to the right
    assert seen.mask[2, :46].all()
    assert not seen.mask[2, 50:].any()

    visitor.shows("slider")
    assert "very likely" in page.inner_text("#faces")
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
    assert len(seen.stages) == 7 * 6  # the first is done, and the others are found to be damaged as ever
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


def test_a_visitor_mends_undoes_compares_moves_areas_reloads_and_removes(server, browser, tmp_path, monkeypatch):
    url, _ = server
    told = areas_told(monkeypatch)
    visitor, gray = Visitor(browser, url), np.full((300, 400, 3), 80, np.uint8)
    page = visitor.page
    visitor.drop(jpeg(tmp_path / "a.jpg", gray, (400, 300)))
    visitor.click("Restore this photo")
    visitor.says("1 of 1 photo restored")
    visitor.shows("slider")
    before, after = visitor.color(-60)[0], visitor.color(60)[0]
    assert after > before + 30
    page.keyboard.down("o")  # the original, while it is held
    assert abs(visitor.color(60)[0] - before) < 5
    page.keyboard.up("o")
    assert abs(visitor.color(60)[0] - after) < 5

    assert page.locator("[data-split]").is_visible()
    page.select_option("[data-view]", "after")
    assert not page.locator("[data-split]").is_visible()
    visitor.stroke(60)
    visitor.says("Mended.", "[data-said]")
    page.mouse.move(0, 0)
    page.wait_for_timeout(500)
    mended = visitor.color(60)[0]  # the stand-ins of fill and translation lighten
    assert mended > after + 30 and abs(visitor.color(-60)[0] - after) < 5
    page.keyboard.press("Control+z")
    visitor.says("Undone.", "[data-said]")
    page.wait_for_timeout(300)
    assert abs(visitor.color(60)[0] - after) < 5
    page.keyboard.press("Control+Shift+z")
    visitor.says("Mended.", "[data-said]")
    page.wait_for_timeout(800)
    name, data = visitor.download("#download")
    photo = Photo.decode(data, name).pixels
    assert photo.max() > photo[150, 100].max() + 0.1  # what was mended is in the file

    for view in ("panes", "blink", "before"):
        page.select_option("[data-view]", view)
        visitor.shows(view)
    blue = visitor.color(60)
    assert blue[2] > blue[0] + 50  # the stroke over the photo, translucent

    visitor.click("Areas")
    page.wait_for_timeout(500)  # more buttons, less room for the photo
    box = page.locator("#canvas canvas").bounding_box()
    zoom = min(box["width"] / 400, box["height"] / 300)
    expected = [200 - 100 / zoom, 150 - 80 / zoom, 200 + 120 / zoom, 150 + 90 / zoom]
    visitor.drag((-100, -80), (120, 90))  # a new area, in which the photo is restored again
    told_of(told, visitor, expected)
    visitor.drag((120, -80), (90, -60))  # its upper right corner
    expected[1:3] = 150 - 60 / zoom, 200 + 90 / zoom
    told_of(told, visitor, expected)
    page.locator("#canvas canvas").focus()
    page.keyboard.press("ArrowLeft")  # the corner that was dragged
    expected[2] -= 10 / zoom
    told_of(told, visitor, expected)
    assert visitor.color(-150)[0] < visitor.color(-80)[0] - 20  # what is outside is dimmed
    visitor.drag((0, 0), (-20, 15))  # the whole area
    expected = [side + by / zoom for side, by in zip(expected, (-20, 15, -20, 15), strict=True)]
    told_of(told, visitor, expected)
    visitor.click("As found")
    told_of(told, visitor, None)
    visitor.click("Paint")
    page.reload()
    visitor.says("a.jpg: 400 x 300 pixels")
    visitor.shows("before")
    blue = visitor.color(60)
    assert blue[2] > blue[0] + 50
    visitor.click("Remove this photo")
    visitor.says("a.jpg is removed.")
    page.wait_for_selector("#canvas canvas", state="hidden")
    assert visitor.errors == []


SLOW = """() => {
  const fetched = window.fetch, wait = () => new Promise((done) => setTimeout(done, 1000));
  window.fetch = async (...given) => {
    if (String(given[0]).includes("component_server")) await wait();
    return fetched(...given);
  };
}"""


def test_strokes_reach_their_photos_though_another_is_on_display_by_then(server, browser, tmp_path):
    url, _ = server
    visitor, gray = Visitor(browser, url), np.full((300, 400, 3), 80, np.uint8)
    page = visitor.page
    visitor.drop(*(jpeg(tmp_path / name, gray, (400, 300)) for name in ("a.jpg", "b.jpg")))
    visitor.click("Restore all")
    visitor.says("2 of 2 photos restored")
    visitor.shows("slider")
    page.select_option("[data-view]", "after")
    plain = visitor.color(0)[0]
    page.evaluate(SLOW)
    visitor.stroke(60)
    visitor.stroke(-60)  # waits for the first
    for number, name in ((1, "b.jpg"), (0, "a.jpg"), (1, "b.jpg")):
        page.locator("#list button.thumbnail-item").nth(number).click()
        visitor.says(name)
        page.wait_for_function(f"document.querySelector('#canvas canvas').dataset.photo == {number + 1}")
        page.wait_for_timeout(200)
    page.select_option("[data-view]", "after")
    visitor.stroke(100)
    visitor.says("Mended.", "[data-said]")
    page.mouse.move(0, 0)
    page.wait_for_timeout(500)
    assert visitor.color(100)[0] > plain + 30 and abs(visitor.color(60)[0] - plain) < 5
    page.locator("#list button.thumbnail-item").nth(0).click()
    visitor.says("a.jpg")
    page.wait_for_function("document.querySelector('#canvas canvas').dataset.photo == 1")
    page.select_option("[data-view]", "after")
    page.wait_for_timeout(3000)
    assert min(visitor.color(60)[0], visitor.color(-60)[0]) > plain + 30
    photo = Photo.decode(visitor.download("#download")[1], "a.jpg").pixels[150, :, 0]
    assert np.ptp(photo) > 0.1 and abs(photo[:200].max() - photo[200:].max()) < 0.05  # both strokes are in the file
    assert visitor.errors == []


def test_brush_zoom_and_pan(server, browser, tmp_path):
    url, _ = server
    visitor, half = Visitor(browser, url), np.zeros((300, 400, 3), np.uint8)
    half[:, 200:] = 255
    page = visitor.page
    visitor.drop(jpeg(tmp_path / "a.jpg", half, (400, 300)))
    visitor.shows("before")
    size = lambda: int(page.input_value("[data-brush]"))  # noqa: E731
    assert size() == 20
    page.keyboard.press("]")
    assert size() == 23
    page.keyboard.press("[")
    box = page.locator("#canvas canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.wheel(0, -100)
    assert size() == 22
    for _ in range(40):
        page.keyboard.press("]")
    assert size() == 60
    # the edge between black and white lies in the middle; zoomed in and panned, it is elsewhere
    assert visitor.color(-20, 80)[0] < 60 and visitor.color(40, 80)[0] > 190
    for _ in range(4):
        page.keyboard.press("+")
    page.mouse.down(button="right")
    page.mouse.move(box["x"] + box["width"] / 2 + 150, box["y"] + box["height"] / 2, steps=3)
    page.mouse.up(button="right")
    page.mouse.move(0, 0)
    page.wait_for_timeout(200)
    assert visitor.color(100, 80)[0] < 60 and visitor.color(200, 80)[0] > 190
    page.keyboard.press("0")
    page.wait_for_timeout(200)
    assert visitor.color(40, 80)[0] > 190
    assert page.locator("[data-do=undo]").is_disabled()  # nothing was painted by all this
    assert visitor.errors == []


def test_by_keyboard_alone(server, browser, pixels, tmp_path):
    url, _ = server
    visitor = Visitor(browser, url)
    page = visitor.page
    visitor.drop(jpeg(tmp_path / "a.jpg", pixels), jpeg(tmp_path / "b.jpg", pixels))
    listed(page, 2)
    visitor.shows("before")

    def to(which, most=80):
        for _ in range(most):
            page.keyboard.press("Tab")
            if page.evaluate("which => document.activeElement.matches(which)", which):
                style = page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
                assert style != "none", which  # what has the keyboard can be seen
                return
        raise AssertionError(f"the Tab key does not come to {which}")

    page.evaluate("() => document.activeElement.blur()")
    to("#list button.thumbnail-item")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    visitor.says("b.jpg: 96 x 64 pixels")
    to("#stages input")
    checked = page.evaluate("() => document.activeElement.checked")
    page.keyboard.press("Space")
    assert page.evaluate("() => document.activeElement.checked") != checked
    page.keyboard.press("Space")
    to("[data-brush]")
    page.keyboard.press("ArrowRight")
    assert page.input_value("[data-brush]") == "21"
    to("#deeds button")
    page.keyboard.press("Enter")
    visitor.says("1 of 1 photo restored")
    visitor.shows("slider")
    to("[data-split]")
    page.keyboard.press("Home")
    assert page.input_value("[data-split]") == "0"
    assert visitor.errors == []


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_covered_cut_or_hard_to_read(server, browser, pixels, tmp_path, viewport, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    url, _ = server
    visitor = Visitor(browser, url, viewport, color_scheme=scheme)
    page = visitor.page
    for step in ("empty", "loaded", "restored"):
        if step == "loaded":
            visitor.drop(jpeg(tmp_path / "a.jpg", pixels, (480, 320)))
            visitor.shows("before")
        elif step == "restored":
            visitor.click("Restore this photo")
            visitor.says("1 of 1 photo restored")
            visitor.shows("slider")
        page.wait_for_timeout(500)
        found = axe.run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found] == [], step
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), step
    tops = {
        which: page.locator(which).bounding_box()["y"] for which in ("#canvas canvas", "#deeds", "#photos", "#status")
    }
    box = page.locator("#canvas canvas").bounding_box()
    if viewport is PHONE:  # the photo first, what can be done after it, and all that within one screen
        assert tops["#canvas canvas"] < tops["#deeds"] < tops["#photos"] and tops["#status"] < PHONE["height"]
        assert box["width"] / box["height"] == pytest.approx(1.5, rel=0.02)
        assert not page.get_by_label("Without metadata").is_visible()  # the settings are closed
    else:
        assert tops["#status"] + 20 < DESK["height"] and box["height"] > 0.5 * DESK["height"]
    assert visitor.errors == []


def test_words_come_at_once(server, browser, pixels, tmp_path):
    """Within 100 ms of a click, as the browser itself measures it."""
    url, _ = server
    visitor = Visitor(browser, url)
    page = visitor.page
    visitor.drop(jpeg(tmp_path / "a.jpg", pixels))
    visitor.shows("before")
    page.evaluate("""() => {
        const status = document.querySelector("#status");
        window.waited = [];
        document.addEventListener("click", (event) => {
            if (!event.target.closest("#deeds button")) return;
            const begin = performance.now();
            const seen = new MutationObserver(() => {
                window.waited.push(performance.now() - begin);
                seen.disconnect();
            });
            seen.observe(status, { childList: true, subtree: true, characterData: true });
        }, true);
    }""")
    visitor.click("Find damage")
    visitor.says("50.0% damaged")
    visitor.click("Restore this photo")
    visitor.says("1 of 1 photo restored")
    waited = page.evaluate("() => window.waited")
    assert len(waited) == 2 and max(waited) < 100, waited
    assert page.locator("#status [aria-live=polite]").count() == 1


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
    assert "text.jpg: not a picture" in visitor.page.inner_text("#problems")  # after gradio's own clock, for a moment
    assert visitor.page.get_by_role("button", name="Restore all").is_disabled()
    made = """bytes => {
        const dropped = new DataTransfer();
        dropped.items.add(new File([new Uint8Array(1500000)], "<b>huge</b>.tif"));
        dropped.items.add(new File([new Uint8Array(bytes)], "good.png"));
        return dropped;
    }"""
    dropped = visitor.page.evaluate_handle(made, list(good.read_bytes()))
    visitor.page.dispatch_event("#photos button", "drop", {"dataTransfer": dropped})
    visitor.says("Loaded 1 photo")
    assert visitor.page.inner_text("#too-large") == "<b>huge</b>.tif: 2 MB, 1 MB are the limit of this page"
    listed(visitor.page, 1)
    assert visitor.page.inner_text("#problems").strip() == ""
    assert visitor.errors == []
