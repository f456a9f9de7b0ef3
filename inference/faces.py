"""Make faces clear and nothing else: photos in, or with --aligned crops of inference/align_faces.py; the same out.

python inference/faces.py PHOTOS -o OUT [--aligned] [--fidelity 0.3] [--only-center-face] [--faces-min-size 60]
"""

from bringback.cli.main import faces, script

if __name__ == "__main__":
    script(faces)
