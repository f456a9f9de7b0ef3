"""Ageing as a transform and as a dataset, with a real DataLoader and with torchvision's transforms."""

import pickle
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from bringback.errors import PhotoError
from bringback.integrations.transforms import Age, AgedPairs


class Pair(NamedTuple):
    """A sample."""

    image: torch.Tensor
    label: int


@pytest.fixture
def photo(pixels: np.ndarray) -> torch.Tensor:
    """(3, 48, 64)."""
    return torch.from_numpy(pixels).permute(2, 0, 1) / 255


@pytest.mark.parametrize("shape", [(3, 48, 64), (1, 48, 64), (2, 3, 48, 64)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.uint8])
def test_tensors_give_tensors_and_differ_from_what_came(photo, shape, dtype):
    picture = photo[: shape[-3]].expand(shape)
    picture = (picture * 255).to(dtype) if dtype == torch.uint8 else picture.to(dtype)
    made, mask = Age("mixed", return_mask=True)(picture)
    assert (made.dtype, made.shape) == (dtype, picture.shape) and not torch.equal(made, picture)
    assert mask.shape == (*shape[:-3], 1, 48, 64) and 0 <= mask.min() <= mask.max() <= 1
    if len(shape) == 4:  # each in its own way
        assert not torch.equal(made[0], made[1])


def test_pillow_images_give_pillow_images(pixels):
    image = Image.fromarray(pixels)
    for mode in ("RGB", "L", "RGBA"):
        made = Age("unstructured")(image.convert(mode))
        assert (made.mode, made.size) == (mode, image.size)
        assert np.any(np.asarray(made) != np.asarray(image.convert(mode)))


def test_torch_s_seed_repeats_it_and_another_call_does_not(photo):
    transform = Age("mixed")
    torch.manual_seed(3)
    first, second = transform(photo), transform(photo)
    torch.manual_seed(3)
    assert torch.equal(transform(photo), first) and not torch.equal(first, second)


def test_what_is_not_damaged_stays_exactly(photo):
    torch.manual_seed(0)
    aged, mask = Age("structured", return_mask=True)(photo)
    sound = (mask == 0).expand_as(photo)
    assert 0.2 < sound.float().mean() < 1 and torch.equal(aged[sound], photo[sound])
    assert (aged[~sound] != photo[~sound]).any()


def test_of_a_sample_the_picture_is_aged(photo):
    transform = Age("unstructured")
    boxes = torch.zeros(2, 4)
    made, same, label = transform(photo, boxes, 7)
    assert not torch.equal(made, photo) and same is boxes and label == 7
    sample = transform({"label": 3, "image": photo})
    assert sample["label"] == 3 and sample["image"].shape == photo.shape
    assert isinstance(transform([photo, 1]), list)
    pair = Pair(photo, 4)
    assert isinstance(transform(pair), Pair) and not torch.equal(transform(pair).image, photo)
    for wrong in ((boxes, 1), "photo", torch.zeros(5), torch.zeros(3, 4, 4, dtype=torch.long)):
        with pytest.raises(PhotoError):
            transform(wrong)


def test_it_goes_into_torchvision_s_compose(photo, torchvision):
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    chain = v2.Compose([v2.RandomHorizontalFlip(1.0), Age("unstructured"), v2.ToDtype(torch.float32, scale=True)])
    image = tv_tensors.Image((photo * 255).to(torch.uint8))
    made, label = chain(image, 5)
    assert isinstance(made, tv_tensors.Image) and made.dtype == torch.float32 and label == 5
    flipped = photo.flip(2)
    assert 0 < (made - flipped).abs().mean() < (made - photo).abs().mean()
    flip = v2.Compose([Age("structured", return_mask=True), v2.RandomHorizontalFlip(1.0)])
    torch.manual_seed(0)
    there, mask = flip(image)
    torch.manual_seed(0)
    here, own = Age("structured", return_mask=True)(image)
    assert isinstance(mask, tv_tensors.Mask) and torch.equal(there.flip(2), here) and torch.equal(mask.flip(2), own)
    both = {"mask": tv_tensors.Mask(image), "plain": photo, "image": image}
    aged = Age("mixed")(both)
    assert torch.equal(aged["mask"], both["mask"]) and aged["plain"] is photo and not torch.equal(aged["image"], image)
    assert pickle.loads(pickle.dumps(chain)).transforms[1].recipe == "unstructured"


def test_pairs_are_the_same_by_any_number_of_workers(pictures: Path):
    pairs = AgedPairs(pictures, "mixed", resolution=64)
    alone, shared = (list(DataLoader(pairs, batch_size=2, num_workers=workers)) for workers in (0, 2))
    assert [len(batch["aged"]) for batch in alone] == [2, 1]
    for one, other in zip(alone, shared, strict=True):
        assert one.keys() == {"aged", "clean", "mask"}
        for key, value in one.items():
            assert torch.equal(value, other[key]) and value.shape[-2:] == (64, 64)
    pairs.set_epoch(1)
    assert not torch.equal(pairs[0]["aged"], alone[0]["aged"][0])


def test_pairs_are_whole_or_enlarged_and_exact(pictures: Path):
    whole = AgedPairs(pictures, "structured", resolution=None)[1]
    assert whole["clean"].shape == (3, 300, 300)
    sound = (whole["mask"] == 0).expand(3, -1, -1)
    assert torch.equal(whole["aged"][sound], whole["clean"][sound])
    assert AgedPairs(pictures, "clean", resolution=320)[0]["clean"].shape == (3, 320, 320)


def test_what_cannot_be_is_said_in_one_line(tmp_path: Path, pictures: Path):
    with pytest.raises(ValueError, match="unknown recipe 'rusty'"):
        Age("rusty")
    with pytest.raises(ValueError, match="unknown recipe"):
        AgedPairs(pictures, "rusty")
    (tmp_path / "empty").mkdir()
    with pytest.raises(PhotoError, match="no pictures"):
        AgedPairs(tmp_path / "empty")
    (pictures / "broken.png").write_bytes(b"no")
    broken = AgedPairs(pictures)
    with pytest.raises(PhotoError, match=r"broken\.png"):
        [broken[index] for index in range(len(broken))]
