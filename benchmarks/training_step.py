"""Where a training step's time goes: reading, ageing, forward, backward, optimizer, rest.

python benchmarks/training_step.py --data-dir data --threads 1

Runs the real loop on what configs/STAGE.yaml names, at one batch size and resolution, and prints milliseconds a sample;
`outside` is the share of a step that is not forward, backward or optimizer (with the clipping of gradients). Crops are
drawn by threads while the step before is at work: `drawing` is their processor time, no part of the step, and `reading`
what the step waits for. `fill` is what the mapping does to its pictures before a network sees them, `rest` the average
of the weights and the loop itself. Lines under a stage are parts of it: its phases where there is a discriminator, and
the forward pass of each network where there are several. Faces want aligned crops (inference/align_faces.py) of 256.
"""

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from functools import wraps
from inspect import isfunction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch import nn

from bringback.training.config import ConfigError, TrainConfig, load_config
from bringback.training.data import Crops
from bringback.training.loop import train
from bringback.training.task import TrainingTask
from bringback.training.tasks import build_task

CONFIGS = Path(__file__).parents[1] / "configs"
STAGES = ("clean_vae", "old_vae", "scratches", "tone", "mapping", "faces")
MAKING = {"bringback.aging": "ageing", "bringback.inpaint": "fill"}  # whose functions work before a network does
WARMUP = 3  # steps that are not measured: buffers are allocated, the first batch is not drawn ahead
COLUMNS = ("drawing", "reading", "ageing", "fill", "forward", "backward", "optimizer", "rest", "step", "outside")


class Watch:
    """Seconds by part. A part may contain others, whose time is theirs alone; what is in none is `rest`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.phase = ""
        self.drawn: list[float] = []  # one a sample
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
            with self.part(name.format(phase=self.phase)):
                return function(*args, **kwargs)

        return timed


def measure(task: TrainingTask, config: TrainConfig, steps: int) -> dict[str, float]:
    """Seconds by part of `steps` steps of the real loop: `backward generator`, `forward generator net`, ..."""
    watch, calls, forward, batch, sample = Watch(), 0, task.forward, Crops.batch, Crops._sample
    at: list[dict[str, float]] = []  # before the first measured step, and after the last

    def reading(self: Crops, *args: Any) -> Any:
        nonlocal calls
        if calls in (WARMUP, WARMUP + steps):
            watch.look()
            at.append({**watch.seconds, "drawing": sum(watch.drawn)})
        calls += 1
        with watch.part("reading"):
            return batch(self, *args)

    def drawing(self: Crops, index: int) -> Any:
        begun = time.thread_time()
        drawn = sample(self, index)
        watch.drawn.append(time.thread_time() - begun)
        return drawn

    def computing(phase: str, given: Any) -> Any:
        watch.phase = phase
        with watch.part(f"forward {phase}"):
            return forward(phase, given)

    with ExitStack() as stack:
        for place, name, replacement in [
            (Crops, "batch", reading),
            (Crops, "_sample", drawing),
            (task, "forward", computing),
            (Accelerator, "backward", watch.around(Accelerator.backward, "backward {phase}")),
            *(
                (AcceleratedOptimizer, name, watch.around(getattr(AcceleratedOptimizer, name), "optimizer {phase}"))
                for name in ("step", "zero_grad")
            ),
            (Accelerator, "clip_grad_norm_", watch.around(Accelerator.clip_grad_norm_, "optimizer {phase}")),
        ]:
            stack.enter_context(patch.object(place, name, replacement))
        module = sys.modules[type(task).__module__]
        for name, function in [*vars(module).items()]:
            for place, part in MAKING.items():
                if isfunction(function) and function.__module__.startswith(place):
                    stack.enter_context(patch.object(module, name, watch.around(function, part)))
        for child, network in task.named_children():
            for name in ("forward", "encode", "decode"):
                if hasattr(network, name):
                    around = watch.around(getattr(network, name), f"forward {{phase}} {child}")
                    stack.enter_context(patch.object(network, name, around))
        train(task, config)
    before, after = at
    return {part: seconds - before.get(part, 0.0) for part, seconds in after.items()}


def table(stage: str, children: list[tuple[str, nn.Module]], seconds: dict[str, float], samples: int) -> str:
    """The lines of a stage: itself, its phases if there are several, its networks if there are several."""

    def cost(*begin: str) -> float:
        return 1000 / samples * sum(value for key, value in seconds.items() if key.split()[: len(begin)] == [*begin])

    def line(label: str, **cells: float) -> str:
        return (f"{label:18}" + "".join(f"{cells[c]:10.2f}" if c in cells else " " * 10 for c in COLUMNS[:-1])).rstrip()

    kinds = ("forward", "backward", "optimizer")
    cells = {column: cost(column) for column in COLUMNS[:-2]}
    step = sum(cells.values()) - cells["drawing"]
    lines = [line(stage, **cells, step=step) + f"{1 - sum(cells[kind] for kind in kinds) / step:10.1%}"]
    phases = [key.split()[1] for key in seconds if key.startswith("backward")]
    if len(phases) > 1:
        lines += [line(f"  {phase}", **{kind: cost(kind, phase) for kind in kinds}) for phase in phases]
    used = {child: sum(cost("forward", phase, child) for phase in phases) for child, _ in children}
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
