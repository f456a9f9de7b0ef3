"""Training recipes: prints at another scale than sharp to the pixel and of the usual size."""

import math

import cv2
import numpy as np
import torch
from torch import Tensor

from bringback.degradations.eval_recipes import DegradedBatch, Overlays, clean, completed, unstructured
from bringback.degradations.rng import Draws
from bringback.degradations.scan import KERNELS, scanner
from bringback.ops.scale import shrink


def rescanned(pixels: Tensor, draws: Draws, overlays: Overlays) -> DegradedBatch:
    """A worn or sound print from a scanner of 1.15 to 2.5 times its resolution; the truth is as soft as the scan.

    Otherwise the networks sharpen whatever is softer than their sharp photos.
    """
    side = pixels.shape[-2:]
    aged: list[Tensor] = []
    truth: list[Tensor] = []
    for i, seed in enumerate(draws.integers(0, 2**62)):
        random = np.random.default_rng(seed)
        factor, blur = 1.15 * (2.5 / 1.15) ** random.random(), float(random.uniform(0.3, 1.0))
        kernel, scan = KERNELS[random.integers(len(KERNELS))], scanner(random, blurs=False)
        height, width = (min(math.ceil(length / factor) + 4, length) for length in side)
        piece = pixels[i : i + 1, :, :height, :width]
        worn = unstructured if random.random() < 0.65 else clean
        print_ = worn(piece, draws[[i]], None)
        for photo, scans in ((print_.aged, aged), (print_.truth, truth)):
            array = np.ascontiguousarray(photo[0].permute(1, 2, 0).cpu().numpy())
            large = cv2.resize(array, None, fx=factor, fy=factor, interpolation=kernel)
            soft = cv2.GaussianBlur(large, (0, 0), blur)[: side[0], : side[1]].clip(0, 1)
            seen = scan(soft) if scans is aged else soft
            scans.append(torch.from_numpy(np.ascontiguousarray(seen.transpose(2, 0, 1))))
    return completed(torch.stack(aged).to(pixels.device), torch.stack(truth).to(pixels.device))


def dense(pixels: Tensor, draws: Draws, overlays: Overlays) -> DegradedBatch:
    """A small sound photo, all its detail as fine as a pixel, as the file has it: shrunk 2 to 6 times and mirrored.

    Otherwise the gate takes what is busy everywhere for grain.
    """
    made: list[Tensor] = []
    for photo, factor in zip(pixels.split(1), draws.uniform(math.log(2), math.log(6)).exp().flatten(), strict=True):
        small = shrink(photo, float(factor))
        for axis in (-2, -1):
            own, length = small.shape[axis], pixels.shape[axis]
            place = torch.arange(length, device=pixels.device) % (2 * own)
            small = small.index_select(axis, torch.minimum(place, 2 * own - 1 - place))
        made.append(small)
    photos = torch.cat(made)
    return completed(photos, photos.clone())
