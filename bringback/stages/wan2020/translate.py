"""Stage `translate` of the original method: the whole photo at once, damage painted white."""

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.images.adapters import accepts_any_image
from bringback.models.wan2020.mapping import PaperMapping
from bringback.models.wan2020.vae import PaperVAE
from bringback.ops.metrics import mean_change
from bringback.runtime.compute import Compute
from bringback.stages.base import StageBase
from bringback.stages.record import Restoration
from bringback.stages.wan2020.resizing import resize, rounded
from bringback.weights.checkpoints import Checkpoints

_A_PIXEL = 640  # bytes per pixel in VAEs and mapping, measured in float32
CLEAN_VAES = {"quality": "quality", "scratch": "scratch", "hr": "scratch"}  # by mapping


class PaperTranslator(StageBase):
    """Old VAE's encoder, mapping, clean VAE's decoder, at the original's rounded size.

    Its instance norms need the whole photo, so there is no tiling; memory is linear in the number of pixels.
    """

    name = "translate"

    def __init__(
        self,
        old_vae: PaperVAE,
        mapping: PaperMapping,
        clean_vae: PaperVAE,
        compute: Compute | torch.device | str = "cpu",
        *,
        paint: bool = True,
        grow: int = 0,
    ) -> None:
        """Args: paint: whether damage is painted white; sides are rounded to multiples of 16, otherwise of 4;
        grow: pixels by which the damage is dilated first.
        """
        self.old_vae, self.mapping, self.clean_vae, self.compute = old_vae, mapping, clean_vae, Compute.of(compute)
        self.paint, self.grow = paint, grow

    @classmethod
    def from_checkpoints(
        cls, checkpoints: Checkpoints, compute: Compute | torch.device, *, mapping: str = "scratch"
    ) -> Self:
        """With the networks for scratched photos ("scratch"), large ones ("hr") or ones without scratches ("quality").

        Raises `MissingWeights`, and ValueError for an unknown mapping.
        """
        if mapping not in CLEAN_VAES:
            raise ValueError(f"mapping {mapping!r}: one of {', '.join(CLEAN_VAES)}")
        device = Compute.of(compute).device
        return cls(
            checkpoints.load("paper_old_vae", PaperVAE, device),
            checkpoints.load(f"paper_mapping_{mapping}", PaperMapping, device),
            checkpoints.load(f"paper_clean_vae_{CLEAN_VAES[mapping]}", PaperVAE, device),
            compute,
            paint=mapping != "quality",
            grow=3 if mapping == "hr" else 0,
        )

    def needs(self, height: int, width: int, tile: int | None) -> int:
        """Bytes in addition to photo, pixels and mask: the feature maps of the whole photo."""
        return 12 * height * width + self.compute.tiles_need(height * width, max(height, width), None, _A_PIXEL)

    @accepts_any_image
    def translate(self, pixels: Tensor, mask: Tensor | None = None) -> Tensor:
        """Photos (B, 3, H, W) in [0, 1] and damage masks (B, 1, H, W), damaged above 0.5, or None -> restored."""
        home, size = pixels.device, (pixels.shape[-2], pixels.shape[-1])
        mask = torch.zeros_like(pixels[:, :1]) if mask is None else (mask > 0.5).to(pixels)
        multiple, mode = (16, "bicubic") if self.paint else (4, "bilinear")
        inner = rounded(size[0], multiple), rounded(size[1], multiple)
        photo = resize(pixels, inner, mode).to(self.compute.device)
        # damage one pixel wide is kept: at least half of it falls on one new pixel
        mask = (resize(mask, inner, "bilinear") > 0.4).to(photo)
        if self.grow:
            mask = F.max_pool2d(mask, 2 * self.grow + 1, stride=1, padding=self.grow)
        if self.paint:
            photo = torch.maximum(photo, mask)
        with self.compute.autocast():
            latent = self.mapping(self.old_vae.encode(photo), mask)
        decoded = self.clean_vae.decode(latent.float())  # in bfloat16 it would have 256 tones
        return resize(decoded.to(home), size)

    def __call__(self, restoration: Restoration) -> Restoration:
        """Translate the photo. Notes the mean absolute change, in [0, 1] units."""
        restored = self.translate(restoration.pixels, restoration.mask)
        change = mean_change(restored, restoration.pixels)
        restoration.pixels, restoration.notes[self.name] = restored, {"mean_change": round(change, 4)}
        return restoration
