"""The frozen evaluation protocols: the same cases in every release, so that results stay comparable."""

from pathlib import Path
from typing import Any

import numpy as np

from bringback.errors import known_names
from bringback.evaluation.foreign import FOREIGN
from bringback.evaluation.runner import Report, evaluate

# Any change makes a new protocol with incomparable numbers. Photos, overlays and backbone come from the caller and must
# be the same too.
PROTOCOLS = {
    "default": {
        "U": "unstructured",
        "S": "structured",
        "M": "mixed",
        "C": "clean",
        "H": "holes",
        "W": "foreign-wear",
        "F": "foreign-damage",
        "E": "enlarged-noise",
    },
    "scan": {  # see `scan.py`; "structured@8" takes minutes a photo: a recipe by itself, on few photos
        f"{case}{times}": f"{recipe}@{times}"
        for case, recipe in {"S": "structured", "M": "mixed", "U": "unstructured", "C": "clean"}.items()
        for times in (1, 2, 4)
    },
    "restorers": {  # see `comparison.py`
        "U": "unstructured",
        "S": "structured",
        "M": "mixed",
        "H": "holes",
        "G": "grainy-bw",
        "D": "dark-noisy",
    },
}
SEED = 0


def run_protocol(
    photos: Path,
    protocol: str = "default",
    *,
    sheets: Path | None = None,
    **settings: Any,
) -> dict[str, Report]:
    """Evaluate each case of a protocol; returns reports by letter.

    `settings` are those of `evaluate`; `sheets` is a folder for one contact sheet per case. Raises ValueError for an
    unknown protocol, and what `evaluate` raises.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}; there is {known_names(protocol, PROTOCOLS)}")
    blank = np.zeros((32, 32, 3), np.uint8)
    for recipe in FOREIGN.keys() & PROTOCOLS[protocol].values():
        FOREIGN[recipe](blank, SEED)  # fail early if a package is missing
    reports = {}
    if sheets is not None:
        sheets.mkdir(parents=True, exist_ok=True)
    for case, recipe in PROTOCOLS[protocol].items():
        sheet = None if sheets is None else sheets / f"{case}.png"
        reports[case] = evaluate(photos, recipe, SEED, sheet=sheet, **settings)
    return reports


def protocol_table(reports: dict[str, Report]) -> str:
    """Markdown: one row per case with means before -> after; then the number of photos and those left out."""
    lines = ["| case | PSNR, dB | gain | SSIM | perceptual | scratch AUC | sound pixels flagged |", "|---" * 7 + "|"]
    for case, report in reports.items():
        mean = report.summary()
        shown = [f"{mean['psnr_before']:.2f} -> {mean['psnr_after']:.2f}", f"{mean['psnr_gain']:+.2f}"]
        shown.append(f"{mean['ssim_before']:.3f} -> {mean['ssim_after']:.3f}")
        far = mean["perceptual_before"], mean["perceptual_after"]
        shown.append("" if far[0] is None else f"{far[0]:.2f} -> {far[1]:.2f}")
        shown.append("" if report.scratch_auc is None else f"{report.scratch_auc:.3f}")
        shown.append("" if report.flagged is None else f"{100 * report.flagged:.2f} %")
        lines.append(f"| {case} {report.recipe} | {' | '.join(shown)} |")
    first = next(iter(reports.values()))
    return "\n".join([*lines, "", f"{len(first.rows)} photos", *(f"left out: {reason}" for reason in first.left_out)])
