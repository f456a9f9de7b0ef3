"""Restore a folder with several processes on one or more machines, with Ray Data."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bringback.batch.jobs import Job, plan_with_masks
from bringback.batch.locks import locks_in
from bringback.batch.manifest import Entry, OnPhoto, OnStart, as_line
from bringback.batch.runner import FolderRestorer
from bringback.pipeline import Pipeline

MISSING = 'Ray is not installed: pip install "bringback[ray]"'
DEATHS = 3  # a run tolerates this many worker deaths per worker


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
    """`bringback.batch.runner.restore_folder` with `workers` processes.

    All machines must see the paths of `inputs` and `out`. `pipeline` are arguments of `Pipeline.from_pretrained`, or a
    function that returns a pipeline; each worker builds one and takes `batch_size` photos at a time. A worker reserves
    `gpus` GPUs (0.5: two workers share one) and `threads` CPUs, and torch uses `threads` threads in it; the default is
    torch's number here, so that results are bit-identical. When a worker dies, another takes over its photos. Entries
    are returned in the order of the photos.

    Starts Ray if it is not running. Raises `UsageError` before anything is written; ValueError if no machine has the
    resources of a worker; RuntimeError if workers die repeatedly, e.g. without memory or weights; ModuleNotFoundError
    without Ray.
    """
    try:
        import ray
        import ray.data
    except ModuleNotFoundError:
        raise ModuleNotFoundError(MISSING) from None
    out = out.absolute()  # workers have different working directories
    jobs, masks = plan_with_masks([path.absolute() for path in inputs], out, mask and mask.absolute())
    FolderRestorer(out, Pipeline([]), masks=masks, **choices).check(jobs)  # else invalid arguments would kill workers
    if on_start:
        on_start(len(jobs))
    if not jobs:
        return []
    threads = threads or torch.get_num_threads()
    if not ray.is_initialized():
        ray.init()
    _can_be_had(threads, gpus)
    load = pipeline if callable(pipeline) else partial(Pipeline.from_pretrained, **(pipeline or {}))
    numbers = ray.data.from_items(  # not `range`: reading it would need a CPU while the workers hold them all
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
    with nullcontext() if choices.get("dry_run") else locks_in(out):  # the last claim to close cleans up, here
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
    """Raise ValueError if no machine has these resources; Ray would wait forever."""
    import ray

    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(machine.get("CPU", 0) >= cpus and machine.get("GPU", 0) >= gpus for machine in machines):
        raise ValueError(f"no machine of the Ray cluster has {cpus} CPUs and {gpus:g} GPUs for a worker: ask for less")


class _Starts:
    """An actor that limits worker starts: Ray restarts dead workers forever, even if one photo kills each of them."""

    def __init__(self, most: int) -> None:
        self.left = most

    def one_more(self) -> bool:
        self.left -= 1
        return self.left >= 0


class _Worker:
    """An actor that builds the pipeline once and restores batches of photos, given by number."""

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
        torch.set_num_threads(threads)  # Ray sets 1
        self.jobs, self.restorer = jobs, FolderRestorer(out, load(), **choices)
        if not choices.get("dry_run"):
            self.restorer.claims.__enter__()  # held until exit, else each batch would end with a scan of `out`

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        numbers = [int(number) for number in batch["number"]]
        entries = self.restorer.run([self.jobs[number] for number in numbers])
        return {"number": numbers, "entry": [as_line(entry) for entry in entries]}
