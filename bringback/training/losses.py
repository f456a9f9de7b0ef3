"""Losses shared by the tasks."""

import torch
import torch.nn.functional as F
from torch import Tensor


def charbonnier(a: Tensor, b: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Smooth L1 (Charbonnier et al. 1994): mean of sqrt((a - b)^2 + epsilon^2)."""
    return torch.sqrt((a - b).square() + epsilon**2).mean()


def focal_dice(logits: Tensor, mask: Tensor, gamma: float = 2.0) -> Tensor:
    """Focal cross-entropy with soft targets (Lin et al. 2017), weighted to the rarer class, plus a Dice term.

    Args: logits, mask (B, 1, H, W), mask in [0, 1].
    """
    probability = torch.sigmoid(logits)
    rare = 1 + 4 * mask
    entropy = F.binary_cross_entropy_with_logits(logits, mask, reduction="none")
    focal = (rare * (mask - probability).abs() ** gamma * entropy).mean()
    overlap = (probability * mask).sum((1, 2, 3))
    dice = 1 - (2 * overlap + 50) / (probability.sum((1, 2, 3)) + mask.sum((1, 2, 3)) + 50)
    return 4 * focal + dice.mean()
