"""`bringback evaluate`: degrade clean photos, restore them, and measure the result."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from bringback.cli import options
from bringback.cli.console import NOTHING_KEPT, one_line_errors
from bringback.cli.settings import parse_stages
from bringback.runtime.hub import fetched

Result = tuple[str, dict[str, Any]]  # a table for people, and the same as JSON

Photos = Annotated[Path, typer.Argument(help="Clean photos: a folder, a tar shard or a folder of shards.")]
Recipe = Annotated[
    str,
    typer.Option(
        help="unstructured, structured, mixed, holes, clean, grainy-bw, dark-noisy, ...; or a foreign program: "
        "foreign-wear, foreign-damage, enlarged-noise.",
        metavar="NAME",
    ),
]
Protocol = Annotated[
    str,
    typer.Option(
        help="In place of --recipe. default: five recipes and three foreign programs, in one table; restorers: six "
        "recipes, each by several methods.",
        metavar="NAME",
    ),
]
Methods = Annotated[
    str | None,
    typer.Option(help="Methods of --protocol restorers to run, separated by commas (all of them).", metavar="A,B"),
]
Subset = Annotated[
    int | None, typer.Option(help="Photos that the slow methods of --protocol restorers get (2).", min=1, metavar="N")
]
OldPhotos = Annotated[
    list[Path] | None,
    typer.Option(
        help="Tar shard of real old photos, for --protocol default; those held out from training are restored and "
        "judged by NIQE. May be given several times.",
        metavar="TAR",
    ),
]
Backbone = Annotated[
    str,
    typer.Option(
        help="vgg19, squeezenet1_1 or a file with either's weights: adds a perceptual distance.", metavar="NAME"
    ),
]
Limit = Annotated[int | None, typer.Option(help="At most so many photos.", min=1, metavar="N")]
Sheet = Annotated[
    Path | None,
    typer.Option(help="Write a contact sheet of the first photos to this file (--protocol: folder).", metavar="PATH"),
]


def evaluate(
    photos: Photos,
    recipe: Recipe = "",
    seed: options.Seed = 0,
    protocol: Protocol = "",
    methods: Methods = None,
    subset: Subset = None,
    overlays: options.Overlays = None,
    old_photos: OldPhotos = None,
    config: options.Config = None,
    stages: options.Stages = None,
    dtype: options.Dtype = "auto",
    weights: options.Weights = None,
    revision: options.Revision = None,
    offline: options.Offline = False,
    backbone: Backbone = "",
    device: options.Device = "auto",
    limit: Limit = None,
    sheet: Sheet = None,
    json_lines: options.Json = False,
) -> None:
    """Degrade clean photos, restore them, and measure PSNR and SSIM before and after, and how well damage is found."""
    with one_line_errors(NOTHING_KEPT):
        if bool(protocol) == bool(recipe):
            raise ValueError("evaluate wants --recipe or --protocol, and not both")
        if protocol and seed:
            raise ValueError("--protocol has its own seed")
        if old_photos and protocol in ("", "restorers"):
            raise ValueError("--old-photos belongs to --protocol default")
        if protocol == "restorers" and (config or stages):
            raise ValueError("--protocol restorers chooses the stages itself: no --config, no --stages")
        if protocol != "restorers" and (methods is not None or subset):
            raise ValueError("--methods and --subset belong to --protocol restorers")
        if weights is not None:
            weights = fetched(weights, revision=revision, local_files_only=offline)
        computing: dict[str, Any] = {"weights": weights, "device": device, "dtype": dtype}
        restoring = computing | {"config": config, "stages": parse_stages(stages)}
        measuring: dict[str, Any] = {"overlays": overlays or [], "backbone": backbone, "limit": limit}
        with _spinner() as on_case:
            if recipe:
                table, values = _by_recipe(photos, recipe, seed, sheet=sheet, **restoring, **measuring)
            elif protocol == "restorers":
                asked: dict[str, Any] = {"subset": subset, "sheets": sheet, "on_case": on_case}
                table, values = _by_method(photos, methods, **asked, **computing, **measuring)
            else:
                table, values = _by_case(photos, protocol, old_photos, sheet, restoring, measuring)
    typer.echo(json.dumps(values) if json_lines else table)


def _by_recipe(photos: Path, recipe: str, seed: int, **settings: Any) -> Result:
    from bringback.evaluation.runner import evaluate

    report = evaluate(photos, recipe, seed, **settings)
    return report.table(), report.as_dict()


def _by_method(photos: Path, methods: str | None, *, subset: int | None, **settings: Any) -> Result:
    from bringback.evaluation.comparison import SUBSET, restorers_table, run_restorers

    names = None if methods is None else [name.strip() for name in methods.split(",")]
    reports = run_restorers(photos, names, subset=subset or SUBSET, **settings)
    values = {name: {case: report.as_dict() for case, report in cases.items()} for name, cases in reports.items()}
    return restorers_table(reports), values


def _by_case(
    photos: Path,
    protocol: str,
    old_photos: list[Path] | None,
    sheets: Path | None,
    restoring: dict[str, Any],
    measuring: dict[str, Any],
) -> Result:
    from bringback.evaluation.protocol import protocol_table, run_protocol
    from bringback.evaluation.real_photos import choose_old_photos, evaluate_old_photos

    # Chosen first, so that a shard without old photos is reported before the protocol has run.
    old = choose_old_photos(old_photos, measuring["limit"]) if old_photos else []
    reports = run_protocol(photos, protocol, sheets=sheets, **restoring, **measuring)
    table, values = protocol_table(reports), {case: report.as_dict() for case, report in reports.items()}
    if old:
        found = evaluate_old_photos(old, sheet=None if sheets is None else sheets / "old.png", **restoring)
        table, values = f"{table}\n\n{found.table()}", values | {"old": found.as_dict()}
    return table, values


@contextmanager
def _spinner() -> Iterator[Callable[[str], None] | None]:
    """Show a spinner on a terminal; yields the function that shows the current case, None without a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    with console.status("evaluating") as status:
        yield lambda case: status.update(f"evaluating {case}")
