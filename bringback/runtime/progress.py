"""How far the work on a photo is: told by pipelines and tiles, which do not know who shows it, if anybody does."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

# Called with the name of the stage at work, the share of its tiles that are done, and the share of the photo's work,
# as if all stages took as long; both in [0, 1]. A stage that looks several times begins its tiles anew.
OnWork = Callable[[str, float, float], None]


@dataclass(slots=True)
class _Watch:
    on_work: OnWork
    stage: str = ""
    number: int = 0
    stages: int = 1


_WATCH: ContextVar[_Watch | None] = ContextVar("watch", default=None)


@contextmanager
def watching(on_work: OnWork) -> Iterator[None]:
    """A context in which `on_work` is called for what this thread does: as a stage begins and after its tiles."""
    token = _WATCH.set(_Watch(on_work))
    try:
        yield
    finally:
        _WATCH.reset(token)


def stage_begins(stage: str, number: int, stages: int) -> None:
    """Tell that a stage begins, after `number` of `stages`."""
    if watch := _WATCH.get():
        watch.stage, watch.number, watch.stages = stage, number, stages
        watch.on_work(stage, 0.0, number / stages)


def tiles_done(done: int, tiles: int) -> None:
    """Tell that so many of the tiles of the stage that began last are done."""
    if watch := _WATCH.get():
        share = done / tiles
        watch.on_work(watch.stage, share, (watch.number + share) / watch.stages)
