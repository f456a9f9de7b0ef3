"""Fill the damaged places, which --mask tells, from what surrounds them.

python inference/fill.py PHOTOS -o OUT --mask MASKS [--fill telea] [--weights DIR] [--device auto] [--overwrite]
"""

from bringback.cli.main import Device, Fill, Mask, OutPlace, Overwrite, Places, Weights, restore, script


def main(
    inputs: Places,
    out: OutPlace,
    mask: Mask,
    fill: Fill = None,
    weights: Weights = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Fill the damaged places, which --mask tells, from what surrounds them."""
    restore(inputs, out, stages="fill", mask=mask, fill=fill, weights=weights, device=device, overwrite=overwrite)


if __name__ == "__main__":
    script(main)
