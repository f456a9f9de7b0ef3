"""Refine faces only, of photos or (--aligned) of crops from inference/align_faces.py; the same as `bringback faces`.

python inference/faces.py PHOTOS -o OUT [--aligned] [--fidelity 0.3] [--only-center-face] [--faces-min-size 60]
"""

from bringback.cli.faces import faces
from bringback.cli.main import script

if __name__ == "__main__":
    script(faces)
