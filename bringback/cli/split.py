"""`bringback split`: one file for each print on an album page, in a flatbed scan or in a photo of a table."""

from typing import Any

from bringback.cli import options
from bringback.cli.console import RESUMES_WITH_SKIP, finish, one_line_errors, progress
from bringback.cli.settings import reject_conflict


def split(
    inputs: options.LocalInputs,
    out: options.LocalOut,
    upright: options.Upright = False,
    overwrite: options.Overwrite = False,
    skip_existing: options.SkipExisting = False,
    strip_metadata: options.StripMetadata = False,
    keep_times: options.KeepTimes = True,
    max_pixels: options.MaxPixels = None,
    json_lines: options.Json = False,
) -> None:
    """Split pages into prints: OUT/PAGE-1, OUT/PAGE-2 and so on, straightened; a page without prints is copied."""
    with one_line_errors(RESUMES_WITH_SKIP):
        reject_conflict(overwrite, skip_existing)
        from bringback.batch.split import split_folder

        notes: list[str] = []
        limit: dict[str, Any] = {} if max_pixels is None else {"max_pixels": max_pixels}
        with progress(json_lines) as show:
            entries = split_folder(
                inputs,
                out,
                upright=upright,
                overwrite=overwrite,
                skip_existing=skip_existing,
                strip_metadata=strip_metadata,
                keep_times=keep_times,
                **limit,
                tell=notes.append,
                on_start=show.on_start,
                on_photo=show.on_photo,
            )
    finish(entries, json_lines, notes)
