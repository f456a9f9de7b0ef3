"""The shipped weights on free pictures, aged by our own recipes: pictures get better, and good ones are not spoiled."""

import numpy as np
import pytest
import torch

from bringback import Pipeline
from bringback.degradations import degrade
from bringback.degradations.rng import photo_seed
from bringback.images.photo import Photo
from bringback.ops.color import luminance
from bringback.ops.masks import dilate_edges, fill_mask
from bringback.ops.metrics import psnr
from bringback.ops.push_pull import fill
from bringback.stages.faces.alignment import align, similarity
from bringback.stages.faces.detector import FaceFinder
from bringback.stages.faces.identity import identity_distances
from bringback.stages.faces.stage import FaceRefiner
from bringback.weights.checkpoints import Checkpoints

PICTURES = ("astronaut", "coffee", "chelsea", "rocket")


@pytest.fixture(scope="module")
def pictures() -> list[torch.Tensor]:
    from skimage import data

    crops = [getattr(data, name)()[:256, 100:356] for name in PICTURES]
    return [torch.from_numpy(crop.copy()).permute(2, 0, 1)[None].float() / 255 for crop in crops]


def gain(pictures: list[torch.Tensor], recipe: str, stages: tuple[str, ...]) -> tuple[float, float]:
    """Mean PSNR before and after, in dB, over the pictures aged by two seeds each."""
    pipeline = Pipeline.from_pretrained(stages=stages, device="cpu")
    before, after = [], []
    for index, clean in enumerate(pictures * 2):
        sample = degrade(clean, recipe, [photo_seed(7, index)])
        given = sample.mask[0, 0].numpy() if recipe == "holes" else None
        aged = Photo.from_array(np.ascontiguousarray(sample.aged[0].permute(1, 2, 0).numpy()))
        restored = pipeline.restore(aged, given).pixels
        seen = [luminance(x) if sample.gray[0] else x for x in (sample.aged, restored, sample.truth)]
        before.append(float(psnr(seen[0], seen[2])))
        after.append(float(psnr(seen[1], seen[2])))
    return float(np.mean(before)), float(np.mean(after))


@pytest.mark.parametrize(
    ("recipe", "stages", "least"),
    [
        ("structured", ("scratches", "fill"), 1.0),
        ("mixed", ("tone",), 0.5),
        ("unstructured", ("translate",), 0.0),
        ("holes", ("fill", "translate"), 4.0),
        ("mixed", ("scratches", "tone", "fill", "translate"), 1.0),
    ],
)
def test_each_stage_brings_pictures_back(
    recipe: str, stages: tuple[str, ...], least: float, pictures: list[torch.Tensor]
) -> None:
    before, after = gain(pictures, recipe, stages)
    assert after > before + least


def test_clean_pictures_stay_clean(pictures: list[torch.Tensor]) -> None:
    assert gain(pictures, "clean", ("scratches", "tone", "fill", "translate", "faces"))[1] > 28


def test_faces_come_nearer_to_who_they_are() -> None:
    from skimage import data

    photo = data.astronaut().astype(np.float32) / 255
    (face,) = FaceFinder().find(photo)
    crop = torch.from_numpy(align(photo, similarity(face.points)).transpose(2, 0, 1).copy())[None]
    stage = FaceRefiner.from_checkpoints(Checkpoints(), torch.device("cpu"))
    crops = torch.cat([crop, crop.flip(3)]).repeat(6, 1, 1, 1)
    aged = degrade(crops, "faces", range(12))
    holes = fill_mask(dilate_edges(aged.damage()))
    before = fill(aged.aged, holes)
    after = stage.refine(before, holes)
    assert (psnr(after, aged.truth) - psnr(before, aged.truth)).mean() > 0.7
    distances = [np.mean(identity_distances(picture, aged.truth)) for picture in (before, after)]
    assert distances[1] < 0.95 * distances[0]
    assert psnr(stage.refine(crop), crop) > 33
