"""Thin damage: scratches, hairs, dust, creases, cracks and scuffs."""

from itertools import pairwise

import cv2
import numpy as np

from bringback.degradations.drawn.canvas import Canvas, Layer
from bringback.degradations.drawn.strokes import (
    Outlines,
    across,
    chance,
    dark,
    direction,
    dye,
    light,
    many,
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


def scratches(canvas: Canvas, photo: np.ndarray) -> list[Layer]:
    """Scratches of a film's transport in bundles, or of a hand: light, dark, or down to one of the dye layers."""
    random, outlines = canvas.random, Outlines()
    broad = width(canvas, 0.7, 3.5) if chance(canvas, 0.75) else width(canvas, 2.5, 10)
    gaps = random.uniform(0, 0.7) if chance(canvas, 0.5) else 0.0
    rough = random.uniform(0.1, 0.5) / max(1, broad / 2.5)  # broad ones would look like beads
    if chance(canvas, 0.45):
        angle = random.normal(0, 0.03) + (np.pi / 2 if chance(canvas, 0.75) else 0)
        middle, spacing = canvas.point(-0.05), canvas.between(0.01, 0.3) * canvas.short
        for _ in range(many(canvas, 1, 14)):
            length = canvas.between(0.4, 3) * canvas.short
            side = direction(angle + np.pi / 2) * random.normal(0, spacing)
            start = middle + side + direction(angle) * (random.normal(0, 0.3) * canvas.short - length / 2)
            line = canvas.curve(start, angle + random.normal(0, 0.004), length, random.uniform(0, 0.02))
            outlines += stroke(canvas, line, broad * canvas.between(0.4, 1.2), rough, random.uniform(0, 0.3), gaps)
    else:
        together = random.uniform(0, np.pi) if chance(canvas, 0.5) else None
        reach = max(canvas.between(0.08, 0.9), 15 * broad / canvas.short)  # no stubs
        for _ in range(many(canvas, 2, 16) if broad < 4 else many(canvas, 1, 4)):
            angle = random.uniform(0, 6.3) if together is None else together + random.normal(0, 0.15)
            line = canvas.curve(
                canvas.point(), angle, canvas.between(0.4, 1.6) * reach * canvas.short, random.uniform(0, 0.6)
            )
            if chance(canvas, 0.25):  # a hook at its end
                hook = canvas.curve(line[-1], angle + random.uniform(-2.5, 2.5), reach * canvas.short * 0.15, 0.6, 20)
                line = np.concatenate([line, hook])
            outlines += stroke(canvas, line, broad * canvas.between(0.4, 1.2), rough, random.uniform(0, 0.6), gaps)
    alpha = canvas.polygons(outlines)
    faint = 1.0 if chance(canvas, 0.5) else random.uniform(0.55, 1)
    if chance(canvas, 0.5):  # worn unevenly
        alpha = alpha * np.clip(
            0.75 + random.uniform(0.1, 0.35) * canvas.clouds(canvas.between(3, 30) * canvas.unit), 0, 1
        )
    color = dye(canvas) if chance(canvas, 0.15) else tone(canvas, 0.7)
    layers = [Layer(alpha * faint, color)]
    if chance(canvas, 0.3):  # the raised rim of the furrow, in shadow or shining
        turn, far = random.uniform(0, 6.3), broad * 0.5 + 0.4
        rim = soften(shifted(alpha, *(direction(turn) * far)), 0.4 * far) * random.uniform(0.3, 0.8)
        layers.insert(0, Layer(rim, dark(canvas) if chance(canvas, 0.75) else light(canvas)))
    elif broad > 2 and chance(canvas, 0.35):  # deeper in the middle than at its sides
        core = step(soften(alpha, 0.25 * broad), 0.75, 0.3)
        layers = [Layer(alpha, dye(canvas) if chance(canvas, 0.6) else color * 0.6), Layer(core, light(canvas))]
    return layers


def _coil(canvas: Canvas, start: np.ndarray, length: float, turns: float, bend: float) -> np.ndarray:
    """A fiber (80, 2) that turns by so many radians on its way, unevenly."""
    along = np.linspace(0, 1, 80) ** canvas.random.uniform(0.6, 1.7)
    angles = canvas.random.uniform(0, 6.3) + turns * along + bend * np.cumsum(canvas.wave(80, 8)) / 20
    return start + np.cumsum(np.stack([np.cos(angles), np.sin(angles)], 1), 0) * (length / 80)


def hairs(canvas: Canvas, photo: np.ndarray) -> list[Layer]:
    """Hairs and lint on the negative or the glass: curled, looped, at times a tangle; black, white or of cloth."""
    random, outlines = canvas.random, Outlines()
    wide = canvas.between(0.7, 2.4) * canvas.unit**0.8
    for _ in range(many(canvas, 2, 16)):
        length = min(canvas.between(15, 220) * canvas.unit, 1.2 * canvas.short)
        line = _coil(canvas, canvas.point(0.02), length, random.normal(0, 2.2), random.uniform(0, 1.5))
        outlines += stroke(canvas, line, wide * canvas.between(0.6, 1.4), 0.12, random.uniform(0, 0.3))
    if chance(canvas, 0.25):
        knot, size = canvas.point(), min(canvas.between(8, 40) * canvas.unit, 0.3 * canvas.short)
        for _ in range(many(canvas, 3, 14)):
            start = knot + random.standard_normal(2) * size * 0.25
            line = _coil(canvas, start, size * canvas.between(1, 4), random.normal(0, 7), random.uniform(0, 2))
            outlines += stroke(canvas, line, wide * canvas.between(0.4, 0.8), 0.2, 0.1)
    alpha = canvas.polygons(outlines)
    if chance(canvas, 0.35):  # above the plane of focus
        alpha = np.minimum(soften(alpha, width(canvas, 0.5, 1.3)) * 1.6, 1)
    color = dye(canvas) * 0.7 if chance(canvas, 0.08) else tone(canvas, 0.5)
    layers = [Layer(alpha * random.uniform(0.7, 1.0), color)]
    if chance(canvas, 0.2):
        shadow = soften(shifted(alpha, *(direction(random.uniform(0, 6.3)) * wide * 1.5)), wide)
        layers.insert(0, Layer(shadow * random.uniform(0.2, 0.6), dark(canvas)))
    return layers


def dust(canvas: Canvas, photo: np.ndarray) -> list[Layer]:
    """Dust on the glass or the negative: specks, crumbs, rings and bits out of focus; light, dark or both."""
    random = canvas.random
    bright, mixed = chance(canvas, 0.55), chance(canvas, 0.2)
    layers = []
    for turn in range(2 if mixed else 1):
        largest = canvas.between(0.9, 4.5)
        count = many(canvas, 15, np.clip(900 / largest**1.3, 80, 500))
        clusters = many(canvas, 1, 6) if chance(canvas, 0.4) else 0
        centers = scatter(canvas, count, clusters, canvas.between(0.03, 0.3))
        outlines = specks(canvas, centers, sizes(canvas, count, 0.4, largest), 0.45, random.uniform(0.1, 0.6))
        for _ in range(many(canvas, 1, 8) if chance(canvas, 0.4) else 0):  # short fibers among them
            line = _coil(canvas, canvas.point(), canvas.between(4, 25) * canvas.unit, random.normal(0, 2), 0.8)
            outlines += stroke(canvas, line, width(canvas, 0.5, 1.3), 0.2, 0.1)
        alpha = canvas.polygons(outlines, np.sort(random.uniform(0.5, 1.0, len(outlines))))
        if chance(canvas, 0.2):  # dried drops: only their borders
            alpha = np.clip(alpha - 0.9 * step(soften(alpha, 0.25 * largest * canvas.unit), 0.7, 0.4), 0, 1)
        if chance(canvas, 0.25):
            alpha = np.minimum(soften(alpha, width(canvas, 0.5, 2.0)) * 1.4, 1)
        layers.append(Layer(alpha, light(canvas) if bright != bool(turn) else dark(canvas)))
    if chance(canvas, 0.2):  # crumbs cast shadows
        near = direction(random.uniform(0, 6.3)) * canvas.unit
        layers.insert(0, Layer(soften(shifted(layers[0].alpha, *near), 0.7 * canvas.unit) * 0.6, dark(canvas)))
    return layers


def creases(canvas: Canvas, photo: np.ndarray) -> list[Layer]:
    """Folds and bent corners: a ridge that shades to one side, its emulsion cracked, broken or flaked off."""
    random = canvas.random
    wide = width(canvas, 0.8, 4.5)
    flaking = random.uniform(0.3, 1) if chance(canvas, 0.5) else 0.0
    gaps = random.uniform(0.05, 0.8) if chance(canvas, 0.7) else 0.0
    lines = []
    if chance(canvas, 0.3):
        for _ in range(many(canvas, 1, 3)):
            corner = np.array([random.integers(2) * canvas.width, random.integers(2) * canvas.height])
            inward = np.where(corner > 0, -1, 1) * canvas.short
            one, two = random.uniform(0.08, 0.5, 2)
            lines.append(straight(corner + inward * [one, 0], corner + inward * [0, two], 2.5))
    else:
        lines.append(straight(*across(canvas)))
        if chance(canvas, 0.3):
            lines.append(straight(*across(canvas, float(random.integers(2)))))
    outlines, chips = Outlines(), Outlines()
    bands = []
    for n, path in enumerate(lines):
        bent = np.stack([canvas.wave(len(path), 6) for _ in "xy"], 1) * random.uniform(0, 0.005) * canvas.short
        line = ripped(canvas, path + bent, random.uniform(0.05, 0.35) * min(wide, 6), 25)
        bands.append(canvas.outline(line, wide * random.uniform(2, 5)))
        outlines += stroke(canvas, line, wide * random.uniform(0.3, 1), 0.6, 0.0, gaps)
        if chance(canvas, 0.3):  # a second crack runs along
            beside = line + random.normal(0, 1.2, 2) * wide
            outlines += stroke(canvas, beside, wide * 0.3, 0.5, 0.2, min(gaps + 0.4, 0.9))
        if flaking and n < 2:
            count = int(min(flaking * len(line) * 0.9, 150))
            places = line[random.integers(0, len(line), count)] + random.standard_normal((count, 2)) * wide * 0.7
            chips += specks(canvas, places, np.minimum(random.lognormal(-0.8, 0.6, count) * wide, 20), 0.5, 0.5)
    if wide > 3:
        outlines = [ripped(canvas, outline, 0.12 * wide, 8) for outline in outlines]
    white = canvas.polygons(outlines + chips)
    if chance(canvas, 0.4):
        white = white * np.clip(0.9 + 0.35 * canvas.clouds(2.5 * canvas.unit), 0, 1)
    layers = []
    if chance(canvas, 0.75):  # the ridge takes and throws light
        band, side = soften(canvas.polygons(bands), wide * 0.8), direction(random.uniform(0, 6.3)) * wide
        layers.append(Layer(shifted(band, *side) * random.uniform(0.15, 0.6), dark(canvas), True))
        if chance(canvas, 0.5):
            layers.append(Layer(shifted(band, *-side) * random.uniform(0.05, 0.3), light(canvas)))
    if chance(canvas, 0.35):
        layers.append(Layer(shifted(white, *(direction(random.uniform(0, 6.3)) * (0.2 * wide + 0.6))), dark(canvas)))
    layers.append(Layer(white * random.uniform(0.75, 1), tone(canvas, 0.88)))
    return layers


def roll_cracks(canvas: Canvas, photo: np.ndarray) -> list[Layer]:
    """Many cracks side by side where a stiff print was unrolled or bent."""
    random, outlines = canvas.random, Outlines()
    angle = random.normal(0, 0.06) + (np.pi / 2 if chance(canvas, 0.5) else 0)
    wide, count = width(canvas, 0.6, 2.5), many(canvas, 5, 35)
    middle, spread = canvas.point(-0.1), canvas.between(0.08, 0.5) * canvas.short
    for _ in range(count):
        length = canvas.between(0.08, 1.2) * canvas.short
        start = middle + direction(angle + np.pi / 2) * random.normal(0, spread)
        start = start + direction(angle) * (random.normal(0, 0.3) * canvas.short - length / 2)
        line = canvas.curve(start, angle + random.normal(0, 0.05), length, random.uniform(0.05, 0.3))
        line = ripped(canvas, line, wide * 0.4, 12)
        outlines += stroke(canvas, line, wide * canvas.between(0.4, 1.5), 0.5, 0.3, random.uniform(0, 0.6))
    if wide > 3:
        outlines = [ripped(canvas, outline, 0.12 * wide, 8) for outline in outlines]
    alpha = canvas.polygons(outlines)
    layers = [Layer(alpha, tone(canvas, 0.7))]
    if chance(canvas, 0.4):
        layers.insert(0, Layer(shifted(alpha, *(direction(random.uniform(0, 6.3)) * wide * 0.7)) * 0.7, dark(canvas)))
    return layers


def net_cracks(canvas: Canvas, photo: np.ndarray) -> list[Layer]:
    """A net of cracks in varnish or gelatin over part of the photo, some of its islands lifted off."""
    random = canvas.random
    cell = max(canvas.between(7, 45) * canvas.unit, np.sqrt(canvas.width * canvas.height / 500))
    count = int(np.clip(canvas.width * canvas.height / cell**2, 8, 500))
    frame, long = 2 * cell, canvas.between(1, 2.2) if chance(canvas, 0.4) else 1.0
    size = np.array([canvas.width, canvas.height]) + 2 * frame
    flat = np.array([long, 1.0]) if chance(canvas, 0.5) else np.array([1.0, long])
    delaunay = cv2.Subdiv2D((0, 0, int(size[0] / flat[0]) + 2, int(size[1] / flat[1]) + 2))
    delaunay.insert((random.uniform(0, 1, (count, 2)) * size / flat).astype(np.float32).tolist())
    facets = [np.asarray(facet) * flat - frame for facet in delaunay.getVoronoiFacetList([])[0]]
    start = np.concatenate(facets)
    end = np.concatenate([np.roll(facet, -1, 0) for facet in facets])
    once = (start[:, 0] < end[:, 0]) & (random.random(len(start)) < random.uniform(0.6, 1))  # else both cells draw it
    start, end = start[once], end[once]
    at = np.linspace(0, 1, 6)[None, :, None]
    edges = start[:, None] + (end - start)[:, None] * at
    edges[:, 1:-1] += random.standard_normal((len(edges), 4, 2)) * cell * random.uniform(0.01, 0.06)
    wide = width(canvas, 0.5, 1.8)
    fine = np.zeros((canvas.height * 2, canvas.width * 2), np.uint8)
    points, classes = np.rint(edges * 32).astype(np.int32), random.integers(0, 3, len(edges))
    for n, part in enumerate((0.4, 0.7, 1.0)):
        thick = max(round(2 * wide * part), 1)
        cv2.polylines(fine, list(points[classes == n]), False, int(255 * (0.6 + 0.2 * n)), thick, cv2.LINE_AA, 4)
    alpha = cv2.resize(fine, (canvas.width, canvas.height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    where = step(
        canvas.clouds(canvas.between(0.15, 0.7) * canvas.short), random.uniform(-0.8, 1.0), random.uniform(0.2, 1.5)
    )
    color = tone(canvas, 0.5)
    layers = [Layer(alpha * where, color)]
    if chance(canvas, 0.4):
        side = direction(random.uniform(0, 6.3)) * (wide * 0.5 + 0.3)
        other = light(canvas) if color.mean() < 0.5 else dark(canvas)
        layers.insert(0, Layer(shifted(layers[0].alpha, *side) * random.uniform(0.3, 0.7), other))
    if chance(canvas, 0.35):
        lost = random.permutation(len(facets))[: many(canvas, 1, max(0.08 * len(facets), 1))]
        gone = [_worn(canvas, facets[n], 0.04 * cell) for n in lost]
        layers.append(Layer(canvas.polygons(gone) * step(where, 0.5, 0.1), tone(canvas, 0.8)))
    return layers


def _worn(canvas: Canvas, facet: np.ndarray, size: float) -> np.ndarray:
    """A polygon (N, 2) with jagged sides."""
    sides = [straight(a, b, 3)[:-1] for a, b in zip(facet, np.roll(facet, -1, 0), strict=True)]
    return ripped(canvas, np.concatenate(sides), size, 6)


def glass_cracks(canvas: Canvas, photo: np.ndarray) -> list[Layer]:
    """A broken glass plate: cracks from where it was hit, or one right through, with chips of glass gone."""
    random, outlines, chips = canvas.random, Outlines(), Outlines()
    wide = width(canvas, 0.7, 2.4)
    span = np.hypot(canvas.width, canvas.height)
    hit = canvas.point(0.05)
    if chance(canvas, 0.3):
        rays = [ripped(canvas, straight(*across(canvas)), 0.01 * canvas.short, 4)]
    else:
        angles = random.uniform(0, 6.3) + np.cumsum(random.uniform(0.3, 1.7, many(canvas, 3, 9)))
        rays = []
        for angle in angles:
            length = span * (1 if chance(canvas, 0.6) else canvas.between(0.1, 0.6))
            ray = canvas.curve(hit, angle, length, random.uniform(0.0, 0.25), 90)
            rays.append(ripped(canvas, ray, 0.003 * canvas.short, 4))
        for one, two in pairwise(list(rays)):  # cracks from ray to ray
            if chance(canvas, 0.35):
                far = int(random.integers(5, 60))
                rays.append(
                    ripped(
                        canvas,
                        straight(one[far], two[min(far + int(random.integers(-4, 20)), 89)]),
                        0.004 * canvas.short,
                    )
                )
                break
        if chance(canvas, 0.4):
            chips.append(ripped(canvas, canvas.blob(hit, width(canvas, 2, 12), 0.4), 0.6 * canvas.unit))
    for ray in rays:
        outlines += stroke(canvas, ray, wide * canvas.between(0.5, 1.3), 0.35, 0.1)
        if chance(canvas, 0.4):
            size = wide * canvas.between(1.5, 5)
            chips += specks(canvas, ray[random.integers(0, len(ray), 1)], np.array([size]), 0.5, 0.6)
    alpha = canvas.polygons(outlines + chips)
    color = tone(canvas, 0.45)
    layers = [Layer(alpha * random.uniform(0.75, 1), color)]
    if chance(canvas, 0.6):  # the other side of the broken edge
        side = direction(random.uniform(0, 6.3)) * wide * random.uniform(0.5, 1.0)
        other = light(canvas) if color.mean() < 0.5 else dark(canvas)
        layers.insert(0, Layer(shifted(alpha, *side) * random.uniform(0.4, 1.0), other))
    return layers


def scuffs(canvas: Canvas, photo: np.ndarray) -> list[Layer]:
    """Worn patches: many fine scratches one way, or the surface rubbed off in flecks along its high places."""
    random, middle = canvas.random, canvas.point()
    spread = canvas.between(0.06, 0.35) * canvas.short
    angle, wide = random.uniform(0, np.pi), width(canvas, 0.4, 1.3)
    if chance(canvas, 0.6):
        outlines = Outlines()
        for _ in range(many(canvas, 30, 130)):
            start = middle + random.standard_normal(2) * spread * [1, 0.6]
            length = canvas.between(0.1, 1.5) * spread
            line = canvas.curve(start, angle + random.normal(0, 0.08), length, random.uniform(0, 0.15), 12)
            ends = np.clip(np.linspace(0.2, 2, 12), 0, 1)
            outlines.append(canvas.outline(line, wide * canvas.between(0.5, 1.6) * np.minimum(ends, ends[::-1])))
        alpha = canvas.polygons(outlines, np.sort(random.uniform(0.3, 1, len(outlines))))
    else:
        side = int(np.hypot(canvas.width, canvas.height) / 2) + 2  # noise stretched along the rubbing
        flat = Canvas(random, side, max(side // int(random.integers(2, 9)), 3), canvas.unit)
        noise = flat.clouds(canvas.between(1.5, 6) * canvas.unit**0.6, 3)
        cos, sin = direction(angle) * flat.width / (2 * side)
        turn = np.array([[cos, sin, flat.width / 2], [-0.5 * np.sin(angle), 0.5 * np.cos(angle), side / 2]])
        turn[:, 2] -= turn[:, :2] @ middle
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        noise = cv2.warpAffine(noise, turn, (canvas.width, canvas.height), flags=flags, borderMode=cv2.BORDER_REFLECT)
        x = (np.arange(canvas.width, dtype=np.float32) - np.float32(middle[0])) / np.float32(2 * spread)
        y = (np.arange(canvas.height, dtype=np.float32)[:, None] - np.float32(middle[1])) / np.float32(spread)
        near = np.exp(-np.square(x)) * np.exp(-np.square(y))
        alpha = step(noise + 4.5 * near, random.uniform(3.4, 5.2), canvas.between(0.3, 1.5)) * step(near, 0.08, 0.1)
    return [Layer(alpha * random.uniform(0.65, 1), tone(canvas, 0.8))]
