"""Dust and scratches by the infrared channel of a film scan, where they are dark and the dyes of the film are clear.

As in Digital ICE (Edgar 1993, US patent 5,266,805, expired), but with robust statistics: the logarithm of infrared is
flattened, what the visible picture tells of it (dyes are not perfectly clear, least of all cyan) is taken away by a
linear fit, and what is darker than the noise of the rest is damage.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.ops.scale import enlarged_rows
from bringback.ops.strips import strips

FLOOR = 1 / 64  # added to levels in [0, 1] before the logarithm
BACKGROUND = 96  # pixels of the longer side, of the medians by which light and film base are flattened
AROUND = 2  # pixels of it on each side, that a median is taken of
# The fit is to the means of blocks, in which it matters little that infrared is out of register; and to how many.
BLOCK, SAMPLES = 8, 100_000
ROUNDS, TRIM = 4, 3.0  # of the fit, and the times of the noise beyond which a pixel is left out of the next one
DAMPING = 1e-6  # for colors that are all alike, as in a gray photo
# Damage is darker by DARK times the noise, and by 8 % at least: in a quiet scan less is seen by the channel alone.
DARK, QUIET = 5.0, 0.016
APART = 2  # pixels by which infrared and picture may be out of register
GROWN = 1  # pixels by which damage is grown: seen edges are wider, and blurred; 2 cost 0.8 dB where scans were made
# The picture itself is in the infrared of silver film (and of what is no infrared at all): it explains most of it, by
# correlation, and with much of its own contrast. Dyes explain some, with little contrast.
ALIKE, CONTRAST = 0.5, 0.35
NOISY = 0.06  # deviation of the logarithms, above which the channel is none of dust
SAME = 0.9  # share of pixels that are exactly like the next one, above which it is drawn (a selection), not scanned
MOST = 0.2  # share of a photo; no dust covers more


@dataclass(slots=True)
class Dust:
    """Damage by infrared: a mask (1, 1, H, W) in [0, 1], from 0.5 on damaged; or None and the reason, one line."""

    mask: Tensor | None
    refused: str = ""


def find_dust(infrared: np.ndarray, pixels: Tensor) -> Dust:
    """The dust of a photo (1, 3, H, W) in [0, 1] by its infrared channel (H, W), uint8 or uint16, clear film bright.

    Computed in strips of rows. Refused are photos that are seen in their infrared, as on black-and-white film, and a
    channel without noise, as a selection that was saved, or one that finds more than a fifth of them damaged.
    """
    height, width = infrared.shape
    same = sum(np.count_nonzero(infrared[rows, 1:] == infrared[rows, :-1]) for rows in strips(pixels))
    if same > SAME * height * (width - 1):
        return Dust(None, "the infrared channel has no noise (a selection?): not used to find dust")
    small = _background(pixels, infrared)

    def flat(rows: slice) -> Tensor:
        light = _planes(pixels[..., rows, :], infrared[rows])
        return light.sub_(enlarged_rows(small, rows, (height, width), "bilinear"))

    step = max(BLOCK, round((height * width / SAMPLES) ** 0.5))
    blocks, points = [], []
    for rows in strips(pixels):
        planes = flat(rows)
        blocks.append(F.avg_pool2d(planes, BLOCK, stride=step, ceil_mode=True)[0].flatten(1))
        points.append(planes[0, :, :: step // 2, :: step // 2].flatten(1))
    samples = torch.cat(blocks, 1).T.double()
    weights, kept = _fit(samples)
    middle, noise = _spread(_left(torch.cat(points, 1).T.double(), weights))
    told = samples[kept, :-1] @ weights
    alike = float(told.std(correction=0) / samples[kept, -1].std(correction=0).clamp_min(1e-9))
    contrast = float(told.std(correction=0) / samples[kept, :3].mean(1).std(correction=0).clamp_min(1e-9))
    if (alike > ALIKE and contrast > CONTRAST) or noise > NOISY:
        return Dust(None, "the infrared channel shows the picture (black-and-white film?): not used to find dust")
    mask = torch.zeros_like(pixels[:, :1])
    margin = APART + GROWN
    for rows in strips(pixels):
        wide = slice(max(0, rows.start - margin), min(height, rows.stop + margin))
        planes = flat(wide)
        told = torch.einsum("bchw,c->bhw", planes[:, :-1], weights.to(planes))[:, None] + middle
        dark = (_around(-told, APART).neg_() - planes[:, -1:]) / (2 * DARK * noise)
        inner = slice(rows.start - wide.start, min(rows.stop, height) - wide.start)
        mask[..., rows, :] = _around(dark.clamp_(0, 1), GROWN)[..., inner, :]
    share = int(torch.count_nonzero(mask > 0.5)) / mask.numel()
    if share > MOST:
        return Dust(None, f"the infrared channel marks {100 * share:.0f} %: not used to find dust")
    return Dust(mask)


def _planes(pixels: Tensor, infrared: np.ndarray) -> Tensor:
    """(1, N, h, w): colors in three ways, as the curve from density to level is not known; logarithm of infrared."""
    level = torch.from_numpy(infrared / np.float32(np.iinfo(infrared.dtype).max))[None, None].to(pixels)
    return torch.cat([(pixels + FLOOR).log_(), pixels, pixels.square(), level.add_(FLOOR).log_()], 1)


def _background(pixels: Tensor, infrared: np.ndarray) -> Tensor:
    """The planes of the photo at most `BACKGROUND` pixels large, each the median of its surroundings."""
    height, width = infrared.shape
    times = max(1.0, max(height, width) / BACKGROUND)
    size = max(1, round(height / times)), max(1, round(width / times))
    few = cv2.resize(infrared, size[::-1], interpolation=cv2.INTER_AREA)
    small = _planes(F.interpolate(pixels, size, mode="area"), few)
    windows = F.pad(small, [AROUND] * 4, mode="replicate").unfold(2, 2 * AROUND + 1, 1).unfold(3, 2 * AROUND + 1, 1)
    return windows.flatten(4).median(-1).values


def _fit(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Of planes (samples, N): the weights (N - 1,) by which the colors tell infrared, and which samples fit.

    A trimmed fit: damage is dark in infrared and seen in the picture, so it would be taken for a part of the picture.
    """
    weights = torch.zeros(samples.shape[1] - 1, dtype=samples.dtype)
    for _ in range(ROUNDS):
        left = _left(samples, weights)
        middle, noise = _spread(left)
        kept = (left - middle).abs() <= TRIM * noise
        known = samples[kept, :-1] - samples[kept, :-1].mean(0)
        damping = DAMPING * len(known) * torch.eye(len(weights), dtype=samples.dtype)
        weights = torch.linalg.solve(known.T @ known + damping, known.T @ samples[kept, -1])
    return weights, kept


def _left(samples: Tensor, weights: Tensor) -> Tensor:
    return samples[:, -1] - samples[:, :-1] @ weights


def _spread(values: Tensor) -> tuple[float, float]:
    """Median, and the deviation by the median of absolute deviations, at least `QUIET`."""
    middle = values.median()
    return float(middle), max(float(1.4826 * (values - middle).abs().median()), QUIET)


def _around(planes: Tensor, reach: int) -> Tensor:
    """The largest value within `reach` pixels."""
    return F.max_pool2d(planes, 2 * reach + 1, stride=1, padding=reach)
