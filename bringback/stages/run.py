"""The steps before the first stage, around each stage and after the last one."""

import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bringback.errors import PhotoError
from bringback.images.photo import Photo, is_gray
from bringback.ops.areas import Area
from bringback.ops.color import make_gray_
from bringback.ops.masks import SOUND
from bringback.ops.monochrome import Tint, find_tint
from bringback.ops.spots import ColoredSpots
from bringback.ops.strips import strips
from bringback.runtime.memory import give_back_heap
from bringback.stages.record import OnStep, Restoration, Stage, own_pixels

# Pixels of a photo above which freed memory is returned to the system before each stage and before it is written.
LARGE = 4_000_000


def start(
    photo: Photo,
    mask: np.ndarray | None = None,
    tile: int | None = None,
    on_step: OnStep | None = None,
    scale: float = 1.0,
    areas: tuple[Area, ...] = (),
    softer: float | None = None,
) -> Restoration:
    """A photo before its first stage, see `Restoration`; raises `PhotoError` for a mask (H, W) of another size."""
    height, width = photo.pixels.shape[:2]
    if mask is not None and mask.shape != (height, width):
        sizes = f"{mask.shape[1]}x{mask.shape[0]} pixels, the photo {width}x{height}"
        raise PhotoError(f"the damage mask has {sizes}: give one of the photo's size")
    restoration = Restoration.start(photo, mask)
    restoration.tile, restoration.on_step = tile, on_step
    restoration.scale, restoration.softer, restoration.areas = scale, softer, areas
    return restoration


def run_stage(stage: Stage, restorations: list[Restoration]) -> list[Restoration]:
    """Run a stage on restorations as a pipeline does: gray stays gray, and the time is noted.

    Raises the stage's own errors with its name as a note, and ArithmeticError for pixels that are not finite.
    """
    started = time.perf_counter()
    _tidy(restorations)
    # the tint is estimated without stains and damaged pixels, so after the detector
    if stage.name not in ("stains", "scratches"):
        for one in restorations:
            if not one.judged:
                one.tint, one.judged = _tint(one), True
                _gray(one)
    try:
        many: Any = getattr(stage, "many", None)
        restorations = many(restorations) if many else [stage(one) for one in restorations]
    except Exception as error:
        error.add_note(f" in the stage {stage.name!r}")
        raise
    for one in restorations:
        if not one.pixels.sum().isfinite():  # NaN or infinity anywhere makes the sum not finite
            raise ArithmeticError(f"the stage {stage.name!r} made pixels that are not finite")
        _gray(one)
    seconds = round((time.perf_counter() - started) / len(restorations), 3)
    for one in restorations:
        one.notes.setdefault(stage.name, {})["seconds"] = seconds
        one.passed += 1
    return restorations


def finalize(restoration: Restoration, strength: float = 1.0) -> None:
    """After the last stage but those that enlarge: apply a single tint again, put the frame back, blend with the photo
    for a strength below 1.

    Spots of strong color on a gray or toned photo come back too. The frame is as it was, but where the user's mask says
    that it is damaged. Done once: a second call changes nothing.
    """
    if restoration.finished:
        return
    restoration.finished, restoration.seen = True, None
    _tidy([restoration])
    if restoration.tint and not restoration.colored:
        restoration.tint.apply(restoration.pixels, out=restoration.pixels)
        _color_spots(restoration, restoration.tint)
    _put_back(restoration)
    restoration.colored &= strength > 0  # at 0 the result is the photo itself, with its number of channels
    if strength < 1:
        restoration.pixels = restoration.pixels.cpu()
        torch.lerp(own_pixels(restoration.photo), restoration.pixels, strength, out=restoration.pixels)
        for face in restoration.faces:
            face.light = None  # the face in the photo is no longer the refined one


def _tidy(restorations: list[Restoration]) -> None:
    """Return freed memory to the system if one of the photos is large."""
    if any(one.photo.pixels[..., 0].size > LARGE for one in restorations):
        give_back_heap()


def _tint(restoration: Restoration) -> Tint | None:
    """The tint of a photo that no stage has changed yet; None if it has colors."""
    if restoration.photo.gray or is_gray(restoration.as_it_came()[0].permute(1, 2, 0).numpy()):
        return Tint.none()
    return find_tint(restoration.pixels, _ignored(restoration))


def _ignored(restoration: Restoration) -> Tensor | None:
    """The damage mask (1, 1, H, W) with the frame in it, None without either."""
    frame = restoration.frame()
    if frame is None:
        return restoration.mask
    return restoration.damage().masked_fill(frame.to(restoration.pixels.device), 1)


def _color_spots(restoration: Restoration, tint: Tint) -> None:
    """Give spots of strong color their color again, but where damage was filled."""
    if restoration.photo.gray:
        return
    own = restoration.as_it_came()
    if spots := ColoredSpots.find(own, tint, _ignored(restoration)):
        spots.carry_back_(restoration.pixels, own, restoration.filled)


def _put_back(restoration: Restoration) -> None:
    """Replace what is around the picture areas by the photo as it came, except under the damage mask."""
    frame = restoration.frame()
    if frame is None:
        return
    pixels, damage, own = restoration.pixels, restoration.damage(), own_pixels(restoration.photo)
    for rows in strips(pixels):
        kept = frame[..., rows, :].to(pixels.device) & (damage[..., rows, :].to(pixels.device) <= SOUND)
        pixels[..., rows, :] = torch.where(kept, own[..., rows, :].to(pixels.device), pixels[..., rows, :])


def _gray(restoration: Restoration) -> None:
    if restoration.tint and not restoration.colored and not restoration.finished:
        make_gray_(restoration.pixels)
