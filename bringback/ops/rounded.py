"""Find what is round in a frame of one color: an oval opening of a mount, and round corners of a print."""

import cv2
import numpy as np

from bringback.ops.ground import plain_ground

_EVEN = 0.9  # least share of the edge of a mount that is of its color
_RING = 0.03  # width of that edge, as a share of the longer side
_LINE = 5  # pixels up to which something on a mount is a printed line, writing or dirt
_RAYS = 180  # directions in which the opening's edge is looked for
_DRAWS = 150  # sets of places, through which ellipses are laid
_NEAR = 0.005  # distance from the ellipse, as a share of its longer axis, within which a place is on it; in pixels 1.2
_ON, _PARTS, _ON_PART = 0.65, 12, 0.3  # least share of all places on it, and of those in each of so many parts but two
_OF_COLOR = 0.95  # least share of the mount that is of its color, but for what is thin
_FULLEST = 0.85  # most of a box around it that an opening fills; an oval fills 0.79
_SOLID = 0.5  # least share of the opening that is not
_SMALLEST, _MARGIN = 0.45, 0.01  # least axes (less may be a vase), and mount beside them, as shares of the side
_MIDDLE = (0.06, 0.2)  # how far from the mount's middle the opening's is at most, across and down
_SLANT = 10.0  # largest angle in degrees between the axes and the sides
_ROUND = 1.08  # axes that are more alike are those of a circle: a moon, a plate, a wheel
_DEPTHS = (-2, 3, 10)  # pixels within the edge of an opening, where it has not begun, has begun and surely has
_SHARP = 0.6  # least share of the step from the first to the last that is made at the second; a vignette fades
_QUARTER = 1 - np.pi / 4  # area beyond a quarter of a circle, by its squared radius
_FITS = 0.75  # least intersection over union of that with what has the color of the frame
_ALIKE = 0.25  # how far the radii of corners are apart at most, as a share
_FIRST, _LAST = slice(2), slice(-2, None)  # what has to be of the color of the frame at least in part
_LEAST = (3.0, 0.008)  # least radius, in pixels and as a share of the longer side


def oval_in(picture: np.ndarray) -> np.ndarray | None:
    """The corners (4, 2) around an oval opening in the mount that a picture (h, w, 3) shows; None without one.

    The mount is of one color, seen all around, and no clipped white or black, which is that behind things cut out or of
    a night sky; the opening stands upright in its middle and has a sharp edge.
    """
    edge = round(_MARGIN * max(picture.shape))  # where a shadow, or a rest of what is around the mount, may be
    picture = picture[edge : picture.shape[0] - edge, edge : picture.shape[1] - edge]
    height, width = picture.shape[:2]
    ground = plain_ground(picture, _RING)
    if ground.even < _EVEN or ground.clipped:
        return None
    apart = ground.apart
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_LINE, _LINE))
    other = cv2.morphologyEx((apart >= 1).astype(np.uint8), cv2.MORPH_OPEN, kernel)
    labels = cv2.connectedComponents(other, connectivity=4)[1]
    other[np.isin(labels, np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])))] = 0
    y, x = np.nonzero(other)
    if len(x) < 0.5 * _SMALLEST**2 * other.size or len(x) > _FULLEST * (np.ptp(x) + 1) * (np.ptp(y) + 1):
        return None
    points = _outermost(other, np.array([x.min() + x.max() + 1, y.min() + y.max() + 1]) / 2)
    fitted = _ellipse(points)
    if fitted is None:
        return None
    (middle, axes, degrees), on = fitted
    axes, degrees = (axes, degrees) if abs(degrees) <= 45 else (axes[::-1], degrees - np.copysign(90, degrees))
    ring = _points((middle, axes, degrees))
    size = np.array([width, height])
    parts = on.reshape(_PARTS, -1).mean(1)
    off = np.abs(middle - size / 2) / size
    if (
        on.mean() < _ON
        or (parts < _ON_PART).sum() > 2
        or abs(degrees) > _SLANT
        or max(axes) < _ROUND * min(axes)
        or (axes < _SMALLEST * size).any()
        or (off > _MIDDLE).any()
        or (ring < 0).any()
        or (ring > size).any()
    ):
        return None
    opening = cv2.fillConvexPoly(np.zeros_like(other), np.rint((ring - 0.5) * 16).astype(np.int32), 1, shift=4) > 0
    around = cv2.dilate(opening.astype(np.uint8), kernel) == 0
    if float((other[around] == 0).mean()) < _OF_COLOR or float((apart[opening] >= 1).mean()) < _SOLID:
        return None
    outside, begun, inside = (
        float(np.median(_sampled(apart, _points((middle, axes - 2 * within, degrees))[on]))) for within in _DEPTHS
    )
    if begun - outside < _SHARP * (inside - outside):
        return None
    turn = np.deg2rad(degrees)
    along = np.array([np.cos(turn), np.sin(turn)]) * axes[0] / 2
    down = np.array([-np.sin(turn), np.cos(turn)]) * axes[1] / 2
    middle = middle + edge
    return np.array([middle - along - down, middle + along - down, middle + along + down, middle - along + down])


def radius_in(picture: np.ndarray, color: np.ndarray, most: float) -> float:
    """The radius of the round corners of a picture (h, w, 3), 0 without such.

    Beyond them it is of the color of its frame, `most` being the largest distance from that.
    """
    height, width = picture.shape[:2]
    ends = (picture[rows, columns] for rows in (_FIRST, _LAST) for columns in (_FIRST, _LAST))
    if not all((np.abs(end - color).max(2) < most).any() for end in ends):
        return 0.0  # there is picture in a corner
    frame = (np.abs(picture - color).max(2) < most).astype(np.uint8)
    found = []
    for turn in range(4):
        corner = np.rot90(frame, turn)
        corner = corner[: corner.shape[0] // 2, : corner.shape[1] // 2]
        labels = cv2.connectedComponents(np.ascontiguousarray(corner), connectivity=4)[1]
        own = np.isin(labels, np.unique(labels[:2, :2])) & (corner > 0)
        radius = float(np.sqrt(own.sum() / _QUARTER))
        y, x = np.mgrid[: corner.shape[0], : corner.shape[1]] + 0.5
        beyond = (x < radius) & (y < radius) & (np.hypot(x - radius, y - radius) > radius)
        if (own & beyond).sum() >= _FITS * (own | beyond).sum():
            found.append(radius)
    if len(found) < 2 or max(found) - min(found) > _ALIKE * max(found):
        return 0.0
    radius = float(np.mean(found))
    return radius if radius >= max(_LEAST[0], _LEAST[1] * max(height, width)) else 0.0


_Ellipse = tuple[np.ndarray, np.ndarray, float]  # middle (x, y), whole axes, and the angle of the first in degrees


def _outermost(other: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """The outermost point (x, y) in each direction that is not of the mount; the middle where there is none."""
    reach = int(np.hypot(*other.shape)) + 1
    turn = np.arange(_RAYS) * 2 * np.pi / _RAYS
    steps = np.arange(0, reach, 0.5)
    rays = middle + np.stack([np.cos(turn), np.sin(turn)], 1)[:, None] * steps[:, None]  # (rays, steps, 2)
    at = np.floor(rays).astype(int)
    inside = ((at >= 0) & (at < other.shape[::-1])).all(2)
    at = at.clip(0, np.array(other.shape[::-1]) - 1)
    there = inside & (other[at[..., 1], at[..., 0]] > 0)
    last = len(steps) - 1 - there[:, ::-1].argmax(1)
    last = np.where(there.any(1), last, 0)
    return rays[np.arange(_RAYS), last]


def _ellipse(points: np.ndarray) -> tuple[_Ellipse, np.ndarray] | None:
    """The ellipse on which most points (n, 2) lie, and which these are, (n,) bool; None if there is none."""
    random = np.random.default_rng(0)
    best: tuple[_Ellipse, np.ndarray] | None = None
    for _ in range(_DRAWS):
        # one in each sixth, so that the ellipse is held on all sides
        chosen = random.integers(0, len(points) // 6, 6) + np.arange(6) * (len(points) // 6)
        one = _through_points(points[chosen])
        if one is not None and (best is None or _on(one, points).sum() > best[1].sum()):
            best = one, _on(one, points)
    for _ in range(3):
        if best is None or best[1].sum() < 0.5 * _ON * len(points):
            return None
        one = _through_points(points[best[1]])
        if one is None:
            return None
        best = one, _on(one, points)
    return best


def _through_points(points: np.ndarray) -> _Ellipse | None:
    try:
        (x, y), axes, degrees = cv2.fitEllipseDirect(points.astype(np.float32))
    except cv2.error:
        return None
    if not np.isfinite([x, y, *axes, degrees]).all() or min(axes) < 8:
        return None
    return np.array([x, y]), np.array(axes), (degrees + 90) % 180 - 90


def _points(ellipse: _Ellipse) -> np.ndarray:
    """Points (n, 2) of an ellipse, one in each direction of the rays."""
    middle, axes, degrees = ellipse
    turn, lean = np.arange(_RAYS) * 2 * np.pi / _RAYS, np.deg2rad(degrees)
    u, v = np.cos(turn - lean) / axes[0], np.sin(turn - lean) / axes[1]
    far = 0.5 / np.hypot(u, v)
    return middle + far[:, None] * np.stack([np.cos(turn), np.sin(turn)], 1)


def _on(ellipse: _Ellipse, points: np.ndarray) -> np.ndarray:
    """Which points (n, 2) are on an ellipse."""
    middle, axes, degrees = ellipse
    lean = np.deg2rad(degrees)
    turned = (points - middle) @ np.array([(np.cos(lean), -np.sin(lean)), (np.sin(lean), np.cos(lean))])
    far = np.hypot(*(2 * turned / axes).T)
    distance = np.abs(far - 1) * np.hypot(*turned.T) / np.maximum(far, 1e-6)
    return distance <= max(_NEAR * float(max(axes)), 1.2)


def _sampled(values: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The values (h, w) at points (n, 2)."""
    x, y = (points - 0.5).astype(np.float32).T
    return cv2.remap(values.astype(np.float32), x[None], y[None], cv2.INTER_LINEAR)[0]
