"""`bringback scratches`: write the damage masks of photos."""

from typing import TYPE_CHECKING, Any

from bringback.cli import options
from bringback.cli.console import RESUMES_WITH_SKIP, finish, one_line_errors, progress
from bringback.cli.settings import compute_settings, method_settings, reject_conflict

if TYPE_CHECKING:
    from bringback.stages.record import Restoration


def scratches(
    inputs: options.LocalInputs,
    out: options.LocalOut,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    tile: options.Tile = None,
    config: options.Config = None,
    method: options.ScratchMethod = None,
    weights: options.Weights = None,
    revision: options.Revision = None,
    offline: options.Offline = False,
    overwrite: options.Overwrite = False,
    skip_existing: options.SkipExisting = False,
    json_lines: options.Json = False,
    scale: options.Scale = "auto",
) -> None:
    """Find the damage: soft masks as OUT/PHOTO_mask.png, of the photo's size; 0 is sound, 255 is damaged.

    `restore` fills linearly: nothing up to 0.5 (127), everything from 0.77 (197) on.

    It also fills a rim of one pixel.
    """
    with one_line_errors(RESUMES_WITH_SKIP):
        reject_conflict(overwrite, skip_existing)
        from bringback.batch.jobs import plan
        from bringback.batch.masks import mask_folder
        from bringback.pipeline import Pipeline

        notes: list[str] = []
        plan(inputs, out, notes.append)  # reject bad arguments before loading weights
        pipeline = Pipeline.from_pretrained(
            weights,
            revision=revision,
            local_files_only=offline,
            config=config,
            stages=["scratches"],
            device=device,
            **compute_settings(dtype, tile),
            scale=scale,
            settings=method_settings(scratches=method),
        )
        detector: Any = pipeline.stages[0]

        def detect(restoration: "Restoration") -> "Restoration":
            restoration.scale, restoration.softer = pipeline.scales(restoration.pixels)
            restoration.areas = pipeline.areas(restoration.photo)
            return detector(restoration)

        with progress(json_lines) as show:
            entries = mask_folder(
                inputs,
                out,
                detect,
                overwrite=overwrite,
                skip_existing=skip_existing,
                on_start=show.on_start,
                on_photo=show.on_photo,
            )
    finish(entries, json_lines, notes)
