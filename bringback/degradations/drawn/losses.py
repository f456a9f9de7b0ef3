"""Damage of the sheet itself: tears, missing pieces, tape, things stuck on, holes."""

import numpy as np

from bringback.degradations.drawn.canvas import Canvas, Layer
from bringback.degradations.drawn.strokes import (
    Outlines,
    brown,
    chance,
    dark,
    direction,
    dye,
    light,
    many,
    page,
    rgb,
    ripped,
    scatter,
    shifted,
    sizes,
    soften,
    specks,
    step,
    straight,
    stroke,
    tone,
    width,
)


def _edge_place(canvas: Canvas) -> tuple[np.ndarray, float]:
    """A place (x, y) just outside an edge and the angle that leads inward."""
    part, side = canvas.random.uniform(0.03, 0.97), canvas.random.integers(4)
    w, h = canvas.width, canvas.height
    places = [(-3, part * h), (part * w, -3), (w + 3, part * h), (part * w, h + 3)]
    return np.array(places[side]), side * np.pi / 2


def _fill(canvas: Canvas) -> np.ndarray:
    """What shows where the picture is gone: paper, a page, black, any flat color; (3,) or (H, W, 3)."""
    kind = canvas.random.random()
    if kind < 0.55:
        color = light(canvas)
    elif kind < 0.75:
        color = dark(canvas)
    elif kind < 0.93:
        color = np.clip(canvas.random.uniform(0.25, 0.75) + canvas.random.normal(0, 0.03, 3), 0, 1).astype(np.float32)
    else:
        color = canvas.random.random(3, np.float32)
    return page(canvas, color) if chance(canvas, 0.6) else color


def tears(canvas: Canvas, photo: np.ndarray) -> list[Layer]:
    """Rips from an edge inward: the white torn paper, often a gap in it, its shadow."""
    random, cores, gaps = canvas.random, Outlines(), Outlines()
    wide = min(width(canvas, 1.2, 12), 0.12 * canvas.short)
    open_share = random.uniform(0.25, 0.7) if chance(canvas, 0.55) else 0.0
    for _ in range(1 if chance(canvas, 0.65) else many(canvas, 2, 4)):
        start, inward = _edge_place(canvas)
        through = chance(canvas, 0.2)
        length = canvas.short * (2.0 if through else max(canvas.between(0.1, 0.9), 8 * wide / canvas.short))
        count = int(np.clip(length / (1.5 * canvas.unit**0.5), 30, 260))
        path = canvas.curve(start, inward + random.normal(0, 0.5), length, random.uniform(0.1, 0.6), count)
        path = ripped(canvas, path, random.uniform(0.005, 0.02) * min(length, canvas.short), random.uniform(4, 9))
        narrow = np.ones(count) if through else np.linspace(1, 0, count) ** random.uniform(0.4, 1.0)
        lip = wide * narrow * np.exp(np.clip(0.4 * canvas.wave(count, 14) + 0.2 * canvas.wave(count, count), -1, 0.5))
        cores.append(canvas.outline(ripped(canvas, path, 0.08 * wide, count / 3), lip + 0.5))
        if open_share:
            at, aside = narrow * open_share * wide, random.uniform(-0.3, 0.3) * wide
            gap = at * np.exp(np.clip(0.3 * canvas.wave(count, 20), -0.6, 0.4)) - 0.1 * wide
            gaps.append(canvas.outline(path + aside * narrow[:, None], np.maximum(gap, 0.0)))
    core = canvas.polygons(cores)
    if wide > 3:  # fibers make its borders uneven, thin paper lets the picture through
        core = step(soften(core, 0.12 * wide) + 0.12 * canvas.clouds(0.3 * wide + 1, 2), 0.5, 0.5) * (core > 0)
    torn = page(canvas, light(canvas)) if chance(canvas, 0.7) else light(canvas)
    layers = []
    if chance(canvas, 0.5):
        shadow = shifted(soften(core, 0.25 * wide), *(direction(random.uniform(0, 6.3)) * 0.35 * wide))
        layers.append(Layer(shadow * random.uniform(0.3, 0.9), dark(canvas), True))
    layers.append(Layer(core, torn))
    if gaps:
        layers.append(Layer(canvas.polygons(gaps), dark(canvas) if chance(canvas, 0.6) else _fill(canvas)))
    return layers


def missing(canvas: Canvas, photo: np.ndarray) -> list[Layer]:
    """Lost corners, bites out of the edges and holes, down to what lies below; a torn edge keeps a rim of paper."""
    random, outlines = canvas.random, Outlines()
    size = canvas.between(0.05, 0.33) * canvas.short
    rip = random.uniform(0.02, 0.25)
    for _ in range(1 if chance(canvas, 0.6) else many(canvas, 2, 5)):
        size = max(size * canvas.between(0.5, 1.3), 3.0)
        kind = random.random()
        if kind < 0.45:
            corner = np.array([random.integers(2) * canvas.width, random.integers(2) * canvas.height], float)
            inward = np.where(corner > 0, -1.0, 1.0) * size * np.exp(random.normal(0, 0.4, 2))
            cut = straight(
                corner + inward * [1, 0] - 3 * np.sign(inward) * [0, 1],
                corner + inward * [0, 1] - 3 * np.sign(inward) * [1, 0],
                1.5,
            )
            bulge = np.sin(np.linspace(0, np.pi, len(cut)))[:, None] * inward * random.normal(0.05, 0.25)
            outlines.append(np.concatenate([ripped(canvas, cut + bulge, rip * size * 0.5), [corner - inward]]))
        else:
            center = _edge_place(canvas)[0] if kind < 0.8 else canvas.point()
            outline = canvas.blob(center, size * 0.6, random.uniform(0.08, 0.3), int(np.clip(3 * size, 24, 150)))
            outlines.append(ripped(canvas, outline, rip * size * 0.3, 8))
    hole = canvas.polygons(outlines)
    layers = []
    if chance(canvas, 0.55):  # the picture came off a little farther than the paper
        rim = width(canvas, 0.8, 5)
        near = soften(hole, rim)
        torn = step(near + 0.1 * canvas.clouds(2 * rim + 1, 2), 0.25, 0.2) * step(near, 0.1, 0.1)
        layers.append(Layer(np.maximum(torn, hole), light(canvas)))
    if chance(canvas, 0.4):
        far = width(canvas, 1, 6)
        shadow = shifted(soften(hole, far), *(direction(random.uniform(0, 6.3)) * far * 0.7))
        layers.append(Layer(shadow * random.uniform(0.3, 0.8), dark(canvas), True))
    return [*layers, Layer(hole, _fill(canvas))]


def flakes(canvas: Canvas, photo: np.ndarray) -> list[Layer]:
    """Emulsion come off in islands, here and there or all over one region, with sharp borders and lifted rims."""
    random = canvas.random
    cell = canvas.between(6, 45) * canvas.unit
    where = canvas.clouds(canvas.between(0.2, 0.8) * canvas.short)
    field = canvas.clouds(cell, 5) + random.uniform(0.3, 1.2) * where
    share = canvas.between(0.004, 0.1)
    level = float(np.quantile(field[::4, ::4], 1 - share))
    alpha = step(field, level, random.uniform(0.05, 0.25))
    layers = [Layer(alpha, _fill(canvas) if chance(canvas, 0.6) else light(canvas))]
    if chance(canvas, 0.45):
        far = direction(random.uniform(0, 6.3)) * width(canvas, 0.5, 1.6)
        layers.insert(0, Layer(shifted(alpha, *far), dark(canvas) if chance(canvas, 0.7) else light(canvas)))
    if chance(canvas, 0.3):  # an inner, deeper loss
        layers.append(Layer(step(field, level + 0.25, 0.1), tone(canvas, 0.6)))
    return layers


def rubbed(canvas: Canvas, photo: np.ndarray) -> list[Layer]:
    """The picture rubbed off in patches or along the borders: paper shows through, more in the middle."""
    random = canvas.random
    field = canvas.clouds(canvas.between(2, 8) * canvas.unit, 2)
    if chance(canvas, 0.4):
        x = np.arange(canvas.width, dtype=np.float32)
        y = np.arange(canvas.height, dtype=np.float32)[:, None]
        edge = np.minimum(np.minimum(x, canvas.width - x), np.minimum(y, canvas.height - y))
        near = np.exp(edge * np.float32(-1 / (canvas.between(0.01, 0.05) * canvas.short)))
        near = near * np.clip(0.5 + canvas.clouds(0.4 * canvas.short), 0, 1.5)
    else:
        outline = canvas.blob(canvas.point(), canvas.between(0.03, 0.2) * canvas.short, 0.5)
        near = soften(canvas.polygons([outline]), canvas.between(2, 12) * canvas.unit)
    alpha = step(2.2 * near + random.uniform(0.2, 0.6) * field, random.uniform(1.0, 1.8), random.uniform(0.4, 1.6))
    alpha = alpha * (near > 0.02)
    return [
        Layer(
            alpha * random.uniform(0.7, 1.0), page(canvas, light(canvas)) if chance(canvas, 0.5) else tone(canvas, 0.85)
        )
    ]


def tape(canvas: Canvas, photo: np.ndarray) -> list[Layer]:
    """Strips of adhesive tape, clear to amber, its borders darker and its ends cut or torn; or what it left behind."""
    random, layers = canvas.random, []
    wide = min(canvas.between(16, 55) * canvas.unit, 0.28 * canvas.short)
    left_behind, color = chance(canvas, 0.3), brown(canvas) if chance(canvas, 0.75) else rgb(0.95, 0.93, 0.88)
    for _ in range(1 if chance(canvas, 0.65) else 2):
        middle = canvas.point() if chance(canvas, 0.5) else _edge_place(canvas)[0]
        angle = (
            random.choice([0, np.pi / 2]) + random.normal(0, 0.12) if chance(canvas, 0.75) else random.uniform(0, 3.1)
        )
        along, side = direction(angle), direction(angle + np.pi / 2)
        reach = min(wide * canvas.between(1.2, 8), 1.2 * canvas.short) / 2 + 2
        x, y = np.arange(canvas.width) - middle[0], np.arange(canvas.height) - middle[1]
        v = (side[0] * x).astype(np.float32) + (side[1] * y).astype(np.float32)[:, None]
        ends = []
        for sign in (-1, 1):
            jags = random.uniform(-1, 1, 15) * random.uniform(0, 0.1) * wide if chance(canvas, 0.4) else np.zeros(15)
            if chance(canvas, 0.35):  # the teeth of a dispenser
                jags = np.tile([0.04, -0.04], 8)[:15] * wide
            slant = random.normal(0, 0.08) * np.linspace(-1, 1, 15)
            offsets = np.linspace(-0.5, 0.5, 15)[::-sign, None] * side * wide
            ends.append(middle + sign * along * (reach + jags + slant * wide)[:, None] + offsets)
        inside = canvas.polygons([np.concatenate(ends)])
        rim = np.exp((np.abs(np.abs(v) - wide / 2)) * np.float32(-1 / (0.05 * wide + 0.5)))
        streaks = canvas.wave(64, many(canvas, 8, 60))
        streak = streaks[np.clip((v * np.float32(60 / wide)).astype(np.int32) + 32, 0, 63)].astype(np.float32)
        depth = random.uniform(0.3, 1.2) * (1 + random.uniform(0, 0.3) * canvas.clouds(wide * 0.6))
        depth = depth + random.uniform(0, 0.8) * rim + random.uniform(0, 0.12) * streak
        if left_behind:
            depth = depth * step(canvas.clouds(canvas.between(0.15, 1) * wide, 2), random.uniform(-0.9, 0.6), 0.6)
        layers.append(Layer(inside * np.clip(depth, 0, 1), color, True))
        if not left_behind and chance(canvas, 0.7):  # its gloss: a veil, brighter in streaks and at the borders
            veil = random.uniform(0.03, 0.4) + 0.06 * streak + random.uniform(0, 0.35) * rim * (rim > 0.6)
            if chance(canvas, 0.4):  # air under it
                veil = veil + 0.35 * step(canvas.clouds(0.25 * wide, 2), 1.2, 0.3)
            layers.append(Layer(inside * np.clip(veil, 0, 1), light(canvas) if chance(canvas, 0.8) else color))
        if not left_behind and chance(canvas, 0.5):
            line = soften(np.clip(inside - shifted(inside, *(direction(random.uniform(0, 6.3)) * 1.2)), 0, 1), 0.4)
            layers.append(Layer(line * random.uniform(0.3, 0.9), tone(canvas, 0.5)))
    return layers


def stuck_on(canvas: Canvas, photo: np.ndarray) -> list[Layer]:
    """Glue, and scraps of album pages or paper that stuck to the picture."""
    random, size = canvas.random, canvas.between(0.03, 0.16) * canvas.short
    outlines = Outlines()
    for center in scatter(canvas, many(canvas, 1, 6), 1 if chance(canvas, 0.5) else 0, 0.15):
        outline = canvas.blob(
            center, size * canvas.between(0.3, 1.2), random.uniform(0.1, 0.35), int(np.clip(3 * size, 24, 120))
        )
        outlines.append(ripped(canvas, outline, random.uniform(0.01, 0.08) * size, 8))
    alpha = canvas.polygons(outlines)
    if chance(canvas, 0.4):  # glue: glassy, brown, cracked
        field = np.clip(0.75 + 0.3 * canvas.clouds(0.4 * size, 2), 0, 1)
        layers = [Layer(soften(alpha, canvas.between(0.5, 3) * canvas.unit) * field, brown(canvas), True)]
        if chance(canvas, 0.5):
            gloss = step(canvas.clouds(0.25 * size + 1, 2), 1.4, 0.4) * alpha
            layers.append(Layer(gloss * random.uniform(0.3, 0.9), light(canvas)))
        return layers
    scrap = _fill(canvas)
    if chance(canvas, 0.7):  # thin at its borders, in flocks
        thick = soften(alpha, 0.12 * size) + random.uniform(0.05, 0.2) * canvas.clouds(
            canvas.between(2, 6) * canvas.unit, 2
        )
        alpha = step(thick, random.uniform(0.35, 0.6), random.uniform(0.15, 0.7)) * (alpha > 0)
    layers = [Layer(alpha, scrap)]
    if chance(canvas, 0.4):
        far = width(canvas, 0.6, 2.5)
        shadow = soften(shifted(alpha, *(direction(random.uniform(0, 6.3)) * far)), 0.7 * far)
        layers.insert(0, Layer(shadow * random.uniform(0.3, 0.8), dark(canvas), True))
    return layers


def holes(canvas: Canvas, photo: np.ndarray) -> list[Layer]:
    """Holes of pins, staples and punches with dents and rust around; the rust of a paper clip."""
    random, outlines, layers = canvas.random, Outlines(), []
    near_edge = chance(canvas, 0.6)
    kind = random.random()
    places = np.array([_edge_place(canvas)[0] if near_edge else canvas.point() for _ in range(many(canvas, 1, 6))])
    inward = (np.array([canvas.width, canvas.height]) / 2 - places) * canvas.between(0.03, 0.3)
    places = places + inward * near_edge
    if kind < 0.35:
        outlines += specks(canvas, places, sizes(canvas, len(places), 0.8, 3.5), 0.2, 0.2)
    elif kind < 0.55:
        leg, angle = canvas.between(8, 16) * canvas.unit, random.uniform(0, np.pi)
        two = np.concatenate([places, places + direction(angle) * leg])
        outlines += specks(canvas, two, sizes(canvas, len(two), 0.7, 2), 0.2, 0.3)
        if chance(canvas, 0.6):  # the staple or its imprint
            outlines += [
                canvas.outline(straight(p, p + direction(angle) * leg), width(canvas, 0.7, 1.5)) for p in places
            ]
    elif kind < 0.75:
        radius = min(canvas.between(4, 12) * canvas.unit, 20.0)
        outlines += [canvas.blob(p, radius, 0.02) for p in places[:3]]
    else:  # the loops of a clip, seen from above
        long, thick = min(canvas.between(18, 60) * canvas.unit, 0.35 * canvas.short), width(canvas, 0.8, 2.5)
        turn, place = random.choice([0, np.pi / 2]) + random.normal(0, 0.25), places[0]
        t = np.linspace(0, 2.2 * np.pi, 90)
        shape = np.stack(
            [long * (0.5 - t * 0.03) * np.tanh(1.6 * np.cos(t)), long * (0.14 - t * 0.008) * np.tanh(1.6 * np.sin(t))],
            1,
        )
        spin = np.stack([direction(turn), direction(turn + np.pi / 2)])
        outlines += stroke(canvas, place + shape @ spin, thick, 0.4, 0.0, random.uniform(0, 0.4))
    hole = canvas.polygons(outlines)
    rust = kind >= 0.75 or chance(canvas, 0.4)
    if rust:
        halo = soften(hole, canvas.between(0.8, 4) * canvas.unit)
        halo = np.clip(halo * 3, 0, 1) * np.clip(0.7 + 0.4 * canvas.clouds(3 * canvas.unit + 1, 2), 0, 1)
        layers.append(Layer(halo, brown(canvas), True))
    elif chance(canvas, 0.6):  # the dented, paper-white border
        layers.append(Layer(np.clip(soften(hole, width(canvas, 0.5, 1.4)) * 1.8, 0, 1), light(canvas)))
    if kind < 0.75:
        layers.append(Layer(hole, tone(canvas, 0.3) if not rust else dark(canvas)))
    elif chance(canvas, 0.7):
        layers.append(Layer(hole * random.uniform(0.4, 0.9), rgb(0.4, 0.25, 0.13)))
    return layers


def color_blotches(canvas: Canvas, photo: np.ndarray) -> list[Layer]:
    """Where the picture stuck to glass or another photo, or its dyes went: patches of another tone or color."""
    random = canvas.random
    field = canvas.clouds(canvas.between(0.08, 0.4) * canvas.short, 3)
    level = float(np.quantile(field[::4, ::4], 1 - canvas.between(0.01, 0.1)))
    alpha = step(field, level, canvas.between(0.05, 0.8))
    colored, multiplies = chance(canvas, 0.5), chance(canvas, 0.6)
    color = 0.6 * dye(canvas) + 0.3 if colored else (tone(canvas, 0.8) if not multiplies else rgb(0.6, 0.6, 0.62))
    layers = [Layer(alpha * random.uniform(0.3, 0.9), np.clip(color, 0, 1), multiplies)]
    if chance(canvas, 0.4):  # the wet-looking border
        rim = np.exp(-np.square((field - np.float32(level)) * np.float32(1 / random.uniform(0.04, 0.15))))
        layers.append(Layer(rim * random.uniform(0.3, 0.9), tone(canvas, 0.5)))
    return layers
