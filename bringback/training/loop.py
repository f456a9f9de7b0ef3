"""The one training loop. It knows nothing of what it trains: a task gives networks, losses and phases."""

import json
import logging
import math
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, ProjectConfiguration, set_seed
from PIL import Image
from rich.progress import Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from bringback.aging import OverlayBank
from bringback.checkpoints import save_network
from bringback.training.card import write_card
from bringback.training.config import TrainConfig
from bringback.training.data import Crops, find_sources
from bringback.training.task import TrainingTask

logger = logging.getLogger(__name__)


class _Clock:
    """Steps done and seconds spent; saved and restored with the run."""

    def __init__(self, config: TrainConfig) -> None:
        self.config, self.step, self.spent, self._since = config, 0, 0.0, time.monotonic()

    def progress(self) -> float:
        """0 at the start, 1 when the steps or the minutes are used up, whichever comes first."""
        return max(self.step / self.config.max_train_steps, self.seconds() / 60 / self.config.max_train_minutes)

    def seconds(self) -> float:
        return self.spent + time.monotonic() - self._since

    def lr_factor(self) -> float:
        warm = min(1.0, (self.step + 1) / max(1, self.config.lr_warmup_steps))
        if self.config.lr_scheduler == "cosine":
            warm *= 0.5 * (1 + math.cos(math.pi * min(1.0, self.progress()))) * 0.98 + 0.02
        return warm

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step, "spent": self.seconds()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step, self.spent, self._since = state["step"], state["spent"], time.monotonic()


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
        self.shadow, self.updates = state["shadow"], state["updates"]


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
    network, and the state to resume from (`resume_from_checkpoint: latest`).
    """
    out = Path(config.output_dir)
    accelerator = Accelerator(
        mixed_precision=config.mixed_precision,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        log_with=config.report_to or None,
        project_config=ProjectConfiguration(
            str(out), automatic_checkpoint_naming=True, total_limit=config.checkpoints_total_limit
        ),
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=len(task.phases()) > 1)],
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
    rates = [config.learning_rate * phase.lr_scale for phase in task.phases()]
    optimizers = [
        torch.optim.AdamW(
            phase.parameters, rate, (config.adam_beta1, config.adam_beta2), weight_decay=config.adam_weight_decay
        )
        for phase, rate in zip(task.phases(), rates, strict=True)
    ]
    model, *optimizers = accelerator.prepare(task, *optimizers)
    average = _Average(task, config.ema_decay if config.use_ema else 0.0)
    clock = _Clock(config)
    accelerator.register_for_checkpointing(clock, average)
    if config.resume_from_checkpoint:
        folder = None if config.resume_from_checkpoint == "latest" else config.resume_from_checkpoint
        accelerator.load_state(folder)
        accelerator.project_configuration.iteration = clock.step // config.checkpointing_steps
    if main:
        out.mkdir(parents=True, exist_ok=True)
        (out / "config.yaml").write_text(yaml.safe_dump(asdict(config), sort_keys=False), encoding="utf-8")
    if config.report_to:
        accelerator.init_trackers("bringback")
    best = -math.inf

    def record(values: dict[str, float]) -> None:
        accelerator.log(values, step=clock.step)
        if main:
            with (out / "metrics.jsonl").open("a", encoding="utf-8") as lines:
                lines.write(json.dumps({"step": clock.step, "minutes": clock.seconds() / 60, **values}) + "\n")

    def validate() -> None:
        """Judge and save the averaged networks."""
        nonlocal best
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
        better = metrics.get("score", math.inf) >= best
        for name, network in task.networks().items():
            save_network(network, out / name)
            write_card(network, out / name, config, clock.step, clock.seconds() / 60, metrics)
            if better:
                best = metrics.get("score", best)
                shutil.copytree(out / name, out / "best" / name, dirs_exist_ok=True)
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
                    for phase, optimizer, rate in zip(task.phases(), optimizers, rates, strict=True):
                        for group in optimizer.param_groups:
                            group["lr"] = rate * clock.lr_factor()
                        losses = model(phase.name, batch)
                        accelerator.backward(losses.total)
                        if accelerator.sync_gradients:
                            accelerator.clip_grad_norm_(list(phase.parameters), config.max_grad_norm)
                        optimizer.step()
                        optimizer.zero_grad()
                        parts |= {k: float(v.detach()) for k, v in {phase.name: losses.total, **losses.parts}.items()}
            average.update(task)
            clock.step += 1
            bar.update(shown, completed=clock.progress(), loss=", ".join(f"{k} {v:.4f}" for k, v in parts.items()))
            if clock.step % 20 == 0:
                record(parts)
            if clock.step % config.validation_steps == 0 and main:
                validate()
            if clock.step % config.checkpointing_steps == 0:
                accelerator.save_state()
    accelerator.wait_for_everyone()
    if main:
        validate()
        average.swap(task)
    accelerator.end_training()
    return out
