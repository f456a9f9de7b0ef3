"""Batches of random crops that depend only on (seed, sample index), prepared during the previous step."""

import glob
import logging
import os
import weakref
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from multiprocessing.pool import AsyncResult, ThreadPool
from pathlib import Path, PurePath
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bringback.degradations import DegradedBatch, OverlayBank, degrade
from bringback.errors import ConfigError
from bringback.images.shards import PLAIN, find_entries, held_out
from bringback.training.config import Source
from bringback.training.pictures import Pictures, local_processes, memory_budget

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Batch:
    """`pixels` (B, 3, R, R) in [0, 1]; `seeds` and names of `recipes`, one per sample ("": that of the config); `old`
    (B,) bool, true for real old photos.
    """

    pixels: Tensor
    seeds: list[int]
    old: Tensor
    recipes: list[str]

    def degraded(self, recipe: str, overlays: OverlayBank | None, most: int = 1 << 30) -> DegradedBatch:
        """The samples, each degraded by its own recipe, or else by `recipe`; at most so many at a time."""
        names = [own or recipe for own in self.recipes]
        chosen = {name: [i for i, own in enumerate(names) if own == name] for name in names}
        order, made = list[int](), list[DegradedBatch]()
        for name, own in chosen.items():
            for first in range(0, len(own), most):
                part = own[first : first + most]
                made.append(degrade(self.pixels[part], name, [self.seeds[i] for i in part], overlays))
                order += part
        places = torch.tensor(order).argsort().to(self.pixels.device)
        parts = zip(*((part.aged, part.mask, part.truth, part.gray) for part in made), strict=True)
        return DegradedBatch(*(torch.cat(same)[places] for same in parts))


@dataclass(frozen=True, slots=True)
class _Sample:
    pixels: np.ndarray  # (R, R, 3) uint8
    seed: int
    old: bool
    recipe: str


def spare_core(device: torch.device) -> bool:
    """Whether the training steps leave enough cores idle for a thread that computes with as many threads as they do."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return device.type != "cpu" or 2 * torch.get_num_threads() * local_processes() <= cores


def prefetch(make: Callable[[int], T], first: int, in_thread: bool) -> Generator[T, None, None]:
    """make(first), make(first + 1), ...; `in_thread`: each in a thread, while the previous one is in use."""
    if not in_thread:
        yield from map(make, count(first))
    # Leaving autocast clears the cache of cast weights for all threads. The initializer keeps this thread from leaving.
    with ThreadPoolExecutor(1, initializer=torch.autocast_increment_nesting) as thread:
        pending = thread.submit(make, first)
        for number in count(first + 1):
            made = pending.result()
            pending = thread.submit(make, number)
            yield made


def find_sources(root: Path, pattern: str) -> list[Path]:
    """The files and folders that a path or glob relative to `root` matches; raises ConfigError if there are none."""
    root, relative = root.expanduser(), Path(pattern).expanduser()
    # root_dir: brackets in the name of `root` itself are no pattern
    places = [root / place for place in sorted(glob.glob(str(relative), root_dir=root))]
    if not places:
        raise ConfigError(f"{root / relative}: no such file, folder or shard (set data_dir to where your data is)")
    return places


def read_overlays(root: Path, pattern: str, device: torch.device) -> OverlayBank | None:
    """The damage overlays that a path or glob matches; None for an empty pattern.

    Raises ConfigError if they cannot be read or differ in size.
    """
    if not pattern:
        return None
    try:
        return OverlayBank.from_shards(find_sources(root, pattern)).to(device)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{error}; overlays are readable pictures, all of one size") from error


def read_source(source: Source, root: Path, side: int | None, pool: ThreadPool) -> Pictures:
    """The pictures of a source; `side`: larger ones are downscaled to that short side.

    Of real old photos a tenth, chosen by name, is held out for validation. Raises ConfigError if the source cannot be
    read.
    """
    try:
        entries = [entry for place in find_sources(root, source.path) for entry in find_entries(place)]
    except ValueError as error:
        raise ConfigError(str(error)) from error
    entries = [entry for entry in entries if PurePath(entry.name).suffix.lower() in PLAIN]  # what Pillow alone reads
    if source.domain == "old":
        entries = [entry for entry in entries if not held_out(entry.name)]
    return Pictures(entries, side, pool)


class Crops:
    """Random square crops of weighted sources; a sample depends only on (seed, index), in any process.

    `whole` downscales pictures to the resolution first, so that a crop shows nearly all of one. All pictures are held
    in memory if they take at most `in_memory_max_gb` on this machine (0: half of the free memory); otherwise they are
    read when drawn. With `cache`, they are mapped from files beside them, which are made once, whatever they take.
    Raises ConfigError for invalid weights and for sources without a readable picture.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        root: Path,
        resolution: int,
        seed: int,
        whole: bool = False,
        in_memory_max_gb: float = 0.0,
        cache: bool = False,
    ) -> None:
        self.resolution, self.seed = resolution, seed
        weights = np.array([source.weight for source in sources], dtype=np.float64)
        if not weights.sum() > 0 or weights.min() < 0:
            raise ConfigError("data: needs at least one source, and weights of 0 or more that are not all 0")
        self.cumulative_weights = np.cumsum(weights / weights.sum())
        # not concurrent.futures: its threads delay the exit of the process until all pending reads are done
        self._pool = ThreadPool(min(16, max(2, (os.cpu_count() or 2) // local_processes())))
        weakref.finalize(self, self._pool.terminate)
        self.pictures = [read_source(source, root, resolution if whole else None, self._pool) for source in sources]
        self.old = [source.domain == "old" for source in sources]
        self.recipes = [source.recipe for source in sources]
        self._hold_if_room(", ".join(source.path for source in sources), memory_budget(in_memory_max_gb), cache)
        for source, pictures in zip(sources, self.pictures, strict=True):
            if all(pictures[index] is None for index in range(len(pictures))):
                known = "JPEG, PNG, TIFF, WebP, BMP, GIF or JPEG 2000, or plain tar shards of them"
                raise ConfigError(f"{source.path}: holds no readable picture ({known})")
        self._pending: dict[int, AsyncResult[_Sample]] = {}
        self._last_start: int | None = None

    def _hold_if_room(self, name: str, budget: float, cache: bool) -> None:
        """Hold the pictures in files, or in memory if they fit; log which, and how many are too small."""
        sizes = [size for pictures in self.pictures for size in pictures.sizes]
        need = sum(pictures.nbytes for pictures in self.pictures)
        if cache:
            files = [path for pictures in self.pictures if (path := pictures.keep(self._pool))]
            way = f"kept in {', '.join(map(str, files))}"
        elif need <= budget:
            for pictures in self.pictures:
                pictures.hold(self._pool)
            way = "held in memory"
        else:
            way = f"more than the {budget / 1e9:.3g} GB there are for them (in_memory_max_gb), so read when drawn"
        logger.info("%s: %d pictures, %.3g GB decoded, %s", name, len(sizes), need / 1e9, way)
        if small := sum(min(size) < self.resolution for size in sizes):
            advice = f"are smaller than the crop of {self.resolution} and are enlarged, which teaches blur"
            logger.warning("%s: %d of %d pictures %s", name, small, len(sizes), advice)

    def batch(self, indices: Sequence[int], device: torch.device) -> Batch:
        """The samples with the given global indices. Also starts to read the next batch.

        Its indices are assumed to be as far from these as these are from the previous ones.
        """
        results = [self._pending.pop(index) if index in self._pending else self._submit(index) for index in indices]
        samples = [result.get() for result in results]
        step = 0 if self._last_start is None else indices[0] - self._last_start
        self._pending = {index + step: self._submit(index + step) for index in indices} if step > 0 else {}
        self._last_start = indices[0]
        pixels = torch.from_numpy(np.stack([sample.pixels for sample in samples]))
        return Batch(
            pixels.to(device).permute(0, 3, 1, 2).float() / 255,
            [sample.seed for sample in samples],
            torch.tensor([sample.old for sample in samples], device=device),
            [sample.recipe for sample in samples],
        )

    def _submit(self, index: int) -> "AsyncResult[_Sample]":
        return self._pool.apply_async(self._sample, (index,))

    def _sample(self, index: int) -> _Sample:
        rng = np.random.default_rng((self.seed, index))
        which = int(np.searchsorted(self.cumulative_weights, rng.random(), side="right"))
        which = min(which, len(self.pictures) - 1)
        picture, pictures = None, self.pictures[which]
        while picture is None:  # draw again if it cannot be decoded
            picture = pictures[int(rng.integers(len(pictures)))]
        return _Sample(self._crop(picture, rng), int(rng.integers(2**62)), self.old[which], self.recipes[which])

    def _crop(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(R, R, 3), as a copy: a view would keep the whole picture in memory."""
        side, (height, width) = self.resolution, picture.shape[:2]
        scale = max(1.0, side / min(height, width))
        tall, wide = (max(side, round(length * scale)) for length in (height, width))
        top, left = int(rng.integers(tall - side + 1)), int(rng.integers(wide - side + 1))
        if scale > 1:  # only the crop is enlarged: all of a thin strip would be huge
            box = (left * width / wide, top * height / tall, (left + side) * width / wide, (top + side) * height / tall)
            crop = np.array(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC, box=box))
        else:
            crop = picture[top : top + side, left : left + side]
        return (crop[:, ::-1] if rng.random() < 0.5 else crop).copy()
