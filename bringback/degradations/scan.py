"""What a scanner does to a print: optics, sensor noise and the file it writes."""

from collections.abc import Callable

import cv2
import numpy as np

KERNELS = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)  # by which pictures are enlarged


def scanner(
    random: np.random.Generator, *, blurs: bool = True, usual: float = 0.0
) -> Callable[[np.ndarray], np.ndarray]:
    """A scanner with random settings, as a function of pictures (H, W, 3) in [0, 1]; the result has 8 bits.

    One in four adds nothing but the rounding. `blurs`: the optics may blur too; false for a picture whose
    detail is to stay sharp to the pixel. `usual`: the share of those that have blur, a little noise and mild JPEG, all
    three.
    """
    if usual and random.random() < usual:
        plain, color = False, random.random() < 0.7
        blur = float(random.uniform(0.3, 1.0)) if blurs else 0.0
        noise, quality = float(random.uniform(0.5, 3.0)) / 255, int(random.integers(85, 98))
    else:
        plain = random.random() < 0.25
        blur = float(random.uniform(0.3, 1.0)) if blurs and random.random() < 0.7 else 0.0
        noise = float(random.uniform(0.3, 4.0)) / 255
        color = random.random() < 0.5
        quality = int(random.integers(75, 98)) if random.random() < 0.8 else 0

    def scan(picture: np.ndarray) -> np.ndarray:
        if plain:
            return _eight_bit(picture).astype(np.float32) / 255
        seen = cv2.GaussianBlur(picture, (0, 0), blur) if blur else picture
        seen = seen + random.normal(0, noise, (*seen.shape[:2], 3 if color else 1)).astype(np.float32)
        seen = _eight_bit(seen)
        if quality:
            _, data = cv2.imencode(".jpg", seen[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
            seen = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1]
        return seen.astype(np.float32) / 255

    return scan


def _eight_bit(picture: np.ndarray) -> np.ndarray:
    return (picture.clip(0, 1) * 255).round().astype(np.uint8)
