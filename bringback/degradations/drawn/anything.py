"""Marks of any shape and any look, also such as no photo has: what they teach holds for damage that nobody drew.

Domain randomization, after Tobin et al. 2017: where every look occurs, that of a real mark is one more.
"""

from collections.abc import Callable

import cv2
import numpy as np

from bringback.degradations.drawn.canvas import Canvas, Layer
from bringback.degradations.drawn.strokes import (
    chance,
    direction,
    gray,
    many,
    page,
    ripped,
    scatter,
    sizes,
    soften,
    specks,
    step,
    stroke,
    tone,
    width,
)

_UNSEEN, _SEEN = 0.06, 0.16  # change of a channel below which nothing is damaged, and from which on a mark is seen


def _patch(canvas: Canvas) -> np.ndarray:
    """A polygon, a slanted rectangle or a blob; its border straight or ripped."""
    radius, center = canvas.between(3 * canvas.unit, 0.3 * canvas.short), canvas.point(0.1)
    if chance(canvas, 0.35):
        outline = canvas.blob(center, radius, canvas.between(0.05, 0.8))
    else:
        corners = 4 if chance(canvas, 0.5) else many(canvas, 3, 8)
        angles = np.linspace(0, 2 * np.pi, corners, endpoint=False) + canvas.random.normal(0, 0.25, corners)
        along = direction(canvas.random.uniform(0, np.pi))
        points = np.stack([np.cos(angles), np.sin(angles)], 1) * [canvas.between(1, 5), 1.0] * radius / 1.5
        points = center + points @ np.array([along, [-along[1], along[0]]])
        places = np.linspace(0, corners, 160)
        closed = np.concatenate([points, points[:1]])
        outline = np.stack([np.interp(places, np.arange(corners + 1), closed[:, axis]) for axis in (0, 1)], 1)
    if chance(canvas, 0.4):
        outline = ripped(canvas, outline, canvas.between(0.01, 0.12) * radius, canvas.between(8, 40))
    return canvas.polygons([outline])


def _cut(canvas: Canvas) -> np.ndarray:
    """A corner or a side of the photo, up to a ripped line."""
    angle, reach = canvas.random.uniform(0, 2 * np.pi), np.hypot(canvas.width, canvas.height)
    away, along = direction(angle), direction(angle + np.pi / 2)
    half = (abs(away[0]) * canvas.width + abs(away[1]) * canvas.height) / 2
    start = np.array([canvas.width, canvas.height]) / 2 + away * (half - canvas.between(0.02, 0.4) * canvas.short)
    line = start + along * np.linspace(-reach, reach, 200)[:, None]
    line = ripped(canvas, line, canvas.between(0.002, 0.06) * canvas.short, 20)
    return canvas.polygons([np.concatenate([line, (line + away * reach)[::-1]])])


def _clouds(canvas: Canvas) -> np.ndarray:
    """Blotches with the outlines of fractal noise, all over or around a place."""
    field = canvas.clouds(canvas.between(3 * canvas.unit, 0.5 * canvas.short), many(canvas, 1, 5))
    if chance(canvas, 0.7):
        center, spread = canvas.point(), canvas.between(0.05, 0.4) * canvas.short
        x, y = np.arange(canvas.width) - center[0], np.arange(canvas.height)[:, None] - center[1]
        field = field + (3 * np.exp(-(x**2 + y**2) / (2 * spread**2)) - 2).astype(np.float32)
    return step(field, canvas.random.uniform(0.3, 1.8), canvas.between(0.05, 1.5))


def _ridges(canvas: Canvas) -> np.ndarray:
    """A net of lines: where fractal noise is near to nothing, in part of the photo."""
    field = canvas.clouds(canvas.between(8 * canvas.unit, 0.5 * canvas.short), many(canvas, 1, 4))
    lines = step(-np.abs(field), -canvas.between(0.02, 0.15), 0.05)
    return lines * step(canvas.clouds(0.5 * canvas.short), canvas.random.uniform(-1, 1), 0.5)


def _lines(canvas: Canvas) -> np.ndarray:
    """One line or several, side by side or crossing, straight to curled, with gaps."""
    count, angle = many(canvas, 1, 14), canvas.random.uniform(0, 2 * np.pi)
    bend = canvas.random.choice([0.0, 0.3, 2.0, 9.0])
    wide, gaps = width(canvas, 0.6, 12), canvas.random.choice([0.0, 0.0, 0.3, 0.6])
    spread, outlines, place = canvas.random.choice([0.02, 0.2, 3.0]), [], canvas.point()
    for _ in range(count):
        start = place + canvas.random.normal(0, 0.15 * canvas.short, 2) if chance(canvas, 0.6) else canvas.point(0.1)
        length = canvas.between(0.05, 1.2) * canvas.short
        line = canvas.curve(start, angle + canvas.random.normal(0, spread), length, bend)
        thin = wide * canvas.between(0.5, 1.5) / count**0.3
        outlines += stroke(canvas, line, thin, canvas.random.uniform(0, 0.6), canvas.random.choice([0.0, 0.3]), gaps)
    return canvas.polygons(outlines)


def _specks(canvas: Canvas) -> np.ndarray:
    """Specks of any size, all over or in clusters."""
    count = many(canvas, 2, 250)
    places = scatter(canvas, count, many(canvas, 1, 4) if chance(canvas, 0.6) else 0, canvas.between(0.02, 0.2))
    radii = sizes(canvas, count, 0.6, canvas.between(1.2, 10))
    return canvas.polygons(specks(canvas, places, radii, canvas.random.uniform(0, 0.6), canvas.random.uniform(0, 1)))


def _ring(canvas: Canvas) -> np.ndarray:
    """A ring, or a part of one."""
    radius = canvas.between(4 * canvas.unit, 0.35 * canvas.short)
    outer = canvas.blob(canvas.point(), radius, canvas.between(0.01, 0.3))
    middle = outer.mean(0)
    ring = canvas.polygons([outer, middle + (outer - middle) * canvas.random.uniform(0.4, 0.95)], np.array([1.0, 0.0]))
    return ring * step(canvas.clouds(radius), canvas.random.uniform(-3, 0.3), 0.6)


_SHAPES: tuple[tuple[Callable[[Canvas], np.ndarray], float], ...] = (
    (_patch, 3.0), (_cut, 1.0), (_clouds, 2.5), (_ridges, 1.0), (_lines, 3.0), (_specks, 2.0), (_ring, 0.8),
)  # fmt: skip


def _drawn(canvas: Canvas, photo: np.ndarray, alpha: np.ndarray) -> Layer:
    """A layer (H, W) of any look; one that hides the photo ends where it hardly changes it."""
    if chance(canvas, 0.15):
        color = tone(canvas) if chance(canvas, 0.5) else canvas.random.random(3).astype(np.float32)
        return Layer(alpha.astype(np.float32), color, True)
    return _seen(Layer(alpha, _look(canvas, photo)), photo)


def _look(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """What a mark shows, (H, W, 3) in [0, 1]: paint or paper of any color, or the photo changed in any way."""
    random, kind = canvas.random, canvas.random.random()
    color = tone(canvas) if chance(canvas, 0.5) else random.random(3).astype(np.float32)
    if kind < 0.35:
        return np.broadcast_to(color, photo.shape)
    if kind < 0.53:
        return page(canvas, color)
    if kind < 0.65:  # paint of one light and dark
        return np.clip(color + (canvas.between(0.03, 0.2) * canvas.clouds(canvas.between(2, 40), 3))[..., None], 0, 1)
    if kind < 0.79:
        return 1 - (1 - photo) * (1 - color)
    if kind < 0.88:
        return photo ** np.float32(canvas.between(2, 5) if chance(canvas, 0.5) else canvas.between(0.15, 0.5))
    if kind < 0.94:  # smeared, and washed out
        return soften(photo, width(canvas, 2, 10)) * np.float32(0.5) + color * np.float32(0.5)
    return np.repeat(gray(photo)[..., None], 3, 2) * color


def marks(canvas: Canvas, photo: np.ndarray) -> list[Layer]:
    """One to three random shapes with random looks, at times with a border of another one."""
    return [layer for _ in range(many(canvas, 0.6, 3.4)) for layer in _mark(canvas, photo)]


def _mark(canvas: Canvas, photo: np.ndarray) -> list[Layer]:
    weights = np.array([weight for _, weight in _SHAPES])
    shape = _SHAPES[canvas.random.choice(len(_SHAPES), p=weights / weights.sum())][0](canvas)
    shape = soften(shape, canvas.between(0.4, 4) * canvas.unit**0.7) if chance(canvas, 0.5) else shape
    alpha = shape * canvas.random.uniform(0.35, 1)
    if chance(canvas, 0.4):
        depth = 1 + canvas.random.uniform(0.2, 1) * canvas.clouds(canvas.between(2, 80) * canvas.unit, 3)
        alpha = alpha * np.clip(depth, 0, 1)
    layers = [_drawn(canvas, photo, alpha)]
    if chance(canvas, 0.3):
        reach = 2 * max(1, round(width(canvas, 0.8, 5) / 2)) + 1
        border = cv2.dilate(shape, np.ones((reach, reach), np.uint8)) - cv2.erode(shape, np.ones((3, 3), np.uint8))
        border = soften(np.clip(border, 0, 1), canvas.between(0.4, 2)) * canvas.random.uniform(0.4, 1)
        layers.append(_drawn(canvas, photo, border))
    return layers


def _seen(layer: Layer, photo: np.ndarray) -> Layer:
    """The layer where it changes the photo enough to be seen."""
    change = cv2.absdiff(np.ascontiguousarray(layer.color, np.float32), photo)
    most = np.maximum(np.maximum(change[..., 0], change[..., 1]), change[..., 2])
    shown = np.interp(most * layer.alpha, (_UNSEEN, _SEEN), (0, 1)).astype(np.float32)
    return Layer((layer.alpha * soften(shown, 1.0)).astype(np.float32), np.asarray(layer.color, np.float32))
