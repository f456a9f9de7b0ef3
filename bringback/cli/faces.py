"""`bringback faces`: refine faces only."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from bringback.cli import options
from bringback.cli.restore import run_restore
from bringback.cli.settings import compute_settings, faces_settings

if TYPE_CHECKING:
    from bringback.pipeline import Pipeline

Aligned = Annotated[
    bool,
    typer.Option(
        "--aligned",
        help="The inputs are 256x256 crops, as inference/align_faces.py makes them (paper-hr: 512x512).",
        rich_help_panel=options.FACES,
    ),
]


def faces(
    inputs: options.Inputs,
    out: options.Out,
    aligned: Aligned = False,
    faces_min_size: options.FacesMinSize = None,
    only_center_face: options.OnlyCenterFace = False,
    fidelity: options.Fidelity = None,
    faces_review: options.FacesReview = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    batch_size: options.BatchSize = None,
    config: options.Config = None,
    weights: options.Weights = None,
    revision: options.Revision = None,
    offline: options.Offline = False,
    overwrite: options.Overwrite = False,
    skip_existing: options.SkipExisting = False,
    json_lines: options.Json = False,
    scale: options.Scale = "auto",
) -> None:
    """Refine faces and change nothing else. Takes photos, or with --aligned crops of faces, and writes the same."""

    def load() -> "Pipeline":
        from bringback.pipeline import Pipeline

        return Pipeline.from_pretrained(
            weights,
            revision=revision,
            local_files_only=offline,
            config=config,
            stages=["faces"],
            device=device,
            **compute_settings(dtype, batch_size=batch_size),
            scale=scale,
            settings=faces_settings(faces_min_size, only_center_face, fidelity, aligned=aligned),
        )

    choices: dict[str, Any] = {"overwrite": overwrite, "skip_existing": skip_existing, "faces_review": faces_review}
    run_restore(inputs, out, load, json_lines=json_lines, **choices)
