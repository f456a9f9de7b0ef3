"""Types of the command-line options and arguments that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

STAGES = "scratches,tone,fill,translate,faces"
MORE_STAGES = "relight, prior, denoise, colorize"

# Inputs and output

Inputs = Annotated[
    list[str],
    typer.Argument(help="Photos, folders with photos anywhere below them, or URLs (s3://, gs://).", metavar="INPUT..."),
]
Out = Annotated[
    str, typer.Option("--out", "-o", help="Folder or URL for the results; the tree of each input is mirrored.")
]
LocalInputs = Annotated[
    list[Path], typer.Argument(help="Photos, or folders with photos anywhere below them.", metavar="INPUT...")
]
LocalOut = Annotated[
    Path, typer.Option("--out", "-o", help="Folder for the results; the tree of each input is mirrored.")
]
Mask = Annotated[
    Path | None,
    typer.Option(help="Damage mask of the photo (white: damaged), or a folder of masks named like the photos."),
]
MaxPixels = Annotated[
    int | None,
    typer.Option(help="Refuse photos with more pixels, which may be crafted to exhaust the memory.", min=1),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Overwrite existing files.")]
SkipExisting = Annotated[bool, typer.Option("--skip-existing", help="Skip photos whose result exists.")]
StripMetadata = Annotated[
    bool,
    typer.Option("--strip-metadata", help="Leave out EXIF, XMP, IPTC and texts; profile and resolution stay."),
]
Sidecars = Annotated[
    bool, typer.Option("--sidecars", help="Copy captions and edits beside photos (.xmp, .json, .aae) to the results.")
]
KeepTimes = Annotated[
    bool, typer.Option("--keep-times/--no-keep-times", help="Give results the file time of the photo.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Read all photos, report what would happen to each, and write nothing.")
]
SaveStages = Annotated[bool, typer.Option("--save-stages", help="Write OUT/stages/PHOTO/1-scratches.png ...")]
Compare = Annotated[bool, typer.Option("--compare", help="Write before/after strips to OUT/compare/.")]
Review = Annotated[
    Path | None, typer.Option(help="Write before/mask/after strips of photos that want a look to this folder.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object per line and nothing else.")]

# The pipeline and its stages

Config = Annotated[
    str | None,
    typer.Option(
        "--config",
        "--preset",
        help="Pipeline to run: a YAML file, or lean, color, classical, paper, paper-quality, paper-hr.",
    ),
]
Stages = Annotated[
    str | None,
    typer.Option(
        help=f"Stages to run, separated by commas. lean runs {STAGES}, and {MORE_STAGES} only when they are named."
    ),
]
Strength = Annotated[float, typer.Option(help="0 gives the original photo, 1 the full result; in between, a blend.")]
Scale = Annotated[
    str,
    typer.Option(
        metavar="auto|N",
        help="Native scale: how many times the photos can be shrunk without losing detail. 1 is sharp to the pixel.",
    ),
]
ScratchMethod = Annotated[
    str | None,
    typer.Option("--scratches", help="How damage is found: unet (default), or gradient, without a network."),
]
FillMethod = Annotated[
    str | None, typer.Option("--fill", help="How damage is filled: pushpull (default), telea, ns or prior.")
]
PriorForm = Annotated[str | None, typer.Option(help="Network of the deep image prior: unet (default) or segnet.")]
PriorSeconds = Annotated[
    float | None, typer.Option(help="Time limit of the deep image prior per photo, in seconds (no limit).")
]
PriorSeed = Annotated[int | None, typer.Option("--seed", help="Random seed of the deep image prior (default 0).")]
FacesMinSize = Annotated[
    int | None, typer.Option(help="Skip faces whose box is less than so many pixels wide (default 32).", min=1)
]
OnlyCenterFace = Annotated[
    bool, typer.Option("--only-center-face", help="Refine only the face nearest to the center of the photo.")
]
Fidelity = Annotated[
    float | None,
    typer.Option(help="0 refines faces as much as possible (default), 1 keeps them as they are; in between, a blend."),
]
Saturation = Annotated[
    float | None,
    typer.Option(help="Colors of the stage colorize: 0 none, 1 as predicted (default), 2 twice that."),
]

# Weights

Weights = Annotated[
    Path | None,
    typer.Option(
        help="Folder of checkpoints, or an id on the hub (org/name), that take precedence over the shipped ones."
    ),
]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of weights on the hub (main).")]
Offline = Annotated[
    bool, typer.Option("--offline", help="Download nothing; weights from the hub come from its local cache.")
]

# Computing

Device = Annotated[str, typer.Option(help="auto (CUDA, else MPS, else CPU), cuda, cuda:1, mps or cpu.")]
Dtype = Annotated[
    str, typer.Option(help="Precision of the networks: float32, bfloat16, or auto (bfloat16 where the device has it).")
]
Engine = Annotated[str, typer.Option(help="What runs the networks: torch, or onnx (onnxruntime, in float32).")]
Tile = Annotated[
    int | None, typer.Option(help="Tile size of the networks, in pixels; smaller tiles need less memory.", min=128)
]
BatchSize = Annotated[
    int | None,
    typer.Option(help="Tiles and faces per batch, and photos whose faces are refined together (CPU 1, GPU 8).", min=1),
]
Memory = Annotated[
    float | None,
    typer.Option(help="Memory budget in GB; large photos get smaller tiles to stay within it (all there is).", min=0.1),
]

# Degrading clean photos

Recipe = Annotated[str, typer.Option(help="unstructured, structured, mixed, holes, clean, grainy-bw, dark-noisy, ...")]
Seed = Annotated[
    int,
    typer.Option(
        help="Random seed. The damage of a photo also depends on its position in the list of photos: the same seed "
        "repeats the damage only for the same list.",
        min=0,
    ),
]
Overlays = Annotated[list[Path] | None, typer.Option(help="Tar shard of damage overlays; may be given several times.")]
