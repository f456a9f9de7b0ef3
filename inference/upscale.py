"""Enlarge photos as they are, twice or up to four times; nothing else is done to them.

python inference/upscale.py PHOTOS -o OUT [--upscale 2 | --upscale-to PIXELS] [--upscale-model FILE] [--weights DIR]
[--device auto] [--overwrite]
"""

from bringback.cli.main import script
from bringback.cli.options import Device, Inputs, Out, Overwrite, Upscale, UpscaleModel, UpscaleTo, Weights
from bringback.cli.restore import restore


def main(
    inputs: Inputs,
    out: Out,
    upscale: Upscale = None,
    upscale_to: UpscaleTo = None,
    upscale_model: UpscaleModel = None,
    weights: Weights = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Enlarge photos as they are, twice or up to four times."""
    restore(
        inputs,
        out,
        stages="upscale",
        upscale=upscale,
        upscale_to=upscale_to,
        upscale_model=upscale_model,
        weights=weights,
        device=device,
        overwrite=overwrite,
    )


if __name__ == "__main__":
    script(main)
