"""Find the damage of photos; the same as `bringback scratches`.

python inference/scratches.py PHOTOS -o MASKS [--scratches gradient] [--device auto] ...
"""

from bringback.cli.main import script
from bringback.cli.scratches import scratches

if __name__ == "__main__":
    script(scratches)
