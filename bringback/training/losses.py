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


def bce_dice(logits: Tensor, mask: Tensor, rare: float = 2.0, dice: float = 0.5, focal: float = 0.0) -> Tensor:
    """Binary cross-entropy with soft targets plus `dice` times the Dice loss (Milletari et al. 2016).

    Args:
        logits, mask: (B, 1, H, W), the mask in [0, 1].
        rare: damage is weighted 1 + `rare` times in the cross-entropy.
        dice: weight of the Dice loss, which is computed per sample.
        focal: exponent of the error that weights each pixel (focal loss, Lin et al. 2017); 0 turns it off.

    Weighting damage alone would bias the predicted probabilities upwards. The logits are shifted by the log of the
    weight first, so that the network's own logits stay calibrated (with `focal` they are not).
    """
    logits = logits + math.log1p(rare)
    probability = torch.sigmoid(logits)
    weight = (1 + rare * mask) * ((probability - mask).abs() ** focal if focal else 1)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, mask, weight)
    overlap = (probability * mask).sum((1, 2, 3))
    dice_loss = 1 - (2 * overlap + 50) / (probability.square().sum((1, 2, 3)) + mask.square().sum((1, 2, 3)) + 50)
    return cross_entropy + dice * dice_loss.mean()


def perceptual_distance(backbone: str) -> PerceptualDistance | None:
    """The perceptual distance for the backbone in a config (see `load_distance`), or None if the config names none.

    It is differentiable in the pictures: do not call it under `no_grad`. Raises ConfigError if the backbone cannot be
    loaded or is a different network.
    """
    if not backbone:
        logger.info("no backbone: training without a perceptual loss")
        return None
    try:
        return load_distance(backbone)
    except ValueError as error:
        raise ConfigError(f"backbone: {error}") from error
