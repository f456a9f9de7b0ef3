"""What innocent things are drawn with: strokes, painted outlines, perspective, and how they settle into a photo."""

import cv2
import numpy as np

from bringback.degradations.drawn.canvas import Canvas

_FINE = 2  # canvas pixels per photo pixel, along each axis
_SHIFT = 4  # fractional bits of OpenCV's coordinates


def _fixed(line: np.ndarray) -> np.ndarray:
    # far outside, OpenCV's fixed-point coordinates would overflow
    return np.rint(np.clip(line, -1e5, 1e5) * _FINE * 2**_SHIFT).astype(np.int32)


def _region(canvas: Canvas, lines: list[np.ndarray], spare: float) -> tuple[slice, slice]:
    """The rows and columns that lines (N, 2) reach, with `spare` pixels around; at least one of each."""
    every = np.concatenate(lines)
    left, top = np.clip(np.floor(every.min(0) - spare), 0, [canvas.width - 1, canvas.height - 1]).astype(int)
    right, bottom = np.clip(np.ceil(every.max(0) + spare), [left + 1, top + 1], [canvas.width, canvas.height]).astype(
        int
    )
    return slice(int(top), int(bottom)), slice(int(left), int(right))


def strokes(canvas: Canvas, lines: list[np.ndarray], widths: list[float] | float) -> np.ndarray:
    """Lines (N, 2) of (x, y) with round ends, each as many pixels wide as told: alpha (H, W) of their union."""
    every = [widths] * len(lines) if isinstance(widths, int | float) else widths
    rows, columns = _region(canvas, lines, max(every) + 2)
    fine = np.zeros(((rows.stop - rows.start) * _FINE, (columns.stop - columns.start) * _FINE), np.uint8)
    fixed = _fixed(np.concatenate(lines) - [columns.start, rows.start])
    pieces = np.split(fixed, np.cumsum([len(line) for line in lines])[:-1])
    alike = dict[tuple[int, int], list[np.ndarray]]()
    for piece, width in zip(pieces, every, strict=True):
        pen = max(1, round(width * _FINE)), round(255 * min(1.0, max(width * _FINE, 0.3)))
        alike.setdefault(pen, []).append(piece)
    # thin ones first: where they cross a wide one they would thin it
    for (thickness, level), group in sorted(alike.items(), key=lambda pair: pair[0]):
        cv2.polylines(fine, group, False, level, thickness, cv2.LINE_AA, _SHIFT)
    alpha = np.zeros((canvas.height, canvas.width), np.float32)
    alpha[rows, columns] = cv2.resize(fine, None, fx=1 / _FINE, fy=1 / _FINE, interpolation=cv2.INTER_AREA)
    alpha *= np.float32(1 / 255)
    return alpha


def painted(canvas: Canvas, shapes: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Outlines (N, 2), each of a color (3,), painted one on the other: alpha (H, W), color times alpha (H, W, 3)."""
    rows, columns = _region(canvas, [outline for outline, _ in shapes], 2)
    fine = np.zeros(((rows.stop - rows.start) * _FINE, (columns.stop - columns.start) * _FINE, 4), np.uint8)
    for outline, color in shapes:
        level = [*(float(c) * 255 for c in color), 255.0]
        cv2.fillPoly(fine, [_fixed(outline - [columns.start, rows.start])], level, cv2.LINE_AA, _SHIFT)
    small = cv2.resize(fine, None, fx=1 / _FINE, fy=1 / _FINE, interpolation=cv2.INTER_AREA)
    alpha, ink = (
        np.zeros((canvas.height, canvas.width), np.float32),
        np.zeros((canvas.height, canvas.width, 3), np.float32),
    )
    scale = np.float32(1 / 255)
    np.multiply(small[..., 3], scale, out=alpha[rows, columns])
    np.multiply(cv2.cvtColor(small, cv2.COLOR_BGRA2BGR), scale, out=ink[rows, columns])
    return alpha, ink


def tint(canvas: Canvas, low: float, high: float, color: float = 0.1) -> np.ndarray:
    """A color (3,) between two levels, of about the saturation `color`."""
    level = canvas.random.uniform(low, high)
    hue = np.cos(canvas.random.uniform(0, 2 * np.pi) + np.array([0, 2.1, 4.2])) * color * canvas.random.random()
    return np.clip(level + hue, 0, 1).astype(np.float32)


def gray(plane: np.ndarray) -> np.ndarray:
    """A plane (H, W) thrice: (H, W, 3)."""
    return cv2.merge([plane] * 3)


def tinted(plane: np.ndarray, color: np.ndarray) -> np.ndarray:
    """A plane (H, W) times a color (3,): (H, W, 3)."""
    return cv2.merge([plane * np.float32(c) for c in color])


def rolling(canvas: Canvas, knots: int = 4) -> np.ndarray:
    """Very smooth noise (H, W) of deviation about 1."""
    return _rolling(canvas, canvas.height, canvas.width, knots)


def _rolling(canvas: Canvas, height: int, width: int, knots: int) -> np.ndarray:
    coarse = canvas.random.standard_normal((knots, knots), dtype=np.float32)
    middle = cv2.resize(coarse, (knots * 8, knots * 8), interpolation=cv2.INTER_CUBIC)  # cubic is slow at full size
    return cv2.resize(middle, (width, height), interpolation=cv2.INTER_LINEAR)


def plane_wave(canvas: Canvas, pitch: float, angle: float, start: float = 0.0) -> np.ndarray:
    """cos of a wave (H, W) that repeats every `pitch` pixels in the direction `angle`."""
    x = np.arange(canvas.width, dtype=np.float32) * np.float32(2 * np.pi / pitch * np.cos(angle)) + np.float32(start)
    y = np.arange(canvas.height, dtype=np.float32)[:, None] * np.float32(2 * np.pi / pitch * np.sin(angle))
    return np.cos(y) * np.cos(x) - np.sin(y) * np.sin(x)


def ring(center: np.ndarray, radii: tuple[float, float], angle: float = 0.0, count: int = 48) -> np.ndarray:
    """An ellipse (count, 2)."""
    turns = np.linspace(0, 2 * np.pi, count)
    points = np.stack([np.cos(turns) * radii[0], np.sin(turns) * radii[1]], 1)
    return np.asarray(center) + turned(points, angle)


def turned(points: np.ndarray, angle: float) -> np.ndarray:
    """Points (N, 2) turned about the origin."""
    cos, sin = np.cos(angle), np.sin(angle)
    return points @ np.array([[cos, sin], [-sin, cos]])


def frame(canvas: Canvas, size: float, skew: float = 0.25, tilt: float = 0.2, aspect: float = 1.6) -> np.ndarray:
    """A homography (3, 3) from the unit square to a rectangle seen aslant, about `size` pixels large, on the photo."""
    stretch = canvas.between(1 / aspect, aspect) ** 0.5
    corners = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    seen = (corners - 0.5) * (1 + skew * canvas.random.uniform(-0.5, 0.5, (4, 2))) * [size * stretch, size / stretch]
    seen = turned(seen, canvas.random.normal() * tilt) + canvas.point()
    return cv2.getPerspectiveTransform(corners.astype(np.float32), seen.astype(np.float32))


def through(homography: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (N, 2) moved by a homography."""
    return cv2.perspectiveTransform(np.asarray(points, np.float64)[None], homography)[0]


def lit(photo: np.ndarray, light: np.ndarray, color: np.ndarray) -> np.ndarray:
    """The photo with light (H, W) of a color (3,) added as a lens or a second exposure adds it."""
    dark = np.subtract(1, photo)
    dark *= cv2.merge([1 - np.minimum(light * np.float32(c), 1) for c in color])
    np.subtract(1, dark, out=dark)
    return np.clip(dark, 0, 1, out=dark)


def shaded(photo: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """The photo times a gain (H, W)."""
    made = gray(gain.astype(np.float32, copy=False))
    made *= photo
    return np.clip(made, 0, 1, out=made)


def extent(alpha: np.ndarray, spare: int = 0) -> tuple[slice, slice]:
    """The rows and columns where alpha (H, W) is above 0, with `spare` pixels around; empty if it is so nowhere."""
    left, top, width, height = cv2.boundingRect((alpha > 0.004).view(np.uint8))
    if not width:
        return slice(0, 0), slice(0, 0)
    rows = slice(max(top - spare, 0), min(top + height + spare, alpha.shape[0]))
    return rows, slice(max(left - spare, 0), min(left + width + spare, alpha.shape[1]))


def settle(
    canvas: Canvas,
    photo: np.ndarray,
    alpha: np.ndarray,
    color: np.ndarray,
    soft: float = 1.0,
    shading: float = 0.2,
    blend: bool = False,
) -> np.ndarray:
    """The photo with something in it that looks photographed together with it.

    Its edges are blurred a little, it is shaded unevenly, and it gets noise of the photo's own level.

    Args: alpha: (H, W) in [0, 1]; color: (3,), or (H, W, 3) already multiplied by alpha; soft: scales the blur;
    shading: the largest deviation of its brightness; blend: it may let a little of the photo through.
    """
    random, made = canvas.random, photo.copy()
    sigma = float(random.uniform(0.3, 1.2) * soft * min(max(canvas.unit, 0.5), 2.0))
    density = np.float32(random.uniform(0.75, 1.0)) if blend and random.random() < 0.3 else np.float32(1.0)
    strength = np.float32(shading * random.random())
    # only where there is something: most things are small
    rows, columns = extent(alpha, int(3 * sigma) + 1)
    if rows.start == rows.stop:
        return made
    alpha, color = alpha[rows, columns], color[rows, columns] if color.ndim == 3 else color
    if sigma > 0.3:
        alpha = cv2.GaussianBlur(alpha, (0, 0), sigma)
        color = cv2.GaussianBlur(color, (0, 0), sigma) if color.ndim == 3 else color
    height, width = alpha.shape
    shade = _rolling(canvas, height, width, 4)
    shade *= strength
    shade += 1
    shade *= density
    if color.ndim == 3:
        ink = gray(shade)
        ink *= color
    else:
        shade *= alpha
        ink = tinted(shade, color)
    level = min(float(np.median(np.abs(np.diff(photo[::16, ::2, 1], axis=1)))), 0.04)
    # a few quarters have the same noise, which no one sees and which is several times as fast
    noise = random.standard_normal((-(-height // 2), -(-width // 2)), dtype=np.float32) * np.float32(level)
    grain = np.tile(noise, (2, 2))[:height, :width]
    grain *= alpha
    ink += gray(grain)
    kept = gray(1 - alpha * density)
    kept *= photo[rows, columns]
    kept += ink
    np.clip(kept, 0, 1, out=made[rows, columns])
    return made
