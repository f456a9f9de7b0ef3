"""Degradation workers: the same pictures in the same order for any number of workers, from any step on."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from bringback.degradations import DegradedBatch, degrade
from bringback.errors import ConfigError
from bringback.training import workers as module
from bringback.training.config import Source, TrainConfig, load_config
from bringback.training.data import Crops, read_overlays
from bringback.training.loop import train
from bringback.training.tasks import build_task
from bringback.training.workers import DegradationWorkers

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
SIZE = 6  # more than are degraded at a time

Batches = list[tuple[DegradedBatch, list[int]]]


@pytest.fixture
def small(tiny: Callable[..., TrainConfig], pictures: Path, tmp_path: Path) -> Callable[..., TrainConfig]:
    """A config for small pictures, with damage overlays: `small(key=value, ...)`."""
    damage = tmp_path / "damage"
    damage.mkdir()
    for place in (40, 150):
        part = Image.open(pictures / "coffee.png").convert("L").crop((place, place, place + 48, place + 48))
        part.save(damage / f"{place}.png")
    given = {"recipe": "training", "resolution": 32, "train_batch_size": SIZE, "overlays": "../damage", "seed": 5}
    given |= {"validation_data": [], "ageing_processes": 1}
    return lambda **changes: tiny("scratches", tmp_path / "run", **given | changes)


def draw(config: TrainConfig, count: int, first: int = 0, rank: int = 0, world: int = 1) -> Batches:
    """`count` batches from number `first` on."""
    with DegradationWorkers(config, first, rank, world, CPU) as workers:
        return list(islice(workers, count))


def degrade_here(config: TrainConfig, numbers: Sequence[int], rank: int = 0, world: int = 1) -> Batches:
    """The same batches, degraded in this process."""
    data = Path(config.data_dir)
    crops = Crops(config.train_data, data, config.resolution, config.seed)
    overlays = read_overlays(data, config.overlays, CPU)
    starts = [(number * world + rank) * SIZE for number in numbers]
    batches = [crops.batch(range(start, start + SIZE), CPU) for start in starts]
    return [(degrade(batch.pixels, config.recipe, batch.seeds, overlays), batch.seeds) for batch in batches]


def same(one: Batches, other: Batches, bound: float = 0.0) -> bool:
    """Whether the batches are equal, value by value, to within `bound`."""
    return len(one) == len(other) > 0 and all(
        seeds == other_seeds
        and all(
            (getattr(aged, field.name).float() - getattr(expected, field.name).float()).abs().max() <= bound
            for field in fields(DegradedBatch)
        )
        for (aged, seeds), (expected, other_seeds) in zip(one, other, strict=True)
    )


def test_workers_degrade_what_a_step_would(small) -> None:
    expected = degrade_here(small(), range(5))
    one = draw(small(), 5)
    assert same(one, expected, 0.501 / 255) and not same(one[:4], expected[1:])
    assert same(draw(small(ageing_processes=2), 3, first=2), one[2:])
    assert same(draw(small(), 2, rank=1, world=2), degrade_here(small(), range(2), 1, 2), 0.501 / 255)


def test_reused_pictures_are_sampled_from_the_last_batches(small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_POOL_BATCHES", 2)
    reuse, steps, later = 2, 16, 13  # a step that samples the oldest picture of the pool
    fresh = draw(small(), steps // reuse)
    again = draw(small(reuse=reuse), steps)
    assert same(draw(small(reuse=reuse, ageing_processes=2), steps - later, first=later), again[later:])
    place = {seed: (number, row) for number, (_, seeds) in enumerate(fresh) for row, seed in enumerate(seeds)}
    mirrored = []
    for step, (aged, seeds) in enumerate(again):
        for row, seed in enumerate(seeds):
            number, known = place[seed]
            assert 0 <= step // reuse - number < module._POOL_BATCHES * reuse
            pairs = [
                (getattr(aged, f.name)[row], getattr(fresh[number][0], f.name)[known]) for f in fields(DegradedBatch)
            ]
            plain = all(torch.equal(one, other) for one, other in pairs)
            assert plain or all(torch.equal(one, other.flip(-1) if other.dim() else other) for one, other in pairs)
            mirrored.append(not plain)
    assert 0.3 < sum(mirrored) / len(mirrored) < 0.7
    assert len({seed for _, seeds in again for seed in seeds}) > 0.7 * len(place)


def test_pictures_are_restored_once_however_often_they_are_reused(small) -> None:
    sent = {name: np.full((SIZE, 1, 8, 8), 200, np.uint8) for name in ("aged", "mask", "truth")}
    sent |= {"grey": np.zeros(SIZE, bool), "seeds": np.arange(SIZE)}
    calls: list[list[int]] = []

    def restored(aged: DegradedBatch, seeds: list[int]) -> DegradedBatch:
        calls.append(seeds)
        return replace(aged, aged=aged.aged / 2)

    workers = DegradationWorkers(small(reuse=3), 0, 0, 1, CPU, restored)
    workers._pipes = [SimpleNamespace(recv=lambda: dict(sent))]  # type: ignore[list-item]
    batches = list(islice(workers, 6))
    assert calls == [list(range(SIZE))] * 2
    assert all((aged.aged * 255 == 100).all() and (aged.truth * 255 == 200).all() for aged, _ in batches)


def run(config: TrainConfig) -> None:
    torch.manual_seed(0)
    train(build_task(config), config)


def test_a_run_resumes_where_it_stopped(small, tmp_path: Path) -> None:
    plan = {"reuse": 2, "gradient_accumulation_steps": 2, "logging_steps": 1}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run(small(output_dir=str(whole), **plan))
    run(small(output_dir=str(parts), max_train_steps=2, **plan))
    run(small(output_dir=str(parts), resume_from_checkpoint="latest", **plan))
    states = [load_file(out / "checkpoints" / "checkpoint-4" / "model.safetensors") for out in (whole, parts)]
    saved = [load_file(out / "scratches" / "model.safetensors") for out in (whole, parts)]
    for one, other in (states, saved):
        assert one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())
    lines = [[json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()] for out in (whole, parts)]
    losses = [[line["generator"] for line in known] for known in lines]
    assert losses[0] == losses[1] and len(set(losses[0])) == 4


@pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")
def test_a_signal_to_the_whole_group_leaves_nothing_behind(small, tmp_path: Path) -> None:
    config = small(max_train_steps=10**6, logging_steps=1, reuse=2, ageing_processes=2, in_memory_max_gb=0.0012)
    file, metrics = tmp_path / "config.yaml", Path(config.output_dir) / "metrics.jsonl"
    file.write_text(yaml.safe_dump(asdict(config)), encoding="utf-8")
    command = [sys.executable, str(ROOT / "train" / "scratches.py"), "--config", str(file)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, env=environment, text=True, start_new_session=True, **pipes)
    deadline = time.monotonic() + 120
    while not metrics.exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGTERM)
    _, error = process.communicate(timeout=60)  # waits for all processes that write to the pipe
    assert process.returncode == 130 and "go on with" in error, error
    assert "Traceback" not in error and "leaked" not in error, error
    # one worker logs for all, which share the memory
    assert error.count("3 pictures, 0.00081 GB decoded, more than the 0.0006 GB there are for them") == 1


def test_a_failed_worker_ends_the_run_with_one_line(small, tmp_path: Path) -> None:
    (tmp_path / "damage" / "letter.png").write_text("Dear mother, here is the damage.")
    with pytest.raises(ConfigError, match=r"letter\.png cannot be read: .*; overlays are readable pictures") as caught:
        run(small(ageing_processes=2))
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"nowhere: no such file, .*set data_dir"):
        draw(small(train_data=[Source("nowhere")]), 1)
    with pytest.raises(ConfigError, match=r"one failed .ValueError: unknown recipe 'mixt'.*; 0 ages without them"):
        draw(small(recipe="mixt", overlays=""), 1)
    with (
        DegradationWorkers(small(), 0, 0, 1, CPU) as workers,
        pytest.raises(ConfigError, match="one has ended; if memory was short"),
    ):
        workers._processes[0].kill()
        next(iter(workers))


def test_tasks_with_their_own_prepare_are_refused(tiny, tmp_path: Path, weights: Path) -> None:
    config = tiny("old_vae", tmp_path / "run", init_from=str(weights), network={}, ageing_processes=1)
    with pytest.raises(ConfigError, match=r"ageing_processes: old_vae prepares its pictures .*; set 0"):
        run(config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["ageing_processes=-1"], "ageing_processes: must be 0 or more, not -1"),
        (["ageing_processes=2", "reuse=0"], "reuse: must be 1 or more, not 0"),
        (["ageing_processes=2", "reuse=-3"], "reuse: must be 1 or more, not -3"),
        (["reuse=4"], "reuse: 4 needs worker processes: set ageing_processes to 1 or more"),
    ],
)
def test_invalid_numbers_are_refused(changes: list[str], message: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("task: tone\noutput_dir: x\ntrain_data: [{path: a}]\n")
    assert load_config(file, ["ageing_processes=2", "reuse=4"]).reuse == 4
    with pytest.raises(ConfigError, match=message):
        load_config(file, changes)
