"""Give grey and sepia photos colours; --hint tells one that is known, and may be given several times.

python inference/colorize.py PHOTOS -o OUT [--saturation 1] [--hint 120,340,#7a1f1f] [--weights DIR] [--overwrite]
"""

from typing import Annotated

import typer

from bringback.cli.main import Device, OutPlace, Overwrite, Places, Saturation, Weights, run_restore, script


def main(
    inputs: Places,
    out: OutPlace,
    saturation: Saturation = None,
    hint: Annotated[list[str] | None, typer.Option(help="X,Y,#RRGGBB: the colour at a pixel.")] = None,
    weights: Weights = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Give grey and sepia photos colours; --hint tells one that is known, and may be given several times."""

    def load():  # noqa: ANN202 # Pipeline, which brings torch
        from bringback.pipeline import Pipeline

        settings = {
            "saturation": 1.0 if saturation is None else saturation,
            "hints": [_hint(text) for text in hint or []],
        }
        return Pipeline.from_pretrained(weights, stages=["colorize"], device=device, settings={"colorize": settings})

    run_restore(inputs, out, load, overwrite=overwrite)


def _hint(text: str) -> list:
    try:
        x, y, colour = text.split(",")
        return [float(x), float(y), colour]
    except ValueError:
        raise ValueError(f"--hint {text}: wants X,Y,#RRGGBB") from None


if __name__ == "__main__":
    script(main)
