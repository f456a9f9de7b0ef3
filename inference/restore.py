"""Restore photos end to end; the same as `bringback restore`.

python inference/restore.py PHOTOS -o OUT [--device auto] [--stages scratches,tone,fill,translate,faces] ...
"""

import typer

from bringback.cli import restore

if __name__ == "__main__":
    typer.run(restore)
