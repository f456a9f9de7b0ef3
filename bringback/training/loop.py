"""The one training loop. It knows nothing of what it trains: a task gives networks, losses and phases."""

import json
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, set_seed
from PIL import Image
from rich.progress import Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from bringback.errors import ConfigError, SaveError
from bringback.training.agers import Agers
from bringback.training.card import Lineage, write_card
from bringback.training.config import TrainConfig
from bringback.training.data import Crops, ahead, read_overlays, spare_core
from bringback.training.state import Average, Clock, StopWish, save_state, saving, state_to_resume
from bringback.training.task import TrainingTask
from bringback.weights.checkpoints import save_network

logger = logging.getLogger(__name__)


@contextmanager
def _moving(task: nn.Module, parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Let gradients reach `parameters` alone: what another phase moves must not gather them meanwhile."""
    before = [(parameter, parameter.requires_grad) for parameter in task.parameters()]
    task.requires_grad_(False)
    for parameter in parameters:
        parameter.requires_grad_(True)
    yield
    for parameter, wanted in before:
        parameter.requires_grad_(wanted)


def tile_pictures(pictures: Tensor, columns: int = 8) -> np.ndarray:
    """(N, 3, H, W) pictures in [0, 1] as one of 8 bits, (rows * H, columns * W, 3)."""
    n, _, h, w = pictures.shape
    rows = -(-n // columns)
    sheet = pictures.new_zeros(rows * columns, 3, h, w)
    sheet[:n] = pictures
    sheet = sheet.view(rows, columns, 3, h, w).permute(0, 3, 1, 4, 2).reshape(rows * h, columns * w, 3)
    return (sheet.clamp(0, 1) * 255).round().byte().cpu().numpy()


class _Journal:
    """What a run writes for people: `metrics.jsonl`, `validation/*.png` and the trackers that the config names."""

    def __init__(self, out: Path, accelerator: Accelerator, clock: Clock, reasons: list[str]) -> None:
        self.out, self.accelerator, self.clock, self.reasons = out, accelerator, clock, reasons
        self.file = out / "metrics.jsonl"
        if accelerator.is_main_process and self.file.exists():
            # a run that was killed wrote lines of steps that it now does again
            lines = self.file.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= clock.step]
            self.file.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def numbers(self, values: dict[str, float]) -> None:
        self.accelerator.log(values, step=self.clock.step)
        if self.accelerator.is_main_process:
            line = json.dumps({"step": self.clock.step, "minutes": self.clock.seconds / 60, **values})
            with saving("metrics", self.reasons), self.file.open("a", encoding="utf-8") as lines:
                lines.write(line + "\n")

    def pictures(self, pictures: Tensor) -> None:
        sheet = tile_pictures(pictures)
        with saving("the validation grid", self.reasons):
            (self.out / "validation").mkdir(exist_ok=True)
            Image.fromarray(sheet).save(self.out / "validation" / f"{self.clock.step:07d}.png")
        for tracker in self.accelerator.trackers:
            if hasattr(tracker, "log_images"):
                layout = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
                tracker.log_images({"validation": sheet[None]}, step=self.clock.step, **layout)


def _accelerator(config: TrainConfig, phases: int) -> Accelerator:
    try:
        accelerator = Accelerator(
            cpu=not torch.accelerator.is_available(),  # else processes without a device would not find each other
            mixed_precision=config.mixed_precision,
            gradient_accumulation_steps=config.gradient_accumulation_steps,
            log_with=config.report_to or None,
            project_dir=config.output_dir,
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=phases > 1)],
        )
        if config.report_to:
            accelerator.init_trackers("bringback")
    except (ValueError, ImportError) as error:
        message = f"cannot set up the run ({str(error).splitlines()[0]})"
        raise ConfigError(f"{message}; look at report_to={config.report_to!r} and mixed_precision") from error
    return accelerator


def train(task: TrainingTask, config: TrainConfig) -> Path:
    """Train until the steps or the minutes are used up; returns the run's folder, usable as `--weights`.

    Writes `config.yaml`, `metrics.jsonl`, `validation/*.png`, `best/`, the averaged weights as one checkpoint folder a
    network, and the state to resume from (`resume_from_checkpoint: latest`). SIGINT and SIGTERM end it after the step,
    saved, by KeyboardInterrupt. A failed write is a warning, and SaveError when the last one failed too. Raises
    ConfigError when the folder holds a run that is not to be resumed, or there is none to resume.
    """
    out = Path(config.output_dir)
    resumed = state_to_resume(config)
    phases = [(phase, list(phase.parameters)) for phase in task.phases()]
    accelerator = _accelerator(config, len(phases))
    set_seed(config.seed, device_specific=True)
    device, main = accelerator.device, accelerator.is_main_process
    torch.backends.cudnn.benchmark = True  # all crops are of one size
    data = Path(config.data_dir)
    framing = (data, config.resolution)
    keeping = (config.whole_pictures, config.in_memory_max_gb)
    if config.ageing_processes and type(task).prepare is not TrainingTask.prepare:
        raise ConfigError(f"ageing_processes: {config.task} prepares its pictures in a way of its own; set 0")
    crops = None if config.ageing_processes else Crops(config.train_data, *framing, config.seed, *keeping)
    judge = Crops(config.validation_data, *framing, 1, *keeping) if main and config.validation_data else None
    laid_here = "" if config.ageing_processes else config.overlays
    bank, val_bank = (read_overlays(data, places, device) for places in (laid_here, config.validation_overlays))
    task.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    rates = [config.learning_rate * phase.lr_scale for phase, _ in phases]
    betas, decay = (config.adam_beta1, config.adam_beta2), config.adam_weight_decay
    optimizers = [
        torch.optim.AdamW(parameters, rate, betas, weight_decay=decay, fused=device.type in ("cpu", "cuda"))
        for (_, parameters), rate in zip(phases, rates, strict=True)
    ]
    model, *optimizers = accelerator.prepare(task, *optimizers)
    average = Average(task, config.ema_decay if config.use_ema else 0.0)
    clock = Clock(config)
    accelerator.register_for_checkpointing(clock, average)
    if resumed:
        accelerator.load_state(str(resumed))
    begun = clock.step
    if main:
        out.mkdir(parents=True, exist_ok=True)
        (out / "config.yaml").write_text(yaml.safe_dump(asdict(config), sort_keys=False), encoding="utf-8")
    reasons: list[str] = []  # of failed writes
    journal = _Journal(out, accelerator, clock, reasons)
    lineage = Lineage(out, config, accelerator.num_processes, clock.step, clock.seconds / 60)

    def validate() -> None:
        """Judge and save the averaged networks."""
        average.swap(task)
        task.eval()
        metrics: dict[str, float] = {}
        if judge is not None:
            with torch.no_grad():
                metrics, pictures = task.validate(judge.batch(range(config.validation_samples), device), val_bank)
            journal.pictures(pictures)
            journal.numbers({f"val_{key}": value for key, value in metrics.items()})
            logger.info("step %d: %s", clock.step, ", ".join(f"{k} {v:.4f}" for k, v in metrics.items()))
        better = metrics.get("score", math.inf) >= clock.best
        with saving(f"the weights of step {clock.step}", reasons):
            lineage.reach(clock.step, clock.seconds / 60)
            for place in [out, out / "best"] if better else [out]:
                for name, network in task.networks().items():
                    task.saved(name, save_network(network, place / name))
                    write_card(network, place / name, config, lineage, task.parents, metrics)
            if better:
                clock.best = metrics.get("score", clock.best)
        average.swap(task)

    def keep() -> None:
        save_state(accelerator, out, clock.step, config.checkpoints_total_limit, reasons)

    size, many, rank = config.train_batch_size, accelerator.num_processes, accelerator.process_index

    begun_with = begun * config.gradient_accumulation_steps
    agers = Agers(config, begun_with, rank, many, device) if config.ageing_processes else None
    coming = iter(agers or ())

    def prepare(done: int) -> Any:
        """What the task learns from after `done` batches."""
        with torch.no_grad(), accelerator.autocast():  # a thread has neither from the one that it comes from
            if crops is None:
                return task.ready(*next(coming))
            start = (done * many + rank) * size
            return task.prepare(crops.batch(range(start, start + size), device), bank)

    columns = (*Progress.get_default_columns()[:-1], TimeRemainingColumn(), TextColumn("{task.fields[loss]}"))
    batches = ahead(prepare, begun_with, spare_core(device))
    with StopWish() as wish, Progress(*columns, disable=not main) as bar, agers or nullcontext(), closing(batches):
        shown = bar.add_task(config.task, total=1.0, loss="")
        while clock.running():
            parts: dict[str, Tensor] = {}
            for _ in range(config.gradient_accumulation_steps):
                task.train()
                prepared = next(batches)
                with accelerator.accumulate(model):
                    for (phase, parameters), optimizer, rate in zip(phases, optimizers, rates, strict=True):
                        for group in optimizer.param_groups:
                            group["lr"] = rate * clock.lr_factor()
                        with _moving(task, parameters):
                            losses = model(phase.name, prepared)
                            accelerator.backward(losses.total)
                        if accelerator.sync_gradients:
                            accelerator.clip_grad_norm_(parameters, config.max_grad_norm)
                        optimizer.step()
                        optimizer.zero_grad()
                        parts |= {
                            key: value.detach() for key, value in {phase.name: losses.total, **losses.parts}.items()
                        }
            average.update(task)
            clock.step += 1
            clock.tick(accelerator, bool(wish))
            bar.update(shown, completed=clock.progress())
            if clock.step % config.logging_steps == 0:  # reading a number waits for the device: not every step
                means = accelerator.reduce(torch.stack([value.float() for value in parts.values()]), "mean")
                numbers = dict(zip(parts, means.tolist(), strict=True))
                bar.update(shown, loss=", ".join(f"{key} {value:.4f}" for key, value in numbers.items()))
                journal.numbers(numbers)
            if clock.running():  # the end is judged and saved below
                if clock.step % config.validation_steps == 0 and main:
                    validate()
                if clock.step % config.checkpointing_steps == 0:
                    keep()
        accelerator.wait_for_everyone()
        reasons.clear()
        if main and not clock.stop:
            validate()
        if clock.step > begun:
            keep()
    if main:
        average.swap(task)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    if reasons:
        raise SaveError(f"{out}: {reasons[-1]}; make room and go on with resume_from_checkpoint=latest")
    if clock.stop:
        raise KeyboardInterrupt(f"stopped at step {clock.step}; go on with --set resume_from_checkpoint=latest")
    return out
