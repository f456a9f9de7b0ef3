"""Remove noise, blur and compression artifacts by latent translation; --mask marks damage, already filled.

python inference/translate.py PHOTOS -o OUT [--mask MASKS] [--weights DIR] [--device auto] [--overwrite]
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
    """Remove noise, blur and compression artifacts by latent translation; --mask marks damage, already filled."""
    restore(inputs, out, stages="translate", mask=mask, weights=weights, device=device, overwrite=overwrite)


if __name__ == "__main__":
    script(main)
