"""Losses shared by the tasks."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.checkpoints import load_distance
from bringback.nets.squeezenet import PerceptualDistance
from bringback.training.config import ConfigError


def charbonnier(a: Tensor, b: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Smooth L1 (Charbonnier et al. 1994): mean of sqrt((a - b)^2 + epsilon^2)."""
    return torch.sqrt((a - b).square() + epsilon**2).mean()


def entropy_dice(logits: Tensor, mask: Tensor, rare: float = 2.0) -> Tensor:
    """Cross-entropy with soft targets, damage weighted 1 + `rare` times, plus a Dice term (Milletari et al. 2016).

    Args: logits, mask (B, 1, H, W), mask in [0, 1]. The weight makes damage look more frequent than it is; the logits
    are shifted by as much before they are judged, so that those of the network stay those of the true frequency.
    """
    logits = logits + math.log1p(rare)
    probability = torch.sigmoid(logits)
    entropy = F.binary_cross_entropy_with_logits(logits, mask, 1 + rare * mask)
    overlap = (probability * mask).sum((1, 2, 3))
    dice = 1 - (2 * overlap + 50) / (probability.square().sum((1, 2, 3)) + mask.square().sum((1, 2, 3)) + 50)
    return entropy + 0.5 * dice.mean()


def perceptual_distance(backbone: str) -> PerceptualDistance | None:
    """The perceptual distance with the network in the file that a config names; None when it names none.

    Raises ConfigError when the file cannot be read or holds another network.
    """
    try:
        return load_distance(backbone) if backbone else None
    except ValueError as error:
        raise ConfigError(str(error)) from error
