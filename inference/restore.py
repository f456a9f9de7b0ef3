"""Restore photos end to end; the same as `bringback restore`.

python inference/restore.py PHOTOS -o OUT [--device auto] [--preset classical] [--scratches gradient] [--fill telea] ...
"""

from bringback.cli.main import restore, script

if __name__ == "__main__":
    script(restore)
