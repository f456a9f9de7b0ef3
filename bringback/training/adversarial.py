"""Adversarial losses. A discriminator returns, for each scale, its feature maps with the logits last."""

import torch
import torch.nn.functional as F
from torch import Tensor

DiscriminatorOutput = list[list[Tensor]]


def discriminator_loss(real: DiscriminatorOutput, fake: DiscriminatorOutput) -> Tensor:
    """The hinge loss (Lim and Ye 2017), averaged over scales."""
    pairs = zip(real, fake, strict=True)
    scales = [F.relu(1 - r[-1].float()).mean() + F.relu(1 + f[-1].float()).mean() for r, f in pairs]
    return torch.stack(scales).mean()


def generator_loss(fake: DiscriminatorOutput) -> Tensor:
    """The generator's side of the hinge loss: the negative mean logit."""
    return -torch.stack([scale[-1].float().mean() for scale in fake]).mean()


def feature_matching(real: DiscriminatorOutput, fake: DiscriminatorOutput) -> Tensor:
    """Mean L1 distance of feature maps, without the logits (Wang et al. 2018); no gradient reaches `real`."""
    pairs = [(r.detach(), f) for a, b in zip(real, fake, strict=True) for r, f in zip(a[:-1], b[:-1], strict=True)]
    return torch.stack([(r.float() - f.float()).abs().mean() for r, f in pairs]).mean()
