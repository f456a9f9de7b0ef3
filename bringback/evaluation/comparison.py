"""Compares restoration methods on the same aged photos: classical, deep priors, single stages, full pipeline."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bringback.errors import known_names
from bringback.evaluation.protocol import PROTOCOLS, SEED
from bringback.evaluation.runner import Report, evaluate
from bringback.pipeline import Pipeline
from bringback.pipeline_config import PipelineConfig

PROTOCOL = "restorers"
SUBSET = 2  # default number of photos for slow methods
FITTED = {"iterations": 250, "size": 256}  # deep prior settings: about a minute per photo on one core; more is better

Settings = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Method:
    """The stages to run (None: the whole pipeline) and their settings; `slow` methods are measured on a few photos.

    `cases` are the letters of the protocol cases that the method applies to.
    """

    stages: tuple[str, ...] | None = None
    settings: Settings = field(default_factory=dict)
    slow: bool = False
    cases: str = "".join(PROTOCOLS["restorers"])


def _filling(method: str, **settings: Any) -> dict[str, dict[str, Any]]:
    return {"fill": {"method": method, **settings}}


_FOUND = ("scratches", "fill")
_GRADIENT = {"scratches": {"method": "gradient"}}

# Each is one pipeline for all cases, blind to the degradation except for the given mask in H.
METHODS = {
    "telea": Method(_FOUND, _GRADIENT | _filling("telea")),
    "ns": Method(_FOUND, _GRADIENT | _filling("ns")),
    # with our detector, to separate the effects of detector and fill
    "telea-unet": Method(_FOUND, _filling("telea")),
    "prior": Method(_FOUND, _filling("prior", form="unet", **FITTED), slow=True, cases="SMHG"),
    "prior-segnet": Method(_FOUND, _filling("prior", form="segnet", **FITTED), slow=True, cases="SMHG"),
    # this stage fits the whole photo, and fills the masked pixels
    "prior-denoise": Method(("scratches", "prior"), {"prior": {"form": "unet", **FITTED}}, slow=True, cases="UMGD"),
    "relight": Method(("relight",)),
    "main": Method(),
}
COMPARED = ("telea", "main")  # also shown on the photos of the slow methods


def run_restorers(
    photos: Path,
    methods: Sequence[str] | None = None,
    *,
    subset: int = SUBSET,
    limit: int | None = None,
    sheets: Path | None = None,
    on_case: Callable[[str], None] | None = None,
    **settings: Any,
) -> dict[str, dict[str, Report]]:
    """Evaluate `methods` (None: all) on the protocol "restorers"; returns reports by method and case.

    Slow methods use the first `subset` photos, all at most `limit`. In `holes` every method gets the mask and none
    detects further damage. `settings` are those of `evaluate` except for stages and their settings; `sheets` is a
    folder for one contact sheet per method and case; `on_case` is called with a description as each begins. Raises
    ValueError for an unknown method, what `Pipeline.from_pretrained` raises for any of them, both before the first run,
    and what `evaluate` raises.
    """
    names = list(METHODS if methods is None else dict.fromkeys(methods))
    unknown = [name for name in names if name not in METHODS]
    if unknown:
        raise ValueError(f"unknown method {unknown[0]!r}; the methods are {known_names(unknown[0], METHODS)}")
    building = {name: settings[name] for name in ("weights", "device", "dtype") if name in settings}
    for method in (METHODS[name] for name in names):
        Pipeline.from_pretrained(stages=method.stages, settings=method.settings, **building)
    if sheets is not None:
        sheets.mkdir(parents=True, exist_ok=True)
    usual = tuple(PipelineConfig.of(settings.get("weights")).stages)
    reports: dict[str, dict[str, Report]] = {}
    for name in names:
        method = METHODS[name]
        most = min(subset, limit or subset) if method.slow else limit
        reports[name] = {}
        for case in method.cases:
            recipe = PROTOCOLS[PROTOCOL][case]
            if on_case is not None:
                on_case(f"{name}, {recipe}")
            stages, given = method.stages or usual, method.settings
            if recipe == "holes":
                stages = tuple(stage for stage in stages if stage != "scratches")
                given = {stage: values for stage, values in given.items() if stage != "scratches"}
            choices: dict[str, Any] = {"stages": stages, "settings": given, "limit": most}
            choices["sheet"] = None if sheets is None else sheets / f"{case}-{name}.png"
            reports[name][case] = evaluate(photos, recipe, SEED, **choices, **settings)
    return reports


def restorers_table(reports: dict[str, dict[str, Report]]) -> str:
    """Markdown: one row per method with mean PSNR in dB / SSIM / seconds per photo for each case.

    Slow methods that ran on fewer photos get a separate table, together with `COMPARED` on the same photos.
    """
    seen = {name: tuple(row.name for row in next(iter(by_case.values())).rows) for name, by_case in reports.items()}
    lines = []
    for photos in sorted(set(seen.values()), key=len, reverse=True):
        beside = [name for name in COMPARED if set(photos) <= set(seen.get(name, ()))]
        lines += _table({name: _of(photos, reports[name]) for name in seen if seen[name] == photos or name in beside})
        lines += ["", f"{len(photos)} photo{'s' * (len(photos) > 1)}", ""]
    every = [report for by_case in reports.values() for report in by_case.values()]
    reasons = dict.fromkeys(reason for report in every for reason in report.left_out)
    return "\n".join([*lines, *(f"left out: {reason}" for reason in reasons)]).rstrip()


def _of(photos: Sequence[str], by_case: dict[str, Report]) -> dict[str, Report]:
    """The reports restricted to these photos."""
    return {case: replace(one, rows=[row for row in one.rows if row.name in photos]) for case, one in by_case.items()}


def _table(reports: dict[str, dict[str, Report]]) -> list[str]:
    """The lines of one table; cells are empty where a method does not apply to a case."""
    means = {name: {case: one.summary() for case, one in by_case.items()} for name, by_case in reports.items()}
    cases = [case for case in PROTOCOLS[PROTOCOL] if any(case in of for of in means.values())]
    aged = {case: next(of[case] for of in means.values() if case in of) for case in cases}
    rows = {"as aged": [f"{one['psnr_before']:.2f} / {one['ssim_before']:.3f}" for one in aged.values()]}
    for name, of in means.items():
        cells = {
            case: f"{one['psnr_after']:.2f} / {one['ssim_after']:.3f} / {one['seconds']:.1f}"
            for case, one in of.items()
        }
        rows[name] = [cells.get(case, "") for case in cases]
    head = ["", *(f"{case} {PROTOCOLS[PROTOCOL][case]}" for case in cases)]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    return lines + [f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()]
