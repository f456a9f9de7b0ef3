"""The one training loop. It knows nothing of what it trains: a task gives networks, losses and phases."""

import json
import logging
import math
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, ProjectConfiguration, broadcast, set_seed
from PIL import Image
from rich.progress import Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from bringback.aging import OverlayBank
from bringback.checkpoints import save_network
from bringback.training.card import write_card
from bringback.training.config import ConfigError, TrainConfig
from bringback.training.data import Crops, find_sources
from bringback.training.task import TrainingTask

logger = logging.getLogger(__name__)


class _Clock:
    """Steps done, seconds spent and the best score so far; saved and restored with the run.

    `seconds` stands still between two ticks, so that all processes see the same learning rate and the same end.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.config, self.step, self.seconds, self.best = config, 0, 0.0, -math.inf
        self._spent, self._since = 0.0, time.monotonic()

    def tick(self, accelerator: Accelerator) -> None:
        """Look at the time: that of the main process, for all of them."""
        self.seconds = self._spent + time.monotonic() - self._since
        if accelerator.num_processes > 1:
            self.seconds = float(broadcast(torch.tensor(self.seconds, device=accelerator.device)))

    def progress(self) -> float:
        """0 at the start, 1 when the steps or the minutes are used up, whichever comes first."""
        return max(self.step / self.config.max_train_steps, self.seconds / 60 / self.config.max_train_minutes)

    def lr_factor(self) -> float:
        warm = min(1.0, (self.step + 1) / max(1, self.config.lr_warmup_steps))
        if self.config.lr_scheduler == "cosine":
            warm *= 0.5 * (1 + math.cos(math.pi * min(1.0, self.progress()))) * 0.98 + 0.02
        return warm

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step, "spent": self._spent + time.monotonic() - self._since, "best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step, self.seconds = state["step"], state["spent"]
        self.best = state.get("best", -math.inf)  # the first states had none
        self._spent, self._since = self.seconds, time.monotonic()


class _Average:
    """Exponential moving average of a task's networks (weights and float buffers)."""

    def __init__(self, task: TrainingTask, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.shadow = {k: v.detach().clone() for k, v in self._live(task).items()}

    @staticmethod
    def _live(task: TrainingTask) -> dict[str, Tensor]:
        return {f"{n}/{k}": v for n, net in task.networks().items() for k, v in net.state_dict().items()}

    @torch.no_grad()
    def update(self, task: TrainingTask) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for key, value in self._live(task).items():
            if value.is_floating_point():
                self.shadow[key].lerp_(value.detach(), 1 - decay)
            else:
                self.shadow[key].copy_(value)

    @torch.no_grad()
    def swap(self, task: TrainingTask) -> None:
        """Exchange the average with the live weights; a second call undoes the first."""
        for key, value in self._live(task).items():
            kept = value.clone()
            value.copy_(self.shadow[key])
            self.shadow[key].copy_(kept)

    def state_dict(self) -> dict[str, Any]:
        return {"shadow": self.shadow, "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for key, value in state["shadow"].items():
            self.shadow[key].copy_(value)  # a state is loaded to the CPU; the average stays where the networks are
        self.updates = state["updates"]


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


def _saved_states(out: Path) -> list[Path]:
    """The folders of the states that a run has saved, oldest first."""
    return sorted((out / "checkpoints").glob("checkpoint_*"), key=lambda folder: int(folder.name.split("_")[1]))


def _state_to_resume(config: TrainConfig) -> Path | None:
    """The folder of the state that a config wants to go on from, if any; raises ConfigError."""
    states, wanted = _saved_states(Path(config.output_dir)), config.resume_from_checkpoint
    if not wanted:
        if states:
            message = "holds a run already: set resume_from_checkpoint=latest or another output_dir"
            raise ConfigError(f"{config.output_dir} {message}")
        return None
    if wanted == "latest":
        if not states:
            raise ConfigError(f"{config.output_dir} holds no state to resume from: leave resume_from_checkpoint empty")
        return states[-1]
    if not Path(wanted).is_dir():
        raise ConfigError(f"resume_from_checkpoint: {wanted} is no folder; give the folder of a saved state or latest")
    return Path(wanted)


def write_grid(pictures: Tensor, path: Path, columns: int = 8) -> None:
    """Write (N, 3, H, W) pictures in [0, 1] as one PNG, `columns` a row."""
    n, _, h, w = pictures.shape
    rows = -(-n // columns)
    sheet = pictures.new_zeros(rows * columns, 3, h, w)
    sheet[:n] = pictures
    sheet = sheet.view(rows, columns, 3, h, w).permute(0, 3, 1, 4, 2).reshape(rows * h, columns * w, 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((sheet.clamp(0, 1) * 255).round().byte().cpu().numpy()).save(path)


def train(task: TrainingTask, config: TrainConfig) -> Path:
    """Train until the steps or the minutes are used up; returns the run's folder, usable as `--weights`.

    Writes `config.yaml`, `metrics.jsonl`, `validation/*.png`, `best/`, the averaged weights as one checkpoint folder a
    network, and the state to resume from (`resume_from_checkpoint: latest`). Raises ConfigError when the folder holds a
    run that is not to be resumed, or there is none to resume.
    """
    out = Path(config.output_dir)
    resumed = _state_to_resume(config)
    phases = [(phase, list(phase.parameters)) for phase in task.phases()]
    accelerator = Accelerator(
        mixed_precision=config.mixed_precision,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        log_with=config.report_to or None,
        project_config=ProjectConfiguration(
            str(out), automatic_checkpoint_naming=True, total_limit=config.checkpoints_total_limit
        ),
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=len(phases) > 1)],
    )
    set_seed(config.seed, device_specific=True)
    device, main = accelerator.device, accelerator.is_main_process
    data = Path(config.data_dir)
    framing = (data, config.resolution)
    crops = Crops(config.train_data, *framing, config.seed, config.whole_pictures)
    judge = Crops(config.validation_data, *framing, 1, config.whole_pictures) if config.validation_data else None
    bank, val_bank = (
        OverlayBank.from_shards(find_sources(data, places)).to(device) if places else None
        for places in (config.overlays, config.validation_overlays)
    )
    task.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    rates = [config.learning_rate * phase.lr_scale for phase, _ in phases]
    betas, decay = (config.adam_beta1, config.adam_beta2), config.adam_weight_decay
    optimizers = [
        torch.optim.AdamW(parameters, rate, betas, weight_decay=decay)
        for (_, parameters), rate in zip(phases, rates, strict=True)
    ]
    model, *optimizers = accelerator.prepare(task, *optimizers)
    average = _Average(task, config.ema_decay if config.use_ema else 0.0)
    clock = _Clock(config)
    accelerator.register_for_checkpointing(clock, average)
    if resumed:
        accelerator.load_state(str(resumed))
        # past every state there is, the older ones too from which a run may go on
        last = _saved_states(out)[-1:]
        accelerator.project_configuration.iteration = int(last[0].name.split("_")[1]) + 1 if last else 0
    begun = clock.step
    if main:
        out.mkdir(parents=True, exist_ok=True)
        (out / "config.yaml").write_text(yaml.safe_dump(asdict(config), sort_keys=False), encoding="utf-8")
    if config.report_to:
        accelerator.init_trackers("bringback")

    def record(values: dict[str, float]) -> None:
        accelerator.log(values, step=clock.step)
        if main:
            with (out / "metrics.jsonl").open("a", encoding="utf-8") as lines:
                lines.write(json.dumps({"step": clock.step, "minutes": clock.seconds / 60, **values}) + "\n")

    def validate() -> None:
        """Judge and save the averaged networks."""
        average.swap(task)
        task.eval()
        task.overlays = val_bank
        metrics: dict[str, float] = {}
        if judge is not None:
            with torch.no_grad():
                metrics, pictures = task.validate(judge.batch(range(config.validation_samples), device))
            write_grid(pictures, out / "validation" / f"{clock.step:07d}.png")
            record({f"val_{key}": value for key, value in metrics.items()})
            logger.info("step %d: %s", clock.step, ", ".join(f"{k} {v:.4f}" for k, v in metrics.items()))
        better = metrics.get("score", math.inf) >= clock.best
        for name, network in task.networks().items():
            save_network(network, out / name)
            write_card(network, out / name, config, task.parents, clock.step, clock.seconds / 60, metrics)
            if better:
                shutil.copytree(out / name, out / "best" / name, dirs_exist_ok=True)
        if better:
            clock.best = metrics.get("score", clock.best)
        average.swap(task)

    size, many, rank = config.train_batch_size, accelerator.num_processes, accelerator.process_index
    columns = (*Progress.get_default_columns()[:-1], TimeRemainingColumn(), TextColumn("{task.fields[loss]}"))
    with Progress(*columns, disable=not main) as bar:
        shown = bar.add_task(config.task, total=1.0, loss="")
        while clock.progress() < 1:
            for turn in range(config.gradient_accumulation_steps):
                task.train()
                task.overlays = bank
                done = clock.step * config.gradient_accumulation_steps + turn
                start = (done * many + rank) * size
                batch = crops.batch(range(start, start + size), device)
                parts: dict[str, float] = {}
                with accelerator.accumulate(model):
                    for (phase, parameters), optimizer, rate in zip(phases, optimizers, rates, strict=True):
                        for group in optimizer.param_groups:
                            group["lr"] = rate * clock.lr_factor()
                        with _moving(task, parameters):
                            losses = model(phase.name, batch)
                            accelerator.backward(losses.total)
                        if accelerator.sync_gradients:
                            accelerator.clip_grad_norm_(parameters, config.max_grad_norm)
                        optimizer.step()
                        optimizer.zero_grad()
                        parts |= {k: float(v.detach()) for k, v in {phase.name: losses.total, **losses.parts}.items()}
            average.update(task)
            clock.step += 1
            clock.tick(accelerator)
            bar.update(shown, completed=clock.progress(), loss=", ".join(f"{k} {v:.4f}" for k, v in parts.items()))
            if clock.step % 20 == 0:
                record(parts)
            if clock.progress() < 1:  # the end is judged and saved below
                if clock.step % config.validation_steps == 0 and main:
                    validate()
                if clock.step % config.checkpointing_steps == 0:
                    accelerator.save_state()
    accelerator.wait_for_everyone()
    if main:
        validate()
    if clock.step > begun:
        accelerator.save_state()
    if main:
        average.swap(task)
    accelerator.end_training()
    return out
