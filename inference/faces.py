"""Make faces clear and nothing else: a folder of photos, or with --aligned of 256x256 crops, in; the same files out.

python inference/faces.py photos -o clearer
"""

import argparse
import sys
from pathlib import Path

import torch

from bringback.alignment import CROP
from bringback.checkpoints import Checkpoints, MissingWeights
from bringback.codecs import SUFFIXES
from bringback.photo import Photo, PhotoError
from bringback.pipeline import pick_device
from bringback.restoration import Restoration
from bringback.stages.faces import FaceRefiner


def refine_crop(stage: FaceRefiner, photo: Photo, path: Path) -> Photo:
    """Refine one picture that is already an aligned crop."""
    height, width = photo.pixels.shape[:2]
    if (height, width) != (CROP, CROP):
        raise PhotoError(f"{path}: an aligned crop is {CROP}x{CROP} pixels, this is {width}x{height}")
    crop = torch.from_numpy(photo.pixels.transpose(2, 0, 1).copy())[None]
    return photo.with_pixels(stage.refine(crop)[0].permute(1, 2, 0).numpy())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", type=Path, help="a folder of photos, or one photo")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the folder to write to")
    parser.add_argument("--aligned", action="store_true", help="the pictures are crops of inference/align_faces.py")
    parser.add_argument("--weights", type=Path, help="a folder whose checkpoints go before the shipped ones")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()

    root = arguments.input if arguments.input.is_dir() else arguments.input.parent
    paths = sorted(root.rglob("*")) if arguments.input.is_dir() else [arguments.input]
    try:
        stage = FaceRefiner.from_checkpoints(Checkpoints(arguments.weights), pick_device(arguments.device))
    except (MissingWeights, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    failed = 0
    for path in [path for path in paths if path.suffix.lower() in SUFFIXES or path == arguments.input]:
        try:
            photo = Photo.read(path)
            if arguments.aligned:
                result, said = refine_crop(stage, photo, path), "refined"
            else:
                restoration = stage(Restoration.start(photo))
                result, said = restoration.result(), "; ".join(face.status for face in restoration.faces) or "no face"
            result.write(arguments.output / path.relative_to(root))
            print(f"{path.relative_to(root)}: {said}")
        except PhotoError as error:
            failed += 1
            print(error, file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
