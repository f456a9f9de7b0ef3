"""Pictures decoded once into memory; crops, flips and seeds that depend only on (seed, sample index)."""

import glob
import io
import logging
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from bringback.shards import read_shards
from bringback.training.config import ConfigError, Source

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Batch:
    """`pixels` (B, 3, R, R) in [0, 1]; `seeds`, one a sample; `old` (B,) bool, true for real old photos."""

    pixels: Tensor
    seeds: list[int]
    old: Tensor


def find_sources(root: Path, pattern: str) -> list[Path]:
    """The files and folders that a path or glob, relative to `root`, names; raises ConfigError when there are none."""
    places = sorted(glob.glob(str(root / Path(pattern).expanduser())))
    if not places:
        raise ConfigError(f"{root / pattern}: no such file, folder or shard (set data_dir to where your data is)")
    return [Path(place) for place in places]


def _members(root: Path, pattern: str) -> Iterator[tuple[str, bytes]]:
    for place in find_sources(root, pattern):
        try:
            yield from ((PurePath(name).name, content) for name, content in read_shards(place))
        except ValueError as error:
            raise ConfigError(str(error)) from error


def _decode(item: tuple[str, bytes], side: int | None) -> np.ndarray | None:
    try:
        picture = Image.open(io.BytesIO(item[1])).convert("RGB")
        if side is not None:
            scale = side / min(picture.size)
            width, height = (max(side, round(length * scale)) for length in picture.size)
            picture = picture.resize((width, height))
        return np.array(picture)
    except (OSError, UnidentifiedImageError, ValueError) as error:
        logger.warning("%s: left out, it cannot be read (%s)", item[0], error)
        return None


def read_pictures(source: Source, root: Path, side: int | None = None) -> list[np.ndarray]:
    """Every readable picture of a source as (H, W, 3) uint8, brought to a short side of `side` if that is given.

    Real old photos are split by name: a tenth is held out.
    """
    members = (m for m in _members(root, source.path) if source.domain != "old" or zlib.crc32(m[0].encode()) % 10)
    with ThreadPoolExecutor() as pool:
        pictures = [
            picture for picture in pool.map(lambda member: _decode(member, side), members) if picture is not None
        ]
    if not pictures:
        raise ConfigError(f"{source.path}: holds no readable picture")
    logger.info("%s: %d pictures, %.1f GB", source.path, len(pictures), sum(p.nbytes for p in pictures) / 1e9)
    return pictures


class Crops:
    """Random square crops of several sources, drawn by weight, the same for the same (seed, index) on any process.

    `whole` shrinks pictures to the resolution first, so that a crop shows nearly all of one.
    """

    def __init__(self, sources: Sequence[Source], root: Path, resolution: int, seed: int, whole: bool = False) -> None:
        self.resolution, self.seed = resolution, seed
        self.pictures = [read_pictures(source, root, resolution if whole else None) for source in sources]
        self.old = [source.domain == "old" for source in sources]
        weights = np.array([source.weight for source in sources], dtype=np.float64)
        self.shares = np.cumsum(weights / weights.sum())

    def batch(self, indices: Sequence[int], device: torch.device) -> Batch:
        """The samples of the given global indices."""
        crops, seeds, old = [], [], []
        for index in indices:
            rng = np.random.default_rng((self.seed, index))
            which = int(np.searchsorted(self.shares, rng.random(), side="right").clip(0, len(self.shares) - 1))
            picture = self.pictures[which][rng.integers(len(self.pictures[which]))]
            crops.append(self._crop(picture, rng))
            seeds.append(int(rng.integers(2**62)))
            old.append(self.old[which])
        pixels = torch.from_numpy(np.stack(crops)).to(device).permute(0, 3, 1, 2).float() / 255
        return Batch(pixels, seeds, torch.tensor(old, device=device))

    def _crop(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        side, (height, width) = self.resolution, picture.shape[:2]
        if min(height, width) < side:
            scale = side / min(height, width)
            size = (max(side, round(width * scale)), max(side, round(height * scale)))
            picture = np.array(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
            height, width = picture.shape[:2]
        top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
        crop = picture[top : top + side, left : left + side]
        return crop[:, ::-1] if rng.random() < 0.5 else crop
