"""Stage `translate`: noise, blur, compression and texture, by latent translation (Wan et al. 2020)."""

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.checkpoints import Checkpoints, MissingWeights
from bringback.nets.mapping import Mapping
from bringback.nets.vae import VAE
from bringback.restoration import Restoration
from bringback.tiling import run_tiled

_TILE, _OVERLAP = 640, 96


def translate(old_vae: VAE, mapping: Mapping, clean_vae: VAE, pixels: Tensor, mask: Tensor) -> Tensor:
    """Encode filled photos (B, 3, H, W), translate their latents, decode: (B, 3, H, W), not clamped.

    Mask (B, 1, H, W), 1 = damaged; a latent position is as damaged as the worst of its 16 pixels.
    """
    latent = old_vae.encode(pixels)
    coarse = F.max_pool2d(mask, old_vae.stride, ceil_mode=True)
    return clean_vae.decode(mapping(latent, coarse), (pixels.shape[-2], pixels.shape[-1]))


class LatentTranslator:
    """Old VAE encoder, mapping, clean VAE decoder."""

    name = "translate"

    def __init__(self, old_vae: VAE, mapping: Mapping, clean_vae: VAE, device: torch.device) -> None:
        self.old_vae, self.mapping, self.clean_vae, self.device = old_vae, mapping, clean_vae, device

    @classmethod
    def from_checkpoints(cls, checkpoints: Checkpoints, device: torch.device) -> Self:
        """With the checkpoints `old_vae`, `mapping`, `clean_vae`; MissingWeights when they do not belong together."""
        mapping = checkpoints.load("mapping", Mapping, device)
        for name, hash_ in checkpoints.hashes(["old_vae", "clean_vae"]).items():
            if getattr(mapping, name) not in ("", hash_):
                raise MissingWeights(f"{checkpoints.folder(name)}: is not the {name} that the mapping was trained with")
        vaes = [checkpoints.load(name, VAE, device) for name in ("old_vae", "clean_vae")]
        return cls(vaes[0], mapping, vaes[1], device)

    @torch.inference_mode()
    def translate(self, pixels: Tensor, mask: Tensor | None = None) -> Tensor:
        """Filled photos (B, 3, H, W) and damage masks (B, 1, H, W) or None -> restored photos, all in [0, 1]."""
        mask = torch.zeros_like(pixels[:, :1]) if mask is None else mask

        def one(tile: Tensor, damage: Tensor) -> Tensor:
            parts = (self.old_vae, self.mapping, self.clean_vae)
            return translate(*parts, tile.to(self.device), damage.to(self.device)).clamp(0, 1).to(pixels.device)

        return run_tiled(one, [pixels, mask], tile=_TILE, overlap=_OVERLAP, multiple=16)

    def __call__(self, restoration: Restoration) -> Restoration:
        restored = self.translate(restoration.pixels, restoration.damage())
        change = float((restored - restoration.pixels).abs().mean())
        restoration.pixels, restoration.notes[self.name] = restored, {"mean_change": round(change, 4)}
        return restoration
