"""Crops of portraits that were aged and restored whole, as lessons of `faces` (its option `restored`).

python train/restored_portraits.py data/faces-train-*.tar \
    --overlays data/damage-train-*.tar -o data/restored.safetensors

Each portrait is aged once by a training recipe, restored by the stages before `faces`, and its faces are cut as that
stage cuts them: at the points that are found in the restored photo, with the fill and the scale of a real restoration.
A portrait takes a second of a CPU core.
"""

import argparse
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from bringback.degradations import OverlayBank, degrade
from bringback.degradations.rng import named_seed
from bringback.errors import PhotoError
from bringback.evaluation.runner import as_array, read_photos, rounded
from bringback.images.photo import Photo
from bringback.pipeline import Pipeline
from bringback.stages.faces.alignment import align
from bringback.stages.faces.stage import FaceRefiner
from bringback.stages.record import Restoration
from bringback.weights.checkpoints import Checkpoints

STAGES = ("scratches", "fill", "translate")  # no `tone`: the truth of these recipes has the tones of the aged photo


def as_bytes(crop: Tensor) -> Tensor:
    """A crop in [0, 1] in 8 bits."""
    return (crop.clamp(0, 1) * 255).round().byte()


@torch.inference_mode()
def main() -> None:
    """Parse arguments, age, restore, cut and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("portraits", nargs="+", type=Path, help="folders and tar shards of portraits, not aligned")
    parser.add_argument("-o", "--output", required=True, type=Path, help="the file to write")
    parser.add_argument("--overlays", type=Path, nargs="*", default=[], help="tar shards of damage to lay on")
    parser.add_argument("--recipe", default="translation")
    parser.add_argument("--weights", type=Path, help="a folder of checkpoints in place of the shipped ones")
    parser.add_argument("--seed", type=int, default=0, help="another number ages each portrait in another way")
    parser.add_argument("--limit", type=int, help="no more portraits of each shard than this")
    arguments = parser.parse_args()

    cv2.setNumThreads(1)
    before = Pipeline.from_pretrained(arguments.weights, stages=STAGES)
    refiner = FaceRefiner.from_checkpoints(Checkpoints(arguments.weights), before.compute)
    bank = OverlayBank.from_shards(arguments.overlays) if arguments.overlays else None
    lessons: dict[str, list[Tensor]] = defaultdict(list)
    for name, clean in (one for place in arguments.portraits for one in read_photos(place, arguments.limit)):
        if isinstance(clean, PhotoError):
            print(f"left out: {clean}", file=sys.stderr)
            continue
        sample = degrade(clean, arguments.recipe, [named_seed(arguments.seed, name)], bank)
        states: list[Restoration] = []

        def keep(stage: str, one: Restoration, into: list[Restoration] = states) -> None:
            if stage == STAGES[-1]:
                into.append(replace(one, pixels=one.pixels.clone()))

        before.restore(Photo.from_array(as_array(rounded(sample.aged))), on_stage=keep)
        faces, truth = refiner.aligned_faces(states[0]), as_array(sample.truth)
        for number, matrix in enumerate(faces.matrices):
            wanted = torch.from_numpy(np.ascontiguousarray(align(truth, matrix).transpose(2, 0, 1)))
            for key, crop in (("aged", faces.crops[number]), ("came", faces.came[number]), ("truth", wanted)):
                lessons[key].append(as_bytes(crop))
            lessons["mask"].append(as_bytes(faces.filled[number]))
    if not lessons:
        raise SystemExit("no face was found in any portrait")
    save_file({key: torch.stack(crops) for key, crops in lessons.items()}, arguments.output)
    print(f"{len(lessons['truth'])} faces")


if __name__ == "__main__":
    main()
