"""Losses shared by the tasks."""

import logging
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.errors import ConfigError
from bringback.models.perceptual import PerceptualDistance
from bringback.weights.backbones import load_distance

logger = logging.getLogger(__name__)


def charbonnier(a: Tensor, b: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Smooth L1 (Charbonnier et al. 1994): mean of sqrt((a - b)^2 + epsilon^2)."""
    return torch.sqrt((a - b).square() + epsilon**2).mean()


def entropy_dice(logits: Tensor, mask: Tensor, rare: float = 2.0, dice: float = 0.5, focal: float = 0.0) -> Tensor:
    """Cross-entropy with soft targets, damage weighted 1 + `rare` times, plus `dice` times a Dice term.

    `focal` is the power of the error that weighs each pixel (Lin et al. 2017; 0: all alike); Dice as in Milletari et
    al. 2016, a value a sample. Args: logits, mask (B, 1, H, W), mask in [0, 1]. The weight makes damage look more
    frequent than it is; the logits are shifted by as much before they are judged, so that those of the network stay
    those of the true frequency (without `focal`, which bends them).
    """
    logits = logits + math.log1p(rare)
    probability = torch.sigmoid(logits)
    weight = (1 + rare * mask) * ((probability - mask).abs() ** focal if focal else 1)
    entropy = F.binary_cross_entropy_with_logits(logits, mask, weight)
    overlap = (probability * mask).sum((1, 2, 3))
    apart = 1 - (2 * overlap + 50) / (probability.square().sum((1, 2, 3)) + mask.square().sum((1, 2, 3)) + 50)
    return entropy + dice * apart.mean()


def perceptual_distance(backbone: str) -> PerceptualDistance | None:
    """The perceptual distance with the backbone that a config names (see `load_distance`).

    None, said in the log, when it names none. The gradient reaches the pictures: never call it inside `no_grad`. Raises
    ConfigError when the backbone cannot be had or is another network.
    """
    if not backbone:
        logger.info("no backbone: training without a perceptual loss")
        return None
    try:
        return load_distance(backbone)
    except ValueError as error:
        raise ConfigError(f"backbone: {error}") from error
