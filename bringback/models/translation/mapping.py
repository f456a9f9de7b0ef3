"""The mapping from the latent of an old photo to that of a clean one."""

from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bringback.models.base import Network
from bringback.models.layers import ResidualBlock, pad_to, zero_init
from bringback.models.translation.blend_gate import BlendGate
from bringback.models.translation.partial_nonlocal import PartialNonLocal
from bringback.models.translation.vae import VAE
from bringback.runtime.compute import autocast_to

_SCALE = 8.0  # divisor of latents: their standard deviation is a few units, most of it due to the mean color


class LatentMapping(Network, license="apache-2.0", tags=["photo-restoration"]):
    """Old latent (B, C, h, w) and damage mask (B, 1, h, w), 1 = damaged -> clean latent, any size.

    A small U-Net over the latent, with the mask as an additional channel: residual blocks at 1, 1/2, 1/4, ... of its
    size, the partial non-local block at the bottom. Predicts the residual and starts as the identity. The submodule
    `trust` predicts where to keep the photo's own pixels instead of the decoded ones.
    Args: channels: of the latents; widths: channels of the levels; blocks: residual blocks of each level, on either
    side; inner: channels of the attention; old_vae, clean_vae: SHA-256 of the VAEs it was trained with ("" = any);
    gate: hidden channels of `trust`.
    """

    def __init__(
        self,
        channels: int = 64,
        widths: tuple[int, ...] = (96, 144, 176),
        blocks: tuple[int, ...] = (4, 3, 2),
        inner: int = 96,
        old_vae: str = "",
        clean_vae: str = "",
        gate: int = 48,
    ) -> None:
        super().__init__()
        self.old_vae, self.clean_vae = old_vae, clean_vae
        self.stem = nn.Conv2d(channels + 1, widths[0], 3, padding=1)
        steps = list(pairwise(widths))
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in steps)
        lifts = [nn.Conv2d(b, a, 1) for a, b in steps]
        for lift in lifts:  # small init for the upsampled path
            nn.init.normal_(lift.weight, std=0.01)
        self.up = nn.ModuleList(lifts)
        self.before, self.after = (
            nn.ModuleList(
                nn.Sequential(*(ResidualBlock(w) for _ in range(n))) for w, n in zip(widths, blocks, strict=True)
            )
            for _ in range(2)
        )
        self.attention = PartialNonLocal(widths[-1], inner)
        self.head = nn.Conv2d(widths[0], channels, 3, padding=1)
        zero_init(self.head)
        self.trust = BlendGate(gate)

    def _fit(self, state: dict[str, Tensor], place: Path | str) -> None:
        self.trust.complete(state, "trust.")
        super()._fit(state, place)

    def tie(self, **hashes: str) -> None:
        """Set the SHA-256 of its VAEs, `old_vae` and `clean_vae`, in the config."""
        for name, sha256 in hashes.items():
            setattr(self, name, sha256)
            self._hub_mixin_config[name] = sha256  # type: ignore[index]

    def forward(self, latent: Tensor, mask: Tensor, seen: Tensor | None = None) -> Tensor:
        """For a tile, `seen` are the attention's sums over the whole photo, from `look` and `attention.pool`."""
        height, width = latent.shape[-2:]
        skips, x, coarse = self._descend(latent, mask)
        x = self.after[-1](self.attention(self.before[-1](x), coarse, seen))
        for up, after in zip(reversed(self.up), reversed(self.after[:-1]), strict=True):
            x = after(F.interpolate(up(x), scale_factor=2.0, mode="nearest").add_(skips.pop()))
        return self.head(x)[..., :height, :width].to(latent.dtype).mul_(_SCALE).add_(latent)

    def look(self, latent: Tensor, mask: Tensor) -> Tensor:
        """The attention's keys and values (B, 2 * inner + 1, h, w), at the resolution of the coarsest level."""
        _, x, coarse = self._descend(latent, mask)
        return self.attention.look(self.before[-1](x), coarse)

    def _descend(self, latent: Tensor, mask: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        multiple = 2 ** len(self.down)
        coarse = pad_to(mask, multiple)
        # the stem applied to (latent / _SCALE, mask), without the memory for concatenating them
        of_latent, of_mask = self.stem.weight.split([latent.shape[1], 1], 1)
        x = F.conv2d(pad_to(latent, multiple), of_latent / _SCALE, self.stem.bias, padding=1)
        x = x.add_(F.conv2d(coarse, of_mask, padding=1))
        skips: list[Tensor] = []
        for before, down in zip(self.before[:-1], self.down, strict=True):
            skips.append(before(x))
            x = down(skips[-1])
            coarse = F.max_pool2d(coarse, 2)
        return skips, x, coarse


def translate(old_vae: VAE, mapping: LatentMapping, clean_vae: VAE, pixels: Tensor, mask: Tensor) -> Tensor:
    """Filled photos (B, 3, H, W) -> what `decoded` gives, blended with the photos by its trust; not clamped."""
    made, trust = decoded(old_vae, mapping, clean_vae, pixels, mask)
    return torch.lerp(made, pixels, trust)


def decoded(
    old_vae: VAE,
    mapping: LatentMapping,
    clean_vae: VAE,
    pixels: Tensor,
    mask: Tensor,
    *,
    dtype: torch.dtype = torch.float32,
    seen: Tensor | None = None,
    noise: Tensor | None = None,
    keeps: Tensor | float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Encode filled photos (B, 3, H, W), translate their latents, decode; and trust, where the photos are better.

    Mask (B, 1, H, W), 1 = filled, max-pooled to the latent's size. `dtype` is the autocast dtype of convolutions; the
    decoder's sums and head stay float32 to avoid banding in smooth skies. `seen` is as in `LatentMapping.forward`,
    `noise` is `looked` of the gate and `keeps` its own. Returns (B, 3, H, W), not clamped, and (B, 1, H, W).
    """
    coarse = F.max_pool2d(mask, old_vae.stride, ceil_mode=True)
    with autocast_to(pixels.device, dtype):
        latent = mapping(old_vae.encode(pixels).to(pixels.dtype), coarse, seen).to(pixels.dtype)
    made = clean_vae.decode(latent, (pixels.shape[-2], pixels.shape[-1]), dtype).to(pixels.dtype)  # under autocast too
    return made, mapping.trust(pixels, made, mask, noise, keeps)
