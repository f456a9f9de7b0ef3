"""`bringback export`: write networks as ONNX files."""

from pathlib import Path
from typing import Annotated

import typer

from bringback.cli import options
from bringback.cli.console import NOTHING_WRITTEN, one_line_errors
from bringback.runtime.hub import fetched

Network = Annotated[
    str,
    typer.Argument(
        help="scratches, relight, tone, old_vae, mapping, clean_vae, faces, colorize or upscale.", metavar="NETWORK"
    ),
]
OnnxOut = Annotated[
    Path,
    typer.Option(
        "--out",
        "-o",
        help="A file *.onnx, next to which other graphs of the network go, or a folder for all.",
        metavar="PATH",
    ),
]


def export(
    name: Network,
    out: OnnxOut,
    weights: options.Weights = None,
    revision: options.Revision = None,
    offline: options.Offline = False,
    overwrite: options.Overwrite = False,
) -> None:
    """Write a network as ONNX files with self-describing inputs and outputs, for runtimes other than torch."""
    with one_line_errors(NOTHING_WRITTEN):
        from bringback.weights.onnx.export import export

        if weights is not None:
            weights = fetched(weights, revision=revision, local_files_only=offline)
        for path in export(name, out, weights, overwrite=overwrite):
            typer.echo(path)
