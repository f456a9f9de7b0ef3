"""Stage `fill`: damaged places are filled from their surroundings before the translation sees them."""

from collections.abc import Iterator
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.checkpoints import Checkpoints
from bringback.compute import Compute
from bringback.inpaint import TRUST, fill, membrane, mix, pull, push, solid
from bringback.nets.tone import strips
from bringback.restoration import Restoration

WHOLE = 1 << 20  # pixels that are solved at once: the whole photo, or its finest level that is not larger
_A_PIXEL = 260  # bytes of what is solved at once, measured
TILE, HALO = 768, 64  # pixels a side of a tile with its halo, and how far that looks beyond what is kept

# The texture of a sound photo raises doubts everywhere, damage certainties somewhere. Where fewer pixels than this
# share are certainly damaged, doubts count for less, down to exp(-CALM) times the odds.
CERTAIN, SHARE, CALM = 0.95, 0.001, 2.0


class HoleFiller:
    """Fills what the damage mask marks with the edge-following push-pull fill. Has no weights.

    References: Gortler et al., "The Lumigraph" (1996) for push-pull; Perez et al., "Poisson Image Editing" (2003) for
    the membrane it approaches; Weickert, "Coherence-enhancing diffusion filtering" (1999) for following edges. Texture
    is not invented here: that is left to the stage `translate`, which is told what was filled.
    """

    name = "fill"

    def __init__(self, compute: Compute | torch.device | str = "cpu") -> None:
        self.device = Compute.of(compute).device

    @classmethod
    def from_checkpoints(cls, checkpoints: Checkpoints, compute: Compute | torch.device) -> Self:
        """Build the stage; there is nothing to load."""
        return cls(compute)

    def needs(self, height: int, width: int, tile: int | None) -> int:
        """Bytes beside photo, pixels and mask: what is to be filled, and what is solved at once."""
        return 4 * height * width + _A_PIXEL * min(height * width, WHOLE)

    def fill(self, pixels: Tensor, mask: Tensor) -> Tensor:
        """Fill `pixels` (B, 3, H, W) in [0, 1] where `mask` (B, 1, H, W), a soft damage mask, says so.

        Pixels more than one pixel away from any damage come back exactly. What is certain is filled, what is doubtful
        only in a photo where something is certain.
        """
        return filled(pixels, replaced(mask), self.device)

    def __call__(self, restoration: Restoration) -> Restoration:
        """Fill the photo's damage; a photo without any passes untouched. Notes the share that was filled."""
        target = replaced(restoration.damage())
        fill_into(restoration.pixels, target, self.device)
        restoration.notes[self.name] = {"filled": round(target.mean().item(), 5)}
        return restoration


def replaced(mask: Tensor) -> Tensor:
    """How far each pixel is to be filled, in [0, 1], by a soft damage mask (B, 1, H, W); same shape."""
    odds = _calm(mask)
    target = torch.empty_like(mask)
    for rows in strips(mask):
        first, last = max(rows.start - 1, 0), min(rows.stop + 1, mask.shape[-2])  # `solid` looks a pixel further
        part = solid(_calmed(mask[..., first:last, :], odds))
        target[..., rows, :] = part[..., rows.start - first : rows.stop - first, :]
    return target


def calmed(mask: Tensor) -> Tensor:
    """A soft damage mask (B, 1, H, W) with lower odds in a photo where little is certain; zeros and ones stay."""
    return _calmed(mask, _calm(mask))


def _calm(mask: Tensor) -> Tensor:
    """What is to be added to the log odds of each photo (B, 1, 1, 1)."""
    counts = [(mask[..., rows, :] > CERTAIN).sum((1, 2, 3), keepdim=True) for rows in strips(mask)]
    return (torch.stack(counts).sum(0) / mask[0].numel() / SHARE).log().clamp(-CALM, 0)


def _calmed(mask: Tensor, odds: Tensor) -> Tensor:
    return torch.sigmoid(torch.logit(mask, 1e-6) + odds)


def filled(pixels: Tensor, target: Tensor, device: torch.device | str = "cpu") -> Tensor:
    """A copy of photos (B, 3, H, W) with `target` (B, 1, H, W) filled, computed on `device`; see `fill_into`."""
    result = pixels.clone()
    fill_into(result, target, device)
    return result


@torch.inference_mode()  # what it writes into may come from a stage
def fill_into(pixels: Tensor, target: Tensor, device: torch.device | str = "cpu") -> None:
    """Fill photos (B, 3, H, W) in place, as `push_pull` would fill the whole; what is sound (target 0) stays exactly.

    Of a large photo the coarse levels are made and solved as a whole and the fine ones in tiles, where there is damage:
    a hole of any size is filled alike in all the tiles that it reaches into. Sides that do not divide by the size of a
    coarse pixel are rounded up, the border repeated, which moves the coarse levels by a part of one of their pixels.
    """
    if not target.any():
        return
    height, width = pixels.shape[-2:]
    levels = 0
    while height * width / 4**levels > WHOLE:
        levels += 1
    if not levels:
        pixels.copy_(fill(pixels.to(device), target.to(device)))
        return
    with torch.autocast(torch.device(device).type, enabled=False):
        _fill_large(pixels, target, device, levels)


def _fill_large(pixels: Tensor, target: Tensor, device: torch.device | str, levels: int) -> None:
    unit = 2**levels
    surface = _coarse(pixels, target, device, levels)
    halo = -(-HALO // unit) * unit
    waiting: list[tuple[Tensor, Tensor, Tensor]] = []
    # a tile reads its neighbours as they came, so a row is put in its place when the next has been computed
    for row in _cores(pixels, max(TILE - 2 * halo, unit), unit):
        made = []
        for top, bottom, left, right in row:
            inside = slice(top, bottom), slice(left, right)
            if not target[(..., *inside)].any():
                continue
            rows, columns = (slice(max(side.start - halo, 0), side.stop + halo) for side in inside)
            own, sound = _trusted(pixels, target, rows, columns, unit, device)
            values, weights = pull(own, sound**TRUST, levels)
            coarse = surface[
                ...,
                rows.start // unit : rows.start // unit + values[-1].shape[-2],
                columns.start // unit : columns.start // unit + values[-1].shape[-1],
            ]
            full = mix(own, sound, push(coarse, values[:-1], weights[:-1]))
            shift = slice(top - rows.start, bottom - rows.start), slice(left - columns.start, right - columns.start)
            made.append((pixels[(..., *inside)], target[(..., *inside)], full[(..., *shift)]))
        _put(waiting)
        waiting = made
    _put(waiting)


def _put(made: list[tuple[Tensor, Tensor, Tensor]]) -> None:
    for place, target, full in made:
        height, width = place.shape[-2:]
        place.copy_(torch.where(target > 0, full[..., :height, :width].to(place), place))


def _coarse(pixels: Tensor, target: Tensor, device: torch.device | str, levels: int) -> Tensor:
    """The surface of whole photos, halved so many times."""
    unit = 2**levels
    shape = [-(-side // unit) for side in pixels.shape[-2:]]
    value, weight = (torch.empty(len(pixels), channels, *shape, device=device) for channels in (3, 1))
    for row in _cores(pixels, TILE, unit):
        for top, bottom, left, right in row:
            # what the border of a tile spoils is a pixel of the coarsest level
            rows, columns = slice(max(top - unit, 0), bottom + unit), slice(max(left - unit, 0), right + unit)
            own, sound = _trusted(pixels, target, rows, columns, unit, device)
            parts = pull(own, sound**TRUST, levels)
            for whole, part in zip((value, weight), (parts[0][-1], parts[1][-1]), strict=True):
                place = whole[..., top // unit : bottom // unit, left // unit : right // unit]
                y, x = (top - rows.start) // unit, (left - columns.start) // unit
                place.copy_(part[..., y : y + place.shape[-2], x : x + place.shape[-1]])
    return membrane(value, weight, pixels.mean((2, 3), keepdim=True).to(device))


def _cores(pixels: Tensor, side: int, unit: int) -> Iterator[list[tuple[int, int, int, int]]]:
    """Rows of places (top, bottom, left, right) that cover photos, of about `side` pixels, on a grid of `unit`."""
    height, width = (-(-full // unit) * unit for full in pixels.shape[-2:])
    side = side // unit * unit
    for top in range(0, height, side):
        bottom = min(top + side, height)
        yield [(top, bottom, left, min(left + side, width)) for left in range(0, width, side)]


def _trusted(
    pixels: Tensor, target: Tensor, rows: slice, columns: slice, unit: int, device: torch.device | str
) -> tuple[Tensor, Tensor]:
    """A part of photos and how sound it is, the border repeated to sides that divide by `unit`."""
    own, holes = (part[..., rows, columns].to(device, torch.float32) for part in (pixels, target))
    missing = (0, -own.shape[-1] % unit, 0, -own.shape[-2] % unit)
    own, holes = (F.pad(part, missing, mode="replicate") for part in (own, holes))
    return own, 1 - holes
