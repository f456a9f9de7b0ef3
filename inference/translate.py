"""Take noise, blur and compression away by the latent translation; --mask tells the damage, already filled.

python inference/translate.py PHOTOS -o OUT [--mask MASKS] [--weights DIR] [--device auto] [--overwrite]
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
    """Take noise, blur and compression away by the latent translation; --mask tells the damage, already filled."""
    restore(inputs, out, stages="translate", mask=mask, weights=weights, device=device, overwrite=overwrite)


if __name__ == "__main__":
    script(main)
