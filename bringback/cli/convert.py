"""`bringback convert`: convert the weights of the original method."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bringback.cli import options
from bringback.cli.console import NOTHING_WRITTEN, one_line_errors

if TYPE_CHECKING:
    from bringback.weights.wan2020.convert import Converted

Sources = Annotated[
    list[Path],
    typer.Argument(help="The original's checkpoints folder, zip archives of it, or files.", metavar="SOURCE"),
]
CheckpointsOut = Annotated[
    Path, typer.Option("--out", "-o", help="Folder for the checkpoints, for --weights.", metavar="DIR")
]


def convert(sources: Sources, out: CheckpointsOut, overwrite: options.Overwrite = False) -> None:
    """Convert the weights published for the original method of 2020; then: bringback restore PHOTOS --weights OUT."""
    with one_line_errors(NOTHING_WRITTEN):
        from bringback.weights.wan2020.convert import ORIGINALS, absent, convert

        def report(file: "Converted") -> None:
            typer.echo(f"{'passed over' if file.folder is None else file.folder}: {file.source} ({file.message})")

        convert(sources, out, overwrite=overwrite, on_file=report)
        for name in absent(out):
            typer.echo(f"not there: {name} ({ORIGINALS[name].what})")
        typer.echo(f"written to {out}; to use it: bringback restore PHOTOS -o RESTORED --weights {out}")
