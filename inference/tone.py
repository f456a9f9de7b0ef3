"""Undo fading and colour casts, measured outside of the damage that --mask tells.

python inference/tone.py PHOTOS -o OUT [--mask MASKS] [--weights DIR] [--device auto] [--overwrite]
"""

from bringback.cli.main import Device, Mask, OutPlace, Overwrite, Places, Weights, restore, script


def main(
    inputs: Places,
    out: OutPlace,
    mask: Mask = None,
    weights: Weights = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Undo fading and colour casts, measured outside of the damage that --mask tells."""
    restore(inputs, out, stages="tone", mask=mask, weights=weights, device=device, overwrite=overwrite)


if __name__ == "__main__":
    script(main)
