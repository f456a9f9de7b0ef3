"""Stage `relight`: brightens underexposed photos and removes their noise. Not a default stage."""

from typing import Self

import torch
from torch import Tensor

from bringback.images.adapters import accepts_any_image
from bringback.models.relight import SPECKLED, RelightNet, dots, places, undotted
from bringback.ops.metrics import mean_change
from bringback.ops.strips import STRIP, strips
from bringback.ops.tiling import run_tiled
from bringback.runtime.compute import Compute
from bringback.stages.base import StageBase
from bringback.stages.record import Restoration
from bringback.weights.checkpoints import Checkpoints

TILE, OVERLAP = 640, 48
_A_STRIP = 500  # bytes per pixel of a strip searched for dots
_A_PIXEL = 900  # bytes per pixel of a tile being processed, measured in float32


class Relighter(StageBase):
    """Brightens dark areas and removes noise and salt-and-pepper dots; bright areas stay as they are (`RelightNet`).

    The curves are predicted from a thumbnail of the whole photo, so all tiles share them.
    """

    name = "relight"

    def __init__(self, network: RelightNet, compute: Compute | torch.device | str = "cpu") -> None:
        self.network, self.compute = network, Compute.of(compute)
        self.tile = self.compute.tile or TILE

    @classmethod
    def from_checkpoints(cls, checkpoints: Checkpoints, compute: Compute | torch.device) -> Self:
        """With the checkpoint `relight`."""
        return cls(checkpoints.load("relight", RelightNet, Compute.of(compute).device), compute)

    def needs(self, height: int, width: int, tile: int | None) -> int:
        """Bytes in addition to photo, pixels and mask: the photo without dots, the result, a tile and a strip."""
        strip = _A_STRIP * min(height * width, STRIP)
        return 24 * height * width + strip + self.compute.tiles_need(height * width, self.tile, tile, _A_PIXEL)

    @accepts_any_image
    def relight(self, pixels: Tensor) -> Tensor:
        """Relight photos (B, 3, H, W) in [0, 1]."""
        pixels = torch.cat([_without_dots(photo) for photo in pixels.split(1)])
        curves = self.network.curves(self.network.thumbnail(pixels).to(self.compute.device))
        x, y = places(pixels[..., :1, :])[:, :1], places(pixels[..., :1])[:, 1:]
        x, y = (part.expand(len(pixels), -1, *pixels.shape[-2:]) for part in (x, y))  # views: no extra memory

        def one(tile: Tensor, x: Tensor, y: Tensor) -> Tensor:
            tile, x, y = (part.to(self.compute.device) for part in (tile, x, y))
            own = curves.repeat(len(tile) // len(curves), 1, 1, 1, 1)  # several tiles of each photo at once
            with self.compute.autocast():
                return self.network.relit(tile, own, torch.cat([x, y], 1)).float().clamp_(0, 1)

        tiling = {"tile": self.tile, "overlap": min(OVERLAP, self.tile // 2), "multiple": 2}
        return run_tiled(one, [pixels, x, y], **tiling, batch=self.compute.batch)

    def __call__(self, restoration: Restoration) -> Restoration:
        """Relight the photo. Notes the mean absolute change, in [0, 1] units."""
        before = restoration.pixels
        restoration.pixels = self.relight(before)
        restoration.notes[self.name] = {"mean_change": round(mean_change(restoration.pixels, before), 4)}
        return restoration


def _without_dots(photo: Tensor) -> Tensor:
    """`models.relight.without_dots` of one photo, in strips."""

    def inner(rows: slice) -> tuple[Tensor, ...]:
        first, last = max(rows.start - 1, 0), min(rows.stop + 1, photo.shape[-2])
        part = photo[..., first:last, :]
        salt, pepper = dots(part)
        own = slice(rows.start - first, min(rows.stop, photo.shape[-2]) - first)
        return tuple(x[..., own, :] for x in (salt, pepper, undotted(part, salt | pepper)))

    counts = torch.tensor([[float(found.sum()) for found in inner(rows)[:2]] for rows in strips(photo)])
    if counts.sum(0).min() / photo.numel() <= SPECKLED:
        return photo
    return torch.cat([inner(rows)[2] for rows in strips(photo)], 2)
