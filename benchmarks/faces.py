"""What the face network is worth: aligned crops are degraded blind, refined, and compared with the truth.

python benchmarks/faces.py aligned-val.tar --weights runs/faces

PSNR (dB, higher is better; luminance where the degraded crop is grey) and dlib descriptor distance (lower is better,
0.6 is another person) to the truth, before and after, for the generator alone and for the stage with its guards.
"""

import argparse
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bringback.aging import age
from bringback.checkpoints import Checkpoints
from bringback.face_finder import identity_distances
from bringback.metrics import luminance, psnr
from bringback.photo import Photo
from bringback.pipeline import pick_device
from bringback.shards import read_shards
from bringback.stages.faces import FaceRefiner


def read_crops(path: Path, limit: int) -> Tensor:
    """The first crops of a tar shard as (B, 3, 256, 256) in [0, 1]."""
    crops = [Photo.decode(data, name).pixels for name, data in islice(read_shards(path), limit)]
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous()


def main() -> None:
    """Read the arguments, degrade, refine, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("crops", type=Path, help="a tar shard written by inference/align_faces.py")
    parser.add_argument("--weights", type=Path, help="a folder whose checkpoints go before the shipped ones")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=1000, help="no more crops than this")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()

    device = pick_device(arguments.device)
    stage = FaceRefiner.from_checkpoints(Checkpoints(arguments.weights), device)
    clean = read_crops(arguments.crops, arguments.limit)
    aged = age(clean, "faces", range(arguments.seed, arguments.seed + len(clean)))
    with torch.no_grad():
        generated = torch.cat([stage.generator(part.to(device)).cpu() for part in aged.aged.split(stage.batch)])
    truth_is_grey = aged.grey.view(-1, 1, 1, 1)

    print(f"{len(clean)} faces          PSNR   identity   nearer the truth in PSNR, in identity")
    before_quality, before_identity = None, None
    results = {"degraded": aged.aged, "generator": generated.clamp(0, 1), "stage": stage.refine(aged.aged)}
    for name, crops in results.items():
        seen = torch.where(truth_is_grey, luminance(crops).expand_as(crops), crops)
        quality = psnr(seen, aged.truth)
        identity = torch.tensor(identity_distances(crops, aged.truth))
        line = f"{name:16s} {quality.mean():8.2f} {identity.mean():10.4f}"
        if before_quality is None or before_identity is None:
            before_quality, before_identity = quality, identity
        else:
            better = (quality > before_quality).float().mean(), (identity < before_identity).float().mean()
            line += f"   {better[0]:.0%}, {better[1]:.0%}"
        print(line)


if __name__ == "__main__":
    main()
