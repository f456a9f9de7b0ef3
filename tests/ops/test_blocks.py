import io

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from bringback.ops.blocks import Blocks, without_blocks
from bringback.ops.metrics import psnr


def photo(height: int, width: int) -> Tensor:
    """Smooth forms and a little fine texture, as in a photo."""
    noise = np.random.default_rng(3).normal(size=(height, width, 3)).astype(np.float32)
    forms = cv2.GaussianBlur(noise, (0, 0), 6) * 3 + cv2.GaussianBlur(noise, (0, 0), 1.5) * 0.4
    return torch.from_numpy((forms + 0.5).clip(0, 1).transpose(2, 0, 1))[None]


def resized(pixels: Tensor, height: int, width: int, way: int) -> Tensor:
    array = pixels[0].permute(1, 2, 0).numpy()
    return torch.from_numpy(cv2.resize(array, (width, height), interpolation=way).transpose(2, 0, 1))[None]


def levels(pixels: Tensor) -> Tensor:
    return (pixels * 255).round() / 255


@pytest.mark.parametrize(
    ("side", "way"),
    [(1.31, cv2.INTER_NEAREST), (2, cv2.INTER_NEAREST_EXACT), (2.6, cv2.INTER_NEAREST_EXACT), (5, cv2.INTER_NEAREST)],
)
def test_repeated_pixels_are_found_and_smoothed(side: float, way: int) -> None:
    whole = photo(360, 300)
    small = resized(whole, round(360 / side), round(300 / side), cv2.INTER_AREA)
    blocky = levels(resized(small, 360, 300, way))
    part = blocky[..., 7:, 11:-3]  # cut by someone, amid blocks
    blocks = Blocks.find(part)
    assert blocks is not None
    assert blocks.side == pytest.approx(side, rel=0.01)
    smooth = blocks.smoothed(part)
    before, after = (psnr(one, whole[..., 7:, 11:-3]).item() for one in (part, smooth))
    # OpenCV's older way moves a picture by half a pixel
    assert after > before + (1.5 if way == cv2.INTER_NEAREST_EXACT else 0.2)
    assert torch.equal(without_blocks(part), smooth)
    assert torch.equal(without_blocks(torch.cat([part, whole[..., 7:, 11:-3]]))[1:], whole[..., 7:, 11:-3])


def test_blocks_are_known_under_a_little_noise() -> None:
    small = resized(photo(360, 300), 150, 125, cv2.INTER_AREA)
    blocky = resized(small, 360, 300, cv2.INTER_NEAREST_EXACT)
    found = Blocks.find(levels(blocky + 0.01 * torch.randn(blocky.shape, generator=torch.Generator().manual_seed(1))))
    assert found is not None
    assert found.side == 2.4


def test_what_was_laid_on_blocks_later_stays_as_sharp() -> None:
    small = resized(photo(360, 300), 90, 75, cv2.INTER_AREA)
    blocky = levels(resized(small, 360, 300, cv2.INTER_NEAREST_EXACT))
    array = np.ascontiguousarray((blocky[0] * 255).round().byte().permute(1, 2, 0).numpy())
    cv2.putText(array, "1932", (220, 340), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (0, 0, 0), 2, cv2.LINE_AA)
    written = torch.from_numpy(array.transpose(2, 0, 1))[None] / 255
    ink = ((written - blocky).abs().amax(1) > 0.2)[0]
    smooth = without_blocks(written)
    assert torch.equal(smooth[..., ink], written[..., ink])
    assert psnr(smooth[..., :300, :], without_blocks(blocky)[..., :300, :]) > 60  # the rest as without
    speck = blocky.clone()
    speck[..., 181, 141] = 1 - speck[..., 181, 141].round()
    assert not (without_blocks(speck)[..., 181, 141] == speck[..., 181, 141]).any()  # alone it is an impulse


def test_what_is_not_made_of_blocks_stays() -> None:
    whole = levels(photo(360, 300))
    assert without_blocks(whole) is whole
    for way in (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4):
        assert Blocks.find(levels(resized(resized(whole, 150, 125, cv2.INTER_AREA), 360, 300, way))) is None
    file = io.BytesIO()
    Image.fromarray((whole[0] * 255).byte().permute(1, 2, 0).numpy()).save(file, "JPEG", quality=2)
    strong = torch.from_numpy(np.asarray(Image.open(file)).copy()).permute(2, 0, 1)[None] / 255
    assert Blocks.find(strong) is None
    assert Blocks.find(whole[..., :20, :20]) is None
    assert Blocks.find(torch.full((1, 3, 100, 100), 0.5)) is None


def test_pictures_that_are_meant_so_stay() -> None:
    cells = torch.randint(0, 4, (1, 1, 60, 50), generator=torch.Generator().manual_seed(2)).float() / 3
    art = cells.expand(-1, 3, -1, -1).repeat_interleave(6, -1).repeat_interleave(6, -2)
    assert Blocks.find(art) is None  # few tones
    flat = photo(60, 50)
    flat[..., 10:50, :] = 0.7
    flat[..., 6:44] = 0.7
    assert Blocks.find(levels(flat).repeat_interleave(6, -1).repeat_interleave(6, -2)) is None
