"""`bringback web`: serves the gradio page, by default to this machine only."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bringback.images.codecs import MAX_PIXELS
from bringback.runtime.extras import extra
from bringback.web.pipelines import Pipelines

if TYPE_CHECKING:
    from gradio import Blocks

MAX_FILE_SIZE = 300  # MB


def build(pipelines: Pipelines, folder: Path, max_pixels: int = MAX_PIXELS) -> "Blocks":
    """Build the page, to be launched with `look`; files of users go to `folder`.

    Photos of more than `max_pixels` are refused. Raises `MissingExtra` without gradio.
    """
    with extra("web"):
        from bringback.web.page import Page
    return Page(folder, pipelines, max_pixels).blocks


def look(max_file_size: int = MAX_FILE_SIZE) -> dict[str, Any]:
    """Arguments for `Blocks.launch`: theme, upload limit in MB, no gradio extras.

    No font, script or picture is loaded from elsewhere.
    """
    with extra("web"):
        from gradio.themes import Default
    css, script = ((Path(__file__).parent / name).read_text("utf-8") for name in ("page.css", "page.js"))
    plain = Default(primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    # gradio's own colors have too little contrast
    blue, red = "#0b57d0", "#b3261e"
    theme = plain.set(
        body_text_color_subdued="*neutral_600",
        block_info_text_color="*neutral_600",
        button_primary_background_fill=blue,
        button_primary_background_fill_dark=blue,
        button_cancel_background_fill=red,
        button_cancel_background_fill_dark=red,
    )
    return {
        "theme": theme,
        "css": css,
        "js": script.replace("MEGABYTES", str(max_file_size)),
        "max_file_size": max_file_size * 1_000_000,
        "share": False,
        "footer_links": [],
        **dict.fromkeys(("run_history", "enable_monitoring", "mcp_server", "ssr_mode", "pwa"), False),
    }


@contextmanager
def served(
    pipelines: Pipelines,
    host: str = "127.0.0.1",
    port: int = 7860,
    *,
    max_file_size: int = MAX_FILE_SIZE,
    max_pixels: int = MAX_PIXELS,
    open_browser: bool = False,
) -> Iterator[str]:
    """Context manager that serves the page and yields its URL; see `build` and `look`.

    Files of users go to a temporary folder that is deleted afterwards. Raises OSError if the port is taken.
    """
    with TemporaryDirectory(prefix="bringback-web-", ignore_cleanup_errors=True) as folder, _environment(folder):
        blocks = build(pipelines, Path(folder), max_pixels)
        launching = (
            look(max_file_size)
            | ({"app_kwargs": _near()} if is_loopback(host) else {})
            | {"server_name": host, "server_port": port, "inbrowser": open_browser}
        )
        try:
            url = blocks.launch(**launching, prevent_thread_lock=True, quiet=True)[1]
        except OSError:
            raise OSError(f"{host}, port {port}: cannot be had; choose another with --port") from None
        try:
            yield url
        finally:
            pipelines.close()
            blocks.close(verbose=False)


def _near() -> dict[str, Any]:
    """Launch arguments that protect against cross-site requests and DNS rebinding."""
    from starlette.middleware import Middleware

    return {"middleware": [Middleware(_Near)]}


class _Near:
    """Middleware that answers 403 unless `Host` and, if present, `Origin` are loopback addresses."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            headers = {name.decode("latin1"): value.decode("latin1") for name, value in scope["headers"]}
            asked = [f"//{headers.get('host', '')}", headers.get("origin", f"//{headers.get('host', '')}")]
            if not all(is_loopback(urlsplit(one).hostname or "") for one in asked):
                from starlette.responses import PlainTextResponse

                await PlainTextResponse("for this machine alone", 403)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def is_loopback(host: str) -> bool:
    """Whether this host is reachable from this machine only."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # a host name
        return False


@contextmanager
def _environment(folder: str) -> Iterator[None]:
    """Set gradio's environment variables: temporary folder, no analytics, no proxy for local addresses.

    gradio checks its own page over HTTP, which must not go through a proxy.
    """
    near = ",".join(filter(None, [os.environ.get("NO_PROXY"), "127.0.0.1", "localhost"]))
    ours = {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": folder, "NO_PROXY": near}
    before = {name: os.environ[name] for name in ours if name in os.environ}
    os.environ |= ours
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]
        os.environ |= before
