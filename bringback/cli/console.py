"""What commands print: progress, results, one-line errors; and the exit codes."""

import logging
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bringback.runtime.noise import library_noise_to_log

if TYPE_CHECKING:
    from bringback.batch.manifest import Entry
    from bringback.runtime.memory import Plan
    from bringback.runtime.progress import OnWork
    from bringback.stages.prior.settings import Progress as PriorProgress
    from bringback.stages.record import OnStep

logger = logging.getLogger(__name__)

SEEN = 0.002  # mean change of a photo, half a level of 255, from which on it can be seen
SHIFTED = 0.004  # the same of its tones, a whole level: their change is smooth
PARTLY = 1 / 3  # how far fading was undone, below which it was slightly

SOME_FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130  # exit codes

# Printed after Ctrl-C, for `one_line_errors`.
RESUMES = "the same command goes on where it stopped"
RESUMES_WITH_SKIP = "the same command with --skip-existing goes on where it stopped"
NOTHING_KEPT = "nothing was kept"
NOTHING_WRITTEN = "nothing was written"


@contextmanager
def one_line_errors(after_ctrl_c: str) -> Iterator[None]:
    """Turn wrong usage and missing packages into one line and exit code 2, Ctrl-C into exit code 130.

    What libraries print goes to the log, and so do tracebacks; `show_log` shows them.
    """
    try:
        with nullcontext() if logger.isEnabledFor(logging.DEBUG) else library_noise_to_log():
            yield
    except KeyboardInterrupt:
        typer.echo(f"bringback: interrupted; {after_ctrl_c}", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except (ValueError, OSError, ImportError) as error:
        logger.debug("%s", error, exc_info=True)
        typer.echo(f"bringback: {error}", err=True)
        raise typer.Exit(WRONG_USAGE) from None


def show_log() -> None:
    """Print all that is logged to standard error."""
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s")
    logging.getLogger("bringback").setLevel(logging.DEBUG)


def treat_sigterm_as_ctrl_c() -> None:
    """Raise KeyboardInterrupt on SIGTERM, with which schedulers stop jobs."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def escape_unprintable() -> None:
    """Escape characters that the terminal's encoding lacks: file names may contain any."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


@dataclass(frozen=True)
class Callbacks:
    """Functions that show progress.

    They are called with the number of photos, with the name and the plan of a photo that begins, with what is at work
    on it (see `runtime.progress.OnWork`), within slow stages, and with each finished photo.
    """

    on_start: Callable[[int], None]
    on_photo: Callable[["Entry"], None]
    on_step: "OnStep"
    on_plan: "Callable[[str, Plan], None]" = lambda photo, plan: None
    on_work: "OnWork" = lambda stage, tiles, whole: None


@contextmanager
def starting(json_lines: bool) -> Iterator[Callable[[], None]]:
    """Show on a terminal that the command is at work while torch and weights are loaded; yields what ends it."""
    console = Console(quiet=json_lines)
    with console.status("loading") if console.is_terminal else nullcontext() as status:
        yield status.stop if status else lambda: None


@contextmanager
def progress(json_lines: bool) -> Iterator[Callbacks]:
    """Show progress as JSON lines, as a bar on a terminal, or as plain lines elsewhere."""
    if json_lines:
        from bringback.batch.manifest import as_line

        yield Callbacks(lambda total: None, lambda entry: typer.echo(as_line(entry)), lambda *step: None)
        return
    console = Console()
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    # rich would print what goes to standard error on the bar's console, though it may go to a file of its own
    on_screen = sys.stderr.isatty()
    with Progress(*columns, console=console, disable=not console.is_terminal, redirect_stderr=on_screen) as bar:
        yield _callbacks(bar, console)


def _callbacks(bar: Progress, console: Console) -> Callbacks:
    photos = bar.add_task("photos")
    at_work = bar.add_task("", total=100, visible=False)
    report = PlanReporter()
    name, finished, failed = "", 0, 0

    def show(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    def on_start(total: int) -> None:
        bar.update(photos, total=total)

    def on_plan(photo: str, plan: "Plan") -> None:
        nonlocal name
        name = PurePath(photo).name
        report(photo, plan)

    def on_work(stage: str, tiles: float, whole: float) -> None:
        bar.update(at_work, description=f"{_shortened(name)}: {stage}, %", completed=round(100 * tiles), visible=True)
        bar.update(photos, completed=max(finished + whole, bar.tasks[photos].completed))

    def on_photo(entry: "Entry") -> None:
        nonlocal finished, failed
        finished += 1
        if entry["status"] == "failed":
            failed += 1
            bar.update(photos, description=f"photos, {failed} failed")
            typer.echo(_line(entry), err=True)
        elif not console.is_terminal:
            show(_line(entry))
        if entry["warnings"]:
            show(f"warning: {_warning(entry)}")
        bar.update(photos, completed=finished)
        bar.update(at_work, visible=False)

    def on_step(stage: str, step: "PriorProgress") -> None:
        if step.iteration == 1:
            bar.reset(at_work, description="prior, %")
        bar.update(at_work, completed=round(100 * step.done), visible=not step.finished)
        if step.finished:
            show(f"prior: {step}")

    return Callbacks(on_start, on_photo, on_step, on_plan, on_work)


def _shortened(name: str, most: int = 24) -> str:
    return name if len(name) <= most else f"…{name[1 - most :]}"


class PlanReporter:
    """Prints the memory plan of a photo that needs the most so far, if that is enough to matter."""

    WORTH_REPORTING = 1_500_000_000  # bytes

    def __init__(self) -> None:
        self.most = self.WORTH_REPORTING

    def __call__(self, photo: str, plan: "Plan") -> None:
        if plan.peak > self.most:
            self.most = plan.peak
            typer.echo(f"plan: {photo}, {plan}", err=True)


def finish(entries: list["Entry"], json_lines: bool, notes: list[str]) -> None:
    """Print the notes, the number of photos by status and those that want a look; exit with code 1 if some failed."""
    counts = Counter(entry["status"] for entry in entries)
    for note in notes:
        typer.echo(note, err=json_lines)
    if not json_lines:
        shown = [status for status in ("planned", "done", "skipped", "failed") if status != "planned" or counts[status]]
        typer.echo(", ".join(f"{counts[status]} {status}" for status in shown))
        if doubtful := [entry for entry in entries if entry["warnings"]]:
            typer.echo(f"{len(doubtful)} of {len(entries)} want a look:")
            for warning, first, more in _warnings(doubtful):
                typer.echo(f"  {first}{f' and {more} more' if more else ''}: {warning}")
    if counts["failed"]:
        raise typer.Exit(SOME_FAILED)


def _line(entry: "Entry") -> str:
    if entry["message"]:
        return f"{entry['status']}: {entry['message']}"
    did = ", ".join(_did(entry))
    return f"{entry['status']}: {entry['input']}{f': {did}' if did else ''} ({entry['seconds']:.1f} s)"


def _warning(entry: "Entry") -> str:
    return f"{entry['input']}: {'; '.join(entry['warnings'])}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.0005 else "under 0.1 %"


def _did(entry: "Entry") -> Iterator[str]:
    """What was done to a photo, in a few words each; nothing of stages that changed too little to be seen."""
    if count := len(entry.get("prints", [])):
        yield f"{count} print{'s' * (count != 1)}"
    stages: dict[str, Any] = entry["stages"]
    changed = {name for name, notes in stages.items() if notes.get("mean_change", 0) >= SEEN}
    stained = stages.get("stains", {})
    if spots := stained.get("spots"):
        yield f"{spots} spots of foxing removed"
    if stained.get("tapes"):
        yield "tape removed"
    if filled := stages.get("fill", {}).get("filled"):
        yield f"scratches {_percent(filled)} filled"
    elif "fill" not in stages and (found := stages.get("scratches", {}).get("damaged_share")):
        yield f"{_percent(found)} damaged"
    elif "scratches" in stages:
        yield "no scratches found"
    if "relight" in changed:
        yield "lightened"
    toned = stages.get("tone", {})
    if (sure := toned.get("faded", 1)) and toned.get("mean_change", 0) >= SHIFTED:
        yield "fading undone" if sure >= PARTLY else "fading slightly undone"
    if side := stages.get("translate", {}).get("blocks"):
        yield f"blocks of {side:g} pixels smoothed"
    if "prior" in stages or changed & {"denoise", "translate"}:
        yield "noise and blur reduced"
    if count := entry["faces"]["count"]:
        yield f"{count} face{'s' * (count != 1)}"
    if "colourfulness" in stages.get("colorize", {}):
        yield "colorized"
    if "factor" in (enlarged := stages.get("upscale", {})):
        yield f"enlarged to {enlarged['width']}x{enlarged['height']}"


def _warnings(entries: list["Entry"]) -> Iterator[tuple[str, str, int]]:
    """Each warning about photos, the first photo that has it, and the number of others."""
    photos: dict[str, list[str]] = {}
    for entry in entries:
        for warning in entry["warnings"]:
            photos.setdefault(warning, []).append(entry["input"])
    for warning, named in photos.items():
        yield warning, named[0], len(named) - 1
