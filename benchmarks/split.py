"""How well prints are found on album pages, flatbed scans and photos of a table, whose rectangles are known.

python benchmarks/split.py [--pages 30] [--photos photos-val-000.tar] [--sheets DIR]

The pages are made here: grounds (white, cream and black paper, patterns, a scanner's lid, a table), and one to six
prints on each, with white borders or without, tilted, with shadows that touch, and seen in perspective on the table. A
print is found if the intersection over union of its rectangle is at least 0.95, and cut if it loses more than 1 % of
its area. With `--photos`, pictures come from a tar shard instead of scikit-image, and photos without a page are counted
in which prints are seen nevertheless.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch

from bringback.images.photo import Photo
from bringback.images.shards import read_shards
from bringback.ops.prints import find_prints
from bringback.ops.rectify import aspect_of

KINDS = ("white", "cream", "black", "pattern", "lid", "table")
FOUND, CUT = 0.95, 0.01  # least intersection over union; most of a print's area that may be lost
SIDE = 1400  # pixels of the longer side of a page
_FINE = 2  # pages are drawn at so many times their size


@dataclass
class Page:
    """A made page: `pixels` (H, W, 3) in [0, 1], and the corners (4, 2) and the aspect of each print."""

    kind: str
    pixels: np.ndarray
    prints: list[np.ndarray] = field(default_factory=list)
    aspects: list[float] = field(default_factory=list)


def make(number: int, pictures: Sequence[np.ndarray], side: int = SIDE) -> Page:
    """The page of this number, the same each time; `pictures` (h, w, 3) in [0, 1]."""
    random = np.random.default_rng(1000 + number)
    kind = KINDS[number % len(KINDS)]
    count = 1 + number // len(KINDS) % 3 if kind == "table" else 1 + (number // len(KINDS) + number) % 6
    width, height = (side, round(side * 0.75)) if random.random() < 0.5 else (round(side * 0.72), side)
    canvas = _ground(kind, height * _FINE, width * _FINE, random)
    camera = _camera(height * _FINE, width * _FINE, random) if kind == "table" else np.eye(3)
    if kind == "table":
        canvas = cv2.warpPerspective(canvas, camera, canvas.shape[1::-1], borderMode=cv2.BORDER_REFLECT)
    page = Page(kind, canvas)
    for place in _places(count, height * _FINE, width * _FINE, kind, random):
        _lay(page, _print(pictures[random.integers(len(pictures))], kind, random), place, camera, random)
    light = _smooth(height * _FINE, width * _FINE, random)
    page.pixels *= 1 + (0.12 if kind == "table" else 0.02) * light[..., None]
    page.pixels = cv2.resize(page.pixels, (width, height), interpolation=cv2.INTER_AREA)
    page.prints = [corners / _FINE for corners in page.prints]
    page.pixels = _scanned(page.pixels, kind, random)
    return page


def _ground(kind: str, height: int, width: int, random: np.random.Generator) -> np.ndarray:
    colors = {
        "white": (0.93, 0.93, 0.92),
        "cream": (0.88, 0.83, 0.72),
        "black": (0.1, 0.1, 0.1),
        "lid": (0.9, 0.91, 0.92),
    }
    canvas = np.empty((height, width, 3), np.float32)
    if kind in colors:
        canvas[:] = np.float32(colors[kind]) * random.uniform(0.93, 1.03)
        grain = cv2.resize(random.normal(0, 1, (height // 4, width // 4)).astype(np.float32), (width, height))
        canvas *= 1 + (0.08 if kind == "black" else 0.006) * grain[..., None]
        return canvas
    down, across = np.mgrid[:height, :width].astype(np.float32) / (height / 100)
    if kind == "pattern":
        first, second = (random.uniform(0.3, 0.85, 3).astype(np.float32) for _ in range(2))
        second = first + 0.35 * (second - first)
        style, period = random.integers(3), random.uniform(2, 4)
        if style == 0:  # stripes
            weight = (np.sin(across * 2 * np.pi / period) > 0).astype(np.float32)
        elif style == 1:  # checks
            weight = ((across // period + down // period) % 2).astype(np.float32)
        else:  # dots
            weight = (np.hypot(across % period - period / 2, down % period - period / 2) < period / 4).astype(
                np.float32
            )
        return first + (second - first) * cv2.GaussianBlur(weight, (0, 0), 2)[..., None]
    dark, pale = np.float32((0.36, 0.23, 0.14)), np.float32((0.62, 0.44, 0.28))
    plank = np.floor(down / 22)
    shift = random.uniform(0, 50, int(plank.max()) + 1)[plank.astype(int)].astype(np.float32)
    waves = cv2.GaussianBlur(random.normal(0, 1, (height // 8, width // 8)).astype(np.float32), (0, 0), 12, sigmaY=2)
    waves = cv2.resize(waves / waves.std(), (width, height), interpolation=cv2.INTER_CUBIC)
    rings = 0.5 + 0.5 * np.sin(1.6 * down + 1.2 * waves + shift)
    fibers = cv2.GaussianBlur(random.normal(0, 1, (height, width)).astype(np.float32), (0, 0), 24, sigmaY=1)
    weight = np.clip(0.6 * rings + 0.2 + 0.1 * fibers / fibers.std(), 0, 1)
    canvas = dark + (pale - dark) * weight[..., None]
    canvas[(down % 22) < 0.35] *= 0.4  # gaps between the planks
    return canvas


def _camera(height: int, width: int, random: np.random.Generator) -> np.ndarray:
    """The homography of a tilted camera, which looks at the middle of the table."""
    focal = random.uniform(0.75, 1.1) * max(height, width)
    turns = np.deg2rad(random.uniform((-24, -16, -12), (24, 16, 12)))
    turn = cv2.Rodrigues(np.array([turns[0], 0, 0]))[0] @ cv2.Rodrigues(np.array([0, turns[1], 0]))[0]
    turn = turn @ cv2.Rodrigues(np.array([0, 0, turns[2]]))[0]
    lens = np.array([(focal, 0, width / 2), (0, focal, height / 2), (0, 0, 1)])
    table = np.array([(1, 0, -width / 2), (0, 1, -height / 2), (0, 0, 1)])
    plane = np.column_stack([turn[:, 0], turn[:, 1], np.array([0, 0, 1.05 * focal])])
    return lens @ plane @ table


def _places(
    count: int, height: int, width: int, kind: str, random: np.random.Generator
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The middle and the room of each print: cells of a grid."""
    rows = 1 if count <= 1 else 2 if count <= 4 else 3
    if height < width:
        rows = max(1, rows - 1) if count != 2 else 1
    columns = -(-count // rows)
    edges = {"table": 0.14, "lid": random.choice([0.0, 0.02])}  # on the glass, prints lie against its sides
    margin = edges.get(kind, 0.02) * np.array([width, height])
    cell = (np.array([width, height]) - 2 * margin) / (columns, rows)
    spots = [(row, column) for row in range(rows) for column in range(columns)][:count]
    return [(margin + cell * (column + 0.5, row + 0.5), cell * random.uniform(0.8, 0.98)) for row, column in spots]


def cropped(picture: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The middle of a picture in the shape of some print."""
    aspect = random.choice([1.0, 1.25, 1.4, 1.5, 0.75, 0.7])
    height, width = picture.shape[:2]
    if width / height > aspect:
        return picture[:, (cut := int(width - height * aspect) // 2) : width - cut]
    return picture[(cut := int(height - width / aspect) // 2) : height - cut]


def _print(picture: np.ndarray, kind: str, random: np.random.Generator) -> np.ndarray:
    """A faded print, with a white border or without."""
    picture = cropped(picture, random)
    scale = 900 / max(picture.shape[:2])
    picture = cv2.resize(
        picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    )
    picture = (random.uniform(0.03, 0.15) + random.uniform(0.6, 0.8) * picture).astype(np.float32)
    if random.random() < 0.3:
        picture = picture.mean(2, keepdims=True) * np.float32((1, 0.97, 0.9))
    bordered = random.random() < {"white": 0.0, "lid": 0.25}.get(kind, 0.5)
    if bordered:
        edge = round(random.uniform(0.03, 0.06) * 900)
        picture = cv2.copyMakeBorder(picture, edge, edge, edge, edge, cv2.BORDER_CONSTANT, value=(0.95, 0.94, 0.9))
    return picture


def _lay(
    page: Page, one: np.ndarray, place: tuple[np.ndarray, np.ndarray], camera: np.ndarray, random: np.random.Generator
) -> None:
    """Put a print on the page, tilted, with its shadow."""
    middle, room = place
    degrees = random.choice([0.0, random.uniform(-3, 3), random.uniform(-15, 15)])
    angle = np.deg2rad(degrees)
    high, wide = one.shape[:2]
    turn = np.array([(np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))])
    around = np.abs(turn) @ (wide, high)
    scale = float((room / around).min())
    matrix = np.eye(3)
    matrix[:2, :2] = scale * turn
    matrix[:2, 2] = middle - matrix[:2, :2] @ (wide / 2, high / 2)
    if degrees == 0:
        matrix[:2, 2] = np.round(matrix[:2, 2])
    matrix = camera @ matrix
    corners = np.array([(0, 0), (wide, 0), (wide, high), (0, high)], np.float32)
    at = cv2.perspectiveTransform(corners[None], matrix)[0]
    half = np.array([(1, 0, 0.5), (0, 1, 0.5), (0, 0, 1)])
    height, width = page.pixels.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    cv2.fillConvexPoly(mask, np.rint((at - 0.5) * 256).astype(np.int32), 255, lineType=cv2.LINE_AA, shift=8)
    alpha = mask.astype(np.float32)[..., None] / 255
    shadow = np.roll(mask, random.integers(1, 5, 2) * _FINE, (0, 1)).astype(np.float32) / 255
    shadow = cv2.GaussianBlur(shadow, (0, 0), random.uniform(2, 5) * _FINE)
    page.pixels *= 1 - random.uniform(0.1, 0.4) * shadow[..., None]
    size = (width, height)
    laid = cv2.warpPerspective(one, np.linalg.inv(half) @ matrix @ half, size, borderMode=cv2.BORDER_REPLICATE)
    page.pixels = page.pixels * (1 - alpha) + laid * alpha
    page.prints.append(at)
    page.aspects.append(wide / high)


def _smooth(height: int, width: int, random: np.random.Generator) -> np.ndarray:
    coarse = random.normal(0, 1, (3, 3)).astype(np.float32)
    return np.clip(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), -2, 2)


def _scanned(pixels: np.ndarray, kind: str, random: np.random.Generator) -> np.ndarray:
    """With dust, noise and the compression of a scan."""
    height, width = pixels.shape[:2]
    if kind in ("lid", "black"):
        for _ in range(60):
            x, y = int(random.integers(width)), int(random.integers(height))
            cv2.circle(pixels, (x, y), int(random.integers(1, 3)), (0.45,) * 3, -1, cv2.LINE_AA)
    noisy = pixels + random.normal(0, 0.01, pixels.shape)
    levels = np.rint(noisy.clip(0, 1) * 255).astype(np.uint8)
    levels = cv2.imdecode(cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, 88])[1], cv2.IMREAD_COLOR)
    return levels.astype(np.float32) / 255


def overlap(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Intersection over union of two convex quadrilaterals, and the share of the second that is not in the first."""
    both, _ = cv2.intersectConvexConvex(one.astype(np.float32), other.astype(np.float32))
    first, second = (abs(cv2.contourArea(corners.astype(np.float32))) for corners in (one, other))
    return both / (first + second - both), 1 - both / second


def public_domain() -> list[np.ndarray]:
    """Pictures that come with scikit-image."""
    from skimage import data

    found = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket(), data.camera()]
    return [np.broadcast_to(one.reshape(*one.shape[:2], -1), (*one.shape[:2], 3)) / np.float32(255) for one in found]


def search(pixels: np.ndarray) -> list[np.ndarray]:
    """The corners of each print in a page (H, W, 3)."""
    return [np.array(area.corners) for area in find_prints(torch.from_numpy(pixels).permute(2, 0, 1)[None])]


def main() -> None:
    """Print a line for each page, and the sums."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=30)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--photos", type=Path, help="tar shard with pictures")
    parser.add_argument("--sheets", type=Path, help="folder for the pages with what was found drawn in")
    given = parser.parse_args()
    pictures = public_domain()
    if given.photos:
        pictures = [Photo.decode(data, name).pixels for name, data in read_shards(given.photos)]
    total = found = cut = invented = 0
    for number in range(given.first, given.first + given.pages):
        page = make(number, pictures)
        begin = time.perf_counter()
        seen = search(page.pixels)
        seconds = time.perf_counter() - begin
        scores, off = [], []
        for corners, aspect in zip(page.prints, page.aspects, strict=True):
            best = max(seen, key=lambda one: overlap(one, corners)[0], default=np.zeros((4, 2)))
            scores.append(overlap(best, corners))
            off.append(abs(aspect_of(best, page.pixels.shape[:2]) / aspect - 1) if scores[-1][0] >= FOUND else 0)
        good = sum(score >= FOUND for score, _ in scores)
        bad = sum(lost > CUT for score, lost in scores if score > 0.5)
        more = sum(max((overlap(one, corners)[0] for corners in page.prints), default=0) < 0.5 for one in seen)
        total, found, cut, invented = total + len(scores), found + good, cut + bad, invented + more
        print(
            f"{number:3} {page.kind:8} {good}/{len(scores)} found, {bad} cut, {more} invented, "
            f"IoU {' '.join(f'{score:.3f}' for score, _ in scores)}, lost {max(lost for _, lost in scores):.4f}, "
            f"aspect off {max(off):.3f} ({seconds:.2f} s)",
            flush=True,
        )
        if given.sheets:
            _draw(page, seen, given.sheets / f"{number:02}-{page.kind}.jpg")
    print(f"{found} of {total} prints found, {cut} cut, {invented} invented")
    if given.photos:
        whole = [len(search(picture)) for picture in pictures]
        print(f"prints seen in {sum(count > 0 for count in whole)} of {len(whole)} photos without a page: {whole}")


def _draw(page: Page, seen: list[np.ndarray], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = np.ascontiguousarray(page.pixels[..., ::-1] * 255).astype(np.uint8)
    for corners, color in [*((one, (0, 255, 0)) for one in page.prints), *((one, (0, 0, 255)) for one in seen)]:
        cv2.polylines(drawn, [np.rint(corners * 16 - 8).astype(np.int32)], True, color, 1, cv2.LINE_AA, shift=4)
    cv2.imwrite(str(path), drawn)


if __name__ == "__main__":
    main()
