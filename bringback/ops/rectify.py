"""Straighten a print: its four corners in a scan, or in a photo of a table, become those of a rectangle."""

import cv2
import numpy as np

_ALIGNED = 1.0  # pixels by which the corners of a print may miss those of an upright rectangle to be cropped as it is
_FOCAL = 0.8  # focal length where the corners do not tell it, by the photo's longer side: that of phones
_SHORTEST, _LONGEST = 0.5, 3.0  # focal lengths that are believed, by the longer side
_SLANT = 0.03  # how much both pairs of sides must converge to tell the focal length
_STRIP = 1 << 20  # pixels that are straightened at a time
_KERNEL = 5  # pixels around a point that an interpolation reads
_CENTERS = np.array([(1, 0, -0.5), (0, 1, -0.5), (0, 0, 1)])  # OpenCV counts from the center of the first pixel


def straightened(pixels: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """The print within four corners of pixels (H, W) or (H, W, C), as a rectangle at no less than its resolution.

    `corners` (4, 2) are (x, y) as in `Area`, from the top left clockwise. A print that lies straight is cropped: its
    pixels stay what they are. Others are interpolated (Lanczos), in strips, and clipped to [0, 1]. Pixels are float32,
    or uint8 or uint16 levels, which stay such.
    """
    height, width = pixels.shape[:2]
    if (box := _box(corners)) is not None:
        left, top, right, bottom = np.clip(box, 0, (width, height, width, height))
        return np.ascontiguousarray(pixels[top:bottom, left:right])
    across, down = size_of(corners, (height, width))
    back = _CENTERS @ back_to(corners, (across, down)) @ np.linalg.inv(_CENTERS)
    result = np.empty((down, across, *pixels.shape[2:]), np.float32)
    rows = max(1, _STRIP // across)
    top_level = np.float32(1 if pixels.dtype.kind == "f" else np.iinfo(pixels.dtype).max)
    for top in range(0, down, rows):
        part = result[top : top + rows]
        ends = [(0, top), (across, top), (across, top + len(part)), (0, top + len(part))]
        seen = cv2.perspectiveTransform(np.array([ends], np.float64), back)[0]
        first = np.clip(np.floor(seen.min(0)).astype(int) - _KERNEL, 0, (width - 1, height - 1))
        last = np.clip(np.ceil(seen.max(0)).astype(int) + _KERNEL, first + 1, (width, height))
        to_part = (
            np.array([(1, 0, -first[0]), (0, 1, -first[1]), (0, 0, 1)])
            @ back
            @ np.array([(1, 0, 0), (0, 1, top), (0, 0, 1)])
        )
        source = np.ascontiguousarray(pixels[first[1] : last[1], first[0] : last[0]], np.float32)
        flags = cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP
        cv2.warpPerspective(source, to_part, part.shape[1::-1], dst=part, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    result.clip(0, top_level, out=result)
    return result if pixels.dtype.kind == "f" else np.rint(result, out=result).astype(pixels.dtype)


def shrunk(picture: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """A copy whose longer side is at most so many pixels long, and the matrix that takes its points back."""
    height, width = picture.shape[:2]
    scale = max(1.0, max(height, width) / side)
    small = max(round(width / scale), 1), max(round(height / scale), 1)
    back = np.diag([width / small[0], height / small[1], 1.0])
    return cv2.resize(picture, small, interpolation=cv2.INTER_AREA) if scale > 1 else picture, back


def upright(picture: np.ndarray, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is within four corners of a small copy as an upright picture, and the matrix that takes points back."""
    sides = np.linalg.norm(corners - np.roll(corners, -1, 0), axis=1)
    size = max(round((sides[0] + sides[2]) / 2), 1), max(round((sides[1] + sides[3]) / 2), 1)
    back = back_to(corners, size)
    return seen_through(picture, back, size), back


def back_to(corners: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The matrix (3, 3) that takes points of an upright picture (width, height) to where it is within four corners."""
    return cv2.getPerspectiveTransform(ends_of(*size), corners.astype(np.float32))


def ends_of(width: float, height: float) -> np.ndarray:
    """The corners (4, 2) of an upright rectangle."""
    return np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)


def moved(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (n, 2) by a matrix (3, 3)."""
    return cv2.perspectiveTransform(points[None].astype(float), matrix)[0]


def seen_through(
    values: np.ndarray, back: np.ndarray, size: tuple[int, int], *, nearest: bool = False, inverse: bool = True
) -> np.ndarray:
    """Values (h, w, ...) as a picture of this size (width, height), whose points the matrix (3, 3) takes back to them.

    Without `inverse` it takes those of the values to the picture, which is 0 elsewhere.
    """
    matrix = _CENTERS @ back @ np.linalg.inv(_CENTERS)
    flags = (cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR) | (cv2.WARP_INVERSE_MAP if inverse else 0)
    beyond = cv2.BORDER_REPLICATE if inverse else cv2.BORDER_CONSTANT
    return cv2.warpPerspective(values, matrix, size, flags=flags, borderMode=beyond)


def skew_of(corners: np.ndarray) -> float:
    """The largest cosine of the angles at four corners (4, 2): 0 for a rectangle."""
    along = np.roll(corners, -1, 0) - corners
    along = along / np.maximum(np.linalg.norm(along, axis=1), 1e-9)[:, None]
    return float(np.abs((along * np.roll(along, -1, 0)).sum(1)).max())


def size_of(corners: np.ndarray, shape: tuple[int, ...]) -> tuple[int, int]:
    """(width, height) of the rectangle that a print in a photo of this shape (H, W) becomes.

    It has the print's aspect, and no side of the print is shrunk.
    """
    sides = np.linalg.norm(np.roll(corners, -1, 0) - corners, axis=1)
    aspect = aspect_of(corners, shape)
    width = max(sides[0], sides[2], aspect * max(sides[1], sides[3]))
    return max(round(float(width)), 1), max(round(float(width / aspect)), 1)


def aspect_of(corners: np.ndarray, shape: tuple[int, ...]) -> float:
    """Width by height of a flat rectangle whose corners are seen in a photo of this shape (H, W).

    Zhang and He, "Whiteboard scanning and image enhancement" (2007): the corners tell the focal length if both pairs of
    sides converge; if they do not, that of a phone is taken, which changes nothing for what is scanned.
    """
    height, width = shape[:2]
    longer = max(height, width)
    middle = (np.asarray(corners, float) - (width / 2, height / 2)) / longer
    square = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float32)
    view = cv2.getPerspectiveTransform(square, middle.astype(np.float32))
    across, down = view[:, 0], view[:, 1]
    focal = _FOCAL
    if min(abs(across[2]), abs(down[2])) > _SLANT:
        squared = -(across[0] * down[0] + across[1] * down[1]) / (across[2] * down[2])
        if _SHORTEST**2 <= squared <= _LONGEST**2:
            focal = squared**0.5
    lens = np.array([focal, focal, 1.0])
    return float(np.linalg.norm(across / lens) / np.linalg.norm(down / lens))


def _box(corners: np.ndarray) -> np.ndarray | None:
    """(left, top, right, bottom) in whole pixels of a print that lies straight; None for another."""
    x, y = corners[:, 0], corners[:, 1]
    box = np.rint([(x[0] + x[3]) / 2, (y[0] + y[1]) / 2, (x[1] + x[2]) / 2, (y[2] + y[3]) / 2]).astype(int)
    straight = np.array([box[[0, 1]], box[[2, 1]], box[[2, 3]], box[[0, 3]]])
    return box if np.abs(straight - corners).max() <= _ALIGNED and (box[2:] > box[:2]).all() else None
