"""Undo fading and colour casts, measured outside of the damage.

python inference/tone.py PHOTO -o RESULT [--mask MASK] [--weights DIR] [--device auto]
"""

import argparse
from pathlib import Path

import torch

from bringback.checkpoints import Checkpoints
from bringback.photo import Photo
from bringback.pipeline import mask_array, pick_device
from bringback.restoration import Restoration
from bringback.stages.tone import ToneCorrector

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("photo", type=Path)
parser.add_argument("-o", "--out", type=Path, required=True, help="file for the result")
parser.add_argument("--mask", type=Path, help="damage mask of the photo's size, white where it is damaged")
parser.add_argument("--weights", type=Path, help="folder of checkpoints that go before the shipped ones")
parser.add_argument("--device", default="auto")


def main(arguments: argparse.Namespace) -> None:
    stage = ToneCorrector.from_checkpoints(Checkpoints(arguments.weights), pick_device(arguments.device))
    mask = mask_array(arguments.mask) if arguments.mask else None
    restoration = Restoration.start(Photo.read(arguments.photo), mask)
    with torch.inference_mode():
        restoration.pixels = stage.correct(restoration.pixels, restoration.damage())
    restoration.result().write(arguments.out)


if __name__ == "__main__":
    main(parser.parse_args())
