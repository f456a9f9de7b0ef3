"""How well picture areas are found in made scans, and that none is invented in photos without a frame.

python benchmarks/areas.py [--scans 60] [--first 0] [--photos photos-val-000.tar] [--whole SHARD ...] [--sheets DIR]

The scans are made here: white, cream, black and deckled borders, instant photos, slide mounts, oval mounts, rounded
corners, prints on a lid, album pages, tilted prints, and frames in frames. An area is right if no point of its outline,
or of the true one, is farther from the other than 1 % of the picture's longer side; a scan is right if all of its areas
are, and there are no others. With `--photos`, pictures come from a tar shard instead of scikit-image, and the photos of
that shard and of those after `--whole` have to have no area.
"""

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from split import cropped, public_domain

from bringback.images.photo import Photo
from bringback.images.shards import read_shards
from bringback.ops.areas import Area
from bringback.ops.frames import find_areas

KINDS = ["white", "cream", "black", "deckle", "instant", "slide", "oval", "rounded", "lid", "album", "tilted", "nested"]
RIGHT = 0.01  # most distance between outlines, as a share of the longer side
SIDE = 640  # about the longer side of a picture in pixels
WHITE, CREAM, GRAY, BLACK = (0.95, 0.95, 0.94), (0.91, 0.86, 0.75), (0.6, 0.59, 0.57), (0.08, 0.08, 0.08)
GREEN, BROWN = (0.16, 0.22, 0.17), (0.34, 0.24, 0.17)


@dataclass
class Scan:
    """A made scan: `pixels` (H, W, 3) in [0, 1], and the outlines (n, 2) of its pictures."""

    kind: str
    pixels: np.ndarray
    outlines: list[np.ndarray] = field(default_factory=list)

    def framed(self, color: tuple[float, ...], top: float, right: float, bottom: float, left: float) -> "Scan":
        """With a frame of so many pixels."""
        top, right, bottom, left = (round(side) for side in (top, right, bottom, left))
        pixels = cv2.copyMakeBorder(self.pixels, top, bottom, left, right, cv2.BORDER_CONSTANT, value=color)
        return Scan(self.kind, pixels, [one + np.array([left, top]) for one in self.outlines])


def make(number: int, pictures: Sequence[np.ndarray]) -> Scan:
    """The scan of this number, the same each time; `pictures` (h, w, 3) in [0, 1]."""
    random = np.random.default_rng(5000 + number)
    kind = KINDS[number % len(KINDS)]
    return _scanned(_MADE[kind](kind, pictures, random), random)


def _picture(kind: str, pictures: Sequence[np.ndarray], random: np.random.Generator, side: int = SIDE) -> Scan:
    """A faded print without a border."""
    picture = pictures[random.integers(len(pictures))]
    picture = cropped(picture, random)
    scale = random.uniform(0.75, 1.25) * side / max(picture.shape[:2])
    size = [round(length * scale) for length in picture.shape[1::-1]]
    picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    picture = (random.uniform(0.03, 0.15) + random.uniform(0.6, 0.8) * picture.clip(0, 1)).astype(np.float32)
    if random.random() < 0.5:
        picture = picture.mean(2, keepdims=True) * np.float32((1, 0.94, 0.82))
    corners = np.array([(0, 0), (size[0], 0), size, (0, size[1])], float)
    return Scan(kind, np.ascontiguousarray(picture), [corners])


def _shaped(scan: Scan, color: tuple[float, ...], radii: tuple[float, float]) -> Scan:
    """The corners of a picture rounded, in a mount of this color; half its sides as radii make it oval."""
    height, width = scan.pixels.shape[:2]
    turn = np.linspace(0, np.pi / 2, 60)
    arc = np.stack([1 - np.cos(turn), 1 - np.sin(turn)], 1) * radii  # of the corner at the top left
    flips = [(1, 1), (-1, 1), (-1, -1), (1, -1)]
    ends = [(0, 0), (width, 0), (width, height), (0, height)]
    outline = np.concatenate(
        [
            np.array(end) + np.array(flip) * (arc if k % 2 == 0 else arc[::-1])
            for k, (flip, end) in enumerate(zip(flips, ends, strict=True))
        ]
    )
    mask = _drawn(outline, (height, width))[..., None]
    return Scan(scan.kind, (scan.pixels * mask + np.float32(color) * (1 - mask)).astype(np.float32), [outline])


def _drawn(outline: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(h, w) the share of each pixel within an outline."""
    mask = np.zeros((shape[0] * 4, shape[1] * 4), np.uint8)
    cv2.fillPoly(mask, [np.rint((outline * 4 - 0.5) * 16).astype(np.int32)], 255, shift=4)
    return cv2.resize(mask, shape[::-1], interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _written(scan: Scan, where: tuple[int, int], random: np.random.Generator) -> Scan:
    text = random.choice(["June 1974", "Anna, Wien 1911", "J. Novak", "Phot. Atelier"])
    layer = np.zeros(scan.pixels.shape[:2], np.uint8)
    cv2.putText(layer, text, where, cv2.FONT_HERSHEY_SCRIPT_SIMPLEX, random.uniform(0.8, 1.3), 255, 2, cv2.LINE_AA)
    scan.pixels *= 1 - 0.75 * (layer / 255.0).astype(np.float32)[..., None]
    return scan


def _laid(scan: Scan, color: tuple[float, ...], degrees: float, random: np.random.Generator) -> Scan:
    """A print on a ground of this color, turned, with its shadow."""
    height, width = scan.pixels.shape[:2]
    margins = random.uniform(0.06, 0.2, 4) * max(height, width) + 0.5 * max(height, width) * abs(
        np.sin(np.deg2rad(degrees))
    )
    framed = scan.framed(color, *margins)
    own = cv2.copyMakeBorder(
        np.ones((height, width), np.float32), *(round(margins[k]) for k in (0, 2, 3, 1)), cv2.BORDER_CONSTANT, value=0
    )
    size = framed.pixels.shape[1::-1]
    turn = cv2.getRotationMatrix2D((size[0] / 2 - 0.5, size[1] / 2 - 0.5), degrees, 1)
    print_, own = (cv2.warpAffine(one, turn, size, borderMode=cv2.BORDER_REPLICATE) for one in (framed.pixels, own))
    shadow = cv2.GaussianBlur(np.roll(own, random.integers(0, 4, 2), (0, 1)), (0, 0), random.uniform(1, 3))
    ground = np.float32(color) * (1 - random.uniform(0.1, 0.35) * shadow[..., None])
    pixels = (print_ * own[..., None] + ground * (1 - own[..., None])).astype(np.float32)
    return Scan(scan.kind, pixels, [np.c_[one - 0.5, np.ones(len(one))] @ turn.T + 0.5 for one in framed.outlines])


def _even(scan: Scan, color: tuple[float, ...], low: float, high: float, random: np.random.Generator) -> Scan:
    sides = random.uniform(low, high) * random.uniform(0.85, 1.15, 4) * max(scan.pixels.shape)
    return scan.framed(color, *sides)


def _plain(kind: str, pictures: Sequence[np.ndarray], random: np.random.Generator) -> Scan:
    color, low, high = {"white": (WHITE, 0.02, 0.08), "cream": (CREAM, 0.02, 0.08), "black": (BLACK, 0.008, 0.04)}[kind]
    return _even(_picture(kind, pictures, random), color, low, high, random)


def _deckle(kind: str, pictures: Sequence[np.ndarray], random: np.random.Generator) -> Scan:
    scan = _even(_picture(kind, pictures, random), WHITE, 0.04, 0.08, random)
    ground = [BLACK, GRAY, BROWN][random.integers(3)]
    step = random.integers(4, 9)
    for turn in range(4):
        side = np.rot90(scan.pixels, turn)
        for x in range(0, side.shape[1], step):
            side[: random.integers(0, 7), x : x + step] = ground
    return _laid(scan, ground, random.uniform(-2, 2), random)


def _instant(kind: str, pictures: Sequence[np.ndarray], random: np.random.Generator) -> Scan:
    scan = _picture(kind, pictures, random)
    edge = random.uniform(0.05, 0.07) * max(scan.pixels.shape)
    scan = scan.framed((0.93, 0.93, 0.9), 1.1 * edge, edge, random.uniform(3, 4) * edge, edge)
    height, width = scan.pixels.shape[:2]
    if random.random() < 0.6:
        scan = _written(scan, (width // 6, round(height - 1.2 * edge)), random)
    return (
        _laid(scan, [BLACK, GRAY][random.integers(2)], random.uniform(-3, 3), random) if random.random() < 0.6 else scan
    )


def _slide(kind: str, pictures: Sequence[np.ndarray], random: np.random.Generator) -> Scan:
    color = [WHITE, (0.82, 0.82, 0.8), BLACK][random.integers(3)]
    scan = _picture(kind, pictures, random)
    radius = random.uniform(0.01, 0.04) * max(scan.pixels.shape)
    scan = _shaped(scan, color, (radius, radius))
    return _even(scan, color, 0.12, 0.3, random)


def _oval(kind: str, pictures: Sequence[np.ndarray], random: np.random.Generator) -> Scan:
    color = [CREAM, WHITE, GRAY, BLACK, GREEN, BROWN][random.integers(6)]
    scan = _picture(kind, pictures, random)
    height, width = scan.pixels.shape[:2]
    if 0.85 < width / height < 1.15:  # an oval is no circle
        scan = Scan(kind, np.ascontiguousarray(scan.pixels[:, : round(0.78 * height)]), scan.outlines)
        height, width = scan.pixels.shape[:2]
    scan = _shaped(scan, color, (width / 2, height / 2))
    if random.random() < 0.4:  # a line around the opening
        ((outline,), gap) = scan.outlines, random.uniform(0.012, 0.03) * max(height, width)
        middle = outline.mean(0)
        scan = scan.framed(color, *[2.5 * gap] * 4)
        line = middle + (outline - middle) * (1 + gap / np.abs(outline - middle).max(0)) + 2.5 * gap
        shade = tuple(float(one) for one in np.clip(np.array(color) + (0.25 if sum(color) < 1.2 else -0.3), 0, 1))
        cv2.polylines(scan.pixels, [np.rint(line * 16 - 8).astype(np.int32)], True, shade, 2, cv2.LINE_AA, shift=4)
    edge = random.uniform(0.06, 0.16) * max(height, width)
    scan = scan.framed(color, edge, edge, edge * random.choice([1.0, 2.5]), edge)
    if random.random() < 0.4:
        scan = _written(scan, (round(0.3 * scan.pixels.shape[1]), scan.pixels.shape[0] - 14), random)
    ground = next(one for one in [WHITE, BLACK] if abs(one[0] - color[0]) > 0.3)
    return _laid(scan, ground, random.uniform(-3, 3), random) if random.random() < 0.5 else scan


def _rounded(kind: str, pictures: Sequence[np.ndarray], random: np.random.Generator) -> Scan:
    color = [WHITE, CREAM, BLACK, GRAY][random.integers(4)]
    scan = _picture(kind, pictures, random)
    radius = random.uniform(0.03, 0.12) * max(scan.pixels.shape)
    return _even(_shaped(scan, color, (radius, radius)), color, 0.03, 0.12, random)


def _lid(kind: str, pictures: Sequence[np.ndarray], random: np.random.Generator) -> Scan:
    scan = _picture(kind, pictures, random)
    sides = random.uniform(0.08, 0.4, 4) * max(scan.pixels.shape)
    sides[[(0, 1), (0, 3), (2, 1), (2, 3)][random.integers(4)],] = 0  # it lies in a corner
    return scan.framed([WHITE, BLACK, GRAY][random.integers(3)], *sides)


def _album(kind: str, pictures: Sequence[np.ndarray], random: np.random.Generator) -> Scan:
    color = [BLACK, CREAM, GRAY, BROWN][random.integers(4)]
    count, gap = int(random.integers(2, 5)), round(0.08 * SIDE)
    side = round(0.9 * SIDE)
    columns = 2
    rows = -(-count // columns)
    cell = round(1.3 * side) + gap
    page = Scan(kind, np.full((rows * cell + gap, columns * cell + gap, 3), color, np.float32))
    for k in range(count):
        one = _picture(kind, pictures, random, side)
        if random.random() < 0.4:
            one = _even(one, WHITE, 0.03, 0.06, random)
        height, width = one.pixels.shape[:2]
        room = cell - gap - np.array([width, height])
        at = np.array([k % columns, k // columns]) * cell + gap + (room * random.uniform(0, 1, 2)).astype(int)
        page.pixels[at[1] : at[1] + height, at[0] : at[0] + width] = one.pixels
        page.outlines += [outline + at for outline in one.outlines]
    return page


def _tilted(kind: str, pictures: Sequence[np.ndarray], random: np.random.Generator) -> Scan:
    scan = _even(_picture(kind, pictures, random), [WHITE, CREAM][random.integers(2)], 0.03, 0.07, random)
    return _laid(scan, [BLACK, GRAY, BROWN][random.integers(3)], random.uniform(2, 8) * random.choice([-1, 1]), random)


def _nested(kind: str, pictures: Sequence[np.ndarray], random: np.random.Generator) -> Scan:
    scan = _even(_picture(kind, pictures, random), WHITE, 0.03, 0.06, random)
    page = _even(scan, [BLACK, BROWN, GRAY][random.integers(3)], 0.06, 0.15, random)
    return _laid(page, [WHITE, CREAM][random.integers(2)], random.uniform(-3, 3), random)


_MADE = {"white": _plain, "cream": _plain, "black": _plain, "deckle": _deckle, "instant": _instant, "slide": _slide}
_MADE |= {"oval": _oval, "rounded": _rounded, "lid": _lid, "album": _album, "tilted": _tilted, "nested": _nested}


def _scanned(scan: Scan, random: np.random.Generator) -> Scan:
    """With the light, the grain, the dust and the compression of a scan."""
    height, width = scan.pixels.shape[:2]
    light = cv2.resize(random.normal(0, 1, (3, 3)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    grain = random.normal(0, 1, (height // 2, width // 2)).astype(np.float32)
    grain = cv2.resize(grain, (width, height), interpolation=cv2.INTER_LINEAR)
    pixels = scan.pixels * (1 + 0.012 * light.clip(-2, 2) + 0.008 * grain)[..., None]
    for _ in range(40):
        at = int(random.integers(width)), int(random.integers(height))
        cv2.circle(pixels, at, int(random.integers(1, 3)), (float(random.choice([0.2, 0.9])),) * 3, -1, cv2.LINE_AA)
    noisy = pixels + random.normal(0, random.uniform(0.003, 0.012), pixels.shape)
    levels = np.rint(noisy.clip(0, 1) * 255).astype(np.uint8)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(75, 95))]
    levels = cv2.imdecode(cv2.imencode(".jpg", levels, quality)[1], cv2.IMREAD_COLOR)
    return Scan(scan.kind, levels.astype(np.float32) / 255, scan.outlines)


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """How far a point of an outline (n, 2) is at most from the other one, as a share of the other's longer side."""
    dense = [_dense(outline) for outline in (one, other)]
    between = np.linalg.norm(dense[0][:, None] - dense[1][None], axis=2)
    return float(max(between.min(0).max(), between.min(1).max()) / np.ptp(other, 0).max())


def _dense(outline: np.ndarray) -> np.ndarray:
    closed = np.r_[outline, outline[:1]]
    length = np.r_[0, np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))]
    at = np.unique(np.r_[length, np.linspace(0, length[-1], 800)])
    return np.stack([np.interp(at, length, closed[:, axis]) for axis in (0, 1)], 1)


def search(pixels: np.ndarray) -> tuple[Area, ...]:
    """The picture areas of a photo (H, W, 3)."""
    return find_areas(torch.from_numpy(pixels).permute(2, 0, 1)[None])


def main() -> None:
    """Print a line for each scan that is not right, and the sums."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=int, default=60)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--photos", type=Path, help="tar shard with pictures")
    parser.add_argument("--whole", type=Path, nargs="*", default=[], help="more tar shards, of photos without a frame")
    parser.add_argument("--most", type=int, default=60, help="photos of each of those")
    parser.add_argument("--sheets", type=Path, help="folder for scans that are not right, with what was found drawn in")
    given = parser.parse_args()
    pictures = _photos(given.photos) if given.photos else public_domain()
    right, total, seconds = Counter[str](), Counter[str](), 0.0
    for number in range(given.first, given.first + given.scans):
        scan = make(number, pictures)
        begin = time.perf_counter()
        found = search(scan.pixels)
        seconds += time.perf_counter() - begin
        off = [min((apart(area.outline, one) for area in found), default=1.0) for one in scan.outlines]
        good = len(found) == len(off) and max(off) <= RIGHT
        right[scan.kind] += good
        total[scan.kind] += 1
        if not good:
            print(f"{number:3} {scan.kind:8} {len(found)} for {len(off)}: {' '.join(f'{one:.4f}' for one in off)}")
            if given.sheets:
                _draw(scan, found, given.sheets / f"{number:03}-{scan.kind}.png")
    print(", ".join(f"{kind} {right[kind]}/{count}" for kind, count in total.items()))
    print(
        f"{right.total()} of {total.total()} scans right to {RIGHT:.0%}, {seconds / max(total.total(), 1):.2f} s each"
    )
    for shard in [given.photos, *given.whole] if given.photos else given.whole:
        whole = _photos(shard, given.most)
        framed = [(number, found) for number, one in enumerate(whole) if (found := search(one))]
        print(f"{shard.name}: a frame seen in {len(framed)} of {len(whole)} photos")
        for number, found in framed:
            print(f"  {number}: {[area.as_dict() for area in found]}")
            if given.sheets:
                _draw(Scan("whole", whole[number]), found, given.sheets / f"{shard.stem}-{number}.png")


def _photos(shard: Path, most: int | None = None) -> list[np.ndarray]:
    found = []
    for name, data in read_shards(shard):
        if most is not None and len(found) >= most:
            break
        found.append(Photo.decode(data, name).pixels)
    return found


def _draw(scan: Scan, found: tuple[Area, ...], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = np.ascontiguousarray(scan.pixels[..., ::-1] * 255).astype(np.uint8)
    true = [(one, (0, 255, 0)) for one in scan.outlines]
    for outline, color in [*true, *((area.outline, (0, 0, 255)) for area in found)]:
        cv2.polylines(drawn, [np.rint(outline * 16 - 8).astype(np.int32)], True, color, 2, cv2.LINE_AA, shift=4)
    cv2.imwrite(str(path), drawn)


if __name__ == "__main__":
    main()
