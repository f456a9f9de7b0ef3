"""The damage mask as a layer to paint on, over a copy of the photo, and what was painted at the photo's size."""

from typing import NamedTuple, Self

import cv2
import numpy as np

from bringback.ops.masks import SOUND

FOUND, PAINTED = (255, 80, 0), (0, 110, 255)  # RGB of what was found, and of what the user adds
OPACITY = 170  # of 255, so that the photo shines through
CANVAS = (768, 1024)  # height and width of what is painted on: gradio puts layers of another size elsewhere
MARGIN, MAT = 16, 128  # pixels around the photo at least, and their grey
_BITS, _STEP, _BLOCK = 32, 12, 8  # of the number of a layer: how many, and pixels from one to the next and of each
_LOW = 0xFFFF  # the number; the upper half of the bits are their contraries, so that damage shows


class Place(NamedTuple):
    """Where a photo lies on the canvas, as large as it fits and in the middle."""

    top: int
    left: int
    height: int
    width: int

    @classmethod
    def of(cls, height: int, width: int) -> Self:
        """Of a photo of that size."""
        scale = min((CANVAS[0] - 2 * MARGIN) / height, (CANVAS[1] - 2 * MARGIN) / width)
        tall, wide = max(1, round(height * scale)), max(1, round(width * scale))
        return cls((CANVAS[0] - tall) // 2, (CANVAS[1] - wide) // 2, tall, wide)

    def of_canvas(self, canvas: np.ndarray) -> np.ndarray:
        """The photo's part of a canvas (H, W, ...)."""
        return canvas[self.top : self.top + self.height, self.left : self.left + self.width]

    def resized(self, plane: np.ndarray, interpolation: int = cv2.INTER_NEAREST) -> np.ndarray:
        """A picture (H, W) or (H, W, 3) in the size that it has on the canvas."""
        return cv2.resize(plane, (self.width, self.height), interpolation=interpolation)


class Edits(NamedTuple):
    """What a user added to a mask and took away from it: two (h, w) of bool, of the size on the canvas."""

    added: np.ndarray
    removed: np.ndarray

    @classmethod
    def between(cls, found: np.ndarray, layer: np.ndarray) -> Self:
        """From what was found (h, w), bool, and the photo's part of the layer (h, w, 4), uint8, as it came back.

        What is painted over a found place counts as added: at full size that may be only partly damaged.
        """
        visible = layer[..., 3] > OPACITY // 2
        return cls(visible & (layer[..., 2] > layer[..., 0]), found & ~visible)

    @property
    def any(self) -> bool:
        """Whether there are any."""
        return bool(self.added.any() or self.removed.any())

    def apply(self, mask: np.ndarray) -> np.ndarray:
        """The damage mask (H, W) at the photo's size: as it is, but 1 where they add and 0 where they take away."""
        size = mask.shape[::-1]
        added, removed = (cv2.resize(one.view(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0 for one in self)
        return np.where(added, np.float32(1), np.where(removed, np.float32(0), mask))


def on_canvas(pixels: np.ndarray) -> np.ndarray:
    """The pixels (H, W, 3) on a canvas."""
    place = Place.of(*pixels.shape[:2])
    canvas = np.full((*CANVAS, 3), MAT / 255, np.float32)
    place.of_canvas(canvas)[:] = place.resized(pixels, cv2.INTER_AREA)
    return canvas


def shown(mask: np.ndarray) -> np.ndarray:
    """Where a canvas shows a damage mask (H, W): (h, w) bool, the photo's part; a scratch of one pixel is not lost."""
    return Place.of(*mask.shape).resized((mask > SOUND).astype(np.float32), cv2.INTER_AREA) > 0


def layer(place: Place, found: np.ndarray, edits: Edits | None, number: int) -> np.ndarray:
    """The layer, a canvas (H, W, 4) of uint8: what was found (h, w), with the edits there are, and its number.

    That, up to 65535, is written into the margins, above and below, in their own grey.
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
    """What number a layer (H, W, 4) has, told twice, as one of the two may have been painted over; empty for none."""
    if canvas.shape[:2] != CANVAS:  # what a browser sends before it has shown one
        return set()
    bits = (strip[_BLOCK // 2, _BLOCK // 2, :, 3] > 127 for strip in _strips(canvas))
    read = [sum(1 << bit for bit in np.flatnonzero(told).tolist()) for told in bits]
    return {told & _LOW for told in read if told >> 16 == ~told & _LOW}


def _strips(canvas: np.ndarray) -> list[np.ndarray]:
    """Views of the blocks above and below the photo, (`_BLOCK`, `_BLOCK`, `_BITS`, 4) each."""
    rows = canvas[:, MARGIN : MARGIN + _BITS * _STEP].reshape(len(canvas), _BITS, _STEP, -1)[:, :, :_BLOCK]
    tops = ((MARGIN - _BLOCK) // 2, len(canvas) - (MARGIN + _BLOCK) // 2)
    return [rows[top : top + _BLOCK].swapaxes(1, 2) for top in tops]
