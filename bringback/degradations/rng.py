"""Random numbers that belong to a sample, not to a batch."""

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor


class Draws:
    """One random generator a sample, so that a sample ages the same in any batch and on any process.

    Scalars come back as (B, 1, 1, 1) on the device, fields as (B, *shape). `draws[indices]` are the draws of a part of
    the batch: they share the generators, so what one part draws does not move the others.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self._scalars = [torch.Generator().manual_seed(int(seed) % 2**63) for seed in seeds]
        # fields are drawn where they are used; only the scalars must be the same on every device
        self._fields = [torch.Generator(self.device).manual_seed((int(seed) + 0x9E3779B9) % 2**63) for seed in seeds]

    def __len__(self) -> int:
        return len(self._scalars)

    def __getitem__(self, indices: Sequence[int]) -> Self:
        part = object.__new__(type(self))
        part.device = self.device
        part._scalars = [self._scalars[i] for i in indices]
        part._fields = [self._fields[i] for i in indices]
        return part

    def uniform(self, low: float = 0.0, high: float = 1.0, size: int = 1) -> Tensor:
        """(B, size, 1, 1) in [low, high)."""
        rows = [torch.rand(size, generator=g) for g in self._scalars]
        return (low + (high - low) * torch.stack(rows)).to(self.device)[:, :, None, None]

    def chance(self, probability: Tensor | float) -> Tensor:
        """(B, 1, 1, 1) bool, true with the given probability."""
        return self.uniform() < probability

    def integers(self, low: int, high: int) -> list[int]:
        """One integer a sample in [low, high)."""
        return [int(torch.randint(low, high, (1,), generator=g)) for g in self._scalars]

    def permutations(self, count: int) -> list[list[int]]:
        """One order of `count` things a sample."""
        return [torch.randperm(count, generator=g).tolist() for g in self._scalars]

    def normal(self, *shape: int) -> Tensor:
        """(B, *shape), standard normal."""
        return torch.stack([torch.randn(shape, generator=g, device=self.device) for g in self._fields])

    def field(self, *shape: int) -> Tensor:
        """(B, *shape), uniform in [0, 1)."""
        return torch.stack([torch.rand(shape, generator=g, device=self.device) for g in self._fields])


def photo_seed(seed: int, index: int) -> int:
    """The seed by which photo number `index` is aged when the evaluation's seed is `seed`: 32 bits."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1)[0])
