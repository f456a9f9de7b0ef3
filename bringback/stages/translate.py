"""Stage `translate`: noise, blur, compression and texture, by latent translation (Wan et al. 2020)."""

from typing import Self

import torch
from torch import Tensor

from bringback.checkpoints import Checkpoints
from bringback.nets.mapping import Mapping, translate
from bringback.nets.vae import VAE
from bringback.restoration import Restoration
from bringback.stages.fill import replaced
from bringback.tiling import run_tiled

_TILE, _OVERLAP = 640, 96


class LatentTranslator:
    """Old VAE encoder, mapping, clean VAE decoder."""

    name = "translate"

    def __init__(self, old_vae: VAE, mapping: Mapping, clean_vae: VAE, device: torch.device) -> None:
        self.old_vae, self.mapping, self.clean_vae, self.device = old_vae, mapping, clean_vae, device

    @classmethod
    def from_checkpoints(cls, checkpoints: Checkpoints, device: torch.device) -> Self:
        """With the checkpoints `old_vae`, `mapping`, `clean_vae`; MissingWeights when they do not belong together."""
        mapping = checkpoints.load("mapping", Mapping, device)
        checkpoints.check_vaes(mapping)
        vaes = [checkpoints.load(name, VAE, device) for name in ("old_vae", "clean_vae")]
        return cls(vaes[0], mapping, vaes[1], device)

    @torch.inference_mode()
    def translate(self, pixels: Tensor, filled: Tensor | None = None) -> Tensor:
        """Filled photos (B, 3, H, W) and how far they were filled, (B, 1, H, W) or None -> restored, all in [0, 1]."""
        filled = torch.zeros_like(pixels[:, :1]) if filled is None else filled

        def one(tile: Tensor, holes: Tensor) -> Tensor:
            parts = (self.old_vae, self.mapping, self.clean_vae)
            return translate(*parts, tile.to(self.device), holes.to(self.device)).clamp(0, 1).to(pixels.device)

        return run_tiled(one, [pixels, filled], tile=_TILE, overlap=_OVERLAP, multiple=16)

    def __call__(self, restoration: Restoration) -> Restoration:
        """Translate the photo, told where it has been filled. Notes the mean absolute change, in [0, 1] units."""
        restored = self.translate(restoration.pixels, replaced(restoration.damage()))
        change = float((restored - restoration.pixels).abs().mean())
        restoration.pixels, restoration.notes[self.name] = restored, {"mean_change": round(change, 4)}
        return restoration
