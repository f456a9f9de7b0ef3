"""What shows through broad marks is kept by the fill."""

import cv2
import numpy as np
import torch
from skimage import data
from torch import Tensor

from bringback.images.photo import Photo
from bringback.ops.metrics import psnr
from bringback.ops.veils import seen_through
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
    assert seen_through(CAMERA, blot(4) > 0) == []
    assert seen_through(CAMERA, blot(12) > 0, scale=3.0) == []  # four of its own pixels


def test_detail_is_no_stronger_than_around_the_mark() -> None:
    mark, random = blot(40), torch.Generator().manual_seed(0)
    photo = 0.5 + 0.02 * torch.randn(1, 3, 160, 200, generator=random)
    photo = torch.where(mark > 0, 0.5 + 0.2 * torch.randn(1, 3, 160, 200, generator=random), photo)
    (_, _, detail), *others = seen_through(photo, mark > 0)
    assert not others and 0.005 < detail.float()[(blot(25) > 0).expand_as(detail)].std() < 0.02
