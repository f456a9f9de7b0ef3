"""Brighten dark photos and remove noise, salt and pepper from them; bright places stay as they are.

python inference/relight.py PHOTOS -o OUT [--weights DIR] [--device auto] [--overwrite]
"""

from bringback.cli.main import script
from bringback.cli.options import Device, Inputs, Out, Overwrite, Weights
from bringback.cli.restore import restore


def main(
    inputs: Inputs,
    out: Out,
    weights: Weights = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Brighten dark photos and remove noise, salt and pepper from them; bright places stay as they are."""
    restore(inputs, out, stages="relight", weights=weights, device=device, overwrite=overwrite)


if __name__ == "__main__":
    script(main)
