"""Relighting: more light where a photo is dark, none where it is bright, and a residual network against the noise."""

from itertools import permutations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bringback.models.base import Network
from bringback.models.layers import ResidualBlock, glance, pad_to, silence
from bringback.ops.color import luminance

BRIGHT = 0.95  # the luminance from which nothing is changed
_FADE = 0.1  # below `BRIGHT`, over which the residual network's say fades away
_EXTREME = 0.5 / 255  # how near to black or white a channel is that says nothing
_FAR = 0.1  # from the median around it is white, half of that black, for photos that want light
SPECKLED = 0.0022  # the share of white dots, and of black ones, from which they are noise, not what a photo shows
_NIGHT = 1e-12  # in place of black: the square root of nothing has no gradient
_STEEPEST = 3.0  # log of how much steeper than the identity a curve may be, before it is brought to its end


class RelightNet(Network, license="apache-2.0", tags=["low-light-enhancement", "photo-restoration"]):
    """Photos (B, 3, H, W) in [0, 1], dark and noisy ones among them -> the same with light; not clamped.

    Where salt and pepper are many, medians take their place. A curve of luminance for each of 8x8 places, read off a
    thumbnail and interpolated between them as in the bilateral grid of Gharbi et al. ("Deep Bilateral Learning for
    Real-Time Image Enhancement", 2017), gives the gain of each pixel. Curves never fall and end where they began at
    `BRIGHT`: by construction a bright place keeps its light, and no dark one can become brighter than it. Then a
    residual network takes away noise. A fresh network changes nothing but salt and pepper.
    Args: side: of the thumbnail; look: channels of its first convolution; knots: of a curve; width, blocks: of the
    residual network, which sees blocks of 2x2 pixels.
    """

    def __init__(self, side: int = 64, look: int = 24, knots: int = 16, width: int = 48, blocks: int = 6) -> None:
        super().__init__()
        self.side, self.knots = side, knots
        channels = 3 * look
        self.look = glance(4, (look, 2 * look, channels))
        self.whole = nn.Sequential(nn.Linear(channels, channels), nn.SiLU())
        last = nn.Conv2d(2 * channels, knots, 1)
        silence(last)
        self.decide = nn.Sequential(nn.Conv2d(2 * channels, 2 * channels, 1), nn.SiLU(), last)
        self.stem = nn.Conv2d(24, width, 3, padding=1)
        self.body = nn.Sequential(*(ResidualBlock(width) for _ in range(blocks)))
        self.head = nn.Conv2d(width, 12, 3, padding=1)
        silence(self.head)

    def thumbnail(self, pixels: Tensor) -> Tensor:
        """(B, 4, side, side): the mean colour, and the mean of the brightest of each cell's quarters."""
        fine = F.adaptive_avg_pool2d(pixels, 2 * self.side)
        return torch.cat([F.avg_pool2d(fine, 2), F.max_pool2d(luminance(fine), 2)], 1)

    def curves(self, thumbnail: Tensor) -> Tensor:
        """What is added to luminance, (B, 1, knots + 1, 8, 8): at each knot of each place's curve; 0 leaves it alone.

        Knots lie at the squares of even steps up to `BRIGHT`, close to each other where it is dark.
        """
        seen = self.look(thumbnail.clamp_min(_NIGHT).sqrt() * 2 - 1)
        whole = self.whole(seen.mean((-1, -2)))[:, :, None, None].expand_as(seen)
        raw = self.decide(torch.cat([seen, whole], 1)).float()
        knots = BRIGHT * torch.linspace(0, 1, self.knots + 1, device=raw.device).square()
        steps = knots.diff().view(1, -1, 1, 1) * torch.exp(_STEEPEST * torch.tanh(raw / _STEEPEST))
        bent = F.pad((BRIGHT * steps / steps.sum(1, keepdim=True)).cumsum(1), (0, 0, 0, 0, 1, 0))
        return (bent - knots.view(1, -1, 1, 1))[:, None]

    def lit(self, pixels: Tensor, light: Tensor, curves: Tensor, places: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) with the gain that `light` (B, 1, H, W) has there; hues stay, nothing goes beyond 1.

        `places` (B, 2, H, W) are x and y in the photo, from -1 to 1.
        """
        # grid_sample counts from the middles of the outermost cells: so do places, but the ends of curves are knots
        depth = (2 * self.knots * (light.clamp(_NIGHT, BRIGHT) / BRIGHT).sqrt() + 1) / (self.knots + 1) - 1
        at = torch.cat([places.expand(pixels.shape[0], -1, -1, -1), depth], 1).movedim(1, -1)[:, None]
        added = F.grid_sample(curves, at, padding_mode="border", align_corners=False)[:, :, 0]
        gain = 1 + added / light.clamp_min(1e-3)
        return pixels * torch.minimum(gain, 1 / pixels.amax(1, keepdim=True).clamp_min(1e-3)).clamp_min(0)

    def cleaned(self, lit: Tensor, pixels: Tensor) -> Tensor:
        """What the residual network makes of lit pixels, told the photo's own; bright places are not its business.

        A white dot in the dark is; see `brightness`.
        """
        height, width = pixels.shape[-2:]
        seen = F.pixel_unshuffle(pad_to(torch.cat([lit, pixels], 1), 2) * 2 - 1, 2)
        change = F.pixel_shuffle(self.head(self.body(self.stem(seen))), 2)[..., :height, :width]
        return lit + change * ((BRIGHT - brightness(pixels)) / _FADE).clamp(0, 1)

    def relit(self, pixels: Tensor, curves: Tensor, places: Tensor) -> Tensor:
        """A photo or a part of it, by the curves of the whole; see `lit`."""
        light, bright = median(luminance(pixels)), brightness(pixels)
        # a thin bright line has the gain of what is bright, not of the dark that it runs through
        light = torch.where(bright > BRIGHT - _FADE, torch.maximum(light, bright), light)
        return self.cleaned(self.lit(pixels, light, curves, places), pixels)

    def forward(self, pixels: Tensor) -> Tensor:
        pixels = without_dots(pixels)
        return self.relit(pixels, self.curves(self.thumbnail(pixels)), places(pixels))


def median(x: Tensor) -> Tensor:
    """The median of the 3x3 pixels around each, (B, 1, H, W) -> same: a dot does not count."""
    low, middle, high = _columns(x)
    return _sorted(low.amax(1, True), _sorted(*middle.split(1, 1))[1], high.amin(1, True))[1]


def brightness(pixels: Tensor) -> Tensor:
    """Luminance (B, 1, H, W) of pixels (B, 3, H, W), but of a dot that of its surroundings.

    No more than the third brightest of the 3x3 pixels around: a line of a pixel's width is as bright as it is, one
    white grain of noise, or two, are not.
    """
    light = luminance(pixels)
    low, middle, high = _columns(light)
    third = torch.maximum(low.amax(1, True), high.amin(1, True))
    for one, other in permutations(range(3), 2):
        third = torch.maximum(third, torch.minimum(middle[:, one : one + 1], high[:, other : other + 1]))
    return torch.minimum(light, third)


def _around(x: Tensor) -> Tensor:
    """The 3x3 pixels around each, (B, 1, H, W) -> (B, 9, H, W)."""
    height, width = x.shape[-2:]
    x = F.pad(x, (1, 1, 1, 1), mode="replicate")
    return torch.cat([x[..., i : i + height, j : j + width] for i in range(3) for j in range(3)], 1)


def _columns(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The columns of the 3x3 pixels around each, sorted; three of (B, 3, H, W).

    With them a rank is some minima and maxima: several times as fast as sorting nine numbers, and any runtime has them.
    """
    return _sorted(*_around(x).split(3, 1))


def _sorted(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Three numbers in their order, place by place."""
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    middle = torch.minimum(high, c)
    return torch.minimum(low, middle), torch.maximum(low, middle), torch.maximum(high, c)


def dots(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Salt and pepper: channels (B, 3, H, W) that are white, and that are black, where at most one neighbour is; bool.

    And far from the median around: at the border of a black area the next pixel is nearly black as well.
    """
    planes = pixels.flatten(0, 1)[:, None]
    around, own, middle = _around(planes), planes, median(planes)
    white, black = around >= 1 - _EXTREME, around <= _EXTREME
    salt = (own >= 1 - _EXTREME) & (white.sum(1, True) <= 2) & (own - middle > _FAR)
    pepper = (own <= _EXTREME) & (black.sum(1, True) <= 2) & (middle - own > _FAR / 2)
    return salt.view_as(pixels), pepper.view_as(pixels)


def undotted(pixels: Tensor, found: Tensor) -> Tensor:
    """Pixels with the median of their surroundings where dots were found, each channel by itself."""
    return torch.where(found, median(pixels.flatten(0, 1)[:, None]).view_as(pixels), pixels)


def without_dots(pixels: Tensor) -> Tensor:
    """Photos (B, 3, H, W) without salt and pepper; with little of either one comes back as it is: stars are white."""
    salt, pepper = dots(pixels)
    few = torch.minimum(*(found.float().mean((1, 2, 3), keepdim=True) for found in (salt, pepper))) <= SPECKLED
    return undotted(pixels, (salt | pepper) & ~few)


def places(pixels: Tensor) -> Tensor:
    """Where each pixel lies: x and y from -1 to 1, (1, 2, H, W)."""
    height, width = pixels.shape[-2:]
    x = (torch.arange(width, device=pixels.device) * 2 + 1) / width - 1
    y = (torch.arange(height, device=pixels.device) * 2 + 1) / height - 1
    return torch.stack([x.expand(height, -1), y[:, None].expand(-1, width)])[None]
