"""Worker processes that degrade pictures, for a device that finishes a step faster than one core can degrade a batch.

On one core a picture takes tens of milliseconds to degrade, on a fast GPU a fraction of one to learn from. So the
workers use the cores that the training steps leave idle, and each degraded picture may be used more than once, in
different batches.
"""

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing import connection, get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bringback.degradations import DegradedBatch
from bringback.errors import ConfigError
from bringback.training.config import TrainConfig
from bringback.training.data import Crops, read_overlays
from bringback.training.pictures import local_processes

_CHUNK = 4  # pictures degraded at a time: more exceed the CPU caches when all cores do the same
_POOL_BATCHES = 8  # size of the pool from which reused pictures are drawn: so many batches times `reuse`
_JOIN_SECONDS = 5.0  # how long a worker has to notice that its pipe was closed
_ENDLESS = 1 << 60  # batches
_PICTURES = ("aged", "mask", "truth")


def _to_uint8(pixels: Tensor) -> Tensor:
    return (pixels.clamp(0, 1) * 255).round().byte()


def _from_uint8(parts: dict[str, Tensor]) -> DegradedBatch:
    aged, mask, truth = (parts[name].float() / 255 for name in _PICTURES)
    return DegradedBatch(aged, mask, truth, parts["grey"])


def _ignore_signals() -> dict[int, Any]:
    """Ignore SIGINT and SIGTERM, which reach whole process groups: the run needs its workers to finish the step.

    Returns the previous handlers.
    """
    return {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}


def _send_batches(config: TrainConfig, numbers: range, world: int, rank: int, pipe: connection.Connection) -> None:
    """Degrade and send the batches with the given numbers, until the pipe is closed."""
    data, size, device = Path(config.data_dir), config.train_batch_size, torch.device("cpu")
    kept = config.in_memory_max_gb, config.decoded_cache
    crops = Crops(config.train_data, data, config.resolution, config.seed, config.whole_pictures, *kept)
    overlays = read_overlays(data, config.overlays, device)
    for number in numbers:
        start = (number * world + rank) * size
        batch = crops.batch(range(start, start + size), device)
        if pipe.poll():  # the other end never sends: it was closed
            return
        aged = batch.degraded(config.recipe, overlays, _CHUNK)
        pixels = {name: _to_uint8(getattr(aged, name)).numpy() for name in _PICTURES}
        pipe.send(pixels | {"grey": aged.gray.numpy(), "seeds": np.array(batch.seeds)})


def _run_worker(
    config: TrainConfig, numbers: range, world: int, rank: int, level: int, pipe: connection.Connection
) -> None:
    """The main function of a worker process. Sends an error as one line of text."""
    _ignore_signals()
    torch.set_num_threads(1)
    logging.basicConfig(level=level, format="%(asctime)s %(message)s")
    os.environ["LOCAL_WORLD_SIZE"] = str(local_processes() * config.ageing_processes)  # they share the memory
    with suppress(BrokenPipeError, ConnectionResetError):  # the other end was closed
        try:
            _send_batches(config, numbers, world, rank, pipe)
        except Exception as error:
            reason = next(iter(str(error).splitlines()), "")
            if not isinstance(error, ConfigError):
                reason = f"ageing_processes: one failed ({type(error).__name__}: {reason}); 0 ages without them"
            pipe.send(reason)


class DegradationWorkers:
    """A context in which `config.ageing_processes` processes degrade the batches of one training process.

    Iterating yields, batch by batch from number `first` on, what `degrade` returns, on the device and rounded to 8
    bits, and the seeds. The batches do not depend on the number of workers. `restored` is applied to each fresh batch
    by this process, see `TrainingTask`.

    With `config.reuse` > 1 each batch is sampled from a pool of the last 8 x `reuse` fresh batches, each picture
    mirrored or not; a fresh batch is added for every `reuse` that are sampled, and `first` counts the sampled ones.
    Raises ConfigError in place of a batch that a worker failed to make.
    """

    def __init__(
        self,
        config: TrainConfig,
        first: int,
        rank: int,
        world: int,
        device: torch.device,
        restored: Callable[[DegradedBatch, list[int]], DegradedBatch] = lambda aged, _: aged,
    ) -> None:
        self.restored = restored
        self.config, self.first, self.rank, self.world, self.device = config, first, rank, world, device
        # with a pool, a resumed run starts by making the batches that it would hold by now
        pool = _POOL_BATCHES * config.reuse
        self.first_fresh = max(0, first // config.reuse - pool + 1) if config.reuse > 1 else first
        self._pipes: list[connection.Connection] = []
        self._processes: list[BaseProcess] = []

    def __enter__(self) -> "DegradationWorkers":
        context, count = get_context("spawn"), self.config.ageing_processes
        level = logging.getLogger().getEffectiveLevel()
        handlers = _ignore_signals()  # inherited, so that the workers ignore signals from their first moment on
        try:
            for number in range(count):
                pipe, theirs = context.Pipe()
                numbers = range(self.first_fresh + number, _ENDLESS, count)
                own_level = level if number == 0 else logging.CRITICAL  # the others would log the same
                process = context.Process(
                    target=_run_worker, args=(self.config, numbers, self.world, self.rank, own_level, theirs)
                )
                process.start()
                theirs.close()
                self._pipes.append(pipe)
                self._processes.append(process)
        finally:
            for signum, handler in handlers.items():
                signal.signal(signum, handler)
        return self

    def __exit__(self, *_: object) -> None:
        """Let the workers exit by themselves: a killed one leaks its semaphores."""
        for pipe in self._pipes:
            pipe.close()
        deadline = time.monotonic() + _JOIN_SECONDS
        for process in self._processes:
            process.join(max(0.0, deadline - time.monotonic()))
            process.kill()  # if it is still busy, for example reading pictures

    def __iter__(self) -> Iterator[tuple[DegradedBatch, list[int]]]:
        batches = self._sample_from_pool() if self.config.reuse > 1 else self._receive()
        for parts in batches:
            yield _from_uint8(parts), parts["seeds"].tolist()

    def _receive(self) -> Iterator[dict[str, Tensor]]:
        for number in range(_ENDLESS):
            try:
                parts: Any = self._pipes[number % len(self._pipes)].recv()
            except (EOFError, OSError):  # OSError: in the middle of a batch
                parts = "ageing_processes: one has ended; if memory was short, use fewer"
            if isinstance(parts, str):
                raise ConfigError(parts)
            seeds = torch.from_numpy(parts.pop("seeds"))  # stay on the CPU, where they are used
            fresh = {name: torch.from_numpy(part).to(self.device) for name, part in parts.items()}
            aged = _from_uint8(fresh)
            made = self.restored(aged, seeds.tolist())
            if made is not aged:
                fresh |= {name: _to_uint8(getattr(made, name)) for name in _PICTURES}
            yield fresh | {"seeds": seeds}

    def _sample_from_pool(self) -> Iterator[dict[str, Tensor]]:
        size, reuse, fresh = self.config.train_batch_size, self.config.reuse, self._receive()
        capacity, received = _POOL_BATCHES * reuse * size, self.first_fresh
        pool: dict[str, Tensor] = {}
        for number in range(self.first, _ENDLESS):
            while received <= number // reuse:
                parts = next(fresh)
                if not pool:
                    pool = {name: part.new_empty(capacity, *part.shape[1:]) for name, part in parts.items()}
                place = received * size % capacity
                for name, part in parts.items():
                    pool[name][place : place + size] = part
                received += 1
            rng = np.random.default_rng((self.config.seed, number, self.rank))
            chosen = torch.from_numpy(rng.integers(min(received * size, capacity), size=size))
            mirrored = torch.from_numpy(rng.random(size) < 0.5).to(self.device)[:, None, None, None]
            sampled = {name: part[chosen.to(part.device)] for name, part in pool.items()}
            for name in _PICTURES:
                sampled[name] = torch.where(mirrored, sampled[name].flip(-1), sampled[name])
            yield sampled
