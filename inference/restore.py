"""Restore photos end to end; the same as `bringback restore`.

python inference/restore.py PHOTOS -o OUT [--device auto] [--preset classical] [--scratches gradient] [--fill telea] ...
"""

from bringback.cli.main import script
from bringback.cli.restore import restore

if __name__ == "__main__":
    script(restore)
