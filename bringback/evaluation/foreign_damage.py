"""Damages a clean photo like old prints, negatives and glass plates, for independent evaluation.

It shares no code, marks or settings with the training degradations, so overfitting to those gains nothing here. Lengths
are relative to the short side of the photo, so marks scale with it. Marks are drawn at twice the resolution, eroded by
fine noise and composited with their exact alpha.
"""

from collections.abc import Callable

import cv2
import numpy as np

# Scales number and size of the marks: 40 clean 512x512 photos get a PSNR of 19.2 dB with seeds 0 to 39, 20.0 dB with
# those of the protocol.
SEVERITY = 2.3
_FINE = 2  # canvas pixels per photo pixel, along each axis
_WHITE = ((247, 246, 243), (240, 234, 220), (230, 217, 190), (214, 196, 160), (222, 228, 236))
_DARK = ((16, 15, 15), (40, 31, 25), (62, 47, 36), (28, 32, 42))
_BROWN = ((118, 82, 45), (141, 101, 58), (96, 66, 40), (156, 120, 74))
_AMBER = ((201, 160, 84), (186, 138, 62), (214, 182, 118), (170, 122, 58))
_LAYERS = ((228, 86, 60), (236, 206, 70), (80, 190, 196), (96, 176, 92), (216, 110, 170))  # dye layers of a color print
_MOLD = ((198, 200, 184), (70, 72, 56), (96, 84, 92), (222, 214, 200))


class _Page:
    """A photo being damaged: pixels (H*W, 3), uncovered share of each (H*W,), drawing tools and kinds of damage."""

    def __init__(self, photo: np.ndarray, rng: np.random.Generator) -> None:
        self.rng = rng
        self.shape = photo.shape[:2]
        self.short = float(min(self.shape))
        self.size = np.array(self.shape[::-1]) / self.short  # width and height relative to the short side
        self.pixels = photo.reshape(-1, 3).astype(np.float32)
        self.kept = np.ones(len(self.pixels), np.float32)
        self.grit = np.clip(self.spread(self.clouds(150, 2)).ravel() / 4 + 0.5, 0, 1)

    def clouds(self, cells: float, octaves: int) -> np.ndarray:
        """Fractal noise of mean 0 and deviation 1; its first octave has `cells` cells along the short side."""
        field = np.zeros((1, 1), np.float32)
        for octave in range(octaves):
            grid = np.ceil(self.size * cells * 2**octave).astype(int) + 1
            field = 1.7 * cv2.resize(field, grid.tolist(), interpolation=cv2.INTER_CUBIC)
            field += self.rng.random(grid[::-1], dtype=np.float32)
        return (field - field.mean()) / field.std()

    def wave(self, count: int, knots: int) -> np.ndarray:
        """Smooth noise (count,) of deviation about 1, interpolated from `knots` random values."""
        return cv2.resize(self.rng.normal(size=(1, knots)), (count, 1), interpolation=cv2.INTER_CUBIC)[0]

    def spread(self, field: np.ndarray) -> np.ndarray:
        """Resize a field on any grid to the photo's size (H, W)."""
        return cv2.resize(field, self.shape[::-1], interpolation=cv2.INTER_CUBIC)

    def look(self, field: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Sample a field on any grid at `points` (..., 2); returns (...)."""
        last = np.array(field.shape[::-1]) - 1
        spots = np.rint(points / self.size * last).clip(0, last).astype(int)
        return field[spots[..., 1], spots[..., 0]]

    def anywhere(self) -> np.ndarray:
        return self.rng.random(2) * self.size

    def scatter(self, count: int) -> np.ndarray:
        """Positions (count, 2) of marks; about half of them are clustered, as dirt and fungus are."""
        spread = np.where(self.rng.random((count, 1)) < 0.5, 0.15, 0.8)
        return (self.anywhere() + spread * self.rng.normal(size=(count, 2))) % self.size

    def pick(self, *colors: tuple[int, int, int]) -> np.ndarray:
        """One of the colors (3,), slightly varied."""
        return np.array(colors[self.rng.integers(len(colors))]) + self.rng.normal(0, 5) + self.rng.normal(0, 1.5, 3)

    def canvas(self) -> np.ndarray:
        return np.zeros((_FINE * self.shape[0], _FINE * self.shape[1]), np.uint8)

    def fixed(self, points: np.ndarray) -> np.ndarray:
        """Points in OpenCV's canvas coordinates, with 4 fractional bits."""
        return np.rint(16 * _FINE * self.short * points).astype(np.int32)

    def fill(self, canvas: np.ndarray, outline: np.ndarray, value: int = 255) -> None:
        cv2.fillPoly(canvas, [self.fixed(outline)], value, cv2.LINE_8, 4)

    def trace(self, canvas: np.ndarray, paths: np.ndarray, value: int, width: float) -> None:
        """Draw polylines along `paths` (k, n, 2); lines thinner than a pixel are drawn one pixel wide, but fainter."""
        thick = max(round(width * _FINE * self.short), _FINE)
        cv2.polylines(canvas, list(self.fixed(paths)), False, value * min(width * self.short, 1), thick, cv2.LINE_8, 4)

    def ribbon(self, canvas: np.ndarray, path: np.ndarray, width: np.ndarray | float, opacity: np.ndarray) -> None:
        """Draw a line along `path` (n, 2) with varying width (n,) and opacity (n,) in [0, 1]."""
        along = np.gradient(path, axis=0)
        across = along[:, ::-1] * (-1, 1) / np.maximum(np.hypot(*along.T), 1e-9)[:, None]
        pixel = 1 / (_FINE * self.short)  # OpenCV also fills the outline, which adds one canvas pixel
        half = np.maximum(np.broadcast_to(width, len(path)) - pixel, pixel)[:, None] / 2 * across
        quads = self.fixed(np.stack([(path - half)[:-1], (path - half)[1:], (path + half)[1:], (path + half)[:-1]], 1))
        values = np.clip(255 * opacity[1:], 0, 255).astype(int)
        for quad, value in zip(quads[values > 12], values[values > 12].tolist(), strict=True):
            cv2.fillConvexPoly(canvas, quad, value, cv2.LINE_8, 4)

    def specks(self, canvas: np.ndarray, places: np.ndarray, radii: np.ndarray, faint: float = 0.0) -> np.ndarray:
        """Draw irregular specks; `faint` is the maximal reduction of their opacity."""
        turns, each = np.linspace(0, 2 * np.pi, 13)[:-1], (len(places), 1)
        reach = np.maximum(radii, 0.5 / self.short)[:, None] * np.exp(self.rng.normal(0, 0.25, (len(places), 12)))
        corners = reach * (np.cos(turns) + 1j * np.sin(turns) * self.rng.uniform(0.35, 1, each))
        corners = corners * np.exp(1j * self.rng.uniform(0, np.pi, each))
        for place, corner in zip(places, np.stack([corners.real, corners.imag], 2), strict=True):
            self.fill(canvas, place + corner, int(255 * (1 - faint * self.rng.random())))
        return canvas

    def line(self, middle: np.ndarray, angle: float, length: float, bend: float, shake: float) -> np.ndarray:
        """A long path (161, 2) through `middle`, bent by `bend` of its length and with jitter `shake`."""
        t, ahead = np.linspace(-0.5, 0.5, 161), np.array((np.cos(angle), np.sin(angle)))
        aside = bend * length * (4 * t**2 - 0.5) + shake * (self.wave(161, 9) + 0.3 * self.wave(161, 60))
        return middle + np.outer(length * t, ahead) + np.outer(aside, ahead[::-1] * (-1, 1))

    def curl(self, start: np.ndarray, length: float, wild: float, count: int = 48) -> np.ndarray:
        """The path (count, 2) of a hair whose heading drifts by about `wild` radians."""
        heading = self.rng.uniform(0, 2 * np.pi) + wild * (self.wave(count, 5) + np.linspace(0, 1, count))
        return start + np.cumsum(np.stack([np.cos(heading), np.sin(heading)], 1), axis=0) * length / count

    def cells(self, middle: np.ndarray, across: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cracked emulsion around `middle`: Voronoi cells about `across` wide.

        Returns sides (n, 9, 2), the cell index of each side (n,) and the depth of each cell.
        """
        angle, span, plan = self.rng.uniform(0, np.pi), 24 * across, cv2.Subdiv2D((0, 0, 1001, 1001))
        turn = span * np.array(((np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))))
        turn[0] *= self.rng.choice((1.0, 1.0, 1.5, 2.0))  # a rolled print breaks into long cells
        sites = self.rng.random((576, 2))  # cells of varied density
        sites += 0.035 * np.stack([self.look(self.clouds(9, 2), sites * self.size) for _ in range(2)], 1)
        plan.insert((1000 * sites.clip(0, 1)).tolist())
        facets, centers = plan.getVoronoiFacetList([])
        at = np.array(centers) / 1000
        depth = 1 - 2.3 * np.hypot(*(at.T - 0.5)) + 0.3 * self.look(self.clouds(4, 3), at * self.size)
        cells, depth = [np.array(facets[index]) for index in np.flatnonzero(depth > 0).tolist()], depth[depth > 0]
        owner = np.repeat(np.arange(len(depth)), [len(cell) for cell in cells])
        begin = np.concatenate(cells)[:, None]
        end = np.concatenate([part for cell in cells for part in (cell[1:], cell[:1])])[:, None]
        sides = begin / 1000 + (end - begin) * np.linspace(0, 0.001, 9)[:, None] - 0.5
        sides = (middle + sides @ turn).clip(-1, 6)
        push = [self.look(self.clouds(0.7 / across, 4), sides) for _ in range(2)]  # keeps shared sides together
        return sides + 0.06 * across * np.stack(push, 2), owner, depth

    def cover(self, mark: np.ndarray, color: np.ndarray, alpha: float = 1, rough: float = 0.4, soft: float = 0) -> None:
        """Blend a color where a canvas or plane (H, W) in [0, 1] is set, with `rough` edges, blurred by `soft`."""
        gain = np.float32(1 + rough)
        if mark.dtype == np.uint8:
            mark, gain = cv2.resize(mark, self.shape[::-1], interpolation=cv2.INTER_AREA), gain / 255
        mark = cv2.GaussianBlur(mark, (0, 0), max(self.short * max(soft, 8e-4), 0.5)).ravel()  # lens blur
        at = np.flatnonzero(mark > 0)
        share = np.float32(alpha) * np.clip(mark[at] * gain - np.float32(rough) * self.grit[at], 0, 1)
        seen = share > 0.012
        at, share = at[seen], share[seen, None]
        shade = color.astype(np.float32) * (0.96 + 0.08 * self.grit[at, None])
        self.pixels[at] += share * (np.clip(shade, 0, 255) - self.pixels[at])
        self.kept[at] *= 1 - share[:, 0]

    def scratches(self, rng: np.random.Generator, amount: float) -> None:
        main = rng.choice((0.0, np.pi / 2)) + rng.normal(0, 0.3)  # film and sleeves rub in one direction
        ends = np.minimum(1, 12 * (0.5 - np.abs(np.linspace(-0.5, 0.5, 161))))
        for colors in (_WHITE, _WHITE + _DARK):
            canvas = self.canvas()
            for _ in range(rng.poisson(0.6 + 3 * amount)):
                angle = main + rng.normal(0, 0.08) if rng.random() < 0.6 else rng.uniform(0, np.pi)
                middle, length = self.anywhere(), min(rng.lognormal(-0.9, 0.8), 2.0)
                bend, strong = rng.normal(0, 0.03), rng.uniform(0.3, 1.1)
                for _ in range(int(rng.integers(3, 9)) if rng.random() < 0.3 else 1):
                    path = self.line(middle + rng.normal(0, 0.02, 2), angle, length * rng.uniform(0.6, 1), bend, 0.0015)
                    width = rng.lognormal(-6.0, 0.5) * np.exp(0.35 * self.wave(161, 30)) * (0.4 + 0.6 * ends)
                    broken = strong + 0.3 * self.wave(161, 14) + 0.2 * self.wave(161, 70)
                    self.ribbon(canvas, path, width, broken * ends)
            if rng.random() < 0.3:
                self.cover(canvas, self.pick(*_LAYERS), rng.uniform(0.5, 1), 0.2, 0.0015)
            self.cover(canvas, self.pick(*colors), rough=rng.uniform(0.3, 1))

    def dirt(self, rng: np.random.Generator, amount: float) -> None:
        hairs = self.canvas()
        for colors in (_WHITE, _WHITE + _DARK + _BROWN):
            count = rng.poisson(20 + 80 * amount)
            radii, places = rng.lognormal(-6.3, 0.75, count).clip(0, 0.014), self.scatter(count)
            self.cover(self.specks(self.canvas(), places, radii, 0.6), self.pick(*colors), rough=rng.uniform(0.3, 0.8))
        for place in self.scatter(rng.poisson(rng.choice((0, 6)) * amount)):
            length, wild = (rng.uniform(0.02, 0.07), 2.5) if rng.random() < 0.5 else (rng.uniform(0.08, 0.4), 0.9)
            width = rng.uniform(0.0015, 0.0038) * np.exp(0.2 * self.wave(48, 8)) * np.linspace(1, 0.6, 48)
            self.ribbon(hairs, self.curl(place, length, wild), width, rng.uniform(0.7, 1) + 0.2 * self.wave(48, 8))
        self.cover(hairs, self.pick(*_WHITE, *_DARK), soft=rng.choice((0, 0, 0.0015)))

    def fingerprint(self, rng: np.random.Generator, _: float) -> None:
        side = max(int(rng.uniform(0.18, 0.3) * self.short), 4)
        v, u = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
        warp, slip = (cv2.resize(rng.normal(size=(n, n)), (side, side), interpolation=cv2.INTER_CUBIC) for n in (5, 12))
        # A slightly slanted loop: ridges run around the core and down both sides of it.
        leaning = u + rng.uniform(-0.5, 0.5) * v * np.abs(v) + 0.05 * warp
        ring = np.hypot(leaning, np.where(v > 0, v * 0.8, v * rng.uniform(0.1, 0.5)))
        ridges = np.clip(0.5 + 0.9 * np.cos(2 * np.pi * rng.uniform(13, 17) * ring + 0.6 * slip), 0, 1)
        pressed = np.clip(2.6 - 3.4 * np.hypot(u / 0.72, v) + 0.5 * warp, 0, 1) * np.clip(0.7 + 0.35 * slip, 0.1, 1)
        move: np.ndarray = cv2.getRotationMatrix2D((side / 2, side / 2), rng.uniform(0, 360), 1)
        move[:, 2] += self.anywhere() * self.short - side / 2
        mark = cv2.warpAffine((ridges * pressed).astype(np.float32), move, self.shape[::-1])
        self.cover(mark, self.pick(*_WHITE, *_DARK, *_BROWN), rng.uniform(0.3, 0.7))

    def stain(self, rng: np.random.Generator, amount: float) -> None:
        middle, axis = self.anywhere(), int(rng.integers(2))
        if rng.random() < 0.7:  # most water enters from the border
            middle[axis] = rng.choice((0.0, self.size[axis]))
        grid = (200 * self.size).astype(int).tolist()
        lumps = cv2.resize(self.clouds(2, 4), grid, interpolation=cv2.INTER_CUBIC)
        x, y = np.arange(grid[0]) / 200 - middle[0], np.arange(grid[1])[:, None] / 200 - middle[1]
        reach = rng.uniform(0.12, 0.28) * (0.8 + 0.1 * amount) * (1 + 0.3 * lumps)
        wet = (np.hypot(x, y * rng.uniform(0.6, 1.6)) < reach).astype(np.uint8)
        depth = cv2.distanceTransform(wet, cv2.DIST_L2, 5) - cv2.distanceTransform(1 - wet, cv2.DIST_L2, 5)
        depth = self.spread(cv2.GaussianBlur(depth, (0, 0), 1.2) / 200)
        edge = np.clip(depth / max(0.003, 1 / self.short) + 0.5, 0, 1) * np.clip(0.65 + 0.3 * self.spread(lumps), 0, 1)
        tide = np.exp(-np.maximum(depth, 0) / rng.uniform(0.004, 0.012))
        tide += rng.choice((0, 0.3, 0.6)) * np.exp(-np.abs(depth - rng.uniform(0.01, 0.1)) / 0.004)  # dried twice
        self.cover(edge, self.pick(*_AMBER, *_WHITE), rng.uniform(0.12, 0.45), 0.2)
        self.cover(edge * np.minimum(tide, 1), self.pick(*_BROWN), rng.uniform(0.4, 0.8), 0.3)

    def foxing(self, rng: np.random.Generator, amount: float) -> None:
        color, count = self.pick(*_BROWN), rng.poisson(12 + 30 * amount)
        places, radii = self.scatter(count), rng.lognormal(-4.7, 0.6, count).clip(0, 0.035)
        for factor, alpha, soft, shade in ((1, 0.65, 0.006, 1.1), (0.45, 0.7, 0.003, 0.75)):
            self.cover(self.specks(self.canvas(), places, radii * factor, 0.8), color * shade, alpha, 0.4, soft)

    def mold(self, rng: np.random.Generator, amount: float) -> None:
        color, body, threads = self.pick(*_MOLD), self.canvas(), self.canvas()
        for place in self.scatter(2 + rng.poisson(2.5 * amount)):
            reach = rng.uniform(0.02, 0.06)
            self.specks(body, place + rng.normal(0, 0.4 * reach, (14, 2)), rng.uniform(0.1, 0.45, 14) * reach, 0.9)
            tips = place + rng.normal(0, 0.3 * reach, (16, 2))
            for step in range(3):  # each thread forks into shorter, thinner ones
                grown = np.stack([self.curl(tip, reach * 0.75**step, 0.5, 10) for tip in tips])
                self.trace(threads, grown, int(rng.uniform(150, 250) * 0.85**step), 0.002 * 0.7**step)
                tips = grown[rng.integers(0, len(grown), 24), rng.integers(2, 10, 24)]
        self.cover(body, color, rng.uniform(0.3, 0.6), 0.8, 0.004)
        self.cover(threads, color, rng.uniform(0.5, 0.9), 0.8)

    def rubbed(self, rng: np.random.Generator, amount: float) -> None:
        canvas, color, count = self.canvas(), self.pick(*_WHITE), rng.poisson(250 + 400 * amount)
        places = self.anywhere() + rng.normal(size=(count, 2)) * rng.uniform(0.06, 0.2, 2)
        turns = rng.uniform(0, np.pi) + rng.normal(0, np.where(rng.random(count) < 0.15, 1, rng.uniform(0.05, 0.3)))
        steps = np.stack([np.cos(turns), np.sin(turns)], 1) * rng.lognormal(-4.0, 0.8, (count, 1))
        for part in range(8):
            self.trace(canvas, np.stack([places, places + steps], 1)[part::8], 45 + 30 * part, 0.001)
        self.cover(canvas, color, 0.6, 0, 0.008)
        self.cover(canvas, color, 0.9, 0.4)

    def tape(self, rng: np.random.Generator, _: float) -> None:
        v, teeth = np.linspace(-0.5, 0.5, 17), np.where(np.arange(17) % 2, 0.006, 0)  # cut with a serrated blade
        length, width, slant = rng.uniform(0.12, 0.45), rng.uniform(0.05, 0.09), rng.normal(0, 0.01)
        ends = np.append(length / 2 + teeth + slant * v, -length / 2 - teeth + rng.normal(0, 0.001, 17))
        angle = rng.choice((0.0, np.pi / 2)) + rng.normal(0, 0.12)
        turn = np.array(((np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))))
        outline = np.stack([ends, width * np.append(v, v[::-1])], 1) @ turn + self.anywhere()
        rim, body = self.canvas(), self.canvas()
        self.trace(rim, np.concatenate([outline, outline[:1]])[None], 255, 0.0025)
        self.fill(body, outline)
        color, lumps = self.pick(*_AMBER), self.spread(self.clouds(8, 4))
        plane = cv2.resize(body, self.shape[::-1], interpolation=cv2.INTER_AREA) / np.float32(255)
        if rng.random() < 0.5:
            self.cover(plane * np.clip(1.1 + 0.3 * lumps, 0.4, 1), color, rng.uniform(0.3, 0.65), 0.1)
            self.cover(rim, color * 0.6, 0.6, 0.5, 0.0012)
        else:  # peeled off: glue residue and scraps remain
            self.cover(plane * np.clip(0.6 + lumps, 0, 1), color * 0.85, rng.uniform(0.4, 0.8))
            self.cover(plane * np.clip(3 * lumps - 3, 0, 1), self.pick(*_DARK, *_WHITE))

    def emulsion(self, rng: np.random.Generator, amount: float) -> None:
        across, cracks, flakes = rng.lognormal(-3.2, 0.4), self.canvas(), self.canvas()
        sides, owner, depth = self.cells(self.anywhere(), across)
        force = self.look(self.clouds(0.25 / across, 3), sides[:, 4]) + 1.2 * depth[owner] + rng.uniform(-0.6, 0.4)
        for step in range(6):
            self.trace(cracks, sides[np.floor(force * 2).clip(-1, 5) == step], 70 + 37 * step, 0.0007 * 1.25**step)
        pull = np.bincount(owner, self.look(self.clouds(0.2 / across, 3), sides[:, 0])) / np.bincount(owner)
        loose = depth * pull + 0.2 * rng.normal(size=len(depth))
        for cell in np.flatnonzero(loose > rng.uniform(1, 2.2) - 0.15 * amount):
            self.fill(flakes, sides[owner == cell, :-1].reshape(-1, 2))
        chips = sides[rng.random(len(owner)) < 0.06 * depth[owner], 0]
        self.specks(flakes, chips, rng.uniform(0.04, 0.2, len(chips)) * across)
        paper, plane = self.pick(*_WHITE[:4]), cv2.resize(flakes, self.shape[::-1], interpolation=cv2.INTER_AREA)
        self.cover(cracks, paper if rng.random() < 0.6 else self.pick(*_DARK), rough=rng.uniform(0.3, 0.7))
        shadow = np.roll(flakes, rng.integers(-1, 2, 2) * round(0.005 * self.short), (0, 1))
        self.cover(shadow, self.pick(*_DARK), 0.6, 0.2, 0.0015)
        crumbs = 3 + 1.6 * self.spread(self.clouds(20, 4))  # remnants of emulsion on the paper
        self.cover(plane / np.float32(255) * np.clip(crumbs, 0, 1), paper, rough=0.5)

    def fold(self, rng: np.random.Generator, amount: float) -> None:
        if rng.random() < 0.6:  # folded to fit an envelope
            angle, length = rng.choice((0.0, np.pi / 2)) + rng.normal(0, 0.06), 1.1 * float(np.hypot(*self.size))
            middle = self.size * rng.choice((1 / 3, 0.5, 2 / 3), 2) + rng.normal(0, 0.03, 2)
            path = self.line(middle, angle, length, rng.normal(0, 0.01), 0.003)
        else:  # bent by a thumb or in a drawer
            path = self.line(self.anywhere(), rng.uniform(0, np.pi), rng.uniform(0.2, 0.7), 0.08, 0.006)
        across = np.gradient(path, axis=0)[:, ::-1] * (-1, 1)
        across *= rng.choice((-1, 1)) / np.hypot(*across.T)[:, None]
        wear = np.clip(0.3 * amount + 0.5 * self.wave(161, 12) + 0.5 * self.wave(161, 70), 0, 1.5)
        for shift, wide, colors, alpha in ((0.006, 0.01, _DARK, 0.35), (-0.004, 0.007, _WHITE, 0.25)):
            side = self.canvas()  # one side is shaded, the other lit
            self.ribbon(side, path + shift * across, wide, np.full(161, 0.9))
            self.cover(side, self.pick(*colors), alpha * rng.uniform(0.7, 1.4), 0.1, 0.004)
        core, width = self.canvas(), rng.uniform(0.0015, 0.003) * (0.6 + wear * np.exp(0.7 * rng.normal(size=161)))
        self.ribbon(core, path + (0.4 * width * rng.normal(size=161))[:, None] * across, width, 0.3 + wear)
        worn = np.flatnonzero(rng.random(161) < 0.4 * wear**2)
        spots = path[worn] + rng.normal(0, 0.005, (len(worn), 2)) * wear[worn, None]
        self.specks(core, spots, rng.lognormal(-6.2, 0.7, len(worn)).clip(0, 0.016), 0.3)
        self.cover(core, self.pick(*_WHITE), rough=0.7)

    def torn(self, rng: np.random.Generator, amount: float) -> None:
        (deep, wide), place = rng.uniform(0.05, 0.16, 2) * (0.6 + 0.4 * amount), np.zeros(2)
        knots = np.array(((deep, -0.02), (deep, wide) * rng.uniform(0.3, 0.7, 2), (-0.02, wide)))  # a corner
        if rng.random() < 0.4:  # a notch in an edge
            place[0] = rng.uniform(0.1, 0.9) * self.size[0]
            knots = np.array(((wide / 2, -0.02), (rng.normal(0, 0.04), deep * rng.uniform(0.3, 1)), (-wide / 2, -0.02)))
        path = np.stack([np.interp(np.linspace(0, 1, 161), (0, 0.5, 1), knot) for knot in knots.T], 1)
        for octave in range(5):
            path += 0.006 * 0.55**octave * np.stack([self.wave(161, 6 * 2**octave) for _ in range(2)], 1)
        rim, flip = np.abs(0.02 + 0.014 * self.wave(161, 10) + 0.006 * self.wave(161, 90)), rng.random(2) < 0.5
        path, beyond = (np.where(flip, self.size - at, at) for at in (path + place, place - 0.1))
        paper, gone = self.canvas(), self.canvas()
        self.ribbon(paper, path, rim, np.ones(161))  # half of it is removed below
        self.cover(paper, self.pick(*_WHITE[:3]), 1, 0.8, 0.001)
        self.fill(gone, np.concatenate([path, [beyond]]))
        self.cover(gone, self.pick(*_WHITE, *_DARK), 1, 0.4, 0.001)

    def pinholes(self, rng: np.random.Generator, amount: float) -> None:
        count = int(rng.integers(1, 5))
        places = np.abs(self.size * rng.integers(0, 2, (count, 2)) - 0.02 - np.abs(rng.normal(0, 0.06, (count, 2))))
        radii = rng.uniform(0.004, 0.007, count) * (0.7 + 0.3 * amount)
        for factor, colors, alpha in ((2.8, _BROWN, 0.6), (1.5, _WHITE, 0.7), (0.9, _DARK, 1)):
            self.cover(self.specks(self.canvas(), places, factor * radii), self.pick(*colors), alpha, soft=0.0015)


# In compositing order: selection weight, and mean number of repetitions (at most 2) per unit of amount.
_KINDS: dict[Callable[[_Page, np.random.Generator, float], None], tuple[float, float]] = {
    **{_Page.stain: (2, 0.4), _Page.foxing: (3, 0), _Page.mold: (2, 0), _Page.rubbed: (4, 0)},
    **{_Page.fingerprint: (3, 0.8), _Page.scratches: (8, 0), _Page.emulsion: (6, 0.4), _Page.fold: (6, 0.7)},
    **{_Page.dirt: (9, 0), _Page.tape: (3, 0.6), _Page.pinholes: (2, 0), _Page.torn: (6, 0.8)},
}


def damage(photo: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Damage a photo (H, W, 3) uint8 RGB; returns the damaged photo, uint8, and its mask.

    The mask (H, W) float32 in [0, 1] is the damage coverage of each pixel; pixels with 0 are unchanged. Deterministic
    by photo and seed.
    """
    rng = np.random.default_rng(seed)
    wear, chances = _Page(photo, rng), np.array([chance for chance, _ in _KINDS.values()])
    chosen = rng.choice(len(_KINDS), int(rng.integers(4, 8)), replace=False, p=chances / chances.sum())
    worse = rng.lognormal(0, 0.3)  # per-photo severity: album or barn
    for index, (kind, (_, more)) in enumerate(_KINDS.items()):
        amount = min(SEVERITY * worse * rng.lognormal(0, 0.3), 3)
        for _ in range(1 + min(rng.poisson(more * amount), 2) if index in chosen else 0):
            kind(wear, rng, amount)
    damaged = np.rint(wear.pixels).clip(0, 255).astype(np.uint8).reshape(photo.shape)
    return damaged, 1 - wear.kept.reshape(wear.shape)
