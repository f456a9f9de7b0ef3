"""Fit NIQE's model of pristine photos: mean and covariance over sharp patches of clean photos.

python benchmarks/fit_niqe.py data/photos-train-*.tar -o bringback/evaluation/niqe.safetensors
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from bringback.evaluation.niqe import MODEL, PATCH, gaussian, patch_features
from bringback.evaluation.runner import read_photos

SHARP = 0.75  # minimum sharpness relative to the photo's sharpest patch, as in the paper
ROOMY = 4 * PATCH  # minimum short side: with few patches, the sharpest one need not be sharp


def sharp_features(place: Path) -> list[Tensor]:
    """Features (N, 36) of the sharp patches of each large enough photo in a folder or shard."""
    found = []
    for _, picture in read_photos(place):
        if isinstance(picture, Tensor) and min(picture.shape[-2:]) >= ROOMY:
            features, sharpness = patch_features(picture)
            if len(features):
                found.append(features[sharpness > SHARP * sharpness.max()])
    return found


def main() -> None:
    """Parse arguments, fit, write the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="+", help="folders or tar shards of clean photos")
    parser.add_argument("-o", "--out", type=Path, default=MODEL)
    options = parser.parse_args()
    photos = [features for place in options.photos for features in sharp_features(place)]
    mean, covariance = gaussian(torch.cat(photos))
    save_file({"mean": mean.float(), "covariance": covariance.float()}, options.out)
    eigenvalues = torch.linalg.eigvalsh(covariance)
    print(f"{sum(map(len, photos))} patches of {len(photos)} photos -> {options.out}")
    print(f"eigenvalues of the covariance from {eigenvalues[0]:.1e} to {eigenvalues[-1]:.1e}")


if __name__ == "__main__":
    main()
