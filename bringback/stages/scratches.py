"""Stage `scratches`: finds damage."""

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from bringback.errors import known_names
from bringback.images.adapters import accepts_any_image
from bringback.models.unet import EAGER, ScratchUNet
from bringback.ops.areas import Area, fill_inside, missing
from bringback.ops.broad import lower_doubtful_
from bringback.ops.gaps import close_gaps_
from bringback.ops.infrared import find_dust
from bringback.ops.masks import SOUND, calm_, certain_share, fill_mask
from bringback.ops.opencv import GradientSettings, gradient_mask
from bringback.ops.pages import Page, find_page
from bringback.ops.patterns import Pattern
from bringback.ops.same_tone import grow_marks_
from bringback.ops.scale import divisor, enlarged_rows, shrink, stands_out
from bringback.ops.snow import lower_snow_
from bringback.ops.strips import strips
from bringback.ops.tiled_fill import fill_into
from bringback.ops.tiling import run_tiled
from bringback.ops.trails import lower_trails_
from bringback.ops.windows import window_maxima
from bringback.ops.writing import lower_writing_
from bringback.runtime.compute import Compute
from bringback.stages.base import StageBase
from bringback.stages.record import Restoration
from bringback.weights.checkpoints import Checkpoints

TILE, OVERLAP = 640, 64
_SHRUNK = 12 + 4 + 8  # bytes per pixel at the native scale: photo, or that without its pattern, logits, both coarser
_AGAIN = 4 + 12  # the same for a second look: its logits; and the photo again, if it was shrunk
_A_PIXEL = 490  # bytes per pixel of a tile being processed, measured in float32
_GRADIENT = 14  # bytes per pixel with the method "gradient", measured

# What a photo shows at its native scale counts as it is. Seen smaller, wires and twigs look like scratches: damage has
# to be surer there, by this much of its log odds for each octave beyond `SPARE`, by which the native scale is usually
# too small.
SURER, SPARE = 2.5, 0.25
FINER = 2  # times as fine as the native scale, from which on detail is too sharp to be the print's
COARSER = (2, 4)  # times the native scale, at which broad stains are looked for
# Where a mark ends is seen at the native scale to about one of its pixels only. What is left of an edge would be drawn
# into the place that is filled: so in the scan, marks reach so many of those pixels farther, where they are surer by
# so much of their log odds than is needed. Chosen on ten held-out photos scanned at twice their resolution.
_EDGE, _LESS = 1.0, 1.0
SMALLEST = 224  # pixels of the shorter side, below which everything in a photo looks like a scratch
# In very small photos everything is as thin as a scratch: they are enlarged for the network until their longer side has
# this many pixels.
SMALL, MOST_ENLARGED = 320, 8

_NOTHING = -12.0  # logit of a place that was not looked at

# Damage rarely covers more of a photo. Where it does, at least so large a share of the mask is certain (0.13 to 0.54 in
# nine photos damaged on purpose); if not, the mask is a false alarm.
_MOST, _CERTAIN = 0.35, 0.1
_TOLD = 0.01  # share of a photo that was not believed, above which a person should look at it
# What is seen after a periodic pattern was removed has to be surer, by so much of its log odds: traces of it are left.
_TRACES = 1.0
# Where a scan has infrared that shows dust, what is seen in the picture alone is dust that infrared missed, one speck
# in twenty in scans out of register, or detail of the picture: the odds of damage are lower by so much, ln(1 / 20).
_CLEARED = 3.0
_ALL = 0.995  # share of a photo from which on it is called all of it


METHODS = ("unet", "gradient")
INFRARED = ("auto", "off")  # whether the infrared channel of a scan is looked at, if it has one


def _used(height: int, width: int, scale: float) -> float:
    """The scale at which the network sees a photo of this size and native scale first; below 1 it is enlarged."""
    fits = max(1.0, min(height, width) / SMALLEST), max(1 / MOST_ENLARGED, max(height, width) / SMALL)
    return min(divisor(scale), *fits)


def _enlarged(odds: Tensor, rows: slice, size: tuple[int, int], reach: int = 0) -> Tensor:
    """The rows of logits (B, 1, h, w) enlarged to `size`, marks wider by `reach` pixels on each side."""
    wide = slice(max(rows.start - reach, 0), min(rows.stop + reach, size[0]))
    found = enlarged_rows(odds, wide, size, "bilinear")
    if reach:
        found = torch.maximum(found, window_maxima(found, 2 * reach + 1) - _LESS)
    return found[..., rows.start - wide.start : min(rows.stop, size[0]) - wide.start, :]


def _keep_larger(odds: Tensor, others: Tensor, reach: int = 0) -> None:
    """Raise logits (B, 1, H, W), in place, to those of a coarser scale (B, 1, h, w), see `_enlarged`."""
    for rows in strips(odds):
        coarse = _enlarged(others, rows, (odds.shape[-2], odds.shape[-1]), reach)
        odds[..., rows, :] = torch.maximum(odds[..., rows, :].clone(), coarse)  # a gradient needs the values before


@dataclass(slots=True)
class Found:
    """What was found in a photo beside its mask.

    `periodic` is the share of the photo that a pattern covers, see `ops.patterns`; `withdrawn` the share that looked
    damaged and was not believed: all of it because most was doubtful, marks on circles around one point, falling snow,
    or broad marks that end nowhere; `writing` the share of writing that looked damaged; `page` the share of it that is
    no photo but writing, lines or stars, see `ops.pages`; `on_page` the share that looked damaged there, which may be
    what the page shows; and `paper` the numbers of the areas whose ground is not dark, 0 that of the whole photo.
    """

    periodic: float = 0.0
    withdrawn: float = 0.0
    writing: float = 0.0
    page: float = 0.0
    on_page: float = 0.0
    paper: set[int] = field(default_factory=set)

    def add(self, other: Self, share: float, number: int) -> None:
        """Take in what was found in the area of this `number`, so large a `share` of the photo."""
        self.periodic += share * other.periodic
        self.withdrawn += share * other.withdrawn
        self.writing += share * other.writing
        self.page += share * other.page
        self.on_page += share * other.on_page
        if other.paper:
            self.paper.add(number)


def _replace(odds: Tensor, others: Tensor | None, pattern: Pattern) -> None:
    """Replace logits (1, 1, H, W), in place, where a photo has a pattern: by others, or by `_NOTHING`."""
    for rows in strips(odds):
        part = odds[..., rows, :].clone()
        instead = torch.full_like(part, _NOTHING) if others is None else others[..., rows, :]
        around = pattern.around(rows, (odds.shape[-2], odds.shape[-1])).to(odds.device)
        odds[..., rows, :] = torch.where(around, instead, part)


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
        if not self.at_native_scale:
            return _GRADIENT * height * width
        used = _used(height, width, scale)
        seen = round(height * width / used**2)
        largest = max(seen, height * width) if used > FINER else seen  # finer detail is looked for in the photo's tiles
        again = _AGAIN if used != 1 else _AGAIN - 12
        return (_SHRUNK + again) * seen + self.compute.tiles_need(largest, self.tile, tile, _A_PIXEL)

    @accepts_any_image
    def detect(self, pixels: Tensor, scale: float = 1.0) -> Tensor:
        """Photos (B, 3, H, W) in [0, 1] -> their damage masks (B, 1, H, W) in [0, 1]; filling begins at 0.5.

        The network looks at the photos at their native `scale`; at twice and four times that, for broad stains; and at
        their own, where detail finer than the native scale stands out, for dust and hairs thinner than anything the
        print shows. The largest odds count, those of coarser scales lowered by `SURER`. Small photos are enlarged.

        The network's logits for a photo and its mirror image are averaged (the self-ensemble of Lim et al. 2017),
        because their errors differ; at coarser scales one look is enough. Where a photo has a periodic pattern, as the
        dots of a newspaper, only what is still seen after the pattern was removed counts. If few pixels are certain,
        or few of the marked ones, all logits of a photo are lowered, then those of marks on circles around one point,
        such as the trails of stars, see `ops.trails`, of writing, see `ops.writing`, of falling snow, see `ops.snow`,
        and of broad marks that end nowhere, see `ops.broad`. What goes on from sure marks in their tone is one with
        them, see `ops.same_tone`, and narrow gaps in broad marks are closed, see `ops.gaps`. If more than 35 % of a
        photo is above 0.5 and nine tenths of that are doubtful, nothing stays above; nor on a page of writing, lines or
        stars, see `ops.pages`. Gradient masks are binary, and made at the photos' own scale.
        """
        return self._find(pixels, scale)[0]

    def _find(self, pixels: Tensor, scale: float) -> tuple[Tensor, list[Found]]:
        """The masks of photos, and what else was found in each."""
        found = [Found() for _ in pixels]
        if isinstance(self.means, GradientSettings):
            return gradient_mask(pixels, self.means), found
        odds = self._united(pixels, scale, found).add_(EAGER)
        for number, about in enumerate(found):
            photo = odds[number : number + 1]
            marked = int(torch.count_nonzero(photo > 0)) / photo.numel()
            if marked > _MOST and certain_share(photo) < _CERTAIN * marked:
                about.withdrawn = marked
            else:
                calmed = calm_(photo)
                here = photo.detach() > 0
                page = find_page(pixels[number : number + 1].detach(), here)
                if page:
                    about.page, about.periodic = 1.0, 0.0
                    about.on_page = int(torch.count_nonzero(here)) / here.numel()
                    about.paper = {0} if page is Page.PAPER else set()
            if about.withdrawn or about.on_page:
                photo.sub_(photo.detach().amax() + EAGER)  # to below 0.5, in the same order
            elif not about.page:
                used = max(1.0, _used(photo.shape[-2], photo.shape[-1], scale))
                about.withdrawn = lower_trails_(photo, used)
                about.writing = lower_writing_(photo, pixels[number : number + 1], used)
                about.withdrawn += lower_snow_(photo, pixels[number : number + 1], used)
                about.withdrawn += lower_doubtful_(photo, pixels[number : number + 1], used)
                if about.withdrawn or about.writing:  # what was certain may have been that alone
                    calm_(photo, calmed)
                grow_marks_(photo, pixels[number : number + 1], used)
                close_gaps_(photo, used)
        return odds.sigmoid_(), found

    def _united(self, pixels: Tensor, scale: float, found: list[Found]) -> Tensor:
        """The logits of all scales, at that of the pixels; notes in `found` where they are periodic."""
        height, width = pixels.shape[-2:]
        spare = SPARE + math.log2(scale / divisor(scale))  # octaves by which coarser looks are less far from the native
        scale = _used(height, width, scale)
        native = shrink(pixels, scale)
        odds = self._looks(native, spare)
        patterns = [Pattern.of(photo) for photo in native.detach().split(1)]
        for number, (pattern, about) in enumerate(zip(patterns, found, strict=True)):
            if pattern:
                about.periodic = pattern.share
                again = self._looks(pattern.removed(native[number : number + 1]), spare).sub_(_TRACES)
                _replace(odds[number : number + 1], again, pattern)
        if scale > FINER:
            closer = run_tiled(partial(self._closer, scale=scale), [pixels], **self._tiling, batch=self.compute.batch)
            for number, pattern in enumerate(patterns):
                own = closer[number : number + 1]
                finer = own.detach().amax() > _NOTHING + 1  # else no tile was looked at
                for one in (pattern, Pattern.of(pixels.detach()[number : number + 1])) if finer else ():
                    if one:
                        _replace(own, None, one)
            _keep_larger(closer, odds, round(_EDGE * scale))
            odds = closer
        elif scale > 1:
            size, reach = (height, width), round(_EDGE * scale)
            odds = torch.cat([_enlarged(odds, rows, size, reach) for rows in strips(pixels)], 2)
        elif scale < 1:
            odds = F.interpolate(odds, (height, width), mode="bilinear", antialias=True)
        return odds

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

    def _looks(self, native: Tensor, spare: float) -> Tensor:
        """The logits of photos at this scale and coarser ones, at this one."""
        odds = self._odds(native)
        for times in COARSER:
            if min(native.shape[-2:]) >= times * SMALLEST:
                surer = SURER * max(0.0, math.log2(times) - spare)
                _keep_larger(odds, self._odds(shrink(native, times), mirrored=False).sub_(surer))
        return odds

    @property
    def _tiling(self) -> dict[str, int]:
        multiple = 2 ** len(self.means.widths)  # type: ignore[union-attr]  # the grid of the deepest level
        return {"tile": self.tile, "overlap": min(OVERLAP, self.tile // 2), "multiple": multiple}

    def _odds(self, pixels: Tensor, *, mirrored: bool = True) -> Tensor:
        """Logits (B, 1, H, W) at the scale of the pixels."""
        one = self._both if mirrored else self._one
        return run_tiled(one, [pixels], **self._tiling, batch=self.compute.batch)

    def _one(self, tile: Tensor) -> Tensor:
        network: Any = self.means
        with self.compute.autocast():
            return network(tile.to(self.compute.device)).float()

    def _both(self, tile: Tensor) -> Tensor:
        return (self._one(tile) + self._one(tile.flip(-1)).flip(-1)) / 2

    def _closer(self, tiles: Tensor, scale: float) -> Tensor:
        """Logits at the photos' own scale; `_NOTHING` in tiles without detail much finer than `scale`."""
        odds = torch.full_like(tiles[:, :1], _NOTHING)
        seen = stands_out(tiles, scale / FINER)
        if seen.any():
            odds[seen] = self._both(tiles[seen]).to(odds)
        return odds

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
        no use. Where infrared has been looked at, what is seen in the picture alone has to be surer.
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
        share = int(torch.count_nonzero(restoration.mask > SOUND)) / restoration.mask.numel()
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
            only = "" if given is None else " but known damage"
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
        return restoration
