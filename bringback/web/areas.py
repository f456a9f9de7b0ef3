"""Picture areas that a visitor drew, in which a photo is restored in place of those that are found."""

from typing import Any

from bringback.errors import PhotoError
from bringback.ops.areas import Area, areas_by_hand

MOST, SMALLEST = 100, 8  # areas of a photo; pixels of a side
Areas = tuple[Area, ...] | None  # None: those that are found; (): the whole photo


def read(given: Any, height: int, width: int) -> Areas:
    """What a browser sent for a photo of this size, cut at its edges; raises ValueError for anything but areas.

    They may overlap, see `fit`.
    """
    if given is None:
        return None
    if not isinstance(given, list) or len(given) > MOST:
        raise ValueError(f"no list of at most {MOST} areas")
    return tuple(_within(one, height, width) for one in given)


def fit(areas: Areas, height: int, width: int) -> bool:
    """Whether a pipeline will take these areas: none may overlap another."""
    try:
        areas_by_hand(areas or (), height, width)
    except PhotoError:
        return False
    return True


def sent(area: Area) -> dict[str, Any]:
    """As a browser takes it, and as `read` takes it back: the same to the bit."""
    return {"corners": area.corners, "radii": area.radii}


def _within(given: Any, height: int, width: int) -> Area:
    try:
        area = Area.of(given)
    except (OverflowError, PhotoError):
        raise ValueError("not an area") from None
    area = Area(tuple((min(max(x, 0.0), width), min(max(y, 0.0), height)) for x, y in area.corners), area.radii)
    if min(area.sides) < SMALLEST:
        raise ValueError(f"an area of less than {SMALLEST} pixels")
    return area
