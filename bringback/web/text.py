"""Texts of the web page, as HTML; file names and notes of stages are escaped."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from bringback.stages import origins
from bringback.stages.faces.stage import SAME_PERSON
from bringback.stages.record import Face
from bringback.web.session import Item, Outcome

STAGES = {
    "scratches": "find scratches, dust, stains, cracks",
    "relight": "lighten dark, noisy photos",
    "tone": "undo fading and colour casts",
    "fill": "fill the damage",
    "prior": "fit a network to this one photo; minutes",
    "denoise": "plain denoising, without a network",
    "translate": "reduce noise, blur, compression",
    "faces": "make faces clearer",
    "colorize": "colour grey and sepia photos, a guess",
}
HEAD = (
    "<h1>bringback</h1><p>Drop scanned photos, restore them, compare. <b>Find damage</b> shows what would be filled: "
    "rub out what is none with the eraser, paint over what was missed. Nothing leaves the computer that serves this "
    "page.</p>"
)
NO_PHOTO = "No photo yet."
STRENGTH, FIDELITY = "0 gives the photo as it came", "1 leaves faces as they came"
SATURATION = "of guessed colours; 1 as the network believes"
SCALE = "how many times the photo can be shrunk without losing detail; 1 is sharp to the pixel"
SCALES = ["auto", "1", "1.5", "2", "3", "4", "6", "8"]
BARE = "downloads without EXIF, XMP, IPTC and texts; profile and resolution stay"
PLAIN = 0.25  # clearly the same person: the median descriptor distance caused by damage alone


def line(text: str) -> str:
    """A status line."""
    return f"<p>{escape(text)}</p>"


def problems(lines: Sequence[str]) -> str:
    """Problems as a list; "" without any."""
    return f'<ul class="problems">{"".join(f"<li>{escape(one)}</li>" for one in lines)}</ul>' if lines else ""


def stage(name: str) -> str:
    """Label of a stage: name and description, or the package of a plugin stage."""
    return f"{name}: {STAGES.get(name) or f'of {origins([name])[name]}'}"


def title(scan: Item) -> str:
    """Name and size of the selected photo."""
    height, width = scan.size
    return line(f"{scan.name}: {width} x {height} pixels")


def caption(scan: Item) -> str:
    """Caption of a photo in the list, with a tick if it is restored."""
    return f"\u2713 {scan.name}" if scan.outcome else scan.name


def added(taken: int, refused: int) -> str:
    """Result of an upload."""
    return line(f"{photos(taken)} taken{f', {refused} refused' if refused else ''}.")


def damage(scan: Item) -> str:
    """Result of damage detection."""
    said = "; ".join([*scan.warnings, ""])
    if not scan.found.any():
        return line(f"{scan.name}: {said}no damage found. Paint over what you see.")
    return line(f"{scan.name}: {said}{scan.share:.1%} damaged. Rub out what is none, paint over what was missed.")


def restored(done: int, asked: int, *, stopped: bool) -> str:
    """Result of a restoration."""
    return line(f"{done} of {photos(asked)} restored{', then stopped' if stopped else ''}.")


def photos(count: int) -> str:
    """The number of photos, with the right plural."""
    return f"{count} photo{'s' * (count != 1)}"


def faces(outcome: Outcome | None) -> str:
    """A table of the faces: before, after, size, status, identity distance and its meaning."""
    if outcome is None:
        return line("Not restored yet.")
    if "faces" not in outcome.notes:
        return line("The stage faces did not run.")
    if not outcome.faces:
        return line("No face was found.")
    names = ("", "before", "after", "size", "what was done", "identity", "which means")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    rows = (
        f'<tr><th scope="row">{number}</th><td>{_picture(before, f"face {number} before")}</td>'
        f"<td>{_picture(after, f'face {number} after')}</td><td>{_size(face)}</td><td>{escape(face.status)}</td>"
        f"<td>{'' if face.identity is None else f'{face.identity:.3f}'}</td><td>{meaning(face)}</td></tr>"
        for number, (face, (before, after)) in enumerate(zip(outcome.faces, outcome.crops, strict=True), 1)
    )
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
        f"</div><p>identity: how far refinement moved dlib's description of the face; 0 is the same picture, "
        f"from 0.6 on dlib sees another person, above {SAME_PERSON} the change is refused.</p>"
    )


def meaning(face: Face) -> str:
    """A face's identity distance in plain words."""
    if face.identity is None:
        return "the face is as it came"
    if face.identity > SAME_PERSON:
        return "it could have become somebody else, so it is as it came"
    if face.status.startswith("left alone"):
        return "the face is as it came"
    return "plainly the same person" if face.identity <= PLAIN else "the same person, but compare the details"


def notes(outcome: Outcome | None) -> str:
    """A table of the notes of each stage."""
    if outcome is None:
        return line("Not restored yet.")
    rows = "".join(
        f'<tr><th scope="row">{escape(stage)}</th><td>{escape(_said(said))}</td></tr>'
        for stage, said in outcome.notes.items()
    )
    return f'<div class="scroll"><table><tbody>{rows}</tbody></table></div>'


def _said(said: Mapping[str, Any]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in said.items())


def _size(face: Face) -> str:
    left, top, right, bottom = face.box
    return f"{right - left:.0f} x {bottom - top:.0f}"


def _picture(data: bytes, alt: str) -> str:
    return f'<img alt="{alt}" src="data:image/jpeg;base64,{b64encode(data).decode()}">'
