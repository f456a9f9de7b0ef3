"""The interface between the training loop and what it trains: networks, losses and phases."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from torch import Tensor, nn

from bringback.degradations import DegradedBatch, OverlayBank
from bringback.errors import ConfigError
from bringback.models.base import Network
from bringback.training.config import TrainConfig, read_options
from bringback.training.data import Batch
from bringback.weights.checkpoints import Checkpoints

N = TypeVar("N", bound=Network)


@dataclass(frozen=True, slots=True)
class Phase:
    """One optimizer step: the parameters it updates."""

    name: str
    parameters: Iterable[nn.Parameter]


@dataclass(slots=True)
class Losses:
    """`total` is minimized; `parts` are only logged."""

    total: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)


class TrainingTask(nn.Module, ABC):
    """The networks and losses of one stage; all that the training loop knows of it.

    In each step a batch is prepared once, then the phases run on it.

    Attributes:
        OPTIONS: the names of the task's options and their defaults.
        options: the same with the values of the config.
        parents: SHA-256 of the checkpoints the task starts from or uses, by name; for the model card.
        discriminator: the discriminator, if the task has one.
        RENAMED: old to new attribute names of submodules, so that states saved under the old names still load.
    """

    OPTIONS: ClassVar[dict[str, Any]] = {}
    RENAMED: ClassVar[dict[str, str]] = {"judge": "discriminator"}

    def __init__(self, config: TrainConfig) -> None:
        """Raises ConfigError for options that the task does not have."""
        super().__init__()
        self.config = config
        self.options = read_options(config.options, self.OPTIONS)
        self.parents: dict[str, str] = {}
        self.discriminator: nn.Module | None = None

    def load_or_create(self, name: str, kind: type[N], **defaults: Any) -> N:
        """The network to train: the checkpoint `name` in `init_from`, or a new one with the config's settings.

        `defaults` are settings of a new network that the config may override. Raises MissingWeights if `init_from` has
        no such checkpoint, ConfigError if the settings do not fit the network.
        """
        if not self.config.init_from:
            return self.create(kind, {**defaults, **self.config.network})
        checkpoints = Checkpoints(self.config.init_from)
        self.parents |= checkpoints.hashes([name])
        return checkpoints.load(name, kind).requires_grad_(True)

    def create(self, kind: type[N], settings: Mapping[str, Any]) -> N:
        """A new network; raises ConfigError if the settings do not fit it."""
        try:
            return kind(**settings)
        except (TypeError, ValueError) as error:
            message = f"network: {self.config.network} does not make a {kind.__name__}"
            raise ConfigError(f"{message}: {error}") from error

    @abstractmethod
    def networks(self) -> dict[str, Network]:
        """The networks to average and save, by checkpoint name."""

    def phases(self) -> list[Phase]:
        """The optimizer steps of one training step, in order: the generator, then the discriminator, if any."""
        d_params = [*self.discriminator.parameters()] if self.discriminator else []
        d_ids = {id(parameter) for parameter in d_params}
        g_params = [p for p in self.parameters() if p.requires_grad and id(p) not in d_ids]
        return [Phase("generator", g_params), *([Phase("discriminator", d_params)] if d_params else [])]

    def prepare(self, batch: Batch, overlays: OverlayBank | None) -> Any:
        """The input of a step's phases: by default the batch, degraded by the config's recipe.

        Runs without gradients, and in a thread during the previous step if a core is idle. So it must not use networks
        that are being trained, nor those that `train()` and `eval()` switch.
        """
        aged = batch.degraded(self.config.recipe, overlays)
        return self.prepare_aged(self.restored(aged, batch.seeds), batch.seeds)

    def restored(self, aged: DegradedBatch, seeds: list[int]) -> DegradedBatch:
        """What other stages make of degraded pictures before this one; once for each, however often it is reused."""
        return aged

    def prepare_aged(self, aged: DegradedBatch, seeds: list[int]) -> Any:
        """The part of `prepare` after `restored`, done anew whenever a picture is reused; one seed per sample."""
        return aged

    @abstractmethod
    def forward(self, phase: str, prepared: Any) -> Losses:
        """The losses of one phase. The phases of a step run in order, on the same prepared input."""

    @abstractmethod
    def validate(self, batch: Batch, overlays: OverlayBank | None) -> tuple[dict[str, float], Tensor]:
        """Metrics on a fixed batch (the highest `score` is the best) and pictures (N, 3, H, W)."""

    def on_save(self, name: str, sha256: str) -> None:
        """Called after the loop has saved a network, in the order of `networks()`, with the hash of its weights."""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for key in [key for key in state_dict if key.startswith(prefix)]:
            module, _, rest = key[len(prefix) :].partition(".")
            if module in self.RENAMED and module not in self._modules:
                state_dict[f"{prefix}{self.RENAMED[module]}.{rest}"] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *args)
