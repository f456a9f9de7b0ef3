"""The template of aligned face crops, and warping into and out of it.

One template for training, inference and `--aligned`: a similarity takes the eye centers and the nose base of a face to
`EYES` and `NOSE_BASE` of a 256x256 crop. Points are (x, y) in pixels, integer coordinates are pixel centers.
"""

import cv2
import numpy as np

CROP = 256
EYES = ((89.0, 108.5), (167.0, 108.5))
# Mean nose base of the training faces if only their eye centers are aligned to EYES (x by symmetry).
NOSE_BASE = (128.0, 167.7)
EYE_DISTANCE = EYES[1][0] - EYES[0][0]


def anchors(points: np.ndarray) -> np.ndarray:
    """The left eye's center, the right eye's center and the nose base (3, 2) of the five points of a face (5, 2)."""
    return np.stack([points[:2].mean(0), points[2:4].mean(0), points[4]])


def similarity(points: np.ndarray, size: int = CROP) -> np.ndarray:
    """The 2x3 matrix that takes a face with these five points (5, 2) into a crop of `size` pixels a side.

    Least squares over both eye centers and the nose base, so that a turned face, with its eyes closer, is not enlarged.
    """
    source = anchors(points.astype(np.float64)) @ (1, 1j)
    target = np.array([*EYES, NOSE_BASE]) @ (1, 1j) * (size / CROP)
    centered = source - source.mean()
    turn = np.vdot(centered, target) / np.vdot(centered, centered).real
    shift = target.mean() - turn * source.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def scale(matrix: np.ndarray) -> float:
    """The scale factor of a similarity (2, 3)."""
    return float(np.hypot(matrix[0, 0], matrix[1, 0]))


def footprint(matrix: np.ndarray, size: int, height: int, width: int, *, margin: int = 0) -> tuple[int, int, int, int]:
    """The box (left, top, right, bottom) of the photo (height, width) that a crop's square covers, in whole pixels."""
    corners = np.array([(0, 0, 1), (size, 0, 1), (0, size, 1), (size, size, 1)], dtype=np.float64)
    places = corners @ cv2.invertAffineTransform(matrix).T
    left, top = np.floor(places.min(0)).astype(int) - margin
    right, bottom = np.ceil(places.max(0)).astype(int) + 1 + margin
    return max(left, 0), max(top, 0), min(right, width), min(bottom, height)


def align(pixels: np.ndarray, matrix: np.ndarray, size: int = CROP) -> np.ndarray:
    """The crop (size, size, 3) of a photo (H, W, 3) under a similarity; beyond the photo's edge it is mirrored.

    A plane (H, W) gives a plane (size, size).
    """
    margin = 4 + int(3 / scale(matrix))
    left, top, right, bottom = footprint(matrix, size, pixels.shape[0], pixels.shape[1], margin=margin)
    moved = matrix.copy()
    moved[:, 2] += matrix[:, :2] @ (left, top)
    return warp(pixels[top:bottom, left:right], moved, (size, size), cv2.BORDER_REFLECT_101).clip(0, 1)


def warp(
    source: np.ndarray, matrix: np.ndarray, size: tuple[int, int], border: int = cv2.BORDER_CONSTANT
) -> np.ndarray:
    """Warp a picture (H, W[, C]) by a similarity into a frame of `size` (width, height); zeros beyond it by default.

    If it shrinks, it is blurred first to avoid aliasing.
    """
    shrink = 1 / scale(matrix)
    if shrink > 1:
        sigma = 0.5 * (shrink**2 - 1) ** 0.5
        source = cv2.GaussianBlur(source, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
    return cv2.warpAffine(source, matrix, size, flags=cv2.INTER_CUBIC, borderMode=border)
