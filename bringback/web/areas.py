"""Picture areas that a visitor drew: boxes in which a photo is restored, in place of those that are found."""

from inspect import signature
from math import isfinite
from typing import Any

import numpy as np

from bringback.pipeline import Pipeline
from bringback.stages.record import Restoration

MOST, SMALLEST = 100, 8  # areas of a photo; pixels of a side
Rectangle = tuple[int, int, int, int]  # left, top, right, bottom in pixels of the photo
Areas = tuple[Rectangle, ...] | None  # None: those that are found; (): the whole photo
BY_HAND = "areas" in signature(Pipeline.restore).parameters  # whether the pipeline can be told


def read(given: Any, height: int, width: int) -> Areas:
    """What a browser sent for a photo of this size; raises ValueError for anything but boxes in it."""
    if given is None:
        return None
    if not isinstance(given, list) or len(given) > MOST:
        raise ValueError(f"no list of at most {MOST} areas")
    return tuple(_box(one, height, width) for one in given)


def _box(given: Any, height: int, width: int) -> Rectangle:
    try:
        left, top, right, bottom = (float(value) for value in given)
    except (OverflowError, TypeError, ValueError):
        raise ValueError("not an area") from None
    if not all(map(isfinite, (left, top, right, bottom))):
        raise ValueError("not an area")
    xs, ys = (sorted((one, other)) for one, other in ((left, right), (top, bottom)))
    box = (
        max(0, min(width, round(xs[0]))),
        max(0, min(height, round(ys[0]))),
        max(0, min(width, round(xs[1]))),
        max(0, min(height, round(ys[1]))),
    )
    if min(box[2] - box[0], box[3] - box[1]) < SMALLEST:
        raise ValueError(f"an area of less than {SMALLEST} pixels")
    return box


def restored(
    pipeline: Pipeline, photo: Any, mask: np.ndarray | None = None, areas: Areas = None, **more: Any
) -> Restoration:
    """`Pipeline.restore` in these areas; the only place of the page that tells a pipeline of any."""
    if areas is not None and BY_HAND:
        height, width = photo.pixels.shape[:2]
        more["areas"] = list(areas) or [(0, 0, width, height)]
    return pipeline.restore(photo, mask, **more)
