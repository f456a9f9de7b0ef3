"""Tells engravings and woodcuts from photos: their tones are made of lines."""

import cv2
import numpy as np
from torch import Tensor

from bringback.ops.color import luminance

_FINE, _AROUND = 1.5, 4.0  # pixels: what is finer counts as a line, in a Gaussian neighborhood of so many
_CONTRAST = 0.04  # root mean square of fine detail where lines are seen, white being 1
# In faces of woodcuts, wood engravings and stipple, 0.89 and more of the face is of lines after the translation, in
# clean photos and in those whose noise it removed or left at most 0.6. Noise has no direction: its coherence is 0.15,
# that of lines, and of hair and skin, 0.25 and more.
_SHARE, _COHERENCE = 0.75, 0.2


def is_hatched(pixels: Tensor) -> bool:
    """Whether nearly all of a picture (1, 3, H, W) in [0, 1], such as the inner part of a face, is made of fine lines.

    The lines are told from noise by the coherence of the structure tensor (Weickert 1999), its median over the picture.
    """
    light = luminance(pixels)[0, 0].cpu().numpy()
    fine = light - cv2.GaussianBlur(light, (0, 0), _FINE)
    if (_around(fine * fine) > _CONTRAST**2).mean() < _SHARE:
        return False  # as nearly every photo
    across, down = cv2.Sobel(fine, -1, 1, 0), cv2.Sobel(fine, -1, 0, 1)
    xx, yy, xy = map(_around, (across * across, down * down, across * down))
    coherence = np.sqrt((xx - yy) ** 2 + 4 * xy * xy) / (xx + yy + 1e-5)
    return bool(np.median(coherence) >= _COHERENCE)


def _around(plane: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(plane, (0, 0), _AROUND)
