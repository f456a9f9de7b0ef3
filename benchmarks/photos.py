"""The benchmark photo: scikit-image's astronaut at any size, with scratches."""

import cv2
import numpy as np
from skimage import data

GRAIN = 0.04


def scratched(height: int, width: int, seed: int = 0, *, portrait: bool = False) -> np.ndarray:
    """A grainy photo (height, width, 3) uint8 with dark and light scratches and dots; two faces in elongated formats.

    The face covers the same share of the photo at any size, so that it is always detected; a `portrait` is filled by
    it.
    """
    rng = np.random.default_rng(seed)
    astronaut = data.astronaut()
    if portrait:
        astronaut = np.ascontiguousarray(astronaut[30:180, 120:320])
    if width >= 1.5 * height or height >= 1.5 * width:
        pair = (astronaut, astronaut[:, ::-1])
        astronaut = np.concatenate(pair, axis=1 if width > height else 0)
    photo = cv2.resize(astronaut, (width, height), interpolation=cv2.INTER_CUBIC)
    scale = max(min(height, width) / 512, 1.0)
    for _ in range(14):
        ends = rng.uniform(0, 1, (2, 2)) * (width, height)
        light = int(rng.choice((242, 16), p=(0.8, 0.2)))
        thick = int(rng.uniform(1, 3) * scale**0.5)
        cv2.line(photo, *(tuple(map(int, end)) for end in ends), (light,) * 3, thick, cv2.LINE_AA)
    for _ in range(40):
        light, radius = int(rng.choice((240, 26))), int(rng.uniform(1, 5) * scale**0.5)
        place = (int(rng.uniform(0, width)), int(rng.uniform(0, height)))
        cv2.circle(photo, place, radius, (light,) * 3, -1, cv2.LINE_AA)
    for rows in np.array_split(np.arange(height), max(height // 512, 1)):  # in strips, to save memory
        grain = cv2.GaussianBlur(rng.standard_normal((len(rows), width), dtype=np.float32), (0, 0), 0.7)
        strip = photo[rows[0] : rows[-1] + 1]
        strip[:] = (strip + (255 * GRAIN) * grain[..., None]).clip(0, 255)
    return photo
