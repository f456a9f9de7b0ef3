"""Losses of a generator and its discriminator. Judgements are lists of feature maps a scale, logits last."""

import torch
import torch.nn.functional as F
from torch import Tensor

Judgement = list[list[Tensor]]


def hinge(real: Judgement, made: Judgement) -> Tensor:
    """What the discriminator minimises: the hinge loss (Lim and Ye 2017), mean of its scales."""
    pairs = zip(real, made, strict=True)
    scales = [F.relu(1 - r[-1].float()).mean() + F.relu(1 + m[-1].float()).mean() for r, m in pairs]
    return torch.stack(scales).mean()


def fooling(made: Judgement) -> Tensor:
    """What the generator minimises against it: the negative mean logit."""
    return -torch.stack([scale[-1].float().mean() for scale in made]).mean()


def feature_matching(real: Judgement, made: Judgement) -> Tensor:
    """Mean L1 distance of the discriminator's feature maps, logits left out (Wang et al. 2018); `real` is a target."""
    pairs = [(r.detach(), m) for a, b in zip(real, made, strict=True) for r, m in zip(a[:-1], b[:-1], strict=True)]
    return torch.stack([(r.float() - m.float()).abs().mean() for r, m in pairs]).mean()
