"""Relighting: brighten the dark regions of a photo, keep the bright ones, and denoise by a residual network."""

from itertools import permutations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bringback.models.base import Network
from bringback.models.layers import ResidualBlock, pad_to, strided_stem, zero_init
from bringback.ops.color import luminance

BRIGHT = 0.95  # luminance from which nothing is changed
_FADE = 0.1  # range of luminance below `BRIGHT` over which the residual fades to zero
_EXTREME = 0.5 / 255  # tolerance for a channel to count as black or white
_FAR = 0.1  # smallest distance of salt from the local median; half of it for pepper, since the photos are dark
SPECKLED = 0.0022  # dots are noise only if the shares of white and of black ones are both above this
_NIGHT = 1e-12  # lower clamp: the gradient of the square root at 0 is infinite
_STEEPEST = 3.0  # bound of the log slope of a curve, before normalization


class RelightNet(Network, license="apache-2.0", tags=["low-light-enhancement", "photo-restoration"]):
    """Photos (B, 3, H, W) in [0, 1], possibly dark and noisy -> relit and denoised, not clamped.

    Salt-and-pepper noise, if frequent, is replaced by medians. A luminance curve for each of 8x8 cells, predicted from
    a thumbnail and interpolated as in the bilateral grid of Gharbi et al. ("Deep Bilateral Learning for Real-Time Image
    Enhancement", 2017), gives the gain of each pixel. Curves are monotonic and are the identity at `BRIGHT`: bright
    regions keep their luminance, and dark ones cannot become brighter than them. Then a residual network removes noise.
    At initialization only salt and pepper are changed.
    Args: side: of the thumbnail; look: channels of its first convolution; knots: of a curve; width, blocks: of the
    residual network, which works on blocks of 2x2 pixels.
    """

    def __init__(self, side: int = 64, look: int = 24, knots: int = 16, width: int = 48, blocks: int = 6) -> None:
        super().__init__()
        self.side, self.knots = side, knots
        channels = 3 * look
        self.look = strided_stem(4, (look, 2 * look, channels))
        self.whole = nn.Sequential(nn.Linear(channels, channels), nn.SiLU())
        last = nn.Conv2d(2 * channels, knots, 1)
        zero_init(last)
        self.decide = nn.Sequential(nn.Conv2d(2 * channels, 2 * channels, 1), nn.SiLU(), last)
        self.stem = nn.Conv2d(24, width, 3, padding=1)
        self.body = nn.Sequential(*(ResidualBlock(width) for _ in range(blocks)))
        self.head = nn.Conv2d(width, 12, 3, padding=1)
        zero_init(self.head)

    def thumbnail(self, pixels: Tensor) -> Tensor:
        """(B, 4, side, side): each cell's mean color, and the highest mean luminance of its quarters."""
        fine = F.adaptive_avg_pool2d(pixels, 2 * self.side)
        return torch.cat([F.avg_pool2d(fine, 2), F.max_pool2d(luminance(fine), 2)], 1)

    def curves(self, thumbnail: Tensor) -> Tensor:
        """Offsets (B, 1, knots + 1, 8, 8) to luminance at the knots of each cell's curve; 0 is the identity.

        Knots are at `BRIGHT` times the squares of even steps in 0..1, so they are denser in the dark.
        """
        seen = self.look(thumbnail.clamp_min(_NIGHT).sqrt() * 2 - 1)
        whole = self.whole(seen.mean((-1, -2)))[:, :, None, None].expand_as(seen)
        raw = self.decide(torch.cat([seen, whole], 1)).float()
        knots = BRIGHT * torch.linspace(0, 1, self.knots + 1, device=raw.device).square()
        steps = knots.diff().view(1, -1, 1, 1) * torch.exp(_STEEPEST * torch.tanh(raw / _STEEPEST))
        bent = F.pad((BRIGHT * steps / steps.sum(1, keepdim=True)).cumsum(1), (0, 0, 0, 0, 1, 0))
        return (bent - knots.view(1, -1, 1, 1))[:, None]

    def lit(self, pixels: Tensor, light: Tensor, curves: Tensor, places: Tensor) -> Tensor:
        """Multiply pixels (B, 3, H, W) by the gain of the curves at luminance `light` (B, 1, H, W).

        Hues are preserved and no channel exceeds 1. `places` (B, 2, H, W) are x and y in the photo, from -1 to 1.
        """
        # with align_corners=False, -1 and 1 are the outer edges of cells, as in `places`; knots are at cell centers
        depth = (2 * self.knots * (light.clamp(_NIGHT, BRIGHT) / BRIGHT).sqrt() + 1) / (self.knots + 1) - 1
        at = torch.cat([places.expand(pixels.shape[0], -1, -1, -1), depth], 1).movedim(1, -1)[:, None]
        added = F.grid_sample(curves, at, padding_mode="border", align_corners=False)[:, :, 0]
        gain = 1 + added / light.clamp_min(1e-3)
        return pixels * torch.minimum(gain, 1 / pixels.amax(1, keepdim=True).clamp_min(1e-3)).clamp_min(0)

    def cleaned(self, lit: Tensor, pixels: Tensor) -> Tensor:
        """Denoise lit pixels, given the original ones; the residual fades to zero in bright regions.

        White dots in the dark do not count as bright, see `brightness`.
        """
        height, width = pixels.shape[-2:]
        seen = F.pixel_unshuffle(pad_to(torch.cat([lit, pixels], 1), 2) * 2 - 1, 2)
        change = F.pixel_shuffle(self.head(self.body(self.stem(seen))), 2)[..., :height, :width]
        return lit + change * ((BRIGHT - brightness(pixels)) / _FADE).clamp(0, 1)

    def relit(self, pixels: Tensor, curves: Tensor, places: Tensor) -> Tensor:
        """Relight a photo, or a part of it, by the curves of the whole; `places` as in `lit`."""
        light, bright = median(luminance(pixels)), brightness(pixels)
        # thin bright lines get the gain of bright pixels, not of their dark surroundings
        light = torch.where(bright > BRIGHT - _FADE, torch.maximum(light, bright), light)
        return self.cleaned(self.lit(pixels, light, curves, places), pixels)

    def forward(self, pixels: Tensor) -> Tensor:
        pixels = without_dots(pixels)
        return self.relit(pixels, self.curves(self.thumbnail(pixels)), places(pixels))


def median(x: Tensor) -> Tensor:
    """3x3 median filter, (B, 1, H, W) -> same."""
    low, middle, high = _columns(x)
    return _sorted(low.amax(1, True), _sorted(*middle.split(1, 1))[1], high.amin(1, True))[1]


def brightness(pixels: Tensor) -> Tensor:
    """Luminance (B, 1, H, W) of pixels (B, 3, H, W), limited to the third highest of the 3x3 neighborhood.

    Lines one pixel wide keep their luminance; one or two white grains of noise do not.
    """
    light = luminance(pixels)
    low, middle, high = _columns(light)
    third = torch.maximum(low.amax(1, True), high.amin(1, True))
    for one, other in permutations(range(3), 2):
        third = torch.maximum(third, torch.minimum(middle[:, one : one + 1], high[:, other : other + 1]))
    return torch.minimum(light, third)


def _around(x: Tensor) -> Tensor:
    """3x3 neighborhoods with replicated border, (B, 1, H, W) -> (B, 9, H, W)."""
    height, width = x.shape[-2:]
    x = F.pad(x, (1, 1, 1, 1), mode="replicate")
    return torch.cat([x[..., i : i + height, j : j + width] for i in range(3) for j in range(3)], 1)


def _columns(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sorted columns of the 3x3 neighborhoods: lowest, middle and highest values, (B, 3, H, W) each.

    From these, a rank takes a few minima and maxima: several times as fast as sorting, and supported by every runtime.
    """
    return _sorted(*_around(x).split(3, 1))


def _sorted(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sort three tensors elementwise."""
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    middle = torch.minimum(high, c)
    return torch.minimum(low, middle), torch.maximum(low, middle), torch.maximum(high, c)


def dots(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Salt and pepper, bool (B, 3, H, W) each: white or black channel values with at most one such neighbor.

    They must also differ from the local median, which values at the border of a black area do not.
    """
    planes = pixels.flatten(0, 1)[:, None]
    around, own, middle = _around(planes), planes, median(planes)
    white, black = around >= 1 - _EXTREME, around <= _EXTREME
    salt = (own >= 1 - _EXTREME) & (white.sum(1, True) <= 2) & (own - middle > _FAR)
    pepper = (own <= _EXTREME) & (black.sum(1, True) <= 2) & (middle - own > _FAR / 2)
    return salt.view_as(pixels), pepper.view_as(pixels)


def undotted(pixels: Tensor, found: Tensor) -> Tensor:
    """Replace pixels where `found` by the 3x3 median of their channel."""
    return torch.where(found, median(pixels.flatten(0, 1)[:, None]).view_as(pixels), pixels)


def without_dots(pixels: Tensor) -> Tensor:
    """Remove salt and pepper from photos (B, 3, H, W); photos with little of either are unchanged: stars are white."""
    salt, pepper = dots(pixels)
    few = torch.minimum(*(found.float().mean((1, 2, 3), keepdim=True) for found in (salt, pepper))) <= SPECKLED
    return undotted(pixels, (salt | pepper) & ~few)


def places(pixels: Tensor) -> Tensor:
    """Pixel coordinates (1, 2, H, W), x and y from -1 to 1."""
    height, width = pixels.shape[-2:]
    x = (torch.arange(width, device=pixels.device) * 2 + 1) / width - 1
    y = (torch.arange(height, device=pixels.device) * 2 + 1) / height - 1
    return torch.stack([x.expand(height, -1), y[:, None].expand(-1, width)])[None]
