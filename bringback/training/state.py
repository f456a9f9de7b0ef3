"""The state that a run saves and resumes from: progress, averaged weights, checkpoints; and its graceful stop."""

import logging
import math
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from safetensors import SafetensorError
from torch import Tensor

from bringback.errors import ConfigError
from bringback.training.config import TrainConfig
from bringback.training.task import TrainingTask

logger = logging.getLogger(__name__)

_REPEAT_SECONDS = 5.0  # launchers forward signals, so the same one may arrive twice within moments


class TrainerState:
    """Steps, seconds and the best score so far; saved and restored with the run.

    `seconds` only changes in `tick`, so that all processes use the same learning rate and end at the same step.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.config, self.step, self.seconds, self.best = config, 0, 0.0, -math.inf
        self.stop = False
        self._seconds_before, self._started = 0.0, time.monotonic()

    def tick(self, accelerator: Accelerator, stop: bool = False) -> None:
        """Update the time and whether to stop; the main process decides for all."""
        self.seconds, self.stop = self._elapsed(), stop
        if accelerator.num_processes > 1:
            values = torch.tensor([self.seconds, float(stop)], device=accelerator.device)
            seconds, stop = broadcast(values).tolist()
            self.seconds, self.stop = seconds, bool(stop)

    def _elapsed(self) -> float:
        return self._seconds_before + time.monotonic() - self._started

    def progress(self) -> float:
        """0 at the start, 1 when the steps or the minutes are used up, whichever comes first."""
        return max(self.step / self.config.max_train_steps, self.seconds / 60 / self.config.max_train_minutes)

    def running(self) -> bool:
        """Whether another step follows."""
        return self.progress() < 1 and not self.stop

    def lr_factor(self) -> float:
        """The factor of the learning rates at this step: linear warmup, then the schedule, down to 2 %."""
        factor = min(1.0, (self.step + 1) / max(1, self.config.lr_warmup_steps))
        left = 1 - min(1.0, self.progress())
        if self.config.lr_scheduler == "cosine":
            factor *= 0.5 * (1 - math.cos(math.pi * left)) * 0.98 + 0.02
        elif self.config.lr_scheduler == "linear":
            factor *= left * 0.98 + 0.02
        return factor

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step, "spent": self._elapsed(), "best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step, self.seconds, self.best = state["step"], state["spent"], state["best"]
        self._seconds_before, self._started = self.seconds, time.monotonic()


class EMA:
    """Exponential moving average of a task's networks: weights and floating-point buffers."""

    def __init__(self, task: TrainingTask, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.shadow = {k: v.detach().clone() for k, v in self._weights(task).items()}

    @staticmethod
    def _weights(task: TrainingTask) -> dict[str, Tensor]:
        return {f"{n}/{k}": v for n, net in task.networks().items() for k, v in net.state_dict().items()}

    @torch.no_grad()
    def update(self, task: TrainingTask) -> None:
        """Move towards the current weights. The decay starts low, so that the initial weights are forgotten soon."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for key, value in self._weights(task).items():
            if value.is_floating_point():
                self.shadow[key].lerp_(value.detach(), 1 - decay)
            else:
                self.shadow[key].copy_(value)

    @torch.no_grad()
    def swap(self, task: TrainingTask) -> None:
        """Exchange the averaged with the current weights; a second call undoes the first."""
        for key, value in self._weights(task).items():
            current = value.clone()
            value.copy_(self.shadow[key])
            self.shadow[key].copy_(current)

    def state_dict(self) -> dict[str, Any]:
        return {"shadow": self.shadow, "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for key, value in state["shadow"].items():
            self.shadow[key].copy_(value)  # in place: saved states load to the CPU, the average stays on its device
        self.updates = state["updates"]


class GracefulStop:
    """A context in which SIGINT and SIGTERM request a stop after the current step; true once one was requested.

    Another signal some seconds later raises KeyboardInterrupt at once.
    """

    def __init__(self) -> None:
        self.requested: float | None = None  # when

    def __bool__(self) -> bool:
        return self.requested is not None

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested is not None and time.monotonic() - self.requested > _REPEAT_SECONDS:
            raise KeyboardInterrupt
        if self.requested is None:
            logger.warning("stopping after this step; ask again in %.0f s to stop at once", _REPEAT_SECONDS)
            self.requested = time.monotonic()

    def __enter__(self) -> "GracefulStop":
        signals = (signal.SIGINT, signal.SIGTERM)
        self._handlers = {number: signal.signal(number, self._on_signal) for number in signals}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)


@contextmanager
def tolerate_failure(what: str, failures: list[str]) -> Iterator[None]:
    """Log a failed write (for example to a full disk) and add it to `failures`, instead of ending the run."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:  # torch.save raises RuntimeError
        reason = str(error).splitlines()[0]
        logger.warning("%s could not be saved (%s); what was saved before is kept and the run goes on", what, reason)
        failures.append(f"{what}: {reason}")


def saved_states(out: Path) -> list[Path]:
    """The folders of the states that a run has saved, oldest first."""
    return sorted((out / "checkpoints").glob("checkpoint-*"), key=lambda folder: int(folder.name.split("-")[1]))


def state_to_resume(config: TrainConfig) -> Path | None:
    """The folder of the state to resume from, if any.

    Raises ConfigError if the output folder holds a run that is not to be resumed, or if there is no such state.
    """
    states, resume = saved_states(Path(config.output_dir)), config.resume_from_checkpoint
    if not resume:
        if states:
            message = "holds a run already: set resume_from_checkpoint=latest or another output_dir"
            raise ConfigError(f"{config.output_dir} {message}")
        return None
    if resume == "latest":
        if not states:
            raise ConfigError(f"{config.output_dir} holds no state to resume from: leave resume_from_checkpoint empty")
        return states[-1]
    if not Path(resume).is_dir():
        raise ConfigError(f"resume_from_checkpoint: {resume} is no folder; give the folder of a saved state or latest")
    return Path(resume)


def save_state(accelerator: Accelerator, out: Path, step: int, limit: int, failures: list[str]) -> None:
    """Save the state of the run as `checkpoints/checkpoint-STEP`, and delete all but the newest `limit` states.

    The folder gets its name when it is complete. If it cannot be written, the older states are kept.
    """
    partial, final = out / "checkpoints" / "partial", out / "checkpoints" / f"checkpoint-{step}"
    if accelerator.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)
    accelerator.wait_for_everyone()
    before = len(failures)
    with tolerate_failure(f"the state of step {step}", failures):
        accelerator.save_state(str(partial))
    complete = accelerator.gather(torch.tensor([len(failures) == before], device=accelerator.device)).all()
    if accelerator.is_main_process and complete:
        if final.exists():  # from before the run was resumed from an older state
            shutil.rmtree(final)
        partial.rename(final)
        for folder in saved_states(out)[:-limit]:
            shutil.rmtree(folder)
    elif accelerator.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)
