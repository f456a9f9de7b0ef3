"""Tone curves: correct fading and color casts by one curve a channel, predicted from a thumbnail and histograms."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bringback.models.base import Network
from bringback.models.fading import SIDE, FadingJudge
from bringback.models.layers import strided_stem, zero_init
from bringback.ops.color import luminance
from bringback.ops.masks import SOUND, ramp
from bringback.ops.strips import strips

_BINS = 256
_DOUBT = 0.035  # root mean square error of the curves on photos that have not faded
_SHARES = (0.002, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.998)

# Answers of the judge up to which a photo stays as it is, and from which on it is corrected as far as its range says.
# With higher ones faded photos, of which many get an answer near a half, lose more than sound ones win.
_SURE = (0.15, 0.35)
# Old prints have marks: where there are none, the judge has to be surer, and a photo changes by so much at most (root
# mean square: what a sound one loses by it is 35 dB) until the judge is certain.
_SURE_UNMARKED, _HELD, _CERTAIN = (0.3, 0.6), 0.0175, (0.8, 1.0)
_FEW = 0.002  # share of pixels that are filled from which on a photo has marks

# When photos have faded by the range of their tones, see `narrow`. The four numbers were chosen on the aged validation
# photos, where neighboring values do as well.
_END = 0.005  # share of the cells beyond either end of the range in use
_FADED, _SOUND = 0.7, 0.8  # ranges up to which photos have faded for certain, and from which on they have not
_DARK = 0.4  # place of the middle gray within the range below which a photo is dark, and how much that counts

# Photos that were meant to look pale, see `likely`: from what colors on (highest less lowest channel of the most
# colorful cells), up to what root mean square change, and up to what damaged share; between two numbers by degrees.
_COLORFUL, _SLIGHT, _MARKED = (0.3, 0.4), (0.035, 0.045), 0.03
_MOST_COLORFUL = 0.98  # quantile of the cells


class ToneCurves(Network, license="apache-2.0", tags=["photo-restoration", "tone-mapping"]):
    """Photos (B, 3, H, W) in [0, 1] and damage masks (B, 1, H, W) -> curves (B, 3, 33), values at even steps over 0..1.

    A curve first stretches the used range of the channel, then bends it. The range is computed from quantiles; how far
    to stretch and how to bend is predicted from quantiles, histograms and a thumbnail. Damaged pixels are ignored.
    Curves are monotonic. At initialization they are the identity. The submodule `judge` tells how far they are to be
    applied, see `faded`.
    Args: side: of the thumbnail; width: of the first convolution; hidden: of the final layers; knots: of the bend;
    judges: members of `judge`, 0 for none.
    """

    samples = 33

    def __init__(self, side: int = 48, width: int = 24, hidden: int = 192, knots: int = 9, judges: int = 0) -> None:
        super().__init__()
        self.judge = FadingJudge(judges) if judges else None
        self.side, self.knots = side, knots
        self.look = strided_stem(4, (width, 2 * width, 4 * width))
        seen = 4 * width + 3 * len(_SHARES) + 3 * 32
        last = nn.Linear(hidden, 3 * (knots + 1))
        zero_init(last)
        self.decide = nn.Sequential(nn.Linear(seen, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), last)

    def thumbnail(self, pixels: Tensor, mask: Tensor) -> Tensor:
        """(B, 4, side, side): mean color of each cell's undamaged pixels in [-1, 1], and their share in [0, 1]."""
        return _cells(pixels, mask, self.side)

    def forward(self, pixels: Tensor, mask: Tensor) -> Tensor:
        return self.curves(self.thumbnail(pixels, mask), cumulated(pixels, mask))

    def curves(self, thumbnail: Tensor, cumulated: Tensor) -> Tensor:
        """The curves (B, 3, 33) from the network's inputs, the results of `thumbnail` and `cumulated`."""
        shares = torch.tensor(_SHARES, device=cumulated.device)
        quantiles = (cumulated[:, :, None] < shares[:, None]).sum(-1) / _BINS
        seen = self.look(thumbnail).mean((-1, -2))
        facts = torch.cat([seen, quantiles.flatten(1) * 2 - 1, cumulated[..., 7::8].flatten(1) - 0.5], 1)
        raw = self.decide(facts).view(-1, 3, self.knots + 1).float()
        # 0 = keep the range (at initialization), 1 = stretch it fully; slight overshoot is allowed
        stretch = 1.2 * torch.tanh(raw[..., :2])
        black = quantiles[..., :1] * stretch[..., :1]
        white = 1 - (1 - quantiles[..., -1:]) * stretch[..., 1:]
        places = torch.linspace(0, 1, self.samples, device=cumulated.device)
        used = ((places - black) / (white - black).clamp_min(0.05)).clamp(0, 1)
        steps = torch.exp(raw[..., 2:])
        bend = F.pad((steps / steps.sum(-1, keepdim=True)).cumsum(-1), (1, 0))
        return apply_curves(used[..., None], bend)[..., 0]

    def faded(self, pixels: Tensor, mask: Tensor, thumbnail: Tensor, cumulated: Tensor, curves: Tensor) -> Tensor:
        """How surely photos have faded, (B,) in [0, 1], and so how far the `curves` that are meant are to be applied.

        By the range of the tones, see `narrow`, at most by the `judge`, if there is one, with little change to photos
        that are not `marked`, see `heeded`, and less for photos that were meant so, see `likely`.
        """
        faded = narrow(thumbnail)
        if self.judge is not None:
            before, after, facts = judged(pixels, mask, thumbnail, cumulated, curves)
            changes = (after - before).square().mean((1, 2, 3)).sqrt()
            faded = heeded(self.judge(before, after, facts), faded, marked(mask), changes)
        return faded * likely(thumbnail, curves).to(faded.device)


def heeded(answers: Tensor, by_range: Tensor, marks: Tensor, changes: Tensor) -> Tensor:
    """How far to correct photos, (B,) in [0, 1], by what the judge answers, the range of their tones and `marked`.

    `changes` are the root mean squares of what whole corrections would change: where there are no marks, only a judge
    that is certain changes a photo by more than a little.
    """
    marks = marks.to(answers)
    sure = torch.lerp(ramp(answers, *_SURE_UNMARKED), ramp(answers, *_SURE), marks)
    sure = torch.minimum(sure, by_range.to(answers))
    held = torch.minimum(sure, _HELD / changes.clamp_min(1e-6))
    return torch.lerp(held, sure, torch.maximum(marks, ramp(answers, *_CERTAIN)))


def marked(mask: Tensor) -> Tensor:
    """How surely photos have marks, as old prints do, (B,) in [0, 1], from their damage masks (B, 1, H, W).

    Only what is filled counts: a detector's doubts can add up to more than 1 % of a photo in which it marks nothing.
    What is around a round, turned or torn picture area is in its mask, so it counts as well: those are prints.
    """
    filled = [torch.count_nonzero(mask[..., rows, :] > SOUND, dim=(1, 2, 3)) for rows in strips(mask)]
    return ramp(torch.stack(filled).sum(0) / mask[0].numel(), 0, _FEW)


def judged(
    pixels: Tensor, mask: Tensor, thumbnail: Tensor, cumulated: Tensor, curves: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """What `FadingJudge` takes: the photo and its correction at its own size, and facts on the tones."""
    cells = _cells(pixels, mask, 2 * SIDE)
    share = cells[:, 3:]
    whole = (cells[:, :3] + 1) / 2 * share + 0.5 * (1 - share)  # gray where there is nothing but damage
    photo = F.interpolate(whole, (SIDE, SIDE), mode="bilinear", antialias=True).to(curves.device)
    change = curves - torch.linspace(0, 1, curves.shape[-1], device=curves.device)
    facts = [cumulated[..., ::4].flatten(1) - 0.5, 5 * change.flatten(1), narrow(thumbnail).to(curves.device)[:, None]]
    return photo, bend(photo, curves, 1.0), torch.cat(facts, 1)


def _cells(pixels: Tensor, mask: Tensor, side: int) -> Tensor:
    """(B, 4, side, side): mean color of each cell's undamaged pixels in [-1, 1], and their share in [0, 1]."""
    height, cells = pixels.shape[-2], []
    for row in range(side):
        # rows of this row of cells, as in adaptive pooling
        rows = slice(row * height // side, -(-(row + 1) * height // side))
        good = 1 - mask[..., rows, :]
        share = F.adaptive_avg_pool2d(good, (1, side))
        color = F.adaptive_avg_pool2d(pixels[..., rows, :] * good, (1, side)) / share.clamp_min(1e-3)
        cells.append(torch.cat([color * 2 - 1, share], 1))
    return torch.cat(cells, 2)


def cumulated(pixels: Tensor, mask: Tensor) -> Tensor:
    """Normalized cumulative histograms (B, 3, 256) of the undamaged pixels."""
    counts, total = [], []
    for rows in strips(pixels):
        part = pixels[..., rows, :]
        weight = (1 - mask[..., rows, :]).expand_as(part).flatten(2).contiguous()
        index = (part.clamp(0, 1).flatten(2) * (_BINS - 1)).round().long()
        none = torch.zeros(*part.shape[:2], _BINS, device=part.device, dtype=weight.dtype)
        counts.append(none.scatter_add_(2, index, weight))
        total.append(weight.sum(2, keepdim=True))
    # sum the histograms of strips: a float32 counter stops at 16.7 million
    return torch.stack(counts).sum(0).cumsum(2) / torch.stack(total).sum(0).clamp_min(1e-3)


def tone(network: ToneCurves, pixels: Tensor, mask: Tensor, strength: float = 1.0) -> Tensor:
    """Apply the network's curves to photos (B, 3, H, W) in [0, 1] with the given strength; not clamped.

    Mask (B, 1, H, W), 1 = damaged. A photo with equal channels gets one curve for all. Strength 0 is exactly the
    identity.
    """
    return bend(pixels, one_for_gray(pixels, network(pixels, mask)), strength)


def doubted(curves: Tensor) -> Tensor:
    """Shrink curves (B, 3, K) towards the identity, small changes most, as in a Wiener filter.

    A small change is as likely to be an error of the network as fading of the photo.
    """
    identity = torch.linspace(0, 1, curves.shape[-1], device=curves.device)
    change = curves - identity
    power = change.square().mean((1, 2), keepdim=True)
    return identity + change * power / (power + _DOUBT**2)


def narrow(thumbnail: Tensor) -> Tensor:
    """How surely the tones of photos are those of faded ones, (B,) in [0, 1], from what `ToneCurves.thumbnail` returns.

    Fading narrows the range of tones: blacks are lifted, whites turn dull. The range is measured twice and averaged: of
    the luminance, and from the lowest to the highest value of any channel, as a sound photo of strong colors reaches
    the ends in one of them. A dark photo has few light places, so its range is narrow without any fading: it
    counts as wider. A photo with no undamaged cell counts as sound.
    """
    colors = (thumbnail[:, :3] + 1) / 2
    planes = torch.cat([luminance(colors), colors], 1)
    ends = thumbnail.new_tensor((_END, 0.5, 1 - _END))
    sure = []
    for plane, sound in zip(planes, thumbnail[:, 3] > 0.5, strict=True):
        if not sound.any():
            sure.append(plane.new_zeros(()))
            continue
        low, middle, high = plane[:, sound].quantile(ends, 1)
        light, joint = high[0] - low[0], high.max() - low.min()
        darkness = (_DARK - (middle[0] - low[0]) / light.clamp_min(0.05)).clamp_min(0)
        used = (light + joint) / 2 + _DARK * darkness
        sure.append(ramp(used, _SOUND, _FADED))
    return torch.stack(sure)


def likely(thumbnail: Tensor, curves: Tensor) -> Tensor:
    """How likely slight fading was not meant, (B,) in [0, 1], from what `ToneCurves.thumbnail` returns and the curves.

    Fading takes colors away, and old prints have marks. A photo of strong colors, with lifted blacks and no marks, was
    made so: it counts the less, the more colorful and unmarked it is and the less the curves would change. A photo with
    no undamaged cell counts as 1.
    """
    colors, shares = (thumbnail[:, :3] + 1) / 2, thumbnail[:, 3]
    change = (bend(colors, curves.to(colors.device), 1.0).clamp(0, 1) - colors).square().mean(1)
    told = []
    for cells, moved, share in zip(colors.amax(1) - colors.amin(1), change, shares, strict=True):
        if not (sound := share > 0.5).any():
            told.append(cells.new_ones(()))
            continue
        colorful = ramp(cells[sound].quantile(_MOST_COLORFUL), *_COLORFUL)
        slight = 1 - ramp(moved[sound].mean().sqrt(), *_SLIGHT)
        unmarked = 1 - ramp(1 - share.mean(), 0, _MARKED)
        told.append(1 - colorful * slight * unmarked)
    return torch.stack(told)


def one_for_gray(pixels: Tensor, curves: Tensor) -> Tensor:
    """Replace the curves (B, 3, K) of photos (B, 3, H, W) with equal channels by their mean over the channels."""
    parts = (pixels[..., rows, :] for rows in strips(pixels))
    gray = torch.stack([(part == part[:, :1]).flatten(1).all(1) for part in parts]).all(0)
    return torch.where(gray[:, None, None].to(curves.device), curves.mean(1, keepdim=True), curves)


def bend(pixels: Tensor, curves: Tensor, strength: Tensor | float) -> Tensor:
    """Interpolate from photos (B, 3, H, W) to those with curves (B, 3, K) applied, by `strength`; not clamped.

    The strength is one number, or (B, 1, 1, 1).
    """
    return pixels + strength * (apply_curves(pixels, curves) - pixels)


def apply_curves(pixels: Tensor, curves: Tensor) -> Tensor:
    """Apply to each channel of (B, C, H, W), clamped to [0, 1], its piecewise linear curve (B, C, knots)."""
    steps = curves.shape[-1] - 1
    place = pixels.clamp(0, 1) * steps
    low = place.floor().clamp_max(steps - 1)
    index = low.long().flatten(2)
    left, right = (curves.gather(2, i).view_as(pixels) for i in (index, index + 1))
    return left + (right - left) * (place - low)
