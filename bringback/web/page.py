"""The gradio page: components and event handlers, which work on a `Session`."""

import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from bringback.stages import FAMILIES, plugins
from bringback.web import areas, strokes
from bringback.web import text as web_text
from bringback.web.canvas import canvas, patches, shown
from bringback.web.pipelines import ENLARGING, Choices, Pipelines
from bringback.web.session import Item, Session, attempt
from bringback.web.work import EVERY, Tell, Work

View = dict[Any, Any]  # component updates
TOKEN = re.compile("[0-9a-f]{32}")
STATUS = '<div role="status" aria-live="polite">${value}</div>'
ARRIVED = """() => {
  const kept = sessionStorage.getItem("bringback");  // which a reload keeps, and another tab does not see
  const made = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (one) => one.toString(16).padStart(2, "0"));
  const token = kept ?? made().join("");
  sessionStorage.setItem("bringback", token);
  return [token, innerWidth < 700];
}"""
DOWNLOAD = """(file) => {
  Object.assign(document.createElement("a"), { href: file.url, download: file.orig_name }).click();
}"""


class Page:
    """Components and event handlers; launch `blocks`."""

    def __init__(self, folder: Path, pipelines: Pipelines, max_pixels: int) -> None:
        """Args: folder: for the files of users; pipelines: for all users; max_pixels: limit per photo."""
        self.folder, self.pipelines, self.max_pixels = folder, pipelines, max_pixels
        self.desks: dict[str, Session] = {}  # by token
        with gr.Blocks(title="bringback", analytics_enabled=False, delete_cache=(600, 7200)) as self.blocks:
            self.desk = gr.State(None, delete_callback=self._forget)
            self.token, self.phone = gr.Textbox(visible=False), gr.Checkbox(visible=False)
            names = [*FAMILIES[pipelines.config.family], *plugins()]
            gr.HTML(web_text.HEAD + web_text.small_print(names), padding=False, elem_id="head")
            with gr.Row(elem_id="desk"):
                with gr.Column(scale=1, min_width=280, elem_id="side"):
                    self._place_photos()
                    self._place_choices(names)
                with gr.Column(scale=3, min_width=320, elem_id="work"):
                    self._place_work()
            self._connect()
        # gradio deletes files by their age: uploads, but not those of sessions, which end with the page
        ours = [id(component.temp_files) for component in (self.list, self.download, self.archive)]
        self.blocks.temp_file_sets = [files for files in self.blocks.temp_file_sets if id(files) not in ours]

    def _place_photos(self) -> None:
        self.drop = gr.File(label="Drop photos here", file_count="multiple", height=170, elem_id="photos")
        self.drop.preprocess = _uploads  # type: ignore[assignment, method-assign] # gradio's own one changes file names
        gr.HTML('<ul class="problems" id="too-large" role="alert"></ul>', padding=False, elem_id="refused")
        self.problems = gr.HTML(padding=False, elem_id="problems")
        self.list = gr.Gallery(
            label="Photos",
            show_label=False,  # which would cover the first one
            columns=3,
            height="auto",
            allow_preview=False,
            interactive=False,
            visible=False,
            elem_id="list",
            buttons=[],
        )
        with gr.Row(visible=False, elem_id="this") as self.this:
            self.split = gr.Button("Split into prints", size="sm", min_width=100, elem_id="split")
            self.remove = gr.Button("Remove this photo", size="sm", min_width=100, elem_id="remove")

    def _place_choices(self, names: list[str]) -> None:
        chosen = Choices.of(self.pipelines.config)
        labels = [(web_text.stage(name), name) for name in names if name != ENLARGING]
        with gr.Accordion("What to do", open=False, elem_id="choices") as self.choices:
            self.stages = gr.CheckboxGroup(labels, value=list(chosen.stages), label="Steps", elem_id="stages")
            self.strength = gr.Slider(0, 1, chosen.strength, step=0.05, label="Strength", info=web_text.STRENGTH)
            self.fidelity = gr.Slider(
                0, 1, chosen.fidelity, step=0.05, label="Fidelity of faces", info=web_text.FIDELITY
            )
            colors: dict[str, Any] = {"label": "Saturation", "info": web_text.SATURATION, "visible": _colors(chosen)}
            self.saturation = gr.Slider(0, 2, chosen.saturation, step=0.1, **colors)
            self.scale = gr.Dropdown(web_text.SCALES, value=chosen.scale, label="Native scale", info=web_text.SCALE)
            factors = sorted({*web_text.FACTORS, (f"{chosen.upscale:g} times", chosen.upscale)} - {("1 times", 1.0)})
            self.upscale = gr.Dropdown(
                [("no", 1.0), *factors],
                value=chosen.upscale,
                label="Enlarge",
                info=web_text.UPSCALE,
                visible=ENLARGING in names,
                elem_id="upscale",
            )
            self.bare = gr.Checkbox(label="Without metadata", info=web_text.BARE, elem_id="bare")

    def _place_work(self) -> None:
        with gr.Column(visible=False, elem_id="bench") as self.bench:
            self.canvas = canvas(self._draw)
        with gr.Row(elem_id="deeds"):
            self.restore = gr.Button("Restore this photo", variant="primary", interactive=False, min_width=100)
            self.restore_all = gr.Button("Restore all", interactive=False, min_width=100)
            self.find = gr.Button("Find damage", interactive=False, min_width=100)
            self.stop = gr.Button("Stop", variant="stop", interactive=False, min_width=100)
        self.status = gr.HTML(web_text.line(web_text.NO_PHOTO), html_template=STATUS, elem_id="status")
        with gr.Column(visible=False, elem_id="results") as self.results:
            self.warnings = gr.HTML(elem_id="warnings")
            with gr.Row():
                self.download = gr.DownloadButton("Download this photo", interactive=False, elem_id="download")
                self.download_all = gr.Button("Download all (ZIP)", interactive=False, elem_id="zip")
                self.archive = gr.DownloadButton(elem_id="archive")  # pressed by DOWNLOAD alone
            with gr.Accordion("Faces"):
                self.faces = gr.HTML(elem_id="faces")
            with gr.Accordion("What was done", open=False):
                self.notes = gr.HTML(elem_id="notes")

    def _connect(self) -> None:
        deeds = [self.find, self.restore, self.restore_all, self.stop, self.this, self.split, self.remove]
        about = [self.bench, self.canvas, self.results, self.warnings, self.faces, self.notes]
        view = [*deeds, *about, self.download, self.download_all, self.list, self.status, self.problems]
        choices = [self.stages, self.strength, self.fidelity, self.saturation, self.scale, self.upscale]
        own: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        # any number of visitors; photos wait for each other
        long = own | {"concurrency_limit": None, "trigger_mode": "multiple"}

        def at_once(event: Callable[..., Any], said: str) -> None:  # in the browser, before the server has answered
            event(None, None, self.status, js=f"() => {web_text.line(said)!r}", **own)

        self.blocks.load(self._arrive, [self.token, self.phone], [self.desk, self.choices, *view], js=ARRIVED, **own)
        # no other event may use `drop`: gradio would recreate it and lose the custom preprocess
        at_once(self.drop.upload, "Loading ...")
        self.drop.upload(self._add, [self.desk, self.drop, self.bare], [*view, self.drop], **own)
        self.list.select(self._choose, [self.desk, self.bare], view, **own)
        self.remove.click(self._remove, [self.desk, self.bare], view, **own)
        self.canvas.drawn(self._drawn, [self.desk, self.bare], view, **long)
        at_once(self.split.click, web_text.SPLITTING)
        self.split.click(self._split, [self.desk, self.bare], view, **long)
        at_once(self.find.click, web_text.SEARCHING)
        self.find.click(self._find, [self.desk, self.scale], view, **long)
        work = [self.desk, self.bare, *choices]
        for button, deed in ((self.restore, self._restore), (self.restore_all, self._restore_all)):
            at_once(button.click, web_text.RESTORING)
            button.click(deed, work, view, **long)
        self.canvas.moved(self._moved, work, view, **long)
        at_once(self.stop.click, web_text.STOPPING)
        self.stop.click(_stop, self.desk, None, queue=False, **own)
        zipped = self.download_all.click(self._zip, [self.desk, self.bare], [self.archive, self.problems], **own)
        zipped.success(None, self.archive, None, js=DOWNLOAD, **own)
        self.bare.change(self._downloads, [self.desk, self.bare], view, **own)
        self.stages.change(
            lambda stages: gr.update(visible=_colors(Choices(tuple(stages)))), self.stages, self.saturation, **own
        )

    def _arrive(self, token: str, phone: bool) -> View:
        """Open a page: with the photos of the tab that was loaded again, or without any.

        What was at work there is stopped, as nobody would hear of it any more.
        """
        if not TOKEN.fullmatch(token):
            token = secrets.token_hex(16)
        desk = self.desks.get(token)
        if desk is None:
            desk = self.desks[token] = Session(self.folder, self.max_pixels, token)
        desk.visits += 1
        if desk.work:
            desk.work.stop()
            desk.work = None
        view = {self.desk: desk, self.choices: gr.update(open=not phone)}
        if desk.chosen is None:
            return view
        return view | self._all(desk, bare=False) | {self.status: web_text.title(desk.chosen)}

    def _forget(self, desk: Session | None) -> None:
        """A page is closed; the files go with the last one."""
        if desk is None:
            return
        desk.visits -= 1
        if desk.visits <= 0:
            if desk.work:
                desk.work.stop()
            self.desks.pop(desk.token, None)
            shutil.rmtree(desk.folder, ignore_errors=True)

    def _draw(self, sent: dict[str, Any]) -> dict[str, Any]:
        """Take over the strokes and areas of a photo, and mend its result where that is all that strokes ask for."""
        desk = self.desks.get(str(sent.get("desk")))
        scan = desk.numbered(sent.get("photo")) if desk else None
        if desk is None or scan is None:
            return {"patches": [], "done": 0, "said": web_text.GONE}
        with scan.drawing:
            answer = self._follow(desk, scan, sent)
        if sent.get("look"):
            problem = attempt(scan, scan.look_around)
            answer |= {"areas": [areas.sent(area) for area in scan.seen or ()]} | ({"said": problem} if problem else {})
        return answer

    def _follow(self, desk: Session, scan: Item, sent: dict[str, Any]) -> dict[str, Any]:
        try:
            drawn, boxes = strokes.read(sent.get("strokes"), *scan.size), areas.read(sent.get("areas"), *scan.size)
        except ValueError as error:
            return {"patches": [], "done": 0, "said": str(error)}
        scan.strokes, moved, scan.areas = drawn, scan.areas != boxes, boxes
        made = scan.outcome
        if moved:
            outdated = scan.searches and not scan.searched
            hint = web_text.SEARCH_AGAIN if outdated else web_text.AREAS
            said = web_text.RESTORING if made else hint  # by `_moved`
            said = said if areas.fit(boxes, *scan.size) else web_text.OVERLAP
            return {"patches": [], "done": len(made.strokes) if made else 0, "said": said}
        if made is None or desk.busy:
            return {"patches": [], "done": len(made.strokes) if made else 0, "said": ""}
        changed: list[strokes.Box] = []
        before = len(made.strokes)
        said = attempt(scan, lambda: changed.extend(made.follow(scan.strokes, self.pipelines)))  # up to an error
        if not said and made.strokes != scan.strokes:
            said = web_text.AGAIN
        return {
            "patches": patches(scan, changed),
            "done": len(made.strokes),
            "said": said or web_text.mended(before, len(made.strokes)),
        }

    def _drawn(self, desk: Session, bare: bool) -> View:
        """After strokes: the files of results that were mended; another photo may be on display by now."""
        _there(desk)
        return self._downloads(desk, bare) if any(made.changed for made in desk.made) else self._as_is()

    def _as_is(self) -> View:
        """Nothing changes; gradio takes an empty view for an error."""
        return {self.status: gr.skip()}

    def _add(self, desk: Session, files: list, bare: bool) -> View:
        _there(desk)
        first, problems = not desk.scans, desk.add(files, lambda done, what: None)
        view: View = {self.drop: None, self.problems: web_text.problems(problems)}
        if first and desk.scans:
            desk.chosen = desk.scans[0]
            view |= self._about(desk, bare)
        taken = len(files) - len(problems)
        return view | self._list(desk) | self._deeds(desk) | {self.status: web_text.added(taken, len(problems))}

    def _choose(self, desk: Session, bare: bool, event: gr.SelectData) -> View:
        _there(desk)
        if event.index >= len(desk.scans):  # removed meanwhile
            return self._as_is()
        desk.chosen = desk.scans[event.index]
        said = {} if desk.busy else {self.status: web_text.title(desk.chosen)}
        return self._about(desk, bare) | said

    def _remove(self, desk: Session, bare: bool) -> View:
        _there(desk)
        if desk.chosen is None or desk.busy:
            return self._as_is()
        gone = desk.chosen
        desk.remove(gone)
        return self._all(desk, bare) | {self.status: web_text.line(f"{gone.name} is removed.")}

    def _find(self, desk: Session, scale: str) -> Iterator[View]:
        _there(desk)
        scan = desk.chosen
        if scan is None or desk.busy:
            return
        problems: list[str] = []
        work = desk.work = Work(partial(self._found, scan, scale, problems))
        yield self._deeds(desk) | {self.problems: ""}
        try:
            for _, said in work.words():
                yield {self.status: said}
        finally:
            desk.end(work)
        problems += desk.settle()  # the canvas shows the preview
        view = self._deeds(desk) | {self.problems: web_text.problems(problems)}
        if desk.chosen is scan:
            view[self.canvas] = shown(desk, web_text.label(scan), "before")
        said = web_text.damage(scan) if work.complete and not problems else web_text.line(web_text.STOPPED)
        yield view | {self.status: said}

    def _found(self, scan: Item, scale: str, problems: list[str], tell: Tell) -> None:
        def told(share: float, step: str) -> None:
            tell(share, web_text.doing(scan, share, step))

        problem = attempt(scan, partial(scan.find, self.pipelines, scale, told))
        problems += [problem] if problem else []

    def _split(self, desk: Session, bare: bool) -> Iterator[View]:
        """Split the page on display into its prints; the first of them is on display then."""
        _there(desk)
        page = desk.chosen
        if page is None or desk.busy:
            return
        made: list[Item] = []
        problems: list[str] = []

        def cut(tell: Tell) -> None:
            def told(share: float, step: str) -> None:
                tell(share, web_text.doing(page, share, step))

            def take() -> None:
                prints, said = desk.split(page, self.pipelines, told)
                made.extend(prints)
                problems.extend(said)

            problem = attempt(page, take)
            problems.extend([problem] if problem else [])

        work = desk.work = Work(cut)
        yield self._deeds(desk) | {self.problems: ""}
        try:
            yield from ({self.status: said} for _, said in work.words())
        finally:
            desk.end(work)
        if made and desk.chosen is page:
            desk.chosen = made[0]
        yield self._all(desk, bare) | {
            self.problems: web_text.problems(problems),
            self.status: web_text.prints(page, len(made)) if work.complete else web_text.line(web_text.STOPPED),
        }

    def _moved(self, *given: Any) -> Iterator[View]:
        """After areas were moved: restore the photo again, if it was restored, and when what is at work is done."""
        desk: Session = given[0]
        _there(desk)
        scan = desk.chosen
        while work := desk.work:
            while desk.work is work:
                time.sleep(EVERY)
            if not work.complete:
                return
        if scan is None or scan.outcome is None or not areas.fit(scan.areas, *scan.size):
            return
        if scan.outcome.by_hand != scan.areas:
            yield from self._work([scan], *given)

    def _restore(self, *given: Any) -> Iterator[View]:
        _there(given[0])
        yield from self._work([given[0].chosen] if given[0].chosen else [], *given)

    def _restore_all(self, *given: Any) -> Iterator[View]:
        _there(given[0])
        yield from self._work(list(given[0].scans), *given)

    def _work(self, scans: list[Item], desk: Session, bare: bool, stages: list[str], *values: Any) -> Iterator[View]:
        choices = Choices(tuple(sorted(stages)), *values)
        if not stages and choices.upscale == 1:
            yield {self.status: web_text.line(web_text.CHOOSE_ONE)}
            return
        if desk.busy:
            return
        problems: list[str] = []
        work = desk.work = Work(partial(self._restored, scans, choices, problems))
        yield self._deeds(desk) | {self.problems: ""}
        before = 0
        try:
            for _, said in work.words():
                made = sum(scan.done_with(choices) for scan in scans)
                yield {self.status: said} | (self._list(desk) if made != before else {})
                before = made
        finally:
            desk.end(work)
        done = sum(scan.done_with(choices) for scan in scans)
        problems += desk.settle()
        view = self._about(desk, bare, "slider") if desk.chosen in scans else self._downloads(desk, bare)
        view |= self._deeds(desk) | self._list(desk) | {self.problems: web_text.problems(problems)}
        yield view | {self.status: web_text.restored(done, len(scans), stopped=not work.complete)}

    def _restored(self, scans: list[Item], choices: Choices, problems: list[str], tell: Tell) -> None:
        """Restore photos one after the other; what fails is added to the problems."""
        for number, scan in enumerate(scans):

            def told(share: float, step: str, number: int = number, scan: Item = scan) -> None:
                more = f" ({number + 1} of {len(scans)})" if len(scans) > 1 else ""
                tell((number + share) / len(scans), web_text.doing(scan, share, step, more))

            if not scan.done_with(choices):
                problem = attempt(scan, partial(scan.restore, self.pipelines, choices, told))
                problems += [problem] if problem else []

    def _all(self, desk: Session, bare: bool) -> View:
        return self._about(desk, bare) | self._list(desk) | self._deeds(desk)

    def _list(self, desk: Session) -> View:
        """The list of photos, restored ones marked."""
        pictures = [(str(scan.thumb), web_text.caption(scan)) for scan in desk.scans]
        selected = desk.scans.index(desk.chosen) if desk.chosen else None
        return {self.list: gr.update(value=pictures, selected_index=selected, visible=bool(pictures))}

    def _deeds(self, desk: Session) -> View:
        """The buttons, enabled or disabled."""
        free = gr.update(interactive=bool(desk.scans) and not desk.busy)
        return dict.fromkeys((self.find, self.restore, self.restore_all), free) | {
            self.stop: gr.update(interactive=desk.busy),
            self.this: gr.update(visible=bool(desk.scans)),
            **dict.fromkeys((self.split, self.remove), gr.update(interactive=not desk.busy)),
        }

    def _about(self, desk: Session, bare: bool, view: str = "") -> View:
        """The selected photo and its results; `view` is what of it to show."""
        scan = desk.chosen
        outcome = scan.outcome if scan else None
        return self._downloads(desk, bare) | {
            self.bench: gr.update(visible=scan is not None),
            self.canvas: shown(desk, web_text.label(scan) if scan else "", view if outcome else "before"),
            self.results: gr.update(visible=outcome is not None),
            self.warnings: web_text.warned(outcome),
            self.faces: web_text.faces(outcome),
            self.notes: web_text.notes(outcome),
        }

    def _downloads(self, desk: Session, bare: bool) -> View:
        problems = desk.settle()
        outcome = desk.chosen.outcome if desk.chosen else None
        file = outcome and (outcome.bare if bare else outcome.file)
        return {
            self.download: gr.update(value=file and str(file), interactive=bool(file)),
            self.download_all: gr.update(interactive=len(desk.made) > 1),
        } | ({self.problems: web_text.problems(problems)} if problems else {})

    def _zip(self, desk: Session, bare: bool) -> View:
        _there(desk)
        problems = desk.settle()
        said = {self.problems: web_text.problems(problems)} if problems else {}
        return {self.archive: str(desk.zip(bare=bare))} | said


def _colors(choices: Choices) -> bool:
    return "colorize" in choices.stages


def _uploads(payload: Any) -> list[tuple[Path, str]]:
    """Paths of the uploaded files, and their original names."""
    return [(Path(one.path), one.orig_name or Path(one.path).name) for one in payload or ()]


def _there(desk: Session | None) -> None:
    """Raise if the session has expired, as it does some time after a tab loses its connection."""
    if desk is None:
        raise gr.Error("This page has expired. Load it again, and drop the photos once more.", print_exception=False)


def _stop(desk: Session | None) -> None:
    if desk and desk.work:
        desk.work.stop()
