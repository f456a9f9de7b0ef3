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
SMALLEST = 8  # pixels of a side, below which nothing can be drawn
MOST_SOFT = 3.0  # times as many pixels a side as they need


def composed(pixels: Tensor, draws: Draws) -> DegradedBatch:
    """Draw damage on photos (B, 3, H, W) in [0, 1], beside and instead of innocent things that look like it.

    Two in five are gray. The truth has the innocent things, which belong to the photo.
    """
    aged: list[Tensor] = []
    truth: list[Tensor] = []
    masks: list[Tensor] = []
    for photo, seed in zip(pixels, draws.integers(0, 2**62), strict=True):
        for pictures, picture in zip((aged, truth, masks), _composed(photo, np.random.default_rng(seed)), strict=True):
            pictures.append(picture.to(pixels.device))
    return completed(torch.stack(aged), torch.stack(truth), torch.stack(masks))


def _composed(photo: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    height, width = photo.shape[-2:]
    if random.random() < 0.4:
        photo = luminance(photo[None])[0].expand(3, -1, -1)
    if min(height, width) < SMALLEST:
        return photo, photo, torch.zeros_like(photo[:1])
    print_ = np.ascontiguousarray(photo.permute(1, 2, 0).cpu().numpy())
    soft = MOST_SOFT ** random.random() if random.random() < SOFT else 1.0
    if soft > 1:  # a piece of it, enlarged: marks on it are as sharp as the scan, or as soft as the photo
        rows, columns = (math.ceil(length / soft) for length in (height, width))
        print_ = cv2.resize(print_[:rows, :columns], (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    unit = float(0.6 * 6 ** random.random()) * (soft if random.random() < 0.5 else 1.0)
    canvas = Canvas(random, height, width, min(unit, 6.0))
    damaging = random.random() >= SOUND
    print_ = with_innocents(canvas, print_, 0.35 if damaging else 0.6)
    marked, mask = print_, np.zeros((height, width), np.float32)
    if damaging:
        marked, mask = damaged(canvas, print_, float(random.uniform(0.4, 1.6)))
    aged, truth = (torch.from_numpy(np.ascontiguousarray(x.transpose(2, 0, 1))).float() for x in (marked, print_))
    return aged, truth, torch.from_numpy(mask)[None]
