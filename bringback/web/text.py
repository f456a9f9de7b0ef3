"""Texts of the web page, as HTML; file names and notes of stages are escaped."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from bringback.stages import origins
from bringback.stages.faces.stage import SAME_PERSON, STRANGER
from bringback.stages.record import Face
from bringback.web.copies import inline
from bringback.web.outcome import Outcome
from bringback.web.session import Item

STAGES = {  # what they do, as a button would say it; and while they do it
    "stains": ("Remove foxing and yellowed tape", "looking for stains"),
    "scratches": ("Find scratches, dust, stains and cracks", "looking for damage"),
    "relight": ("Lighten a dark, noisy photo", "lightening"),
    "tone": ("Undo fading and color casts", "undoing the fading"),
    "fill": ("Remove scratches", "removing scratches"),
    "prior": ("Fit a network to this one photo, for minutes", "fitting a network to this photo"),
    "denoise": ("Plain noise reduction, without a network", "reducing noise"),
    "translate": ("Sharpen, reduce noise and blur", "sharpening"),
    "faces": ("Improve faces", "improving faces"),
    "colorize": ("Add color, which is guessed", "adding color"),
    "upscale": ("Enlarge", "enlarging"),
}
STEPS = {
    "waiting": "waiting for another photo to finish",
    "writing": "writing",
    "splitting": "splitting into prints",
}
HEAD = (
    "<h1>bringback</h1><p>Restores old photos. Drop scans below. Nothing leaves the computer that serves this page.</p>"
)
NO_PHOTO = "No photo yet."
STRENGTH, FIDELITY = "0 gives the photo as it came", "1 leaves faces as they came"
SATURATION = "of guessed colors; 1 as the network believes"
SCALE = "how many times the photo can be shrunk without losing detail; 1 is sharp to the pixel"
UPSCALE = "the files get so many times the width and height; the page shows the photo's own size"
FACTORS = [("2 times", 2.0), ("4 times", 4.0)]
SCALES = ["auto", "1", "1.5", "2", "3", "4", "6", "8"]
BARE = "downloads without EXIF, XMP, IPTC and texts; profile and resolution stay"
PLAIN = 0.25  # clearly the same person: the median descriptor distance caused by damage alone


SEARCHING, RESTORING = "Looking for damage ...", "Restoring ..."  # at once, before the server has answered
STOPPING, STOPPED = "Stopping ...", "Stopped."
SPLITTING = "Looking for prints on this page ..."
AREAS, OVERLAP = "Only what is inside will be restored.", "Areas must not overlap: move one, or remove it."
SEARCH_AGAIN = "Only what is inside will be restored. Find its damage again if you want to edit that."
AGAIN, GONE = "Restore again to see this.", "This photo is gone."
CHOOSE_ONE = "Choose at least one thing to do."


def line(text: str) -> str:
    """A status line."""
    return f"<p>{escape(text)}</p>"


def problems(lines: Sequence[str]) -> str:
    """Problems as a list; "" without any."""
    return f'<ul class="problems">{"".join(f"<li>{escape(one)}</li>" for one in lines)}</ul>' if lines else ""


def stage(name: str) -> str:
    """Label of a stage: what it does, or the package of a plugin stage."""
    return STAGES[name][0] if name in STAGES else f"Stage of {origins([name])[name]}"


def small_print(names: Sequence[str]) -> str:
    """Styles that put the names of stages behind their labels, which gradio takes as plain text only."""
    rules = (
        f"#stages label:has(input[name={json.dumps(name)}]) span::after {{ content: {json.dumps(name)} }}"
        for name in names
    )
    return f"<style>{' '.join(rules)}</style>"


def step(name: str) -> str:
    """What a stage does, while it does it."""
    return STEPS.get(name) or (STAGES[name][1] if name in STAGES else name)


def doing(scan: Item, share: float, name: str, more: str = "") -> str:
    """Status line of a photo at work; `more` says which of several photos it is."""
    return line(f"{scan.name}{more}: {step(name)}, {share:.0%}")


def warned(outcome: Outcome | None) -> str:
    """The reasons to look at a result; "" without any."""
    if outcome is None or not outcome.warnings:
        return ""
    return f'<ul class="warnings">{"".join(f"<li>Please look: {escape(one)}</li>" for one in outcome.warnings)}</ul>'


def title(scan: Item) -> str:
    """Name and size of the selected photo."""
    height, width = scan.size
    return line(f"{scan.name}: {width} x {height} pixels")


def label(scan: Item) -> str:
    """What a screen reader says of the canvas."""
    height, width = scan.size
    restored = ", with its result" if scan.outcome else ""
    return f"{scan.name}, {width} x {height} pixels{restored}. Drag to paint over damage."


def caption(scan: Item) -> str:
    """Caption of a photo in the list, with a tick if it is restored."""
    return f"\u2713 {scan.name}" if scan.outcome else scan.name


def added(taken: int, refused: int) -> str:
    """Result of an upload."""
    return line(f"Loaded {photos(taken)}{f', {refused} could not be read' if refused else ''}.")


def damage(scan: Item) -> str:
    """Result of damage detection."""
    said = "; ".join([*scan.warnings, ""])
    if not scan.share:
        return line(f"{scan.name}: {said}no damage found. Paint over what you see.")
    return line(f"{scan.name}: {said}{scan.share:.1%} damaged. Erase what is not damage, paint over what was missed.")


def prints(page: Item, count: int) -> str:
    """Result of splitting a page."""
    if not count:
        return line(f"{page.name}: no prints were seen on it.")
    found = f"{count} print{'s' * (count != 1)}"
    return line(f"{page.name}: {found} found, each a photo of its own now. The page is still in the list.")


def mended(before: int, now: int) -> str:
    """What following the strokes did to a result, from the numbers of strokes that it had and has."""
    return "Mended." if now > before else "Undone." if now < before else ""


def restored(done: int, asked: int, *, stopped: bool) -> str:
    """Result of a restoration."""
    if done == 0 and stopped:
        return line(STOPPED)
    return line(f"{done} of {photos(asked)} restored{', then stopped' if stopped else ''}.")


def photos(count: int) -> str:
    """The number of photos, with the right plural."""
    return f"{count} photo{'s' * (count != 1)}"


def faces(outcome: Outcome | None) -> str:
    """A table of the faces: before, after, size, status, identity distance and its meaning."""
    if outcome is None:
        return line("Not restored yet.")
    if "faces" not in outcome.notes:
        return line('"Improve faces" was not chosen.')
    if not outcome.faces:
        return line("No face was found.")
    names = ("", "before", "after", "what was done", "same person", "size and distance")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    rows = (
        f'<tr><th scope="row">{number}</th><td>{_picture(before, f"face {number} before")}</td>'
        f"<td>{_picture(after, f'face {number} after')}</td><td>{escape(face.status)}</td><td>{meaning(face)}</td>"
        f"<td><small>{_size(face)}{_distance(face)}</small></td></tr>"
        for number, (face, (before, after)) in enumerate(zip(outcome.faces, outcome.crops, strict=True), 1)
    )
    table = _table("Faces", f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>")
    return table + (
        "<p><small>The distance is how far dlib's description of the face moved: 0 is the same picture, from 0.6 on "
        f"dlib sees another person, above {SAME_PERSON} the change is refused.</small></p>"
    )


def _distance(face: Face) -> str:
    refused = STRANGER in face.status  # which has the distance that was too far
    return "" if refused or face.identity is None else f"; {face.identity:.3f}"


def meaning(face: Face) -> str:
    """A face's identity distance in plain words."""
    if STRANGER in face.status:
        return "doubtful, so the face is as it came"
    if face.identity is None or face.status.startswith("left alone"):
        return "yes: the face is as it came"
    return "very likely" if face.identity <= PLAIN else "likely; compare the details"


def notes(outcome: Outcome | None) -> str:
    """A table of the notes of each stage."""
    if outcome is None:
        return line("Not restored yet.")
    rows = "".join(
        f'<tr><th scope="row">{_named(name)}</th><td>{escape(_said(said))}</td></tr>'
        for name, said in outcome.notes.items()
    )
    return _table("What was done", f"<tbody>{rows}</tbody>")


def _table(name: str, content: str) -> str:
    """A table that scrolls, by keyboard too, where it is wider than the page."""
    return f'<div class="scroll" tabindex="0" role="group" aria-label="{name}"><table>{content}</table></div>'


def _named(name: str) -> str:
    """What a stage does, with its name in small print; of other notes, what they are about."""
    return f"{escape(STAGES[name][0])} <small>{escape(name)}</small>" if name in STAGES else escape(name)


def _said(said: Mapping[str, Any]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in said.items())


def _size(face: Face) -> str:
    left, top, right, bottom = face.box
    return f"{right - left:.0f} x {bottom - top:.0f}"


def _picture(data: bytes, alt: str) -> str:
    return f'<img alt="{alt}" src="{inline(data)}">'
