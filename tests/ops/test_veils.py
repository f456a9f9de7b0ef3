"""What shows through broad marks is kept by the fill."""

import cv2
import numpy as np
import pytest
import torch
from skimage import data
from torch import Tensor

from bringback.images.photo import Photo
from bringback.ops import veils
from bringback.ops.areas import Area
from bringback.ops.metrics import psnr
from bringback.ops.veils import detail_under
from bringback.stages.fill import HoleFiller
from bringback.stages.record import Restoration

CAMERA = torch.from_numpy(data.camera()[100:260, 150:350] / 255).float()[None, None].expand(1, 3, -1, -1)


def blot(radius: int) -> Tensor:
    """A round mark (1, 1, 160, 200) of 0 and 1."""
    mark = np.zeros((160, 200), np.uint8)
    cv2.circle(mark, (100, 80), radius, 1, -1)
    return torch.from_numpy(mark).float()[None, None]


def filled(mark: Tensor, opaque: float, *, found: bool = True) -> Tensor:
    """The photo under a white mark, filled."""
    aged = CAMERA + (0.95 - CAMERA) * mark * opaque
    restoration = Restoration.start(Photo.from_array(aged[0].permute(1, 2, 0).numpy()))
    restoration.mask, restoration.seen = mark, mark > 0 if found else None
    return HoleFiller()(restoration).pixels


def test_detail_shows_through_a_stain() -> None:
    mark = blot(40)
    veiled, smooth = filled(mark, 0.6), filled(mark, 0.6, found=False)
    assert psnr(veiled, CAMERA).item() > psnr(smooth, CAMERA).item() + 0.5
    assert torch.equal(veiled * (1 - mark), smooth * (1 - mark))


def test_nothing_shows_through_opaque_thin_or_given_marks() -> None:
    mark = blot(40)
    assert torch.allclose(filled(mark, 1.0), filled(mark, 1.0, found=False), atol=2e-3)
    assert detail_under(CAMERA, blot(4) > 0, blot(4) == 0) == []
    assert detail_under(CAMERA, blot(12) > 0, blot(12) == 0, scale=3.0) == []  # four of its own pixels


def test_detail_is_no_stronger_than_around_the_mark() -> None:
    mark, random = blot(40), torch.Generator().manual_seed(0)
    photo = 0.5 + 0.02 * torch.randn(1, 3, 160, 200, generator=random)
    photo = torch.where(mark > 0, 0.5 + 0.2 * torch.randn(1, 3, 160, 200, generator=random), photo)
    (_, _, detail), *others = detail_under(photo, mark > 0, mark == 0)
    assert not others and 0.005 < detail.float()[(blot(25) > 0).expand_as(detail)].std() < 0.02


def test_detail_shows_in_the_middle_of_wide_marks() -> None:
    mark = torch.zeros(1, 1, 400, 400)
    mark[..., 40:360, 40:360] = 1
    photo = 0.5 + 0.05 * torch.randn(1, 3, 400, 400, generator=torch.Generator().manual_seed(0))
    (_, _, detail), *others = detail_under(torch.where(mark > 0, 0.7 + 0.3 * photo, photo), mark > 0, mark == 0)
    middle, rim = (detail[..., at : at + 40, 180:220].float().std() for at in (180, 60))
    assert not others and middle > 0.01 and (middle / rim - 1).abs() < 0.1


def test_where_a_photo_is_cut_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    mark = torch.maximum(blot(70), blot(30).roll(90, -1))
    found = []
    for tile in (1000, 36):
        monkeypatch.setattr(veils, "_TILE", tile)
        found.append(torch.full_like(CAMERA, 0.5))
        veils.add_detail_(found[-1], detail_under(CAMERA, mark > 0, mark == 0, scale=1.8))
    assert found[0].std() > 0.02 and (found[0] - found[1]).abs().max() < 1e-3


def test_a_frame_is_not_the_picture_around_a_mark() -> None:
    mark, results = blot(40), []
    for frame in (0.5, 1.0):
        photo = torch.where(mark > 0, 0.8 * CAMERA, 0.5 * CAMERA)
        photo[..., :60] = frame
        restoration = Restoration.start(Photo.from_array(photo[0].permute(1, 2, 0).numpy()))
        restoration.areas = (Area.of({"box": (60, 0, 200, 160), "radii": (9, 9)}),)  # round ones are filled from inside
        restoration.mask, restoration.seen = mark, mark > 0
        results.append(HoleFiller()(restoration).pixels * mark)
    assert torch.equal(*results)
