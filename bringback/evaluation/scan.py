"""The cases of a protocol as a scanner gives them at a multiple of their resolution. Pinned."""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

KERNELS = (cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)
BLUR = 0.6  # deviation in pixels of the scanner's optics
NOISE = 1.5  # deviation of its sensor's noise, in 8-bit levels
QUALITY = 92  # of the JPEG it writes
_MARK = "@"


def of_case(recipe: str) -> tuple[str, int]:
    """A recipe such as "structured@4": its name, and how many times the resolution of its photos the scanner has.

    Raises ValueError for a multiple that is not a whole number from 1 on.
    """
    name, _, times = recipe.partition(_MARK)
    if times and (not times.isdecimal() or int(times) < 1):
        raise ValueError(f"recipe {recipe!r}: after {_MARK} goes a whole number, the multiple of the resolution")
    return name, int(times or 1)


def scanned(photo: Tensor, times: int, seed: int) -> Tensor:
    """A photo (1, 3, H, W) in [0, 1] as a scanner of so many times its resolution gives it. Seeded, on the CPU."""
    random = np.random.default_rng(seed)
    large = _seen(photo, times, random)
    large = large + random.normal(0, NOISE / 255, large.shape)
    levels = (large * 255).round().clip(0, 255).astype(np.uint8)
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(levels[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1]
    return _tensor(decoded.astype(np.float32) / 255)


def truth(photo: Tensor, times: int, seed: int) -> Tensor:
    """What leaving a `scanned` photo alone shows, of the size of the photo (1, 3, H, W), but for noise and compression.

    The truth of undamaged photos, whose sharpness lost to the optics no restorer should be asked to bring back.
    """
    return shrunk(_tensor(_seen(photo, times, np.random.default_rng(seed))), times)


def enlarged_mask(mask: np.ndarray, times: int) -> np.ndarray:
    """A damage mask (H, W) at the scanner's resolution."""
    return cv2.resize(mask, None, fx=times, fy=times, interpolation=cv2.INTER_LINEAR)


def shrunk(pixels: Tensor, times: int) -> Tensor:
    """The mean of each cell of `times` x `times` pixels, (B, C, H, W) -> (B, C, H / times, W / times)."""
    return F.avg_pool2d(pixels, times)


def _seen(photo: Tensor, times: int, random: np.random.Generator) -> np.ndarray:
    kernel = KERNELS[random.integers(len(KERNELS))]
    array = np.ascontiguousarray(photo[0].permute(1, 2, 0).numpy())
    large = cv2.resize(array, None, fx=times, fy=times, interpolation=kernel).clip(0, 1)
    return cv2.GaussianBlur(large, (0, 0), BLUR)


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1), dtype=np.float32))[None]
