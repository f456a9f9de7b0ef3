"""Finding faces with dlib (King 2009, "Dlib-ml: A Machine Learning Toolkit"), upright, small, dark or turned."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from bringback.weights.dlib_files import model_file

# dlib's order is right eye (outer, inner), left eye (outer, inner), nose base, as seen in the picture.
LEFT_TO_RIGHT = [2, 3, 1, 0, 4]
NATIVE_PIXELS = 1.2e6  # the first look is at no more than this many pixels,
ENLARGED_PIXELS = 12e6  # the second at twice the size or this many pixels: small faces
DARK = 0.25  # mean luminance below which faces are looked for in a lifted picture too
TURNS = (20, -20, 90, -90, 180)  # degrees: the tries when no face is upright

# On a face the five points stay where they are when the detector's box is moved a little; on anything else they move
# with it. So a low score of a face whose points are steady is worth more than a high one of a thing that looks like it.
NUDGES = ((0, 0, 1), (0.1, 0, 1), (-0.1, 0, 1), (0, 0.1, 1), (0, -0.1, 1), (0, 0, 1.15), (0, 0, 0.87))  # x, y, size
UNSTEADY = 15.0  # what wandering by one side of the box would take off the score; faces have 0.003, others 0.045
SURE, SURE_TURNED = -0.3, 0.1  # what must remain; dlib alone asks for 0, and misses every tenth portrait


@dataclass(frozen=True, slots=True)
class Found:
    """A face: `box` (left, top, right, bottom), five `points` (5, 2) as (x, y), left to right as the face sees itself
    in a mirror, and `score`, the detector's less what the points wander.
    """

    box: tuple[float, float, float, float]
    points: np.ndarray
    score: float

    def same(self, other: "Found") -> bool:
        """Whether both are one face, by where the middle of their points lies."""
        apart = np.hypot(*(self.points.mean(0) - other.points.mean(0)))
        return bool(apart < 0.3 * min(self.side, other.side))

    @property
    def side(self) -> float:
        """Width of the box in pixels."""
        return self.box[2] - self.box[0]


class FaceFinder:
    """dlib's frontal face detector and five-point landmarks; no profiles. Several threads may search at once.

    Faces are found down to about 40 pixels in photos of up to 3 megapixels, 80 in one of 12, 115 in one of 24.
    """

    def __init__(self) -> None:
        """Load both; raises ModuleNotFoundError, one line, when dlib or its models are not installed."""
        dlib = _dlib()
        self._rectangle = dlib.rectangle
        self._make_detector = dlib.get_frontal_face_detector
        self._idle: list[Any] = []  # detectors: one keeps the picture that it searches, so each search has its own
        self._landmarks = dlib.shape_predictor(str(model_file("shape_predictor_5_face_landmarks.dat")))

    def find(self, pixels: np.ndarray) -> list[Found]:
        """All faces in a photo (H, W, 3) in [0, 1], the largest first, each once.

        It is searched as it is and enlarged; lifted too if it is dark or has no face, and turned if none is upright.
        """
        gray = cv2.cvtColor(np.ascontiguousarray(pixels, dtype=np.float32), cv2.COLOR_RGB2GRAY).clip(0, 1)
        if min(gray.shape) < 16:  # no room for an eye, and dlib wants some
            return []
        native = min(1.0, (NATIVE_PIXELS / gray.size) ** 0.5)
        enlarged = min(2.0, (ENLARGED_PIXELS / gray.size) ** 0.5)
        faces = self._look(gray, native) + self._look(gray, enlarged)
        if gray.mean() < DARK or not faces:
            faces += self._look(gray, enlarged, lift=True)
        if not faces:
            turned = [self._look(gray, native, degrees) for degrees in TURNS]
            faces = [face for look in turned for face in look if face.score > SURE_TURNED]
        kept: list[Found] = []
        for face in sorted(faces, key=lambda face: -face.score):
            if not any(face.same(other) for other in kept):
                kept.append(face)
        return sorted(kept, key=lambda face: (-face.side, face.box))

    def _look(self, gray: np.ndarray, zoom: float, degrees: float = 0, *, lift: bool = False) -> list[Found]:
        """The faces in a picture (H, W) that is scaled and turned against the clock first, in its own coordinates."""
        if degrees:  # a strip that is turned fills a square
            _, (across, down) = _turn(gray.shape[1], gray.shape[0], degrees)
            zoom = min(zoom, (NATIVE_PIXELS / (across * down)) ** 0.5)
        width, height = (max(1, round(side * zoom)) for side in gray.shape[::-1])
        seen = cv2.resize(gray, (width, height), interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR)
        seen = _lift(seen) if lift else seen
        matrix, size = _turn(width, height, degrees)
        if degrees:
            seen = cv2.warpAffine(seen, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        image = (seen * 255).round().astype(np.uint8)
        back = cv2.invertAffineTransform(matrix)

        def home(points: np.ndarray) -> np.ndarray:
            return (np.c_[points, np.ones(len(points))] @ back.T + 0.5) / zoom - 0.5

        try:
            detector = self._idle.pop()
        except IndexError:
            detector = self._make_detector()
        boxes, scores, _ = detector.run(image, 0, SURE)
        self._idle.append(detector)
        faces = []
        for box, score in zip(boxes, scores, strict=True):
            left, top, side = box.left(), box.top(), box.right() + 1 - box.left()
            tries = np.stack([self._points(image, left + x * side, top + y * side, side, k) for x, y, k in NUDGES])
            wander = np.linalg.norm(tries - np.median(tries, 0), axis=2).mean() / side
            confidence = float(score) - UNSTEADY * float(wander)
            if confidence > SURE:
                x, y = (float(middle) for middle in home(np.array([[left, top]]) + (side - 1) / 2)[0] + 0.5)
                half = side / zoom / 2
                faces.append(Found((x - half, y - half, x + half, y + half), home(np.median(tries, 0)), confidence))
        return faces

    def _points(self, image: np.ndarray, left: float, top: float, side: float, size: float) -> np.ndarray:
        """The five points (5, 2) by a box whose side is `size` times the given one, about the same middle."""
        more = (size - 1) / 2 * side
        edges = (left - more, top - more, left + side + more - 1, top + side + more - 1)
        parts = self._landmarks(image, self._rectangle(*(round(edge) for edge in edges))).parts()
        return np.array([(part.x, part.y) for part in parts], dtype=np.float64)[LEFT_TO_RIGHT]


def _turn(width: int, height: int, degrees: float) -> tuple[np.ndarray, tuple[int, int]]:
    """The matrix (2, 3) that turns a picture about its middle, and the size that holds all of it."""
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    across, down = (round(float(side)) for side in np.abs(turn) @ (width, height))
    shift = (np.array([across, down]) - 1) / 2 - turn @ ((width - 1) / 2, (height - 1) / 2)
    return np.c_[turn, shift], (across, down)


def _lift(gray: np.ndarray) -> np.ndarray:
    """A dark picture with its contrast stretched and its shadows lifted."""
    low, high = np.percentile(gray, (1, 99.5))
    return ((gray - low) / max(high - low, 1e-3)).clip(0, 1).astype(np.float32) ** 0.6


def _dlib() -> Any:
    """dlib, imported late: the other stages do without."""
    try:
        import dlib
    except ImportError as error:
        raise ModuleNotFoundError(f"the faces stage needs the package dlib-bin: {error}") from None
    return dlib
