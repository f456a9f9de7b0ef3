"""Runs that were stopped, killed or out of disk resume exactly; two processes learn the same as one."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
import yaml
from accelerate.utils import set_seed
from safetensors.torch import load_file, save_file

from bringback.training.config import Source, TrainConfig
from bringback.training.loop import train
from bringback.training.tasks import build_task

ROOT = Path(__file__).parents[2]
ADVERSARIAL = {"adversarial": 0.1, "matching": 1.0, "judge_width": 4}
signals = pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")
SCRIPT = """
import os, runpy, sys, torch
torch.set_num_threads(1)
os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
sys.argv = command
runpy.run_path(command[0], run_name="__main__")
"""


def command(settings: TrainConfig) -> list[str]:
    """The arguments that start the script, with its config in a file beside the run's folder."""
    file = Path(settings.output_dir).with_suffix(".yaml")
    file.write_text(yaml.safe_dump(asdict(settings)), encoding="utf-8")
    return [str(ROOT / "train" / f"{settings.task}.py"), "--config", str(file)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def run_here(settings: TrainConfig) -> None:
    set_seed(settings.seed)
    train(build_task(settings), settings)


def numbers(settings: TrainConfig) -> dict[int, dict[str, float]]:
    """The losses in metrics.jsonl by step; checks that every step is there only once."""
    file = Path(settings.output_dir) / "metrics.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]
    lines = [line for line in lines if "generator" in line]
    found = {line["step"]: {k: v for k, v in line.items() if k not in ("step", "minutes")} for line in lines}
    assert len(found) == len(lines)
    return found


def run_until(settings: TrainConfig, step: int, number: signal.Signals) -> int:
    """Start the script, send it a signal after some steps, and return its exit code.

    It is a fork of a process that has loaded torch and what optimizers load, which takes seconds.
    """
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(["bringback.training.loop", "torch._dynamo"])
    log = Path(settings.output_dir).with_suffix(".log")
    script = SCRIPT, {"command": command(settings), "log": str(log)}
    process = forks.Process(target=exec, args=script, daemon=True)
    process.start()
    file, deadline = Path(settings.output_dir) / "metrics.jsonl", time.monotonic() + 120
    while not (file.exists() and f'"step": {step},' in file.read_text()):
        assert process.is_alive(), log.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, number)
    process.join(timeout=60)
    return process.exitcode


@signals
@pytest.mark.parametrize("task", ["clean_vae", "mapping", "faces"])
def test_a_run_that_was_killed_and_interrupted_learns_what_an_undisturbed_one_does(task, tiny, tmp_path: Path) -> None:
    options = ADVERSARIAL if task == "faces" else {}
    plan = {"checkpointing_steps": 3, "logging_steps": 1, "validation_steps": 4, "options": options}
    settings = tiny(task, tmp_path / "disturbed", max_train_steps=10**6, **plan)
    assert run_until(settings, 7, signal.SIGKILL) == -signal.SIGKILL
    settings = replace(settings, resume_from_checkpoint="latest")
    assert run_until(settings, max(numbers(settings)) + 4, signal.SIGINT) == 130
    begun = max(numbers(settings))
    settings = replace(settings, max_train_steps=begun + 8)
    run_here(settings)
    whole = tiny(task, tmp_path / "whole", max_train_steps=begun + 8, **plan)
    run_here(whole)
    disturbed, undisturbed = numbers(settings), numbers(whole)
    assert disturbed.keys() == undisturbed.keys() == set(range(1, begun + 9))
    for step, losses in undisturbed.items():
        assert disturbed[step] == pytest.approx(losses, abs=1e-6), step
    assert ("discriminator" in undisturbed[begun]) == (task == "faces")


@signals
def test_a_full_disk_loses_nothing_that_was_saved(tiny, tmp_path: Path) -> None:
    import resource

    settings = tiny("clean_vae", tmp_path / "run")
    run_here(settings)
    saved = [*(tmp_path / "run").glob("clean_vae/*"), *(tmp_path / "run").glob("checkpoints/checkpoint-4/*")]
    before = {path: path.read_bytes() for path in saved}
    assert len(before) > 5
    settings = replace(settings, max_train_steps=6, resume_from_checkpoint="latest")
    result = subprocess.run(
        [sys.executable, *command(settings)],
        env=environment(),
        capture_output=True,
        text=True,
        # limits the size of files, which looks like a full disk to the writer
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000)),
    )
    assert result.returncode == 1, result.stderr
    assert "could not be saved" in result.stderr and "make room and go on" in result.stderr
    assert "Traceback" not in result.stderr
    assert {path: path.read_bytes() for path in saved} == before
    assert not [*(tmp_path / "run").rglob("*part*")]
    run_here(settings)
    assert (tmp_path / "run" / "checkpoints" / "checkpoint-6").is_dir()


@pytest.mark.parametrize("task", ["old_vae", "mapping"])
def test_two_processes_learn_what_one_does_with_twice_the_batch(task, tiny, pictures: Path, tmp_path: Path) -> None:
    options = {"adversarial": 0.1} if task == "old_vae" else {}
    sources = [Source("."), Source(".", domain="old")] if task == "old_vae" else [Source(".")]
    (pictures / "portrait.png").write_bytes((pictures / "chelsea.png").read_bytes())
    plan = {"max_train_steps": 6, "logging_steps": 1, "options": options, "train_data": sources, "use_ema": False}
    one = tiny(task, tmp_path / "one", train_batch_size=4, **plan)
    two = tiny(task, tmp_path / "two", train_batch_size=2, **plan)
    run_here(one)
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--main_process_port", "0", *command(two)]
    result = subprocess.run(launch, env=environment(), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    alone, together = numbers(one), numbers(two)
    assert alone.keys() == together.keys() == set(range(1, 7))
    for step, losses in alone.items():
        assert together[step] == pytest.approx(losses, rel=1e-3, abs=1e-5), step
    assert ("discriminator" in alone[1]) == (task == "old_vae")
    ours, theirs = (load_file(Path(c.output_dir) / task / "model.safetensors") for c in (one, two))
    assert all(torch.allclose(ours[key].float(), theirs[key].float(), atol=1e-3) for key in ours)


def test_states_saved_before_modules_were_renamed_still_load(tiny, tmp_path: Path) -> None:
    settings = tiny("old_vae", tmp_path / "run", options={"adversarial": 0.1}, max_train_steps=1)
    run_here(settings)
    file = tmp_path / "run" / "checkpoints" / "checkpoint-1" / "model.safetensors"
    state = {key: value.clone() for key, value in load_file(file).items()}  # not mapped: the file is overwritten
    old = {key.replace("discriminator.", "judge.", 1): value for key, value in state.items()}
    assert old.keys() != state.keys()
    save_file(old, file)
    resumed = replace(settings, resume_from_checkpoint="latest", max_train_steps=2)
    run_here(resumed)
    whole = replace(settings, output_dir=str(tmp_path / "whole"), max_train_steps=2)
    run_here(whole)
    new, expected = (
        load_file(Path(one.output_dir) / "checkpoints" / "checkpoint-2" / "model.safetensors")
        for one in (resumed, whole)
    )
    assert new.keys() == expected.keys()
    assert all(torch.allclose(value, expected[key], atol=1e-6) for key, value in new.items())
