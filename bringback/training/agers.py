"""Ageing by processes of their own: for a device that is through with a step long before a picture is aged.

On one core a picture takes tens of milliseconds to age, on a fast GPU a fraction of one to learn from. So processes age
on the cores that the steps leave idle, and each aged picture may be learned from more than once, among others each
time.
"""

import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import connection, get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bringback.degradations import Aged, age
from bringback.errors import ConfigError
from bringback.training.config import TrainConfig
from bringback.training.data import Crops, read_overlays
from bringback.training.pictures import local_processes

_FEW = 4  # pictures that are aged at a time: more do not fit in the caches of cores that all do the same
_HELD = 8  # fresh batches among which a picture that is used again is drawn, times `reuse`
_PATIENCE = 5.0  # seconds in which a process sees that nobody wants more
_PIXELS = ("aged", "mask", "truth")


def _bytes(pixels: Tensor) -> np.ndarray:
    """[0, 1] as 8 bits, which is what files hold."""
    return (pixels.clamp(0, 1) * 255).round().byte().numpy()


def _deaf() -> dict[int, Any]:
    """Ignore the wish to stop, which whole groups of processes hear: a run finishes its step, on what these age.

    Gives what was done about it before.
    """
    return {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}


def _hand_over(config: TrainConfig, numbers: range, many: int, rank: int, end: connection.Connection) -> None:
    """Age batch after batch of the given numbers and send each, until nobody wants more."""
    data, size, here = Path(config.data_dir), config.train_batch_size, torch.device("cpu")
    crops = Crops(
        config.train_data, data, config.resolution, config.seed, config.whole_pictures, config.in_memory_max_gb
    )
    overlays = read_overlays(data, config.overlays, here)
    for number in numbers:
        start = (number * many + rank) * size
        batch = crops.batch(range(start, start + size), here)
        aged: list[Aged] = []
        for place in range(0, size, _FEW):
            if end.poll():  # nothing is ever sent this way: it was closed
                return
            part = slice(place, place + _FEW)
            aged.append(age(batch.pixels[part], config.recipe, batch.seeds[part], overlays))
        pixels = {name: np.concatenate([_bytes(getattr(part, name)) for part in aged]) for name in _PIXELS}
        grey = np.concatenate([part.grey.numpy() for part in aged])
        end.send(pixels | {"grey": grey, "seeds": np.array(batch.seeds)})


def _work(config: TrainConfig, numbers: range, many: int, rank: int, level: int, end: connection.Connection) -> None:
    """A process: age, or send in one line why that cannot be."""
    _deaf()
    torch.set_num_threads(1)
    logging.basicConfig(level=level, format="%(asctime)s %(message)s")
    os.environ["LOCAL_WORLD_SIZE"] = str(local_processes() * config.ageing_processes)  # all hold pictures
    with suppress(BrokenPipeError, ConnectionResetError):  # nobody listens any more
        try:
            _hand_over(config, numbers, many, rank, end)
        except Exception as error:  # no one would see it here
            reason = next(iter(str(error).splitlines()), "")
            if not isinstance(error, ConfigError):
                reason = f"ageing_processes: one failed ({type(error).__name__}: {reason}); 0 ages without them"
            end.send(reason)


class Agers:
    """`config.ageing_processes` processes that age the batches of one process of a run, from number `first` on.

    They work while it is entered. Iterating gives what `age` gives, on the device, 8 bits deep, and the seeds; batch by
    batch in order, the same for any number of processes. With `config.reuse` > 1 a batch is drawn, half of it mirrored,
    from the last 8 x `reuse` fresh ones, and a fresh one comes every `reuse` batches; `first` counts those that are
    drawn. Raises ConfigError in place of a batch that a process failed to age.
    """

    def __init__(self, config: TrainConfig, first: int, rank: int, many: int, device: torch.device) -> None:
        self.config, self.first, self.rank, self.many, self.device = config, first, rank, many, device
        # what a run that went on from here would hold
        self.fresh = max(0, first // config.reuse - _HELD * config.reuse + 1) if config.reuse > 1 else first
        self._ends: list[connection.Connection] = []
        self._processes: list[BaseProcess] = []

    def __enter__(self) -> "Agers":
        context, count = get_context("spawn"), self.config.ageing_processes
        level = logging.getLogger().getEffectiveLevel()
        before = _deaf()  # inherited: they are from their first moment on
        try:
            for number in range(count):
                end, other = context.Pipe()
                numbers = range(self.fresh + number, 1 << 60, count)
                speaks = level if number == 0 else logging.CRITICAL  # all would say the same of the same pictures
                process = context.Process(
                    target=_work, args=(self.config, numbers, self.many, self.rank, speaks, other)
                )
                process.start()
                other.close()
                self._ends.append(end)
                self._processes.append(process)
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)
        return self

    def __exit__(self, *_: object) -> None:
        """Let the processes go. They end by themselves, for one that is killed leaves semaphores behind."""
        for end in self._ends:
            end.close()
        until = time.monotonic() + _PATIENCE
        for process in self._processes:
            process.join(max(0.0, until - time.monotonic()))
            process.kill()  # if it is still reading pictures, say

    def __iter__(self) -> Iterator[tuple[Aged, list[int]]]:
        batches = self._drawn() if self.config.reuse > 1 else self._received()
        for parts in batches:
            aged, mask, truth = (parts[name].float() / 255 for name in _PIXELS)
            yield Aged(aged, mask, truth, parts["grey"]), parts["seeds"].tolist()

    def _received(self) -> Iterator[dict[str, Tensor]]:
        for number in range(1 << 60):
            try:
                parts: Any = self._ends[number % len(self._ends)].recv()
            except (EOFError, OSError):  # the latter in the middle of a batch
                parts = "ageing_processes: one has ended; if memory was short, fewer want less"
            if isinstance(parts, str):
                raise ConfigError(parts)
            seeds = torch.from_numpy(parts.pop("seeds"))  # which are asked for on this side
            yield {name: torch.from_numpy(part).to(self.device) for name, part in parts.items()} | {"seeds": seeds}

    def _drawn(self) -> Iterator[dict[str, Tensor]]:
        size, reuse, fresh = self.config.train_batch_size, self.config.reuse, self._received()
        room, come = _HELD * reuse * size, self.fresh
        held: dict[str, Tensor] = {}
        for step in range(self.first, 1 << 60):
            while come <= step // reuse:
                parts = next(fresh)
                if not held:
                    held = {name: part.new_empty(room, *part.shape[1:]) for name, part in parts.items()}
                place = come * size % room
                for name, part in parts.items():
                    held[name][place : place + size] = part
                come += 1
            rng = np.random.default_rng((self.config.seed, step, self.rank))
            chosen = torch.from_numpy(rng.integers(min(come * size, room), size=size))
            half = torch.from_numpy(rng.random(size) < 0.5).to(self.device)[:, None, None, None]
            drawn = {name: part[chosen.to(part.device)] for name, part in held.items()}
            for name in _PIXELS:
                drawn[name] = torch.where(half, drawn[name].flip(-1), drawn[name])
            yield drawn
