"""The loop on tiny networks: it stops and resumes, keeps the gradients of phases apart, reports invalid configs."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from bringback import __version__
from bringback.degradations import RECIPES, DegradedBatch, OverlayBank
from bringback.errors import ConfigError
from bringback.models.base import Network
from bringback.models.translation.mapping import LatentMapping
from bringback.training import loop, model_card
from bringback.training import state as states
from bringback.training.config import Source, TrainConfig, load_config
from bringback.training.data import Batch, spare_core
from bringback.training.loop import train
from bringback.training.state import EMA, TrainerState
from bringback.training.task import Losses, Phase, TrainingTask
from bringback.training.tasks import build_task
from bringback.weights.checkpoints import Checkpoints, save_network


def run(settings: TrainConfig) -> None:
    torch.manual_seed(0)
    train(build_task(settings), settings)


def state(out: Path) -> tuple[dict, dict, dict]:
    """The newest saved state of a run: weights, progress, average."""
    folder = states.saved_states(out)[-1]
    progress, average = (torch.load(folder / f"custom_checkpoint_{k}.pkl", weights_only=True) for k in (0, 1))
    return load_file(folder / "model.safetensors"), progress, average


def test_a_run_resumes_where_it_stopped(tiny, tmp_path: Path) -> None:
    # validated after each step, with falling scores: the best must survive the stop
    plan = {"validation_steps": 1, "learning_rate": 1e-2}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run(tiny("clean_vae", whole, **plan))
    run(tiny("clean_vae", parts, max_train_steps=2, **plan))
    run(tiny("clean_vae", parts, resume_from_checkpoint="latest", **plan))
    (live, progress, average), (live_again, progress_again, average_again) = state(whole), state(parts)
    assert all(torch.allclose(live[key], live_again[key], atol=1e-6) for key in live)
    shadow, shadow_again = average["shadow"], average_again["shadow"]
    assert all(torch.allclose(shadow[key], shadow_again[key], atol=1e-6) for key in shadow)
    assert any(not torch.allclose(shadow[f"clean_vae/{key[4:]}"], live[key], atol=1e-5) for key in live)
    assert average["updates"] == average_again["updates"] == 4
    assert progress["step"] == progress_again["step"] == 4
    assert progress["best"] == pytest.approx(progress_again["best"], abs=1e-4)
    for name in ("", "best"):
        one, other = (load_file(out / name / "clean_vae" / "model.safetensors") for out in (whole, parts))
        assert all(torch.allclose(one[key].float(), other[key].float(), atol=1e-3) for key in one)
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    scores = [line["val_score"] for line in lines if "val_score" in line]
    assert len(scores) == 4 and progress["best"] == max(scores) > scores[-1]
    assert list((whole / "validation").glob("*.png"))
    assert yaml.safe_load((whole / "config.yaml").read_text())["task"] == "clean_vae"


def test_a_folder_that_holds_a_run_is_not_overwritten(tiny, tmp_path: Path) -> None:
    def again(**changes: object) -> None:
        run(tiny("clean_vae", tmp_path / "run", **changes))

    with pytest.raises(ConfigError, match="holds no state"):
        again(resume_from_checkpoint="latest")
    again(max_train_steps=1, checkpointing_steps=9)
    assert state(tmp_path / "run")[1]["step"] == 1  # the last step is saved
    with pytest.raises(ConfigError, match="holds a run already: set resume_from_checkpoint=latest or another"):
        again()
    with pytest.raises(ConfigError, match="is no folder"):
        again(resume_from_checkpoint=str(tmp_path / "nowhere"))


def test_a_run_resumes_from_an_older_state(tiny, tmp_path: Path) -> None:
    plan = {"checkpointing_steps": 1, "validation_steps": 9, "checkpoints_total_limit": 3, "logging_steps": 1}
    run(tiny("clean_vae", tmp_path / "run", max_train_steps=3, **plan))
    older = tmp_path / "run" / "checkpoints" / "checkpoint-1"
    before = (tmp_path / "run" / "metrics.jsonl").read_text()
    run(tiny("clean_vae", tmp_path / "run", resume_from_checkpoint=str(older), **plan))
    assert state(tmp_path / "run")[1]["step"] == 4
    # the three newest are kept, and no step is logged twice
    assert [folder.name for folder in states.saved_states(tmp_path / "run")] == [f"checkpoint-{k}" for k in (2, 3, 4)]
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "generator" in line] == [1, 2, 3, 4]
    assert before.splitlines()[0] == json.dumps(lines[0])


def test_the_main_process_decides_time_and_stop_for_all(tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = TrainerState(tiny("tone", tmp_path, max_train_minutes=2.0, lr_scheduler="cosine"))
    monkeypatch.setattr(states, "broadcast", lambda mine: torch.tensor([60.0, 1.0]))
    state.tick(SimpleNamespace(num_processes=2, device="cpu"))  # type: ignore[arg-type]
    assert state.progress() == 0.5
    assert state.lr_factor() == pytest.approx(0.51)
    assert state.stop and not state.running()
    assert state.progress() == 0.5  # only `tick` updates the time
    state.tick(SimpleNamespace(num_processes=1, device="cpu"))  # type: ignore[arg-type]
    assert state.seconds < 60 and state.running()


@pytest.mark.parametrize(("scheduler", "factors"), [("constant", [1, 1]), ("linear", [0.755, 0.02])])
def test_learning_rates_warm_up_and_fall(scheduler: str, factors: list[float], tiny, tmp_path: Path) -> None:
    state = TrainerState(tiny("tone", tmp_path, max_train_steps=100, lr_warmup_steps=10, lr_scheduler=scheduler))
    assert state.lr_factor() == pytest.approx(0.1)
    for state.step, factor in zip((25, 100), factors, strict=True):
        assert state.lr_factor() == pytest.approx(factor)


def test_a_loaded_average_stays_on_its_device(tiny, tmp_path: Path) -> None:
    task = build_task(tiny("tone", tmp_path))
    average = EMA(task, 0.9)
    before = dict(average.shadow)
    average.load_state_dict({"shadow": {key: value + 1 for key, value in before.items()}, "updates": 3})
    assert all(average.shadow[key] is value for key, value in before.items())
    assert all((average.shadow[f"tone/{key}"] == value + 1).all() for key, value in task.net.state_dict().items())


def test_what_a_run_logs_reaches_tensorboard(tiny, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    run(tiny("tone", tmp_path / "run", report_to="tensorboard", logging_steps=1))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run" / "bringback")).Reload()
    assert len(events.Scalars("generator")) == 4
    assert events.Scalars("val_score")[0].step == 4
    assert events.Images("validation")[0].width == 8 * 64


def test_an_unknown_tracker_is_named(tiny, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="report_to='tensorbord'"):
        run(tiny("tone", tmp_path / "run", report_to="tensorbord"))


class Scale(Network):
    """One number."""

    def __init__(self, start: float = 1.0) -> None:
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(start))


class TwoPhases(TrainingTask):
    """Two phases whose losses both contain the other's parameter; records the gradients that reach each."""

    def __init__(self, settings: TrainConfig) -> None:
        super().__init__(settings)
        self.generator, self.discriminator = Scale(2.0), Scale(3.0)
        self.reached: list[tuple[str, float]] = []
        for name, net in self.networks().items():
            net.factor.register_hook(lambda gradient, name=name: self.reached.append((name, float(gradient))))

    def networks(self) -> dict[str, Network]:
        return {"generator": self.generator, "discriminator": self.discriminator}

    def phases(self) -> list[Phase]:
        # iterators, which can be consumed only once
        return [Phase(name, iter([net.factor])) for name, net in self.networks().items()]

    def forward(self, phase: str, prepared: DegradedBatch) -> Losses:
        both = self.generator.factor * self.discriminator.factor
        return Losses(both if phase == "generator" else -2 * both)

    def validate(self, batch: Batch, overlays: OverlayBank | None) -> tuple[dict[str, float], torch.Tensor]:
        return {"score": 0.0}, batch.pixels


@pytest.mark.parametrize("turns", [1, 2])
def test_gradients_stay_in_their_phase(turns: int, tiny, tmp_path: Path) -> None:
    plan = {"max_train_steps": 1, "learning_rate": 0.1, "use_ema": False, "gradient_accumulation_steps": turns}
    settings = tiny("tone", tmp_path / "run", **plan)
    task = TwoPhases(settings)
    train(task, settings)
    assert [name for name, _ in task.reached] == ["generator", "discriminator"] * turns
    assert task.reached[0][1] == 3.0 / turns
    assert task.reached[-1][1] == pytest.approx(-2 * 1.9 / turns)  # the generator has moved by the learning rate
    assert task.discriminator.factor.item() == pytest.approx(3.1)
    assert all(parameter.requires_grad for parameter in task.parameters())


def test_the_training_path_loads_neither_dlib_nor_the_foreign_degradations() -> None:
    """These judge what was learned: training never sees them."""
    code = """
import importlib, pkgutil, sys
import bringback.degradations
from bringback.training import loop, run, tasks
for one in pkgutil.iter_modules(tasks.__path__, tasks.__name__ + "."):
    importlib.import_module(one.name)
never = ("dlib", "kornia", "bringback.evaluation")
sys.exit(", ".join(name for name in sys.modules if name.startswith(never)) or None)
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.fixture
def another_precision() -> Iterator[None]:
    """A process has one precision, which accelerate keeps: reset it before and after."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.usefixtures("another_precision")
@pytest.mark.parametrize("task", ["mapping", "faces"])
def test_batches_prepared_in_a_thread_are_the_same(task: str, tiny, tmp_path: Path, monkeypatch) -> None:
    lines = []
    precise = {"mixed_precision": "bf16", "options": {"adversarial": 0.1, "judge_width": 4} if task == "faces" else {}}
    for spare in (True, False):
        monkeypatch.setattr(loop, "spare_core", lambda device, spare=spare: spare)
        out = tmp_path / str(spare)
        run(tiny(task, out, max_train_steps=3, logging_steps=1, gradient_accumulation_steps=2, **precise))
        known = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        lines.append([{key: value for key, value in line.items() if key != "minutes"} for line in known])
    assert lines[0] == lines[1] and len(lines[0]) > 3


def test_the_detector_is_never_switched_to_training_mode(tiny, tmp_path: Path) -> None:
    task = build_task(tiny("mapping", tmp_path))
    seen = []
    for module in task.detector.modules():
        module.train = lambda mode=True: seen.append(mode)
    assert task.train().net.training and not task.eval().net.training
    assert True not in seen and not any(module.training for module in task.detector.modules())


@pytest.mark.parametrize(("threads", "cores", "spare"), [(1, 2, True), (2, 2, False), (3, 4, False), (8, 16, True)])
def test_a_core_is_spare_if_it_has_room_for_a_thread(threads: int, cores: int, spare: bool, monkeypatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert spare_core(torch.device("cpu")) == spare and spare_core(torch.device("cuda"))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert spare_core(torch.device("cpu")) == (4 * threads <= cores)


def test_the_card_lists_every_segment(tiny, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(tiny("clean_vae", out, max_train_steps=2))
    run(tiny("clean_vae", out, max_train_steps=2, resume_from_checkpoint="latest"))  # no step left, no new segment
    run(tiny("clean_vae", out, max_train_steps=5, learning_rate=2e-4, resume_from_checkpoint="latest"))
    segments = json.loads((out / "lineage.json").read_text())
    assert [(segment["begun"], segment["ended"]) for segment in segments] == [(0, 2), (2, 5)]
    assert all(segment["minutes"] > 0 for segment in segments)
    rows = [
        line for line in (out / "clean_vae" / "README.md").read_text().splitlines() if re.match(r"\| \d+ to ", line)
    ]
    assert rows[0].startswith("| 0 to 2 |") and "2 of 64x64" in rows[0] and rows[0].endswith("the beginning |")
    assert rows[1].endswith("max_train_steps 5, learning_rate 0.0002 |")
    # resumed from an older state: what came after it is dropped
    older = str(out / "checkpoints" / "checkpoint-4")
    run(tiny("clean_vae", out, max_train_steps=6, resume_from_checkpoint=older))
    segments = json.loads((out / "lineage.json").read_text())
    assert [(segment["begun"], segment["ended"]) for segment in segments] == [(0, 2), (2, 4), (4, 6)]


def test_a_run_that_is_killed_before_its_first_validation_keeps_its_first_leg(
    tiny, tmp_path: Path, monkeypatch
) -> None:
    out, plan = tmp_path / "run", {"checkpointing_steps": 2, "validation_steps": 99}
    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "_validate_and_save", lambda self: 1 / 0)  # killed at the end, before it saves
        with pytest.raises(ZeroDivisionError):
            run(tiny("clean_vae", out, max_train_steps=3, **plan))
    run(tiny("clean_vae", out, max_train_steps=5, learning_rate=2e-4, resume_from_checkpoint="latest", **plan))
    card = (out / "clean_vae" / "README.md").read_text()
    assert "| 0 to 2 |" in card and "| 2 to 5 |" in card


def test_a_run_killed_while_it_writes_its_lineage_can_be_resumed(tiny, tmp_path: Path, monkeypatch) -> None:
    settings = tiny("clean_vae", tmp_path, max_train_steps=2)
    history = model_card.History(tmp_path, settings, 1, 0, 0.0)
    history.update(2, 1.0)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        history.update(4, 2.0)
    assert [segment.ended for segment in model_card.History(tmp_path, settings, 1, 2, 1.0).segments] == [2]


def test_an_interrupt_saves_the_averaged_weights_and_the_lineage(tiny, tmp_path: Path, monkeypatch) -> None:
    out = tmp_path / "run"
    real = TrainerState.tick
    monkeypatch.setattr(TrainerState, "tick", lambda self, accelerator, stop: real(self, accelerator, self.step == 3))
    with pytest.raises(KeyboardInterrupt, match="stopped at step 3"):
        run(tiny("clean_vae", out, max_train_steps=9, checkpointing_steps=99, validation_steps=99))
    saved, (_, _, average) = load_file(out / "clean_vae" / "model.safetensors"), state(out)
    assert all(
        torch.allclose(v.float(), average["shadow"][f"clean_vae/{k}"].float(), atol=2e-3) for k, v in saved.items()
    )
    card = (out / "clean_vae" / "README.md").read_text()
    assert "| 0 to 3 |" in card and "when it was saved: ." in card.replace("none", "")
    assert not (out / "best").exists()  # nobody has validated them


@pytest.mark.parametrize(("theirs", "said"), [(99.0, "worse than the shipped"), (-99.0, "no worse than the shipped")])
def test_a_network_that_is_worse_than_the_shipped_one_is_warned_of(
    theirs: float, said: str, tiny, tmp_path: Path, monkeypatch, caplog
) -> None:
    caplog.set_level("INFO")
    settings = tiny("clean_vae", tmp_path / "run", max_train_steps=2)
    shipped = tmp_path / "shipped"
    save_network(build_task(settings).networks()["clean_vae"], shipped / "clean_vae")
    monkeypatch.setattr(loop, "Checkpoints", lambda: Checkpoints(shipped))
    task = build_task(settings)
    real, scores = task.validate, iter((1.0, theirs))
    monkeypatch.setattr(task, "validate", lambda *given: (real(*given)[0] | {"score": next(scores)}, real(*given)[1]))
    train(task, settings)
    (line,) = [record for record in caplog.records if "the shipped weights" in record.getMessage()]
    assert line.getMessage().startswith(said) and f"{theirs:.4f}" in line.getMessage()
    assert (line.levelname == "WARNING") == (theirs > 1)
    made = load_file(tmp_path / "run" / "clean_vae" / "model.safetensors")
    now = task.networks()["clean_vae"].state_dict()
    assert all(torch.allclose(made[key].float(), now[key], atol=2e-3) for key in made)  # its own again


def test_networks_of_another_size_are_not_compared(tiny, tmp_path: Path, caplog) -> None:
    caplog.set_level("INFO")
    run(tiny("clean_vae", tmp_path / "run", max_train_steps=1))  # the shipped one is larger
    assert "not compared with the shipped weights" in caplog.text and "worse" not in caplog.text


def test_errors_of_the_comparison_are_not_taken_for_another_size(tiny, tmp_path: Path, monkeypatch) -> None:
    settings = tiny("clean_vae", tmp_path / "run", max_train_steps=1)
    save_network(build_task(settings).networks()["clean_vae"], tmp_path / "shipped" / "clean_vae")
    monkeypatch.setattr(loop, "Checkpoints", lambda: Checkpoints(tmp_path / "shipped"))
    task = build_task(settings)
    real, given = task.validate, iter(({"score": 1.0}, None))

    def validate(*arguments):
        if (score := next(given)) is None:
            raise RuntimeError("out of memory")
        return real(*arguments)[0] | score, real(*arguments)[1]

    monkeypatch.setattr(task, "validate", validate)
    with pytest.raises(RuntimeError, match="out of memory"):
        train(task, settings)
    assert (tmp_path / "run" / "checkpoints" / "checkpoint-1").is_dir()  # all is saved before


def test_the_bar_tells_pictures_a_second(tiny, tmp_path: Path, monkeypatch) -> None:
    fields = []
    real = loop.Progress.update
    monkeypatch.setattr(
        loop.Progress, "update", lambda self, *a, **given: (fields.append(given), real(self, *a, **given))
    )
    run(tiny("clean_vae", tmp_path / "run", max_train_steps=2))
    speeds = [given["speed"] for given in fields if "speed" in given]
    assert len(speeds) == 2 and all(re.fullmatch(r"\d+\.\d pictures/s", speed) for speed in speeds)
    assert float(speeds[-1].split()[0]) > 0


def test_the_command_in_the_card_reproduces_the_weights(tiny, tmp_path: Path) -> None:
    parents, out, again = tmp_path / "parents", tmp_path / "run", tmp_path / "again"
    run(tiny("clean_vae", parents, max_train_steps=1))
    settings = tiny("old_vae", out, init_from=str(parents), network={}, max_train_steps=4, learning_rate=3e-3)
    run(settings)
    card = (out / "old_vae" / "README.md").read_text()
    (tmp_path / "file.yaml").write_text(re.findall(r"```yaml\n(.*?)```", card, re.DOTALL)[0])
    command = re.findall(r"`python train/old_vae.py --config FILE (.*?)`", card)[0]
    command = command.replace("INIT_FROM", str(parents)).replace("RUN", str(again))
    run(load_config(tmp_path / "file.yaml", [*re.findall(r"--set (\S+)", command), f"data_dir={settings.data_dir}"]))
    made, known = (load_file(place / "old_vae" / "model.safetensors") for place in (again, out))
    assert all(torch.equal(value, known[key]) for key, value in made.items())
    begun = load_file(parents / "clean_vae" / "model.safetensors")
    assert any(not torch.equal(value, begun[key]) for key, value in made.items())


def test_a_machine_without_git_can_train(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert model_card._commit() == f"version {__version__}"


def test_the_commit_is_that_of_our_own_checkout_and_says_when_files_are_changed(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *words], check=True, capture_output=True)

    git("init")
    (tmp_path / "a").write_text("a")
    git("add", "a")
    git("commit", "-m", "a")
    assert re.fullmatch("[0-9a-f]{12}", model_card._commit(tmp_path))
    (tmp_path / "a").write_text("b")
    assert re.fullmatch("[0-9a-f]{12}-dirty", model_card._commit(tmp_path))
    inside = tmp_path / "venv" / "site-packages"  # installed into the checkout of another project
    inside.mkdir(parents=True)
    assert model_card._commit(inside) == f"version {__version__}"


def test_unknown_options_and_recipes_are_named(tiny, tmp_path: Path) -> None:
    for task, changes, message in [
        ("clean_vae", {"options": {"noize": 1.0}}, "options: noize: no such key; did you mean 'noise'"),
        ("faces", {"options": {"features": "many"}}, "options: features: must be float"),
        ("mapping", {"options": {"only_trust": 1}}, "options: only_trust: must be bool"),
        ("mapping", {"optimizer": "muon", "mixed_precision": "fp16"}, "optimizer: muon does not go with fp16"),
        ("mapping", {"network": {"blocks": 3}}, "network: {'blocks': 3} does not make a LatentMapping"),
        ("tone", {"network": {"sides": 8}}, "network: .* does not make a ToneCurves"),
        ("faces", {"resolution": 128}, "faces are aligned crops of 256 pixels, not 128"),
        ("tone", {"options": {"noise": 1}}, "options: noise: no such key"),
        ("tone", {"recipe": "mixt"}, "recipe: 'mixt' is none of .*; did you mean 'mixed'"),
        ("tone", {"train_data": [Source(".", recipe="mixt")]}, "recipe: 'mixt' is none of .*; did you mean"),
        ("tone", {"validation_data": [Source(".", recipe="clean")]}, "validation_data: .* recipes of their own"),
    ]:
        with pytest.raises(ConfigError, match=message):
            build_task(tiny(task, tmp_path, **changes))


def test_the_mapping_knows_its_vaes(tiny, tmp_path: Path, weights: Path) -> None:
    task = build_task(tiny("mapping", tmp_path / "run"))
    saved = save_network(task.networks()["mapping"], tmp_path / "mapping")
    loaded = Checkpoints(tmp_path).load("mapping", LatentMapping)
    assert len(saved) == 64
    assert loaded.clean_vae == Checkpoints(weights).hashes(["clean_vae"])["clean_vae"]
    assert isinstance(task, TrainingTask)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("lerning_rate=1", "did you mean 'learning_rate'"),
        ("seed=often", "must be int"),
        ("train_data=[{pth: x}]", "did you mean 'path'"),
        ("nonsense", "key=value"),
        ("lr_scheduler=cosin", "lr_scheduler: 'cosin' is none of cosine, linear, constant; did you mean 'cosine'"),
        ("mixed_precision=bf", "did you mean 'bf16'"),
        ("train_data=[{path: x, domain: ald}]", "domain: 'ald' is none of clean, old; did you mean 'old'"),
    ],
)
def test_wrong_configs_are_named(change: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("task: tone\noutput_dir: x\ntrain_data: [{path: a}]\n")
    assert load_config(file, ["learning_rate=1", "network.side=8"]).learning_rate == 1.0
    assert load_config(file, ["overlays="]).overlays == ""
    assert load_config(file, ["learning_rate=7e-4"]).learning_rate == 7e-4
    assert load_config(file, ["mixed_precision=no"]).mixed_precision == "no"
    with pytest.raises(ConfigError, match=message):
        load_config(file, [change])


CONFIGS = (Path(__file__).parents[2] / "configs").glob("*.yaml")


@pytest.mark.parametrize(
    "file", sorted(path for path in CONFIGS if not path.stem.startswith("pipeline-")), ids=lambda path: path.stem
)
def test_the_shipped_configs_are_valid(file: Path) -> None:
    script = file.parents[1] / "train" / file.with_suffix(".py").name
    command = re.search(rf"^python train/{script.name}.*$", script.read_text(), re.MULTILINE)
    assert command, "the docstring says how to run it"
    settings = load_config(file, re.findall(r"--set (\S+)", command[0]))
    assert settings.task == file.stem and settings.output_dir == f"runs/{file.stem}"
    assert settings.backbone == "" and settings.weights == ""
    assert settings.recipe in RECIPES
