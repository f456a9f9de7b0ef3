"""The loop and its tasks on tiny networks: learns, resumes, says what is wrong with a config."""

import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from bringback.aging import RECIPES
from bringback.checkpoints import Checkpoints, MissingWeights, save_network
from bringback.nets.blocks import Network
from bringback.nets.mapping import Mapping
from bringback.nets.unet import ScratchUNet
from bringback.nets.vae import VAE
from bringback.training import card, loop
from bringback.training.config import ConfigError, Source, TrainConfig, load_config
from bringback.training.data import Batch, Crops
from bringback.training.loop import train
from bringback.training.losses import perceptual_distance
from bringback.training.task import Losses, Phase, TrainingTask
from bringback.training.tasks import build_task

TINY: dict[str, dict] = {
    "scratches": {"widths": [4, 6, 8]},
    "tone": {"side": 16, "width": 8},
    "clean_vae": {"channels": 48, "blocks": 1},
    "old_vae": {"channels": 48, "blocks": 1},
    "mapping": {"widths": [16, 16, 16], "blocks": [1, 1, 1], "inner": 8},
    "faces": {"widths": [24, 16, 16], "blocks": [1, 1, 1], "hidden": 4},
}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    from skimage import data

    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("astronaut", "coffee", "chelsea"):
        Image.fromarray(getattr(data, name)()[:300, :300]).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    folder = tmp_path / "weights"
    save_network(ScratchUNet(**TINY["scratches"]), folder / "scratches")
    for name in ("old_vae", "clean_vae"):
        save_network(VAE(**TINY[name]), folder / name)
    return folder


def config(task: str, out: Path, pictures: Path, **changes: object) -> TrainConfig:
    side = 256 if task == "faces" else 64
    values = {
        "task": task,
        "output_dir": str(out),
        "data_dir": str(pictures),
        "train_data": [Source(".")],
        "validation_data": [Source(".")],
        "network": TINY[task],
        "recipe": "faces" if task == "faces" else "training",
        "resolution": side,
        "train_batch_size": 2,
        "max_train_steps": 4,
        "checkpointing_steps": 2,
        "validation_steps": 4,
        "validation_samples": 2,
        "lr_warmup_steps": 1,
        "lr_scheduler": "constant",
        "mixed_precision": "no",
    }
    return TrainConfig(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("task", TINY)
def test_each_task_learns_one_batch_by_heart(task: str, tmp_path: Path, pictures: Path, weights: Path) -> None:
    torch.manual_seed(0)
    settings = config(task, tmp_path, pictures, weights=str(weights) if task == "mapping" else "")
    built = build_task(settings)
    batch = Crops(settings.train_data, pictures, settings.resolution, 0).batch([0, 1], torch.device("cpu"))
    if task in ("clean_vae", "old_vae"):  # they begin as a rearrangement: give them something to learn
        torch.nn.init.normal_(built.net.head.weight, std=0.02)

    def losses(rate: float) -> list[float]:
        optimizer = torch.optim.Adam(built.phases()[0].parameters, lr=rate)
        seen = []
        for _ in range(20):
            torch.manual_seed(1)
            loss = built("generator", batch).total
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen.append(float(loss.detach()))
        return seen

    still = losses(0.0)
    assert still[-1] == pytest.approx(still[0], rel=0.2 if task == "scratches" else 1e-3)
    learned = losses(1e-2 if task in ("scratches", "tone") else 1e-3 if task == "faces" else 3e-3)
    assert learned[-1] < (0.99 if task == "faces" else 0.95) * learned[0]


def run(out: Path, pictures: Path, **changes: object) -> None:
    torch.manual_seed(0)
    settings = config("clean_vae", out, pictures, **changes)
    train(build_task(settings), settings)


def state(out: Path) -> tuple[dict, dict, dict]:
    """The newest saved state of a run: live weights, clock, average."""
    folder = max((out / "checkpoints").iterdir(), key=lambda path: int(path.name.split("_")[1]))
    clock, average = (torch.load(folder / f"custom_checkpoint_{k}.pkl", weights_only=True) for k in (0, 1))
    return load_file(folder / "model.safetensors"), clock, average


def test_a_run_resumes_where_it_stopped(tmp_path: Path, pictures: Path) -> None:
    # judged by each step, and worse with each: what counts as the best must survive the stop
    plan = {"validation_steps": 1, "learning_rate": 1e-2}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run(whole, pictures, **plan)
    run(parts, pictures, max_train_steps=2, **plan)
    run(parts, pictures, resume_from_checkpoint="latest", **plan)
    (live, clock, average), (live_again, clock_again, average_again) = state(whole), state(parts)
    assert all(torch.allclose(live[key], live_again[key], atol=1e-6) for key in live)
    shadow, shadow_again = average["shadow"], average_again["shadow"]
    assert all(torch.allclose(shadow[key], shadow_again[key], atol=1e-6) for key in shadow)
    assert any(not torch.allclose(shadow[f"clean_vae/{key[4:]}"], live[key], atol=1e-5) for key in live)
    assert average["updates"] == average_again["updates"] == 4
    assert clock["step"] == clock_again["step"] == 4
    assert clock["best"] == pytest.approx(clock_again["best"], abs=1e-4)
    for name in ("", "best"):
        one, other = (load_file(out / name / "clean_vae" / "model.safetensors") for out in (whole, parts))
        assert all(torch.allclose(one[key].float(), other[key].float(), atol=1e-3) for key in one)
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    scores = [line["val_score"] for line in lines if "val_score" in line]
    assert len(scores) == 4 and clock["best"] == max(scores) > scores[-1]
    assert list((whole / "validation").glob("*.png"))
    assert yaml.safe_load((whole / "config.yaml").read_text())["task"] == "clean_vae"


def test_a_folder_that_holds_a_run_is_not_overwritten(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(ConfigError, match="holds no state"):
        run(tmp_path, pictures, resume_from_checkpoint="latest")
    run(tmp_path, pictures, max_train_steps=1, checkpointing_steps=9)
    assert state(tmp_path)[1]["step"] == 1  # the end is saved
    with pytest.raises(ConfigError, match="holds a run already: set resume_from_checkpoint=latest or another"):
        run(tmp_path, pictures)
    with pytest.raises(ConfigError, match="is no folder"):
        run(tmp_path, pictures, resume_from_checkpoint=str(tmp_path / "nowhere"))


def test_a_run_goes_on_from_an_older_state(tmp_path: Path, pictures: Path) -> None:
    plan = {"checkpointing_steps": 1, "validation_steps": 9, "checkpoints_total_limit": 9}
    run(tmp_path, pictures, max_train_steps=3, **plan)
    run(tmp_path, pictures, resume_from_checkpoint=str(tmp_path / "checkpoints" / "checkpoint_0"), **plan)
    assert state(tmp_path)[1]["step"] == 4
    assert len(list((tmp_path / "checkpoints").iterdir())) == 6


def test_states_of_before_there_was_a_best_still_load(tmp_path: Path, pictures: Path) -> None:
    clock = loop._Clock(config("tone", tmp_path, pictures))
    clock.load_state_dict({"step": 7, "spent": 90.0})
    assert (clock.step, clock.seconds, clock.best) == (7, 90.0, -math.inf)
    assert clock.state_dict()["spent"] >= 90


def test_the_clock_of_the_main_process_goes_for_all(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = loop._Clock(config("tone", tmp_path, pictures, max_train_minutes=2.0, lr_scheduler="cosine"))
    monkeypatch.setattr(loop, "broadcast", lambda mine: torch.tensor(60.0))
    clock.tick(SimpleNamespace(num_processes=2, device="cpu"))  # type: ignore[arg-type]
    assert clock.progress() == 0.5
    assert clock.lr_factor() == pytest.approx(0.51)
    assert clock.progress() == 0.5  # it does not go on by itself
    clock.tick(SimpleNamespace(num_processes=1, device="cpu"))  # type: ignore[arg-type]
    assert clock.seconds < 60


def test_a_loaded_average_stays_where_it_was(tmp_path: Path, pictures: Path) -> None:
    task = build_task(config("tone", tmp_path, pictures))
    average = loop._Average(task, 0.9)
    before = dict(average.shadow)
    average.load_state_dict({"shadow": {key: value + 1 for key, value in before.items()}, "updates": 3})
    assert all(average.shadow[key] is value for key, value in before.items())
    assert all((average.shadow[f"tone/{key}"] == value + 1).all() for key, value in task.net.state_dict().items())


class Scale(Network):
    """One number."""

    def __init__(self, start: float = 1.0) -> None:
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(start))


class Rivals(TrainingTask):
    """Two phases whose losses both contain what the other moves; keeps the gradients that reach each."""

    def __init__(self, settings: TrainConfig) -> None:
        super().__init__(settings)
        self.maker, self.judge = Scale(2.0), Scale(3.0)
        self.reached: list[tuple[str, float]] = []
        for name, net in self.networks().items():
            net.factor.register_hook(lambda gradient, name=name: self.reached.append((name, float(gradient))))

    def networks(self) -> dict[str, Network]:
        return {"maker": self.maker, "judge": self.judge}

    def phases(self) -> list[Phase]:
        # iterators, which can be read once
        return [Phase(name, iter([net.factor])) for name, net in self.networks().items()]

    def forward(self, phase: str, batch: Batch) -> Losses:
        both = self.maker.factor * self.judge.factor
        return Losses(both if phase == "maker" else -2 * both)

    def validate(self, batch: Batch) -> tuple[dict[str, float], torch.Tensor]:
        return {"score": 0.0}, batch.pixels


def test_gradients_stay_in_their_phase(tmp_path: Path, pictures: Path) -> None:
    settings = config("tone", tmp_path, pictures, max_train_steps=1, learning_rate=0.1, use_ema=False)
    task = Rivals(settings)
    train(task, settings)
    assert [name for name, _ in task.reached] == ["maker", "judge"]
    assert task.reached[0][1] == 3.0
    assert task.reached[1][1] == pytest.approx(-2 * 1.9)  # the maker moved by the learning rate
    assert task.judge.factor.item() == pytest.approx(3.1)
    assert all(parameter.requires_grad for parameter in task.parameters())


def test_the_training_path_needs_neither_dlib_nor_opencv() -> None:
    code = """
import importlib, sys
from bringback.training import loop, run, tasks
for place in tasks._TASKS.values():
    importlib.import_module("bringback.training.tasks." + place.split(":")[0])
sys.exit(", ".join({"dlib", "cv2"} & set(sys.modules)) or None)
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_a_machine_without_git_can_train(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert card._commit() == "unknown"


def test_a_bad_backbone_is_named(tmp_path: Path) -> None:
    assert perceptual_distance("") is None
    (tmp_path / "bad").write_bytes(b"nothing of the kind")
    save_file({"another": torch.zeros(1)}, tmp_path / "other")
    for name in ("bad", "other", "absent"):
        with pytest.raises(ConfigError, match=f"{name}: not the SqueezeNet features") as caught:
            perceptual_distance(str(tmp_path / name))
        assert "\n" not in str(caught.value)


def test_a_mapping_goes_on_with_its_own_vaes_only(tmp_path: Path, pictures: Path, weights: Path) -> None:
    settings = config("mapping", tmp_path / "run", pictures, weights=str(weights))
    begun = build_task(settings)
    save_network(begun.networks()["mapping"], tmp_path / "begun" / "mapping")
    settings = replace(settings, init_from=str(tmp_path / "begun"))
    assert set(build_task(settings).parents) == {"scratches", "old_vae", "clean_vae", "mapping"}
    save_network(VAE(**TINY["old_vae"]), weights / "old_vae")
    with pytest.raises(MissingWeights, match="is not the old_vae"):
        build_task(settings)


def test_unknown_options_and_recipes_are_named(tmp_path: Path, pictures: Path) -> None:
    for task, changes, message in [
        ("clean_vae", {"options": {"noize": 1.0}}, "options: noize: no such key; did you mean 'noise'"),
        ("faces", {"options": {"features": "many"}}, "options: features: wants float"),
        ("tone", {"options": {"noise": 1}}, "options: noise: no such key"),
        ("tone", {"recipe": "mixt"}, "recipe: 'mixt' is none of .*; did you mean 'mixed'"),
    ]:
        with pytest.raises(ConfigError, match=message):
            build_task(config(task, tmp_path, pictures, **changes))


def test_the_mapping_remembers_its_vaes(tmp_path: Path, pictures: Path, weights: Path) -> None:
    settings = config("mapping", tmp_path / "run", pictures, weights=str(weights))
    task = build_task(settings)
    saved = save_network(task.networks()["mapping"], tmp_path / "mapping")
    loaded = Checkpoints(tmp_path).load("mapping", Mapping)
    assert len(saved) == 64
    assert loaded.clean_vae == Checkpoints(weights).hashes(["clean_vae"])["clean_vae"]
    assert isinstance(task, TrainingTask)


def test_crops_depend_on_seed_and_index_alone(pictures: Path) -> None:
    crops = Crops([Source(".", weight=2), Source(".", weight=1, domain="old")], pictures, 32, 7)
    one = crops.batch([5], torch.device("cpu"))
    many = crops.batch([4, 5, 6], torch.device("cpu"))
    assert torch.equal(one.pixels[0], many.pixels[1]) and one.seeds[0] == many.seeds[1]
    assert not torch.equal(many.pixels[0], many.pixels[1])


def test_small_and_broken_pictures(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Image.fromarray(np.full((20, 20, 3), 90, np.uint8)).save(tmp_path / "tiny.png")
    (tmp_path / "broken.jpg").write_bytes(b"not a picture")
    crops = Crops([Source(".")], tmp_path, 48, 0)
    assert crops.batch([0], torch.device("cpu")).pixels.shape == (1, 3, 48, 48)
    assert "broken.jpg" in caplog.text


def test_no_pictures_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no readable picture"):
        Crops([Source(".")], tmp_path, 48, 0)
    with pytest.raises(ConfigError, match="no such file"):
        Crops([Source("nowhere-*.tar")], tmp_path, 48, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("lerning_rate=1", "did you mean 'learning_rate'"),
        ("seed=often", "wants int"),
        ("train_data=[{pth: x}]", "did you mean 'path'"),
        ("nonsense", "key=value"),
        ("lr_scheduler=cosin", "lr_scheduler: 'cosin' is none of cosine, constant; did you mean 'cosine'"),
        ("mixed_precision=bf", "did you mean 'bf16'"),
        ("train_data=[{path: x, domain: ald}]", "domain: 'ald' is none of clean, old; did you mean 'old'"),
    ],
)
def test_wrong_configs_are_named(change: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("task: tone\noutput_dir: x\ntrain_data: [{path: a}]\n")
    assert load_config(file, ["learning_rate=1", "network.side=8"]).learning_rate == 1.0
    assert load_config(file, ["mixed_precision=no"]).mixed_precision == "no"
    with pytest.raises(ConfigError, match=message):
        load_config(file, [change])


@pytest.mark.parametrize("file", sorted((Path(__file__).parents[1] / "configs").glob("*.yaml")), ids=lambda p: p.stem)
def test_the_shipped_configs_are_valid(file: Path) -> None:
    script = file.parents[1] / "train" / file.with_suffix(".py").name
    command = re.search(rf"^accelerate launch train/{script.name}.*$", script.read_text(), re.MULTILINE)
    assert command, "the docstring says how to run it"
    settings = load_config(file, re.findall(r"--set (\S+)", command[0]))
    assert settings.task == file.stem and settings.output_dir == f"runs/{file.stem}"
    assert settings.backbone == "" and settings.weights == ""
    assert settings.recipe in RECIPES
