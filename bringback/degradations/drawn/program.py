"""Photos with innocent things and drawn damage on them, at many scales."""

import math

import cv2
import numpy as np
import torch
from torch import Tensor

from bringback.degradations.drawn.canvas import Canvas
from bringback.degradations.drawn.damage import damaged
from bringback.degradations.drawn.innocents import with_innocents
from bringback.degradations.eval_recipes import DegradedBatch, completed
from bringback.degradations.rng import Draws
from bringback.ops.color import luminance

SOUND = 0.4  # share of the photos without damage
SOFT = 0.35  # share of the photos that show less detail than they have pixels
MOST_SOFT = 3.0  # times as many pixels a side as they need


def composed(pixels: Tensor, draws: Draws) -> DegradedBatch:
    """Draw damage on photos (B, 3, H, W) in [0, 1], beside and instead of innocent things that look like it.

    Two in five are gray. The truth has the innocent things, which belong to the photo.
    """
    aged, truth, masks = [], [], []
    for photo, seed in zip(pixels, draws.integers(0, 2**62), strict=True):
        for pictures, picture in zip((aged, truth, masks), _composed(photo, np.random.default_rng(seed)), strict=True):
            pictures.append(picture.to(pixels.device))
    return completed(torch.stack(aged), torch.stack(truth), torch.stack(masks))


def _composed(photo: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    height, width = photo.shape[-2:]
    if random.random() < 0.4:
        photo = luminance(photo[None])[0].expand(3, -1, -1)
    truth = np.ascontiguousarray(photo.permute(1, 2, 0).cpu().numpy())
    soft = MOST_SOFT ** random.random() if random.random() < SOFT else 1.0
    if soft > 1:  # a piece of it, enlarged: marks on it are as sharp as the scan, or as soft as the photo
        rows, columns = (math.ceil(length / soft) for length in (height, width))
        truth = cv2.resize(truth[:rows, :columns], (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    unit = float(0.6 * 6 ** random.random()) * (soft if random.random() < 0.5 else 1.0)
    canvas = Canvas(random, height, width, min(unit, 6.0))
    sound = random.random() < SOUND
    truth = with_innocents(canvas, truth, 0.6 if sound else 0.35)
    aged, mask = truth, np.zeros((height, width), np.float32)
    if not sound:
        aged, mask = damaged(canvas, truth, float(random.uniform(0.4, 1.6)))
    aged, truth = (torch.from_numpy(np.ascontiguousarray(x.transpose(2, 0, 1))).float() for x in (aged, truth))
    return aged, truth, torch.from_numpy(mask)[None]
