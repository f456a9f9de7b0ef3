"""What the loop trains: networks, losses and phases behind one small interface."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from torch import Tensor, nn

from bringback.degradations import Aged, OverlayBank, age
from bringback.errors import ConfigError
from bringback.models.base import Network
from bringback.training.config import TrainConfig, read_options
from bringback.training.data import Batch
from bringback.weights.checkpoints import Checkpoints

N = TypeVar("N", bound=Network)


@dataclass(frozen=True, slots=True)
class Phase:
    """One optimizer step: its name, what it moves, and its learning rate as a multiple of the config's."""

    name: str
    parameters: Iterable[nn.Parameter]
    lr_scale: float = 1.0


@dataclass(slots=True)
class Losses:
    """`total` is what is minimised; `parts` are numbers to log."""

    total: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)


class TrainingTask(nn.Module, ABC):
    """Networks and losses of one stage. The loop knows nothing else of it.

    A batch is prepared once, then the phases run on it. `OPTIONS` are the options that the task knows, with their
    defaults, `options` what the config makes of them; `parents` is for the model card: SHA-256 of the checkpoints that
    it starts from or learns with, by name. `judge` is the discriminator of a task that has one.
    """

    OPTIONS: ClassVar[dict[str, Any]] = {}

    def __init__(self, config: TrainConfig) -> None:
        """Raises ConfigError for options that the task does not know."""
        super().__init__()
        self.config = config
        self.options = read_options(config.options, self.OPTIONS)
        self.parents: dict[str, str] = {}
        self.judge: nn.Module | None = None

    def begin(self, name: str, kind: type[N], **settings: Any) -> N:
        """The network to train: the checkpoint `name` in `init_from`, or a new one with the config's settings.

        `settings` are what the task wants of a new one where the config does not say otherwise. Raises MissingWeights
        when there is no such checkpoint, ConfigError when the settings do not fit the network.
        """
        if not self.config.init_from:
            return self.made(kind, {**settings, **self.config.network})
        begun = Checkpoints(self.config.init_from)
        self.parents |= begun.hashes([name])
        return begun.load(name, kind).requires_grad_(True)

    def made(self, kind: type[N], settings: Mapping[str, Any]) -> N:
        """A new network; raises ConfigError when the settings do not fit it."""
        try:
            return kind(**settings)
        except (TypeError, ValueError) as error:
            message = f"network: {self.config.network} does not make a {kind.__name__}"
            raise ConfigError(f"{message}: {error}") from error

    @abstractmethod
    def networks(self) -> dict[str, Network]:
        """What is averaged and saved, by checkpoint name."""

    def phases(self) -> list[Phase]:
        """The optimizer steps of one training step, in order: all that learns, then the discriminator, if any."""
        rival = [*self.judge.parameters()] if self.judge else []
        known = {id(parameter) for parameter in rival}
        learning = [p for p in self.parameters() if p.requires_grad and id(p) not in known]
        return [Phase("generator", learning), *([Phase("discriminator", rival)] if rival else [])]

    def prepare(self, batch: Batch, overlays: OverlayBank | None) -> Any:
        """What the phases of a step learn from: the batch, aged by the config's recipe, if the task wants no other.

        It runs without gradients, in a thread beside the step before if a core is free: no network that learns has a
        place here, and none that `train` switches to and fro.
        """
        return self.ready(age(batch.pixels, self.config.recipe, batch.seeds, overlays), batch.seeds)

    def ready(self, aged: Aged, seeds: list[int]) -> Any:
        """What `prepare` makes of photos once they are aged, which may be done elsewhere; by the samples' seeds."""
        return aged

    @abstractmethod
    def forward(self, phase: str, prepared: Any) -> Losses:
        """The losses of one phase on what was prepared; the phases of a step come in order and see the same."""

    @abstractmethod
    def validate(self, batch: Batch, overlays: OverlayBank | None) -> tuple[dict[str, float], Tensor]:
        """Metrics on a fixed batch (the key `score` chooses the best, higher is better) and pictures (N, 3, H, W)."""

    def saved(self, name: str, sha256: str) -> None:
        """Hear the hash of a network that the loop has saved, in the order of `networks()`: some name others by it."""
