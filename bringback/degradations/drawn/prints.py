"""What belongs to a print, a slide or a film rather than to the picture: borders, mounts, screens, paper, grain."""

import cv2
import numpy as np

from bringback.degradations.drawn.canvas import Canvas
from bringback.degradations.drawn.lettering import lettered
from bringback.degradations.drawn.settling import gray, plane_wave, ring, rolling, settle, shaded, tint, tinted

_CORNERS = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])


def _paper(canvas: Canvas) -> np.ndarray:
    """The color of a border: white, cream or black."""
    kind = canvas.random.random()
    if kind < 0.3:
        return tint(canvas, 0.02, 0.12, 0.02)
    pale = canvas.random.uniform(0.82, 1)
    return np.array([pale, pale * (1.0 if kind < 0.6 else 0.96), pale * (1.0 if kind < 0.6 else 0.85)], np.float32)


def _inside(canvas: Canvas, widths: np.ndarray, radius: float, deckle: float) -> np.ndarray:
    """The picture area within borders of the given widths (left, top, right, bottom): alpha (H, W)."""
    left, top = widths[0], widths[1]
    right, bottom = canvas.width - widths[2], canvas.height - widths[3]
    places = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    turns = np.linspace(0, np.pi / 2, 8)
    outline = []
    for k, place in enumerate(places):
        inward = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])[k]
        angles = np.pi + k * np.pi / 2 + turns
        outline.append(place + inward * radius + np.stack([np.cos(angles), np.sin(angles)], 1) * radius)
    points = np.concatenate(outline)
    if deckle:  # the wavy cut of old snapshots
        closed = np.concatenate([points, points[:1]])
        steps = np.append(0, np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1)))
        at = np.linspace(0, steps[-1], 400)
        points = np.stack([np.interp(at, steps, closed[:, k]) for k in (0, 1)], 1)
        points = points + canvas.random.normal(0, 0.3, points.shape) * deckle
        points += (np.sin(at / deckle * 1.2) * deckle * 0.5)[:, None] * np.sign(points - points.mean(0)) * 0.7
    return canvas.polygons([points])


def _widths(canvas: Canvas, low: float, high: float) -> np.ndarray:
    """Widths of the borders at the sides that this piece of the photo has; the others lie outside."""
    random = canvas.random
    widths = np.full(4, min(canvas.between(low, high) * canvas.unit, canvas.short * 0.3)) * random.uniform(0.8, 1.25, 4)
    if random.random() < 0.5:
        gone = random.random(4) < 0.5
        gone[random.integers(4)] = False
        widths[gone] = -50 * canvas.unit
    return widths


def border(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """The white, cream or black border of a print, straight or deckled, with square or round corners, perhaps ruled."""
    random = canvas.random
    widths = _widths(canvas, 4, 60)
    radius = random.choice([0.0, 0.0, canvas.between(3, 40) * canvas.unit])
    inside = _inside(canvas, widths, min(radius, canvas.short * 0.2), 0)
    paper = _paper(canvas)
    ink = tinted(1 - inside, paper)
    if random.random() < 0.25:  # a thin line around the picture
        gap = float(widths.max()) * random.uniform(0.1, 0.3)
        thin = max(0.7 * canvas.unit, 0.7)
        line = _inside(canvas, widths - gap, radius, 0) - _inside(canvas, widths - gap + thin, radius, 0)
        line = np.clip(line, 0, 1) * (1 - inside)
        ink = ink * gray(1 - line) + tinted(line, tint(canvas, 0.1, 0.5, 0.1) if paper[0] > 0.5 else paper + 0.6)
    if random.random() < 0.4:  # the table or the scanner's lid that shows beyond the paper
        outer = _inside(canvas, widths * random.uniform(0.2, 0.5), radius * 0.5, canvas.between(1, 5) * canvas.unit)
        ground = tint(canvas, 0.9, 1, 0.02) if random.random() < 0.4 else tint(canvas, 0.02, 0.5, 0.08)
        ink = ink * gray(outer) + tinted(1 - outer, ground)
    return settle(canvas, photo, 1 - inside, ink, 0.8, 0.08)


def vignette(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """An oval or round picture in a pale or dark mount, or one that fades softly into the paper."""
    random = canvas.random
    center = np.array([canvas.width, canvas.height]) * random.uniform(0.35, 0.65, 2)
    radii = np.array([canvas.width, canvas.height]) * random.uniform(0.35, 0.62)
    oval = canvas.polygons([ring(center, (float(radii[0]), float(radii[1])), 0, 120)])
    if random.random() < 0.5:
        oval = cv2.blur(oval, (2 * int(canvas.short * random.uniform(0.02, 0.12)) + 1,) * 2)
        oval = cv2.blur(oval, (2 * int(canvas.short * 0.04) + 1,) * 2)
        return settle(canvas, photo, 1 - oval, _paper(canvas), 0.3, 0.05)
    made = settle(canvas, photo, 1 - oval, _paper(canvas), 0.8, 0.1)
    if random.random() < 0.4:  # a gold rim
        rim = max(canvas.between(1, 5) * canvas.unit, 1)
        wide = canvas.polygons([ring(center, (float(radii[0] + rim), float(radii[1] + rim)), 0, 120)])
        made = settle(canvas, made, np.clip(wide - oval, 0, 1), np.array([0.75, 0.62, 0.35], np.float32), 0.6)
    return made


def album(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """The page of an album beside the print: dark or gray card with photo corners, the print's edge and its shadow."""
    widths = _widths(canvas, 10, 70)
    inside = _inside(canvas, widths, 0.0, 0)
    card = tint(canvas, 0.05, 0.6, 0.05)
    drop = float(canvas.between(1, 5) * canvas.unit)
    move = np.array([[1, 0, drop], [0, 1, drop]])
    cast = cv2.GaussianBlur(cv2.warpAffine(inside, move, (canvas.width, canvas.height)), (0, 0), drop * 0.5 + 0.3)
    page = (1 - inside) * (1 + np.float32(0.02) * rolling(canvas, 24)) * (1 - np.float32(0.5) * cast)
    rim = np.array([widths[0], widths[1], canvas.width - widths[2], canvas.height - widths[3]])
    reach = min(canvas.between(12, 45) * canvas.unit, float((rim[2:] - rim[:2]).min()) * 0.3)
    corners = np.array([[rim[0], rim[1]], [rim[2], rim[1]], [rim[2], rim[3]], [rim[0], rim[3]]])
    ways = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
    shapes = []
    for corner, way in zip(corners, ways, strict=True):
        over = corner - way * reach * 0.12
        shapes.append(over + way * reach * np.array([[0, 0], [1, 0], [0, 1]]))
    mounts = canvas.polygons(shapes)
    ink = tinted(page * (1 - mounts), card) + tinted(mounts, _paper(canvas) * np.float32(0.9))
    return settle(canvas, photo, np.maximum(1 - inside, mounts), np.minimum(ink, 1), 0.7, 0.2)


def film(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """The rebate of a film with its sprocket holes, numbers and name, or a slide's mount with round corners."""
    random = canvas.random
    width = min(canvas.between(14, 60) * canvas.unit, canvas.short * 0.25)
    base = tint(canvas, 0.02, 0.15, 0.04) if random.random() < 0.7 else np.array([0.6, 0.35, 0.18], np.float32)
    upright = random.random() < 0.3
    length, depth = (canvas.height, canvas.width) if upright else (canvas.width, canvas.height)
    if random.random() < 0.3:  # a slide's mount
        inside = _inside(canvas, np.full(4, width) * random.uniform(0.7, 1.3, 4), width * random.uniform(0.1, 0.5), 0)
        return settle(canvas, photo, 1 - inside, base if random.random() < 0.5 else _paper(canvas), 0.8, 0.1)
    sides = [0.0, depth - width] if random.random() < 0.6 else [random.choice([0.0, depth - width])]
    bands = [_CORNERS * [length, width] + [0, side] for side in sides]
    pitch, hole = width * random.uniform(0.75, 1.0), width * np.array([0.42, random.uniform(0.4, 0.6)])
    holes, start = [], random.uniform(-1, 0) * pitch
    bump = np.array([[0.15, 0], [0.85, 0], [1, 0.15], [1, 0.85], [0.85, 1], [0.15, 1], [0, 0.85], [0, 0.15]])
    for side in sides:
        for k in range(int(min(length / pitch + 2, 80))):
            holes.append(bump * hole + [start + k * pitch, side + width * 0.22])
    if upright:
        bands, holes = [b[:, ::-1] for b in bands], [h[:, ::-1] for h in holes]
    alpha, gaps = canvas.polygons(bands), canvas.polygons(holes)
    light = tint(canvas, 0.88, 1, 0.03) if random.random() < 0.8 else tint(canvas, 0.0, 0.1, 0.02)
    ink = cv2.merge([alpha * np.float32(a) + gaps * np.float32(b - a) for a, b in zip(base, light, strict=True)])
    if random.random() < 0.6:
        patch = lettered(canvas, max(width * 0.18, 5))
        patch = np.rot90(patch) if upright else patch
        h, w = min(patch.shape[0], canvas.height), min(patch.shape[1], canvas.width)
        along = int(random.integers(0, max(1, (canvas.height - h) if upright else (canvas.width - w))))
        across = int(max(0, min(sides[-1] + width * 0.78, (canvas.width - w) if upright else (canvas.height - h))))
        y, x = (along, across) if upright else (across, along)
        spot = (slice(y, y + h), slice(x, x + w))
        seen = (patch[:h, :w] * alpha[spot])[..., None]
        ink[spot] += seen * (np.array([0.95, 0.75, 0.4], np.float32) - ink[spot])
    return settle(canvas, photo, alpha, ink, 0.7, 0.05)


def halftone(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """Halftone dots of a printed picture, gray or one screen an ink, hard or blurred; sometimes with moire."""
    random = canvas.random
    pitch = float(np.clip(canvas.between(2, 9) * canvas.unit, 2, 16))
    angle, hard = random.uniform(0, 1.6), np.float32(random.uniform(0.6, 4))
    apart = 0.52 if random.random() < 0.5 else 0.0
    strength = np.float32(random.uniform(0.4, 1))
    planes, dots = [], None
    for k, plane in enumerate(cv2.split(photo)):
        if dots is None or apart:
            turn = angle + apart * k
            dots = (plane_wave(canvas, pitch, turn) + plane_wave(canvas, pitch, turn + np.pi / 2)) * np.float32(0.25)
        room = np.minimum(np.minimum(plane, 1 - plane) * 3, 1)
        ink = np.clip((plane - 0.5 - dots) * hard + 0.5, 0, 1)
        planes.append(plane + (ink - plane) * (room * strength))
    made = cv2.merge(planes)
    if random.random() < 0.25:  # moire of the screen and the scanner's grid
        beat = plane_wave(canvas, pitch * random.uniform(3, 12), random.uniform(0, 3.2))
        made = shaded(made, 1 + beat * np.float32(random.uniform(0.02, 0.1)))
    sigma = random.uniform(0, 0.25) * pitch
    return cv2.GaussianBlur(made, (0, 0), sigma) if sigma > 0.3 else made


def texture(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """Paper with a surface: the honeycomb of silk, the threads of linen or canvas, or rough relief, lit from a side."""
    random = canvas.random
    pitch, angle, kind = max(canvas.between(2.5, 9) * canvas.unit, 2.2), random.uniform(0, 1.6), random.random()
    if kind < 0.35:
        lamp = random.uniform(0, 6.3)
        turns = (0.0, np.pi / 3, 2 * np.pi / 3)
        shade = np.zeros(photo.shape[:2], np.float32)
        for t in turns:
            shade += plane_wave(canvas, pitch, angle + t, np.pi / 2) * np.float32(np.cos(lamp + t))
    elif kind < 0.7:
        shade = plane_wave(canvas, pitch, angle) + plane_wave(
            canvas, pitch * random.uniform(0.9, 1.1), angle + np.pi / 2
        )
        shade = shade * np.clip(1 + 0.5 * canvas.clouds(pitch * 3), 0, 2)
    else:
        bumps = canvas.clouds(pitch, 2)
        shade = (bumps - np.roll(bumps, (1, 1), (0, 1))) * np.float32(min(pitch, 8) * 0.5)
    return shaded(photo, 1 + shade * np.float32(random.uniform(0.03, 0.16)))


def grain(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """Strong grain: of film, gray and of some pixels, or of a sensor, colored and fine."""
    random = canvas.random
    size = float(np.clip(canvas.between(0.7, 2.5) * canvas.unit, 0.7, 8))
    level = random.uniform(0.03, 0.14)
    rows, columns = int(canvas.height / max(size, 1)) + 2, int(canvas.width / max(size, 1)) + 2
    colored = random.random() < 0.3
    planes = []
    for _ in range(3 if colored else 1):
        coarse = random.standard_normal((rows, columns), dtype=np.float32) * np.float32(level)
        planes.append(cv2.resize(coarse, (canvas.width, canvas.height), interpolation=cv2.INTER_CUBIC))
    field = cv2.merge(planes if colored else planes * 3)
    return np.clip(photo + field * (0.4 + 2.4 * photo * (1 - photo)), 0, 1)


def blocks(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """The blocks and ringing of a JPEG of low quality, at once or enlarged after."""
    random = canvas.random
    smaller = min(canvas.between(1, 2.5) * max(canvas.unit, 0.5), 5.0) if random.random() < 0.5 else 1.0
    size = (max(8, round(canvas.width / max(smaller, 1))), max(8, round(canvas.height / max(smaller, 1))))
    small = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    quality = int(canvas.between(10, 45))
    _, data = cv2.imencode(".jpg", np.rint(small * 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])
    coarse = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
    large = cv2.resize(coarse, (canvas.width, canvas.height), interpolation=cv2.INTER_LINEAR)
    return large.astype(np.float32) / 255
