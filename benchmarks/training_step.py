"""Where a training step's time goes: waiting for pictures, forward, backward, optimizer, rest.

python benchmarks/training_step.py --data-dir data --threads 1

Runs the real loop on what configs/STAGE.yaml names, at one batch size and resolution, and prints milliseconds a sample;
`outside` is the share of a step that is not forward, backward or optimizer (with the clipping of gradients), `crops/s`
how many are learned from a second, `waits` the share of the time that a step waits for pictures. If a
core is free, pictures are prepared by a thread beside the step: `drawing`, `ageing` and `fill` (what the mapping does
before a network sees them) are then no part of it, but what it waits for is (`waiting`). With no core to spare they are
in the step, but for the drawing. All is timed by the clock; `rest` is the average of the weights and the loop itself.
Lines under a stage are parts of it: its phases where there is a discriminator, and the forward pass of each network
where there are several (that of the mapping's detector is part of the preparation). Faces want aligned crops
(inference/align_faces.py) of 256.
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
from bringback.training.tasks import build_task
from bringback.training.tasks.mapping import MappingTask

CONFIGS = Path(__file__).parents[1] / "configs"
STAGES = ("clean_vae", "old_vae", "scratches", "tone", "mapping", "translation", "faces")
MAKING = {
    "bringback.degradations": "ageing",
    "bringback.ops.push_pull": "fill",
}  # whose functions work before a network does
WARMUP = 3  # steps that are not measured: buffers are allocated, the first batch is not prepared ahead
BESIDE = ("drawing", "ageing", "fill")
COLUMNS = (*BESIDE, "waiting", "forward", "backward", "optimizer", "rest", "step", "outside", "crops/s", "waits")


class Watch:
    """Seconds of the main thread by part. What is in none is `rest`; a part in another has its time for itself.

    What other threads do meanwhile is in `beside`: parts and seconds.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.phase = ""
        self.beside: list[tuple[str, float]] = []  # a list, for appending is safe in threads
        self._open, self._since = ["rest"], time.perf_counter()

    def look(self) -> None:
        """Give the time since the last look to the part that is open."""
        if torch.accelerator.is_available():  # it computes behind the loop's back
            torch.accelerator.synchronize()
        now = time.perf_counter()
        self.seconds[self._open[-1]] += now - self._since
        self._since = now

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        self.look()
        self._open.append(name)
        yield
        self.look()
        self._open.pop()

    def around(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        """The function, its time a part; `name` may hold {phase}."""

        @wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            if threading.current_thread() is threading.main_thread():
                with self.part(name.format(phase=self.phase)):
                    return function(*args, **kwargs)
            begun = time.perf_counter()
            result = function(*args, **kwargs)
            self.beside.append((name, time.perf_counter() - begun))
            return result

        return timed


def measure(task: TrainingTask, config: TrainConfig, steps: int) -> dict[str, float]:
    """Seconds by part of `steps` steps of the real loop: `backward generator`, `forward generator net`, ...

    Parts of other threads begin with `beside`.
    """
    watch, forward, ahead = Watch(), task.forward, loop.ahead
    at: list[dict[str, float]] = []  # before the first measured step, and after the last

    def waiting(*given: Any) -> Iterator[Any]:
        batches = ahead(*given)
        for call in count():
            if call in (WARMUP, WARMUP + steps):
                watch.look()
                beside: dict[str, float] = defaultdict(float)
                for part, seconds in watch.beside:
                    beside[f"beside {part}"] += seconds
                at.append({**watch.seconds, **beside})
            with watch.part("waiting"):
                prepared = next(batches)
            yield prepared

    def computing(phase: str, given: Any) -> Any:
        watch.phase = phase
        with watch.part(f"forward {phase}"):
            return forward(phase, given)

    with ExitStack() as stack:
        for place, name, replacement in [
            (loop, "ahead", waiting),
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
        modules = {sys.modules[kind.__module__] for kind in (type(task), TrainingTask, MappingTask)}
        for module, (place, part) in product(modules, MAKING.items()):
            for name, function in [*vars(module).items()]:
                if isfunction(function) and function.__module__.startswith(place):
                    stack.enter_context(patch.object(module, name, watch.around(function, part)))
        for child, network in task.named_children():
            for name in ("forward", "encode", "decode"):
                if hasattr(network, name):
                    around = watch.around(getattr(network, name), f"forward {{phase}} {child}")
                    stack.enter_context(patch.object(network, name, around))
        loop.train(task, config)
    before, after = at
    return {part: seconds - before.get(part, 0.0) for part, seconds in after.items()}


def table(stage: str, children: list[tuple[str, nn.Module]], seconds: dict[str, float], samples: int) -> str:
    """The lines of a stage: itself, its phases if there are several, its networks if there are several."""

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
    cells |= {column: cells[column] + cost("beside", column) for column in BESIDE}
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
    """Read the arguments; measure stage by stage, tell each as soon as it is known. Exits 2 when one cannot be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", default="data", help="where the pictures of the configs lie (default: data)")
    parser.add_argument("--overlays", help="damage overlays, relative to it, in place of those of the configs")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES, metavar="STAGE")
    parser.add_argument("--steps", type=int, default=20, help="how many are measured, after some to warm up (20)")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--threads", type=int, help="of the processor (default: torch's choice)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="lay over each config")
    options = parser.parse_args()
    if min(options.steps, options.batch, options.resolution, options.threads or 1) < 1:
        parser.error("steps, batch, resolution and threads are 1 or more")
    if options.threads:
        torch.set_num_threads(options.threads)
    given: dict[str, Any] = {"data_dir": options.data_dir, "validation_data": [], "validation_overlays": ""}
    given |= {} if options.overlays is None else {"overlays": options.overlays}
    given |= {"train_batch_size": options.batch, "resolution": options.resolution, "mixed_precision": "bf16"}
    given |= {"max_train_steps": WARMUP + options.steps + 1, "max_train_minutes": 1e9, "checkpointing_steps": 10**9}
    given |= {"init_from": ""}  # fresh weights take as long
    settings = [f"{key}={json.dumps(value)}" for key, value in given.items()]
    device = torch.accelerator.current_accelerator() or f"cpu, {torch.get_num_threads()} thread(s)"
    print(f"milliseconds a sample, batch {options.batch}, {options.resolution}x{options.resolution}, {device}")
    print(f"{'':18}" + "".join(f"{column:>10}" for column in COLUMNS), flush=True)
    failed = False
    for stage in options.stages:
        try:
            with TemporaryDirectory() as out, redirect_stdout(sys.stderr):  # the loop's bar is no part of the table
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
