"""Finds faces with dlib (King 2009, "Dlib-ml: A Machine Learning Toolkit"): upright, small, dark or rotated."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, NamedTuple, Self

import cv2
import numpy as np
import torch

from bringback.models.faces.judge import FaceJudge
from bringback.ops.scale import divisor
from bringback.stages.faces.alignment import align, anchors, similarity
from bringback.stages.faces.identity import face_features
from bringback.weights.dlib_files import model_file

# dlib's order is right eye (outer, inner), left eye (outer, inner), nose base, as seen in the picture.
LEFT_TO_RIGHT = [2, 3, 1, 0, 4]
NATIVE_PIXELS = 1.2e6  # the most pixels of the first search
ENLARGED_PIXELS = 12e6  # the most pixels of the second, at up to twice the size, for small faces
DARK = 0.25  # mean luminance below which a brightened picture is searched too
TURNS = (20, -20, 90, -90, 180)  # degrees; tried if no upright face is found

# If the detector's box is moved a little, the five points of a real face stay where they are; those of a false
# detection move along. So the score is reduced by how much they move.
NUDGES = ((0, 0, 1), (0.1, 0, 1), (-0.1, 0, 1), (0, 0.1, 1), (0, -0.1, 1), (0, 0, 1.15), (0, 0, 0.87))  # x, y, size
UNSTEADY = 15.0  # score per movement by one side of the box; faces move by 0.003, others by 0.045
SURE, SURE_TURNED = -0.3, 0.1  # minimal scores; dlib's own, 0, misses every tenth portrait
# A face that is hard to see (in shade, under a hat, in coarse dots, half turned) is seen in many of `VIEWS`, though in
# none of them surely. The best of what they show is judged by what it looks like.
VIEW_PIXELS, VIEW_SIDE = 0.2e6, 64  # the most pixels of a view; the shortest side that holds a face
WEAK = -1.0  # the detector's least score in a view
AGREED = -0.6  # the least agreement of views, see `_agreement`: nearly all faces have more
JUDGED = 2  # how many are looked at, the best: 12 ms each
# The least log odds of a face. In 555 photos, by judges that had not learned from them, what is none had up to 0.4.
ODDS = 1.5
# Of each view: scale, deviation of the blur in pixels, degrees counterclockwise, whether mirrored.
VIEWS: tuple[tuple[float, float, float, bool], ...] = (
    (1, 0, 0, False),
    (1, 0, 0, True),
    (1, 1.5, 0, False),
    (1, 3, 0, False),
    (1, 0, 12, False),
    (1, 0, -12, False),
    (0.5, 0, 0, False),
)
# A negative has a face that scores at least so much inverted, and so much more than any as it is: faces of negatives
# gain 1 to 1.5, what is seen in inverted photos scores at most 0.25.
NEGATIVE, NEGATIVE_PIXELS = 0.7, 0.4e6  # the score; the most pixels of the search
# A print is turned if the scores of its faces are then so high in all, and so much higher than otherwise.
TURNED, TURNED_PIXELS = 0.4, 3e6

Change = Callable[[np.ndarray], np.ndarray]  # of a picture (H, W) in [0, 1]


@dataclass(frozen=True, slots=True)
class Found:
    """A face: `box` (left, top, right, bottom), five `points` (5, 2) as (x, y), left to right in an upright picture,
    and `score`, the detector's reduced by the movement of the points.
    """

    box: tuple[float, float, float, float]
    points: np.ndarray
    score: float

    def same(self, other: "Found") -> bool:
        """Whether both are the same face, by the distance between the centers of their points."""
        apart = np.hypot(*(self.points.mean(0) - other.points.mean(0)))
        return bool(apart < 0.3 * min(self.side, other.side))

    def within(self, other: "Found") -> bool:
        """Whether the center of its points lies in the other's box."""
        x, y = self.points.mean(0)
        left, top, right, bottom = other.box
        return bool(left < x < right and top < y < bottom)

    def enlarged(self, across: float, down: float) -> "Found":
        """The same face in a picture so many times as wide and as high."""
        factors = np.array([across, down])
        left, top, right, bottom = np.array(self.box) * np.tile(factors, 2)
        return Found((left, top, right, bottom), (self.points + 0.5) * factors - 0.5, self.score)

    def mirrored(self, width: int) -> "Found":
        """The same face in a picture of this width, mirrored."""
        left, top, right, bottom = self.box
        points = (self.points * (-1, 1) + (width - 1, 0))[[3, 2, 1, 0, 4]]
        return Found((width - right, top, width - left, bottom), points, self.score)

    @property
    def side(self) -> float:
        """Width of the box in pixels."""
        return self.box[2] - self.box[0]


class _Seen(NamedTuple):
    """A face by dlib's own score, and how far its points wander if its box is moved, by one side of the box."""

    face: Found
    wander: float


def _agreement(seen: list[_Seen]) -> float:
    """By how much all views together exceed `WEAK`, on average, less what the points move."""
    above = sum(one.face.score - WEAK for one in seen)
    return above / len(VIEWS) - UNSTEADY * float(np.mean([one.wander for one in seen]))


class Doubtful(NamedTuple):
    """What several views show in one place, weakly: the mean `face`, its aligned crop (S, S), gray, and `facts` on it.

    The facts, for `FaceJudge`: score, movement of the points within the views and between them, share of the views, the
    best score above `WEAK`; tilt and distance of the eyes, place of the nose below them, by one side of the box.
    """

    face: Found
    crop: np.ndarray
    facts: list[float]

    @classmethod
    def of(cls, gray: np.ndarray, seen: list[_Seen]) -> Self:
        """Of one look at it in each view of a picture (H, W) that shows it."""
        wander = float(np.mean([one.wander for one in seen]))
        left, top, right, bottom = (float(edge) for edge in np.median([one.face.box for one in seen], 0))
        points = np.stack([one.face.points for one in seen])
        face = Found((left, top, right, bottom), np.median(points, 0), _agreement(seen))
        first, second, nose = anchors(face.points) / face.side
        (across, down), (aside, below) = second - first, nose - (first + second) / 2
        shape = (abs(np.arctan2(down, across)), np.hypot(across, down), aside, below)
        apart = float(points.std(0).mean()) / face.side
        facts = [face.score, wander, apart, len(seen) / len(VIEWS), max(one.face.score for one in seen) - WEAK]
        return cls(face, align(gray, similarity(face.points)), [*facts, *map(float, shape)])


class FaceFinder:
    """dlib's frontal face detector and five-point landmarks; no profiles. Thread-safe.

    Faces are found down to about 40 pixels in photos of up to 3 megapixels, 80 in one of 12, 115 in one of 24.
    """

    def __init__(self) -> None:
        """Load both; raises ModuleNotFoundError, one line, if dlib or its models are not installed."""
        dlib = _dlib()
        self._rectangle = dlib.rectangle
        self._make_detector = dlib.get_frontal_face_detector
        self._idle: list[Any] = []  # detectors; each keeps the picture it searches, so a search needs its own
        self._landmarks = dlib.shape_predictor(str(model_file("shape_predictor_5_face_landmarks.dat")))

    def find(self, pixels: np.ndarray, scale: float = 1.0) -> list[Found]:
        """All faces in a photo (H, W, 3) in [0, 1] of this native scale, the largest first, each once.

        Searched at up to its native size and enlarged; also brightened if dark or without faces; rotated if none is
        found, and at last in several views, whose best finds are judged.
        """
        gray = as_gray(pixels)
        if (times := divisor(scale)) > 1:
            size = [max(1, round(side / times)) for side in gray.shape[::-1]]
            gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
        if min(gray.shape) < 16:  # too small for a face and for dlib
            return []
        enlarged = min(2.0, (ENLARGED_PIXELS / gray.size) ** 0.5)
        faces = self.sure(gray) + self._look(gray, enlarged)
        if gray.mean() < DARK or not faces:
            faces += self._look(gray, enlarged, lift=True)
        if not faces:
            turned = [self._look(gray, _native(gray), degrees) for degrees in TURNS]
            faces = [face for look in turned for face in look if face.score > SURE_TURNED] or self._agreed(gray)
        kept: list[Found] = []
        for face in sorted(faces, key=lambda face: -face.score):
            if not any(face.same(other) for other in kept):
                kept.append(face)
        if times > 1:
            kept = [face.enlarged(pixels.shape[1] / gray.shape[1], pixels.shape[0] / gray.shape[0]) for face in kept]
        return sorted(kept, key=lambda face: (-face.side, face.box))

    def only_inverted(self, pixels: np.ndarray) -> bool:
        """Whether a photo (H, W, 3) in [0, 1] is surely a negative, as far as large upright faces can tell."""
        gray = as_gray(pixels)
        if min(gray.shape) < 16:
            return False
        zoom = min(1.0, (NEGATIVE_PIXELS / gray.size) ** 0.5)
        inverted = max((face.score for face in self._look(1 - gray, zoom)), default=SURE)
        if inverted < NEGATIVE:
            return False
        return inverted - max((face.score for face in self._look(gray, zoom)), default=SURE) > NEGATIVE

    def quarters(self, pixels: np.ndarray) -> int:
        """By how many quarters, counterclockwise, a photo (H, W, 3) in [0, 1] must be turned for upright faces.

        0 without faces, and where they do not agree.
        """
        gray = as_gray(pixels)
        if min(gray.shape) < 16:
            return 0
        zoom = min(2.0, (TURNED_PIXELS / gray.size) ** 0.5)
        looks = [self._look(np.ascontiguousarray(np.rot90(gray, quarters)), zoom) for quarters in range(4)]
        scores = [sum(max(face.score, 0.0) for face in faces) for faces in looks]
        best = int(np.argmax(scores))
        second = max(score for quarters, score in enumerate(scores) if quarters != best)
        return best if scores[best] >= TURNED and scores[best] - second >= TURNED else 0

    def _look(self, gray: np.ndarray, zoom: float, degrees: float = 0, *, lift: bool = False) -> list[Found]:
        """The faces in a picture (H, W), which is first scaled and rotated counterclockwise, in its own coordinates."""
        seen = self._search(gray, zoom, degrees, _lift if lift else None)
        sure = [replace(one.face, score=one.face.score - UNSTEADY * one.wander) for one in seen]
        return [face for face in sure if face.score > SURE]

    def sure(self, gray: np.ndarray) -> list[Found]:
        """The upright faces that are sure in a picture (H, W) in [0, 1], at up to its own size."""
        return self._look(gray, _native(gray))

    def doubtful(self, gray: np.ndarray) -> list[Doubtful]:
        """The best of what `VIEWS` of a picture (H, W) in [0, 1] show weakly, in its coordinates, at most `JUDGED`."""
        height, width = gray.shape
        zoom = min(1.0, (VIEW_PIXELS / gray.size) ** 0.5)
        if zoom < 1:
            gray = cv2.resize(gray, (round(width * zoom), round(height * zoom)), interpolation=cv2.INTER_AREA)
        if min(gray.shape) < VIEW_SIDE:
            return []
        seen = [(number, one) for number, view in enumerate(VIEWS) for one in self._view(gray, *view)]
        groups: list[dict[int, _Seen]] = []
        for number, one in sorted(seen, key=lambda pair: -pair[1].face.score):
            alike = (group for group in groups if one.face.same(next(iter(group.values())).face))
            if group := next(alike, None):
                group.setdefault(number, one)  # one of each view
            else:
                groups.append({number: one})
        best = sorted(([*group.values()] for group in groups), key=_agreement, reverse=True)[:JUDGED]
        found = [Doubtful.of(gray, group) for group in best if _agreement(group) > AGREED]
        back = width / gray.shape[1], height / gray.shape[0]
        return [one._replace(face=one.face.enlarged(*back)) for one in found]

    def _agreed(self, gray: np.ndarray) -> list[Found]:
        """The faces in a picture (H, W) that views of it show weakly, and that look like faces."""
        found = self.doubtful(gray)
        if not found:
            return []
        crops = torch.from_numpy(np.stack([one.crop for one in found]))[:, None]
        odds = _judge()(face_features(crops), torch.tensor([one.facts for one in found]))
        faces = list[Found]()
        for number in odds.argsort(descending=True).tolist():  # an eye that looks like a face lies in one
            face = found[number].face
            if odds[number] > ODDS and not any(face.within(other) or other.within(face) for other in faces):
                faces.append(face)
        return faces

    def _view(self, gray: np.ndarray, zoom: float, sigma: float, degrees: float, mirrored: bool) -> list["_Seen"]:
        """What dlib sees from `WEAK` on in a picture (H, W) that is scaled, blurred, rotated or mirrored."""
        change = partial(cv2.GaussianBlur, ksize=(0, 0), sigmaX=sigma) if sigma else None
        if not mirrored:
            return self._search(gray, zoom, degrees, change, WEAK)
        seen = self._search(np.ascontiguousarray(gray[:, ::-1]), zoom, degrees, change, WEAK)
        return [_Seen(one.face.mirrored(gray.shape[1]), one.wander) for one in seen]

    def _search(
        self, gray: np.ndarray, zoom: float, degrees: float, change: Change | None, least: float = SURE
    ) -> list["_Seen"]:
        """What dlib sees in a picture (H, W), which is first scaled, changed and rotated, from this score on."""
        if degrees:  # a rotated strip needs a square
            _, (across, down) = _turn(gray.shape[1], gray.shape[0], degrees)
            zoom = min(zoom, (NATIVE_PIXELS / (across * down)) ** 0.5)
        width, height = (max(1, round(side * zoom)) for side in gray.shape[::-1])
        seen = cv2.resize(gray, (width, height), interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR)
        seen = change(seen) if change else seen
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
        boxes, scores, _ = detector.run(image, 0, least)
        self._idle.append(detector)
        found = []
        for box, score in zip(boxes, scores, strict=True):
            left, top, side = box.left(), box.top(), box.right() + 1 - box.left()
            tries = np.stack([self._points(image, left + x * side, top + y * side, side, k) for x, y, k in NUDGES])
            wander = float(np.linalg.norm(tries - np.median(tries, 0), axis=2).mean() / side)
            x, y = (float(middle) for middle in home(np.array([[left, top]]) + (side - 1) / 2)[0] + 0.5)
            half = side / zoom / 2
            face = Found((x - half, y - half, x + half, y + half), home(np.median(tries, 0)), float(score))
            found.append(_Seen(face, wander))
        return found

    def _points(self, image: np.ndarray, left: float, top: float, side: float, size: float) -> np.ndarray:
        """The five points (5, 2) for a box scaled by `size` about its center."""
        more = (size - 1) / 2 * side
        edges = (left - more, top - more, left + side + more - 1, top + side + more - 1)
        parts = self._landmarks(image, self._rectangle(*(round(edge) for edge in edges))).parts()
        return np.array([(part.x, part.y) for part in parts], dtype=np.float64)[LEFT_TO_RIGHT]


def _turn(width: int, height: int, degrees: float) -> tuple[np.ndarray, tuple[int, int]]:
    """The matrix (2, 3) that rotates a picture about its center, and the size (width, height) that contains it."""
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    across, down = (round(float(side)) for side in np.abs(turn) @ (width, height))
    shift = (np.array([across, down]) - 1) / 2 - turn @ ((width - 1) / 2, (height - 1) / 2)
    return np.c_[turn, shift], (across, down)


def as_gray(pixels: np.ndarray) -> np.ndarray:
    """The luminance (H, W), Rec. 601, float32 in [0, 1], of a picture (H, W, 3)."""
    return cv2.cvtColor(np.ascontiguousarray(pixels, dtype=np.float32), cv2.COLOR_RGB2GRAY).clip(0, 1)


def _lift(gray: np.ndarray) -> np.ndarray:
    """A dark picture with stretched contrast and brightened shadows."""
    low, high = np.percentile(gray, (1, 99.5))
    return ((gray - low) / max(high - low, 1e-3)).clip(0, 1).astype(np.float32) ** 0.6


def _native(gray: np.ndarray) -> float:
    return min(1.0, (NATIVE_PIXELS / gray.size) ** 0.5)


@cache
def _judge() -> FaceJudge:
    with torch.inference_mode(False):  # the first call may be in a restoration, the next in a training
        return FaceJudge.shipped()


def _dlib() -> Any:
    """dlib, imported late because the other stages do not need it."""
    try:
        import dlib
    except ImportError as error:
        raise ModuleNotFoundError(f"the faces stage needs the package dlib-bin: {error}") from None
    return dlib
