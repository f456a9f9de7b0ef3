"""Types of the command-line options and arguments that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

STAGES = "stains,scratches,tone,fill,translate,faces"
MORE_STAGES = "relight, prior, denoise, colorize, upscale"

# The panels of --help, each after the common options, in the order of a command's parameters
DAMAGE, FACES, COLOR, SIZE = "Damage", "Faces", "Color", "Size"
FILES, SPEED, WEIGHTS, EXPERT = "Files", "Speed and memory", "Weights", "Expert"

# Inputs and output

Inputs = Annotated[
    list[str],
    typer.Argument(help="Photos, folders with photos anywhere below them, or URLs (s3://, gs://).", metavar="INPUT"),
]
Out = Annotated[
    str,
    typer.Option(
        "--out",
        "-o",
        help="Folder or URL for the results, as a mirror of each input; or a file (x.jpg) for one photo.",
        metavar="OUT",
    ),
]
LocalInputs = Annotated[
    list[Path], typer.Argument(help="Photos, or folders with photos anywhere below them.", metavar="INPUT")
]
LocalOut = Annotated[
    Path, typer.Option("--out", "-o", help="Folder for the results; the tree of each input is mirrored.", metavar="OUT")
]
Mask = Annotated[
    Path | None,
    typer.Option(
        help="Damage mask of the photo (white: damaged), or a folder of masks named like the photos.",
        metavar="PATH",
        rich_help_panel=DAMAGE,
    ),
]
MaxPixels = Annotated[
    int | None,
    typer.Option(
        help="Refuse photos with more pixels, which may be crafted to exhaust the memory.",
        min=1,
        metavar="N",
        rich_help_panel=SPEED,
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Overwrite existing files.")]
SkipExisting = Annotated[bool, typer.Option("--skip-existing", help="Skip photos whose result exists.")]
StripMetadata = Annotated[
    bool,
    typer.Option(
        "--strip-metadata",
        help="Leave out EXIF, XMP, IPTC and texts; profile and resolution stay.",
        rich_help_panel=FILES,
    ),
]
Sidecars = Annotated[
    bool,
    typer.Option(
        "--sidecars",
        help="Copy captions and edits beside photos (.xmp, .json, .aae) to the results.",
        rich_help_panel=FILES,
    ),
]
KeepTimes = Annotated[
    bool,
    typer.Option(
        "--keep-times/--no-keep-times", help="Give results the file time of the photo.", rich_help_panel=FILES
    ),
]
FollowLinks = Annotated[
    bool,
    typer.Option(
        "--follow-links/--no-follow-links",
        help="Read linked folders, each once, or leave them out with a word.",
        rich_help_panel=FILES,
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Read all photos, report what would happen to each, and write nothing.")
]
SaveStages = Annotated[
    bool, typer.Option("--save-stages", help="Write OUT/stages/PHOTO/1-scratches.png ...", rich_help_panel=EXPERT)
]
Compare = Annotated[bool, typer.Option("--compare", help="Write before/after strips to OUT/compare/.")]
Review = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Write before/mask/after strips of photos that want a look to this folder."),
]
Split = Annotated[
    bool, typer.Option("--split", help="Split pages into prints first, in OUT/split/, and restore each print.")
]
Upright = Annotated[
    bool, typer.Option("--upright", help="Turn each print by 90 or 180 degrees if its faces ask for it.")
]
AreaBoxes = Annotated[
    list[str] | None,
    typer.Option(
        "--area",
        help="A picture area of the photos, in pixels, instead of those that are found; again for more. all: no frame.",
        metavar="LEFT,TOP,RIGHT,BOTTOM|all",
    ),
]
AreasFile = Annotated[
    Path | None,
    typer.Option("--areas", help="JSON with the picture areas of single photos, as in the manifest.", metavar="FILE"),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object per line and nothing else.")]

# The pipeline and its stages

Config = Annotated[
    str | None,
    typer.Option(
        "--preset",
        "--config",
        help="Pipeline to run: a YAML file, or lean, color, classical, paper, paper-quality, paper-hr.",
        metavar="NAME|FILE",
    ),
]
Stages = Annotated[
    str | None,
    typer.Option(
        help=f"Stages to run, separated by commas. lean runs {STAGES.replace(',', ', ')}; {MORE_STAGES} run only when "
        "they are named.",
        metavar="A,B",
    ),
]
Strength = Annotated[
    float, typer.Option(help="0 gives the original photo, 1 the full result; in between, a blend.", metavar="X")
]
Scale = Annotated[
    str,
    typer.Option(
        help="Native scale: how many times the photos can be shrunk without losing detail. 1 is sharp to the pixel.",
        metavar="auto|N",
        rich_help_panel=EXPERT,
    ),
]
ScratchMethod = Annotated[
    str | None,
    typer.Option(
        "--scratches",
        help="How damage is found: unet (default), or gradient, without a network.",
        metavar="NAME",
        rich_help_panel=DAMAGE,
    ),
]
FillMethod = Annotated[
    str | None,
    typer.Option(
        "--fill",
        help="How damage is filled: pushpull (default), telea, ns or prior.",
        metavar="NAME",
        rich_help_panel=DAMAGE,
    ),
]
Infrared = Annotated[
    str,
    typer.Option(
        help="Dust in the infrared channel of a film scan: auto finds it where there is one, off does not.",
        metavar="auto|off",
        rich_help_panel=DAMAGE,
    ),
]
PriorForm = Annotated[
    str | None,
    typer.Option(
        help="Network of the deep image prior: unet (default) or segnet.", metavar="NAME", rich_help_panel=EXPERT
    ),
]
PriorSeconds = Annotated[
    float | None,
    typer.Option(
        help="Time limit of the deep image prior per photo, in seconds (no limit).", metavar="X", rich_help_panel=EXPERT
    ),
]
PriorSeed = Annotated[
    int | None,
    typer.Option(
        "--seed", help="Random seed of the deep image prior (default 0).", metavar="N", rich_help_panel=EXPERT
    ),
]
FacesMinSize = Annotated[
    int | None,
    typer.Option(
        help="Skip faces whose box is less than so many pixels wide (default 32).",
        min=1,
        metavar="N",
        rich_help_panel=FACES,
    ),
]
OnlyCenterFace = Annotated[
    bool,
    typer.Option(
        "--only-center-face", help="Refine only the face nearest to the center of the photo.", rich_help_panel=FACES
    ),
]
FacesReview = Annotated[
    Path | None,
    typer.Option(
        help="Write a picture of each face, before and after, to this folder; done photos are not laid out again.",
        metavar="DIR",
        rich_help_panel=FACES,
    ),
]
Fidelity = Annotated[
    float | None,
    typer.Option(
        help="0 refines faces as much as possible (default), 1 keeps them as they are; in between, a blend.",
        metavar="X",
        rich_help_panel=FACES,
    ),
]
Negative = Annotated[
    bool, typer.Option("--negative", help="The photos are negatives: invert them first.", rich_help_panel=COLOR)
]
Saturation = Annotated[
    float | None,
    typer.Option(
        help="Colors of the stage colorize: 0 none, 1 as predicted (default), 2 twice that.",
        metavar="X",
        rich_help_panel=COLOR,
    ),
]
Upscale = Annotated[
    float | None,
    typer.Option(
        "--upscale",
        help="Enlarge the result so many times, up to 4: 2, 4, or 1.5.",
        metavar="X",
        rich_help_panel=SIZE,
    ),
]
UpscaleTo = Annotated[
    int | None,
    typer.Option(
        "--upscale-to",
        help="Enlarge the result to so many pixels of its longer side, up to 4 times; larger photos stay as they are.",
        min=1,
        metavar="PIXELS",
        rich_help_panel=SIZE,
    ),
]
UpscaleModel = Annotated[
    Path | None,
    typer.Option(
        "--upscale-model",
        help="Enlarge by this model of another program (.safetensors, .pth), which spandrel reads.",
        metavar="FILE",
        rich_help_panel=SIZE,
    ),
]

# Weights

Weights = Annotated[
    Path | None,
    typer.Option(
        help="Folder of checkpoints, or an id on the hub (org/name), that take precedence over the shipped ones.",
        metavar="DIR",
        rich_help_panel=WEIGHTS,
    ),
]
Revision = Annotated[
    str | None,
    typer.Option(help="Branch, tag or commit of weights on the hub (main).", metavar="NAME", rich_help_panel=WEIGHTS),
]
Offline = Annotated[
    bool,
    typer.Option(
        "--offline", help="Download nothing; weights from the hub come from its local cache.", rich_help_panel=WEIGHTS
    ),
]

# Computing

Device = Annotated[
    str,
    typer.Option(
        help="auto (CUDA, else MPS, else CPU), cuda, cuda:1, mps or cpu.", metavar="NAME", rich_help_panel=SPEED
    ),
]
Dtype = Annotated[
    str,
    typer.Option(
        help="Precision of the networks: float32, bfloat16, or auto (bfloat16 where the device has it).",
        metavar="NAME",
        rich_help_panel=SPEED,
    ),
]
Engine = Annotated[
    str,
    typer.Option(
        help="What runs the networks: torch, or onnx (onnxruntime, in float32).", metavar="NAME", rich_help_panel=SPEED
    ),
]
Tile = Annotated[
    int | None,
    typer.Option(
        help="Tile size of the networks, in pixels; smaller tiles need less memory.",
        min=128,
        metavar="N",
        rich_help_panel=SPEED,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        help="Tiles and faces per batch, and photos whose faces are refined together (CPU 1, GPU 8).",
        min=1,
        metavar="N",
        rich_help_panel=SPEED,
    ),
]
Memory = Annotated[
    float | None,
    typer.Option(
        help="Memory budget in GB; large photos get smaller tiles to stay within it (all there is).",
        min=0.1,
        metavar="GB",
        rich_help_panel=SPEED,
    ),
]

# Degrading clean photos

Recipe = Annotated[
    str, typer.Option(help="unstructured, structured, mixed, holes, clean, grainy-bw, dark-noisy, ...", metavar="NAME")
]
Seed = Annotated[
    int,
    typer.Option(
        help="Random seed. The damage of a photo also depends on its position in the list of photos: the same seed "
        "repeats the damage only for the same list.",
        min=0,
        metavar="N",
    ),
]
Overlays = Annotated[
    list[Path] | None, typer.Option(help="Tar shard of damage overlays; may be given several times.", metavar="TAR")
]
