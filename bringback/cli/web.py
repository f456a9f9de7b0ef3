"""`bringback web`: serve a page that restores photos in the browser."""

import time
from contextlib import suppress
from typing import Annotated, Any

import typer

from bringback.cli import options
from bringback.cli.console import one_line_errors, treat_sigterm_as_ctrl_c

Host = Annotated[
    str, typer.Option(help="Address to serve at; any other than loopback lets others in.", metavar="ADDRESS")
]
Port = Annotated[int, typer.Option(help="Port to serve at.", min=1, max=65535, metavar="N")]
MaxFileSize = Annotated[int, typer.Option(help="Reject larger files, in MB.", min=1, metavar="MB")]
OpenBrowser = Annotated[bool, typer.Option("--open", help="Open the page in the browser.")]


def web(
    host: Host = "127.0.0.1",
    port: Port = 7860,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    config: options.Config = None,
    weights: options.Weights = None,
    revision: options.Revision = None,
    offline: options.Offline = False,
    engine: options.Engine = "torch",
    max_pixels: options.MaxPixels = None,
    max_file_size: MaxFileSize = 300,
    open_browser: OpenBrowser = False,
) -> None:
    """Restore photos on a page in the browser: drop, edit the damage, compare, download; nothing goes online."""
    with one_line_errors("the page is closed"):
        from bringback.runtime.memory import keep_tiles_in_heap
        from bringback.web.pipelines import Pipelines
        from bringback.web.server import is_loopback, served

        if not is_loopback(host):
            typer.echo(f"bringback: {host}: whoever reaches it may use the page, which asks no password", err=True)
        treat_sigterm_as_ctrl_c()  # so that visitors' files are deleted in that case, too
        keep_tiles_in_heap()
        computing: dict[str, Any] = {"device": device, "dtype": dtype, "engine": engine, "config": config}
        pipelines = Pipelines.from_pretrained(weights, revision=revision, local_files_only=offline, **computing)
        page: dict[str, Any] = {"max_file_size": max_file_size, "open_browser": open_browser}
        page |= {} if max_pixels is None else {"max_pixels": max_pixels}
        with suppress(KeyboardInterrupt), served(pipelines, host, port, **page) as url:
            typer.echo(f"serving at {url} until Ctrl-C")
            while True:
                time.sleep(3600)
