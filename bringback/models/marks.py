"""A second opinion on the marks in a damage mask: damage, or something that the photo shows."""

import torch
from torch import Tensor, nn

from bringback.models.base import Network
from bringback.ops.marks import FACTS

_FAR = 4.0  # deviations at which facts are clamped


class MarkJudge(Network, license="apache-2.0", tags=["photo-restoration", "scratch-detection", "classification"]):
    """Facts (N, 112) of marks, see `ops.marks` -> log odds (N,) that they are damage.

    The detector sees a stroke; writing, snow, stars or lattices are told from scratches and dust by what lies beside
    it: letters stand in a row and are of one height and one pen, flakes are many, soft and of one tone. Several
    networks of three fully connected layers, whose answers are averaged, as their errors differ (Lakshminarayanan et
    al., "Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles", 2017).
    Args: hidden: features of the hidden layers; members: how many networks.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, hidden: int = 48, members: int = 3) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(FACTS))
        self.register_buffer("deviation", torch.ones(FACTS))
        self.members = nn.ModuleList(
            nn.Sequential(
                nn.Linear(FACTS, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, 1)
            )
            for _ in range(members)
        )

    def forward(self, facts: Tensor) -> Tensor:
        seen = ((facts - self.mean) / self.deviation).clamp(-_FAR, _FAR)
        return torch.stack([member(seen)[:, 0] for member in self.members]).mean(0)
