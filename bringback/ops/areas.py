"""Picture areas of a photo: where the image is inside border, mount, album page or scanner lid; see `frames`."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations
from numbers import Real
from typing import Any, Self

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.errors import PhotoError
from bringback.ops.strips import strips

_ARC = 24  # points of the outline of a rounded corner
_SHARED = 1.0  # pixels that two areas may have in common


@dataclass(frozen=True, slots=True)
class Area:
    """Where a picture is in a photo: its four corners (x, y) in pixels, from the top left one clockwise.

    Coordinates count from the outer edge of the first pixel: a whole photo has the corners (0, 0) and (width, height).
    `radii` are those of rounded corners in pixels, along the first side and the second: half of these make it oval.
    Of a torn print, `missing` says which pixels of the box show the ground instead: (1, 1, height, width), bool.
    """

    corners: tuple[tuple[float, float], ...]
    radii: tuple[float, float] = (0.0, 0.0)
    missing: Tensor | None = field(default=None, compare=False, repr=False)

    @property
    def sides(self) -> np.ndarray:
        """Mean lengths of the first side and its opposite, and of the other two: (2,), in pixels."""
        corners = np.array(self.corners)
        lengths = np.linalg.norm(corners - np.roll(corners, -1, 0), axis=1)
        return np.maximum((lengths[:2] + lengths[2:]) / 2, 1e-6)

    @property
    def is_round(self) -> bool:
        """Whether it is oval or has round corners."""
        return min(self.radii) > 0

    @property
    def outline(self) -> np.ndarray:
        """The points (n, 2) of the convex polygon around the area, clockwise."""
        corners = np.array(self.corners, float)
        across, down = np.minimum(np.array(self.radii) / self.sides, 0.5)
        if min(across, down) <= 0:
            return corners
        turn = np.linspace(0, np.pi / 2, _ARC)
        x, y = across * (1 - np.cos(turn)), down * (1 - np.sin(turn))  # of the first corner, as shares of the sides
        u = np.concatenate([x, 1 - x[::-1], 1 - x, x[::-1]])[:, None]
        v = np.concatenate([y, y[::-1], 1 - y, 1 - y[::-1]])[:, None]
        first, second, third, fourth = corners
        return (1 - v) * ((1 - u) * first + u * second) + v * ((1 - u) * fourth + u * third)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(left, top, right, bottom): the rectangle of whole pixels around the area."""
        x, y = self.outline.T
        return round(min(x)), round(min(y)), round(max(x)), round(max(y))

    @property
    def part(self) -> tuple[Any, slice, slice]:
        """The index of the box in pixels (..., H, W)."""
        left, top, right, bottom = self.box
        return ..., slice(top, bottom), slice(left, right)

    def enlarged(self, across: float, down: float) -> "Area":
        """The area in a photo that is so many times as wide and as high."""
        corners = tuple((across * x, down * y) for x, y in self.corners)
        made = Area(corners, (across * self.radii[0], down * self.radii[1]))
        if self.missing is None:
            return made
        left, top, right, bottom = made.box
        missing = F.interpolate(self.missing.float(), (bottom - top, right - left), mode="nearest-exact")
        return replace(made, missing=missing > 0)

    def as_dict(self) -> dict[str, Any]:
        """For manifests: `box`, the `corners` in tenths of a pixel, and the `radii` if there are any."""
        told: dict[str, Any] = {"box": list(self.box), "corners": [[round(x, 1), round(y, 1)] for x, y in self.corners]}
        return told | ({"radii": [round(radius, 1) for radius in self.radii]} if any(self.radii) else {})

    @classmethod
    def of(cls, given: Any) -> Self:
        """An area from another, from a box (left, top, right, bottom), from such a text, or from what `as_dict` gives.

        Of the latter the `corners` count, or without them the `box`. Raises `PhotoError`, one line.
        """
        try:
            if isinstance(given, cls):
                return given
            if isinstance(given, str):
                given = [float(side) for side in given.split(",")]
            radii, corners = (0.0, 0.0), None
            if isinstance(given, Mapping):
                across, down = map(float, given.get("radii", radii))
                radii, corners, given = (across, down), given.get("corners"), given.get("box")
            if corners is None:
                left, top, right, bottom = map(float, given)
                corners = (left, top), (right, top), (right, bottom), (left, bottom)
            points = tuple((float(x), float(y)) for x, y in corners)
            if len(points) == 4 and np.isfinite(points).all() and np.isfinite(radii).all() and min(radii) >= 0:
                return cls(points, radii)
        except (TypeError, ValueError):
            pass
        raise PhotoError(f"no area: {given!r}; wants left, top, right and bottom in pixels")

    def inside(self) -> Tensor:
        """Which pixels of the box are in the area: (1, 1, height, width), bool."""
        left, top, right, bottom = self.box
        mask = np.zeros((bottom - top, right - left), np.uint8)
        # OpenCV counts from the center of the first pixel, and its shift is that of fixed-point numbers
        corners = self.outline - (left, top) - 0.5
        cv2.fillConvexPoly(mask, np.rint(corners * 256).astype(np.int32), 1, lineType=cv2.LINE_8, shift=8)
        return torch.from_numpy(mask.view(bool))[None, None]

    def keep_around_(self, changed: Tensor, before: Tensor) -> None:
        """Set `changed`, pixels (..., h, w) of the box, back to `before` where they are outside the area, in strips."""
        inside = self.inside().to(changed.device)
        for rows in strips(changed):
            part = changed[..., rows, :]
            changed[..., rows, :] = torch.where(inside[..., rows, :], part, before[..., rows, :])


def outside(areas: tuple[Area, ...], height: int, width: int) -> Tensor:
    """Which pixels of a photo of this size are in none of its areas: (1, 1, H, W), bool."""
    frame = torch.ones(1, 1, height, width, dtype=torch.bool)
    for area in areas:
        frame[area.part] &= ~area.inside()
    return frame


def missing(areas: tuple[Area, ...], height: int, width: int) -> Tensor | None:
    """Damage mask (1, 1, H, W), 0 or 1, of what is missing of torn prints in a photo; None if nothing is."""
    if all(area.missing is None for area in areas):
        return None
    mask = torch.zeros(1, 1, height, width)
    for area in areas:
        if area.missing is not None:
            mask[area.part] = torch.maximum(mask[area.part], area.missing.float())
    return mask


def fill_inside(pixels: Tensor, target: Tensor, areas: tuple[Area, ...], fill: Callable[[Tensor, Tensor], Any]) -> None:
    """Fill photos in place by `fill(pixels, target)`, but torn and round prints from their inside only."""
    rest = target
    for area in areas:
        if area.missing is None and not area.is_round:
            continue
        inside = area.inside().to(pixels.device)
        own = pixels[area.part].clone()
        fill(own, target[area.part].masked_fill(~inside.to(target.device), 1))
        pixels[area.part] = torch.where(inside & (target[area.part].to(pixels.device) > 0), own, pixels[area.part])
        rest = rest.clone() if rest is target else rest
        rest[area.part] = rest[area.part].masked_fill(inside.to(rest.device), 0)
    if rest is target or rest.any():
        fill(pixels, rest)


def parsed_areas(given: Any) -> tuple[Area, ...]:
    """The areas that someone gave for a photo: a list of what `Area.of` takes, or "all", the whole photo, as is ().

    Four numbers are one box. Raises `PhotoError`, one line.
    """
    given = [given] if isinstance(given, str) and given.strip() == "all" else given
    if isinstance(given, str | Mapping | Area) or not isinstance(given, Iterable):
        raise PhotoError(f"no areas: {given!r}; wants a list of them, or all")
    given = list(given)
    if any(isinstance(one, str) and one.strip() == "all" for one in given):
        if len(given) > 1:
            raise PhotoError("all is the whole photo: it goes alone, without other areas")
        return ()
    if len(given) == 4 and all(isinstance(side, Real) for side in given):
        given = [given]
    areas = tuple(map(Area.of, given))
    for area in areas:
        left, top, right, bottom = area.box
        if right <= left or bottom <= top or not _is_convex(area):
            raise PhotoError(f"the area {left},{top},{right},{bottom} is empty: wants left, top, right and bottom")
    for one, other in combinations(areas, 2):
        first, second = one.outline.astype(np.float32), other.outline.astype(np.float32)
        if cv2.intersectConvexConvex(first, second)[0] > _SHARED:
            raise PhotoError("the areas {},{},{},{} and {},{},{},{} overlap".format(*one.box, *other.box))
    return areas


def areas_by_hand(given: Any, height: int, width: int) -> tuple[Area, ...]:
    """`parsed_areas` for a photo of this size; raises `PhotoError` for areas that reach beyond it, too."""
    areas = parsed_areas(given)
    for left, top, right, bottom in (area.box for area in areas):
        if left < 0 or top < 0 or right > width or bottom > height:
            shown = f"{left},{top},{right},{bottom}"
            raise PhotoError(f"the area {shown} reaches beyond the photo of {width}x{height} pixels")
    return areas


def _is_convex(area: Area) -> bool:
    """Whether the corners go clockwise around something."""
    into = np.roll(corners := np.array(area.corners), -1, 0) - corners
    out = np.roll(into, -1, 0)
    return bool((into[:, 0] * out[:, 1] > into[:, 1] * out[:, 0]).all())
