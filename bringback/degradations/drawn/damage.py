"""Kinds of damage to old photos, and photos damaged by several of them."""

from collections.abc import Callable

import numpy as np

from bringback.degradations.drawn import lines, losses, stains
from bringback.degradations.drawn.canvas import Canvas, Layer
from bringback.degradations.drawn.strokes import soften
from bringback.degradations.eval_recipes import SPOILED

Kind = Callable[[Canvas, np.ndarray], list[Layer]]

# Every kind draws on a canvas, given the photo (H, W, 3) float32 in [0, 1] below; the weight says how often it occurs.
KINDS: tuple[tuple[Kind, float], ...] = (
    (lines.scratches, 3.0),
    (lines.hairs, 1.5),
    (lines.dust, 3.0),
    (lines.creases, 2.2),
    (lines.roll_cracks, 0.7),
    (lines.net_cracks, 0.9),
    (lines.glass_cracks, 0.7),
    (lines.scuffs, 0.8),
    (losses.tears, 2.2),
    (losses.missing, 1.3),
    (losses.flakes, 1.1),
    (losses.rubbed, 0.8),
    (losses.tape, 1.6),
    (losses.stuck_on, 0.8),
    (losses.holes, 0.8),
    (losses.color_blotches, 0.3),
    (stains.ink, 1.1),
    (stains.grease, 0.5),
    (stains.bleaches, 0.9),
    (stains.fingerprints, 0.6),
    (stains.water, 1.3),
    (stains.drops, 0.6),
    (stains.foxing, 1.4),
    (stains.mold, 1.1),
    (stains.silvering, 0.3),
    (stains.edge_stain, 0.3),
)
_WEIGHTS = np.array([weight for _, weight in KINDS])
_MOST = 5


def coverage(layer: Layer, photo: np.ndarray) -> np.ndarray:
    """How much of the photo (H, W, 3) below is lost under a layer: (H, W) float32 in [0, 1].

    What hides the photo counts by its alpha. What only darkens it counts by the change: nothing up to a tenth of the
    range, as a faint stain shows the picture, a fifth as `SPOILED`, a half fully; over dark places as over a tone of
    0.3.
    """
    if not layer.multiplies:
        return layer.alpha
    taken = 1 - layer.color.min(axis=-1).astype(np.float32)
    brightest = np.maximum(np.maximum(photo[..., 0], photo[..., 1]), photo[..., 2])  # photo.max(-1) is 10 times slower
    change = taken * np.maximum(brightest, 0.3)
    return layer.alpha * np.interp(change, (0.1, 0.2, 0.5), (0, SPOILED, 1)).astype(np.float32)


def damaged(canvas: Canvas, photo: np.ndarray, amount: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """The photo (H, W, 3) float32 in [0, 1] with 1.7 x `amount` kinds of damage on average, 5 at most; its coverage.

    The coverage (H, W) float32 in [0, 1] unites the kinds'; 1 where the photo is lost. Both arrays are new.
    """
    kept = np.ones((canvas.height, canvas.width), np.float32)
    result = photo.astype(np.float32)
    count = min(canvas.random.poisson(1.7 * amount), _MOST)
    for kind in canvas.random.choice(len(KINDS), count, p=_WEIGHTS / _WEIGHTS.sum()):
        blur = canvas.between(0.4, 0.9) * canvas.unit**0.7 if canvas.random.random() < 0.3 else 0.0  # as scans are
        for drawn in KINDS[kind][0](canvas, result):
            layer = Layer(soften(drawn.alpha, blur), drawn.color, drawn.multiplies)
            part = layer.box()
            color = layer.color if layer.color.ndim == 1 else layer.color[part]
            layer = Layer(layer.alpha[part], color, layer.multiplies)
            kept[part] *= 1 - coverage(layer, result[part])
            layer.lay(result[part])
    return np.clip(result, 0, 1, out=result), np.clip(1 - kept, 0, 1)
