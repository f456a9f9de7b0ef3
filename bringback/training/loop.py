"""The training loop, the same for all tasks: a task supplies networks, losses and phases."""

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from copy import deepcopy
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch
import yaml
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.utils import DistributedDataParallelKwargs, set_seed
from rich.progress import Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from bringback.errors import ConfigError, MissingWeights, SaveError
from bringback.training.config import Source, TrainConfig
from bringback.training.data import Crops, prefetch, read_overlays, spare_core
from bringback.training.model_card import History, write_card
from bringback.training.muon import Muon, is_kernel
from bringback.training.state import EMA, GracefulStop, TrainerState, save_state, state_to_resume, tolerate_failure
from bringback.training.task import Phase, TrainingTask
from bringback.training.tracking import RunLog
from bringback.training.workers import DegradationWorkers
from bringback.weights.checkpoints import Checkpoints, save_network

logger = logging.getLogger(__name__)


def train(task: TrainingTask, config: TrainConfig) -> Path:
    """Train a task as the config says; see `Trainer`."""
    return Trainer(task, config).run()


@dataclass(frozen=True, slots=True)
class _PhaseOptimizer:
    """A phase with its parameters and their optimizers."""

    phase: Phase
    parameters: list[nn.Parameter]
    optimizers: list[AcceleratedOptimizer]


class Trainer:
    """One training run: set up, or resumed, when created; `run` does the rest.

    Writes into the output folder: `config.yaml`, `metrics.jsonl`, `validation/*.png`, the averaged weights as one
    checkpoint folder per network, the same in `best/`, and the state to resume from
    (`resume_from_checkpoint: latest`).
    """

    def __init__(self, task: TrainingTask, config: TrainConfig) -> None:
        """Raises ConfigError if the output folder holds a run that is not to be resumed, or no state to resume."""
        self.task, self.config, self.out = task, config, Path(config.output_dir)
        saved_state = state_to_resume(config)
        phases = [(phase, list(phase.parameters)) for phase in task.phases()]
        self.accelerator = _create_accelerator(config, len(phases))
        set_seed(config.seed, device_specific=True)
        torch.backends.cudnn.benchmark = True  # all crops have the same size
        self._load_data()
        self.model, self.phases = self._prepare_model(phases)
        self.ema = EMA(task, config.ema_decay if config.use_ema else 0.0)
        self.state = TrainerState(config)
        self.accelerator.register_for_checkpointing(self.state, self.ema)  # in this order in saved states
        if saved_state:
            self.accelerator.load_state(str(saved_state))
        self.first_step = self.state.step
        if self.accelerator.is_main_process:
            self.out.mkdir(parents=True, exist_ok=True)
            (self.out / "config.yaml").write_text(yaml.safe_dump(asdict(config), sort_keys=False), encoding="utf-8")
        self.failures: list[str] = []  # of writes
        self.run_log = RunLog(self.out, self.accelerator, self.state, self.failures)
        processes = self.accelerator.num_processes
        self.history = History(self.out, config, processes, self.state.step, self.state.seconds / 60)
        self.first_batch = self.first_step * config.gradient_accumulation_steps
        self.workers = self._create_workers()
        self._degraded = iter(self.workers or ())

    def run(self) -> Path:
        """Train until the steps or the minutes are used up; returns the output folder, usable as `--weights`.

        SIGINT and SIGTERM end the run after the current step, by KeyboardInterrupt, with its state saved. A failed
        write is a warning; if the last one failed too, it raises SaveError.
        """
        accelerator, is_main = self.accelerator, self.accelerator.is_main_process
        fields = [TextColumn(f"{{task.fields[{field}]}}") for field in ("speed", "loss")]
        columns = (*Progress.get_default_columns()[:-1], TimeRemainingColumn(), *fields)
        batches = prefetch(self._prepare_batch, self.first_batch, spare_core(accelerator.device))
        with (
            GracefulStop() as stop,
            Progress(*columns, disable=not is_main) as bar,
            self.workers or nullcontext(),
            closing(batches),
        ):
            self._train(batches, bar, stop)
            accelerator.wait_for_everyone()
            self.failures.clear()  # only the last writes count
            metrics = dict[str, float]()
            if is_main and not self.state.stop:
                metrics = self._validate_and_save()
            elif is_main and self.state.step > self.first_step:  # interrupted: the weights without their numbers
                self.ema.swap(self.task)
                self._save_networks(None)
                self.ema.swap(self.task)
            if self.state.step > self.first_step:
                self._save_state()
            self._warn_if_worse(metrics)  # last, as it may run out of memory
        if is_main:
            self.ema.swap(self.task)
        accelerator.wait_for_everyone()
        accelerator.end_training()
        if self.failures:
            raise SaveError(f"{self.out}: {self.failures[-1]}; make room and go on with resume_from_checkpoint=latest")
        if self.state.stop:
            step = self.state.step
            raise KeyboardInterrupt(f"stopped at step {step}; go on with --set resume_from_checkpoint=latest")
        return self.out

    def _load_data(self) -> None:
        config, device, is_main = self.config, self.accelerator.device, self.accelerator.is_main_process
        if config.ageing_processes and type(self.task).prepare is not TrainingTask.prepare:
            raise ConfigError(f"ageing_processes: {config.task} prepares its pictures in a way of its own; set 0")
        data = Path(config.data_dir)
        # worker processes read crops and overlays themselves
        self.crops = None if config.ageing_processes else self._crops(config.train_data, config.seed)
        self.validation_crops = self._crops(config.validation_data, 1) if is_main and config.validation_data else None
        self.overlays = read_overlays(data, "" if config.ageing_processes else config.overlays, device)
        self.validation_overlays = read_overlays(data, config.validation_overlays, device)

    def _crops(self, sources: Sequence[Source], seed: int) -> Crops:
        config = self.config
        data = Path(config.data_dir)
        kept = config.in_memory_max_gb, config.decoded_cache
        return Crops(sources, data, config.resolution, seed, config.whole_pictures, *kept)

    def _prepare_model(self, phases: list[tuple[Phase, list[nn.Parameter]]]) -> tuple[nn.Module, list[_PhaseOptimizer]]:
        """The task and its optimizers, prepared for the device, the precision and the processes."""
        config = self.config
        self.task.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizers = [self._optimizers(own, config.learning_rate) for _, own in phases]
        model, *prepared = self.accelerator.prepare(self.task, *chain.from_iterable(optimizers))
        left = iter(prepared)
        return model, [
            _PhaseOptimizer(phase, parameters, list(islice(left, len(own))))
            for (phase, parameters), own in zip(phases, optimizers, strict=True)
        ]

    def _optimizers(self, parameters: list[nn.Parameter], rate: float) -> list[torch.optim.Optimizer]:
        """One or two optimizers that share the parameters, as the config's `optimizer` says."""
        config = self.config
        betas, fused = (config.adam_beta1, config.adam_beta2), self.accelerator.device.type in ("cpu", "cuda")
        kernels = [p for p in parameters if config.optimizer == "muon" and is_kernel(p)]
        known = {id(p) for p in kernels}
        others = [p for p in parameters if id(p) not in known]
        decay = config.adam_weight_decay
        made: list[torch.optim.Optimizer] = [Muon(kernels, rate, decay)] if kernels else []
        return [*made, torch.optim.AdamW(others, rate, betas, weight_decay=decay, fused=fused)] if others else made

    def _create_workers(self) -> DegradationWorkers | None:
        if not self.config.ageing_processes:
            return None
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        device, restored = self.accelerator.device, self.task.restored
        return DegradationWorkers(self.config, self.first_batch, rank, world, device, restored)

    def _prepare_batch(self, number: int) -> Any:
        """The input of the phases from batch `number` of this process; may run in a thread."""
        accelerator, size = self.accelerator, self.config.train_batch_size
        with torch.no_grad(), accelerator.autocast():  # threads inherit neither
            if self.crops is None:
                return self.task.prepare_aged(*next(self._degraded))
            start = (number * accelerator.num_processes + accelerator.process_index) * size
            batch = self.crops.batch(range(start, start + size), accelerator.device)
            return self.task.prepare(batch, self.overlays)

    def _train(self, batches: Iterator[Any], bar: Progress, stop: GracefulStop) -> None:
        config, state = self.config, self.state
        shown = bar.add_task(config.task, total=1.0, loss="", speed="")
        begun = self.state.seconds
        pictures = config.train_batch_size * config.gradient_accumulation_steps * self.accelerator.num_processes
        while state.running():
            losses = self._step(batches)
            self.ema.update(self.task)
            state.step += 1
            state.tick(self.accelerator, bool(stop))
            rate = pictures * (state.step - self.first_step) / max(state.seconds - begun, 1e-3)
            bar.update(shown, completed=state.progress(), speed=f"{rate:.1f} pictures/s")
            if state.step % config.logging_steps == 0:  # not every step: reading a number waits for the device
                means = self._log_losses(losses)
                bar.update(shown, loss=", ".join(f"{key} {value:.4f}" for key, value in means.items()))
            if state.running():  # after the last step `run` does both
                if state.step % config.validation_steps == 0 and self.accelerator.is_main_process:
                    self._validate_and_save()
                if state.step % config.checkpointing_steps == 0:
                    self._save_state()

    def _step(self, batches: Iterator[Any]) -> dict[str, Tensor]:
        """One optimizer step of each phase; returns the losses of the last batch."""
        losses: dict[str, Tensor] = {}
        for _ in range(self.config.gradient_accumulation_steps):
            self.task.train()
            prepared = next(batches)
            with self.accelerator.accumulate(self.model):
                for phase in self.phases:
                    losses |= self._step_phase(phase, prepared)
        return losses

    def _step_phase(self, each: _PhaseOptimizer, prepared: Any) -> dict[str, Tensor]:
        for group in chain.from_iterable(optimizer.param_groups for optimizer in each.optimizers):
            group["lr"] = self.config.learning_rate * self.state.lr_factor()
        with _only_trainable(self.task, each.parameters):
            losses = self.model(each.phase.name, prepared)
            self.accelerator.backward(losses.total)
        if self.accelerator.sync_gradients:
            self.accelerator.clip_grad_norm_(each.parameters, self.config.max_grad_norm)
        for optimizer in each.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        return {key: value.detach() for key, value in {each.phase.name: losses.total, **losses.parts}.items()}

    def _log_losses(self, losses: dict[str, Tensor]) -> dict[str, float]:
        """Log the means over processes, and return them."""
        means = self.accelerator.reduce(torch.stack([value.float() for value in losses.values()]), "mean")
        numbers = dict(zip(losses, means.tolist(), strict=True))
        self.run_log.log(numbers)
        return numbers

    def _validate_and_save(self) -> dict[str, float]:
        """Validate and save the networks with their averaged weights; returns the metrics, if any."""
        self.ema.swap(self.task)
        self.task.eval()
        metrics: dict[str, float] = {}
        if self.validation_crops is not None:
            with torch.no_grad():
                batch = self.validation_crops.batch(range(self.config.validation_samples), self.accelerator.device)
                metrics, pictures = self.task.validate(batch, self.validation_overlays)
            self.run_log.log_pictures(pictures)
            self.run_log.log({f"val_{key}": value for key, value in metrics.items()})
            logger.info("step %d: %s", self.state.step, ", ".join(f"{k} {v:.4f}" for k, v in metrics.items()))
        self._save_networks(metrics)
        self.ema.swap(self.task)
        return metrics

    def _warn_if_worse(self, metrics: dict[str, float]) -> None:
        """Warn where the networks are worse than the shipped ones on the same validation; they may differ in size."""
        task, shipped = self.task, Checkpoints()
        if "score" not in metrics or self.validation_crops is None:
            return
        own = {name: deepcopy(network.state_dict()) for name, network in task.networks().items()}
        try:
            try:
                states = {name: shipped.load(name, type(net)).state_dict() for name, net in task.networks().items()}
                for name, network in task.networks().items():
                    network.load_state_dict(states[name])
            except (MissingWeights, RuntimeError):  # none of that name and kind, or of another size
                logger.info("not compared with the shipped weights, which are of another size or kind")
                return
            task.eval()
            with torch.no_grad():
                batch = self.validation_crops.batch(range(self.config.validation_samples), self.accelerator.device)
                theirs = task.validate(batch, self.validation_overlays)[0]["score"]
        finally:
            for name, network in task.networks().items():
                network.load_state_dict(own[name])
        said = f"val_score {metrics['score']:.4f}, that of the shipped weights on the same pictures {theirs:.4f}"
        if metrics["score"] < theirs:
            logger.warning("worse than the shipped weights: %s", said)
        else:
            logger.info("no worse than the shipped weights: %s", said)

    def _save_networks(self, metrics: dict[str, float] | None) -> None:
        """Save the networks; without metrics they are not among the best."""
        state, task = self.state, self.task
        is_best = metrics is not None and metrics.get("score", math.inf) >= state.best
        with tolerate_failure(f"the weights of step {state.step}", self.failures):
            self.history.update(state.step, state.seconds / 60)
            for place in [self.out, self.out / "best"] if is_best else [self.out]:
                for name, network in task.networks().items():
                    task.on_save(name, save_network(network, place / name))
                    write_card(network, place / name, self.config, self.history, task.parents, metrics or {})
            if is_best and metrics is not None:
                state.best = metrics.get("score", state.best)

    def _save_state(self) -> None:
        if self.accelerator.is_main_process:  # a run that is killed and resumed keeps its first legs in the card
            with tolerate_failure("the history of the run", self.failures):
                self.history.update(self.state.step, self.state.seconds / 60)
        save_state(self.accelerator, self.out, self.state.step, self.config.checkpoints_total_limit, self.failures)


def _create_accelerator(config: TrainConfig, phases: int) -> Accelerator:
    try:
        accelerator = Accelerator(
            cpu=not torch.accelerator.is_available(),  # without it, processes on CPUs would not form one group
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


@contextmanager
def _only_trainable(task: nn.Module, parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Restrict gradients to `parameters`, so that those of other phases do not accumulate any."""
    before = [(parameter, parameter.requires_grad) for parameter in task.parameters()]
    task.requires_grad_(False)
    for parameter in parameters:
        parameter.requires_grad_(True)
    yield
    for parameter, requires_grad in before:
        parameter.requires_grad_(requires_grad)
