"""The `bringback` program: the Typer app with all commands, each in the module of its name.

Commands import torch and what needs it only when there is work, so that `--help` is fast.
"""

from collections.abc import Callable
from typing import Annotated

import typer

from bringback import __version__
from bringback.cli.age import age
from bringback.cli.console import escape_unprintable, show_log
from bringback.cli.convert import convert
from bringback.cli.evaluate import evaluate
from bringback.cli.export import export
from bringback.cli.faces import faces
from bringback.cli.program import Command, program
from bringback.cli.restore import restore
from bringback.cli.scratches import scratches
from bringback.cli.split import split
from bringback.cli.web import web
from bringback.cli.weights import weights_app
from bringback.runtime.threads import wait_passively

app = program()
for command in (restore, split, scratches, faces, age, convert, export, evaluate, web):
    app.command(cls=Command)(command)
app.add_typer(weights_app, name="weights", help="List, locate, verify and download weights.")


@app.callback(invoke_without_command=True)
def main(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks, and what libraries print.")] = False,
) -> None:
    """Restore scanned old photographs: scratches, fading, noise, blur and faces."""
    escape_unprintable()
    wait_passively()
    if debug:
        show_log()
    if version:
        typer.echo(f"bringback {__version__}")


def script(command: Callable[..., None]) -> None:
    """Run one command as its own program, as the scripts in inference/ do."""
    escape_unprintable()
    wait_passively()
    alone = program()
    alone.command(cls=Command)(command)
    alone()
