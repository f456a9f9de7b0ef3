"""Stage `translate`: removes noise, blur and compression artifacts by latent translation (Wan et al. 2020)."""

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.images.adapters import accepts_any_image
from bringback.models.native_scale import noise_scale
from bringback.models.translation.mapping import LatentMapping, decoded
from bringback.models.translation.vae import VAE
from bringback.ops.blocks import Blocks, without_blocks
from bringback.ops.impulses import without_impulses
from bringback.ops.masks import ramp
from bringback.ops.metrics import mean_change
from bringback.ops.patterns import Pattern
from bringback.ops.scale import KNOWN, carry_back, divisor, shrink
from bringback.ops.texture import bring_back_, quietest, telling, texture, would_change
from bringback.ops.tiling import run_tiled, tiles
from bringback.ops.tiny import TINY, wear
from bringback.runtime.compute import Compute
from bringback.stages.base import StageBase
from bringback.stages.record import Restoration, own_pixels
from bringback.weights.checkpoints import Checkpoints

TILE, OVERLAP = 896, 48
_SHRUNK = 12 + 4 + 12  # bytes per pixel of a photo at its native scale, if that is not its own
# A photo is shrunk by this power of its native scale: what blurred it before it was enlarged makes that scale larger,
# and blur is undone better with some room. Measured: 0.3 dB on photos scanned at twice their resolution. More room than
# `_MOST_ROOM` gains nothing, and the networks sharpen sound photos in it: 1 dB of those scanned at 8 times.
_ROOM, _MOST_ROOM = 0.7, 1.5
# Added to the log odds by which the gate keeps what a photo has, if that is larger than it is sharp, as by a scanner:
# to the networks a soft scan of a sound print looks like a blurred one. It gains 1.4 dB for sound scans of twice their
# resolution and 2.2 of four times, and costs worn ones 0.1 dB there and 0.01 at their own.
_KEEPS = 2.5
# Shrunk to its native scale, a soft scan of a sound print looks sound to the gate, and one of a worn print does not. So
# the gate is asked there, too, or at half size if that is less, in the middle of the photo, `_SAMPLE` pixels a side:
# of the share that it keeps there, what is between these two counts, up to so much. Photos that are too little enlarged
# to be shrunk may as well be blurred themselves, and look as sound when they are shrunk by `_LESS`: there only what it
# keeps beyond that counts, and more carefully for those of less than `KNOWN`. Chosen on photos of the training set, as
# is the scale above which it is not asked: worn copies that were enlarged are taken for more, and shrunk so far their
# noise is gone. What was enlarged by exactly 4 is taken for 3.84.
_SECOND, _LESS, _SAMPLE, _FAR = 2.0, 1.5, 512, 3.9
_SOUND, _SOUND_IN_DOUBT = (0.1, 0.35, 10.0), (0.0, 0.25, 4.0)
# Where a print's noise was enlarged with it, see `native_scale.noise_scale`, nothing at all is added if the gate keeps
# less than this of it, and the networks see it at the scale of its noise, without any room: it is whitest there, as in
# the lessons, and impulses are single pixels again. Such scans of twice their resolution gain 0.2 dB by that.
_WORN = 0.02, 0.1
_NEAR = 1.15  # the scale of noise is that of its photo, if they differ by less than this factor
_CELLS = 3  # bytes per pixel of what is known of cells, see `ops.texture`, after the tiles
_A_PIXEL = 205  # bytes per pixel of a tile being processed, measured


class LatentTranslator(StageBase):
    """Old VAE encoder, mapping, clean VAE decoder."""

    name = "translate"
    at_native_scale = True
    in_areas = True

    def __init__(
        self, old_vae: VAE, mapping: LatentMapping, clean_vae: VAE, compute: Compute | torch.device | str = "cpu"
    ) -> None:
        self.old_vae, self.mapping, self.clean_vae, self.compute = old_vae, mapping, clean_vae, Compute.of(compute)
        self.tile = self.compute.tile or TILE

    @classmethod
    def from_checkpoints(cls, checkpoints: Checkpoints, compute: Compute | torch.device) -> Self:
        """With the checkpoints `old_vae`, `mapping`, `clean_vae`; raises `MissingWeights` if they do not match."""
        device = Compute.of(compute).device
        mapping = checkpoints.load("mapping", LatentMapping, device)
        checkpoints.check_vaes(mapping)
        vaes = [checkpoints.load(name, VAE, device) for name in ("old_vae", "clean_vae")]
        return cls(vaes[0], mapping, vaes[1], compute)

    def needs(self, height: int, width: int, tile: int | None, scale: float = 1.0) -> int:
        """Bytes in addition to photo, pixels and masks: the result, a tile being processed, and cells."""
        seen = round(height * width / _times(scale) ** 2)
        at_work = self.compute.tiles_need(seen, self.tile, tile, _A_PIXEL) + _CELLS * seen
        if scale > 1:
            at_work = max(at_work, _A_PIXEL * min(min(_SAMPLE, self.tile, tile or self.tile) ** 2, seen))
        if seen < height * width:  # the shrunk photo, mask and result
            at_work += _SHRUNK * seen
        return 12 * height * width + at_work

    @accepts_any_image
    def translate(self, pixels: Tensor, filled: Tensor | None = None, scale: float = 1.0) -> Tensor:
        """Filled photos (B, 3, H, W) and how far they were filled, (B, 1, H, W) or None -> restored, all in [0, 1].

        The networks see the photos shrunk by about their native `scale`; what they change is carried back, see
        `scale.carry_back`. If it is above 1, more is kept of what was not filled, see `_KEEPS`. Large photos are tiled,
        but their filled places attend to the whole photo. Where a photo has a periodic pattern, see `ops.patterns`, its
        tones stay, and where that would become stronger, all of it. What would change far more than the quietest places
        of a photo is texture and stays, too, see `ops.texture`. Sound places of very small photos change
        as far as they are surely worn, see `ops.tiny`. Blocks of repeated pixels are smoothed first, see `ops.blocks`,
        and impulse noise is taken out, see `ops.impulses`: in a photo that is sound otherwise, the gate would keep it.
        """
        return self._restored(without_impulses(without_blocks(pixels)), filled, scale)[0]

    def _restored(self, pixels: Tensor, filled: Tensor | None, scale: float) -> tuple[Tensor, list[float]]:
        """Restored photos, and the share of each that stays as it is because its pattern would become stronger."""
        filled = torch.zeros_like(pixels[:, :1]) if filled is None else filled
        if len(pixels) > 1 and divisor(scale) > 1:  # their noise differs
            pairs = zip(pixels.split(1), filled.split(1), strict=True)
            parts, shares = zip(*(self._restored(photo, holes, scale) for photo, holes in pairs), strict=True)
            return torch.cat(parts), [own for share in shares for own in share]
        noisy = divisor(scale) > 1 and _noise_was_enlarged(pixels, scale)
        times, keeps = scale if noisy else _times(scale), self._keeps(pixels, filled, scale, noisy)
        if times == 1:
            return self._at_its_scale(pixels, filled, keeps)
        before = shrink(pixels, times)
        seen = without_impulses(before) if noisy else before
        after, kept = self._at_its_scale(seen, shrink(filled, times), keeps)
        return carry_back(pixels, before, after), kept

    def _keeps(self, pixels: Tensor, filled: Tensor, scale: float, noisy: bool = False) -> Tensor:
        """What is added to the gate's log odds for each photo, (B, 1, 1, 1), see `_KEEPS` and `_SOUND`.

        `noisy`: its noise was enlarged with it.
        """
        if scale <= 1:
            return torch.zeros(len(pixels), 1, 1, 1, device=self.compute.device)
        if scale > _FAR:
            return torch.full((len(pixels), 1, 1, 1), _KEEPS, device=self.compute.device)
        sound, known = self._sound(pixels, filled, max(scale, _SECOND)), scale >= KNOWN
        if divisor(scale) == 1:
            sound = sound - self._sound(pixels, filled, _LESS)
        least, most, more = _SOUND if known else _SOUND_IN_DOUBT
        own = _KEEPS * ramp(sound, *_WORN) if noisy else torch.full_like(sound, _KEEPS if known else 0.0)
        return own + more * ramp(sound, least, most)

    @torch.no_grad()
    def _sound(self, pixels: Tensor, filled: Tensor, times: float) -> Tensor:
        """The mean share (B, 1, 1, 1) that the gate keeps of what was not filled, in the middle of photos shrunk so."""
        tile, holes = (
            shrink(_middle(part.detach(), round(min(_SAMPLE, self.tile) * times)), times).to(self.compute.device)
            for part in (pixels, filled)
        )
        parts, own = (self.old_vae, self.mapping, self.clean_vae), 1 - holes
        _, kept = decoded(*parts, tile, holes, dtype=self.compute.dtype)
        return (kept * own).sum((1, 2, 3), keepdim=True) / own.sum((1, 2, 3), keepdim=True).clamp_min(1)

    def _at_its_scale(self, pixels: Tensor, filled: Tensor, keeps: Tensor) -> tuple[Tensor, list[float]]:
        """`_restored` of photos as large as the networks see them."""
        after = self._translated(pixels, filled, keeps)
        owns = [slice(number, number + 1) for number in range(len(pixels))]
        patterns = [Pattern.of(pixels[own].detach()) for own in owns]
        return after, [
            pattern.restrain_(pixels[own], after[own]) if pattern else 0.0
            for own, pattern in zip(owns, patterns, strict=True)
        ]

    def _translated(self, pixels: Tensor, filled: Tensor, keeps: Tensor) -> Tensor:
        """Photos that went through the networks at their own scale."""
        seen, noise = self._seen(pixels, filled), self.mapping.trust.look(pixels).to(self.compute.device)
        # of each photo: what was not filled, and what tells and stays; and what would change in windows of it
        sums, windows = torch.zeros(len(pixels), 2, device=self.compute.device), list[Tensor]()

        def one(tile: Tensor, holes: Tensor) -> Tensor:
            parts = (self.old_vae, self.mapping, self.clean_vae)
            tile, holes = tile.to(self.compute.device), holes.to(self.compute.device)
            photo = torch.arange(len(tile), device=tile.device) % len(noise)  # tiles come photo by photo
            looked, kept = noise[photo], keeps[photo]
            made, trust = decoded(*parts, tile, holes, dtype=self.compute.dtype, seen=seen, noise=looked, keeps=kept)
            with torch.no_grad():
                tells = telling(tile, holes)
                shares = torch.cat([1 - holes, trust * tells], 1).mean((2, 3)).to(sums)
                # not added by `photo`: on GPUs that would be in any order
                sums.add_(shares.unflatten(0, (-1, len(pixels))).sum(0))
                changes = would_change((tile - made).square().mean(1, keepdim=True), tells)
                windows.extend(changes.unflatten(0, (-1, len(pixels))))
            return torch.lerp(made, tile, trust).clamp_(0, 1)

        made = run_tiled(one, [pixels, filled], **self._tiling, batch=self.compute.batch)
        with torch.no_grad():
            sound, stays = sums.clamp_min(1e-12).to(pixels).unbind(1)
            quiet = quietest(torch.cat(windows, 1)).to(pixels)
            sure = texture(pixels, made, filled, stays / sound, quiet)
        if sure is not None:
            bring_back_(made, pixels, filled, sure)
        if pixels.shape[-2] * pixels.shape[-1] < TINY**2:
            made = torch.lerp(pixels, made, torch.maximum(filled, self._wear(pixels, filled, keeps)))
        return made

    @torch.no_grad()
    def _wear(self, pixels: Tensor, filled: Tensor, keeps: Tensor) -> Tensor:
        """`tiny.wear` of small photos."""
        parts, where = (self.old_vae, self.mapping, self.clean_vae), self.compute.device
        before, holes = (part.detach().to(where) for part in (pixels, filled))
        made, trust = decoded(*parts, before, holes, dtype=self.compute.dtype, keeps=keeps)
        return wear(before, made, holes, trust).to(pixels)

    def __call__(self, restoration: Restoration) -> Restoration:
        """Translate the photo, given where it was filled. Notes the mean absolute change, in [0, 1] units; what was
        done to impulses and what the networks did are added up; and the side of blocks, if it had any.

        Notes the share that stayed as it was for its periodic pattern, too, and warns of it.
        """
        pixels, filled, change, kept = restoration.pixels, restoration.to_fill(), 0.0, 0.0
        if restoration.blocks is None and own_pixels(restoration.photo).shape == pixels.shape:  # not yet, nor enlarged
            restoration.blocks = Blocks.find(restoration.as_it_came())  # what was filled has none
            if restoration.blocks:
                restoration.pixels = restoration.blocks.smoothed(pixels)
                change = mean_change(restoration.pixels, pixels)
                pixels = restoration.pixels
        if not restoration.areas:
            restoration.pixels = without_impulses(pixels)
            if restoration.pixels is not pixels:
                change += mean_change(restoration.pixels, pixels)
                pixels = restoration.pixels  # frees the memory of those before
            restoration.pixels, (kept,) = self._restored(pixels, filled, restoration.scale)
            change += mean_change(restoration.pixels, pixels)
        # a frame would count as a smooth part of the picture, and end in a step beside it
        for area in restoration.areas:
            part = pixels[area.part]
            share = part.numel() / pixels.numel()
            clean = without_impulses(part)
            if clean is not part:
                area.keep_around_(clean, part)
                change += share * mean_change(clean, part)
                part.copy_(clean)
            del clean  # there is no room for it beside what is made of it
            made, (own,) = self._restored(part, filled[area.part], restoration.scale)
            area.keep_around_(made, part)
            change, kept = change + share * mean_change(made, part), kept + share * own
            part.copy_(made)
        notes = {"mean_change": round(change, 4)}
        if restoration.blocks:
            notes["blocks"] = restoration.blocks.side
        if kept:
            notes["kept_share"] = round(kept, 4)
            restoration.warnings.append(f"translate left {100 * kept:.0f} % alone: the pattern would be stronger")
        restoration.notes[self.name], restoration.cleaned = notes, True
        return restoration

    @property
    def _multiple(self) -> int:
        """Side in pixels of one position of the attention."""
        return self.old_vae.stride * 2 ** len(self.mapping.down)

    @property
    def _tiling(self) -> dict[str, int]:
        return {"tile": self.tile, "overlap": min(OVERLAP, self.tile // 2), "multiple": self._multiple}

    def _seen(self, pixels: Tensor, filled: Tensor) -> Tensor | None:
        """What filled places in all tiles attend to; None if there is only one tile or nothing was filled."""
        height, width = pixels.shape[-2:]
        unit = self._multiple
        # it consists of averages, so errors at tile borders hardly matter
        places = tiles(height, width, **self._tiling | {"overlap": 2 * unit})
        if len(places) == 1 or not filled.any():
            return None
        total: Tensor | None = None
        for place in places:
            tile, holes = (place.cut(x).to(self.compute.device) for x in (pixels, filled))
            coarse = F.max_pool2d(holes, self.old_vae.stride)
            with self.compute.autocast():
                looked = self.mapping.look(self.old_vae.encode(tile).float(), coarse)
            origin = place.rows.own.start // unit, place.columns.own.start // unit
            for axis, (first, span) in enumerate(zip(origin, (place.rows, place.columns), strict=True)):
                looked = looked.narrow(axis - 2, first - span.begin // unit, span.own.stop // unit - first)
            sums = self.mapping.attention.pool(looked, (-(-height // unit), -(-width // unit)), origin)
            total = sums if total is None else total + sums
        return total


def _times(scale: float) -> float:
    """How many times a photo of this native scale is shrunk."""
    times = divisor(scale)
    return max(times**_ROOM, times / _MOST_ROOM)


def _noise_was_enlarged(pixels: Tensor, scale: float) -> bool:
    """Whether a photo has noise that was enlarged as many times as its native scale says."""
    found = noise_scale(pixels.detach())
    return found is not None and max(found / scale, scale / found) < _NEAR


def _middle(pixels: Tensor, side: int) -> Tensor:
    """The middle of photos or masks (B, C, H, W), at most `side` pixels a side."""
    for axis in (-2, -1):
        own = pixels.shape[axis]
        pixels = pixels.narrow(axis, max(0, (own - side) // 2), min(own, side))
    return pixels
