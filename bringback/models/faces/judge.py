"""A second opinion on what dlib's detector takes for a face, but not surely."""

from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from bringback.models.faces.descriptor import FaceDescriptor

WEIGHTS = Path(__file__).with_name("judge.safetensors")  # by train/face_judge.py, which says of what
FACTS = 9
_LIMIT = 5.0  # standard deviations to which inputs are clamped: what is farther off was never seen


class FaceJudge(nn.Module):
    """What the descriptor's network sees in gray chips (B, 256), see `FaceDescriptor.features`, and `FACTS` numbers on
    how the detector saw each, see `stages.faces.detector` -> the log odds that it is a face, (B,).

    A network for who somebody is also tells faces from folds, windows and food, though it never learned to. One hidden
    layer. Args: hidden: its units.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        seen = FaceDescriptor.FEATURES + FACTS
        self.mean: Tensor
        self.spread: Tensor
        self.register_buffer("mean", torch.zeros(seen))
        self.register_buffer("spread", torch.ones(seen))
        self.first = nn.Linear(seen, hidden)
        self.last = nn.Linear(hidden, 1)

    @classmethod
    def shipped(cls) -> Self:
        """The one that ships with the package, frozen, on the CPU."""
        state = {key: value.float() for key, value in load_file(WEIGHTS).items()}
        judge = cls(len(state["first.weight"]))
        judge.load_state_dict(state)
        return judge.eval().requires_grad_(False)

    def forward(self, features: Tensor, facts: Tensor) -> Tensor:
        return self.odds(self.normed(torch.cat([features, facts], 1)))

    def normed(self, seen: Tensor) -> Tensor:
        """Features and facts (B, 265) in standard deviations."""
        return ((seen - self.mean) / self.spread).clamp(-_LIMIT, _LIMIT)

    def odds(self, normed: Tensor) -> Tensor:
        """The log odds (B,)."""
        return self.last(F.gelu(self.first(normed)))[:, 0]
