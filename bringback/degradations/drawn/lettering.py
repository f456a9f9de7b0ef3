"""Writing on and in a photo: handwriting, printed captions, dates of cameras, stamps."""

from functools import lru_cache

import cv2
import numpy as np
from PIL import ImageFont

from bringback.degradations.drawn.canvas import Canvas
from bringback.degradations.drawn.settling import (
    extent,
    lit,
    ring,
    settle,
    shaded,
    strokes,
    turned,
)

_FONTS = (
    *("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSerif.ttf", "DejaVuSerif-Italic.ttf", "DejaVuSansMono.ttf"),
    *("LiberationSerif-Regular.ttf", "LiberationSans-Bold.ttf", "arial.ttf", "times.ttf", "cour.ttf", "georgiai.ttf"),
    *("Arial.ttf", "Times New Roman.ttf", "Courier New.ttf", "Georgia.ttf", "Brush Script.ttf"),
)
_HERSHEY = tuple(range(8))
# colors, and how often each is used: white on the negative and black are the inks of most captions
_INKS = (
    (np.array([0.96, 0.95, 0.92]), 4.0),  # white
    (np.array([0.08, 0.08, 0.09]), 2.0),  # black
    (np.array([0.12, 0.18, 0.5]), 1.0),  # blue
    (np.array([0.7, 0.1, 0.12]), 1.0),  # red
    (np.array([0.82, 0.66, 0.28]), 0.7),  # gold
    (np.array([0.38, 0.2, 0.5]), 0.7),  # violet
    (np.array([0.32, 0.2, 0.12]), 0.7),  # brown
)
_SYLLABLES = (
    *("ma", "ri", "an", "to", "ber", "lin", "sta", "tion", "el", "sen", "hof", "kir", "che", "see", "wald"),
    *("no", "vo", "st", "ro", "par", "is", "lon", "do", "Mc", "ew", "ing", "er", "ly", "'s"),
)
# cursive letters: knots (x, y) of one stroke; 0 is the base line, 1 the height of small letters, y upward
_LETTERS = tuple(
    np.array(knots, np.float32).reshape(-1, 2)
    for knots in (
        [0.1, 0.3, 0.5, 0.6, 0.35, 1, 0.1, 0.6, 0.3, 0.05, 0.7, 0.1],
        [0.2, 0.6, 0.6, 1.7, 0.4, 2.1, 0.2, 1.4, 0.2, 0.3, 0.5, 0, 0.8, 0.2],
        [0.1, 0.6, 0.2, 1, 0.2, 0.2, 0.4, 0, 0.7, 0.6, 0.75, 1, 0.75, 0.2, 1, 0],
        [0.1, 0.8, 0.15, 0, 0.2, 0.6, 0.5, 1, 0.65, 0.7, 0.65, 0.1, 0.9, 0.1],
        [0.1, 0.9, 0.15, 0, 0.2, 0.7, 0.4, 1, 0.5, 0.1, 0.55, 0.7, 0.8, 1, 0.9, 0.1, 1.1, 0.1],
        [0.6, 0.9, 0.3, 1, 0.05, 0.5, 0.3, 0, 0.6, 0.4, 0.65, 0.95, 0.65, 0.2, 0.9, 0.1],
        [0.6, 0.9, 0.2, 0.9, 0.1, 0.3, 0.4, 0.1, 0.65, 0.9, 0.6, -0.5, 0.4, -1, 0.15, -0.7, 0.6, -0.1, 0.9, 0.2],
        [0.2, 1, 0.3, 2, 0.3, 0.3, 0.5, 0, 0.8, 0.2],
        [0.3, 0.9, 0.4, 1.05, 0.45, 0.4, 0.2, 0, 0.6, 0.1],
        [0.6, 0.9, 0.2, 1, 0.1, 0.3, 0.4, 0, 0.7, 0.5, 0.9, 2, 0.75, 0.3, 1, 0],
    )
)
_CAPITALS = tuple(
    np.array(knots, np.float32).reshape(-1, 2)
    for knots in (
        [0, 1.6, 0.3, 2.1, 0.5, 1, 0.3, 0, -0.1, 0.2, 0.5, 1.2, 1.1, 2, 1.1, 0.5, 1.3, 0],
        [0.2, 0.1, 0.5, 2, 0.2, 1.8, 0.7, 2.2, 1.1, 1.8, 0.6, 1.1, 1.2, 0.7, 0.8, 0, 0.3, 0.1, 1.4, 0.1],
        [1.1, 1.8, 0.8, 2.1, 0.2, 1.4, 0.2, 0.4, 0.7, 0, 1.2, 0.4],
        [0.1, 1.7, 0.4, 2, 0.4, 0, 0.5, 1.2, 1, 1.2, 1.1, 2.1, 1.1, 0, 1.4, 0.1],
    )
)


@lru_cache
def _fonts() -> tuple[str, ...]:
    found = []
    for name in _FONTS:
        try:
            ImageFont.truetype(name, 20)
        except OSError:
            continue
        found.append(name)
    return tuple(found)


def _words(canvas: Canvas) -> str:
    """A name, a caption, a number or a year."""
    random = canvas.random
    kind = random.random()
    if kind < 0.25:
        number = str(random.integers(1, 10 ** int(random.integers(1, 7))))
        return str(random.choice(["No. ", "", "", "N", "#", "A-", "19"])) + number
    words = ["".join(random.choice(_SYLLABLES, random.integers(1, 4))) for _ in range(random.integers(1, 5))]
    words[0] = words[0].capitalize()
    if kind < 0.5:
        words.append(f"{random.integers(1, 31)}.{random.integers(1, 13)}.{random.integers(1890, 1999)}")
    text = " ".join(words)
    return text.upper() if random.random() < 0.3 else text


def _type(canvas: Canvas, text: str, size: float) -> np.ndarray:
    """A line of printed letters `size` pixels high: alpha (h, w)."""
    random, fonts = canvas.random, _fonts()
    face = int(random.integers(0, len(fonts) + 4))  # the last three: OpenCV's own
    if face <= len(fonts):
        pixels = round(size)
        font = ImageFont.truetype(fonts[face], pixels) if face < len(fonts) else ImageFont.load_default(pixels)
        mask = font.getmask(text, "L")
        return np.asarray(mask, np.uint8).reshape(mask.size[::-1]).astype(np.float32) / 255
    style, scale, thick = int(random.choice(_HERSHEY)), size / 22, max(1, round(size / random.uniform(8, 20)))
    (width, height), base = cv2.getTextSize(text, style, scale, thick)
    patch = np.zeros((height + base + 2 * thick, width + 2 * thick), np.uint8)
    cv2.putText(patch, text, (thick, height + thick // 2), style, scale, 255, thick, cv2.LINE_AA)
    return patch.astype(np.float32) / 255


def _place(canvas: Canvas, size: np.ndarray, centered: float = 0.2) -> tuple[np.ndarray, float]:
    """Top left corner and angle of a caption of a size (width, height): mostly along the bottom or in a corner."""
    random = canvas.random
    room = np.array([canvas.width, canvas.height]) - size
    rim = canvas.between(2, 20) * canvas.unit
    x = random.choice([rim, room[0] / 2, room[0] - rim, random.uniform(min(0, room[0]), max(room[0], 1))])
    y = random.choice([room[1] - rim, room[1] - rim, rim])
    if random.random() < centered:
        y = random.uniform(0, max(room[1], 1))
    angle = random.normal() * 0.03 if random.random() < 0.8 else random.normal() * 0.3
    return np.array([x, max(y, rim - size[1] * 0.3)]), float(angle)


def _laid(canvas: Canvas, patch: np.ndarray, corner: np.ndarray, angle: float, upright: bool) -> np.ndarray:
    """A patch (h, w) on the canvas: alpha (H, W)."""
    if upright:
        patch = np.ascontiguousarray(np.rot90(patch))
    cos, sin = np.cos(angle), np.sin(angle)
    half = np.array(patch.shape[::-1]) / 2
    turn = np.array([[cos, -sin], [sin, cos]])
    move = np.column_stack([turn, corner + half - turn @ half])
    return cv2.warpAffine(patch, move, (canvas.width, canvas.height))


def _ink(canvas: Canvas, photo: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Letters in an ink that can be told from what is below them."""
    random = canvas.random
    rows, columns = extent(alpha)
    letters = alpha[rows, columns]
    below = float((photo[rows, columns, 1] * letters).sum() / (letters.sum() + 1e-6))
    if below > 0.5 and random.random() < 0.2:  # pencil: gray, and paler where the paper has pits
        tooth = random.standard_normal(letters.shape, dtype=np.float32)
        alpha = np.zeros_like(alpha)
        alpha[rows, columns] = letters * np.clip(0.7 + 0.25 * tooth, 0, 1)
        return settle(canvas, photo, alpha, np.full(3, random.uniform(0.15, 0.35), np.float32), 0.5)
    often = np.array([weight * (abs(ink[1] - below) > 0.25) for ink, weight in _INKS])
    color = _INKS[random.choice(len(_INKS), p=often / often.sum())][0] * random.uniform(0.85, 1.04)
    flow = np.maximum(1 - np.float32(0.25 * random.random()) * np.abs(_flow(canvas)), 0)
    return settle(canvas, photo, alpha * flow, color.astype(np.float32), 0.7, 0.1, blend=True)


def _flow(canvas: Canvas) -> np.ndarray:
    """How unevenly ink flows: noise (H, W) with cells of about a letter."""
    side = max(4, round(canvas.short / (12 * max(canvas.unit, 0.7))))
    coarse = canvas.random.standard_normal((side, side), dtype=np.float32)
    return cv2.resize(coarse, (canvas.width, canvas.height), interpolation=cv2.INTER_LINEAR)


def _cursive(canvas: Canvas, letters: int) -> list[np.ndarray]:
    """Strokes (N, 2) of a word of joined letters; heights as in `_LETTERS`, y downward."""
    random = canvas.random
    knots, x, extra = [], 0.0, []
    pace, wild = random.uniform(0.75, 1.3), random.uniform(0.03, 0.12)
    for place in range(letters):
        capital = place == 0 and random.random() < 0.6
        kinds = _CAPITALS if capital else _LETTERS
        letter = kinds[random.integers(len(kinds))] + random.normal(0, wild, 2).astype(np.float32)
        letter = (letter + random.normal(0, wild, letter.shape) + [x, 0]).astype(np.float32)
        if not capital and random.random() < 0.12:  # the dot of an i or the bar of a t
            bar = random.choice([0.05, 0.7])
            extra.append(np.array([[x + 0.2, 1.5], [x + 0.25 + bar, 1.5 + 0.2 * bar]]))
        knots.append(letter)
        x = float(letter[-1, 0]) + random.uniform(0, 0.15)
    points = np.concatenate(knots)
    line = cv2.resize(points[None].astype(np.float32), (len(points) * 6, 1), interpolation=cv2.INTER_CUBIC)[0]
    if random.random() < 0.25:  # a flourish below, as under a signature
        extra.append(np.array([[x, -0.3], [x * 0.4, -0.6], [0, -0.5]]) + random.normal(0, 0.1, (3, 2)))
    return [stroke * [pace, -1] for stroke in [line, *extra]]


def writing(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """Handwriting: a caption or a signature of one to four lines in ink or pencil."""
    random = canvas.random
    height = min(max(canvas.between(4, 28) * canvas.unit, 3.5), canvas.short * 0.25)  # of small letters
    slant, gap = random.normal(0.25, 0.25), random.uniform(2.8, 4)
    lines, widths, pen = list[np.ndarray](), list[float](), max(height * canvas.between(0.07, 0.22), 0.5)
    rows = int(random.choice([1, 1, 1, 2, 2, 3, 4]))
    for row in range(rows):
        x = random.uniform(0, 2)
        for _ in range(random.integers(1, 4)):
            word = _cursive(canvas, int(random.integers(2, 9)))
            for stroke in word:
                stroke = np.stack([stroke[:, 0] - slant * stroke[:, 1] + x, stroke[:, 1] + row * gap], 1)
                falls = np.gradient(stroke[:, 1]) > 0
                # the pen spreads in strokes downward
                for first in range(0, len(stroke) - 1, 8):
                    lines.append(stroke[first : first + 9])
                    widths.append(pen * (1.25 if falls[first : first + 8].sum() > 4 else 0.85))
            x = max(float(piece[:, 0].max()) for piece in lines[-6:]) + random.uniform(0.4, 1.2)
    every = np.concatenate(lines) * height
    low, size = every.min(0), np.ptp(every, axis=0)
    upright = random.random() < 0.06
    corner, angle = _place(canvas, size[::-1] if upright else size, centered=0.3)
    angle += np.pi / 2 if upright else 0
    half = size / 2
    moved = turned(every - low - half, angle) + corner + (half[::-1] if upright else half)
    pieces = np.split(moved, np.cumsum([len(line) for line in lines])[:-1])
    return _ink(canvas, photo, strokes(canvas, pieces, widths))


def printed(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """Printed letters: a caption, a number of a negative, lettering on a plate or a strip."""
    random = canvas.random
    size = min(max(canvas.between(8, 80) * canvas.unit, 7.0), canvas.short * 0.6)
    rows = int(random.choice([1, 1, 1, 2, 3])) if size < canvas.short / 8 else 1
    patches = [_type(canvas, _words(canvas)[: 3 + int(canvas.width * 2 / size)], size) for _ in range(rows)]
    width = max(patch.shape[1] for patch in patches)
    centered = random.random() < 0.5
    padded = []
    for patch in patches:
        spare = width - patch.shape[1]
        left = spare // 2 if centered else 0
        padded.append(np.pad(patch, ((0, round(size * 0.35)), (left, spare - left))))
    patch = np.concatenate(padded)
    upright = random.random() < 0.06
    corner, angle = _place(canvas, np.array(patch.shape if upright else patch.shape[::-1]))
    alpha = _laid(canvas, patch, corner, angle, upright)
    if random.random() < 0.25:  # on a plate
        rim = round(size * 0.4)
        plate = np.ones((patch.shape[0] + 2 * rim, patch.shape[1] + 2 * rim), np.float32)
        ground = _laid(canvas, plate, corner - rim, angle, upright)
        bright = random.random() < 0.5
        photo = settle(canvas, photo, ground, np.full(3, random.uniform(0.8, 1) if bright else 0.1, np.float32), 0.7)
    return _ink(canvas, photo, alpha)


# the seven segments of a digit on a 1 x 2 field, and which of them each digit lights
_SEGMENTS = np.array(
    [[0, 0, 1, 0], [1, 0, 1, 1], [1, 1, 1, 2], [0, 2, 1, 2], [0, 1, 0, 2], [0, 0, 0, 1], [0, 1, 1, 1]], float
).reshape(7, 2, 2)
_DIGITS = ("012345", "12", "01346", "01236", "1256", "02356", "023456", "012", "0123456", "012356")


def date(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """The date that a camera of the seventies to nineties burnt into a corner, in orange segments that glow."""
    random = canvas.random
    height = min(canvas.between(9, 36) * canvas.unit, canvas.short * 0.25)
    parts = [random.integers(70, 100), random.integers(1, 13), random.integers(1, 32)]
    text = "'" + "  ".join(str(part).rjust(random.choice([1, 2])) for part in parts)
    lines, x, slant = list[np.ndarray](), 0.0, random.uniform(0, 0.2)
    for sign in text:
        if sign == "'":
            lines.append(np.array([[x + 0.6, 0], [x + 0.5, 0.4]]))
        elif sign != " ":
            inset = 0.5 + (_SEGMENTS[[int(k) for k in _DIGITS[int(sign)]]] - 0.5) * 0.95
            lines.extend(inset + np.array([x, 0]))
        x += 0.8 if sign == " " else 1.5
    room = np.array([canvas.width, canvas.height]) - [x * height / 2, height]
    corner = room - canvas.between(4, 30) * canvas.unit if random.random() < 0.8 else canvas.point() * 0.5
    placed = [np.stack([line[:, 0] - slant * line[:, 1], line[:, 1]], 1) * height / 2 + corner for line in lines]
    alpha = strokes(canvas, placed, max(height * random.uniform(0.06, 0.12), 0.6))
    color = np.array([1.0, random.uniform(0.3, 0.7), random.uniform(0.05, 0.25)])
    glow = cv2.GaussianBlur(alpha, (0, 0), height * 0.1 + 0.5)
    hot = cv2.GaussianBlur(alpha, (0, 0), 0.3 + 0.4 * canvas.unit)
    return lit(photo, glow * random.uniform(0.2, 0.8) + hot * random.uniform(0.8, 1.2), color)


def stamp(canvas: Canvas, photo: np.ndarray) -> np.ndarray:
    """A stamp of a studio or an office: rings or frames with letters, in ink, or pressed into the paper."""
    random = canvas.random
    radius = min(canvas.between(25, 110) * canvas.unit, canvas.short * 0.6)
    flat = random.choice([1.0, 1.0, 0.6, 0.45])
    center, angle = canvas.point(-0.1), float(random.normal() * 0.3)
    lines = list[np.ndarray]()
    thin = max(radius * random.uniform(0.015, 0.05), 0.6)
    boxed = random.random() < 0.3
    for reach in (1.0, random.uniform(0.88, 0.94), random.uniform(0.55, 0.65))[: random.integers(1, 4)]:
        if boxed:
            box = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]]) * radius * np.array([reach, flat * reach])
            lines.append(turned(box, angle) + center)
        else:
            lines.append(ring(center, (radius * reach, radius * reach * flat), angle))
    alpha = strokes(canvas, lines, thin)
    text = _words(canvas)[:14]
    patch = _type(canvas, text, max(radius * 0.3 * max(flat, 0.6), 5))
    fit = min(1.0, 1.0 * radius / patch.shape[1])
    patch = cv2.resize(patch, None, fx=fit, fy=fit, interpolation=cv2.INTER_AREA) if fit < 1 else patch
    corner = center - np.array(patch.shape[::-1]) / 2
    alpha = np.maximum(alpha, _laid(canvas, patch, corner, angle, False))
    if not boxed and radius > 24:  # letters around
        count = int(random.integers(10, 24))
        letter = radius * 0.2
        around = _words(canvas).upper() + " * " + _words(canvas).upper()
        for place, sign in enumerate(around[:count]):
            turn = angle - np.pi / 2 + 2 * np.pi * place / count
            small = np.zeros((round(letter * 1.4), round(letter * 1.2)), np.uint8)
            cv2.putText(
                small, sign, (1, round(letter * 1.1)), 0, letter / 26, 255, max(1, round(letter / 9)), cv2.LINE_AA
            )
            spot = turned(np.array([[np.cos(turn - angle), np.sin(turn - angle) * flat]]) * radius * 0.76, angle)[0]
            corner = center + spot - np.array(small.shape[::-1]) / 2
            _stick(alpha, small.astype(np.float32) / 255, corner, turn + np.pi / 2)
    if random.random() < 0.45:  # blind: only the slopes of the relief are seen
        soft = cv2.GaussianBlur(alpha, (0, 0), max(thin * 0.4, 0.6))
        slope = cv2.Sobel(soft, cv2.CV_32F, 1, 0) * np.cos(angle + 0.8) + cv2.Sobel(soft, cv2.CV_32F, 0, 1) * np.sin(
            0.8
        )
        return (
            shaded(photo, 1 + slope * random.uniform(0.1, 0.3))
            if random.random() < 0.7
            else lit(photo, np.clip(slope * random.uniform(0.1, 0.2), 0, 1), np.ones(3))
        )
    worn = np.clip(0.8 + 0.3 * _flow(canvas), 0.25, 1)
    return _ink(canvas, photo, alpha * worn)


def _stick(alpha: np.ndarray, patch: np.ndarray, corner: np.ndarray, angle: float) -> None:
    """Unite a small patch, turned about its middle, with alpha, in place."""
    h, w = patch.shape
    side = int(np.hypot(h, w)) + 2
    left, top = (int(v) for v in np.floor(corner + np.array([w, h]) / 2 - side / 2))
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + side, alpha.shape[1]), min(top + side, alpha.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    move = cv2.getRotationMatrix2D((w / 2, h / 2), -np.degrees(angle), 1.0)
    move[:, 2] += [(side - w) / 2, (side - h) / 2]
    seen = cv2.warpAffine(patch, move, (side, side))[y0 - top : y1 - top, x0 - left : x1 - left]
    np.maximum(alpha[y0:y1, x0:x1], seen, out=alpha[y0:y1, x0:x1])


def lettered(canvas: Canvas, size: float) -> np.ndarray:
    """A word or two in print, `size` pixels high: alpha (h, w)."""
    return _type(canvas, _words(canvas)[:16], size)
