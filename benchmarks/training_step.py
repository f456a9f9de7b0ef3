"""Where the time of a training step goes: waiting for pictures, forward, backward, optimizer, rest.

python benchmarks/training_step.py --data-dir data --threads 1

Runs the real loop with configs/STAGE.yaml, at one batch size and resolution, and prints milliseconds per sample.
`outside` is the share of a step that is not forward, backward or optimizer (including gradient clipping), `crops/s` the
number of samples per second, `waits` the share of the time that a step waits for pictures.

If a core is idle, a thread prepares the pictures of the next step. `drawing`, `ageing` and `fill` (of damage, for the
translation) are then not part of the step, but `waiting` for them is. Without an idle core they are part of it, except
for `drawing`. All times are wall-clock; `rest` is the moving average of the weights and the loop itself.

The lines under a stage are its phases, if it has a discriminator, and the forward pass of each network, if it has
several (that of the mapping's detector is part of the preparation). Faces need aligned crops of 256 pixels
(inference/align_faces.py).
"""

import argparse
import json
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from functools import wraps
from inspect import isfunction
from itertools import count, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch import nn

from bringback.errors import ConfigError
from bringback.training import loop
from bringback.training.config import TrainConfig, load_config
from bringback.training.data import Crops
from bringback.training.task import TrainingTask
from bringback.training.tasks import build_task, filled

CONFIGS = Path(__file__).parents[1] / "configs"
STAGES = ("clean_vae", "old_vae", "scratches", "tone", "mapping", "translation", "faces")
PREPARATION = {"bringback.degradations": "ageing", "bringback.ops.push_pull": "fill"}  # packages: their part of a step
WARMUP = 3  # steps that are not measured: they allocate buffers, and the first batch is not prefetched
IN_THREAD = ("drawing", "ageing", "fill")
COLUMNS = (*IN_THREAD, "waiting", "forward", "backward", "optimizer", "rest", "step", "outside", "crops/s", "waits")


class Stopwatch:
    """Seconds of the main thread by part; time outside of all parts is `rest`. A nested part is not counted twice.

    `in_threads` holds the parts and seconds of other threads.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.phase = ""
        self.in_threads: list[tuple[str, float]] = []  # appending to a list is thread-safe
        self._open, self._since = ["rest"], time.perf_counter()

    def lap(self) -> None:
        """Add the time since the last lap to the current part."""
        if torch.accelerator.is_available():  # which computes asynchronously
            torch.accelerator.synchronize()
        now = time.perf_counter()
        self.seconds[self._open[-1]] += now - self._since
        self._since = now

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        self.lap()
        self._open.append(name)
        yield
        self.lap()
        self._open.pop()

    def around(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        """The function, timed as a part; `name` may contain {phase}."""

        @wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            if threading.current_thread() is threading.main_thread():
                with self.part(name.format(phase=self.phase)):
                    return function(*args, **kwargs)
            begun = time.perf_counter()
            result = function(*args, **kwargs)
            self.in_threads.append((name, time.perf_counter() - begun))
            return result

        return timed


def measure(task: TrainingTask, config: TrainConfig, steps: int) -> dict[str, float]:
    """Seconds by part of `steps` steps of the real loop: `backward generator`, `forward generator net`, ...

    Parts in other threads start with `thread`.
    """
    watch, forward, prefetch = Stopwatch(), task.forward, loop.prefetch
    readings: list[dict[str, float]] = []  # before the first measured step, and after the last

    def waiting(*given: Any) -> Iterator[Any]:
        batches = prefetch(*given)
        for call in count():
            if call in (WARMUP, WARMUP + steps):
                watch.lap()
                in_threads: dict[str, float] = defaultdict(float)
                for part, seconds in watch.in_threads:
                    in_threads[f"thread {part}"] += seconds
                readings.append({**watch.seconds, **in_threads})
            with watch.part("waiting"):
                prepared = next(batches)
            yield prepared

    def computing(phase: str, given: Any) -> Any:
        watch.phase = phase
        with watch.part(f"forward {phase}"):
            return forward(phase, given)

    with ExitStack() as stack:
        for place, name, replacement in [
            (loop, "prefetch", waiting),
            (Crops, "_sample", watch.around(Crops._sample, "drawing")),
            (task, "forward", computing),
            (Accelerator, "backward", watch.around(Accelerator.backward, "backward {phase}")),
            *(
                (AcceleratedOptimizer, name, watch.around(getattr(AcceleratedOptimizer, name), "optimizer {phase}"))
                for name in ("step", "zero_grad")
            ),
            (Accelerator, "clip_grad_norm_", watch.around(Accelerator.clip_grad_norm_, "optimizer {phase}")),
        ]:
            stack.enter_context(patch.object(place, name, replacement))
        modules = {filled, *(sys.modules[kind.__module__] for kind in (type(task), TrainingTask))}
        for module, (place, part) in product(modules, PREPARATION.items()):
            for name, function in [*vars(module).items()]:
                if isfunction(function) and function.__module__.startswith(place):
                    stack.enter_context(patch.object(module, name, watch.around(function, part)))
        for child, network in task.named_children():
            for name in ("forward", "encode", "decode"):
                if hasattr(network, name):
                    around = watch.around(getattr(network, name), f"forward {{phase}} {child}")
                    stack.enter_context(patch.object(network, name, around))
        loop.train(task, config)
    before, after = readings
    return {part: seconds - before.get(part, 0.0) for part, seconds in after.items()}


def table(stage: str, children: list[tuple[str, nn.Module]], seconds: dict[str, float], samples: int) -> str:
    """The lines of a stage: its total, then its phases and its networks, if it has several."""

    def cost(*begin: str) -> float:
        return 1000 / samples * sum(value for key, value in seconds.items() if key.split()[: len(begin)] == [*begin])

    def child_cost(child: str) -> float:
        names = [key for key in seconds if "forward" in key.split() and key.split()[-1] == child]
        return 1000 / samples * sum(seconds[key] for key in names)

    def line(label: str, **cells: float) -> str:
        return (f"{label:18}" + "".join(f"{cells[c]:10.2f}" if c in cells else " " * 10 for c in COLUMNS[:-3])).rstrip()

    kinds = ("forward", "backward", "optimizer")
    cells = {column: cost(column) for column in COLUMNS[:-4]}
    step, waiting = sum(cells.values()), cells["waiting"]
    cells |= {column: cells[column] + cost("thread", column) for column in IN_THREAD}
    shares = f"{1 - sum(cells[kind] for kind in kinds) / step:10.1%}{1000 / step:10.1f}{waiting / step:10.1%}"
    lines = [line(stage, **cells, step=step) + shares]
    phases = [key.split()[1] for key in seconds if key.startswith("backward")]
    if len(phases) > 1:
        lines += [line(f"  {phase}", **{kind: cost(kind, phase) for kind in kinds}) for phase in phases]
    used = {child: child_cost(child) for child, _ in children}
    if len(used) > 1:
        lines += [line(f"  {child}", forward=value) for child, value in used.items()]
    return "\n".join(lines)


def main() -> None:
    """Measure stage by stage, printing each as soon as it is known. Exits with 2 if one cannot be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", default="data", help="the folder of training pictures (default: data)")
    parser.add_argument("--overlays", help="damage overlays, relative to it, instead of those in the configs")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES, metavar="STAGE")
    parser.add_argument("--steps", type=int, default=20, help="steps to measure, after some to warm up (20)")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's choice)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override config values")
    options = parser.parse_args()
    if min(options.steps, options.batch, options.resolution, options.threads or 1) < 1:
        parser.error("steps, batch, resolution and threads must be 1 or more")
    if options.threads:
        torch.set_num_threads(options.threads)
    given: dict[str, Any] = {"data_dir": options.data_dir, "validation_data": [], "validation_overlays": ""}
    given |= {} if options.overlays is None else {"overlays": options.overlays}
    given |= {"train_batch_size": options.batch, "resolution": options.resolution, "mixed_precision": "bf16"}
    given |= {"max_train_steps": WARMUP + options.steps + 1, "max_train_minutes": 1e9, "checkpointing_steps": 10**9}
    given |= {"init_from": ""}  # the speed does not depend on the weights
    settings = [f"{key}={json.dumps(value)}" for key, value in given.items()]
    device = torch.accelerator.current_accelerator() or f"cpu, {torch.get_num_threads()} thread(s)"
    print(f"milliseconds a sample, batch {options.batch}, {options.resolution}x{options.resolution}, {device}")
    print(f"{'':18}" + "".join(f"{column:>10}" for column in COLUMNS), flush=True)
    failed = False
    for stage in options.stages:
        try:
            with TemporaryDirectory() as out, redirect_stdout(sys.stderr):  # keeps the progress bar out of the table
                config = load_config(CONFIGS / f"{stage}.yaml", [*settings, *options.set, f"output_dir={out}/run"])
                task = build_task(config)
                children = list(task.named_children())
                seconds = measure(task, config, options.steps)
            print(table(stage, children, seconds, options.steps * options.batch), flush=True)
        except (ConfigError, OSError, RuntimeError) as error:
            print(f"training_step: {stage}: {str(error).splitlines()[0]}", file=sys.stderr)
            failed = True
        except KeyboardInterrupt:
            sys.exit(130)
    sys.exit(2 if failed else 0)


if __name__ == "__main__":
    main()
