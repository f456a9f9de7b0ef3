"""`bringback restore`, and `run_restore`, which other commands call with pipelines of their own."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bringback.cli import options
from bringback.cli.console import (
    RESUMES,
    finish,
    one_line_errors,
    progress,
    starting,
    treat_sigterm_as_ctrl_c,
)
from bringback.cli.settings import (
    compute_settings,
    faces_settings,
    merge_settings,
    method_settings,
    parse_stages,
    prior_settings,
    reject_conflict,
    upscale_settings,
)

if TYPE_CHECKING:
    from bringback.batch.manifest import Entry
    from bringback.pipeline import Pipeline


def restore(
    inputs: options.Inputs,
    out: options.Out,
    config: options.Config = None,
    stages: options.Stages = None,
    strength: options.Strength = 1.0,
    compare: options.Compare = False,
    review: options.Review = None,
    split: options.Split = False,
    upright: options.Upright = False,
    area: options.AreaBoxes = None,
    areas: options.AreasFile = None,
    overwrite: options.Overwrite = False,
    skip_existing: options.SkipExisting = False,
    dry_run: options.DryRun = False,
    json_lines: options.Json = False,
    mask: options.Mask = None,
    scratches: options.ScratchMethod = None,
    fill: options.FillMethod = None,
    infrared: options.Infrared = "auto",
    fidelity: options.Fidelity = None,
    faces_min_size: options.FacesMinSize = None,
    only_center_face: options.OnlyCenterFace = False,
    faces_review: options.FacesReview = None,
    saturation: options.Saturation = None,
    negative: options.Negative = False,
    upscale: options.Upscale = None,
    upscale_to: options.UpscaleTo = None,
    upscale_model: options.UpscaleModel = None,
    strip_metadata: options.StripMetadata = False,
    sidecars: options.Sidecars = False,
    keep_times: options.KeepTimes = True,
    follow_links: options.FollowLinks = True,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    engine: options.Engine = "torch",
    tile: options.Tile = None,
    batch_size: options.BatchSize = None,
    memory: options.Memory = None,
    max_pixels: options.MaxPixels = None,
    weights: options.Weights = None,
    revision: options.Revision = None,
    offline: options.Offline = False,
    scale: options.Scale = "auto",
    save_stages: options.SaveStages = False,
    prior_form: options.PriorForm = None,
    prior_seconds: options.PriorSeconds = None,
    seed: options.PriorSeed = None,
) -> None:
    """Restore photos. Run the same command again to resume; OUT/manifest.jsonl records what was done."""

    def load() -> "Pipeline":
        from bringback.pipeline import Pipeline

        enlarging = upscale_settings(upscale, upscale_to, upscale_model)
        return Pipeline.from_pretrained(
            weights,
            revision=revision,
            local_files_only=offline,
            config=config,
            stages=parse_stages(stages),
            also=list(enlarging),
            engine=engine,
            device=device,
            **compute_settings(dtype, tile, batch_size, memory),
            strength=strength,
            scale=scale,
            negative=negative,
            settings=merge_settings(
                faces_settings(faces_min_size, only_center_face, fidelity),
                {} if saturation is None else {"colorize": {"saturation": saturation}},
                method_settings(scratches=scratches, fill=fill),
                {} if infrared == "auto" else {"scratches": {"infrared": infrared}},
                enlarging,
                prior_settings(fill, stages, config, form=prior_form, seconds=prior_seconds, seed=seed),
            ),
        )

    choices: dict[str, Any] = {"save_stages": save_stages, "compare": compare, "review": review}
    choices |= {"faces_review": faces_review}
    choices |= {"overwrite": overwrite, "skip_existing": skip_existing, "dry_run": dry_run}
    choices |= {"strip_metadata": strip_metadata, "sidecars": sidecars, "keep_times": keep_times}
    choices |= {} if max_pixels is None else {"max_pixels": max_pixels}
    choices |= {"split": split, "upright": upright, "follow_links": follow_links}
    run_restore(inputs, out, load, mask=mask, area=area or [], areas=areas, json_lines=json_lines, **choices)


def run_restore(
    inputs: list[str],
    out: str,
    load: Callable[[], "Pipeline"],
    *,
    mask: Path | None = None,
    area: Sequence[str] = (),
    areas: Path | None = None,
    split: bool = False,
    upright: bool = False,
    follow_links: bool = True,
    json_lines: bool = False,
    **choices: Any,
) -> None:
    """Restore photos with the pipeline that `load` returns; `choices` are those of `runner.FolderRestorer`.

    `area` and `areas` are those of `pair_areas`. With `split`, the photos are pages, and their prints are
    restored, turned by their faces with `upright`.
    """
    with one_line_errors(RESUMES), starting(json_lines) as started:
        reject_conflict(choices.get("overwrite", False), choices.get("skip_existing", False))
        from bringback.batch.areas import pair_areas
        from bringback.batch.jobs import plan_with_masks
        from bringback.batch.one_file import names_a_file, plan_file
        from bringback.batch.remote import is_remote, restore_remote
        from bringback.batch.runner import restore_jobs
        from bringback.runtime.memory import keep_tiles_in_heap
        from bringback.runtime.progress import watching

        remote = any(is_remote(place) for place in (*inputs, out))
        if remote and mask is not None:
            raise ValueError("--mask goes with folders of this machine, not with URLs")
        if remote and (area or areas):
            raise ValueError("--area and --areas go with folders of this machine, not with URLs")
        if remote and choices.get("sidecars"):
            raise ValueError("--sidecars goes with folders of this machine, not with URLs")
        if remote and not follow_links:
            raise ValueError("--no-follow-links goes with folders of this machine, not with URLs")
        for review in filter(None, (choices.get("review"), choices.get("faces_review"))):
            for place in map(Path, inputs):
                if place.is_dir() and review.resolve().is_relative_to(place.resolve()):
                    raise ValueError(f"the folder to review {review} is inside the input {place}: choose one outside")
        notes: list[str] = []
        unsplit: list[Entry] = []
        one_file = names_a_file(out)
        if upright and not split:
            raise ValueError("--upright goes with --split")
        if remote and one_file:
            raise ValueError(f"{out} is one file, which goes with files of this machine, not with URLs: name a folder")
        if split:
            if any((remote, one_file, mask, area, areas, choices.get("sidecars"), choices.get("dry_run"))):
                raise ValueError(
                    "--split goes without URLs, an output file, --mask, --area, --areas, --sidecars and --dry-run"
                )
            from bringback.batch.split import split_first

            handed = ("overwrite", "keep_times", "strip_metadata", "max_pixels")
            given: dict[str, Any] = {name: choices[name] for name in handed if name in choices}
            with progress(json_lines) as show:
                given |= {"on_start": show.on_start, "on_photo": show.on_photo, "follow_links": follow_links}
                jobs, unsplit = split_first(list(map(Path, inputs)), Path(out), notes.append, upright=upright, **given)
            masks: dict[Path, Path] = {}
        elif one_file:
            jobs, masks = plan_file([Path(place) for place in inputs], Path(out), mask)
        elif not remote:  # plan before loading weights, to reject bad arguments at once
            places = [Path(place) for place in inputs]
            jobs, masks = plan_with_masks(places, Path(out), mask, notes.append, follow_links=follow_links)
        folder = Path(out).parent if one_file else Path(out)
        by_hand = {} if remote or split else pair_areas(jobs, area, areas)
        treat_sigterm_as_ctrl_c()
        keep_tiles_in_heap()
        pipeline = load()
        started()
        for stage in pipeline.stages:
            if about := getattr(stage, "about", ""):
                typer.echo(about, err=True)
        with progress(json_lines) as show, watching(show.on_work):
            choices |= {"on_start": show.on_start, "on_photo": show.on_photo, "on_step": show.on_step}
            choices["on_plan"] = show.on_plan
            if remote:
                entries = restore_remote(inputs, out, pipeline, tell=notes.append, **choices)
            else:
                entries = restore_jobs(
                    jobs, folder, pipeline, masks=masks, areas=by_hand, record=not one_file, **choices
                )
    finish(unsplit + entries, json_lines, notes)
