"""Damage that spreads: blots, grease, water, foxing, mold, fingerprints, silver and yellow edges."""

import numpy as np

from bringback.degradations.drawn.canvas import Canvas, Layer
from bringback.degradations.drawn.strokes import (
    Outlines,
    brown,
    chance,
    dark,
    direction,
    gray,
    light,
    many,
    rgb,
    scatter,
    sizes,
    soften,
    specks,
    step,
    stroke,
    tone,
    width,
)

_INKS = np.array(
    [[0.05, 0.05, 0.07], [0.07, 0.1, 0.35], [0.15, 0.12, 0.3], [0.25, 0.13, 0.06], [0.5, 0.08, 0.1], [0.1, 0.3, 0.2]]
)


def ink(canvas: Canvas, photo: np.ndarray) -> list[Layer]:
    """Spilled ink or paint: blots with satellites and runs, opaque or washed out with a darker border."""
    random, outlines = canvas.random, Outlines()
    size = min(canvas.between(6, 60) * canvas.unit, 0.14 * canvas.short)
    middle = canvas.point()
    for _ in range(many(canvas, 1, 3)):
        center = middle + random.standard_normal(2) * size
        outlines.append(canvas.blob(center, size * canvas.between(0.4, 1.2), random.uniform(0.03, 0.25)))
        if chance(canvas, 0.3):
            down = random.normal(np.pi / 2, 0.08) if chance(canvas, 0.8) else random.uniform(0, 6.3)
            line = canvas.curve(center, down, size * canvas.between(1.5, 6), 0.15)
            outlines += stroke(canvas, line, min(size * 0.35, 30), 0.25)
            outlines.append(canvas.blob(line[-1], size * 0.22, 0.1))
    count = many(canvas, 1, 60)
    turn, far = random.uniform(0, 6.3, count), size * (0.8 + random.exponential(1.2, count))
    if chance(canvas, 0.5):  # thrown one way
        turn = random.normal(turn[0], 0.4, count)
    drops = middle + np.stack([np.cos(turn), np.sin(turn)], 1) * far[:, None]
    outlines += specks(canvas, drops, np.minimum(size * 0.22 * random.random(count) ** 2 + 0.4, 20), 0.2, 0.35)
    alpha = canvas.polygons(outlines)
    color = np.clip(random.choice(_INKS) * random.uniform(0.6, 1.5), 0, 1).astype(np.float32)
    if chance(canvas, 0.12):
        color = tone(canvas, 0.8)  # paint, correction fluid
    if chance(canvas, 0.55):
        return [Layer(alpha * random.uniform(0.85, 1), color)]
    inner = soften(alpha, 0.15 * size + 0.5)
    border = np.clip((alpha - step(inner, 0.8, 0.5)) * alpha, 0, 1)
    body = alpha * np.clip(random.uniform(0.4, 0.8) + 0.25 * canvas.clouds(0.6 * size + 1, 2), 0.1, 1)
    return [Layer(np.maximum(body, border * random.uniform(0.5, 1)), np.clip(color * 1.3, 0, 1), True)]


def grease(canvas: Canvas, photo: np.ndarray) -> list[Layer]:
    """Oil or wax soaked into the paper: translucent, darker, yellowish, with soft or sharp borders."""
    random = canvas.random
    size = canvas.between(0.06, 0.25) * canvas.short
    outlines = [
        canvas.blob(p, size * canvas.between(0.15, 1.1), 0.35) for p in scatter(canvas, many(canvas, 1, 7), 1, 0.2)
    ]
    alpha = soften(canvas.polygons(outlines), canvas.between(0.5, 8) * canvas.unit)
    alpha = alpha * np.clip(0.85 + 0.2 * canvas.clouds(0.5 * size + 1, 2), 0, 1)
    return [Layer(alpha * random.uniform(0.7, 1), brown(canvas), True)]


def bleaches(canvas: Canvas, photo: np.ndarray) -> list[Layer]:
    """Spots of chemicals: bleached white or yellow, or dark developer marks; round, in groups, some with a border."""
    random = canvas.random
    count = many(canvas, 1, 40)
    centers = scatter(canvas, count, many(canvas, 1, 3) if chance(canvas, 0.6) else 0, canvas.between(0.05, 0.25))
    radii = sizes(canvas, count, 1.0, canvas.between(5, 20))
    alpha = canvas.polygons(specks(canvas, centers, radii, random.uniform(0.05, 0.5), 0.2))
    largest = float(radii.max())
    if chance(canvas, 0.5):
        alpha = soften(alpha, canvas.between(0.05, 0.3) * largest)
    color = light(canvas) * (rgb(1, 0.9, 0.55) if chance(canvas, 0.25) else rgb(1, 1, 1))
    if chance(canvas, 0.25):
        color = dark(canvas)
    layers = [Layer(alpha * random.uniform(0.6, 1), color)]
    if chance(canvas, 0.35):
        near = soften(alpha, 0.15 * largest + 0.5)
        layers.append(Layer(np.clip(4 * near * (1 - near), 0, 1) * random.uniform(0.4, 0.9), tone(canvas, 0.4)))
    return layers


def fingerprints(canvas: Canvas, photo: np.ndarray) -> list[Layer]:
    """The ridges of fingers, greasy, dirty or etched into the gelatin, partly printed."""
    random, layers = canvas.random, []
    period = max(canvas.between(2.0, 4.5) * canvas.unit**0.8, 2.2)
    middle = canvas.point()
    strong = random.uniform(0.6, 1.0)
    color, multiplies = (brown(canvas) * 0.7, True) if chance(canvas, 0.35) else (tone(canvas, 0.5), False)
    for n in range(1 if chance(canvas, 0.65) else many(canvas, 2, 4)):
        center = middle + random.standard_normal(2) * period * 22 * (n > 0)
        reach = int(np.clip(period * random.uniform(8, 14), 10, 0.35 * canvas.short + 10))
        patch = Canvas(random, 2 * reach, 2 * reach, canvas.unit)
        angle = random.uniform(0, 6.3)
        x = np.linspace(-1, 1, 2 * reach, dtype=np.float32)
        y = x[:, None]
        cos, sin = direction(angle).tolist()
        u, v = x * cos + y * sin, y * cos - x * sin
        # loops around a core, flattened below it, as arches are
        curved = np.square(u + 0.25 * v * v) * (1.2 + 0.8 * np.tanh(3 * v))
        core = np.sqrt(curved + np.square(np.minimum(v - 0.15, 0)) + 0.25 * v * v)
        phase = core * np.float32(reach * 6.28 / period) + random.uniform(0.6, 1.5) * patch.clouds(5 * period)
        ridges = step(
            np.sin(phase) + 0.35 * patch.clouds(1.2 * period, 2), random.uniform(-0.2, 0.5), random.uniform(0.5, 1.5)
        )
        pressed = 1.15 - np.sqrt(np.square(u / 0.72) + np.square(v / 0.95)) + 0.22 * patch.clouds(0.6 * reach, 2)
        alpha = np.zeros((canvas.height, canvas.width), np.float32)
        pores = np.clip(0.75 + 0.4 * patch.clouds(0.9 * period), 0, 1)
        _paste(alpha, ridges * pores * step(pressed, 0.2, random.uniform(0.1, 0.6)), center - reach)
        layers.append(Layer(alpha * strong, np.asarray(color, np.float32), multiplies))
    return layers


def _paste(target: np.ndarray, patch: np.ndarray, corner: np.ndarray) -> None:
    """Write the patch with its upper left corner (x, y) there, as far as it lies inside."""
    left, top = np.rint(corner).astype(int).tolist()
    part = patch[max(-top, 0) : max(target.shape[0] - top, 0), max(-left, 0) : max(target.shape[1] - left, 0)]
    top, left = max(top, 0), max(left, 0)
    target[top : top + part.shape[0], left : left + part.shape[1]] = part


def water(canvas: Canvas, photo: np.ndarray) -> list[Layer]:
    """Tide lines, nested or single, sharp outside and fading inward; the inside a little darker or paler."""
    random = canvas.random
    w, h = canvas.width, canvas.height
    x, y = np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32)[:, None]
    size = canvas.between(0.2, 0.8) * canvas.short
    if chance(canvas, 0.6):  # soaked from an edge
        cos, sin = direction(random.uniform(0, 6.3)).tolist()
        reach = abs(cos) * w / 2 + abs(sin) * h / 2
        depth = ((x - w / 2) * (cos / size) + ((y - h / 2) * sin - reach) / size) + random.uniform(0.7, 1.2)
    else:
        across, down = canvas.point(0.1).tolist()
        stretch = canvas.between(0.6, 1.6)
        reach = 0.6 * size
        depth = 1 - np.sqrt(np.square((x - across) * (stretch / reach)) + np.square((y - down) / (stretch * reach)))
    depth = depth + random.uniform(0.12, 0.4) * canvas.clouds(canvas.between(0.15, 0.5) * canvas.short, 3)
    color, layers = brown(canvas) if chance(canvas, 0.75) else rgb(0.6, 0.6, 0.6), []
    rims = np.zeros((h, w), np.float32)
    level = 0.0
    per_pixel = 1 / size
    for _ in range(many(canvas, 1, 4)):
        over = depth - np.float32(level)
        thick = width(canvas, 1.0, 7) * per_pixel
        rim = np.exp(np.maximum(over, 0) * np.float32(-1 / thick)) * step(over, 0, thick * random.uniform(0.15, 0.5))
        rims = np.maximum(rims, np.minimum(rim, 1) * random.uniform(0.5, 1))
        level += random.uniform(0.08, 0.5)
    uneven = np.clip(0.8 + 0.35 * canvas.clouds(0.3 * canvas.short), 0.05, 1)
    inside = step(depth, 0, 2 * per_pixel)
    if chance(canvas, 0.7):
        body = inside * random.uniform(0.03, 0.4) * np.clip(0.8 + 0.3 * canvas.clouds(0.1 * canvas.short, 2), 0, 1.2)
        layers.append(
            Layer(np.clip(body, 0, 1), color, True) if chance(canvas, 0.7) else Layer(body * 0.8, light(canvas))
        )
    if chance(canvas, 0.85):
        layers.append(Layer(rims * uneven, color ** np.float32(random.uniform(1, 2.5)), True))
    else:
        layers.append(Layer(rims * uneven, light(canvas)))
    return layers


def drops(canvas: Canvas, photo: np.ndarray) -> list[Layer]:
    """Dried drops and splashes: rims around insides that are little changed."""
    random = canvas.random
    count = many(canvas, 2, 40)
    radii = sizes(canvas, count, 2.0, canvas.between(8, 28))
    centers = scatter(canvas, count, many(canvas, 1, 2) if chance(canvas, 0.5) else 0, 0.15)
    outlines = specks(canvas, centers, radii, random.uniform(0.05, 0.3), random.uniform(0.05, 0.4))
    inside = canvas.polygons(outlines, np.sort(random.uniform(0.5, 1, count)))
    thick = width(canvas, 0.7, 2.5)
    rim = np.clip(inside - soften(inside, thick) * 0.9 - 0.05, 0, 0.5) * 2
    if chance(canvas, 0.5):
        color, multiplies = brown(canvas), True
    else:
        color, multiplies = tone(canvas, 0.6), False
    body = Layer(inside * random.uniform(0.0, 0.4), color, multiplies)
    return [
        body,
        Layer(np.clip(rim * random.uniform(0.8, 2), 0, 1), color * np.float32(0.8 if multiplies else 1), multiplies),
    ]


def foxing(canvas: Canvas, photo: np.ndarray) -> list[Layer]:
    """Brown spots of several sizes, soft around dark centers, scattered and clustered."""
    random, layers = canvas.random, []
    color, clusters = brown(canvas), many(canvas, 1, 7) if chance(canvas, 0.7) else 0
    spread, largest = canvas.between(0.05, 0.3), canvas.between(2.5, 9)
    total = many(canvas, 25, np.clip(0.4 * canvas.short**2 / (largest * canvas.unit) ** 2, 26, 300))
    alpha: np.ndarray = np.zeros((canvas.height, canvas.width), np.float32)
    for part in range(3):
        count = max(int(total * (0.15, 0.35, 0.5)[part]), 1)
        radius = largest * (1.0, 0.5, 0.22)[part]
        centers = scatter(canvas, count, clusters, spread)
        radii = sizes(canvas, count, 0.5 * radius, 1.6 * radius)
        spots = canvas.polygons(specks(canvas, centers, radii, 0.4, 0.2), np.sort(random.uniform(0.5, 1, count)))
        spots = soften(spots, radius * canvas.unit * random.uniform(0.1, 0.5))
        alpha = alpha + spots * (1 - alpha)
        if part == 0 and chance(canvas, 0.5):
            cores = canvas.polygons(specks(canvas, centers, radii * random.uniform(0.15, 0.4), 0.4, 0.2))
            layers.append(
                Layer(
                    soften(cores, 0.12 * radius * canvas.unit) * random.uniform(0.4, 1),
                    color * 0.5,
                    chance(canvas, 0.5),
                )
            )
    return [Layer(np.clip(alpha * random.uniform(0.8, 1.5), 0, 1), color, True), *layers]


def mold(canvas: Canvas, photo: np.ndarray) -> list[Layer]:
    """Colonies of mold: specks, branching threads and a veil; gray, greenish, black, white or pink."""
    random, threads, dots = canvas.random, Outlines(), []
    colors = (
        [0.45, 0.47, 0.42],
        [0.3, 0.36, 0.25],
        [0.1, 0.1, 0.09],
        [0.85, 0.86, 0.82],
        [0.35, 0.25, 0.2],
        [0.7, 0.5, 0.5],
    )
    color = np.clip(np.array(colors[random.integers(len(colors))]) + random.normal(0, 0.04, 3), 0, 1).astype(np.float32)
    size = canvas.between(0.06, 0.28) * canvas.short
    colonies, wide = many(canvas, 1, 7), width(canvas, 0.4, 1.3)
    branching = chance(canvas, 0.55)
    for _ in range(colonies):
        center, reach = canvas.point(), size * canvas.between(0.4, 1.2)
        count = many(canvas, 10, 260 / colonies + 11)
        turn, far = random.uniform(0, 6.3, count), reach * np.abs(random.normal(0, 0.6, count))
        dots.append(center + np.stack([np.cos(turn), np.sin(turn)], 1) * far[:, None])
        if branching:
            for angle in random.uniform(0, 6.3, many(canvas, 4, 14)):
                line = canvas.curve(center, angle, reach * canvas.between(0.5, 1.4), random.uniform(0.4, 1.2), 24)
                threads.append(canvas.outline(line, np.linspace(wide, 0.3 * wide, 24)))
                for at in random.integers(4, 22, random.integers(1, 4)):
                    twig = canvas.curve(
                        line[at], angle + random.normal(0, 0.8), reach * canvas.between(0.1, 0.5), 0.8, 12
                    )
                    threads.append(canvas.outline(twig, np.linspace(0.7 * wide, 0.2 * wide, 12)))
    centers = np.concatenate(dots)
    radii = sizes(canvas, len(centers), 0.4, canvas.between(1, 4))
    alpha = canvas.polygons(threads + specks(canvas, centers, radii, 0.4, 0.3))
    alpha = alpha * random.uniform(0.6, 1)
    if chance(canvas, 0.4):
        alpha = np.minimum(soften(alpha, width(canvas, 0.5, 1.2)) * 1.5, 1)
    layers = [Layer(alpha, color)]
    if chance(canvas, 0.5):
        veil = np.minimum(soften(alpha, 0.12 * size + 1) * random.uniform(0.5, 1.6), 0.7)
        layers.insert(0, Layer(veil, np.clip(color * 1.1, 0, 1)))
    return layers


def _from_edges(canvas: Canvas, depth: float) -> np.ndarray:
    """1 at some of the edges, falling to 0 at about `depth` of the short side, unevenly: (H, W)."""
    random, w, h = canvas.random, canvas.width, canvas.height
    x, y = np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32)[:, None]
    sides = random.permutation(4)[: random.integers(1, 5)]
    distance = np.full((h, w), 1e6, np.float32)
    for side in sides:
        distance = np.minimum(distance, (x, y, w - x, h - y)[side])
    scaled = distance * np.float32(1 / (depth * canvas.short)) + 0.35 * canvas.clouds(
        canvas.between(0.08, 0.4) * canvas.short, 2
    )
    return np.exp(-np.square(np.maximum(scaled, 0)))


def silvering(canvas: Canvas, photo: np.ndarray) -> list[Layer]:
    """Silver mirroring: a bluish metallic sheen over the dark parts, mostly along the edges."""
    random = canvas.random
    deep = np.clip(1 - canvas.between(1.5, 3) * gray(photo), 0, 1)
    where = _from_edges(canvas, canvas.between(0.04, 0.2))
    if chance(canvas, 0.3):
        where = np.maximum(where, step(canvas.clouds(0.25 * canvas.short, 2), 1.3, 0.6))
    color = np.clip(np.array([0.58, 0.65, 0.74]) + random.normal(0, 0.05) + random.normal(0, 0.015, 3), 0, 1).astype(
        np.float32
    )
    grainy = np.clip(0.9 + random.uniform(0, 0.12) * canvas.clouds(1.5 * canvas.unit), 0, 1)
    return [Layer(deep * where * grainy * random.uniform(0.25, 0.75), color)]


def edge_stain(canvas: Canvas, photo: np.ndarray) -> list[Layer]:
    """Borders gone yellow, brown or black from air, frame and glue; or bleached ones."""
    where = _from_edges(canvas, canvas.between(0.015, 0.09))
    if chance(canvas, 0.35):  # with a sharp front
        where = step(where, canvas.random.uniform(0.4, 0.7), canvas.random.uniform(0.1, 0.5)) * (0.6 + 0.4 * where)
    strong = canvas.random.uniform(0.3, 1)
    if chance(canvas, 0.15):
        return [Layer(where * strong, tone(canvas, 0.6))]
    return [Layer(where * strong, brown(canvas), True)]
