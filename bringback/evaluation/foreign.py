"""Foreign programs: photos worn and damaged by code that made none of the training lessons.

What our own recipes draw, the networks have seen in training; how well they do on these says more about real photos.
Nothing in here uses `bringback.degradations`, and nothing in `bringback.training` uses this.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Foreign:
    """What a foreign program made of a photo.

    aged: (H, W, 3) uint8; mask: (H, W) float32 in [0, 1], the share of each pixel that damage covers, or None of a
    program that only wears the whole photo.
    """

    aged: np.ndarray
    mask: np.ndarray | None = None


Program = Callable[[np.ndarray, int], Foreign]


# The programs are imported late: what they need, a restoration does without.


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
"""By name: takes a photo (H, W, 3) uint8 and a seed; the same two give the same bytes. May raise `MissingExtra`."""
