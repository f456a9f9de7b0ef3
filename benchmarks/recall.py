"""Recall of the damage detector by type at 0.5, on the photos of S and M, its false positives, and its calibration.

python benchmarks/recall.py PHOTOS --overlays damage-val-000.tar

A pixel is damaged if more than 12 % of it is covered; overlapping types each count. Real overlays are grouped by the
first part of their file names. Some damage is invisible, such as white dust on a white sky: `visible` counts only
pixels where it changed a channel by more than 0.1. `--foreign` adds F, by a program that made no lessons and whose
damage has no types. `--sheet` shows the photos of S with most visible damage missed: aged, damage, found, missed in
red.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from bringback.degradations import OverlayBank, marks
from bringback.degradations.rng import Draws, photo_seed
from bringback.errors import PhotoError
from bringback.evaluation.protocol import PROTOCOLS, SEED
from bringback.evaluation.runner import (
    BINS,
    FLAGGED,
    SHEET_ROWS,
    aged_photo,
    as_array,
    contact_sheet,
    read_photos,
    rounded,
)
from bringback.images.photo import Photo
from bringback.images.shards import read_shards
from bringback.ops.metrics import auc_of_counts, reliability_of_counts
from bringback.pipeline import Pipeline

COVERED, VISIBLE = 0.12, 0.1
DRAWN = {"strokes": "strokes", "dust": "dust", "cracks": "cracks", "folds": "folds", "missing": "missing pieces"}
ALL = "all"


@dataclass
class Layers:
    """Damage on one photo, by type: coverage and largest change of any channel, (1, 1, H, W) each."""

    cover: dict[str, Tensor] = field(default_factory=dict)
    change: dict[str, Tensor] = field(default_factory=dict)


@contextmanager
def watched(kinds: list[str]) -> Iterator[Layers]:
    """Record the damage laid on one photo; `kinds` are the overlay types. Random numbers are not affected."""
    layers, last = Layers(), ""
    layer, lay, integers = OverlayBank.layer, marks.lay, Draws.integers

    def note_integers(draws: Draws, low: int, high: int) -> list[int]:
        nonlocal last
        drawn = integers(draws, low, high)
        last = f"real: {kinds[drawn[0]]}"  # the only integer a layer draws is the overlay index
        return drawn

    def note_layer(bank: OverlayBank, draws: Draws, height: int, width: int) -> Tensor:
        with patch.object(Draws, "integers", note_integers):
            return layer(bank, draws, height, width)

    def noting(name: str) -> Callable[..., Tensor]:
        make = getattr(marks, name)

        def note(*arguments: object) -> Tensor:
            nonlocal last
            last = DRAWN[name]
            return make(*arguments)

        return note

    def note_lay(pixels: Tensor, mask: Tensor, alpha: Tensor, color: Tensor) -> tuple[Tensor, Tensor]:
        after, united = lay(pixels, mask, alpha, color)
        change = (after - pixels).abs().amax(1, keepdim=True)
        for kind in (last, ALL):
            cover = layers.cover.get(kind, torch.zeros_like(alpha))
            layers.cover[kind] = torch.lerp(cover, torch.ones_like(cover), alpha)
            layers.change[kind] = torch.maximum(layers.change.get(kind, change), change)
        return after, united

    with ExitStack() as stack:
        stack.enter_context(patch.object(OverlayBank, "layer", note_layer))
        stack.enter_context(patch.object(marks, "lay", note_lay))
        for name in DRAWN:
            stack.enter_context(patch.object(marks, name, noting(name)))
        yield layers


@dataclass
class Found:
    """Results of one case, by type: photos, damaged and found pixels, both for visible ones; and score histograms."""

    counts: dict[str, np.ndarray] = field(default_factory=lambda: defaultdict(lambda: np.zeros(5, np.int64)))
    scores: Tensor = field(default_factory=lambda: torch.zeros(2, BINS, dtype=torch.long))

    def add(self, layers: Layers, mask: Tensor, found: Tensor) -> None:
        """Add a photo; `mask` is its total coverage, `found` the detector's mask."""
        for kind, cover in layers.cover.items():
            damaged = cover > COVERED
            visible = damaged & (layers.change[kind] > VISIBLE)
            hit = found > FLAGGED
            pixels = [int(chosen.sum()) for chosen in (damaged, damaged & hit, visible, visible & hit)]
            self.counts[kind] += [pixels[0] > 0, *pixels]
        bins = (found * (BINS - 1)).round().long()
        for row, chosen in enumerate((mask <= COVERED, mask > COVERED)):
            self.scores[row] += torch.bincount(bins[chosen], minlength=BINS)


def table(cases: dict[str, Found]) -> str:
    """Markdown: one row per type; photos, pixels, recall and recall of visible damage for each case."""
    heads = [f"{case}, {what}" for case in cases for what in ("photos: 10^3 pixels", "recall", "recall, visible")]
    lines = ["| damage | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    names = set().union(*(found.counts for found in cases.values()))
    for kind in sorted(names, key=lambda kind: (kind != ALL, not kind.startswith("real"), kind)):
        cells = []
        for found in cases.values():
            photos, damaged, hit, visible, visible_hit = found.counts[kind]
            cells.append(f"{photos}: {damaged / 1000:.1f}")
            cells += [f"{part / of:.2f}" if of else "" for part, of in ((hit, damaged), (visible_hit, visible))]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def run(options: argparse.Namespace) -> None:
    """Age, detect, print; raises ValueError without readable photos."""
    pipeline = Pipeline.from_pretrained(options.weights, stages=["scratches"], device=options.device)
    bank = OverlayBank.from_shards(options.overlays)
    kinds = [
        name.split("__")[0].removeprefix("filmdamage_") for shard in options.overlays for name, _ in read_shards(shard)
    ]
    cases: dict[str, Found] = defaultdict(Found)
    missed: list[tuple[int, list[np.ndarray]]] = []
    clean_flagged = []
    for index, (_, clean) in enumerate(read_photos(options.photos, options.limit)):
        if isinstance(clean, PhotoError):
            continue
        for case in "CSMF" if options.foreign else "CSM":
            with watched(kinds) as layers:
                sample = aged_photo(clean, PROTOCOLS["default"][case], photo_seed(SEED, index), bank)
            aged = rounded(sample.aged)
            if case == "F":
                layers = Layers({ALL: sample.mask}, {ALL: (aged - sample.truth).abs().amax(1, keepdim=True)})
            found = pipeline.restore(Photo.from_array(as_array(aged))).damage().cpu()
            if case == "C":
                clean_flagged.append((found > FLAGGED).float().mean().item())
                continue
            cases[case].add(layers, sample.mask, found)
            if case == "S":
                gone = (sample.mask > COVERED) & (layers.change[ALL] > VISIBLE) & (found <= FLAGGED)
                red = torch.where(gone, torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1), aged / 2)
                row = [aged, sample.mask.expand_as(aged), found.expand_as(aged), red]
                missed = sorted([*missed, (int(gone.sum()), list(map(as_array, row)))], key=lambda x: -x[0])[
                    :SHEET_ROWS
                ]
    if not cases:
        raise ValueError(f"{options.photos}: no readable photo there")
    print(table(cases) + "\n")
    for case, of_case in cases.items():
        sound, damaged = of_case.scores
        false = sound[round(FLAGGED * (BINS - 1)) + 1 :].sum() / sound.sum()
        print(f"{case}: AUC {auc_of_counts(damaged, sound):.3f}, sound pixels flagged {100 * false:.2f} %")
        steps = [f"{hits:.2f}" for hits in reliability_of_counts(damaged, sound)]
        print(f"{case}: damaged of those found with 0 to 0.1, to 0.2, ... to 1: {' '.join(steps)}")
    print(f"clean photos: {100 * np.mean(clean_flagged):.2f} % flagged, the worst {100 * max(clean_flagged):.1f} %")
    if options.sheet:
        contact_sheet([row for _, row in missed], options.sheet)


def main() -> None:
    """Parse arguments and run; exits with 2 and one line on bad arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="folder, tar shard or folder of tar shards with clean photos")
    parser.add_argument("--overlays", type=Path, nargs="+", required=True, help="tar shards of damage to lay on")
    parser.add_argument("--weights", type=Path, help="checkpoints to lay over the shipped ones")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--limit", type=int, help="use only so many photos")
    parser.add_argument("--foreign", action="store_true", help="also F, the damage of another program")
    parser.add_argument("--sheet", type=Path, help="picture file for what was missed")
    options = parser.parse_args()
    try:
        run(options)
    except (OSError, ValueError) as error:
        parser.exit(2, f"recall: {error}\n")


if __name__ == "__main__":
    main()
