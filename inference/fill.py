"""Fill the damage that --mask marks from its surroundings.

python inference/fill.py PHOTOS -o OUT --mask MASKS [--fill telea] [--weights DIR] [--device auto] [--overwrite]
"""

from bringback.cli.main import script
from bringback.cli.options import Device, FillMethod, Inputs, Mask, Out, Overwrite, Weights
from bringback.cli.restore import restore


def main(
    inputs: Inputs,
    out: Out,
    mask: Mask,
    fill: FillMethod = None,
    weights: Weights = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Fill the damage that --mask marks from its surroundings."""
    restore(inputs, out, stages="fill", mask=mask, fill=fill, weights=weights, device=device, overwrite=overwrite)


if __name__ == "__main__":
    script(main)
