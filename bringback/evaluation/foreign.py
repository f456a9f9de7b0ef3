"""Degradation programs independent of those used in training.

The networks have seen our own recipes in training, so results on these programs predict those on real photos better.
Nothing here uses `bringback.degradations`, and nothing in `bringback.training` uses this.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Foreign:
    """Output of a foreign program.

    aged: (H, W, 3) uint8; mask: (H, W) float32 in [0, 1], the damage coverage of each pixel, or None from a program
    that adds only global degradations.
    """

    aged: np.ndarray
    mask: np.ndarray | None = None


Program = Callable[[np.ndarray, int], Foreign]


# Imported lazily: restoration does not need their dependencies.


def _wear(photo: np.ndarray, seed: int) -> Foreign:
    from bringback.evaluation.foreign_wear import wear

    return Foreign(wear(photo, seed))


def _damage(photo: np.ndarray, seed: int) -> Foreign:
    from bringback.evaluation.foreign_damage import damage

    return Foreign(*damage(photo, seed))


def _enlarged_noise(photo: np.ndarray, seed: int) -> Foreign:
    from bringback.evaluation.enlarged_noise import enlarged_noise

    return Foreign(enlarged_noise(photo, seed))


FOREIGN: dict[str, Program] = {
    "foreign-wear": _wear,
    "foreign-damage": _damage,
    "enlarged-noise": _enlarged_noise,
}
"""By name. Each takes a photo (H, W, 3) uint8 and a seed and is deterministic. May raise `MissingExtra`."""
