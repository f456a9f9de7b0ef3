"""The gradio page: components and event handlers, which work on a `Session`."""

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from bringback.stages import FAMILIES, plugins
from bringback.web import text as web_text
from bringback.web.mask_layer import CANVAS, PAINTED
from bringback.web.pipelines import Choices, Pipelines, Stopped
from bringback.web.session import Item, Session, attempt

HEIGHT = 520  # of the large pictures, in pixels
BLUE = f"rgb{PAINTED}"
View = dict[Any, Any]  # component updates


class Page:
    """Components and event handlers; launch `blocks`."""

    def __init__(self, folder: Path, pipelines: Pipelines, max_pixels: int) -> None:
        """Args: folder: for the files of users; pipelines: for all users; max_pixels: limit per photo."""
        self.folder, self.pipelines, self.max_pixels = folder, pipelines, max_pixels
        with gr.Blocks(title="bringback", analytics_enabled=False, delete_cache=(600, 7200)) as self.blocks:
            self.desk = gr.State(None, delete_callback=_forget)
            gr.HTML(web_text.HEAD, padding=False)
            with gr.Row():
                with gr.Column(scale=1, min_width=300):
                    self._place_photos()
                    self._place_choices()
                with gr.Column(scale=3, min_width=320):
                    self._place_work()
            self._connect()

    def _place_photos(self) -> None:
        self.drop = gr.File(label="Drop photos here", file_count="multiple", height=140, elem_id="photos")
        self.drop.preprocess = _uploads  # type: ignore[assignment, method-assign] # gradio's own one changes file names
        gr.HTML('<ul class="problems" id="too-large" role="alert"></ul>', padding=False, elem_id="refused")
        self.problems = gr.HTML(padding=False, elem_id="problems")
        self.list = gr.Gallery(
            label="Photos",
            columns=3,
            height="auto",
            allow_preview=False,
            interactive=False,
            visible=False,
            elem_id="list",
            buttons=[],
        )

    def _place_choices(self) -> None:
        chosen = Choices.of(self.pipelines.config)
        labels = [(web_text.stage(name), name) for name in (*FAMILIES[self.pipelines.config.family], *plugins())]
        with gr.Accordion("What to do", elem_id="choices"):
            self.stages = gr.CheckboxGroup(labels, value=list(chosen.stages), label="Stages", elem_id="stages")
            self.strength = gr.Slider(0, 1, chosen.strength, step=0.05, label="Strength", info=web_text.STRENGTH)
            self.fidelity = gr.Slider(
                0, 1, chosen.fidelity, step=0.05, label="Fidelity of faces", info=web_text.FIDELITY
            )
            colors: dict[str, Any] = {"label": "Saturation", "info": web_text.SATURATION, "visible": _colors(chosen)}
            self.saturation = gr.Slider(0, 2, chosen.saturation, step=0.1, **colors)
            self.scale = gr.Dropdown(web_text.SCALES, value=chosen.scale, label="Native scale", info=web_text.SCALE)
            self.bare = gr.Checkbox(label="Without metadata", info=web_text.BARE, elem_id="bare")

    def _place_work(self) -> None:
        with gr.Row(elem_id="deeds"):
            self.find = gr.Button("Find damage", interactive=False)
            self.restore = gr.Button("Restore this photo", variant="primary", interactive=False)
            self.restore_all = gr.Button("Restore all", interactive=False)
            self.stop = gr.Button("Stop", variant="stop", interactive=False)
        self.status = gr.HTML(web_text.line(web_text.NO_PHOTO), elem_id="status")
        with gr.Tabs(elem_id="views") as self.tabs:
            with gr.Tab("Photo and damage", id="damage"):
                self.editor = gr.ImageEditor(
                    label="Orange: damage that was found. Blue: yours",
                    placeholder=web_text.NO_PHOTO,
                    height=HEIGHT,
                    sources=(),
                    transforms=(),
                    layers=False,
                    canvas_size=CANVAS[::-1],
                    fixed_canvas=True,
                    format="png",
                    buttons=["fullscreen"],
                    brush=gr.Brush(colors=[BLUE], default_color=BLUE, color_mode="fixed"),
                    elem_id="editor",
                )
            with gr.Tab("Before and after", id="result"):
                self.slider = gr.ImageSlider(
                    label="Before and after", max_height=HEIGHT, buttons=["fullscreen"], elem_id="slider"
                )
                with gr.Row():
                    self.download = gr.DownloadButton("Download this photo", interactive=False, elem_id="download")
                    self.download_all = gr.DownloadButton("Download all (ZIP)", interactive=False, elem_id="zip")
                with gr.Accordion("Faces"):
                    self.faces = gr.HTML(elem_id="faces")
                with gr.Accordion("What the stages say", open=False):
                    self.notes = gr.HTML(elem_id="notes")

    def _connect(self) -> None:
        deeds = [self.find, self.restore, self.restore_all, self.stop]
        about = [self.editor, self.slider, self.download, self.download_all, self.faces, self.notes]
        view = [*deeds, *about, self.list, self.status, self.tabs, self.problems]
        choices = [self.stages, self.strength, self.fidelity, self.saturation, self.scale]
        own: dict[str, Any] = {"api_visibility": "private"}
        short = own | {"show_progress": "hidden"}
        # slow work is queued, across all users
        long = own | {"show_progress_on": self.status, "concurrency_id": "work", "concurrency_limit": 1}
        long["trigger_mode"] = "multiple"  # else a click right after the previous one ends is lost
        self.blocks.load(lambda: Session(self.folder, self.max_pixels), None, self.desk, **short)
        # no other event may use `drop`: gradio would recreate it and lose the custom preprocess
        self.drop.upload(
            self._add, [self.desk, self.editor, self.drop], [*view, self.drop], **own, show_progress_on=self.status
        )
        self.list.select(self._choose, [self.desk, self.editor, self.bare], view, **short)
        self.editor.clear(self._clear, self.desk, view, **short)
        self.find.click(self._find, [self.desk, self.editor, self.scale], view, **long)
        work = [self.desk, self.editor, self.bare, *choices]
        self.restore.click(self._restore, work, view, **long)
        self.restore_all.click(self._restore_all, work, view, **long)
        self.stop.click(_stop, self.desk, None, queue=False, **short)
        self.bare.change(self._downloads, [self.desk, self.bare], view, **short)
        self.stages.change(
            lambda stages: gr.update(visible=_colors(Choices(tuple(stages)))), self.stages, self.saturation, **short
        )

    def _add(self, desk: Session, editor: Any, files: list, progress: gr.Progress = gr.Progress()) -> View:  # noqa: B008
        _keep(desk, editor)
        first, problems = not desk.scans, desk.add(files, progress)
        view: View = {self.drop: None, self.problems: web_text.problems(problems)}
        if first and desk.scans:
            desk.chosen = desk.scans[0]
            view |= self._about(desk, bare=False) | {self.editor: _editor(desk, desk.chosen)}
        taken = len(files) - len(problems)
        return view | self._list(desk) | self._deeds(desk) | {self.status: web_text.added(taken, len(problems))}

    def _choose(self, desk: Session, editor: Any, bare: bool, event: gr.SelectData) -> View:
        _keep(desk, editor)
        desk.chosen = desk.scans[event.index]
        new = {self.editor: _editor(desk, desk.chosen), self.status: web_text.title(desk.chosen)}
        return self._about(desk, bare) | new

    def _clear(self, desk: Session) -> View:
        """Undo the editor's clear button: show the photo again, with the found damage and without edits."""
        if desk.chosen is None:
            return {}
        desk.chosen.edits = None
        return {self.editor: _editor(desk, desk.chosen)}

    def _find(self, desk: Session, editor: Any, scale: str, progress: gr.Progress = gr.Progress()) -> View:  # noqa: B008
        _keep(desk, editor)
        scan = desk.chosen
        assert scan is not None  # the button is disabled without a photo
        progress(0, desc=f"{scan.name}: looking for damage")
        problem = attempt(scan, lambda: scan.find(self.pipelines, scale))
        if problem:
            return {self.problems: web_text.problems([problem])}
        return {
            self.editor: _editor(desk, scan),
            self.tabs: gr.update(selected="damage"),
            self.status: web_text.damage(scan),
        }

    def _restore(self, *given: Any, progress: gr.Progress = gr.Progress()) -> Iterator[View]:  # noqa: B008
        _there(given[0])
        yield from self._work([given[0].chosen], *given, progress=progress)

    def _restore_all(self, *given: Any, progress: gr.Progress = gr.Progress()) -> Iterator[View]:  # noqa: B008
        _there(given[0])
        yield from self._work(list(given[0].scans), *given, progress=progress)

    def _work(
        self,
        scans: list[Item],
        desk: Session,
        editor: Any,
        bare: bool,
        stages: list[str],
        *values: Any,
        progress: Any,
    ) -> Iterator[View]:
        _keep(desk, editor)
        choices = Choices(tuple(sorted(stages)), *values)
        if not stages:
            yield {self.status: web_text.line("Choose a stage first.")}
            return
        desk.busy, desk.stopped = True, False
        yield self._deeds(desk) | {
            self.problems: "",
            self.status: web_text.line(f"Restoring {web_text.photos(len(scans))} ..."),
        }
        problems: list[str] = []
        for number, scan in enumerate(scans):

            def tell(done: float, what: str, number: int = number, scan: Item = scan) -> None:
                if desk.stopped:
                    raise Stopped
                progress((number + done) / len(scans), desc=f"{scan.name}: {what}")

            if not scan.done_with(choices):
                try:
                    problem = attempt(scan, partial(scan.restore, self.pipelines, choices, tell))
                except Stopped:
                    break
                problems += [problem] if problem else []
            yield {self.problems: web_text.problems(problems)} | self._list(desk)
        desk.busy = False
        done = sum(scan.done_with(choices) for scan in scans)
        view = self._about(desk, bare) | self._deeds(desk) | self._list(desk)
        if desk.chosen and desk.chosen.outcome:
            view[self.tabs] = gr.update(selected="result")
        yield view | {self.status: web_text.restored(done, len(scans), stopped=desk.stopped)}

    def _list(self, desk: Session) -> View:
        """The list of photos, restored ones marked."""
        pictures = [(str(scan.thumb), web_text.caption(scan)) for scan in desk.scans]
        selected = desk.scans.index(desk.chosen) if desk.chosen else None
        return {self.list: gr.update(value=pictures, selected_index=selected, visible=bool(pictures))}

    def _deeds(self, desk: Session) -> View:
        """The buttons, enabled or disabled."""
        free = gr.update(interactive=bool(desk.scans) and not desk.busy)
        return dict.fromkeys((self.find, self.restore, self.restore_all), free) | {
            self.stop: gr.update(interactive=desk.busy)
        }

    def _about(self, desk: Session, bare: bool) -> View:
        """The results for the selected photo."""
        scan = desk.chosen
        outcome = scan.outcome if scan else None
        pair = (str(scan.preview), str(outcome.preview)) if scan and outcome else None
        return self._downloads(desk, bare) | {
            self.slider: pair,
            self.faces: web_text.faces(outcome),
            self.notes: web_text.notes(outcome),
        }

    def _downloads(self, desk: Session, bare: bool) -> View:
        outcome, archive = desk.chosen.outcome if desk.chosen else None, desk.zip(bare=bare)
        file = outcome and (outcome.bare if bare else outcome.file)
        return {
            self.download: gr.update(value=file and str(file), interactive=bool(file)),
            self.download_all: gr.update(value=archive and str(archive), interactive=bool(archive)),
        }


def _colors(choices: Choices) -> bool:
    return "colorize" in choices.stages


def _editor(desk: Session, scan: Item) -> dict[str, Any]:
    return {"background": str(scan.canvas), "layers": [desk.layer(scan)], "composite": None}


def _uploads(payload: Any) -> list[tuple[Path, str]]:
    """Paths of the uploaded files, and their original names."""
    return [(Path(one.path), one.orig_name or Path(one.path).name) for one in payload or ()]


def _there(desk: Session | None) -> None:
    """Raise if the session has expired, as it does some time after a tab loses its connection."""
    if desk is None:
        raise gr.Error("This page has expired. Load it again, and drop the photos once more.", print_exception=False)


def _keep(desk: Session, editor: dict[str, Any] | None) -> None:
    """Store the edits of the mask."""
    _there(desk)
    for layer in editor["layers"] if editor else ():
        desk.edit(layer)


def _stop(desk: Session) -> None:
    desk.stopped = True


def _forget(desk: Session | None) -> None:
    if desk:
        shutil.rmtree(desk.folder, ignore_errors=True)
