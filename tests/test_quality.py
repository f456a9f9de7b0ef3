"""The shipped weights on free pictures, aged by our own recipes: pictures get better, and good ones are not spoiled."""

import numpy as np
import pytest
import torch

from bringback import Pipeline
from bringback.aging import age
from bringback.evaluate import photo_seed
from bringback.metrics import luminance, psnr
from bringback.photo import Photo

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
        sample = age(clean, recipe, [photo_seed(7, index)])
        given = sample.mask[0, 0].numpy() if recipe == "holes" else None
        aged = Photo.from_array(np.ascontiguousarray(sample.aged[0].permute(1, 2, 0).numpy()))
        restored = pipeline.restore(aged, given).pixels
        seen = [luminance(x) if sample.grey[0] else x for x in (sample.aged, restored, sample.truth)]
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
