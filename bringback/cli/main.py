"""The `bringback` command: arguments to library calls, entries to lines. torch is imported only when there is work."""

import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bringback import __version__

if TYPE_CHECKING:
    from bringback.batch.manifest import Entry
    from bringback.pipeline import Pipeline
    from bringback.runtime.memory import Plan
    from bringback.stages.prior.fit import Progress as Fitted
    from bringback.weights.checkpoints import Checkpoints

STAGES = "scratches,tone,fill,translate,faces"
MORE_STAGES = "relight, prior, denoise, colorize"
GO_ON = "the same command with --skip-existing goes on where it stopped"

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Inputs = Annotated[
    list[Path], typer.Argument(help="Photos, or folders with photos anywhere below them.", metavar="INPUT...")
]
Places = Annotated[
    list[str],
    typer.Argument(help="Photos, folders with photos anywhere below them, or URLs (s3://, gs://).", metavar="INPUT..."),
]
OutPlace = Annotated[
    str, typer.Option("--out", "-o", help="Folder or URL for the results; the tree of each input is mirrored.")
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the results; the tree of each input is mirrored.")]
Device = Annotated[str, typer.Option(help="auto (CUDA, else MPS, else CPU), cuda, cuda:1, mps or cpu.")]
Dtype = Annotated[
    str, typer.Option(help="What networks compute in: float32, bfloat16, or auto (bfloat16 where the device has it).")
]
Tile = Annotated[
    int | None, typer.Option(help="Pixels a side that a network sees at once; less takes less memory.", min=128)
]
BatchSize = Annotated[
    int | None, typer.Option(help="Tiles and faces at once, and photos whose faces go together (CPU 1, GPU 8).", min=1)
]
Memory = Annotated[
    float | None,
    typer.Option(help="GB that may be used, by which large photos get smaller tiles (all there is).", min=0.1),
]
Stages = Annotated[
    str | None,
    typer.Option(help=f"The stages to run, separated by commas; lean has {STAGES} and, for the asking, {MORE_STAGES}."),
]
Config = Annotated[
    str | None,
    typer.Option(
        "--config",
        "--preset",
        help="Pipeline to run: a YAML file, or lean, colour, classical, paper, paper-quality, paper-hr.",
    ),
]
Scratches = Annotated[
    str | None, typer.Option("--scratches", help="How damage is found: unet (default), or gradient, without a network.")
]
Saturation = Annotated[
    float | None,
    typer.Option(help="Colours of the stage colorize: 0 none, 1 as believed (default), 2 twice that."),
]
Fill = Annotated[str | None, typer.Option("--fill", help="How it is filled: pushpull (default), telea, ns or prior.")]
PriorForm = Annotated[str | None, typer.Option(help="The network of the deep image prior: unet (default) or segnet.")]
PriorSeconds = Annotated[
    float | None, typer.Option(help="The time that the deep image prior may take for a photo (no limit).")
]
PriorSeed = Annotated[int | None, typer.Option("--seed", help="Of the deep image prior (default 0).")]
Weights = Annotated[
    Path | None,
    typer.Option(help="Folder of checkpoints, or an id on the hub (org/name), that go before the shipped ones."),
]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of weights on the hub (main).")]
Offline = Annotated[bool, typer.Option("--offline", help="Download nothing; weights of the hub come from its cache.")]
Engine = Annotated[str, typer.Option(help="What computes the networks: torch, or onnx (onnxruntime, in float32).")]
Overlays = Annotated[list[Path] | None, typer.Option(help="Tar shard of damage overlays; may be given several times.")]
Recipe = Annotated[str, typer.Option(help="unstructured, structured, mixed, holes, clean, grainy-bw, dark-noisy, ...")]
Seed = Annotated[int, typer.Option(help="The same seed ages the same photos alike.", min=0)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object a line and nothing else.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Overwrite files that are there already.")]
SkipExisting = Annotated[bool, typer.Option("--skip-existing", help="Pass over photos whose result exists.")]
StripMetadata = Annotated[
    bool,
    typer.Option("--strip-metadata", help="Leave out EXIF, XMP, IPTC and texts; profile and resolution stay."),
]
MaxPixels = Annotated[
    int | None, typer.Option(help="Refuse photos of more pixels, which may be made to fill the memory.", min=1)
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Read all photos, tell what would become of each, and write nothing.")
]
Mask = Annotated[
    Path | None,
    typer.Option(help="Damage mask of the photo (white: damaged), or a folder of masks named like the photos."),
]
FacesMinSize = Annotated[
    int | None, typer.Option(help="Leave faces alone whose box is less than so many pixels wide (default 32).", min=1)
]
OnlyCenterFace = Annotated[
    bool, typer.Option("--only-center-face", help="Refine the face nearest to the photo's centre and no other.")
]
Fidelity = Annotated[
    float | None,
    typer.Option(help="0 gives faces as refined as can be (default), 1 leaves them as they came; between, a mixture."),
]


@app.callback(invoke_without_command=True)
def main(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Restore scanned old photographs: scratches, fading, noise, blur and faces."""
    _show_any_name()
    if version:
        typer.echo(f"bringback {__version__}")


@app.command()
def restore(
    inputs: Places,
    out: OutPlace,
    device: Device = "auto",
    config: Config = None,
    stages: Stages = None,
    strength: Annotated[
        float, typer.Option(help="0 gives the photo as it came, 1 all that was restored; between, a mixture.")
    ] = 1.0,
    mask: Mask = None,
    scratches: Scratches = None,
    fill: Fill = None,
    prior_form: PriorForm = None,
    prior_seconds: PriorSeconds = None,
    seed: PriorSeed = None,
    faces_min_size: FacesMinSize = None,
    only_center_face: OnlyCenterFace = False,
    fidelity: Fidelity = None,
    saturation: Saturation = None,
    dtype: Dtype = "auto",
    tile: Tile = None,
    batch_size: BatchSize = None,
    memory: Memory = None,
    save_stages: Annotated[
        bool, typer.Option("--save-stages", help="Write OUT/stages/PHOTO/1-scratches.png ...")
    ] = False,
    compare: Annotated[bool, typer.Option("--compare", help="Write before and after strips to OUT/compare/.")] = False,
    weights: Weights = None,
    revision: Revision = None,
    offline: Offline = False,
    engine: Engine = "torch",
    overwrite: Overwrite = False,
    skip_existing: SkipExisting = False,
    strip_metadata: StripMetadata = False,
    max_pixels: MaxPixels = None,
    dry_run: DryRun = False,
    json_lines: Json = False,
) -> None:
    """Restore photos. The same command again goes on where it stopped; OUT/manifest.jsonl tells what was done."""

    def load() -> "Pipeline":
        from bringback.pipeline import Pipeline

        return Pipeline.from_pretrained(
            weights,
            revision=revision,
            local_files_only=offline,
            config=config,
            stages=_names(stages),
            engine=engine,
            device=device,
            **_computing(dtype, tile, batch_size, memory),
            strength=strength,
            settings=_merged(
                _of_faces(faces_min_size, only_center_face, fidelity),
                {} if saturation is None else {"colorize": {"saturation": saturation}},
                _methods(scratches=scratches, fill=fill),
                _of_prior(fill, stages, form=prior_form, seconds=prior_seconds, seed=seed),
            ),
        )

    choices: dict[str, Any] = {"save_stages": save_stages, "compare": compare, "overwrite": overwrite}
    choices |= {"skip_existing": skip_existing, "strip_metadata": strip_metadata, "dry_run": dry_run}
    choices |= {} if max_pixels is None else {"max_pixels": max_pixels}
    run_restore(inputs, out, load, mask=mask, json_lines=json_lines, **choices)


def run_restore(
    inputs: list[str],
    out: str,
    load: Callable[[], "Pipeline"],
    *,
    mask: Path | None = None,
    json_lines: bool = False,
    **choices: Any,
) -> None:
    """`restore` with the pipeline that `load` makes; `choices` are those of `folder.FolderRestorer`."""
    with _in_one_line("the same command goes on where it stopped"):
        _one_of(choices.get("overwrite", False), choices.get("skip_existing", False))
        from bringback.batch.jobs import plan_with_masks
        from bringback.batch.remote import is_remote, restore_remote
        from bringback.batch.runner import restore_folder
        from bringback.runtime.memory import keep_tiles_in_heap

        remote = any(is_remote(place) for place in (*inputs, out))
        if remote and mask is not None:
            raise ValueError("--mask goes with folders of this machine, not with URLs")
        folders, folder, notes = [Path(place) for place in inputs], Path(out), list[str]()
        if not remote:
            plan_with_masks(folders, folder, mask, notes.append)  # slips of the pen are told before weights are loaded
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as schedulers end what they end: like Ctrl-C
        keep_tiles_in_heap()
        pipeline = load()
        with _progress(json_lines) as (on_start, on_photo, on_step):
            for stage in pipeline.stages:
                if hasattr(stage, "on_step"):
                    stage.on_step = on_step
            telling = {"on_start": on_start, "on_photo": on_photo, "on_plan": None if json_lines else _Planned()}
            if remote:
                entries = restore_remote(inputs, out, pipeline, tell=notes.append, **telling, **choices)  # type: ignore[arg-type]
            else:
                entries = restore_folder(folders, folder, pipeline, mask=mask, **telling, **choices)  # type: ignore[arg-type]
    _finish(entries, json_lines, notes)


@app.command()
def scratches(
    inputs: Inputs,
    out: Out,
    device: Device = "auto",
    dtype: Dtype = "auto",
    tile: Tile = None,
    config: Config = None,
    method: Scratches = None,
    weights: Weights = None,
    revision: Revision = None,
    offline: Offline = False,
    overwrite: Overwrite = False,
    skip_existing: SkipExisting = False,
    json_lines: Json = False,
) -> None:
    """Find the damage: soft masks as OUT/PHOTO_mask.png, of the photo's size; from 128 on a place is filled."""
    with _in_one_line(GO_ON):
        _one_of(overwrite, skip_existing)
        from bringback.batch.jobs import plan
        from bringback.batch.masks import mask_folder
        from bringback.pipeline import Pipeline

        notes = list[str]()
        plan(inputs, out, notes.append)
        computing = {
            "device": device,
            "revision": revision,
            "local_files_only": offline,
            **_computing(dtype, tile, None, None),
        }
        computing["settings"] = _methods(scratches=method)
        pipeline = Pipeline.from_pretrained(weights, config=config, stages=["scratches"], **computing)
        detector: Any = pipeline.stages[0]
        with _progress(json_lines) as (on_start, on_photo, _):
            entries = mask_folder(
                inputs,
                out,
                detector.detect,
                overwrite=overwrite,
                skip_existing=skip_existing,
                on_start=on_start,
                on_photo=on_photo,
            )
    _finish(entries, json_lines, notes)


@app.command()
def faces(
    inputs: Places,
    out: OutPlace,
    aligned: Annotated[
        bool,
        typer.Option(
            "--aligned",
            help="The pictures are 256x256 crops, as inference/align_faces.py makes them (paper-hr: 512x512).",
        ),
    ] = False,
    faces_min_size: FacesMinSize = None,
    only_center_face: OnlyCenterFace = False,
    fidelity: Fidelity = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    batch_size: BatchSize = None,
    config: Config = None,
    weights: Weights = None,
    revision: Revision = None,
    offline: Offline = False,
    overwrite: Overwrite = False,
    skip_existing: SkipExisting = False,
    json_lines: Json = False,
) -> None:
    """Make faces clear and change nothing else: photos in, or with --aligned crops of faces; the same out."""

    def load() -> "Pipeline":
        from bringback.pipeline import Pipeline

        settings = _of_faces(faces_min_size, only_center_face, fidelity, aligned=aligned)
        computing = {
            "device": device,
            "revision": revision,
            "local_files_only": offline,
            **_computing(dtype, None, batch_size, None),
        }
        return Pipeline.from_pretrained(weights, config=config, stages=["faces"], settings=settings, **computing)

    run_restore(inputs, out, load, overwrite=overwrite, skip_existing=skip_existing, json_lines=json_lines)


@app.command()
def age(
    inputs: Inputs,
    out: Out,
    recipe: Recipe,
    seed: Seed,
    overlays: Overlays = None,
    overwrite: Overwrite = False,
    skip_existing: SkipExisting = False,
    json_lines: Json = False,
) -> None:
    """Age photos as the training and the evaluation do: OUT/PHOTO and its damage as OUT/PHOTO_mask.png."""
    with _in_one_line(GO_ON):
        _one_of(overwrite, skip_existing)
        from bringback.batch.jobs import plan
        from bringback.batch.masks import age_folder

        notes = list[str]()
        plan(inputs, out, notes.append)

        with _progress(json_lines) as (on_start, on_photo, _):
            entries = age_folder(
                inputs,
                out,
                recipe,
                seed,
                overlays=overlays or [],
                overwrite=overwrite,
                skip_existing=skip_existing,
                on_start=on_start,
                on_photo=on_photo,
            )
    _finish(entries, json_lines, notes)


@app.command()
def convert(
    sources: Annotated[
        list[Path],
        typer.Argument(help="The original's checkpoints folder, zip archives of it, or files.", metavar="SOURCE..."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the checkpoints, for --weights.")],
    overwrite: Overwrite = False,
) -> None:
    """Convert the weights published for the original method of 2020; then: bringback restore PHOTOS --weights OUT."""
    with _in_one_line("nothing was written"):
        from bringback.weights.wan2020.convert import ORIGINALS, absent, convert
        from bringback.weights.wan2020.convert import Converted as Done

        def tell(done: Done) -> None:
            typer.echo(f"{'passed over' if done.folder is None else done.folder}: {done.source} ({done.message})")

        convert(sources, out, overwrite=overwrite, on_file=tell)
        for name in absent(out):
            typer.echo(f"not there: {name} ({ORIGINALS[name].what})")
        typer.echo(f"written to {out}; to use it: bringback restore PHOTOS -o RESTORED --weights {out}")


@app.command()
def export(
    name: Annotated[
        str,
        typer.Argument(
            help="scratches, relight, tone, old_vae, mapping, clean_vae, faces or colorize.", metavar="NETWORK"
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="A file *.onnx, beside which other graphs of the network go, or a folder for all."
        ),
    ],
    weights: Weights = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a network as ONNX files, whose inputs and outputs say what they mean: for runtimes other than torch."""
    with _in_one_line("nothing was written"):
        from bringback.weights.onnx.export import export as run

        for path in run(name, out, weights, overwrite=overwrite):
            typer.echo(path)


@app.command()
def evaluate(
    photos: Annotated[Path, typer.Argument(help="Clean photos: a folder, a tar shard or a folder of shards.")],
    recipe: Annotated[
        str,
        typer.Option(
            help="unstructured, structured, mixed, holes, clean, grainy-bw, dark-noisy, ...; or a foreign program: "
            "foreign-wear, foreign-damage, enlarged-noise."
        ),
    ] = "",
    seed: Seed = 0,
    protocol: Annotated[
        str,
        typer.Option(
            help="In place of --recipe. default: five recipes and three foreign programs one after the other, in one "
            "table; restorers: six recipes, each by several methods."
        ),
    ] = "",
    methods: Annotated[
        str | None, typer.Option(help="Methods of --protocol restorers to run, separated by commas (all of them).")
    ] = None,
    subset: Annotated[
        int | None, typer.Option(help="Photos that the slow methods of --protocol restorers get (2).", min=1)
    ] = None,
    overlays: Overlays = None,
    old_photos: Annotated[
        list[Path] | None,
        typer.Option(
            help="Tar shard of real old photos, for --protocol; those held out from training are restored and judged "
            "by NIQE. May be given several times."
        ),
    ] = None,
    config: Config = None,
    stages: Stages = None,
    dtype: Dtype = "auto",
    weights: Weights = None,
    backbone: Annotated[
        str, typer.Option(help="vgg19, squeezenet1_1 or a file with either's weights: adds a perceptual distance.")
    ] = "",
    device: Device = "auto",
    limit: Annotated[int | None, typer.Option(help="At most so many photos.", min=1)] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Write a contact sheet of the first photos to this file (--protocol: folder).")
    ] = None,
    json_lines: Json = False,
) -> None:
    """Age clean photos, restore them, and tell PSNR and SSIM before and after, and how well damage is found."""
    with _in_one_line("nothing was kept"):
        if bool(protocol) == bool(recipe):
            raise ValueError("evaluate wants --recipe or --protocol, and not both")
        if protocol and seed:
            raise ValueError("--protocol has its own seed")
        if old_photos and protocol in ("", "restorers"):
            raise ValueError("--old-photos belongs to --protocol default")
        if protocol == "restorers" and (config or stages):
            raise ValueError("--protocol restorers chooses the stages itself: no --config, no --stages")
        if protocol != "restorers" and (methods is not None or subset):
            raise ValueError("--methods and --subset belong to --protocol restorers")
        from bringback.evaluation.comparison import SUBSET, restorers_table, run_restorers
        from bringback.evaluation.protocol import protocol_table, run_protocol
        from bringback.evaluation.real_photos import choose_old_photos, evaluate_old_photos
        from bringback.evaluation.runner import evaluate as run

        computing: dict[str, Any] = {"weights": weights, "device": device, "dtype": dtype}
        restoring = computing | {"config": config, "stages": _names(stages)}
        measuring: dict[str, Any] = {"overlays": overlays or [], "backbone": backbone, "limit": limit}
        old = choose_old_photos(old_photos, limit) if old_photos else []  # told at once if there are none
        console = Console(stderr=True)
        with console.status("evaluating") if console.is_terminal else _nothing() as status:
            if recipe:
                report = run(photos, recipe, seed, sheet=sheet, **restoring, **measuring)
                shown, known = report.table(), report.as_dict()
            elif protocol == "restorers":
                names = None if methods is None else [name.strip() for name in methods.split(",")]
                tell = None if status is None else lambda case: status.update(f"evaluating {case}")
                asked: dict[str, Any] = {"subset": subset or SUBSET, "sheets": sheet, "on_case": tell}
                by_method = run_restorers(photos, names, **asked, **computing, **measuring)
                shown = restorers_table(by_method)
                known = {name: {case: one.as_dict() for case, one in of.items()} for name, of in by_method.items()}
            else:
                reports = run_protocol(photos, protocol, sheets=sheet, **restoring, **measuring)
                shown, known = protocol_table(reports), {case: one.as_dict() for case, one in reports.items()}
                if old:
                    found = evaluate_old_photos(old, sheet=None if sheet is None else sheet / "old.png", **restoring)
                    shown, known = f"{shown}\n\n{found.table()}", known | {"old": found.as_dict()}
    typer.echo(json.dumps(known) if json_lines else shown)


weights_app = typer.Typer(no_args_is_help=True)
app.add_typer(weights_app, name="weights", help="What weights there are, where, and whether they are sound.")


@weights_app.command("list")
def weights_list(
    weights: Weights = None, revision: Revision = None, offline: Offline = False, json_lines: Json = False
) -> None:
    """Name, network, parameters, size, licence and SHA-256 of all weights that a restoration can load."""
    with _in_one_line("nothing was kept"):
        from bringback.weights.catalog import Weight, files, table

        found = [Weight.of(*one) for one in files(_checkpoints(weights, revision, offline)).items()]
    for line in [json.dumps(weight.as_dict()) for weight in found] if json_lines else [table(found)]:
        typer.echo(line)


@weights_app.command("where")
def weights_where(
    name: Annotated[str | None, typer.Argument(help="As `list` gives it; prints its folder and nothing else.")] = None,
    weights: Weights = None,
    revision: Revision = None,
    offline: Offline = False,
) -> None:
    """The folders that weights lie in, and the hub's cache."""
    with _in_one_line("nothing was kept"):
        from huggingface_hub.constants import HF_HUB_CACHE

        from bringback.weights.catalog import files

        folders = {key: file.parent for key, file in files(_checkpoints(weights, revision, offline)).items()}
        folders["hub"] = Path(HF_HUB_CACHE)
        if name is not None and name not in folders:
            raise ValueError(f"no weights {name!r}; there are {', '.join(folders)}")
    for key, folder in folders.items():
        if name in (None, key):
            typer.echo(f"{key:<16}{folder}" if name is None else folder)


@weights_app.command("verify")
def weights_verify(weights: Weights = None, revision: Revision = None, offline: Offline = False) -> None:
    """Check that all weights are what their model cards state, load, and are finite; exit code 1 if one is not."""
    with _in_one_line("nothing was kept"):
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
        raise typer.Exit(1)


@weights_app.command("pull")
def weights_pull(
    hub_id: Annotated[str, typer.Argument(help="Of checkpoints on the hub: org/name.", metavar="ID")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder to copy them to, as well; for machines without the hub.")
    ] = None,
    revision: Revision = None,
    offline: Offline = False,
    overwrite: Overwrite = False,
) -> None:
    """Download checkpoints into the hub's cache and verify them. What broke off goes on at the next try."""
    with _in_one_line("the same command goes on where it stopped"):
        from bringback.weights.catalog import pull, table

        folder, found = pull(hub_id, out, revision=revision, local_files_only=offline, overwrite=overwrite)
    typer.echo(table(found))
    place = hub_id if out is None else out
    if (folder / "model.safetensors").is_file():
        typer.echo(f"to use it, in Python: {found[-1].network}.from_pretrained({str(place)!r})")
    else:
        told = "" if revision is None or out else f" --revision {revision}"
        typer.echo(f"to use them: bringback restore PHOTOS -o RESTORED --weights {place}{told}")


def _checkpoints(weights: Path | None, revision: str | None, offline: bool) -> "Checkpoints":
    from bringback.weights.checkpoints import Checkpoints

    return Checkpoints(weights, revision=revision, local_files_only=offline)


@app.command()
def web(
    host: Annotated[str, typer.Option(help="Address to serve at; all but loopback lets others in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to serve at.", min=1, max=65535)] = 7860,
    device: Device = "auto",
    dtype: Dtype = "auto",
    config: Config = None,
    weights: Weights = None,
    revision: Revision = None,
    offline: Offline = False,
    engine: Engine = "torch",
    max_pixels: MaxPixels = None,
    max_file_size: Annotated[int, typer.Option(help="Refuse files of more MB.", min=1)] = 300,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Restore photos on a page in the browser: drop, edit what is damage, compare, download; nothing goes online."""
    with _in_one_line("the page is closed"):
        from bringback.runtime.memory import keep_tiles_in_heap
        from bringback.web.pipelines import Pipelines
        from bringback.web.server import is_loopback, served

        if not is_loopback(host):
            typer.echo(f"bringback: {host}: whoever reaches it may use the page, which asks no password", err=True)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what visitors brought is gone then, too
        keep_tiles_in_heap()
        computing: dict[str, Any] = {"device": device, "dtype": dtype, "engine": engine, "config": config}
        pipelines = Pipelines.from_pretrained(weights, revision=revision, local_files_only=offline, **computing)
        page: dict[str, Any] = {"max_file_size": max_file_size, "open_browser": open_browser}
        page |= {} if max_pixels is None else {"max_pixels": max_pixels}
        with suppress(KeyboardInterrupt), served(pipelines, host, port, **page) as url:
            typer.echo(f"serving at {url} until Ctrl-C")
            while True:
                time.sleep(3600)


def _of_faces(
    min_size: int | None, only_center_face: bool, fidelity: float | None, *, aligned: bool = False
) -> dict[str, dict[str, Any]]:
    """The settings of the stage `faces`, those that were given."""
    given = {"min_size": min_size, "only_center_face": only_center_face, "fidelity": fidelity, "aligned": aligned}
    return {"faces": {name: value for name, value in given.items() if value is not None and value is not False}}


def _methods(**methods: str | None) -> dict[str, dict[str, Any]]:
    """The settings of stages that do their work in one of several ways, those that were given."""
    return {stage: {"method": method} for stage, method in methods.items() if method is not None}


def _of_prior(fill: str | None, stages: str | None, **given: Any) -> dict[str, dict[str, Any]]:
    """The settings of the deep image prior, those that were given, for the stages that are to use it."""
    given = {name: value for name, value in given.items() if value is not None}
    users = {"fill": fill == "prior", "prior": "prior" in (_names(stages) or [])}
    if given and not any(users.values()):
        raise ValueError("--prior-form, --prior-seconds and --seed go with --fill prior or with prior in --stages")
    return {stage: given for stage, uses in users.items() if uses}


def _merged(*settings: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Settings of stages from several sources."""
    result: dict[str, dict[str, Any]] = {}
    for source in settings:
        for stage, given in source.items():
            result[stage] = result.get(stage, {}) | given
    return result


def _computing(dtype: str, tile: int | None, batch_size: int | None, memory: float | None) -> dict[str, Any]:
    """How to compute, for `Pipeline.from_pretrained`."""
    in_bytes = None if memory is None else int(memory * 1e9)
    return {"dtype": dtype, "tile": tile, "batch_size": batch_size, "memory": in_bytes}


def _names(stages: str | None) -> list[str] | None:
    if stages is None:
        return None
    names = [name.strip() for name in stages.split(",") if name.strip()]
    if not names:
        raise ValueError(f"--stages names no stage; they are {STAGES}")
    return names


def _one_of(overwrite: bool, skip_existing: bool) -> None:
    if overwrite and skip_existing:
        raise ValueError("--overwrite and --skip-existing exclude each other")


@contextmanager
def _in_one_line(after_ctrl_c: str) -> Iterator[None]:
    """Wrong usage and what is not installed end with one line and exit code 2, Ctrl-C with 130."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"bringback: interrupted; {after_ctrl_c}", err=True)
        raise typer.Exit(130) from None
    except (ValueError, OSError, ImportError) as error:
        typer.echo(f"bringback: {error}", err=True)
        raise typer.Exit(2) from None


def script(command: Callable[..., None]) -> None:
    """Run one command as a program of its own, as the scripts in inference/ do."""
    _show_any_name()
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    alone.command()(command)
    alone()


def _show_any_name() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # a name that the terminal cannot show


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _progress(
    json_lines: bool,
) -> Iterator[tuple[Callable[[int], None], Callable[["Entry"], None], Callable[["Fitted"], None]]]:
    """What is told while photos are worked on: JSON lines, a bar on a terminal, plain lines elsewhere."""
    if json_lines:
        from bringback.batch.manifest import as_line

        yield lambda total: None, lambda entry: typer.echo(as_line(entry)), lambda fitted: None
        return
    console = Console()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("photos")
        fitting = bar.add_task("prior, %", total=100, visible=False)

        def on_start(total: int) -> None:
            bar.update(task, total=total)

        def on_photo(entry: "Entry") -> None:
            if entry["status"] == "failed" or not console.is_terminal:
                console.print(_line(entry), markup=False, highlight=False, soft_wrap=True)
            bar.advance(task)

        def on_step(fitted: "Fitted") -> None:
            if fitted.iteration == 1:
                bar.reset(fitting)
            bar.update(fitting, completed=round(100 * fitted.done), visible=not fitted.finished)
            if fitted.finished:
                console.print(f"prior: {fitted}", markup=False, highlight=False, soft_wrap=True)

        yield on_start, on_photo, on_step


class _Planned:
    """Tells what a photo will take when it is the largest so far and large enough for that to matter."""

    WORTH_TELLING = 1_500_000_000  # bytes

    def __init__(self) -> None:
        self.most = self.WORTH_TELLING

    def __call__(self, photo: str, plan: "Plan") -> None:
        if plan.peak > self.most:
            self.most = plan.peak
            typer.echo(f"plan: {photo}, {plan}", err=True)


def _line(entry: "Entry") -> str:
    if entry["message"]:
        return f"{entry['status']}: {entry['message']}"
    faces: Any = entry["faces"]["count"]
    found = f", {faces} face{'s' * (faces != 1)}" if faces else ""
    return f"{entry['status']}: {entry['input']} ({entry['seconds']:.1f} s{found})"


def _finish(entries: list["Entry"], json_lines: bool, notes: list[str]) -> None:
    counts = Counter(entry["status"] for entry in entries)
    for note in notes:
        typer.echo(note, err=json_lines)
    if not json_lines:
        shown = [status for status in ("planned", "done", "skipped", "failed") if status != "planned" or counts[status]]
        typer.echo(", ".join(f"{counts[status]} {status}" for status in shown))
        for entry in entries:
            if entry["status"] == "failed":  # once more: they are far up by now
                typer.echo(_line(entry), err=True)
    if counts["failed"]:
        raise typer.Exit(1)
