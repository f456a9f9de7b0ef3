"""Stage `upscale`: makes photos up to four times as wide and high. Not a default stage; it always is the last one."""

import math
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bringback.images.adapters import accepts_any_image
from bringback.models.upscale import FACTOR, UpscaleNet
from bringback.ops.color import luminance
from bringback.ops.scale import resized
from bringback.ops.tiling import run_tiled
from bringback.runtime.compute import Compute
from bringback.runtime.memory import WRITTEN
from bringback.stages.base import StageBase
from bringback.stages.faces.blending import channels_last, paste_finer
from bringback.stages.record import Face, Restoration
from bringback.weights.checkpoints import Checkpoints
from bringback.weights.foreign import ForeignUpscaler

MOST = 4.0  # what is larger shows nothing more
TILE, OVERLAP = 384, 96  # the overlap's outer quarter is as wide as what two passes look at
_A_PIXEL = 1100  # bytes per pixel of a tile for each time that its pixels are doubled, measured in float32
_LEVELS = 6  # bytes per pixel of the result for what the file holds beside its colors


class Upscaler(StageBase):
    """Enlarges photos by a network that doubles them (`UpscaleNet`), or by one of another program.

    The network runs as often as is needed; the result is then shrunk to the size that is wanted. It runs after all
    other stages, on the finished photo: borders and tints are enlarged with it, and gray photos stay gray.
    """

    name = "upscale"
    enlarges = True

    def __init__(
        self,
        network: nn.Module,
        compute: Compute | torch.device | str = "cpu",
        factor: float | None = None,
        side: int | None = None,
    ) -> None:
        """Args: factor: from 1 to 4, by default what the network does at once; side: pixels of the longer side instead,
        which larger photos keep.

        Raises ValueError for both and for a value out of range.
        """
        self.network, self.compute = network, Compute.of(compute)
        self.tile = self.compute.tile or TILE
        self.step = int(getattr(network, "scale", FACTOR))  # how many times one pass enlarges
        self.most = max(MOST, self.step)
        if factor is not None and side is not None:
            raise ValueError("a factor and a size to enlarge to: give one of them")
        if side is not None and side < 1:
            raise ValueError(f"{side} pixels to enlarge to: wants 1 or more")
        self.factor, self.side = float(self.step if factor is None else factor), side
        if not 1 < self.factor <= self.most:
            raise ValueError(f"enlarging {self.factor:g} times: wants more than 1 and at most {self.most:g} times")

    @classmethod
    def from_checkpoints(
        cls,
        checkpoints: Checkpoints,
        compute: Compute | torch.device,
        factor: float | None = None,
        side: int | None = None,
        model: Path | str | None = None,
    ) -> Self:
        """With the checkpoint `upscale`, or the file `model` of another program, see `ForeignUpscaler`."""
        device = Compute.of(compute).device
        if model:
            return cls(ForeignUpscaler.read(Path(model)).to(device), compute, factor, side)
        return cls(checkpoints.load("upscale", UpscaleNet, device), compute, factor, side)

    @property
    def hashes(self) -> dict[str, str]:
        """The SHA-256 of a network that is no checkpoint, for manifests."""
        return {self.name: self.network.sha256} if isinstance(self.network, ForeignUpscaler) else {}

    @property
    def about(self) -> str:
        """What a person should know of a network of another program; "" for our own."""
        return str(self.network) if isinstance(self.network, ForeignUpscaler) else ""

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the result for a photo of that size."""
        factor = self.factor if self.side is None else min(max(self.side / max(height, width), 1.0), self.most)
        return round(height * factor), round(width * factor)

    def _passes(self, before: tuple[int, int], size: tuple[int, int]) -> int:
        """How often the network runs: until the result is at least as large as is wanted."""
        factor = max(new / old for new, old in zip(size, before, strict=True))
        return max(1, math.ceil(math.log(factor, self.step) - 0.01))  # which forgives the rounding to whole pixels

    def needs(self, height: int, width: int, tile: int | None) -> int:
        """Bytes in addition to photo, pixels and mask: the enlarged photo as it is made, then as it is written."""
        size = self.size(height, width)
        times = self.step ** self._passes((height, width), size)
        large, made = size[0] * size[1], times**2 * height * width
        tiles = self.compute.tiles_need(height * width, self.tile, tile, _A_PIXEL * times**2 // self.step**2)
        making = 12 * made + tiles
        shrinking = 12 * made + 24 * large if made != large else 0
        return max(making, shrinking, (12 + 8 + _LEVELS + WRITTEN) * large)

    @accepts_any_image
    def upscale(self, pixels: Tensor) -> Tensor:
        """Enlarge photos (B, 3, H, W) in [0, 1]: (B, 3, h, w), see `size`."""
        return self._enlarged(pixels, keeps_hue=False)

    def _enlarged(self, pixels: Tensor, *, keeps_hue: bool) -> Tensor:
        """`keeps_hue`: the network changes nothing but the luminance, which our own never does."""
        before = (pixels.shape[-2], pixels.shape[-1])
        size = self.size(*before)
        if size == before:
            return pixels
        passes = self._passes(before, size)

        def one(tile: Tensor) -> Tensor:
            made = tile.to(self.compute.device)
            for _ in range(passes):
                plain = made
                with self.compute.autocast():
                    made = self.network(plain).float().clamp_(0, 1)
                if keeps_hue:
                    plain = F.interpolate(plain, made.shape[-2:], mode="bicubic", align_corners=False)
                    made = (plain + luminance(made) - luminance(plain)).clamp_(0, 1)
            return made

        tiling: dict[str, Any] = {"tile": self.tile, "overlap": min(OVERLAP, self.tile // 2), "multiple": 2}
        made = run_tiled(one, [pixels], **tiling, batch=self.compute.batch, scale=self.step**passes)
        return made if made.shape[-2:] == size else resized(made, size)

    def __call__(self, restoration: Restoration) -> Restoration:
        """Enlarge the photo. Notes the new size and the factor, and of another program's network what it is."""
        height, width = restoration.pixels.shape[-2:]
        large, wide = self.size(height, width)
        if (large, wide) == (height, width):
            restoration.notes[self.name] = {"kept": "the photo is as large already"}
            return restoration
        one_tint = restoration.tint is not None and not restoration.colored
        foreign = isinstance(self.network, ForeignUpscaler)
        restoration.enlarge(self._enlarged(restoration.pixels, keeps_hue=one_tint and foreign))
        told: dict[str, Any] = {"width": wide, "height": large, "factor": round(wide / width, 3)}
        _finer_faces(restoration, (wide / width, large / height))
        restoration.notes[self.name] = told | (self.network.note if isinstance(self.network, ForeignUpscaler) else {})
        if self.side is not None and max(large, wide) < self.side:
            restoration.warnings.append(
                f"enlarged to {max(large, wide)} pixels, not to {self.side}: {self.most:g} times are the most"
            )
        return restoration


def _finer_faces(restoration: Restoration, times: tuple[float, float]) -> None:
    """Put the detail of refined faces into the photo, which is `times` as wide and high as when they were pasted."""
    refined = [(face.light, face) for face in restoration.faces if face.light is not None]
    if not refined:
        return
    frame = restoration.frame()  # comes back as it was, with the faces in it
    if frame is not None:
        refined = [(light, face) for light, face in refined if not frame[(0, 0, *_middle(face, frame))]]
    if refined:
        lights, points = [light for light, _ in refined], [face.points for _, face in refined]
        made = paste_finer(channels_last(restoration.pixels[0]), lights, points, times)
        restoration.pixels = torch.from_numpy(made).permute(2, 0, 1)[None].to(restoration.pixels.device)


def _middle(face: Face, frame: Tensor) -> tuple[int, int]:
    """Row and column of the pixel in the middle of a face."""
    x, y = face.points.mean(0).astype(int).tolist()
    return min(max(y, 0), frame.shape[-2] - 1), min(max(x, 0), frame.shape[-1] - 1)
