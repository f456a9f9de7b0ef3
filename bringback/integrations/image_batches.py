"""Runs stages on images in ComfyUI's format, without ComfyUI: (B, H, W, C) floats in [0, 1], and masks (B, H, W)."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.errors import PhotoError
from bringback.images.adapters import convert_back, to_photo
from bringback.pipeline import Pipeline
from bringback.stages.record import Face, Restoration

Settings = Mapping[str, Mapping[str, Any]]  # the stages to run, each with its arguments
Tell = Callable[[int, int], None]  # called with the steps done and their total; an exception in it ends the run
KEPT = 16  # stages in the cache, each with its settings; the largest has 15 MB of weights


class Restored(NamedTuple):
    """The results of a batch: images of the input's kind, masks (B, H, W) of their damage, the faces of each."""

    images: Tensor
    masks: Tensor
    faces: list[list[Face]]


def restore(
    images: Tensor,
    masks: Tensor | None,
    stages: Settings,
    *,
    strength: float = 1.0,
    areas: str = "",
    device: str = "auto",
    tell: Tell | None = None,
) -> Restored:
    """Run these stages, in their order here, on images (B, H, W, C), C = 1, 3 or 4.

    Values outside [0, 1], as from resizing, are clipped; alpha is kept; gray stays gray, unless `colorize` is among the
    stages: then one channel becomes three. With `upscale` among them, images and masks are larger. `masks` (B, H, W),
    or (1, H, W) for all, is resized if it has another size, as in ComfyUI (its empty mask has 64x64 pixels). `areas`
    are the picture areas of all images, if they are not to be looked for: "all", or boxes "left,top,right,bottom" with
    semicolons between them. `strength` and `device` are as in `Pipeline.from_pretrained`. Raises `PhotoError`,
    `MissingWeights` and ValueError, in one line.
    """
    count, height, width, _ = images.shape
    given = _fitting(masks, count, height, width)
    parts = [_stage(name, device, tuple(sorted(settings.items()))) for name, settings in stages.items()]
    pipeline = Pipeline.joined(parts, strength)
    boxes = [part for part in areas.split(";") if part.strip()]
    by_hand = "all" if [box.strip() for box in boxes] == ["all"] else boxes or None
    done = 0

    def step(_: str, __: Restoration) -> None:
        nonlocal done
        done += 1
        if tell:
            tell(done, count * len(stages))

    if tell:
        tell(0, count * len(stages))
    made, damage, faces = [], [], []
    for image, mask in zip(images, given, strict=True):
        array = image.float().clamp(0, 1).cpu().numpy()
        restoration = pipeline.restore(to_photo(array), None if mask is None else mask.numpy(), step, areas=by_hand)
        made.append(torch.from_numpy(convert_back(array, restoration.result())))
        damage.append(restoration.damage()[0, 0].cpu())
        faces.append(restoration.faces)
    return Restored(torch.stack(made).to(images), torch.stack(damage).to(images), faces)


def report(faces: Sequence[Sequence[Face]]) -> str:
    """What was done with the faces of each photo, one line per face."""
    lines = []
    for number, found in enumerate(faces, 1):
        if not found:
            lines.append(f"photo {number}: no faces found")
        for face in found:
            left, top, right, bottom = (round(side) for side in face.box)
            moved = "" if face.identity is None else f", identity {face.identity:.3f}"
            lines.append(f"photo {number}, face at ({left}, {top}, {right}, {bottom}): {face.status}{moved}")
    return "\n".join(lines)


@lru_cache(KEPT)
def _stage(name: str, device: str, settings: tuple[tuple[str, Any], ...]) -> Pipeline:
    return Pipeline.from_pretrained(stages=[name], device=device, settings={name: dict(settings)})


def _fitting(masks: Tensor | None, count: int, height: int, width: int) -> Sequence[Tensor | None]:
    """A mask (H, W) in [0, 1] of the photos' size for each photo, or None for each."""
    if masks is None:
        return [None] * count
    planes = masks.float().clamp(0, 1).cpu().reshape(-1, 1, *masks.shape[-2:])
    if len(planes) not in (1, count):
        raise PhotoError(f"{len(planes)} damage masks for {count} photos: give each its own, or one for all")
    if planes.shape[-2:] != (height, width):
        planes = F.interpolate(planes, (height, width), mode="bilinear")
    return list(planes[:, 0].expand(count, -1, -1))
