"""Native scale: how many times a photo can be shrunk without losing detail, read from its spectrum."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bringback.models.base import Network
from bringback.ops.blocks import without_blocks
from bringback.ops.color import luminance
from bringback.ops.windows import window_maxima, window_means

TILE = 128  # side in pixels of the tiles whose spectra are taken
BINS = 64  # of frequency, up to that of Nyquist
_TILES = 64  # about how many tiles of a photo are looked at
_MARGIN = 0.06  # share of each side that is not looked at: borders and the scanner's lid are sharper than a print
_QUANTILES = (0.5, 0.75, 0.95)  # over tiles: some show nothing but sky, and few are full of dust
# Below, photos differ as much themselves: of forty sound ones as they are, one is taken for more, of forty scanned at
# twice their resolution, none for less. Larger scales were never learned.
_LEAST, _MOST = 1.3, 12.0
# What the network says of photos that were enlarged far is too little for busy pictures and doubtful for blurred ones.
# Two signs in the spectrum of the sharpest tiles are surer. Interpolation leaves images of the strongest detail around
# the old sampling rate: below them is a dip, at about this share of that rate; they rise above it by so much, and it
# lies so far below the detail at a third of its frequency. And from some frequency on there may be nothing, less than
# two levels of 255. Neither is believed for less than `_FAR`: a worn copy may have been blurred so much, or shrunk and
# enlarged, and is better restored at its own size. Chosen on held-out photos.
_DIP, _RISES, _DEEP = 0.75, 0.08, 2.5
_NOTHING = -4.2
_FAR = 3.6
# Noise of a print, where it is flattest (this quantile over tiles), is as strong at all frequencies up to where
# enlarging ends it, and beyond lies no more than the scanner's: such a photo was enlarged, and can be shrunk to where
# its noise is a tenth. Up to half that frequency it rises or falls by at most so many powers of ten, from there to
# seven tenths by at most so many (that of blurred noise falls sooner), to beyond by at least so many, and then not much
# more. Chosen on training photos.
_FLATTEST = 0.1
_UP, _LEVEL, _ENDS, _FLOOR = 0.3, 0.34, 1.8, 0.7
_NOISY = 1.75, 3.2  # the scales that are looked for: a worn copy of a copy may show more
# Where detail ends: of small patches of a photo, the two fifths that show the most at half a frequency, so many show
# nothing at that frequency, less than three levels of 255. Marks that are as sharp as the scanner spare most patches,
# so they hide that less than they do in whole tiles. What the network says is halfway corrected if it is so many times
# more; if it is less, the print may have been blurred. Chosen on training photos and odd held-out ones.
_PATCH, _STRONG, _CLEAN, _FINE = 64, 0.4, 0.15, -3.7
_TOO_FAR = 1.5
# A photo whose subject alone is in focus ends early, too; but if all that is sharp was found to be marks, it is a soft
# print under sharp marks. What is sharp bends as much as noise of this power would (in prints that are blurred or
# enlarged, and in their marks, a thousandth has a tenth of that). Asked for from `_SOFT` on, if that is much more than
# what else is found, and if the photo is not too small then to be looked at at half that size, too.
_BENT, _OF_NOISE = 4e-4, 140  # the latter: what fourth differences make of a noise's power
_SHARP, _MARKS, _NEAR = 0.001, 0.7, 4  # share of places, share of these in marks, and pixels around marks
_SOFT, _MORE, _LEAST_SIDE = 2.6, 1.4, 448
_ANCHOR = slice(1, 4)  # bins whose mean level is subtracted: contrast says nothing about scale


class NativeScale(Network, license="apache-2.0", tags=["photo-restoration", "blind-resolution-estimation"]):
    """Spectra (B, 4, 64) of photos, see `spectra` -> log2 of the native scale (B,), 0 = sharp to the pixel.

    Enlarging leaves the highest frequencies empty but for what scanner and file add, and how the spectrum falls there
    tells grain, blur and compression of the photo itself from that. Three fully connected layers.
    Args: hidden: features of the hidden layers.
    """

    def __init__(self, hidden: int = 96) -> None:
        super().__init__()
        seen = (len(_QUANTILES) + 1) * BINS + 1
        self.layers = nn.Sequential(
            nn.Linear(seen, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, 1)
        )

    def forward(self, levels: Tensor) -> Tensor:
        anchor = levels[:, 1:2, _ANCHOR].mean(-1, keepdim=True)
        facts = torch.cat([(levels - anchor).flatten(1), anchor[:, 0]], 1) / 2
        return self.layers(facts)[:, 0]

    def of(self, pixels: Tensor) -> float:
        """The native scale of a photo (1, 3, H, W) in [0, 1], 1.3 to 12, or 1 for a sharp or very small photo.

        What the images that interpolation leaves tell, or where noise ends; else what the network does, or more if
        there is nothing to lose, but no more than where detail ends. Of a photo that was enlarged by repeating pixels,
        the scale once these are smoothed.
        """
        if min(pixels.shape[-2:]) < TILE:
            return 1.0
        planes = _planes(_tiles(without_blocks(pixels)))
        each = _levels(planes)
        levels = _of_photos(each)
        sharpest = F.avg_pool1d(F.pad(levels[:1, len(_QUANTILES) - 1], (1, 1), mode="replicate"), 3, 1)[0].tolist()
        scale = _by_images(sharpest) or _by_noise(each[0, :, 0])
        if scale is None:
            least = _by_nothing(sharpest)
            scale = max(_corrected(2.0 ** self(levels.to(next(self.parameters()).device)).item(), planes), least)
        return round(min(scale, _MOST), 2) if scale >= _LEAST else 1.0


def _by_images(levels: list[float]) -> float | None:
    """How many times a photo was enlarged, `_FAR` to 12, by the images in its spectrum; None if it shows none.

    See Crochiere and Rabiner, "Interpolation and decimation of digital signals" (1981).
    """
    rate = 2 * BINS * _DIP
    for place in range(round(rate / _MOST), int(rate / _FAR) + 1):
        dip, above = levels[place], levels[place + 1 : place + place // 2 + 2]
        lowest = dip < min(levels[:place]) and dip <= above[0]
        if lowest and max(above) - dip >= _RISES and levels[round(place / 3)] - dip >= _DEEP:
            return rate / place
    return None


def _by_nothing(levels: list[float]) -> float:
    """How many times a photo can be shrunk to the frequency from which on it shows nothing; 1 if less than `_FAR`."""
    first = next((place for place, level in enumerate(levels) if level < _NOTHING), BINS)
    return BINS / first if 0 < first <= BINS / _FAR else 1.0


def _corrected(says: float, planes: Tensor) -> float:
    """What the network says, or less if detail goes on in the planes (1, N, 3, 128, 128) of a photo's tiles."""
    ends = _detail_ends(planes[0, :, :1]) if says >= _LEAST else says
    return math.sqrt(says * ends) if says > _TOO_FAR * ends else says


def _detail_ends(light: Tensor) -> float:
    """How many times a photo can be shrunk to where detail ends in the luminance (N, 1, 128, 128) of its tiles."""
    patches = light.unfold(-2, _PATCH, _PATCH).unfold(-2, _PATCH, _PATCH).flatten(1, 3)
    levels = _levels(patches[None])[0].flatten(0, 1)
    strongest, last = round(_STRONG * len(levels)), math.inf
    for place in range(2, levels.shape[-1]):
        chosen = levels[:, place // 2].topk(strongest).indices
        level = levels[chosen, place].quantile(_CLEAN).item()
        if level <= _FINE:  # between the last place and this one
            return levels.shape[-1] / (place - (_FINE - level) / max(last - level, 1e-6))
        last = level
    return 1.0


def under_marks(pixels: Tensor, scale: float) -> float | None:
    """The native scale of a photo (1, 3, H, W) in [0, 1] if all that is sharp in it is marks.

    None if nothing is sharp, if that is about the `scale` that it has with them, and for a small photo. Whether it is
    marks, `all_sharp_is_marked` tells.
    """
    side = min(pixels.shape[-2:])
    if side < max(TILE, _SOFT * _LEAST_SIDE):
        return None
    light = luminance(_tiles(pixels)[0])
    if _sharp(light).float().mean() < _SHARP:
        return None
    found = min(_detail_ends(light), _MOST, side / _LEAST_SIDE)
    return round(found, 2) if found > max(_SOFT, _MORE * scale) else None


def all_sharp_is_marked(pixels: Tensor, mask: Tensor) -> bool:
    """Whether most that is sharp to the pixel in a photo (1, 3, H, W) is where its mask (1, 1, H, W) is above 0.5."""
    marked = window_maxima((_tiles(mask)[0] > 0.5).float(), 2 * _NEAR + 1)[..., 2:-2, 2:-2] > 0
    sharp = _sharp(luminance(_tiles(pixels)[0]))
    return bool((sharp & marked).sum() >= _MARKS * sharp.sum())


def _sharp(light: Tensor) -> Tensor:
    """Which places (N, 1, 124, 124), bool, bend as only what is sharp to the pixel does, in tiles (N, 1, 128, 128)."""
    across, down = light.diff(4, dim=-1)[..., 2:-2, :], light.diff(4, dim=-2)[..., 2:-2]
    return window_means(across.square() + down.square(), 5, 5) > _BENT * _OF_NOISE


def noise_scale(pixels: Tensor) -> float | None:
    """How many times a photo (1, 3, H, W) in [0, 1] was enlarged together with its noise, if that shows; else None."""
    if min(pixels.shape[-2:]) < TILE:
        return None
    return _by_noise(_levels(luminance(_tiles(pixels)[0])[None])[0, :, 0])


def _by_noise(levels: Tensor) -> float | None:
    """Where the noise in tiles, the levels (N, 64) of their luminance, is a tenth: the scale, in `_NOISY`; or None."""
    rough = levels.quantile(_FLATTEST, 0)[None]
    flattest = F.avg_pool1d(F.pad(rough, (1, 1), mode="replicate"), 3, 1)[0].tolist()

    def level(place: float, reach: int) -> float:
        near = flattest[max(round(place) - reach, 0) : round(place) + reach + 1]
        return sum(near) / len(near)

    for place in range(BINS // 8, int(BINS / _NOISY[0]) + 1):
        reach = max(1, place // 12)
        half = level(place / 2, reach)
        if flattest[place] <= half - 1:
            beyond, last = level(min(1.4 * place, BINS - 6) + 3, 3), level(BINS - 3, 3)
            flat = abs(level(0.3 * place, reach) - half) <= _UP and half - level(0.7 * place, reach) <= _LEVEL
            ends = half - beyond >= _ENDS and beyond - last <= _FLOOR
            return BINS / place if flat and ends and BINS / place <= _NOISY[1] else None
    return None


def spectra(pixels: Tensor) -> Tensor:
    """Levels (B, 4, 64) of photos (B, 3, H, W) in [0, 1]: the base-10 logarithm of the power by frequency.

    Three quantiles over tiles of the luminance's power, and the middle one of the color differences'. Bins are of the
    larger of both frequencies, as resampling is separable. Photos smaller than a tile are mirrored at their borders.
    """
    return levels_of(_tiles(pixels))


def _tiles(pixels: Tensor) -> Tensor:
    """Tiles (B, N, C, 128, 128) from all over photos or masks (B, C, H, W)."""
    height, width = (side - 2 * round(_MARGIN * side) for side in pixels.shape[-2:])
    top, left = (round(_MARGIN * side) for side in pixels.shape[-2:])
    rows = max(1, min(round((_TILES * height / width) ** 0.5), -(-height // TILE)))
    columns = max(1, min(round(_TILES / rows), -(-width // TILE)))
    inner = pixels[..., top : top + height, left : left + width]
    while min(inner.shape[-2:]) < TILE:
        mode = "reflect" if min(inner.shape[-2:]) > 1 else "replicate"
        pads = [min(TILE - side, side - 1) if mode == "reflect" else TILE - side for side in inner.shape[-2:]]
        inner = F.pad(inner, (0, max(pads[1], 0), 0, max(pads[0], 0)), mode=mode)
    places = [torch.linspace(0, inner.shape[axis] - TILE, n).long().tolist() for axis, n in ((-2, rows), (-1, columns))]
    return torch.stack([inner[..., y : y + TILE, x : x + TILE] for y in places[0] for x in places[1]], 1)


def levels_of(tiles: Tensor) -> Tensor:
    """`spectra` of photos that are given as tiles (B, N, 3, 128, 128)."""
    return _of_photos(_levels(_planes(tiles)))


def _planes(tiles: Tensor) -> Tensor:
    """The luminance of tiles (B, N, 3, 128, 128), and two color differences: the same shape."""
    light = luminance(tiles.flatten(0, 1)).view(*tiles.shape[:2], 1, TILE, TILE)
    return torch.cat([light, tiles[:, :, ::2] - light], 2)


def _levels(planes: Tensor) -> Tensor:
    """Levels (B, N, C, S / 2) of the planes (B, N, C, S, S) of tiles."""
    side = planes.shape[-1]
    window = torch.hann_window(side, periodic=False, device=planes.device)
    window = window[:, None] * window
    planes = (planes - planes.mean((-1, -2), keepdim=True)) * window
    power = torch.fft.rfft2(planes).abs().square() / window.square().sum()
    across, along = (f.abs() for f in (torch.fft.fftfreq(side), torch.fft.rfftfreq(side)))
    bins = (torch.maximum(across[:, None], along) * side).long().clamp_max(side // 2 - 1).to(planes.device).flatten()
    power = power.flatten(-2)
    sums = torch.zeros(*power.shape[:-1], side // 2, device=planes.device).index_add_(-1, bins, power)
    return (sums / torch.bincount(bins, minlength=side // 2) + 1e-9).log10()


def _of_photos(level: Tensor) -> Tensor:
    """`spectra` of photos, of the levels (B, N, 3, 64) of their tiles."""
    shares = torch.tensor(_QUANTILES, device=level.device)
    of_light = level[:, :, 0].quantile(shares, 1).transpose(0, 1)
    of_color = level[:, :, 1:].mean(2).quantile(_QUANTILES[1], 1)
    return torch.cat([of_light, of_color[:, None]], 1)
