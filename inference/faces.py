"""Make faces clear and nothing else: photos, or with --aligned crops of inference/align_faces.py, in; the same out.

python inference/faces.py PHOTOS -o OUT [--aligned] [--weights DIR] [--device auto] [--overwrite]
"""

from typing import TYPE_CHECKING, Annotated

import typer

from bringback.cli import Device, Inputs, Out, Overwrite, Weights, run_restore, script

if TYPE_CHECKING:
    from bringback.pipeline import Pipeline
    from bringback.restoration import Restoration
    from bringback.stages.faces import FaceRefiner

Aligned = Annotated[bool, typer.Option("--aligned", help="The pictures are crops of inference/align_faces.py.")]


class CropRefiner:
    """Refines a picture that is an aligned crop as a whole."""

    name = "aligned-faces"

    def __init__(self, refiner: "FaceRefiner") -> None:
        self.refiner = refiner

    def __call__(self, restoration: "Restoration") -> "Restoration":
        """Refine the crop; raises `PhotoError` when it is of another size."""
        from bringback.alignment import CROP
        from bringback.photo import PhotoError

        height, width = restoration.pixels.shape[-2:]
        if (height, width) != (CROP, CROP):
            raise PhotoError(f"an aligned crop is {CROP}x{CROP} pixels, this is {width}x{height}")
        restoration.pixels = self.refiner.refine(restoration.pixels)
        return restoration


def main(
    inputs: Inputs,
    out: Out,
    aligned: Aligned = False,
    weights: Weights = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Make faces clear and nothing else."""

    def load() -> "Pipeline":
        from bringback.pipeline import Pipeline

        pipeline = Pipeline.from_pretrained(weights, stages=["faces"], device=device)
        if aligned:
            pipeline.stages = [CropRefiner(pipeline.stages[0])]
        return pipeline

    run_restore(inputs, out, load, overwrite=overwrite)


if __name__ == "__main__":
    script(main)
