"""Give light to dark photos and take noise, salt and pepper out of them; bright places stay as they are.

python inference/relight.py PHOTOS -o OUT [--weights DIR] [--device auto] [--overwrite]
"""

from bringback.cli.main import Device, OutPlace, Overwrite, Places, Weights, restore, script


def main(
    inputs: Places,
    out: OutPlace,
    weights: Weights = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Give light to dark photos and take noise, salt and pepper out of them; bright places stay as they are."""
    restore(inputs, out, stages="relight", weights=weights, device=device, overwrite=overwrite)


if __name__ == "__main__":
    script(main)
