"""`bringback weights`: list, locate, verify and download weights."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bringback.cli.console import NOTHING_KEPT, RESUMES, SOME_FAILED, one_line_errors
from bringback.cli.options import Json, Offline, Overwrite, Revision, Weights
from bringback.cli.program import Command, program
from bringback.errors import known_names

if TYPE_CHECKING:
    from bringback.weights.checkpoints import Checkpoints

Name = Annotated[str | None, typer.Argument(help="A name that `list` prints; prints only the folder of these weights.")]
HubId = Annotated[str, typer.Argument(help="Id of checkpoints on the hub: org/name.", metavar="ID")]
CopyTo = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Folder to copy them to as well, for machines without the hub.", metavar="DIR"),
]

weights_app = program()


@weights_app.command("list", cls=Command)
def weights_list(
    weights: Weights = None, revision: Revision = None, offline: Offline = False, json_lines: Json = False
) -> None:
    """Print name, network, parameters, size, license and SHA-256 of all weights that a restoration can load."""
    with one_line_errors(NOTHING_KEPT):
        from bringback.weights.catalog import Weight, files, table

        found = [Weight.of(name, file) for name, file in files(_checkpoints(weights, revision, offline)).items()]
    for line in [json.dumps(weight.as_dict()) for weight in found] if json_lines else [table(found)]:
        typer.echo(line)


@weights_app.command("where", cls=Command)
def weights_where(
    name: Name = None, weights: Weights = None, revision: Revision = None, offline: Offline = False
) -> None:
    """Print the folders of the weights, and the hub's cache."""
    with one_line_errors(NOTHING_KEPT):
        from huggingface_hub.constants import HF_HUB_CACHE

        from bringback.weights.catalog import files

        folders = {key: file.parent for key, file in files(_checkpoints(weights, revision, offline)).items()}
        folders["hub"] = Path(HF_HUB_CACHE)
        if name is not None and name not in folders:
            raise ValueError(f"no weights {name!r}; there are {known_names(name, folders)}")
    for key, folder in folders.items():
        if name in (None, key):
            typer.echo(f"{key:<16}{folder}" if name is None else folder)


@weights_app.command("verify", cls=Command)
def weights_verify(weights: Weights = None, revision: Revision = None, offline: Offline = False) -> None:
    """Check that all weights match their model cards, load, and are finite. Exit code 1 if one does not."""
    with one_line_errors(NOTHING_KEPT):
        from bringback.weights.catalog import Weight, fault, files

        checkpoints = _checkpoints(weights, revision, offline)
        failed = 0
        for name, file in files(checkpoints).items():
            weight = Weight.of(name, file)
            wrong = fault(weight, checkpoints)
            failed += wrong is not None
            unstated = "" if weight.stated else ", which its card does not state"
            typer.echo(f"{name}: {wrong or f'sound, SHA-256 {weight.sha256[:16]}{unstated}'}", err=wrong is not None)
    if failed:
        raise typer.Exit(SOME_FAILED)


@weights_app.command("pull", cls=Command)
def weights_pull(
    hub_id: HubId,
    out: CopyTo = None,
    revision: Revision = None,
    offline: Offline = False,
    overwrite: Overwrite = False,
) -> None:
    """Download checkpoints into the hub's cache and verify them. An interrupted download resumes at the next try."""
    with one_line_errors(RESUMES):
        from bringback.weights.catalog import pull, table

        folder, found = pull(hub_id, out, revision=revision, local_files_only=offline, overwrite=overwrite)
    typer.echo(table(found))
    place = hub_id if out is None else out
    if (folder / "model.safetensors").is_file():
        typer.echo(f"to use it, in Python: {found[-1].network}.from_pretrained({str(place)!r})")
    else:
        pinned = "" if revision is None or out else f" --revision {revision}"
        typer.echo(f"to use them: bringback restore PHOTOS -o RESTORED --weights {place}{pinned}")


def _checkpoints(weights: Path | None, revision: str | None, offline: bool) -> "Checkpoints":
    from bringback.weights.checkpoints import Checkpoints

    return Checkpoints(weights, revision=revision, local_files_only=offline)
