"""Colorize gray and sepia photos; --hint gives a known color, and may be repeated.

python inference/colorize.py PHOTOS -o OUT [--saturation 1] [--hint 120,340,#7a1f1f] [--weights DIR] [--overwrite]
"""

from typing import TYPE_CHECKING, Annotated

import typer

from bringback.cli.main import script
from bringback.cli.options import Device, Inputs, Out, Overwrite, Saturation, Weights
from bringback.cli.restore import run_restore

if TYPE_CHECKING:
    from bringback.pipeline import Pipeline


def main(
    inputs: Inputs,
    out: Out,
    saturation: Saturation = None,
    hint: Annotated[list[str] | None, typer.Option(help="X,Y,#RRGGBB: the color at a pixel.")] = None,
    weights: Weights = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Colorize gray and sepia photos; --hint gives a known color, and may be repeated."""

    def load() -> "Pipeline":
        from bringback.pipeline import Pipeline

        settings = {
            "saturation": 1.0 if saturation is None else saturation,
            "hints": [_hint(text) for text in hint or []],
        }
        return Pipeline.from_pretrained(weights, stages=["colorize"], device=device, settings={"colorize": settings})

    run_restore(inputs, out, load, overwrite=overwrite)


def _hint(text: str) -> list:
    try:
        x, y, color = text.split(",")
        return [float(x), float(y), color]
    except ValueError:
        raise ValueError(f"--hint {text}: wants X,Y,#RRGGBB") from None


if __name__ == "__main__":
    script(main)
