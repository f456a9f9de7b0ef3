"""Ageing by processes of their own: for a device that is through with a step long before a picture is aged.

On one core a picture takes tens of milliseconds to age, on a fast GPU a fraction of one to learn from. So processes age
on the cores that the steps leave idle, and each aged picture may be learned from more than once, among others each time.
"""

import signal
from collections.abc import Iterator
from multiprocessing import connection, get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bringback.aging import Aged, age
from bringback.training.config import ConfigError, TrainConfig
from bringback.training.data import Crops, read_overlays

_HELD = 8  # fresh batches among which a picture that is used again is drawn, times `reuse`


def _bytes(pixels: Tensor) -> np.ndarray:
    """[0, 1] as 8 bits, which is what files hold."""
    return (pixels.clamp(0, 1) * 255).round().byte().numpy()


def _work(config: TrainConfig, numbers: range, size: int, many: int, rank: int, end: connection.Connection) -> None:
    """Age batch after batch of the given numbers and hand each over, until nobody wants more."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who interrupts a run lets it finish its step
    try:
        data = Path(config.data_dir)
        crops = Crops(
            config.train_data, data, config.resolution, config.seed, config.whole_pictures, config.in_memory_max_gb
        )
        overlays = read_overlays(data, config.overlays, torch.device("cpu"))
        for number in numbers:
            start = (number * many + rank) * size
            batch = crops.batch(range(start, start + size), torch.device("cpu"))
            aged = age(batch.pixels, config.recipe, batch.seeds, overlays)
            parts = {name: _bytes(getattr(aged, name)) for name in ("aged", "mask", "truth")}
            end.send(parts | {"grey": aged.grey.numpy(), "seeds": np.array(batch.seeds)})
    except (BrokenPipeError, ConnectionResetError):
        pass
    except Exception as error:  # a process of its own: whoever waits for it hears why
        end.send(f"{type(error).__name__}: {error}")


class Agers:
    """`config.ageing_processes` processes that age the batches of one process of a run, from number `first` on.

    Iterating gives what `age` gives, on the device, 8 bits deep, and the seeds; batch by batch in order, the same for
    any number of processes. With `config.reuse` > 1 a batch is drawn, half of it mirrored, from the last 8 x `reuse`
    fresh ones, and a fresh one comes every `reuse` batches; `first` counts those that are drawn.
    """

    def __init__(self, config: TrainConfig, first: int, rank: int, many: int, device: torch.device) -> None:
        self.config, self.first, self.rank, self.device = config, first, rank, device
        # what a run that went on from here would hold
        self.fresh = max(0, first // config.reuse - _HELD * config.reuse + 1) if config.reuse > 1 else first
        context, self._ends, self._processes = get_context("spawn"), [], []
        count = config.ageing_processes
        for number in range(count):
            end, other = context.Pipe()
            numbers = range(self.fresh + number, 1 << 60, count)
            arguments = (config, numbers, config.train_batch_size, many, rank, other)
            process = context.Process(target=_work, args=arguments, daemon=True)
            process.start()
            other.close()
            self._ends.append(end)
            self._processes.append(process)

    def __enter__(self) -> "Agers":
        return self

    def __exit__(self, *_: object) -> None:
        """Let the processes go."""
        for end, process in zip(self._ends, self._processes, strict=True):
            end.close()
            process.terminate()
            process.join()

    def __iter__(self) -> Iterator[tuple[Aged, list[int]]]:
        batches = self._drawn() if self.config.reuse > 1 else self._received()
        for parts in batches:
            pixels = (parts[name].float() / 255 for name in ("aged", "mask", "truth"))
            yield Aged(*pixels, parts["grey"]), parts["seeds"].tolist()

    def _received(self) -> Iterator[dict[str, Tensor]]:
        for number in range(1 << 60):
            try:
                parts: Any = self._ends[number % len(self._ends)].recv()
            except EOFError:
                parts = "it ended"
            if isinstance(parts, str):
                raise ConfigError(f"a process that ages failed ({parts}); ageing_processes=0 ages without")
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
            for name in ("aged", "mask", "truth"):
                drawn[name] = torch.where(half, drawn[name].flip(-1), drawn[name])
            yield drawn
