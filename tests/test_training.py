"""The loop and its tasks on tiny networks: learns, resumes, says what is wrong with a config."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from bringback.checkpoints import Checkpoints, save_network
from bringback.nets.mapping import Mapping
from bringback.nets.tone import ToneCurves
from bringback.nets.unet import ScratchUNet
from bringback.nets.vae import VAE
from bringback.training.config import ConfigError, Source, TrainConfig, load_config
from bringback.training.data import Crops
from bringback.training.loop import train
from bringback.training.task import TrainingTask
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
    save_network(ToneCurves(**TINY["tone"]), folder / "tone")
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


def test_a_run_resumes_where_it_stopped(tmp_path: Path, pictures: Path) -> None:
    def run(out: str, **changes: object) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        settings = config("clean_vae", tmp_path / out, pictures, **changes)
        task = build_task(settings)
        train(task, settings)
        return {k: v.clone() for k, v in task.state_dict().items()}

    whole = run("whole")
    run("parts", max_train_steps=2)
    resumed = run("parts", resume_from_checkpoint="latest")
    assert all(torch.allclose(whole[key], resumed[key], atol=1e-6) for key in whole)
    for folder in (tmp_path / "whole", tmp_path / "whole" / "best"):
        assert (folder / "clean_vae" / "model.safetensors").is_file()
    lines = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert any("val_psnr" in line for line in lines)
    assert list((tmp_path / "whole" / "validation").glob("*.png"))
    assert yaml.safe_load((tmp_path / "whole" / "config.yaml").read_text())["task"] == "clean_vae"


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
    ],
)
def test_wrong_configs_are_named(change: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("task: tone\noutput_dir: x\ntrain_data: [{path: a}]\n")
    assert load_config(file, ["learning_rate=1", "network.side=8"]).learning_rate == 1.0
    with pytest.raises(ConfigError, match=message):
        load_config(file, [change])


@pytest.mark.parametrize("file", sorted((Path(__file__).parents[1] / "configs").glob("*.yaml")), ids=lambda p: p.stem)
def test_the_shipped_configs_are_valid(file: Path) -> None:
    assert load_config(file, []).task == file.stem
    assert (file.parents[1] / "train" / file.with_suffix(".py").name).is_file()
