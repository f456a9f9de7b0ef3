"""Stage `scratches`: finds damage."""

import math
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor

from bringback.errors import known_names
from bringback.images.adapters import accepts_any_image
from bringback.models.unet import EAGER, ScratchUNet, join_norms_
from bringback.ops.areas import Area, fill_inside, missing
from bringback.ops.infrared import find_dust
from bringback.ops.masks import SOUND, fill_mask
from bringback.ops.opencv import GradientSettings, gradient_mask
from bringback.ops.strips import strips
from bringback.ops.tiled_fill import fill_into
from bringback.ops.views import View
from bringback.runtime.compute import Cast, Compute
from bringback.stages.base import StageBase
from bringback.stages.guards import Found, judge_
from bringback.stages.looks import FINER, Looks, seen_scale
from bringback.stages.record import Restoration
from bringback.weights.checkpoints import Checkpoints

TILE = 512
# Bytes per pixel at the native scale: logits, and for a second look the photo without its pattern, in half precision,
# its logits, and these again with both coarser; and the photo, if it was shrunk.
_LOOKS, _SHRUNK = 4 + 6 + 4 + 8, 12
_A_PIXEL = 770  # bytes per pixel of a tile being processed, at most; measured in float32: 560 to 760
# Bytes per pixel that the guards look at, and how many those are at most: measured (`ops.same_tone` 90, the photo 12,
# the other guards less). It is more than the tiles take only where these are small, or on a GPU.
_JUDGED, _JUDGED_AT_MOST = 106, 1 << 20
_GRADIENT = 14  # bytes per pixel with the method "gradient", measured
_TOLD = 0.01  # share of a photo that was not believed, above which a person should look at it
# Where a scan has infrared that shows dust, what is seen in the picture alone is dust that infrared missed, one speck
# in twenty in scans out of register, or detail of the picture: the odds of damage are lower by so much, ln(1 / 20).
_CLEARED = 3.0
_ALL = 0.995  # share of a photo from which on it is called all of it

METHODS = ("unet", "gradient")
INFRARED = ("auto", "off")  # whether the infrared channel of a scan is looked at, if it has one


class ScratchDetector(StageBase):
    """Finds scratches, dust, stains and cracks: by the scratch U-Net at several scales, or by gradients."""

    name = "scratches"
    in_areas = True

    def __init__(
        self,
        means: ScratchUNet | GradientSettings,
        compute: Compute | torch.device | str = "cpu",
        *,
        infrared: str = "auto",
    ) -> None:
        """Args: means: the network, or the settings of `ops.opencv.gradient_mask`; infrared: one of `INFRARED`."""
        if infrared not in INFRARED:
            raise ValueError(f"unknown way with infrared {infrared!r}: one of {known_names(infrared, INFRARED)}")
        self.means, self.compute, self.infrared = means, Compute.of(compute), infrared
        self.at_native_scale = not isinstance(means, GradientSettings)
        self._cast = Cast(join_norms_)  # a seventh of the network's time
        if self.at_native_scale:
            self.tile = self.compute.tile or TILE

    @classmethod
    def from_checkpoints(
        cls,
        checkpoints: Checkpoints,
        compute: Compute | torch.device,
        method: str = "unet",
        infrared: str = "auto",
        **settings: Any,
    ) -> Self:
        """With the checkpoint `scratches`; with method "gradient" without one, `settings` are of `GradientSettings`.

        Raises ValueError for an unknown method or values out of range.
        """
        if method not in METHODS:
            raise ValueError(f"unknown detector {method!r}: one of {known_names(method, METHODS)}")
        if method == "gradient":
            return cls(GradientSettings(**settings), compute, infrared=infrared)
        network = checkpoints.load("scratches", ScratchUNet, Compute.of(compute).device)
        return cls(network, compute, infrared=infrared, **settings)

    def needs(self, height: int, width: int, tile: int | None, scale: float = 1.0) -> int:
        """Bytes in addition to photo, pixels and mask; `tile` limits the stage's own tiles."""
        if isinstance(self.means, GradientSettings):
            return _GRADIENT * height * width
        used = seen_scale(height, width, scale)
        size = round(height / used), round(width / used)
        looks = Looks(self.means, self.compute, min(tile or self.tile, self.tile))
        # finer detail is looked for in the photo's own tiles
        largest = max(looks.at_once(*size), looks.at_once(height, width) if used > FINER else 0)
        held = _LOOKS + (_SHRUNK if used != 1 else 0)
        found = held * math.prod(size) + self.compute.tiles_need(largest, self.tile, tile, _A_PIXEL)
        return max(found, _JUDGED * min(math.prod(size), _JUDGED_AT_MOST))

    @accepts_any_image
    def detect(self, pixels: Tensor, scale: float = 1.0) -> Tensor:
        """Photos (B, 3, H, W) in [0, 1] -> their damage masks (B, 1, H, W) in [0, 1]; filling begins at 0.5.

        The network looks at the photos at their native `scale`; at twice and four times that, for broad stains; and at
        their own, where detail finer than the native scale stands out, for dust and hairs thinner than anything the
        print shows. The largest odds count, those of coarser scales lowered by `SURER`, and not where the native scale
        shows that they are the picture. Small photos are enlarged.

        The network's logits for a photo and its mirror image, enlarged, are averaged (the self-ensemble of Lim et al.
        2017), because their errors differ; at coarser scales one look is enough. Where a photo has a periodic pattern,
        as the dots of a newspaper, only what is still seen after the pattern was removed counts. What the marks are
        worth is judged by `guards.judge_`. Gradient masks are binary, and made at the photos' own scale.
        """
        return self._find(pixels, scale)[0]

    def _find(self, pixels: Tensor, scale: float) -> tuple[Tensor, list[Found]]:
        """The masks of photos, and what else was found in each."""
        found = [Found() for _ in pixels]
        if isinstance(self.means, GradientSettings):
            return gradient_mask(pixels, self.means), found
        looks = Looks(self._cast.of(self.means, self.compute.dtype), self.compute, self.tile)
        odds, periodic = looks.united(pixels, scale)
        odds.add_(EAGER)
        used = max(1.0, seen_scale(pixels.shape[-2], pixels.shape[-1], scale))
        for number, about in enumerate(found):
            about.periodic, own = periodic[number], slice(number, number + 1)
            judge_(odds[own], View(pixels[own], used), about)
        return odds.sigmoid_(), found

    def _find_inside(self, pixels: Tensor, areas: tuple[Area, ...], scale: float) -> tuple[Tensor, Found]:
        """`_find` for one photo with a frame around its picture `areas`, which is not looked at; () is the whole photo.

        Border, page and lid are flat and end at a straight line: to the network they look like damage. So does a mount
        around an oval, in whose place it is shown the picture continued.
        """
        if not areas:
            found, (about,) = self._find(pixels, scale)
            return found, about
        mask, whole = torch.zeros_like(pixels[:, :1]), Found()
        for number, area in enumerate(areas):
            seen = pixels[area.part]
            if area.is_round:
                fill_into(seen := seen.clone(), (~area.inside()).to(seen), device=self.compute.device)
            found, about = self._find_inside(seen, (), scale)
            mask[area.part] = torch.maximum(mask[area.part], found * area.inside().to(found))
            share = found.numel() / mask.numel()
            whole.add(about, share, number)
        return mask, whole

    def _known(self, restoration: Restoration) -> tuple[Tensor | None, Tensor | None]:
        """The damage that is known before the detector looks, given or in infrared, and where infrared was looked at.

        Both are (1, 1, H, W), the second bool, or None.
        """
        infrared = restoration.photo.infrared
        if self.infrared == "off" or infrared is None or infrared.shape != restoration.pixels.shape[-2:]:
            return restoration.mask, None
        found, refused = torch.zeros_like(restoration.pixels[:, :1]), dict[str, None]()
        looked = torch.zeros_like(found, dtype=torch.bool)
        parts: list[tuple[Any, Any]] = [(area.part, area.inside().to(found.device)) for area in restoration.areas]
        for part, inside in parts or [(..., torch.ones_like(looked))]:
            dust = find_dust(infrared[part], restoration.pixels[part])
            if dust.mask is None:
                refused[dust.refused] = None
            else:
                found[part] = torch.maximum(found[part], dust.mask * inside)
                looked[part] |= inside
        restoration.warnings += refused
        share = int(torch.count_nonzero(found > SOUND)) / found.numel()
        restoration.notes[self.name] = {"infrared_share": round(share, 5)}
        return (found if restoration.mask is None else torch.maximum(restoration.mask, found)), looked

    def __call__(self, restoration: Restoration) -> Restoration:
        """Set the photo's damage mask, of its picture areas only; a given one is united with what is found, all of it.

        So is dust that a scan shows in infrared, and what is missing of torn prints. Notes the share of pixels above
        0.5, those of dust and of what is missing, and what `Found` tells; warns of the latter, and of a channel that is
        no use. Where infrared has been looked at, what is seen in the picture alone has to be surer. If all that is
        sharp turns out to be damage, the photo is looked at again, as soft as it is otherwise, and has that native
        scale.
        """
        pixels, (given, looked) = restoration.pixels, self._known(restoration)
        gone = missing(restoration.areas, *pixels.shape[-2:])
        if gone is not None:
            gone = gone.to(pixels.device)
            given = gone if given is None else torch.maximum(given, gone)
        if given is not None:  # known damage must not cause false alarms around it
            pixels = pixels.clone()
            fill_inside(pixels, fill_mask(given), restoration.areas, partial(fill_into, device=self.compute.device))
        found, about = self._find_inside(pixels, restoration.areas, restoration.scale)
        if restoration.softer and restoration.take_softer(found if given is None else torch.maximum(given, found)):
            del found  # there is no room for it beside what is found now
            found, about = self._find_inside(pixels, restoration.areas, restoration.scale)
        if looked is not None:
            for rows in strips(found):
                odds = found[..., rows, :]
                lowered = odds / (odds + (1 - odds) * math.exp(_CLEARED))
                found[..., rows, :] = torch.where(looked[..., rows, :], lowered, odds)
        restoration.pages = frozenset(about.paper)
        restoration.seen = found > SOUND
        if given is not None:
            restoration.seen &= given <= SOUND
        restoration.mask = found if given is None else torch.maximum(given, found)
        self._tell(restoration, about, gone, given is not None)
        return restoration

    def _tell(self, restoration: Restoration, about: Found, gone: Tensor | None, knew: bool) -> None:
        """Notes and warnings of what was found, and of what is `gone`, (1, 1, H, W) or None for nothing.

        `knew` is whether damage was known before, which is filled in any case.
        """
        share = int(torch.count_nonzero(restoration.damage() > SOUND)) / restoration.damage().numel()
        notes = restoration.notes.setdefault(self.name, {})
        notes["damaged_share"] = round(share, 5)
        if gone is not None:
            notes["missing_share"] = round(gone.mean().item(), 5)
        if about.periodic:
            notes["periodic_share"] = round(about.periodic, 5)
            restoration.warnings.append(
                f"printed dots or paper texture on {100 * about.periodic:.0f} %: only other damage is filled there"
            )
        if about.page:
            notes["page_share"], notes["on_page_share"] = round(about.page, 5), round(about.on_page, 5)
            like = "writing or a drawing: its tones stay" if about.paper else "stars"
            only = " but known damage" if knew else ""
            of_it, there = ("", "") if about.page > _ALL else (f"{100 * about.page:.0f} % of it ", " there")
            restoration.warnings.append(f"{of_it}looks like {like}, nothing{only} is filled{there}")
        if about.writing:
            notes["writing_share"] = round(about.writing, 5)
        if about.withdrawn:
            notes["withdrawn_share"] = round(about.withdrawn, 5)
            if about.withdrawn > _TOLD:
                restoration.warnings.append(
                    f"{100 * about.withdrawn:.0f} % may be damaged, but that is too doubtful to be filled"
                )
