"""Undo fading and color casts, measured outside the damage that --mask marks.

python inference/tone.py PHOTOS -o OUT [--mask MASKS] [--weights DIR] [--device auto] [--overwrite]
"""

from bringback.cli.main import script
from bringback.cli.options import Device, Inputs, Mask, Out, Overwrite, Weights
from bringback.cli.restore import restore


def main(
    inputs: Inputs,
    out: Out,
    mask: Mask = None,
    weights: Weights = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Undo fading and color casts, measured outside the damage that --mask marks."""
    restore(inputs, out, stages="tone", mask=mask, weights=weights, device=device, overwrite=overwrite)


if __name__ == "__main__":
    script(main)
