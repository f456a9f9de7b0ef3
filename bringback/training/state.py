"""What a run must not lose: its clock, its averaged weights, its saved states, and the wish to stop."""

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

_IMPATIENCE = 5.0  # seconds: launchers pass a signal on, so the same wish arrives twice in a moment


class Clock:
    """Steps done, seconds spent and the best score so far; saved and restored with the run.

    `seconds` stands still between two ticks, so that all processes see the same learning rate and the same end.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.config, self.step, self.seconds, self.best = config, 0, 0.0, -math.inf
        self.stop = False
        self._spent, self._since = 0.0, time.monotonic()

    def tick(self, accelerator: Accelerator, wish: bool = False) -> None:
        """Look at the time and at the wish to stop: those of the main process, for all of them."""
        self.seconds, self.stop = self._spent + time.monotonic() - self._since, wish
        if accelerator.num_processes > 1:
            seconds, stop = broadcast(torch.tensor([self.seconds, float(wish)], device=accelerator.device)).tolist()
            self.seconds, self.stop = seconds, bool(stop)

    def progress(self) -> float:
        """0 at the start, 1 when the steps or the minutes are used up, whichever comes first."""
        return max(self.step / self.config.max_train_steps, self.seconds / 60 / self.config.max_train_minutes)

    def running(self) -> bool:
        """Whether there is another step to do."""
        return self.progress() < 1 and not self.stop

    def lr_factor(self) -> float:
        """What the learning rates are multiplied by at this step."""
        factor = min(1.0, (self.step + 1) / max(1, self.config.lr_warmup_steps))
        left = 1 - min(1.0, self.progress())
        if self.config.lr_scheduler == "cosine":
            factor *= 0.5 * (1 - math.cos(math.pi * left)) * 0.98 + 0.02
        elif self.config.lr_scheduler == "linear":
            factor *= left * 0.98 + 0.02
        return factor

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step, "spent": self._spent + time.monotonic() - self._since, "best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step, self.seconds, self.best = state["step"], state["spent"], state["best"]
        self._spent, self._since = self.seconds, time.monotonic()


class Average:
    """Exponential moving average of a task's networks (weights and float buffers)."""

    def __init__(self, task: TrainingTask, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.shadow = {k: v.detach().clone() for k, v in self._live(task).items()}

    @staticmethod
    def _live(task: TrainingTask) -> dict[str, Tensor]:
        return {f"{n}/{k}": v for n, net in task.networks().items() for k, v in net.state_dict().items()}

    @torch.no_grad()
    def update(self, task: TrainingTask) -> None:
        """Move towards the live weights: fast at first, then by 1 - decay."""
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


class StopWish:
    """While it is entered, SIGINT and SIGTERM are wishes to stop after the step, not interruptions of it.

    Who asks again some seconds later is obeyed at once, by KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self.since: float | None = None

    def __bool__(self) -> bool:
        return self.since is not None

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if self.since is not None and time.monotonic() - self.since > _IMPATIENCE:
            raise KeyboardInterrupt
        if self.since is None:
            logger.warning("stopping after this step; ask again in %.0f s to stop at once", _IMPATIENCE)
            self.since = time.monotonic()

    def __enter__(self) -> "StopWish":
        signals = (signal.SIGINT, signal.SIGTERM)
        self._before = {number: signal.signal(number, self._heard) for number in signals}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


@contextmanager
def saving(what: str, reasons: list[str]) -> Iterator[None]:
    """A failed write (a full disk, say) is a warning and a reason in the list; it does not end the run."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:  # RuntimeError is what torch.save raises
        reason = str(error).splitlines()[0]
        logger.warning("%s could not be saved (%s); what was saved before is kept and the run goes on", what, reason)
        reasons.append(f"{what}: {reason}")


def saved_states(out: Path) -> list[Path]:
    """The folders of the states that a run has saved, oldest first."""
    return sorted((out / "checkpoints").glob("checkpoint-*"), key=lambda folder: int(folder.name.split("-")[1]))


def state_to_resume(config: TrainConfig) -> Path | None:
    """The folder of the state that a config wants to go on from, if any; raises ConfigError."""
    states, wanted = saved_states(Path(config.output_dir)), config.resume_from_checkpoint
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


def save_state(accelerator: Accelerator, out: Path, step: int, limit: int, reasons: list[str]) -> None:
    """Save all that the run needs to go on as `checkpoints/checkpoint-STEP`, and delete all but the newest `limit`.

    It appears under its name only when it is complete; when it cannot be written the older states stay.
    """
    partial, done = out / "checkpoints" / "partial", out / "checkpoints" / f"checkpoint-{step}"
    if accelerator.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)
    accelerator.wait_for_everyone()
    failed = len(reasons)
    with saving(f"the state of step {step}", reasons):
        accelerator.save_state(str(partial))
    complete = accelerator.gather(torch.tensor([len(reasons) == failed], device=accelerator.device)).all()
    if accelerator.is_main_process and complete:
        if done.exists():  # a run that went on from an older state comes past the same steps again
            shutil.rmtree(done)
        partial.rename(done)
        for folder in saved_states(out)[:-limit]:
            shutil.rmtree(folder)
    elif accelerator.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)
