"""A folder restored by many processes on one machine or many, with Ray Data."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bringback.batch.jobs import Job, plan_with_masks
from bringback.batch.locks import claims_in
from bringback.batch.manifest import Entry, OnPhoto, OnStart, as_line
from bringback.batch.runner import FolderRestorer
from bringback.pipeline import Pipeline

MISSING = 'Ray is not installed: pip install "bringback[ray]"'
DEATHS = 3  # of as many times the workers there are a run makes nothing


def restore_folder(
    inputs: Sequence[Path],
    out: Path,
    *,
    workers: int = 2,
    batch_size: int = 8,
    gpus: float = 0.0,
    threads: int | None = None,
    mask: Path | None = None,
    pipeline: Mapping[str, Any] | Callable[[], Pipeline] | None = None,
    on_start: OnStart | None = None,
    on_photo: OnPhoto | None = None,
    **choices: Any,
) -> list[Entry]:
    """`bringback.batch.runner.restore_folder` by `workers` processes; inputs and `out` lie where all machines see them.

    `pipeline` are arguments of `Pipeline.from_pretrained`, or a function that makes a pipeline; each worker makes one,
    once, and takes `batch_size` photos at a time. It reserves `gpus` GPUs (0.5: two workers share one) and `threads`
    CPUs, as many as torch has threads in it: by default as here, so that the results are the same to the bit. When a
    worker dies, another takes its photos over. The entries come back in the order of the photos.

    Ray is started where it is not running yet. Raises `UsageError` before anything is written, ValueError when no
    machine has what a worker reserves, RuntimeError when workers die again and again, as for want of memory or of
    weights; ModuleNotFoundError without Ray.
    """
    try:
        import ray
        import ray.data
    except ModuleNotFoundError:
        raise ModuleNotFoundError(MISSING) from None
    out = out.absolute()  # workers have other working folders
    jobs, masks = plan_with_masks([path.absolute() for path in inputs], out, mask and mask.absolute())
    FolderRestorer(out, Pipeline([]), masks=masks, **choices).check(jobs)  # or workers would die of what is wrong
    if on_start:
        on_start(len(jobs))
    if not jobs:
        return []
    threads = threads or torch.get_num_threads()
    if not ray.is_initialized():
        ray.init()
    _can_be_had(threads, gpus)
    load = pipeline if callable(pipeline) else partial(Pipeline.from_pretrained, **(pipeline or {}))
    numbers = ray.data.from_items(  # not of `range`, whose reading would want a CPU when the workers have them all
        [{"number": number} for number in range(len(jobs))], override_num_blocks=-(-len(jobs) // batch_size)
    )
    starts = ray.remote(num_cpus=0)(_Starts).remote(workers * (1 + DEATHS))
    told = numbers.map_batches(
        _Worker,
        fn_constructor_args=(starts, jobs, out, load, threads, {"masks": masks, **choices}),
        batch_size=batch_size,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=threads,
        num_gpus=gpus,
    )
    entries: dict[int, Entry] = {}
    with nullcontext() if choices.get("dry_run") else claims_in(out):  # the last to leave tidies up, and that is here
        try:
            for row in told.iter_rows():
                entry = entries[int(row["number"])] = json.loads(row["entry"])
                if on_photo:
                    on_photo(entry)
        except ray.exceptions.RayActorError as error:
            last = str(error).strip().splitlines()[-1]
            raise RuntimeError(f"workers died, also when begun anew; the same call goes on: {last}") from error
    return [entries[number] for number in sorted(entries)]


def _can_be_had(cpus: int, gpus: float) -> None:
    """Ray would wait for ever."""
    import ray

    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(machine.get("CPU", 0) >= cpus and machine.get("GPU", 0) >= gpus for machine in machines):
        raise ValueError(f"no machine of the Ray cluster has {cpus} CPUs and {gpus:g} GPUs for a worker: ask for less")


class _Starts:
    """An actor that counts the starts of workers: Ray begins dead ones anew for ever, also when a photo kills each."""

    def __init__(self, most: int) -> None:
        self.left = most

    def one_more(self) -> bool:
        self.left -= 1
        return self.left >= 0


class _Worker:
    """An actor: makes the pipeline once and restores batches of photos, given by their numbers."""

    def __init__(
        self,
        starts: Any,
        jobs: list[Job],
        out: Path,
        load: Callable[[], Pipeline],
        threads: int,
        choices: dict[str, Any],
    ) -> None:
        import ray

        if not ray.get(starts.one_more.remote()):
            raise RuntimeError("too many workers died")
        torch.set_num_threads(threads)  # Ray leaves it one
        self.jobs, self.restorer = jobs, FolderRestorer(out, load(), **choices)
        if not choices.get("dry_run"):
            self.restorer.claims.__enter__()  # for life, or each batch would end with a walk through all of `out`

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        numbers = [int(number) for number in batch["number"]]
        entries = self.restorer.run([self.jobs[number] for number in numbers])
        return {"number": numbers, "entry": [as_line(entry) for entry in entries]}
