"""Smooth bright things: lights out of focus, flare, beams, smoke, clouds and reflections in glass."""

import cv2
import numpy as np

from bringback.degradations.drawn.canvas import Canvas
from bringback.degradations.drawn.settling import (
    frame,
    gray,
    lit,
    ring,
    rolling,
    settle,
    strokes,
    through,
    tint,
    tinted,
    turned,
)

_CORNERS = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])


def flare(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """A lamp or the sun in the picture, with its halo and rays, and ghosts of the aperture in a row behind it."""
    random = canvas.random
    source, middle = canvas.point(0.1), np.array([canvas.width, canvas.height]) / 2
    radius = canvas.short * canvas.between(0.015, 0.1)
    x = np.arange(canvas.width, dtype=np.float32) - np.float32(source[0])
    y = np.arange(canvas.height, dtype=np.float32)[:, None] - np.float32(source[1])
    square = (x * x + y * y) / np.float32(radius**2)
    light = 1.2 / (1 + square * square) + np.float32(random.uniform(0.1, 0.5)) / (1 + square * np.float32(0.08))
    if random.random() < 0.5:
        count = int(random.choice([4, 6, 8, 12]))
        start = random.uniform(0, 6.3)
        far = radius * random.uniform(4, 14)
        rays = []
        for k in range(count):
            ray = np.array([[0, radius * 0.2], [far * random.uniform(0.6, 1), 0], [0, -radius * 0.2]])
            rays.append(turned(ray, start + 2 * np.pi * k / count) + source)
        light += cv2.GaussianBlur(canvas.polygons(rays), (0, 0), radius * 0.1 + 0.4) * np.float32(
            random.uniform(0.2, 0.6)
        )
    made = lit(photo, light, tint(canvas, 0.9, 1, 0.1))
    sides = int(random.choice([6, 8, 40]))
    shapes = []
    for along in random.uniform(0.3, 2.2, int(random.integers(0, 6))):
        size = radius * canvas.between(0.4, 3)
        shapes.append((ring(source + (middle - source) * along, (size, size), 0.4, sides + 1), size))
    for shape, size in shapes[:3]:
        ghost = cv2.GaussianBlur(canvas.polygons([shape]), (0, 0), 0.5 + size * 0.05)
        made = lit(made, ghost * random.uniform(0.08, 0.3), tint(canvas, 0.5, 0.9, 0.5))
    return made


def beams(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """Beams of light from one place: through a window, clouds or trees, or of a searchlight or a projector."""
    random = canvas.random
    source = canvas.point(0.3)
    heading = np.arctan2(canvas.height / 2 - source[1], canvas.width / 2 - source[0])
    outlines = []
    for angle in heading + random.normal(0, 0.5, int(random.integers(2, 8))):
        half, far = random.uniform(0.02, 0.1), 2 * max(canvas.width, canvas.height)
        ends = [[np.cos(angle + s) * far, np.sin(angle + s) * far] for s in (-half, half)]
        outlines.append(np.concatenate([[source], source + np.array(ends)]))
    light = cv2.blur(canvas.polygons(outlines), (2 * int(canvas.short * random.uniform(0.005, 0.04)) + 1,) * 2)
    x = np.arange(canvas.width, dtype=np.float32) - np.float32(source[0])
    y = np.arange(canvas.height, dtype=np.float32)[:, None] - np.float32(source[1])
    fall = np.exp(-np.sqrt(x * x + y * y) / np.float32(canvas.short * random.uniform(0.6, 2)))
    return lit(
        photo * np.float32(random.uniform(0.7, 1)), light * fall * random.uniform(0.3, 0.9), tint(canvas, 0.85, 1, 0.12)
    )


def smoke(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """Smoke, steam, mist or a cloud: billows that thin out, pale or dark, rising from one place or lying in a band."""
    random = canvas.random
    knots = int(canvas.between(4, 12))
    billows = rolling(canvas, knots) + 0.6 * rolling(canvas, 2 * knots) + 0.3 * rolling(canvas, 4 * knots)
    start, angle = canvas.point(), -np.pi / 2 + random.normal() * 0.9
    spine = canvas.curve(start, angle, canvas.short * random.uniform(0.4, 1.2), 0.8, 8)
    sizes = canvas.short * np.linspace(0.04, random.uniform(0.1, 0.3), 8)
    column = canvas.polygons([ring(p, (float(s), float(s))) for p, s in zip(spine, sizes, strict=True)])
    column = cv2.blur(
        cv2.blur(column, (2 * int(canvas.short * 0.05) + 1,) * 2), (2 * int(canvas.short * 0.05) + 1,) * 2
    )
    alpha = np.clip(column * 1.8 + 0.4 * billows * column - 0.2, 0, 1) * np.float32(random.uniform(0.5, 0.95))
    color = tint(canvas, 0.7, 1, 0.05) if random.random() < 0.7 else tint(canvas, 0.1, 0.4, 0.04)
    shade = np.clip(1 + 0.12 * billows, 0, 1.3) * alpha
    return settle(canvas, photo, alpha, tinted(shade, color), 1.0, 0.2)


def soft_lights(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """Bright things far out of focus, such as a window or lamps behind, melting into the blurred photo around them."""
    random = canvas.random
    step = max(2, int(canvas.short / 48))
    small = cv2.resize(photo, (-(-canvas.width // step), -(-canvas.height // step)), interpolation=cv2.INTER_AREA)
    blurred = cv2.resize(cv2.blur(small, (3, 3)), (canvas.width, canvas.height), interpolation=cv2.INTER_CUBIC)
    size = min(canvas.between(10, 80) * canvas.unit, canvas.short * 0.4)
    row, way = canvas.point(), turned(np.array([[1.0, 0]]), random.normal() * 0.5)[0] * size * random.uniform(1.2, 2.5)
    shapes = [through(frame(canvas, size, 0.3, 0.1, 2.5), _CORNERS) for _ in range(int(random.integers(1, 3)))]
    if random.random() < 0.5:
        shapes = [ring(row + way * k, (size * 0.4, size * 0.4)) for k in range(-2, 3)]
    reach = 2 * int(size * random.uniform(0.08, 0.3)) + 1
    light = cv2.blur(cv2.blur(canvas.polygons(shapes), (reach, reach)), (reach, reach))
    around = np.clip(cv2.blur(light, (2 * reach + 1,) * 2) * 3, 0, 1)  # where the photo is out of focus too
    made = photo + (blurred - photo) * gray(around)
    return lit(made, light * random.uniform(0.6, 1.1), tint(canvas, 0.85, 1, 0.12))


def reflections(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """Reflections in a pane, in varnish or in water: the photo itself, mirrored and faint, and bands of light."""
    random = canvas.random
    mirrored = photo[:, ::-1] if random.random() < 0.5 else photo[::-1]
    pane = canvas.polygons([through(frame(canvas, canvas.short * canvas.between(0.5, 1.5), 0.4, 0.3), _CORNERS)])
    strength = random.uniform(0.15, 0.5)
    made = 1 - (1 - photo) * (1 - mirrored * gray(pane * np.float32(strength)))
    if random.random() < 0.6:
        angle, wide = random.uniform(0.6, 1.2), canvas.short * canvas.between(0.03, 0.15)
        middle, long = canvas.point(), canvas.short
        lines = []
        for k in range(int(random.integers(2, 4))):
            off = np.array([wide * 2.2 * k, 0])
            ends = np.array(
                [[-np.cos(angle) * long, np.sin(angle) * long], [np.cos(angle) * long, -np.sin(angle) * long]]
            )
            lines.append(middle + off + ends)
        band = cv2.GaussianBlur(strokes(canvas, lines, [wide / (k + 1) for k in range(len(lines))]), (0, 0), 1.0)
        made = lit(made, band * pane * random.uniform(0.1, 0.35), np.ones(3))
    return np.clip(made, 0, 1)
