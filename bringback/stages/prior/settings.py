"""How a deep image prior is fitted to a photo, and how far a fit has come."""

from collections.abc import Callable
from dataclasses import dataclass

from bringback.errors import known_names
from bringback.models.hourglass import Hourglass, SegNet

FORMS: dict[str, type[Hourglass] | type[SegNet]] = {"unet": Hourglass, "segnet": SegNet}


@dataclass(frozen=True, slots=True)
class PriorSettings:
    """How a network is fitted to a photo. Raises ValueError, one line, for values out of range.

    Args: form: "unet" (an hourglass with narrow skips) or "segnet" (max-pool indices in their place);
    iterations: the maximum; seconds: time limit for a photo, None for no limit; seed: of all random numbers;
    noise: deviation of the noise added to the network's input in each iteration, as a share of the input's range;
    averaging: decay of the exponential moving average of the outputs; held_back: the share of the undamaged pixels that
    is held back, to decide when to stop; patience: the share of the whole work after which the fit ends without a
    better average; rate: Adam's learning rate; size: maximal working size of the longer side in pixels.
    """

    form: str = "unet"
    iterations: int = 1400
    seconds: float | None = None
    seed: int = 0
    noise: float = 0.3
    averaging: float = 0.99
    held_back: float = 0.05
    patience: float = 0.5
    rate: float = 0.01
    size: int = 384

    def __post_init__(self) -> None:
        wrong = {
            "form": (self.form not in FORMS, f"one of {known_names(self.form, FORMS)}"),
            "iterations": (self.iterations < 1, "1 or more"),
            "seconds": (self.seconds is not None and not self.seconds > 0, "more than 0"),
            "seed": (not 0 <= self.seed < 2**64, "0 or more, of 64 bits"),
            "noise": (not self.noise >= 0, "0 or more"),
            "averaging": (not 0 <= self.averaging < 1, "0 to below 1"),
            "held_back": (not 0 <= self.held_back < 1, "0 to below 1"),
            "patience": (not self.patience > 0, "more than 0"),
            "rate": (not self.rate > 0, "more than 0"),
            "size": (self.size < 64, "64 or more"),
        }
        for name, (bad, wanted) in wrong.items():
            if bad:
                raise ValueError(f"prior: {name} {getattr(self, name)!r}: wants {wanted}")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the fit to a photo has come; the last one is the summary.

    `done` is the share of the iterations or of the time, whichever is larger; `height` and `width` the working size in
    pixels; `best` the iteration of the best average so far and `held_back` its PSNR in dB on the pixels held back, None
    if none were; `stopped_early` says that the fit ended by `patience`; `share` is the share in [0, 1] of the network's
    output in the result, None until that is known.
    """

    done: float
    iteration: int
    seconds: float
    height: int
    width: int
    best: int
    held_back: float | None
    stopped_early: bool = False
    share: float | None = None

    @property
    def finished(self) -> bool:
        """Whether this is the last progress of a fit."""
        return self.share is not None

    def __str__(self) -> str:
        """One line for people."""
        held_back = "" if self.held_back is None else f", {self.held_back:.1f} dB on pixels held back"
        early = ", stopped early" if self.stopped_early else ""
        size = f"{self.width}x{self.height} pixels"
        share = "" if self.share is None else f", used by {100 * self.share:.0f} %"
        return f"{size}, {self.iteration} iterations in {self.seconds:.0f} s{early}{held_back}{share}"

    @property
    def notes(self) -> dict[str, int | float | bool | str | None]:
        """For the manifest: plain numbers and strings."""
        return {
            "working_size": f"{self.width}x{self.height}",
            "iterations": self.iteration,
            "best_iteration": self.best,
            "held_back_psnr": None if self.held_back is None else round(self.held_back, 2),
            "stopped_early": self.stopped_early,
            "share": None if self.share is None else round(self.share, 3),
        }


OnIteration = Callable[[Progress], None]
