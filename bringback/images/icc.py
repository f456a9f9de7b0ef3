"""What an ICC profile says: its kind, and its curves and matrix as numbers (ICC.1:2022, sections 7, 9 and 10)."""

import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bringback.errors import CodecError

HEADER = 128  # bytes
NAMES = {b"RGB ": "RGB", b"GRAY": "gray", b"CMYK": "CMYK", b"Lab ": "Lab", b"XYZ ": "XYZ"}  # the spaces worth naming
PICTURES = (b"scnr", b"mntr", b"prtr", b"spac")  # classes of profiles that tell the colors of pictures
DENSE = 1 << 16  # levels at which curves are looked at

Curve = Callable[[np.ndarray], np.ndarray]  # float64 levels in [0, 1] -> linear light, where 1 is white


@dataclass(frozen=True)
class Profile:
    """The parts of a profile that tell how numbers become colors.

    `space` is "RGB" or "gray". `curves` are the tone curves, three or one, or () if there are none. `matrix` (3, 3)
    takes linear RGB to CIE XYZ under D50, None for gray and without curves. `table` tells whether the colors are in a
    table, which goes before the curves.
    """

    space: str
    curves: tuple[Curve, ...]
    matrix: np.ndarray | None
    table: bool


def parse(icc: bytes) -> Profile:
    """Read a profile; raises `CodecError`, with words that follow "the color profile ", if it is of no use."""
    if len(icc) < HEADER + 4 or icc[36:40] != b"acsp":
        raise CodecError("is broken")
    space = NAMES.get(icc[16:20], "other")
    if icc[12:16] not in PICTURES or space not in ("RGB", "gray"):
        raise CodecError(f"is for {space} colors")
    try:
        tags = _tags(icc)
        names = [b"rTRC", b"gTRC", b"bTRC"] if space == "RGB" else [b"kTRC"]
        curves = tuple(_curve(tags[name]) for name in names if name in tags)
        colorants = [tags[name] for name in (b"rXYZ", b"gXYZ", b"bXYZ") if name in tags]
        matrix = np.stack([_numbers(tag, 3, 8) for tag in colorants], axis=1) if len(colorants) == 3 else None
    except (struct.error, ValueError):
        raise CodecError("is broken") from None
    if space == "gray":
        if not curves:
            raise CodecError("has no tone curve")
        curves = (_from_lightness(curves[0]),) if icc[20:24] == b"Lab " else curves
        usable = _is_usable(curves)
    else:
        usable = len(curves) == 3 and matrix is not None and _is_usable(curves) and np.linalg.cond(matrix) < 1e3
    if not usable and (b"A2B0" not in tags or space == "gray"):
        raise CodecError("is broken")
    return Profile(space, curves if usable else (), matrix if usable else None, space == "RGB" and b"A2B0" in tags)


def _tags(icc: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", icc, HEADER)
    tags = {}
    for number in range(min(count, 200)):
        name, start, size = struct.unpack_from(">4sII", icc, HEADER + 4 + 12 * number)
        if start + size > len(icc):
            raise ValueError
        tags[name] = icc[start : start + size]
    return tags


def _numbers(tag: bytes, count: int, start: int) -> np.ndarray:
    """Signed numbers with 16 bits behind the point."""
    return np.array(struct.unpack_from(f">{count}i", tag, start)) / 65536


def _curve(tag: bytes) -> Curve:
    if tag[:4] == b"para":
        return _formula(struct.unpack_from(">H", tag, 8)[0], tag)
    if tag[:4] != b"curv":
        raise ValueError
    (count,) = struct.unpack_from(">I", tag, 8)
    if count > DENSE:
        raise ValueError
    points = np.array(struct.unpack_from(f">{count}H", tag, 12))
    if count == 0:
        return lambda levels: levels
    if count == 1:
        gamma = points[0] / 256
        return lambda levels: levels**gamma
    steps = np.linspace(0, 1, count)
    return lambda levels: np.interp(levels, steps, points / 65535)


def _formula(kind: int, tag: bytes) -> Curve:
    """The five kinds of parametric curves, all of them (a x + b)^gamma + e from d on and c x + f below."""
    gamma, *rest = _numbers(tag, {0: 1, 1: 3, 2: 4, 3: 5, 4: 7}.get(kind, 0), 12)
    a, b, c, d, e, f = 1.0, 0.0, 0.0, 0.0, 0.0, 0.0
    if kind in (1, 2):
        a, b = rest[:2]
        d = -b / a if a else 0.0
        e = f = rest[2] if kind == 2 else 0.0
    elif kind in (3, 4):
        a, b, c, d = rest[:4]
        e, f = rest[4:] if kind == 4 else (0.0, 0.0)
    return lambda levels: np.where(levels >= d, np.maximum(a * levels + b, 0) ** gamma + e, c * levels + f)


def _from_lightness(curve: Curve) -> Curve:
    """A curve that gives L* / 100 made one that gives linear light."""

    def light(levels: np.ndarray) -> np.ndarray:
        root = (curve(levels) * 100 + 16) / 116
        return np.where(root > 6 / 29, root**3, 3 * (6 / 29) ** 2 * (root - 4 / 29))

    return light


def _is_usable(curves: tuple[Curve, ...]) -> bool:
    """Whether the curves rise, but for flat ends and small dips, from about black to about white."""
    levels = np.linspace(0, 1, 1025)
    with np.errstate(all="ignore"):
        lights = [curve(levels) for curve in curves]
    return all(
        bool(np.isfinite(light).all()) and light[0] < 0.1 and 0.5 < light[-1] < 1.1 and np.diff(light).min() > -0.01
        for light in lights
    )
