"""What belongs to a photo or its print and looks like damage: drawn on clean photos, with no damage to be found."""

from collections.abc import Callable

import numpy as np

from bringback.degradations.drawn import glow, lettering, prints, scenery, shapes
from bringback.degradations.drawn.canvas import Canvas

# how often each is drawn, relative to the others
KINDS: dict[Callable[[Canvas, np.ndarray], np.ndarray], float] = {
    lettering.writing: 3.0,
    lettering.printed: 3.0,
    lettering.date: 1.0,
    lettering.stamp: 1.5,
    scenery.snow: 3.0,
    scenery.stars: 2.0,
    scenery.rain: 0.7,
    scenery.meadow: 1.5,
    scenery.bokeh: 0.7,
    scenery.foliage: 1.0,
    scenery.wires: 1.5,
    scenery.twigs: 1.2,
    scenery.lattice: 2.2,
    scenery.fence: 1.2,
    scenery.net: 2.0,
    scenery.web: 0.5,
    scenery.grass: 1.2,
    scenery.hair: 1.2,
    shapes.collar: 2.0,
    shapes.parasol: 1.0,
    shapes.hat: 0.8,
    shapes.window: 1.5,
    shapes.sail: 1.2,
    shapes.sign: 1.2,
    shapes.glints: 1.0,
    shapes.spectacles: 1.0,
    shapes.shadow: 1.0,
    shapes.silhouette: 1.0,
    shapes.sky: 0.8,
    shapes.ball: 0.8,
    shapes.cloth: 2.5,
    prints.border: 0.5,  # frames are rare: in use, the detector sees the picture inside alone, see `ops.areas`
    prints.vignette: 0.5,
    prints.album: 0.2,
    prints.film: 0.2,
    prints.halftone: 0.8,
    prints.texture: 1.0,
    prints.grain: 0.7,
    prints.blocks: 0.4,
    glow.flare: 0.7,
    glow.beams: 0.5,
    glow.smoke: 0.7,
    glow.soft_lights: 0.7,
    glow.reflections: 0.6,
}
_MOST = 3
_ORDERED = tuple(KINDS)
_CUMULATED = np.cumsum(list(KINDS.values())) / sum(KINDS.values())


def with_innocents(canvas: Canvas, photo: np.ndarray, amount: float) -> np.ndarray:
    """The photo (H, W, 3) float32 in [0, 1] with up to three innocent things in it; on average three times `amount`.

    What the picture shows is drawn first, then light and writing, then what belongs to the print.
    """
    picks = [int(np.searchsorted(_CUMULATED, canvas.random.random())) for _ in range(_MOST)]
    taken = {pick for pick in picks if canvas.random.random() < amount}
    for kind in sorted((_ORDERED[pick] for pick in taken), key=_depth):
        photo = kind(canvas, photo)
    return photo


def _depth(kind: Callable[[Canvas, np.ndarray], np.ndarray]) -> tuple[int, int]:
    """Place in the order of drawing."""
    modules = (shapes.__name__, scenery.__name__, glow.__name__, lettering.__name__, prints.__name__)
    return modules.index(kind.__module__), _ORDERED.index(kind)
