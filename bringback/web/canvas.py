"""The canvas of the page: the photo with its damage, the brush, and the result beside it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from bringback.web import areas
from bringback.web.copies import inline
from bringback.web.session import Item, Session
from bringback.web.strokes import Box


def canvas(draw: Callable[[dict[str, Any]], dict[str, Any]]) -> gr.HTML:
    """The component; `draw` gets what the browser sends when strokes change, see `canvas.js`, and answers it."""

    def called(sent: dict[str, Any]) -> dict[str, Any]:  # gradio marks the function, which a method does not allow
        return draw(sent)

    called.__name__ = "draw"
    here = Path(__file__).parent
    return gr.HTML(
        value="",
        html_template=(here / "canvas.html").read_text("utf-8"),
        js_on_load=(here / "canvas.js").read_text("utf-8"),
        server_functions=[called],
        elem_id="canvas",
        apply_default_css=False,
        padding=False,
    )


def shown(desk: Session, label: str, view: str = "") -> str:
    """What the canvas shows: the chosen photo, said to be `label`; `view` changes what of it is seen."""
    desk.version += 1
    scan = desk.chosen
    if scan is None:
        return json.dumps({"photo": 0, "version": desk.version})
    made = scan.outcome
    return json.dumps(
        {
            "desk": desk.token,
            "photo": scan.number,
            "version": desk.version,
            "label": label,
            "height": scan.size[0],
            "width": scan.size[1],
            "before": inline(scan.preview.read_bytes()),
            "found": inline(scan.overlay.read_bytes()) if scan.searched else "",
            "after": inline(made.preview.read_bytes()) if made else "",
            "areas": [areas.sent(area) for area in scan.seen or ()],
            "looked": scan.seen is not None,
            "byHand": None if scan.areas is None else [areas.sent(area) for area in scan.areas],
            "strokes": [stroke.sent() for stroke in scan.strokes],
            "done": len(made.strokes) if made else 0,
            "view": view,
        }
    )


def patches(scan: Item, boxes: list[Box]) -> list[dict[str, Any]]:
    """Changed boxes of the result, (left, top, width, height) in pixels of the photo, and their pictures."""
    made = scan.outcome
    assert made is not None  # boxes are of a result
    return [
        {
            "box": (columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start),
            "url": inline(made.patch((rows, columns))),
        }
        for rows, columns in boxes
        if rows.stop > rows.start and columns.stop > columns.start
    ]
