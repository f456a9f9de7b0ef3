"""`bringback age`: degrade clean photos."""

from bringback.cli import options
from bringback.cli.console import RESUMES_WITH_SKIP, finish, one_line_errors, progress
from bringback.cli.settings import reject_conflict


def age(
    inputs: options.LocalInputs,
    out: options.LocalOut,
    recipe: options.Recipe,
    seed: options.Seed,
    overlays: options.Overlays = None,
    overwrite: options.Overwrite = False,
    skip_existing: options.SkipExisting = False,
    json_lines: options.Json = False,
) -> None:
    """Degrade clean photos as training and evaluation do: OUT/PHOTO, and its damage as OUT/PHOTO_mask.png."""
    with one_line_errors(RESUMES_WITH_SKIP):
        reject_conflict(overwrite, skip_existing)
        from bringback.batch.masks import age_folder

        notes: list[str] = []
        with progress(json_lines) as show:
            entries = age_folder(
                inputs,
                out,
                recipe,
                seed,
                overlays=overlays or [],
                overwrite=overwrite,
                skip_existing=skip_existing,
                tell=notes.append,
                on_start=show.on_start,
                on_photo=show.on_photo,
            )
    finish(entries, json_lines, notes)
