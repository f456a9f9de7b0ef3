"""The record that travels through the pipeline, and what a stage is."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.images.parts import resized
from bringback.images.photo import Photo
from bringback.models.native_scale import all_sharp_is_marked
from bringback.ops.areas import Area, outside
from bringback.ops.blocks import Blocks
from bringback.ops.masks import dilate_edges, fill_mask
from bringback.ops.monochrome import Tint
from bringback.ops.stains import Stains
from bringback.runtime.compute import Compute
from bringback.weights.checkpoints import Checkpoints

if TYPE_CHECKING:
    from bringback.stages.prior.settings import Progress

OnStep = Callable[[str, "Progress"], None]  # called with the name of a stage that takes minutes, and its progress


def own_pixels(photo: Photo) -> Tensor:
    """The pixels of a photo as (1, 3, H, W): a view of its memory, so do not write into it."""
    return torch.from_numpy(np.ascontiguousarray(photo.pixels)).permute(2, 0, 1)[None]


@dataclass(slots=True)
class Face:
    """One face found in a photo.

    `box` is (left, top, right, bottom) in photo pixels, `points` the five landmarks as (x, y) in photo pixels
    (four eye corners from left to right, then the nose base), `identity` the distance between the descriptors
    of its crop before and after refinement as it was put back (0 = same, 0.6 = another person), or None if no
    refinement was tried; `status` what was done with it; `light` the luminance (S, S) of its refined crop, which may be
    finer than the photo, None if it was not refined.
    """

    box: tuple[float, float, float, float]
    points: np.ndarray
    identity: float | None = None
    status: str = "found"
    light: np.ndarray | None = field(default=None, repr=False)

    def place(self, margin: float = 0.2) -> tuple[slice, slice]:
        """Rows and columns of the box with a margin, a share of its larger side."""
        left, top, right, bottom = self.box
        more = margin * max(right - left, bottom - top)
        rows = slice(max(0, round(top - more)), max(1, round(bottom + more)))
        return rows, slice(max(0, round(left - more)), max(1, round(right + more)))


@dataclass(slots=True)
class Restoration:
    """The record that the stages hand on: a photo, its pixels as they are now, and what is known about it.

    Args: pixels: (1, 3, H, W) float32 RGB in [0, 1], channels last in memory; owned by the record, so a stage may write
    into them;
    everything else is of their size, also after a stage has made them larger than the photo, see `enlarge`;
    mask: the damage mask (1, 1, H, W), 1 = damaged; None until there is one;
    seen: (1, 1, H, W) bool, the damage that was found in the picture itself, through which that may show; from the
    detector to the stage that fills or to the last one, else None;
    filled: (1, 1, H, W), the share to which each pixel was replaced; a stage that fills sets it, None until then;
    stains: those that have been taken from the photo, each with the area that they are in, None for the whole photo;
    blocks: those of repeated pixels that have been smoothed, None if there are none;
    notes: a log for people and manifests, by stage name (plain numbers and strings); stages do not depend on it;
    warnings: reasons for a person to look at the result, one line each; any stage may add to them;
    passed: the number of stages that are done;
    tile: the maximal tile size in pixels, if memory was too short for the stages' own sizes, else None;
    scale: the native scale: how many times the photo can be shrunk without losing detail, 1 or more;
    softer: the native scale if what is sharp is marks, see `native_scale.under_marks`; None if there is nothing to ask;
    areas: where the picture is inside its frame (border, mount, album page, scanner lid), () for a photo without one;
    pages: the numbers of the areas (0: of the whole photo, if there are none) that show writing or lines on
    paper, and no photo, see `Page.PAPER`;
    tint: the single tint of a photo without colors, None for a photo with colors; valid once `judged` is True;
    colored: whether a stage has added colors to such a photo;
    cleaned: whether a stage has taken noise and blur away;
    finished: whether the tint is applied and the frame put back, see `run.finalize`;
    on_step: called by stages that take minutes, see `OnStep`.
    """

    photo: Photo
    pixels: Tensor
    mask: Tensor | None = None
    faces: list[Face] = field(default_factory=list)
    notes: dict[str, dict[str, Any]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    tile: int | None = None
    scale: float = 1.0
    softer: float | None = None
    areas: tuple[Area, ...] = ()
    pages: frozenset[int] = frozenset()
    tint: Tint | None = None
    judged: bool = False
    colored: bool = False
    cleaned: bool = False
    seen: Tensor | None = None
    filled: Tensor | None = None
    stains: list[tuple[Area | None, Stains]] = field(default_factory=list)
    blocks: Blocks | None = None
    passed: int = 0
    finished: bool = False
    on_step: OnStep | None = None
    _to_fill: tuple[Tensor, int, Tensor] | None = field(default=None, init=False, repr=False)

    def __repr__(self) -> str:
        return f"<Restoration of {self.photo} after {', '.join(self.notes) or 'no stage'}>"

    @classmethod
    def start(cls, photo: Photo, mask: np.ndarray | None = None) -> Self:
        """Start with a photo and, if the user has one, a damage mask (H, W) in [0, 1], whose edges are dilated."""
        pixels = own_pixels(photo).clone(memory_format=torch.channels_last)
        if mask is None:
            return cls(photo, pixels)
        return cls(
            photo, pixels, dilate_edges(torch.from_numpy(np.ascontiguousarray(mask, dtype=np.float32))[None, None])
        )

    def damage(self) -> Tensor:
        """The damage mask (1, 1, H, W); all zeros if there is none."""
        return torch.zeros_like(self.pixels[:, :1]) if self.mask is None else self.mask

    def as_it_came(self) -> Tensor:
        """The photo (1, 3, H, W) before its restoration, but without stains and blocks; do not write into it.

        Without them it is made anew at each call: few photos have such, and all would have to hold another copy.
        """
        own = own_pixels(self.photo)
        if self.blocks:
            own = self.blocks.smoothed(own)
        if self.stains:
            own = own.clone()
            for area, stains in self.stains:
                part, inside = (own, None) if area is None else (own[area.part], area.inside())
                stains.remove_(part, inside)
        return own

    def take_softer(self, marks: Tensor) -> bool:
        """Whether all that is sharp in the photo is marks (1, 1, H, W), and so it has the native scale `softer` now."""
        if self.softer is None or not all_sharp_is_marked(self.pixels, marks):
            return False
        self.scale = self.softer
        return True

    def frame(self) -> Tensor | None:
        """Which pixels (1, 1, H, W), bool, are in none of the areas; None for a photo without a frame."""
        return outside(self.areas, *self.pixels.shape[-2:]) if self.areas else None

    def to_fill(self) -> Tensor:
        """The share (1, 1, H, W) to which each pixel is to be replaced, see `masks.fill_mask`; do not write into it.

        Computed once for each state of the mask: fill, prior and translation use the same tensor. Changes of the mask
        in place are seen only if torch makes them: a stage should assign a new mask.
        """
        mask = self.mask
        if mask is None:
            return self.damage()
        if mask.is_inference():  # torch does not count changes of these
            return fill_mask(mask)
        if self._to_fill is None or self._to_fill[0] is not mask or self._to_fill[1] != mask._version:
            self._to_fill = None  # free the old one first
            self._to_fill = mask, mask._version, fill_mask(mask)
        return self._to_fill[2]

    def enlarge(self, pixels: Tensor) -> None:
        """Take these pixels (1, 3, H, W) of a larger size; mask, areas and faces follow, `seen` goes."""
        before, size = self.pixels.shape[-2:], (pixels.shape[-2], pixels.shape[-1])
        down, across = size[0] / before[0], size[1] / before[1]
        self.pixels = pixels
        if self.mask is not None:
            self.mask = F.interpolate(self.mask, size, mode="bilinear", align_corners=False)
        if self.filled is not None:
            self.filled = F.interpolate(self.filled, size, mode="bilinear", align_corners=False)
        self.seen = None
        self.areas = tuple(area.enlarged(across, down) for area in self.areas)
        for face in self.faces:
            left, top, right, bottom = face.box
            face.box = left * across, top * down, right * across, bottom * down
            # landmarks count from the center of the first pixel
            face.points = (face.points + 0.5) * (across, down) - 0.5

    def result(self) -> Photo:
        """The original photo with the pixels as they are now, and their size."""
        photo = self.photo.in_color() if self.colored else self.photo
        return resized(photo, self.pixels[0].detach().clamp(0, 1).cpu().numpy().transpose(1, 2, 0))


class Stage(Protocol):
    """One step of a restoration: takes a `Restoration`, returns it changed.

    A stage may have `needs(height, width, tile)`, the bytes it takes in addition to photo, pixels, mask and
    `Restoration.to_fill`; with `compute` also `tile`, pixels a side, which is lowered when memory is short; `many`,
    `__call__` for several restorations; and `at_native_scale`, true if it works at `Restoration.scale`, which is then
    estimated, and given to `needs` as its last argument; and `in_areas`, true if it works at `Restoration.areas`, which
    are then looked for; and `enlarges`, true if it makes the photo larger: it runs last, on the photo as it will be,
    with its tint and its frame; and `is_negative(restoration)`, which says before the first stage whether the photo
    surely is a negative, which is then left alone. A stage that takes minutes calls `restoration.on_step`, if it is
    set, with its name and a `Progress`.
    """

    name: str

    @classmethod
    def from_checkpoints(cls, checkpoints: Checkpoints, compute: Compute) -> Self:
        """Build the stage with the networks it needs; raises `MissingWeights` if one is missing."""
        ...

    def __call__(self, restoration: Restoration) -> Restoration:
        """Do the work. A stage that fails raises; it never returns the input unchanged as if it had succeeded."""
        ...
