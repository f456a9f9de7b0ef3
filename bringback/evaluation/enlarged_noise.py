"""A small noisy JPEG, enlarged: noise in patches several pixels wide, as in pictures saved from the web."""

import cv2
import numpy as np

SHRINK = (2.0, 6.0)
SIGMA = (5.0, 20.0)  # of the noise, in 8-bit levels at the small size
QUALITY = (40, 90)  # of the JPEG, inclusive


def enlarged_noise(photo: np.ndarray, seed: int) -> np.ndarray:
    """Shrink a photo (H, W, 3) uint8, add noise, compress as JPEG, enlarge to its original size. Seeded."""
    random = np.random.default_rng(seed)
    height, width = photo.shape[:2]
    factor = random.uniform(*SHRINK)
    size = max(round(width / factor), 1), max(round(height / factor), 1)
    small = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    channels = 3 if random.random() < 0.5 else 1  # color noise, or the same on all channels
    noise = random.normal(0, random.uniform(*SIGMA), (*small.shape[:2], channels))
    noisy = (small + noise).round().clip(0, 255).astype(np.uint8)
    quality = int(random.integers(*QUALITY, endpoint=True))
    # OpenCV expects BGR; RGB would give wrong luma and chroma.
    _, data = cv2.imencode(".jpg", noisy[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1]
    return cv2.resize(np.ascontiguousarray(decoded), (width, height), interpolation=cv2.INTER_CUBIC)
