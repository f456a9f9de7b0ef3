"""Colors of a file with an ICC profile to sRGB, in which everything works, and back.

The working space is sRGB in [0, 1], float32: what a restoration sees looks as the file does. A profile of curves and a
matrix (Adobe RGB, ProPhoto, Display P3, linear ones, those of most scanners and cameras) and one for gray is computed
here, one with a table by littlecms, through imagecodecs.

Colors that sRGB does not have are clipped in the working space, and a table can be inverted only nearly, so the way
back alone would not be exact. Therefore a photo keeps the levels of its file. What the way there and back loses of a
pixel is added to what has become of it, in full if nothing has changed it and less the more it has changed. So a pixel
that nothing has changed is written as it was, to the bit; one that was changed a little keeps most of its color outside
sRGB, without a seam between the two; one that has become another keeps nothing.
"""

from functools import cache, lru_cache
from typing import Any, Protocol

import numpy as np

from bringback.errors import CodecError
from bringback.images.icc import DENSE, Curve, Profile, parse

# The primaries of sRGB under D50, as ICC profiles have them (IEC 61966-2-1, adapted by Bradford), columns R, G, B.
_SRGB = np.array(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)
_STEPS = 1 << 18  # of the tables that curves become: finer than 16 bits by four
_ALIKE = 2 / 255  # a profile that moves no color further is sRGB, told in another way
_WHITE = 0.005  # by which the white of a profile may miss D50 by rounding
_UNCHANGED = 1e-6  # change of a pixel: rounding
_ANOTHER = 0.25  # change of a channel from which nothing of the old color outside sRGB is kept
_SIDE, _SIDE_BACK = 65, 33  # points a side of a table and of its inverse
_ROUNDS, _LONGEST, _DAMPING, _APART = 12, 0.2, 1e-5, 1e-2  # of the search for it


class Conversion(Protocol):
    """Numbers of a file to the working space and back."""

    def to_srgb(self, levels: np.ndarray) -> np.ndarray:
        """uint8 or uint16 of (..., 3), or (...) for gray, to float32 sRGB in [0, 1] of the same shape."""
        ...

    def from_srgb(self, pixels: np.ndarray) -> np.ndarray:
        """float32 sRGB in [0, 1] of (..., 3), or (...) for gray, to the numbers of the file, in [0, 1]."""
        ...


def restored(conversion: Conversion, pixels: np.ndarray, levels: np.ndarray | None) -> np.ndarray:
    """Pixels (..., 3), or (...) for gray, clipped to [0, 1], as numbers of the file in [0, 1]; see above.

    `levels` are what the file had there, uint8 or uint16; None if there is nothing to compare with.
    """
    pixels = np.clip(pixels, 0, 1)
    if levels is None:
        return conversion.from_srgb(pixels)
    own = levels / np.float32(np.iinfo(levels.dtype).max)
    before = conversion.to_srgb(levels)
    change = np.abs(pixels - before)
    if change.max() <= _UNCHANGED:
        return own
    if levels.ndim == 3:
        change = np.maximum(np.maximum(change[..., :1], change[..., 1:2]), change[..., 2:])  # faster than max(-1)
    lost = own - conversion.from_srgb(before)
    lost *= np.maximum(1 - change / np.float32(_ANOTHER), 0)
    lost += conversion.from_srgb(pixels)
    np.copyto(lost, own, where=change <= _UNCHANGED)
    return lost


@lru_cache(maxsize=8)
def conversion(icc: bytes, gray: bool) -> Conversion | None:
    """How to convert a picture with this profile, None if that is sRGB.

    Raises `CodecError`, with words that follow "the color profile ", if it cannot be applied to such a picture.
    """
    profile = parse(icc)
    if profile.space == "gray" and not gray:
        raise CodecError("is for gray pictures")
    if profile.table and not gray:
        library = _library()
        if library is not None:
            table = Table(icc, library)
            return None if _is_srgb(table, gray) else table
        if not profile.curves:
            raise CodecError('needs one more package: pip install "bringback[io]"')
    if not profile.curves:
        raise CodecError("is for RGB pictures")
    shaper = Shaper(profile, gray)
    return None if _is_srgb(shaper, gray) else shaper


def _is_srgb(made: Conversion, gray: bool) -> bool:
    axis = np.arange(0, 256, 15, dtype=np.uint8)
    levels = axis if gray else np.stack(np.meshgrid(axis, axis, axis), axis=-1)
    return bool(np.abs(made.to_srgb(levels) - levels / np.float32(255)).max() <= _ALIKE)


class Shaper:
    """By curves and, for RGB, a matrix.

    White of the profile is white of sRGB. A gray picture with a profile for RGB has the curve of green.
    """

    def __init__(self, profile: Profile, gray: bool) -> None:
        self.curves = profile.curves[len(profile.curves) // 2 :][:1] if gray else profile.curves
        self.matrix: np.ndarray = np.eye(1)
        self.inverse: np.ndarray = self.matrix
        if not gray:
            matrix = np.linalg.inv(_SRGB) @ profile.matrix
            white = matrix.sum(1, keepdims=True)
            self.matrix = matrix / white if np.abs(white - 1).max() < _WHITE else matrix
            self.inverse = np.linalg.inv(self.matrix)
        self.tables: dict[np.dtype, list[np.ndarray]] = {}  # linear light of each level, by the kind of levels
        self.inverses = [_inverse(curve) for curve in self.curves]

    def to_srgb(self, levels: np.ndarray) -> np.ndarray:
        """See `Conversion`."""
        if levels.dtype not in self.tables:
            steps = np.linspace(0, 1, np.iinfo(levels.dtype).max + 1)
            self.tables[levels.dtype] = [curve(steps).astype(np.float32) for curve in self.curves]
        tables = self.tables[levels.dtype]
        linear = [table.take(plane) for table, plane in zip(tables, self._planes(levels), strict=True)]
        return self._mixed(self.matrix, linear, [_encoding()] * len(tables), levels.shape)

    def from_srgb(self, pixels: np.ndarray) -> np.ndarray:
        """See `Conversion`."""
        linear = [_looked_up(_decoding(), plane) for plane in self._planes(pixels)]
        return self._mixed(self.inverse, linear, self.inverses, pixels.shape)

    def _planes(self, values: np.ndarray) -> np.ndarray:
        return values.reshape(-1, len(self.curves)).T

    @staticmethod
    def _mixed(
        matrix: np.ndarray, linear: list[np.ndarray], tables: list[np.ndarray], shape: tuple[int, ...]
    ) -> np.ndarray:
        """The matrix of linear planes, each by its table for the root of light: curves are steep near black.

        Step by step, not as a product of matrices, whose rounding depends on how many pixels there are.
        """
        made = np.empty((len(linear[0]), len(tables)), np.float32)
        for channel, (shares, table) in enumerate(zip(matrix.astype(np.float32), tables, strict=True)):
            light = shares[0] * linear[0]
            for share, plane in zip(shares[1:], linear[1:], strict=True):
                light += share * plane
            np.clip(light, 0, 1, out=light)
            made[:, channel] = _looked_up(table, np.sqrt(light, out=light))
        return made.reshape(shape)


class Table:
    """By the table of a profile, as littlecms reads it, at `_SIDE` points a side, between which is interpolated.

    Profiles of scanners often have a table for one direction only: for the way back this one is inverted.
    """

    def __init__(self, icc: bytes, library: Any) -> None:
        levels = _lattice(_SIDE)
        try:
            made = library.cms_transform(
                levels.astype(np.float32),
                icc,
                library.cms_profile("srgb"),
                colorspace="rgb",
                outcolorspace="rgb",
                outdtype=np.float32,
                intent=library.CMS.INTENT.RELATIVE_COLORIMETRIC,
            )
        except Exception:  # of the library, for a broken profile
            raise CodecError("is broken") from None
        self.grid = _volume(np.asarray(made).reshape(levels.shape))
        self.inverse: Any = None

    def to_srgb(self, levels: np.ndarray) -> np.ndarray:
        """See `Conversion`."""
        return np.clip(_between(self.grid, levels / np.float32(np.iinfo(levels.dtype).max)), 0, 1)

    def from_srgb(self, pixels: np.ndarray) -> np.ndarray:
        """See `Conversion`."""
        if self.inverse is None:
            self.inverse = _volume(self._inverted())
        return _between(self.inverse, pixels)

    def _inverted(self) -> np.ndarray:
        """Levels of the file by red, green and blue of sRGB: damped Newton steps that begin at the same numbers."""
        wanted = _lattice(_SIDE_BACK).reshape(-1, 3)
        found, best, least = wanted.copy(), wanted.copy(), np.full(len(wanted), np.inf)

        def color(levels: np.ndarray) -> np.ndarray:
            return _between(self.grid, levels.astype(np.float32)).astype(np.float64)

        for _ in range(_ROUNDS):
            now = color(found)
            error = wanted - now
            off = (error**2).sum(1)
            better = off < least
            best[better], least[better] = found[better], off[better]
            slopes = np.empty((len(found), 3, 3))
            for channel in range(3):
                step = np.where(found[:, channel] < 0.5, _APART, -_APART)  # to stay within the table
                beside = found.copy()
                beside[:, channel] += step
                slopes[:, :, channel] = (color(beside) - now) / step[:, None]
            across = slopes.transpose(0, 2, 1)
            moves = np.linalg.solve(across @ slopes + _DAMPING * np.eye(3), across @ error[..., None])[..., 0]
            found = np.clip(found + np.clip(moves, -_LONGEST, _LONGEST), 0, 1)
        return best.reshape(_SIDE_BACK, _SIDE_BACK, _SIDE_BACK, 3)


def _library() -> Any:
    try:
        import imagecodecs
    except ImportError:
        return None
    return imagecodecs if imagecodecs.CMS.available else None


def _lattice(side: int) -> np.ndarray:
    """All colors (side, side, side, 3) of that many equal steps in [0, 1]."""
    axis = np.linspace(0, 1, side)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)


def _volume(grid: np.ndarray) -> Any:
    """Values (side, side, side, 3) at `_lattice`, as torch samples them."""
    from torch import from_numpy  # late: reading most photos needs no torch

    return from_numpy(grid.astype(np.float32)).permute(3, 0, 1, 2)[None].contiguous()


def _between(volume: Any, colors: np.ndarray) -> np.ndarray:
    """Interpolate the volume at colors (..., 3) in [0, 1], float32; the result has their shape."""
    from torch import from_numpy, nn

    places = from_numpy(colors.reshape(-1, 3)[:, ::-1] * np.float32(2) - np.float32(1))  # the innermost axis first
    values = nn.functional.grid_sample(volume, places[None, None, None], padding_mode="border", align_corners=True)
    return np.ascontiguousarray(values[0, :, 0, 0].numpy().T).reshape(colors.shape)


@cache
def _encoding() -> np.ndarray:
    """sRGB by the root of linear light."""
    linear = np.linspace(0, 1, _STEPS + 1) ** 2
    return np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear).astype(np.float32)


@cache
def _decoding() -> np.ndarray:
    """Linear light by sRGB."""
    levels = np.linspace(0, 1, _STEPS + 1)
    return np.where(levels > 0.04045, ((levels + 0.055) / 1.055) ** 2.4, levels / 12.92).astype(np.float32)


def _inverse(curve: Curve) -> np.ndarray:
    """The level by the root of linear light."""
    levels = np.linspace(0, 1, DENSE)
    light = np.maximum.accumulate(curve(levels))
    return np.interp(np.linspace(0, 1, _STEPS + 1) ** 2, light, levels).astype(np.float32)


def _looked_up(table: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The entries of a table of equal steps in [0, 1] that are nearest to these places in [0, 1]."""
    place = at * np.float32(len(table) - 1)
    place += np.float32(0.5)
    return table.take(place.astype(np.intp))
