"""Find the damage of photos; the same as `bringback scratches`.

python inference/scratches.py PHOTOS -o MASKS [--device auto]
"""

import typer

from bringback.cli import scratches

if __name__ == "__main__":
    typer.run(scratches)
