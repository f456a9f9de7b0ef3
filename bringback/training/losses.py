"""Losses shared by the tasks."""

import torch
import torch.nn.functional as F
from torch import Tensor


def charbonnier(a: Tensor, b: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Smooth L1 (Charbonnier et al. 1994): mean of sqrt((a - b)^2 + epsilon^2)."""
    return torch.sqrt((a - b).square() + epsilon**2).mean()


def entropy_dice(logits: Tensor, mask: Tensor, rare: float = 2.0) -> Tensor:
    """Cross-entropy with soft targets, damage weighted 1 + `rare` times, plus a Dice term (Milletari et al. 2016).

    Args: logits, mask (B, 1, H, W), mask in [0, 1].
    """
    probability = torch.sigmoid(logits)
    entropy = F.binary_cross_entropy_with_logits(logits, mask, 1 + rare * mask)
    overlap = (probability * mask).sum((1, 2, 3))
    dice = 1 - (2 * overlap + 50) / (probability.square().sum((1, 2, 3)) + mask.square().sum((1, 2, 3)) + 50)
    return entropy + 0.5 * dice.mean()
