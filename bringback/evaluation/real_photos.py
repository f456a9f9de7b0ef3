"""Evaluation on real old photos held out from training, which have no ground truth: NIQE before and after."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bringback.errors import PhotoError
from bringback.evaluation.niqe import niqe
from bringback.evaluation.runner import contact_sheet, rounded
from bringback.images.photo import Photo
from bringback.images.shards import Entry, find_entries, held_out
from bringback.pipeline import Pipeline
from bringback.stages.record import Restoration

# Any change makes a new protocol, as in protocol.py.
PHOTOS, SHEET_ROWS = 40, 12


@dataclass(frozen=True, slots=True)
class OldRow:
    """One photo: NIQE before and after (lower is better), share of pixels found damaged, seconds."""

    name: str
    niqe_before: float
    niqe_after: float
    damaged: float
    seconds: float


@dataclass(frozen=True, slots=True)
class OldReport:
    """Results on real old photos; `left_out` has one line for each photo that could not be measured."""

    stages: tuple[str, ...]
    rows: list[OldRow]
    left_out: list[str] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Means over photos, number of photos whose NIQE improved, and the settings."""
        names = ("niqe_before", "niqe_after", "damaged", "seconds")
        means = {name: float(np.mean([getattr(row, name) for row in self.rows])) for name in names}
        better = sum(row.niqe_after < row.niqe_before for row in self.rows)
        settings = {"stages": list(self.stages), "photos": len(self.rows)}
        return settings | means | {"better": better, "left_out": self.left_out}

    def as_dict(self) -> dict[str, Any]:
        """The summary and all rows, JSON-serializable."""
        return self.summary() | {"rows": [asdict(row) for row in self.rows]}

    def table(self) -> str:
        """Markdown: means before -> after and the number of improved photos; then what was left out."""
        mean = self.summary()
        shown = [f"{mean['niqe_before']:.2f} -> {mean['niqe_after']:.2f}"]
        shown += [f"{mean['niqe_after'] - mean['niqe_before']:+.2f}", f"{mean['better']} of {mean['photos']}"]
        shown.append(f"{100 * mean['damaged']:.2f} %")
        lines = ["| real old photos | NIQE | change | better | found damaged |", "|---" * 5 + "|"]
        lines.append(f"| R | {' | '.join(shown)} |")
        return "\n".join([*lines, *([""] if self.left_out else []), *(f"left out: {why}" for why in self.left_out)])


def choose_old_photos(places: Sequence[Path], limit: int | None = None) -> list[Entry]:
    """Up to 40 (and `limit`) old photos that are held out from training, evenly spaced, in a fixed order.

    `places` are folders, tar shards or folders of shards. Raises FileNotFoundError for a missing place or if no photo
    is held out, ValueError for a bad shard or unreadable folder.
    """
    entries = [entry for place in places for entry in find_entries(place) if held_out(entry.name)]
    if not entries:
        raise FileNotFoundError(f"{', '.join(map(str, places))}: no old photo there is held out from training")
    return _spread(entries, min(PHOTOS, limit or PHOTOS))


def evaluate_old_photos(
    entries: Sequence[Entry],
    *,
    stages: Sequence[str] | None = None,
    config: Path | str | None = None,
    weights: Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
    sheet: Path | None = None,
    on_photo: Callable[[OldRow], None] | None = None,
) -> OldReport:
    """Restore old photos with `stages` (None: the pipeline's) and measure NIQE before and after, rounded to 8 bits.

    `sheet` is a picture file for twelve of them: before, mask, after. `on_photo` is called after each photo. Photos
    that cannot be read or that NIQE cannot measure are left out; raises ValueError if none remain.
    """
    pipeline = Pipeline.from_pretrained(weights, config=config, stages=stages, device=device, dtype=dtype)
    rows: list[OldRow] = []
    cells: list[list[np.ndarray]] = []
    left_out: list[str] = []
    shown = {entry.name for entry in _spread(entries, SHEET_ROWS)} if sheet is not None else set()
    for entry in entries:
        try:
            photo = Photo.decode(entry.read(), entry.name)
            before = Restoration.start(photo).pixels
            natural = niqe(rounded(before)).item()
        except (PhotoError, ValueError) as error:
            left_out.append(str(error) if isinstance(error, PhotoError) else f"{entry.name}: {error}")
            continue
        begin = time.perf_counter()
        restoration = pipeline.restore(photo)
        seconds = time.perf_counter() - begin
        after, found = rounded(restoration.pixels.cpu()), restoration.damage().cpu()
        rows.append(OldRow(entry.name, natural, niqe(after).item(), (found > 0.5).float().mean().item(), seconds))
        if entry.name in shown:
            cells.append([x[0].permute(1, 2, 0).numpy() for x in (before, found.expand_as(after), after)])
        if on_photo is not None:
            on_photo(rows[-1])
    if not rows:
        raise ValueError(left_out[0])
    if sheet is not None and cells:
        contact_sheet(cells, sheet)
    return OldReport(tuple(stage.name for stage in pipeline.stages), rows, left_out)


def _spread(entries: Sequence[Entry], count: int) -> list[Entry]:
    count = min(count, len(entries))
    return [entries[k * len(entries) // count] for k in range(count)]
