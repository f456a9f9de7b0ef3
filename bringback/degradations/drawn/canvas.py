"""Drawing tools: fractal noise, smooth curves, ribbons and polygons with soft exact edges."""

from dataclasses import dataclass

import cv2
import numpy as np

_FINE = 2  # canvas pixels per photo pixel, along each axis
_SHIFT = 4  # fractional bits of OpenCV's coordinates


@dataclass(frozen=True, slots=True)
class Layer:
    """Something that lies on a photo.

    alpha: (H, W) float32 in [0, 1], its coverage; color: (3,) or (H, W, 3) float32 in [0, 1]; multiplies: it darkens
    what is below, like a stain, instead of hiding it.
    """

    alpha: np.ndarray
    color: np.ndarray
    multiplies: bool = False

    def over(self, photo: np.ndarray) -> np.ndarray:
        """The photo (H, W, 3) float32 in [0, 1] with this layer on it."""
        color = photo * self.color if self.multiplies else self.color
        return photo + self.alpha[..., None] * (color - photo)


class Canvas:
    """Tools for one photo of `height` x `width` pixels. `unit`: pixels that one pixel of a small print has here."""

    def __init__(self, random: np.random.Generator, height: int, width: int, unit: float = 1.0) -> None:
        self.random, self.height, self.width, self.unit = random, height, width, unit
        self.short = min(height, width)

    def between(self, low: float, high: float) -> float:
        """A log-uniform value; both limits positive."""
        return float(low * (high / low) ** self.random.random())

    def point(self, spare: float = 0.0) -> np.ndarray:
        """A place (x, y) on the photo, or up to `spare` of its sides outside."""
        size = np.array([self.width, self.height])
        return self.random.uniform(-spare, 1 + spare, 2) * size

    def clouds(self, cell: float, octaves: int = 1) -> np.ndarray:
        """Fractal noise (H, W) float32 of mean 0 and deviation 1; the cells of its first octave have `cell` pixels."""
        field = np.zeros((self.height, self.width), np.float32)
        for octave in range(octaves):
            step = max(cell / 2**octave, 1.0)
            grid = np.ceil(np.array([self.height, self.width]) / step).astype(int) + 3
            coarse = self.random.standard_normal(grid, dtype=np.float32)
            shift = self.random.random(2) * step
            move = np.array([[1 / step, 0, 1 + shift[0] / step], [0, 1 / step, 1 + shift[1] / step]])
            flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
            layer = cv2.warpAffine(coarse, move, (self.width, self.height), flags=flags, borderMode=cv2.BORDER_REFLECT)
            field += layer * 0.6**octave
        return (field - field.mean()) / (field.std() + 1e-6)

    def curve(self, start: np.ndarray, angle: float, length: float, bend: float, count: int = 64) -> np.ndarray:
        """A smooth line (count, 2) from `start`; its direction drifts by about `bend` radians over its length."""
        knots = self.random.standard_normal((1, 6), dtype=np.float32) * bend
        drift = cv2.resize(knots, (count, 1), interpolation=cv2.INTER_CUBIC)[0]
        drift = np.cumsum(drift) / count * 2
        steps = np.stack([np.cos(angle + drift), np.sin(angle + drift)], 1) * (length / count)
        return np.asarray(start) + np.cumsum(steps, 0)

    def wave(self, count: int, knots: int) -> np.ndarray:
        """Smooth noise (count,) of deviation about 1."""
        return cv2.resize(self.random.standard_normal((1, knots)), (count, 1), interpolation=cv2.INTER_CUBIC)[0]

    def ribbon(self, line: np.ndarray, width: float | np.ndarray) -> np.ndarray:
        """A line (N, 2) drawn `width` pixels wide, one for all or one a point: alpha (H, W)."""
        along = np.gradient(line, axis=0)
        normal = np.stack([-along[:, 1], along[:, 0]], 1) / (np.linalg.norm(along, axis=1, keepdims=True) + 1e-6)
        half = np.broadcast_to(np.asarray(width, float), len(line))[:, None] / 2
        return self.polygons([np.concatenate([line + normal * half, (line - normal * half)[::-1]])])

    def polygons(self, outlines: list[np.ndarray]) -> np.ndarray:
        """Filled outlines, each (N, 2) of (x, y) in pixels: alpha (H, W). Their union; thin ones fade, none is lost."""
        fine = np.zeros((self.height * _FINE, self.width * _FINE), np.uint8)
        for outline in outlines:
            points = np.rint(outline * _FINE * 2**_SHIFT).astype(np.int32)
            cv2.fillPoly(fine, [points], 255, cv2.LINE_AA, _SHIFT)
        small = cv2.resize(fine, (self.width, self.height), interpolation=cv2.INTER_AREA)
        return small.astype(np.float32) / 255

    def blob(self, center: np.ndarray, radius: float, rough: float = 0.2, count: int = 72) -> np.ndarray:
        """The outline (count, 2) of an irregular disc."""
        angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
        ripple = sum(
            self.random.standard_normal() / k * np.cos(k * angles + self.random.uniform(0, 6.3)) for k in range(1, 9)
        )
        reach = radius * np.exp(rough * ripple)
        return np.asarray(center) + np.stack([np.cos(angles), np.sin(angles)], 1) * reach[:, None]
