"""Per-sample random numbers."""

import zlib
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor


class Draws:
    """One random generator per sample: results do not depend on batch composition or process.

    Scalars are (B, 1, 1, 1) on the device, fields (B, *shape). `draws[indices]` selects a part of the batch and shares
    its generators; drawing from one part does not affect the other samples.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self._scalars = [torch.Generator().manual_seed(int(seed) % 2**63) for seed in seeds]
        # fields are drawn on the device itself, so only scalars are the same on every device
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
        """Uniform values in [low, high), (B, size, 1, 1)."""
        rows = [torch.rand(size, generator=g) for g in self._scalars]
        return (low + (high - low) * torch.stack(rows)).to(self.device)[:, :, None, None]

    def chance(self, probability: Tensor | float) -> Tensor:
        """(B, 1, 1, 1) bool, True with the given probability."""
        return self.uniform() < probability

    def integers(self, low: int, high: int) -> list[int]:
        """One integer in [low, high) per sample."""
        return [int(torch.randint(low, high, (1,), generator=g)) for g in self._scalars]

    def permutations(self, count: int) -> list[list[int]]:
        """One permutation of range(count) per sample."""
        return [torch.randperm(count, generator=g).tolist() for g in self._scalars]

    def normal(self, *shape: int) -> Tensor:
        """Standard normal values, (B, *shape)."""
        return torch.stack([torch.randn(shape, generator=g, device=self.device) for g in self._fields])

    def field(self, *shape: int) -> Tensor:
        """Uniform values in [0, 1), (B, *shape)."""
        return torch.stack([torch.rand(shape, generator=g, device=self.device) for g in self._fields])


def photo_seed(seed: int, index: int) -> int:
    """The 32-bit aging seed of photo number `index` in an evaluation with this `seed`."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1)[0])


def named_seed(seed: int, name: str) -> int:
    """The 32-bit aging seed of the photo of this name, whatever others there are."""
    return photo_seed(seed, zlib.crc32(name.encode()))
