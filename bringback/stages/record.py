"""The record that travels through the pipeline, and what a stage is."""

from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from bringback.images.photo import Photo
from bringback.ops.masks import firm
from bringback.ops.monochrome import Tint
from bringback.runtime.compute import Compute
from bringback.weights.checkpoints import Checkpoints


def own_pixels(photo: Photo) -> Tensor:
    """The pixels of a photo as (1, 3, H, W): its own memory, not to be written into."""
    return torch.from_numpy(np.ascontiguousarray(photo.pixels)).permute(2, 0, 1)[None]


@dataclass(slots=True)
class Face:
    """One face found in a photo.

    `box` is (left, top, right, bottom) in photo pixels, `points` the five landmarks as (x, y) in photo pixels
    (four eye corners from left to right, then the nose base), `identity` the distance between the descriptors
    of its crop before and after refinement (0 = same, 0.6 = another person), at the last strength that was tried, None
    when none was; `status` what was done with it.
    """

    box: tuple[float, float, float, float]
    points: np.ndarray
    identity: float | None = None
    status: str = "found"


@dataclass(slots=True)
class Restoration:
    """A photo on its way through the stages.

    `pixels` is (1, 3, H, W) float32 RGB in [0, 1] with its channels last in memory, the restoration's own, which a
    stage may write into; `mask` the damage mask (1, 1, H, W) with 1 = damaged or None while nobody has looked; `notes`
    what each stage has to say, by stage name (plain numbers and strings); `tile` the pixels a side that tiles were held
    to because of the memory there is, None where stages could have their own way; `tint` the single tint of a photo
    without colours, None of one that has them, once it is `judged`; `coloured` says that a stage has given such a photo
    colours.
    """

    photo: Photo
    pixels: Tensor
    mask: Tensor | None = None
    faces: list[Face] = field(default_factory=list)
    notes: dict[str, dict[str, Any]] = field(default_factory=dict)
    tile: int | None = None
    tint: Tint | None = None
    judged: bool = False
    coloured: bool = False

    @classmethod
    def start(cls, photo: Photo, mask: np.ndarray | None = None) -> Self:
        """Begin with a photo and, if the user has one, a damage mask (H, W) in [0, 1], whose edges are made `firm`."""
        pixels = own_pixels(photo).clone(memory_format=torch.channels_last)
        if mask is None:
            return cls(photo, pixels)
        return cls(photo, pixels, firm(torch.from_numpy(np.ascontiguousarray(mask, dtype=np.float32))[None, None]))

    def damage(self) -> Tensor:
        """The damage mask (1, 1, H, W); all zero when no stage and no user gave one."""
        return torch.zeros_like(self.pixels[:, :1]) if self.mask is None else self.mask

    def result(self) -> Photo:
        """The photo as it came, with the pixels as they are now."""
        photo = self.photo.in_colour() if self.coloured else self.photo
        return photo.with_pixels(self.pixels[0].detach().clamp(0, 1).cpu().numpy().transpose(1, 2, 0))


class Stage(Protocol):
    """Everything the product does to a picture: takes a restoration, returns it changed.

    A stage may have `needs(height, width, tile)`, the bytes it takes beside photo, pixels and mask; with `compute` also
    `tile`, pixels a side, which is lowered when memory is short; and `many`, `__call__` for several restorations.
    """

    name: str

    @classmethod
    def from_checkpoints(cls, checkpoints: Checkpoints, compute: Compute) -> Self:
        """Build the stage with the networks it needs; raises `MissingWeights` when one is absent."""
        ...

    def __call__(self, restoration: Restoration) -> Restoration:
        """Do the work. A stage that cannot raises; it never hands the input back as if it had."""
        ...
