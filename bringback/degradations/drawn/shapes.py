"""Flat, bright or dark shapes that photos show: collars, windows, sails, signs, patterned cloth, shadows, glints."""

import cv2
import numpy as np

from bringback.degradations.drawn.canvas import Canvas
from bringback.degradations.drawn.lettering import lettered
from bringback.degradations.drawn.settling import (
    frame,
    gray,
    lit,
    painted,
    ring,
    rolling,
    settle,
    shaded,
    strokes,
    through,
    tint,
    tinted,
    turned,
)

_SQUARE = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])


def _smooth(knots: np.ndarray, count: int = 40) -> np.ndarray:
    """A closed smooth outline (count, 2) through about the knots (N, 2)."""
    loop = np.concatenate([knots[-2:], knots, knots[:2]]).astype(np.float32)
    fine = cv2.resize(loop[None], (len(loop) * 8, 1), interpolation=cv2.INTER_CUBIC)[0]
    return fine[16:-16][:: max(1, len(fine) // count)].astype(float)


def _bodily(canvas: Canvas, points: np.ndarray, size: float, tilt: float = 0.15) -> np.ndarray:
    """Points drawn about the origin, in units of `size` pixels, put somewhere on the photo, upright but for `tilt`."""
    return turned(points * size, float(canvas.random.normal() * tilt)) + canvas.point()


def collar(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """Dark clothes with a white collar, a V neckline with a shirt, or cuffs and a pocket handkerchief."""
    random = canvas.random
    size = min(canvas.between(20, 110) * canvas.unit, canvas.short * 0.8)
    cloth, white = tint(canvas, 0.05, 0.5, 0.12), tint(canvas, 0.8, 1, 0.04)
    wide, deep, drop = random.uniform(0.3, 0.7), random.uniform(0.6, 1.8), random.uniform(0.15, 0.6)
    shoulders = np.array(
        [[-0.9, 0.1], [-wide, -0.2], [0, 0.15], [wide, -0.2], [0.9, 0.1], [1.5, 0.5], [1.7, 5], [-1.7, 5], [-1.5, 0.5]]
    )
    shapes = [(_smooth(shoulders), cloth)]
    if random.random() < 0.6:  # neck and face above
        skin = tint(canvas, 0.3, 0.85, 0.1)
        neck = np.array([[-wide * 0.8, -0.7], [wide * 0.8, -0.7], [wide, -0.2], [0, deep * 0.6], [-wide, -0.2]])
        shapes = [shapes[0], (neck, skin * 0.85), (ring(np.array([0, -1.25]), (0.62, 0.85)), skin)]
    if random.random() < 0.65:  # the shirt in the neckline, perhaps with a tie and buttons
        shapes.append((np.array([[-wide, -0.2], [0, 0.1], [wide, -0.2], [0.05, deep], [-0.05, deep]]), white))
        if random.random() < 0.5:
            tie = np.array([[-0.08, 0.05], [0.08, 0.05], [0.13, deep], [-0.13, deep]])
            shapes.append((tie, tint(canvas, 0.05, 0.5, 0.3)))
        elif random.random() < 0.6:
            shapes += [(ring(np.array([0, y]), (0.035, 0.035)), cloth) for y in np.arange(0.25, deep, 0.25)]
    if random.random() < 0.7:  # wings of the collar
        wing = np.array([[0, 0.08], [wide, -0.25], [wide + 0.1, drop], [wide * 0.5, drop + 0.15]])
        wings = _smooth(wing) if random.random() < 0.4 else wing
        shapes += [(wings, white * 0.98), (wings * [-1, 1], white * 0.94)]
    if random.random() < 0.3:
        shapes.append((np.array([[0.5, 1], [0.8, 0.95], [0.78, 1.12], [0.52, 1.12]]), white))
    center, turn = canvas.point(), float(random.normal() * 0.15)
    alpha, ink = painted(canvas, [(turned(s * size, turn) + center, c) for s, c in shapes])
    return settle(canvas, photo, alpha, ink, 1.0, 0.3)


def parasol(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """An umbrella, a parasol, a wheel or a balloon: segments of one or two colors around a center."""
    random = canvas.random
    size = min(canvas.between(20, 130) * canvas.unit, canvas.short * 0.7)
    colors = [tint(canvas, 0.3, 0.9, 0.5), tint(canvas, 0.7, 1, 0.2)]
    count = int(random.choice([6, 8, 8, 10, 12, 16]))
    squash, top = random.uniform(0.25, 1), np.array([random.normal() * 0.1, -random.uniform(0, 0.5)])
    edge = np.linspace(0, 2 * np.pi, count * 4 + 1)
    scallop = 1 - random.uniform(0, 0.1) * np.abs(np.sin(edge * count / 2))
    rim = np.stack([np.cos(edge) * scallop, np.sin(edge) * scallop * squash], 1)
    shapes = []
    light = random.uniform(0, 6.3)
    for k in range(count):
        gain = 0.8 + 0.2 * np.cos(2 * np.pi * k / count - light)
        part = np.concatenate([rim[4 * k : 4 * k + 5], [top]])
        shapes.append((part, np.clip(colors[k % 2] * gain, 0, 1)))
    center, turn = canvas.point(), random.normal() * 0.2
    if random.random() < 0.6:
        rod = np.array([[-0.015, 0], [0.015, 0], [0.015, 1.6], [-0.015, 1.6]])
        shapes.insert(0, (rod, tint(canvas, 0.1, 0.8, 0.1)))
    alpha, ink = painted(canvas, [(turned(s * size, turn) + center, c) for s, c in shapes])
    return settle(canvas, photo, alpha, ink, 1.0, 0.4)


def hat(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """A hat with a band, pale straw or dark felt, sometimes a whole row of them; or caps and bonnets."""
    random = canvas.random
    size = min(canvas.between(12, 80) * canvas.unit, canvas.short * 0.5)
    shapes = []
    first, step = canvas.point(), np.array([random.uniform(1.8, 3), random.normal() * 0.3]) * size
    felt, band = tint(canvas, 0.1, 1, 0.12), tint(canvas, 0.03, 0.9, 0.2)
    tall, brim = random.uniform(0.4, 1), random.uniform(0.7, 1.3)
    for k in range(int(random.choice([1, 1, 2, 4]))):
        crown = _smooth(np.array([[-0.55, 0.1], [-0.5, -tall], [0, -tall * 1.1], [0.5, -tall], [0.55, 0.1], [0, 0.2]]))
        ribbon = np.array([[-0.56, 0.1], [-0.54, -0.15], [0, -0.05], [0.54, -0.15], [0.56, 0.1], [0, 0.2]])
        face = ring(np.array([0, 0.5]), (0.45, 0.6))
        flat = ring(np.array([0, 0.1]), (brim, 0.25 * brim))
        turn = random.normal() * 0.12
        colors = (tint(canvas, 0.4, 0.8, 0.1), felt * 0.9, felt, band)
        for shape, color in zip((face, flat, crown, ribbon), colors, strict=True):
            shapes.append((turned(shape * size * random.uniform(0.97, 1), turn) + first + step * k, color))
    alpha, ink = painted(canvas, shapes)
    return settle(canvas, photo, alpha, ink, 1.0, 0.4)


def window(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """Windows: burnt out from inside with their bars before the light, or dark panes in a pale wall; one or rows."""
    random = canvas.random
    size = min(canvas.between(30, 180) * canvas.unit, canvas.short)
    seen = frame(canvas, size, 0.3, 0.06, 2)
    columns, rows = (int(v) for v in random.integers(1, 5, 2))
    bright = random.random() < 0.65
    pane = tint(canvas, 0.88, 1, 0.05) if bright else tint(canvas, 0.02, 0.2, 0.06)
    bar = tint(canvas, 0.05, 0.4, 0.1) if bright else tint(canvas, 0.7, 1, 0.05)
    many = [(0.0, 0.0)] if random.random() < 0.6 else [(x * 1.6, y * 1.7) for x in range(-1, 3) for y in range(-1, 2)]
    gap, rim, shapes = random.uniform(0.03, 0.12), random.uniform(0.02, 0.1), []
    for x, y in many:
        outer = (_SQUARE - 0.5) * (1 + 2 * rim) + 0.5 + [x, y]
        shapes.append((through(seen, outer), bar))
        for i in range(columns):
            for j in range(rows):
                low = np.array([i / columns, j / rows]) + gap / 2 * np.array([1, 1]) / [columns, rows]
                part = low + _SQUARE * (1 - gap) / [columns, rows] + [x, y]
                shapes.append((through(seen, part), np.clip(pane * random.uniform(0.92, 1.02), 0, 1)))
    alpha, ink = painted(canvas, shapes)
    made = settle(canvas, photo, alpha, ink, 1.0, 0.15)
    if not bright or random.random() < 0.4:
        return made
    small = cv2.resize(ink[..., 1], None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    glare = cv2.GaussianBlur(small, (0, 0), 0.3 + size / 40)
    glare = cv2.resize(glare, (canvas.width, canvas.height))
    return lit(made, glare * random.uniform(0.1, 0.5), pane)


def sail(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """Sails with mast and hull, tents, or washing on a line: pale cloth with seams and soft folds."""
    random = canvas.random
    size = min(canvas.between(15, 110) * canvas.unit, canvas.short * 0.8)
    cloth, dark = tint(canvas, 0.75, 1, 0.08), tint(canvas, 0.05, 0.4, 0.1)
    shapes, seams = [], list[np.ndarray]()
    if random.random() < 0.5:
        belly = random.uniform(0.05, 0.25)
        main = _smooth_edge(np.array([[0.03, -1], [0.75, 0.72], [0.03, 0.75]]), belly)
        jib = _smooth_edge(np.array([[-0.03, -0.85], [-0.03, 0.72], [-0.6, 0.75]]), belly * 0.5)
        hull = np.array([[-0.8, 0.85], [0.9, 0.85], [0.65, 1.1], [-0.6, 1.1]])
        mast = np.array([[-0.015, -1.05], [0.015, -1.05], [0.015, 0.9], [-0.015, 0.9]])
        shapes = [(mast, dark), (hull, dark if random.random() < 0.5 else cloth), (main, cloth), (jib, cloth * 0.95)]
        seams = [np.array([[0.03, y], [0.37 * (y + 1), y + 0.03]]) for y in np.arange(-0.6, 0.7, 0.25)]
    else:
        x, sag = -2.0, random.uniform(0, 0.2)
        seams = [np.stack([t := np.linspace(-4, 4, 20), -1 + sag * (1 - (t / 2) ** 2)], 1)]
        for _ in range(int(random.integers(3, 8))):
            wide, tall = random.uniform(0.25, 0.8), random.uniform(0.5, 1.4)
            top = -1 + sag * (1 - (np.array([x, x + wide]) / 2) ** 2)
            low = top + tall * random.uniform(0.95, 1.05, 2)
            sheet = np.array([[x, top[0]], [x + wide, top[1]], [x + wide * 1.03, low[1]], [x - wide * 0.03, low[0]]])
            shade = cloth if random.random() < 0.7 else tint(canvas, 0.3, 0.9, 0.3)
            shapes.append((_smooth_edge(sheet, 0.03), shade))
            x += wide + random.uniform(0.02, 0.25)
    center, turn = canvas.point(), random.normal() * 0.1
    alpha, ink = painted(canvas, [(turned(s * size, turn) + center, c) for s, c in shapes])
    made = settle(canvas, photo, alpha, ink, 1.0, 0.4)
    thin = strokes(canvas, [turned(s * size, turn) + center for s in seams], max(size * 0.012, 0.5))
    return settle(canvas, made, thin * np.float32(0.6), dark if random.random() < 0.7 else cloth, 0.6)


def _smooth_edge(corners: np.ndarray, belly: float) -> np.ndarray:
    """A polygon whose sides bulge outward by `belly` of their length, one after the other less."""
    after = np.roll(corners, -1, axis=0)
    t = np.linspace(0, 1, 9)[:-1, None]
    out = []
    for k, (a, b) in enumerate(zip(corners, after, strict=True)):
        normal = np.array([(b - a)[1], -(b - a)[0]])
        out.append(a + (b - a) * t + normal * belly * 4 * t * (1 - t) / (1 + k))
    return np.concatenate(out)


def sign(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """A sign, a poster, a newspaper or sheets of paper, lettered or ruled, seen aslant."""
    random = canvas.random
    size = min(canvas.between(24, 160) * canvas.unit, canvas.short)
    seen = frame(canvas, size, 0.3, 0.2, 3)
    light = random.random() < 0.7
    ground, letters = tint(canvas, 0.8, 1, 0.06), tint(canvas, 0.02, 0.35, 0.2)
    if not light:
        ground, letters = letters, ground
    shapes = [(through(seen, _SQUARE), ground)]
    if random.random() < 0.4:
        rim = random.uniform(0.02, 0.08)
        shapes = [(through(seen, _SQUARE), letters), (through(seen, _SQUARE * (1 - 2 * rim) + rim), ground)]
    kind = random.random()
    if kind < 0.25:  # rows of small print, as a newspaper has from afar
        for y in np.linspace(0.12, 0.9, int(random.integers(5, 16))):
            for x in (0.08, 0.54):
                row = _SQUARE * [random.uniform(0.3, 0.4), 0.02] + [x, y]
                shapes.append((through(seen, row), (letters + ground) / 2))
    alpha, ink = painted(canvas, shapes)
    if kind > 0.4:
        patch = lettered(canvas, 40.0)
        h, w = patch.shape
        room = np.array([[0.1, 0.3], [0.9, 0.3], [0.9, 0.75], [0.1, 0.75]])
        corners = through(seen, room).astype(np.float32)
        move = cv2.getPerspectiveTransform(np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32), corners)
        text = cv2.warpPerspective(patch, move, (canvas.width, canvas.height)) * alpha
        ink = ink * gray(1 - text) + tinted(text, letters)
    return settle(canvas, photo, alpha, ink, 0.8, 0.3)


def glints(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """Sunlight on water or metal: flat bright flecks in rows, longer and larger toward the viewer, on a dark field."""
    random = canvas.random
    count = int(canvas.between(40, 260))
    size = min(canvas.between(1, 8) * canvas.unit, canvas.short / 8)
    top, path = random.uniform(-0.3, 0.5), random.uniform(0.05, 0.5)
    depth = random.random(count) ** 1.3
    x = (random.random() + random.normal(0, 1, count) * path * (0.3 + depth)) * canvas.width
    y = (top + (1 - top) * depth) * canvas.height
    shapes = []
    for k in range(count):
        long = size * (0.3 + 1.2 * depth[k]) * random.lognormal(0, 0.4)
        fleck = np.array([[-1, 0], [-0.3, -0.18], [0.4, -0.12], [1, 0.03], [0.3, 0.2], [-0.4, 0.12]])
        shapes.append(fleck * long * [1, random.uniform(0.5, 1)] + [x[k], y[k]])
    light = cv2.GaussianBlur(canvas.polygons(shapes), (0, 0), 0.3 + 0.12 * size)
    water = 1 / (
        1 + np.exp(np.clip((top * canvas.height - np.arange(canvas.height, dtype=np.float32)[:, None]) / 2, -30, 30))
    )
    dark = shaded(photo, 1 - water * np.float32(random.uniform(0.1, 0.6)) * np.ones_like(light))
    glow = cv2.GaussianBlur(light, (0, 0), size * 0.4 + 0.4)
    return lit(dark, light * random.uniform(0.6, 1) + glow * random.uniform(0, 0.6), tint(canvas, 0.92, 1, 0.06))


def spectacles(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """Round things that shine: eyes with catch lights, spectacles with reflections, buttons, beads, bottles."""
    random = canvas.random
    size = min(canvas.between(5, 40) * canvas.unit, canvas.short / 3)
    center, turn = canvas.point(), random.normal() * 0.2
    kind = random.random()
    dark, white = tint(canvas, 0.02, 0.25, 0.1), np.full(3, random.uniform(0.92, 1), np.float32)
    shapes: list[tuple[np.ndarray, np.ndarray]] = []
    side = np.array([random.uniform(1.2, 1.5), 0])
    glint = np.array([random.uniform(-0.3, 0.3), -random.uniform(0.2, 0.5)])
    if kind < 0.4:  # eyes
        for s in (-side * 1.4, side * 1.4):
            lid = _smooth(np.array([[-1, 0.1], [0, -0.5], [1, 0], [0, 0.4]]))
            shapes += [(lid + s, tint(canvas, 0.75, 0.95, 0.03)), (ring(s, (0.42, 0.42)), dark + 0.15)]
            shapes += [(ring(s, (0.2, 0.2)), dark * 0.3), (ring(s + glint * 0.5, (0.12, 0.1), 0, 12), white)]
    elif kind < 0.75:  # spectacles
        squash = random.uniform(0.6, 1)
        for s in (-side, side):
            shapes.append((ring(s, (1, squash)), dark))
            shapes.append((ring(s, (0.9, squash - 0.1)), tint(canvas, 0.5, 0.8, 0.1)))
            arc = np.concatenate([ring(s, (0.75, squash * 0.75))[26:36], ring(s, (0.35, squash * 0.5))[26:36][::-1]])
            shapes.append((arc, white))
        shapes.append((np.array([[-0.3, -0.08], [0.3, -0.08], [0.3, 0.08], [-0.3, 0.08]]), dark))
    else:  # a string of beads or a row of buttons
        step = turned(np.array([[2.3, 0.0]]), random.uniform(0, 3.2))[0]
        sway = random.uniform(0, 0.25)
        for k in range(-4, 5):
            s = step * k + np.array([0, sway * k * k])
            shapes += [
                (ring(s, (1, 1)), dark + 0.3),
                (ring(s, (0.8, 0.8)), dark + 0.4),
                (ring(s + glint, (0.25, 0.2)), white),
            ]
        size *= 0.5
    alpha, ink = painted(canvas, [(turned(s * size, turn) + center, np.clip(c, 0, 1)) for s, c in shapes])
    return settle(canvas, photo, alpha, ink, 0.7, 0.2)


def shadow(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """Shadows with sharp edges: of a roof, a window's bars, a person or a tree, across whatever is there."""
    random = canvas.random
    size = canvas.short * canvas.between(0.4, 1.6)
    kind, seen = random.random(), frame(canvas, size, 0.8, 0.6, 2)
    if kind < 0.35:  # light through a window
        outlines = [through(seen, _SQUARE * 0.44 + [0.5 * i, 0.5 * j]) for i in (0, 1) for j in (0, 1)]
    elif kind < 0.65:  # a roof or a wall
        y = random.uniform(0.2, 1, 7).round(int(random.integers(0, 3)))
        steps = np.stack([np.repeat(np.linspace(0, 1, 8), 2)[1:-1], np.repeat(y, 2)], 1)
        outlines = [through(seen, np.concatenate([[[0.0, 2.0]], steps, [[1.0, 2.0]]]))]
    else:
        outlines = [_person(canvas, size * 0.5)]
    edge = cv2.GaussianBlur(canvas.polygons(outlines), (0, 0), canvas.between(0.4, 3))
    within = edge if kind > 0.5 or random.random() < 0.5 else 1 - edge
    return shaded(photo, 1 - within * np.float32(random.uniform(0.3, 0.75)))


def _person(canvas: Canvas, size: float) -> np.ndarray:
    """The outline of someone standing, with or without a hat or a skirt."""
    random = canvas.random
    hip, hem, head = random.uniform(0.18, 0.35), random.uniform(0.12, 0.6), random.uniform(0.13, 0.17)
    half = [
        [0.05, -1],
        [head, -0.93],
        [head * 0.9, -0.75],
        [0.07, -0.68],
        [0.32, -0.58],
        [0.36, 0],
        [hip, 0.1],
        [hem, 1],
    ]
    if random.random() < 0.4:
        half[1:1] = [[0.14, -1.02], [0.15, -0.92], [0.3, -0.9]]
    half_outline = np.array(half)
    outline = np.concatenate([half_outline, half_outline[::-1] * [-1, 1]])
    outline = outline + random.normal(0, 0.015, outline.shape)
    return _bodily(canvas, _smooth(outline, 90), size, 0.06)


def silhouette(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """Someone dark before a bright ground, a dark doorway or arch, or a ridge of hills, roofs and firs."""
    random = canvas.random
    kind = random.random()
    black = tint(canvas, 0.01, 0.14, 0.04)
    size = min(canvas.between(40, 200) * canvas.unit, canvas.short)
    if kind < 0.35:
        outlines = [_person(canvas, size * 0.5) for _ in range(int(random.integers(1, 4)))]
    elif kind < 0.65:
        arch = ring(np.array([0.5, 0.3]), (0.5, random.uniform(0, 0.5)))[24:]
        outlines = [through(frame(canvas, size, 0.15, 0.04, 2), np.concatenate([arch, [[1, 1.3], [0, 1.3]]]))]
    else:
        level = random.uniform(0.5, 0.95) * canvas.height
        x = np.linspace(-5, canvas.width + 5, 160)
        ridge = level + canvas.wave(160, int(random.integers(4, 40))) * canvas.height * random.uniform(0.02, 0.1)
        if random.random() < 0.5:
            ridge -= np.abs((np.arange(160) % 8) - 4) * canvas.height * 0.02 * np.abs(canvas.wave(160, 20))
        foot = np.array([[x[-1], canvas.height + 9], [x[0], canvas.height + 9]])
        outlines = [np.concatenate([np.stack([x, ridge], 1), foot])]
        if random.random() < 0.6:  # and the sky burns out
            photo = photo + (1 - photo) * np.float32(random.uniform(0.5, 1))
    return settle(canvas, photo, canvas.polygons(outlines), black, 1.0, 0.4)


def sky(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """A flat sky that burns out above a horizon of roofs and trees, or clouds with bright edges in it."""
    random = canvas.random
    level = random.uniform(0.15, 0.7) * canvas.height
    x = np.linspace(-5, canvas.width + 5, 120)
    rough = canvas.wave(120, int(random.integers(3, 12))) + 0.3 * canvas.wave(120, 50) * random.random()
    if random.random() < 0.4:  # roofs
        rough = np.repeat(random.normal(0, 1, 20), 6)
    edge = level + rough * canvas.height * random.uniform(0.01, 0.08)
    outline = np.concatenate([np.stack([x, edge], 1), [[x[-1], -9], [x[0], -9]]])
    cover, color = canvas.polygons([outline]), tint(canvas, 0.85, 1, 0.06)
    if random.random() < 0.5:
        bank = np.clip(0.9 + np.float32(random.uniform(0.03, 0.12)) * canvas.clouds(canvas.short / 4, 2), 0, 1)
        ink = tinted(cover * bank, color)
        return settle(canvas, photo, cover, ink, 1.0, 0.15)
    return settle(canvas, photo, cover, color, 1.0, 0.1)


def ball(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """A moon, a lamp, a ball, a balloon, a plate or a clock: a disc with shading and markings of its own."""
    random = canvas.random
    radius = min(canvas.between(6, 70) * canvas.unit, canvas.short * 0.4)
    center, kind = canvas.point(), random.random()
    disc = ring(center, (radius, radius * random.choice([1.0, 1.0, 0.8])), 0.0, 80)
    color = tint(canvas, 0.7, 1, 0.15)
    alpha, ink = painted(canvas, [(disc, color)])
    if kind < 0.6:  # lit from one side, with seas, panels or a highlight
        lamp = turned(np.array([[1.0, 0]]), random.uniform(0, 6.3))[0]
        x = (np.arange(canvas.width, dtype=np.float32) - np.float32(center[0])) / np.float32(radius)
        y = (np.arange(canvas.height, dtype=np.float32)[:, None] - np.float32(center[1])) / np.float32(radius)
        facing = np.sqrt(np.clip(1 - x * x - y * y, 0, 1)) * 0.6 + 0.5 * (
            x * np.float32(lamp[0]) + y * np.float32(lamp[1])
        )
        shade = np.clip(0.55 + 0.6 * facing + 0.06 * rolling(canvas, 12), 0, 1.3)
        ink = ink * gray(shade.astype(np.float32))
        if random.random() < 0.5:
            photo = np.float32(random.uniform(0.3, 0.8)) * photo
        return settle(canvas, photo, alpha, np.minimum(ink, gray(alpha)), 1.0, 0.1)
    dark = tint(canvas, 0.05, 0.3, 0.1)
    turns = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    marks = [
        np.stack([center + radius * far * np.array([np.cos(t), np.sin(t)]) for far in (0.75, 0.88)]) for t in turns
    ]
    hands = random.uniform(0, 6.3, 2)
    marks += [
        np.stack([center, center + radius * r * np.array([np.cos(t), np.sin(t)])])
        for t, r in zip(hands, (0.5, 0.75), strict=True)
    ]
    made = settle(canvas, photo, alpha, ink, 1.0, 0.2)
    return settle(canvas, made, strokes(canvas, [*marks, disc], max(radius * 0.05, 0.6)), dark, 0.7)


def cloth(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """Striped, checkered or dotted cloth with folds, a patterned dress or curtain, or a flag."""
    random = canvas.random
    pitch = max(canvas.between(4, 36) * canvas.unit, 3.0)
    angle, folds = random.uniform(0, 3.2), rolling(canvas, 6) + 0.4 * rolling(canvas, 12)
    bend = folds * np.float32(random.uniform(0, 0.025) * min(canvas.short, 12 * pitch))
    x = np.arange(canvas.width, dtype=np.float32) + bend
    y = np.arange(canvas.height, dtype=np.float32)[:, None] + bend * np.float32(random.normal())
    rate = np.float32(2 * np.pi / pitch)
    u = np.cos((x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))) * rate)
    hard, bias, kind = np.float32(min(pitch * 0.4, 6)), np.float32(random.uniform(-0.6, 0.6)), random.random()
    if kind < 0.4:
        mark = (u - bias) * hard
    else:
        v = np.cos((y * np.float32(np.cos(angle)) - x * np.float32(np.sin(angle))) * rate)
        if kind < 0.6:  # polka dots
            mark = (u + v - np.float32(random.uniform(0.5, 1.3))) * hard
        elif kind < 0.8:
            mark = u * v * hard * 2
        else:
            mark = np.clip((u - bias) * hard, -1, 1) + np.clip((v - bias) * hard, -1, 1)
    mark = np.clip(mark * 0.5 + 0.5, 0, 1)
    first, second = tint(canvas, 0.02, 0.6, 0.35), tint(canvas, 0.6, 1, 0.15)
    if random.random() < 0.5:
        first, second = second, first
    shape = canvas.blob(canvas.point(), canvas.short * canvas.between(0.15, 0.6), 0.25, 40)
    if random.random() < 0.5:
        shape = through(frame(canvas, canvas.short * canvas.between(0.2, 1.2)), _SQUARE)
    alpha = canvas.polygons([shape])
    shade = alpha * np.clip(1 + np.float32(random.uniform(0, 0.2)) * folds, 0.3, 1.5)
    ink = cv2.merge([shade * (np.float32(a) + mark * np.float32(b - a)) for a, b in zip(first, second, strict=True)])
    return settle(canvas, photo, alpha, np.minimum(ink, 1), 0.8, 0.2)
