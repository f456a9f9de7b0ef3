"""What photos show that looks like dust or scratches: snow, stars, meadows, bokeh, wires, lattices, nets, hair."""

import cv2
import numpy as np

from bringback.degradations.drawn.canvas import Canvas
from bringback.degradations.drawn.settling import (
    frame,
    lit,
    plane_wave,
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


def _discs(canvas: Canvas, places: np.ndarray, radii: np.ndarray, levels: np.ndarray, squeeze: float = 1) -> np.ndarray:
    """Discs, or ellipses of random directions, at places (N, 2): brightness (H, W); later ones hide earlier ones."""
    fine, turns = np.zeros((canvas.height * 2, canvas.width * 2), np.uint8), canvas.random.uniform(0, 180, len(places))
    centers = np.rint(places * 32).astype(int).tolist()
    axes = np.rint(np.stack([radii, radii * squeeze], 1) * 32).astype(int).clip(6).tolist()
    for center, axis, turn, level in zip(centers, axes, turns.tolist(), levels.tolist(), strict=True):
        if squeeze == 1:
            cv2.circle(fine, center, axis[0], level * 255, -1, cv2.LINE_AA, 4)
        else:
            cv2.ellipse(fine, center, axis, turn, 0, 360, level * 255, -1, cv2.LINE_AA, 4)
    small = cv2.resize(fine, (canvas.width, canvas.height), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / 255


def _scattered(canvas: Canvas, share: float, radius: float, most: int = 500) -> np.ndarray:
    """Places (N, 2) for discs of a mean radius that cover about a share of the photo; crowded here, rare there."""
    count = int(np.clip(share * canvas.height * canvas.width / (np.pi * radius**2), 12, most))
    places = canvas.random.random((count, 2)) * [canvas.width, canvas.height]
    return places


def _darkened(canvas: Canvas, photo: np.ndarray, low: float, high: float) -> np.ndarray:
    """The photo as at dusk or night."""
    gain = canvas.random.uniform(low, high)
    depth = np.float32(canvas.random.random())
    return photo * (photo * (depth * np.float32(gain)) + (1 - depth) * np.float32(gain))


def snow(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """Falling snow: soft white flakes, many small and some large ones close to the lens, in pale air."""
    random = canvas.random
    size = min(canvas.between(0.8, 4) * canvas.unit, canvas.short / 12)
    haze = random.uniform(0, 0.35)
    photo = photo * np.float32(1 - haze) + np.float32(haze * 0.85)
    light = np.zeros(photo.shape[:2], np.float32)
    wind, fall = random.normal() * 0.5, canvas.between(1, 2.2)
    for scale, share in ((0.6, 0.02), (1.0, 0.02), (2.2, 0.015)):
        radius = max(size * scale, 0.5)
        places = _scattered(canvas, share * canvas.between(0.4, 2), radius, 260)
        radii = radius * random.lognormal(0, 0.25, len(places))
        layer = _discs(canvas, places, radii, random.uniform(0.5, 1, len(places)))
        layer = cv2.GaussianBlur(layer, (0, 0), 0.3 + radius * random.uniform(0.1, 0.5))
        light = np.maximum(light, layer)
    if fall > 1.5:  # flakes that moved during the exposure
        reach = int(np.clip(size * fall, 2, 40))
        kernel = np.zeros((reach, reach), np.float32)
        middle = (reach - 1) / 2
        cv2.line(kernel, (int(middle - wind * middle), 0), (int(middle + wind * middle), reach - 1), 1.0)
        light = np.minimum(cv2.filter2D(light, -1, kernel / kernel.sum()) * 1.4, 1)
    return settle(canvas, photo, light * np.float32(random.uniform(0.6, 1)), np.full(3, 0.96, np.float32), 0.4, 0.1)


def stars(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """A night sky with stars of all sizes, some with halos or spikes, over the darkened photo."""
    random = canvas.random
    size = min(canvas.between(0.5, 1.6) * canvas.unit, canvas.short / 60)
    count = int(canvas.between(40, 400))
    horizon = random.uniform(0.4, 1.2) * canvas.height
    places = random.random((count, 2)) * [canvas.width, min(horizon, canvas.height)]
    power = random.pareto(2.0, count) + 0.3
    radii = size * np.clip(power, 0.4, 3) ** 0.7
    light = _discs(canvas, places, radii, np.clip(power, 0.2, 1))
    halo = cv2.GaussianBlur(light, (0, 0), 1.5 * size + 0.5)
    light = cv2.GaussianBlur(light, (0, 0), 0.4 + 0.2 * size) + halo * random.uniform(0, 1.5)
    bright = np.argsort(power)[-6:]
    if random.random() < 0.3:
        arms = [
            places[k] + turned(np.array([[-1.0, 0], [1, 0]]) * radii[k] * 5, a) for k in bright for a in (0.8, 2.37)
        ]
        light += cv2.GaussianBlur(strokes(canvas, arms, max(size * 0.4, 0.5)), (0, 0), 0.6) * 0.7
    rows = np.arange(canvas.height, dtype=np.float32)[:, None]
    above = 1 / (1 + np.exp(np.clip((rows - horizon) / (0.02 * canvas.height), -30, 30)))
    dark = _darkened(canvas, photo, 0.3, 0.8)
    night = tint(canvas, 0.02, 0.14, 0.02) * np.array([1, 1, 1 + random.random()], np.float32)
    cover = np.repeat(above * np.float32(random.uniform(0.6, 1)), canvas.width, axis=1).astype(np.float32)
    ground = settle(canvas, dark, cover, night.astype(np.float32), 0.5, 0.5)
    return lit(ground, np.minimum(light, 1) * cover, tint(canvas, 0.9, 1, 0.1))


def rain(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """Rain: hundreds of short parallel streaks, pale, evenly spread; or sparks that fan out from one place."""
    random = canvas.random
    length, width = canvas.between(10, 60) * canvas.unit, max(canvas.between(0.5, 1.6) * canvas.unit, 0.5)
    count = int(canvas.between(80, 350))
    starts = random.random((count, 2)) * [canvas.width, canvas.height]
    if random.random() < 0.7:
        angles = np.pi / 2 + random.normal() * 0.3 + random.normal(0, 0.02, count)
        reaches = length * random.uniform(0.6, 1.2, count)
        lines = [
            s + np.array([[0, 0], [np.cos(a) * r, np.sin(a) * r]])
            for s, a, r in zip(starts, angles, reaches, strict=True)
        ]
        alpha = cv2.GaussianBlur(strokes(canvas, lines, width), (0, 0), 0.3 + 0.3 * width)
        strength = np.float32(random.uniform(0.25, 0.7))
        return settle(canvas, photo, alpha * strength, tint(canvas, 0.75, 0.95, 0.03), 0.5)
    source, fan = canvas.point(), random.uniform(0.4, 3.1)
    angles = random.uniform(0, 6.3) + random.uniform(-fan, fan, count)
    apart = np.abs(random.normal(0, 1, count)) * canvas.short * random.uniform(0.1, 0.4)
    lines = []
    for angle, far in zip(angles, apart, strict=True):
        way = np.linspace(far, far * 1.1 + length * 0.4, 5)
        drop = (way / canvas.short) ** 2 * canvas.short * 0.2  # sparks fall
        lines.append(np.stack([np.cos(angle) * way, np.sin(angle) * way + drop], 1) + source)
    core = strokes(canvas, lines, width)
    glow = cv2.GaussianBlur(core, (0, 0), 1 + 2 * width)
    light = core + glow + 0.8 * np.exp(-((_far(canvas, source) / (canvas.short * 0.1)) ** 2))
    color = np.array([1, random.uniform(0.6, 0.9), random.uniform(0.2, 0.7)])
    return lit(_darkened(canvas, photo, 0.3, 0.8), np.minimum(light, 1), color)


def _far(canvas: Canvas, place: np.ndarray) -> np.ndarray:
    """Distance (H, W) of every pixel from a place (x, y)."""
    x = np.arange(canvas.width, dtype=np.float32) - np.float32(place[0])
    y = np.arange(canvas.height, dtype=np.float32)[:, None] - np.float32(place[1])
    return np.sqrt(x * x + y * y)


def meadow(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """Many small things of one kind: flowers in a meadow, confetti, pebbles, a crowd's hats; smaller when farther."""
    random = canvas.random
    size = min(canvas.between(1, 7) * canvas.unit, canvas.short / 24)
    horizon = random.uniform(-0.6, 0.6)
    count = int(canvas.between(60, 400))
    depth = random.random(count) ** random.uniform(0.6, 1.4)
    y = (horizon + (1 - horizon) * depth) * canvas.height
    places = np.stack([random.uniform(-0.05, 1.05, count) * canvas.width, y], 1)
    near = 0.35 + 0.9 * depth
    order = np.argsort(depth)
    radii = size * near * random.lognormal(0, 0.25, count)
    levels = random.uniform(0.6, 1, count)
    squeeze = float(random.uniform(0.45, 0.95))
    light = _discs(canvas, places[order], radii[order], levels[order], squeeze)
    alpha = np.minimum(light * 2.5, 1)
    kind = random.random()
    if kind < 0.6:  # one color, as flowers have
        color = tint(canvas, 0.75, 1, 0.25)
        ink = tinted(light, color)
        photo = shaded(photo, np.full(photo.shape[:2], random.uniform(0.6, 1), np.float32))
    elif kind < 0.8:  # pebbles: gray, with a shadow below each
        drop = float(size * random.uniform(0.2, 0.5))
        move = np.array([[1, 0, drop], [0, 1, drop]])
        shadow = cv2.warpAffine(alpha, move, (canvas.width, canvas.height))
        photo = shaded(photo, 1 - 0.5 * shadow)
        ink = tinted(light, tint(canvas, 0.5, 0.95, 0.06))
    else:  # confetti: every piece a color of its own
        hue = light * np.float32(40)
        ink = cv2.merge([alpha * (0.6 + 0.4 * np.sin(hue + shift)) for shift in (0.0, 2.1, 4.2)])
    return settle(canvas, photo, alpha, ink, 0.7, 0.4)


def bokeh(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """Lights out of focus: translucent discs or polygons of one size, brighter at the rim, of several colors."""
    random = canvas.random
    radius = min(canvas.between(4, 30) * canvas.unit, canvas.short / 4)
    count = int(min(canvas.between(6, 60), 6 + canvas.width * canvas.height / (8 * radius**2)))
    line = canvas.curve(canvas.point(), random.uniform(0, 6.3), canvas.short, 1.0, count)
    spread = random.uniform(0.1, 0.6) * canvas.short
    places = line + random.normal(0, 1, (count, 2)) * spread
    sides = int(random.choice([5, 6, 7, 40, 40]))
    warm = random.random()
    total = np.zeros_like(photo)
    groups = 3
    for group in range(groups):
        fine = np.zeros((canvas.height, canvas.width), np.uint8)
        shapes = [ring(p, (radius, radius), 0.3, sides + 1) for p in places[group::groups]]
        for shape in shapes:
            layer = np.rint(np.clip(shape, -9e4, 9e4) * 16).astype(np.int32)
            cv2.fillPoly(fine, [layer], 160, cv2.LINE_AA, 4)
            cv2.polylines(fine, [layer], True, 255, max(1, round(radius * 0.12)), cv2.LINE_AA, 4)
        light = cv2.GaussianBlur(fine.astype(np.float32) / 255, (0, 0), 0.4 + radius * 0.06)
        color = np.array([1, 0.75, 0.4]) if random.random() < warm else tint(canvas, 0.6, 0.9, 0.4)
        total += cv2.merge([light * np.float32(c * random.uniform(0.4, 1)) for c in color])
    dark = _darkened(canvas, photo, 0.4, 1)
    if random.random() < 0.5:
        dark = cv2.blur(dark, (2 * int(radius / 6) + 1,) * 2)
    return np.clip(1 - (1 - dark) * (1 - np.minimum(total, 1)), 0, 1)


def foliage(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """Leaves against the light: dark masses, and the bright sky in many small gaps between them."""
    random = canvas.random
    size = min(canvas.between(3, 12) * canvas.unit, canvas.short / 20)
    mass = rolling(canvas, 5) + rolling(canvas, 9) * 0.6 + random.uniform(-0.3, 0.6)
    small = canvas.clouds(size, 1)
    cover = np.clip((mass + 0.4 * small) * np.float32(random.uniform(1.5, 3)), 0, 1)  # where the crown is
    gaps = np.clip((small - random.uniform(1.0, 1.9) - 0.4 * mass) * np.float32(random.uniform(1, 3)), 0, 1)
    leaf = tint(canvas, 0.05, 0.25, 0.05) + np.array([0, 0.05 * random.random(), 0], np.float32)
    sky = tint(canvas, 0.85, 1, 0.05)
    shade = np.clip(1 + np.float32(0.45) * small + 0.3 * mass, 0.2, 2.2)
    gaps *= cover
    ink = tinted(shade * (cover - gaps), leaf) + tinted(gaps, sky)
    return settle(canvas, photo, cover, ink, 0.5, 0.2)


def _dark_or_light(canvas: Canvas, dark: float = 0.7) -> np.ndarray:
    return tint(canvas, 0.03, 0.25, 0.05) if canvas.random.random() < dark else tint(canvas, 0.7, 1, 0.06)


def wires(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """Bundles of wires, ropes or rigging that hang between masts, or fan out from one."""
    random = canvas.random
    width = max(canvas.between(0.7, 3) * canvas.unit, 0.7)
    # a lone mast may be all that is seen: pale and thin, it would be a scratch
    color = _dark_or_light(canvas, 0.8 if width > 2 else 1.0)
    lines, widths = list[np.ndarray](), list[float]()
    way = np.linspace(0, 1, 30)
    count = int(random.integers(3, 10))
    if random.random() < 0.6:  # wires from mast to mast
        left, right = random.uniform(0, 0.7, 2) * canvas.height
        spread, sag = (
            canvas.between(5, 40) * canvas.unit * np.array([1, random.uniform(0.5, 1.6)]),
            random.uniform(0, 0.2),
        )
        mast = random.uniform(0.1, 0.9) * canvas.width if width > 1 and random.random() < 0.6 else -1.0
        for k in range(count):
            y = left + (right - left) * way + k * (spread[0] + (spread[1] - spread[0]) * way)
            dip = np.abs(np.sin(np.pi * (way - mast / canvas.width))) if mast > 0 else np.sin(np.pi * way)
            lines.append(np.stack([(way * 1.2 - 0.1) * canvas.width, y + dip * sag * canvas.height], 1))
            widths.append(width)
        if mast > 0:
            foot = np.array([[mast, min(left, right) - 10], [mast + random.normal() * 4, canvas.height * 1.1]])
            lines.append(foot)
            widths.append(width * random.uniform(3, 8))
            for k in range(2):
                arm = spread.mean() * 1.2
                level = min(left, right) + k * arm
                lines.append(np.array([[mast - arm, level], [mast + arm, level]]))
                widths.append(width * 2)
    else:  # shrouds of a ship: from the top of a mast to a row of feet, with ratlines across
        top = np.array([random.uniform(0.1, 0.9) * canvas.width, random.uniform(-0.3, 0.3) * canvas.height])
        feet = top + np.array([random.normal() * 0.4 * canvas.width, canvas.height * random.uniform(0.7, 1.2)])
        step = canvas.between(6, 30) * canvas.unit
        ends = feet + np.stack([np.arange(count) * step, np.arange(count) * step * random.normal() * 0.15], 1)
        lines += [np.stack([top, end]) for end in ends]
        lines.append(np.stack([top - [0, canvas.height], top + np.array([random.normal() * 6, canvas.height * 2])]))
        widths += [width] * count + [width * random.uniform(2, 6)]
        if random.random() < 0.7:
            for share in np.arange(0.1, 1, max(step / canvas.height, 0.05)):
                lines.append(top + (ends[[0, -1]] - top) * share)
                widths.append(width * 0.6)
    return settle(canvas, photo, strokes(canvas, lines, widths), color, 0.7, 0.4)


def twigs(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """Bare branches that fork again and again, thinner each time; dark, or pale with hoarfrost."""
    random = canvas.random
    stem = max(canvas.between(2, 12) * canvas.unit, 1.2)
    lines, widths = list[np.ndarray](), list[float]()
    tips = []
    for _ in range(int(random.integers(1, 4))):
        side = random.integers(4)
        edge = np.array(
            [[-0.03, random.random()], [1.03, random.random()], [random.random(), -0.03], [random.random(), 1.03]]
        )
        heading = [0.0, np.pi, np.pi / 2, -np.pi / 2][side] + random.normal() * 0.4
        tips.append(
            (edge[side] * [canvas.width, canvas.height], heading, canvas.short * random.uniform(0.25, 0.6), stem)
        )
    while tips and len(lines) < 90:
        start, angle, length, width = tips.pop(0)
        line = canvas.curve(start, angle, length, random.uniform(0.2, 0.7), 10)
        lines += [line[:6], line[5:]]
        widths += [width, width * 0.75]
        if width > 0.5 and length > 4:
            for place in random.integers(2, 10, int(random.integers(2, 5))):
                side = random.choice([-1, 1]) * random.uniform(0.35, 1.1)
                tips.append(
                    (line[place], angle + side, length * random.uniform(0.4, 0.75), width * random.uniform(0.4, 0.65))
                )
    return settle(canvas, photo, strokes(canvas, lines, widths), _dark_or_light(canvas, 0.8), 0.7, 0.5)


def _girder(canvas: Canvas) -> tuple[list[np.ndarray], list[float]]:
    """A girder or a crane's arm, seen in perspective: lines (N, 2) and their widths."""
    random = canvas.random
    # not so large that only a line or two of it would be seen
    size = canvas.short * canvas.between(0.5, 1.2)
    bays, taper = int(random.integers(4, 12)), random.uniform(0, 0.45)
    width = float(np.clip(canvas.between(0.8, 6) * canvas.unit, size / bays * 0.04, size / bays * 0.2))
    seen = frame(canvas, size, 0.5, 0.5, 4)
    at = np.linspace(0, 1, bays + 1)
    left, right = np.stack([at, taper * (1 - at)], 1), np.stack([at, 1 - taper * (1 - at)], 1)
    lines, widths = _braced(canvas, left, right, width)
    return [through(seen, line) for line in lines], widths


def _tower(canvas: Canvas) -> tuple[list[np.ndarray], list[float]]:
    """A tower or a mast that stands: bays that get smaller upward, its far side seen through the near one."""
    random = canvas.random
    height, bays = canvas.short * canvas.between(0.5, 1.3), int(random.integers(4, 12))
    base = height * random.uniform(0.15, 0.45)
    at = np.concatenate([[0], np.cumsum(random.uniform(0.75, 1) ** np.arange(bays))])
    at /= at[-1]
    half = base / 2 * (1 - random.uniform(0.6, 0.98) * (1 - (1 - at) ** random.uniform(1, 2)))
    width = float(np.clip(canvas.between(0.8, 5) * canvas.unit, 0.02 * base, 0.12 * base))
    foot = np.array([random.random() * canvas.width, random.uniform(0.7, 1.15) * canvas.height])
    lines, widths = list[np.ndarray](), list[float]()
    for near, aside in ((1.0, 0.0), (random.uniform(0.6, 0.95), random.uniform(-0.4, 0.4))):
        left, right = (np.stack([(aside + sign * near) * half, -at * height], 1) + foot for sign in (-1, 1))
        drawn, wide = _braced(canvas, left, right, width * near)
        lines += drawn
        widths += wide
    return lines, widths


def _braced(canvas: Canvas, left: np.ndarray, right: np.ndarray, width: float) -> tuple[list[np.ndarray], list[float]]:
    """Two members (N, 2) of a width, with rungs and diagonals between them."""
    lines, crossed = [left, right], canvas.random.random() < 0.8
    for k in range(len(left) - 1):
        lines += [np.stack([left[k], right[k + 1]]), np.stack([left[k], right[k]])]
        if crossed:
            lines.append(np.stack([right[k], left[k + 1]]))
    return lines, [width] * 2 + [width * 0.6] * (len(lines) - 2)


def lattice(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """A tower, a crane or a girder bridge: straight members crossed by diagonals."""
    lines, widths = _tower(canvas) if canvas.random.random() < 0.6 else _girder(canvas)
    return settle(canvas, photo, strokes(canvas, lines, widths), _dark_or_light(canvas, 0.6), 0.7, 0.5)


def fence(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """A fence, a railing, a grille or blinds: equal bars at equal distances, with rails across, in perspective."""
    random = canvas.random
    pitch = max(canvas.between(5, 40) * canvas.unit, 3.0)
    size = canvas.short * canvas.between(0.5, 2)
    bars = int(np.clip(size / pitch, 4, 60))
    bar = size / bars * random.uniform(0.12, 0.5)
    seen = frame(canvas, size, 0.35, 0.1, 2.5)
    lines = [np.array([[k, 0.0], [k, 1.0]]) for k in np.linspace(0, 1, bars + 1)]
    rails = [random.uniform(0.03, 0.2), random.uniform(0.75, 0.97), random.uniform(0.4, 0.6)][: random.integers(1, 4)]
    if random.random() < 0.25:  # a grille
        rails = list(np.linspace(0, 1, bars + 1))
    lines += [np.array([[0.0, level], [1.0, level]]) for level in rails]
    if random.random() < 0.3:  # blinds: bars lie
        lines = [line[:, ::-1] for line in lines]
    widths = [bar] * (bars + 1) + [bar * random.uniform(0.5, 1.3)] * len(rails)
    alpha = strokes(canvas, [through(seen, line) for line in lines], widths)
    color = _dark_or_light(canvas, 0.45)
    if random.random() < 0.5:  # their shadow on what is behind
        move = np.array([[1, 0, bar * random.normal()], [0, 1, bar]])
        photo = shaded(photo, 1 - 0.4 * cv2.warpAffine(alpha, move, (canvas.width, canvas.height)))
    return settle(canvas, photo, alpha, color, 0.8, 0.5)


def net(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """A net, wire mesh, veil or lace: fine threads in a regular pattern, uneven, over a part of the photo."""
    random = canvas.random
    pitch = max(canvas.between(4, 22) * canvas.unit, 3.5)
    angle, thin = random.uniform(0, 3.2), random.uniform(0.7, 0.95)
    waves = [np.abs(plane_wave(canvas, 2 * pitch, angle + turn)) for turn in (0.0, random.choice([1.57, 1.2, 0.9]))]
    threads = np.maximum(1 - waves[0], 1 - waves[1])  # 1 at the zero crossings
    alpha = np.clip((threads - thin) / (1 - thin) * 2, 0, 1)
    if random.random() < 0.5:  # lace: rosettes in the meshes
        dots = plane_wave(canvas, pitch * 2, angle) + plane_wave(canvas, pitch * 2, angle + 1.57)
        alpha = np.maximum(alpha, np.clip((dots - random.uniform(0.6, 1.5)) * 3, 0, 1))
    wide = canvas.short * 0.01 * random.random()
    if wide > 0.4:
        x = np.arange(canvas.width, dtype=np.float32) + rolling(canvas, 5) * np.float32(wide)
        y = np.arange(canvas.height, dtype=np.float32)[:, None] + rolling(canvas, 5) * np.float32(wide)
        alpha = cv2.remap(alpha, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    where = canvas.polygons([through(frame(canvas, canvas.short * canvas.between(0.5, 1.6)), _SQUARE)])
    return settle(canvas, photo, alpha * where, _dark_or_light(canvas, 0.4), 0.5, 0.4)


_SQUARE = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])


def web(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """A spider's web: spokes and the spiral between them, pale and thin."""
    random = canvas.random
    hub, reach = canvas.point(), canvas.short * canvas.between(0.3, 1)
    spokes = np.sort(random.uniform(0, 0.25, 16) + np.linspace(0, 2 * np.pi, 16, endpoint=False))
    squash, width = random.uniform(0.6, 1), max(canvas.between(0.5, 1.2) * canvas.unit, 0.5)
    lines = [np.stack([hub, hub + np.array([np.cos(a), np.sin(a) * squash]) * reach]) for a in spokes]
    turns = int(np.clip(reach / (canvas.between(4, 12) * canvas.unit), 4, 25))
    for far in np.linspace(0.12, 0.9, turns):
        at = np.append(spokes, spokes[0])
        between = (at + np.append(spokes[1:], spokes[:2])) / 2
        between[-2] = (spokes[-1] + spokes[0]) / 2 + np.pi
        both = np.stack([at, between], 1).ravel()[:-1]
        radius = reach * far * np.tile([1.0, 0.93], len(at))[:-1]  # threads sag toward the hub
        lines.append(hub + np.stack([np.cos(both) * radius, np.sin(both) * radius * squash], 1))
    alpha = strokes(canvas, lines, width) * np.clip(0.65 + 0.3 * rolling(canvas, 6), 0.1, 1)
    return settle(canvas, photo, alpha, tint(canvas, 0.75, 1, 0.04), 0.5, 0.3)


def grass(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """Blades of grass, reeds or ears of corn that grow from below, dozens together, each tapering to its tip."""
    random = canvas.random
    width = max(canvas.between(0.8, 5) * canvas.unit, 0.8)
    count = int(canvas.between(25, 110))
    ground = canvas.height * random.uniform(0.8, 1.15)
    length = canvas.short * random.uniform(0.15, 0.6)
    lean = random.normal() * 0.25
    groups: list[list[np.ndarray]] = [[], [], []]
    for k in range(count):
        start = np.array([random.uniform(-0.1, 1.1) * canvas.width, ground + random.uniform(0, 0.1) * canvas.height])
        way = np.linspace(0, 1, 9)
        bend = lean + random.normal() * 0.3
        tall = length * random.uniform(0.5, 1.2)
        line = start + np.stack([bend * way**2 * tall, -way * tall], 1)
        half = (width * 0.5 * random.uniform(0.5, 1.2) * (1 - way**2 * 0.9))[:, None] * [1, 0]
        groups[k % 3].append(np.concatenate([line - half, (line + half)[::-1]]))
    base = tint(canvas, 0.15, 0.9, 0.12)
    for group in groups[: 2 if photo.size > 3e5 else 3]:
        color = np.clip(base * random.uniform(0.6, 1.2), 0, 1).astype(np.float32)
        photo = settle(canvas, photo, canvas.polygons(group), color)
    return photo


def hair(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """A lock of hair, a mane, whiskers or a brush: many fine strands that run along together and part slowly."""
    random = canvas.random
    width = max(canvas.between(0.5, 1.6) * canvas.unit, 0.5)
    count, length = int(canvas.between(18, 120)), canvas.short * random.uniform(0.3, 1)
    root, angle = canvas.point(), random.uniform(0, 6.3)
    spine = canvas.curve(root, angle, length, random.uniform(0.3, 1.2), 24)
    along = np.gradient(spine, axis=0)
    normal = np.stack([-along[:, 1], along[:, 0]], 1) / (np.linalg.norm(along, axis=1, keepdims=True) + 1e-6)
    spread, fan = min(canvas.between(8, 60) * canvas.unit, canvas.short * 0.3), random.uniform(0.5, 2.5)
    way = np.linspace(0, 1, 24)[:, None]
    lines = []
    for side in random.normal(0, 1, count):
        wander = (canvas.wave(24, 4) * spread * 0.1)[:, None] * way
        lines.append(spine + normal * (side * spread * (0.3 + fan * way) + wander))
    shares = np.array_split(np.arange(count), 2)
    base = tint(canvas, 0.05, 0.85, 0.12)
    for share, gain in zip(shares, (0.75, 1.2), strict=True):
        alpha = strokes(canvas, [lines[k] for k in share], width)
        photo = settle(canvas, photo, alpha, np.clip(base * gain, 0, 1).astype(np.float32), 0.5, 0.4)
    return photo
