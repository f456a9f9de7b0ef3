"""The damage mask as an editable layer over a copy of the photo, and the edits at the photo's size."""

from typing import NamedTuple, Self

import cv2
import numpy as np

from bringback.ops.masks import SOUND

FOUND, PAINTED = (255, 80, 0), (0, 110, 255)  # RGB of detected damage and of the user's additions
OPACITY = 170  # of 255, to keep the photo visible
CANVAS = (768, 1024)  # height and width of the editor canvas: gradio misplaces layers of other sizes
MARGIN, MAT = 16, 128  # minimum margin in pixels, and its gray level
_BITS, _STEP, _BLOCK = 32, 12, 8  # layer number: count of bits, spacing and size of their blocks in pixels
_LOW = 0xFFFF  # bits of the number; the upper half of the code is its complement, as a checksum


class Place(NamedTuple):
    """Position of a photo on the canvas: centered, as large as fits."""

    top: int
    left: int
    height: int
    width: int

    @classmethod
    def of(cls, height: int, width: int) -> Self:
        """For a photo of this size."""
        scale = min((CANVAS[0] - 2 * MARGIN) / height, (CANVAS[1] - 2 * MARGIN) / width)
        tall, wide = max(1, round(height * scale)), max(1, round(width * scale))
        return cls((CANVAS[0] - tall) // 2, (CANVAS[1] - wide) // 2, tall, wide)

    def of_canvas(self, canvas: np.ndarray) -> np.ndarray:
        """The photo's part of a canvas (H, W, ...), a view."""
        return canvas[self.top : self.top + self.height, self.left : self.left + self.width]

    def resized(self, plane: np.ndarray, interpolation: int = cv2.INTER_NEAREST) -> np.ndarray:
        """Resize a picture (H, W) or (H, W, 3) to its size on the canvas."""
        return cv2.resize(plane, (self.width, self.height), interpolation=interpolation)


class Edits(NamedTuple):
    """Additions to a mask and removals from it: two (h, w) bool arrays at canvas size."""

    added: np.ndarray
    removed: np.ndarray

    @classmethod
    def between(cls, found: np.ndarray, layer: np.ndarray) -> Self:
        """From the detected damage (h, w) bool and the photo's part of the edited layer (h, w, 4) uint8.

        Paint over detected damage counts as added: at full size that place may be only partly damaged.
        """
        visible = layer[..., 3] > OPACITY // 2
        return cls(visible & (layer[..., 2] > layer[..., 0]), found & ~visible)

    @property
    def any(self) -> bool:
        """Whether there are any edits."""
        return bool(self.added.any() or self.removed.any())

    def apply(self, mask: np.ndarray) -> np.ndarray:
        """Apply the edits to a damage mask (H, W) at the photo's size: 1 where added, 0 where removed."""
        size = mask.shape[::-1]
        added, removed = (cv2.resize(one.view(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0 for one in self)
        return np.where(added, np.float32(1), np.where(removed, np.float32(0), mask))


def on_canvas(pixels: np.ndarray) -> np.ndarray:
    """Place the pixels (H, W, 3) on a canvas."""
    place = Place.of(*pixels.shape[:2])
    canvas = np.full((*CANVAS, 3), MAT / 255, np.float32)
    place.of_canvas(canvas)[:] = place.resized(pixels, cv2.INTER_AREA)
    return canvas


def shown(mask: np.ndarray) -> np.ndarray:
    """A damage mask (H, W) at canvas size: (h, w) bool, the photo's part. Even one-pixel scratches remain visible."""
    return Place.of(*mask.shape).resized((mask > SOUND).astype(np.float32), cv2.INTER_AREA) > 0


def layer(place: Place, found: np.ndarray, edits: Edits | None, number: int) -> np.ndarray:
    """The layer, a canvas (H, W, 4) uint8: detected damage (h, w) with the edits, and its number.

    The number, up to 65535, is encoded in the margins above and below, in their own gray.
    """
    canvas = np.zeros((*CANVAS, 4), np.uint8)
    part = place.of_canvas(canvas)
    part[found] = (*FOUND, OPACITY)
    if edits:
        part[edits.removed] = 0
        part[edits.added] = (*PAINTED, OPACITY)
    told = number | (~number & _LOW) << 16
    for strip in _strips(canvas):
        strip[:, :, np.array([told >> bit & 1 for bit in range(_BITS)], bool)] = (MAT, MAT, MAT, 255)
    return canvas


def numbers(canvas: np.ndarray) -> set[int]:
    """The numbers encoded in a layer (H, W, 4), from two copies as one may be painted over; empty if none is valid."""
    if canvas.shape[:2] != CANVAS:  # sent by a browser before it has displayed a layer
        return set()
    bits = (strip[_BLOCK // 2, _BLOCK // 2, :, 3] > 127 for strip in _strips(canvas))
    read = [sum(1 << bit for bit in np.flatnonzero(told).tolist()) for told in bits]
    return {told & _LOW for told in read if told >> 16 == ~told & _LOW}


def _strips(canvas: np.ndarray) -> list[np.ndarray]:
    """Views of the code blocks above and below the photo, (`_BLOCK`, `_BLOCK`, `_BITS`, 4) each."""
    rows = canvas[:, MARGIN : MARGIN + _BITS * _STEP].reshape(len(canvas), _BITS, _STEP, -1)[:, :, :_BLOCK]
    tops = ((MARGIN - _BLOCK) // 2, len(canvas) - (MARGIN + _BLOCK) // 2)
    return [rows[top : top + _BLOCK].swapaxes(1, 2) for top in tops]
