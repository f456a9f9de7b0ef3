"""What the kinds of damage are made of: strokes, rips, specks, tones and paper."""

import cv2
import numpy as np

from bringback.degradations.drawn.canvas import Canvas

Outlines = list[np.ndarray]


def chance(canvas: Canvas, probability: float) -> bool:
    """True with this probability."""
    return bool(canvas.random.random() < probability)


def many(canvas: Canvas, low: float, high: float) -> int:
    """A whole number from `low` to `high`, log-uniform."""
    return round(canvas.between(low, high))


def width(canvas: Canvas, low: float, high: float) -> float:
    """A width in pixels from `low` to `high` units, 40 pixels at most."""
    return min(canvas.between(low, high) * canvas.unit, 40.0)


def soften(alpha: np.ndarray, sigma: float) -> np.ndarray:
    """Blurred by a Gaussian of `sigma` pixels; wide ones on a coarse grid."""
    if sigma < 0.3:
        return alpha
    height, size = alpha.shape[:2], (alpha.shape[1], alpha.shape[0])
    coarser = min(int(sigma / 2), 16, min(height))
    if coarser < 2:
        return np.minimum(cv2.GaussianBlur(alpha, (0, 0), sigma), 1)
    small = cv2.resize(alpha, (-(-size[0] // coarser), -(-size[1] // coarser)), interpolation=cv2.INTER_AREA)
    small = np.minimum(cv2.GaussianBlur(small, (0, 0), sigma / coarser), 1)
    return np.minimum(cv2.resize(small, size, interpolation=cv2.INTER_LINEAR), 1)


def shifted(alpha: np.ndarray, right: float, down: float) -> np.ndarray:
    """Moved by so many pixels; what comes in is empty."""
    move = np.array([[1.0, 0, right], [0, 1, down]])
    return cv2.warpAffine(alpha, move, (alpha.shape[1], alpha.shape[0]))


def step(field: np.ndarray, level: float, soft: float) -> np.ndarray:
    """0 below the level, 1 above it, over a ramp `soft` wide."""
    return np.clip((field - np.float32(level)) * np.float32(1 / soft) + np.float32(0.5), 0, 1)


def gray(photo: np.ndarray) -> np.ndarray:
    """The mean of the channels of a photo (H, W, 3): (H, W)."""
    return cv2.transform(photo, np.full((1, 3), 1 / 3, np.float32))


def direction(angle: float) -> np.ndarray:
    """The unit vector (x, y) of an angle in radians."""
    return np.array([np.cos(angle), np.sin(angle)])


def straight(start: np.ndarray, end: np.ndarray, spacing: float = 3.0) -> np.ndarray:
    """A line (N, 2) with a point every `spacing` pixels, 400 at most."""
    count = int(np.clip(np.hypot(*(end - start)) / spacing, 8, 400))
    return start + (end - start) * np.linspace(0, 1, count)[:, None]


def ripped(canvas: Canvas, line: np.ndarray, size: float, knots: float = 5) -> np.ndarray:
    """The line (N, 2) with the jags of a rip, up to about `size` pixels, the finer the smaller."""
    at, jags = np.arange(len(line)), np.zeros((len(line), 2))
    while knots < len(line):
        places = np.linspace(0, len(line) - 1, int(knots))
        jags += np.stack([np.interp(at, places, canvas.random.standard_normal(int(knots))) for _ in "xy"], 1) * size
        knots, size = knots * 2.3, size * 0.5
    return line + jags


def across(canvas: Canvas, upright: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Two places from which a line crosses the whole photo: roughly upright or level, or else slanted."""
    w, h = canvas.width, canvas.height
    if chance(canvas, 0.25):
        middle, reach = canvas.point(-0.15), direction(canvas.random.uniform(0, np.pi)) * np.hypot(w, h)
        return middle - reach, middle + reach
    place, lean = canvas.random.uniform(0.05, 0.95), canvas.random.normal(0, 0.06)
    if chance(canvas, upright):
        return np.array([(place - lean) * w, -5.0]), np.array([(place + lean) * w, h + 5.0])
    return np.array([-5.0, (place - lean) * h]), np.array([w + 5.0, (place + lean) * h])


def stroke(
    canvas: Canvas, line: np.ndarray, wide: float, rough: float = 0.3, taper: float = 0.0, gaps: float = 0.0
) -> Outlines:
    """A line (N, 2) of varying width, `taper` of its length thinning out, about `gaps` of it missing."""
    count = len(line)
    widths = wide * np.exp(np.clip(rough * canvas.wave(count, max(count // 6, 4)), -1.5, 0.9))
    if taper > 0:
        end = np.linspace(0, 1, count)
        end = np.minimum(end, 1 - end) if chance(canvas, 0.5) else 1 - end
        widths = widths * np.clip(end / taper, 0.02, 1) ** 0.7
    if gaps <= 0:
        return [canvas.outline(line, widths)]
    field = canvas.wave(count, max(count // 4, 5)) + 0.7 * canvas.wave(count, 5)
    kept = np.concatenate([[False], field > np.quantile(field, gaps), [False]])
    edges = np.flatnonzero(np.diff(kept.astype(np.int8)))
    pieces = [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a > 2]
    outlines = []
    for a, b in pieces:
        ends = np.arange(b - a)
        thin = np.clip((np.minimum(ends, ends[::-1]) + 0.3) / canvas.random.uniform(0.3, 4), 0, 1)
        outlines.append(canvas.outline(line[a:b], widths[a:b] * thin))
    return outlines


def scatter(canvas: Canvas, count: int, clusters: int = 0, spread: float = 0.1) -> np.ndarray:
    """Places (count, 2) all over the photo, or most of them in clusters `spread` of its short side wide."""
    points = canvas.random.uniform(0, 1, (count, 2)) * [canvas.width, canvas.height]
    if clusters:
        centers = canvas.random.uniform(-0.05, 1.05, (clusters, 2)) * [canvas.width, canvas.height]
        near = centers[canvas.random.integers(0, clusters, count)]
        near = near + canvas.random.standard_normal((count, 2)) * canvas.short * spread
        return np.where(canvas.random.random((count, 1)) < 0.85, near, points)
    return points


def specks(
    canvas: Canvas, centers: np.ndarray, radii: np.ndarray, rough: float = 0.35, stretch: float = 0.4
) -> Outlines:
    """The outlines of irregular, more or less long specks around the centers (N, 2), with radii (N,) in pixels."""
    random, count = canvas.random, len(centers)
    corners = 8 if radii.max(initial=0) < 4 else 20
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    k = np.arange(1, 5)[:, None, None]
    ripple = random.standard_normal((4, count, 1)) / k * np.cos(k * angles + random.uniform(0, 6.3, (4, count, 1)))
    reach = radii[:, None] * np.exp(np.clip(rough * ripple.sum(0), -1, 0.8))
    long = np.exp(np.abs(random.normal(0, stretch + 1e-6, (count, 1))))
    x, y, turn = np.cos(angles) * reach * long, np.sin(angles) * reach / long, random.uniform(0, np.pi, (count, 1))
    around = np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], -1)
    return list(centers[:, None] + around)


def sizes(canvas: Canvas, count: int, low: float, high: float) -> np.ndarray:
    """Sizes (count,) from `low` to `high` units in pixels, log-uniform, the small ones more frequent; 20 at most."""
    return np.minimum(low * (high / low) ** (canvas.random.random(count) ** 1.7) * canvas.unit, 20.0)


def rgb(red: float, green: float, blue: float) -> np.ndarray:
    """A color (3,) float32."""
    return np.array([red, green, blue], np.float32)


def light(canvas: Canvas) -> np.ndarray:
    """The color (3,) of bare paper or clear film: white, cream or light gray."""
    value, warm = canvas.random.uniform(0.72, 1.0), max(canvas.random.normal(0.02, 0.05), -0.03)
    return np.clip([value, value - warm * 0.6, value - warm * 1.5], 0, 1).astype(np.float32)


def dark(canvas: Canvas) -> np.ndarray:
    """The color (3,) of dirt, or of the dark behind a gap: black, gray or brown."""
    value, warm = canvas.random.uniform(0.0, 0.28), max(canvas.random.normal(0.01, 0.04), -0.02)
    return np.clip([value + warm, value, value - warm], 0, 1).astype(np.float32)


def tone(canvas: Canvas, bright: float = 0.5) -> np.ndarray:
    """A light color (3,) with probability `bright`, else a dark one."""
    return light(canvas) if chance(canvas, bright) else dark(canvas)


_BROWNS = np.array([[0.80, 0.62, 0.36], [0.62, 0.42, 0.22], [0.88, 0.76, 0.50], [0.72, 0.55, 0.40], [0.45, 0.30, 0.16]])
_DYES = np.array(
    [[0.2, 0.85, 0.9], [0.3, 0.9, 0.4], [0.97, 0.92, 0.3], [0.95, 0.45, 0.85], [0.9, 0.3, 0.2], [0.3, 0.45, 0.95]]
)


def brown(canvas: Canvas) -> np.ndarray:
    """The color (3,) by which rust, mold, tea or old glue multiplies, weak to strong."""
    color = canvas.random.choice(_BROWNS) * canvas.random.uniform(0.96, 1.04, 3)
    return np.clip(color ** canvas.random.uniform(0.6, 1.5), 0, 1).astype(np.float32)


def dye(canvas: Canvas) -> np.ndarray:
    """The color (3,) that shows where some dye layers of a color print or film are gone."""
    color = canvas.random.choice(_DYES) * canvas.random.uniform(0.75, 1.05, 3)
    return np.clip(color * 0.8 + 0.2 * canvas.random.random(), 0, 1).astype(np.float32)


def page(canvas: Canvas, color: np.ndarray) -> np.ndarray:
    """Paper of this color (3,) with fibers, clouds and, at times, a weave: (H, W, 3)."""
    texture = canvas.random.uniform(0, 0.03) * canvas.clouds(canvas.unit * 1.5 + 0.5)
    texture += canvas.random.uniform(0, 0.03) * canvas.clouds(canvas.between(6, 40) * canvas.unit)
    if chance(canvas, 0.15):
        period = canvas.between(2.5, 7) * canvas.unit
        x, y = np.arange(canvas.width, dtype=np.float32), np.arange(canvas.height, dtype=np.float32)[:, None]
        texture += np.float32(0.02) * (np.sin(x * (6.28 / period)) + np.sin(y * (6.28 / period)))
    return np.clip(cv2.merge([texture + value for value in color.tolist()]), 0, 1)
