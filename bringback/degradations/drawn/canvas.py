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

    def box(self) -> tuple[slice, slice]:
        """The rows and columns that hold all of it."""
        left, top, width, height = cv2.boundingRect((self.alpha > 0).view(np.uint8))
        return slice(top, top + height), slice(left, left + width)

    def lay(self, photo: np.ndarray) -> None:
        """Draw it on the photo (H, W, 3) float32 in [0, 1], in place."""
        part = self.box()
        alpha, below, color = self.alpha[part], photo[part], self.color.astype(np.float32)
        color = color if color.ndim == 1 else color[part]
        for channel in range(3):  # much faster than all at once
            pixels, paint = below[..., channel], color[..., channel]
            if self.multiplies:
                pixels *= 1 - alpha * (1 - paint)
            else:
                pixels += alpha * (paint - pixels)


def _enlarged(field: np.ndarray, height: int, width: int) -> np.ndarray:
    if field.shape == (height, width):
        return field
    return cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC)


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
        field = np.zeros((1, 1), np.float32)
        for octave in range(octaves):
            step = max(cell / 2**octave, 1.0)
            coarser = max(int(step / 3), 1)  # each octave on a grid no finer than it needs: much faster
            height, width, step = -(-self.height // coarser), -(-self.width // coarser), step / coarser
            rows, columns = int(height / step) + 3, int(width / step) + 3
            layer = self.random.standard_normal((rows, columns), dtype=np.float32) * np.float32(0.6**octave)
            if step > 1:
                layer = _enlarged(layer, round(rows * step), round(columns * step))
            top, left = (self.random.random(2) * step + step / 2).astype(int)
            field = _enlarged(field, height, width) + layer[top : top + height, left : left + width]
        field = _enlarged(field, self.height, self.width)
        mean, deviation = cv2.meanStdDev(field)
        return (field - np.float32(mean[0, 0])) * np.float32(1 / (deviation[0, 0] + 1e-6))

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

    def outline(self, line: np.ndarray, width: float | np.ndarray) -> np.ndarray:
        """The outline (2 N, 2) of a line (N, 2) drawn `width` pixels wide, one for all or one a point."""
        along = np.empty_like(line)
        along[1:-1], along[0], along[-1] = line[2:] - line[:-2], line[1] - line[0], line[-1] - line[-2]
        normal = np.stack([-along[:, 1], along[:, 0]], 1) / (np.hypot(along[:, 0], along[:, 1])[:, None] + 1e-6)
        half = np.broadcast_to(np.asarray(width, float), len(line))[:, None] / 2
        return np.concatenate([line + normal * half, (line - normal * half)[::-1]])

    def polygons(self, outlines: list[np.ndarray], strengths: np.ndarray | None = None) -> np.ndarray:
        """Filled outlines, each (N, 2) of (x, y) in pixels: alpha (H, W). Thin ones fade, none is lost.

        strengths: one in [0, 1] for each outline, 1 if not given; where outlines overlap, the last one counts.
        """
        fine = np.zeros((self.height * _FINE, self.width * _FINE), np.uint8)
        values = [255] * len(outlines) if strengths is None else np.rint(np.asarray(strengths) * 255).tolist()
        for outline, value in zip(outlines, values, strict=True):
            points = np.rint(outline * (_FINE * 2**_SHIFT)).astype(np.int32)
            cv2.fillPoly(fine, [points], value, cv2.LINE_AA, _SHIFT)
        small = cv2.resize(fine, (self.width, self.height), interpolation=cv2.INTER_AREA)
        return small.astype(np.float32) * np.float32(1 / 255)

    def blob(self, center: np.ndarray, radius: float, rough: float = 0.2, count: int = 72) -> np.ndarray:
        """The outline (count, 2) of an irregular disc."""
        angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
        ripple = sum(
            self.random.standard_normal() / k * np.cos(k * angles + self.random.uniform(0, 6.3)) for k in range(1, 9)
        )
        reach = radius * np.exp(rough * ripple)
        return np.asarray(center) + np.stack([np.cos(angles), np.sin(angles)], 1) * reach[:, None]
