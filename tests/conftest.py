"""What the tests share: a small photo, stages that need no weights, the folder of pictures where there is one."""

import errno
import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from bringback.models.translation.vae import VAE
from bringback.models.unet import ScratchUNet
from bringback.training.config import Source, TrainConfig
from bringback.weights.checkpoints import save_network

torch.set_num_threads(1)

LONGEST = ("test_onnx.py", "test_browser.py", "test_resume.py", "test_quality.py", "test_ray.py", "test_loop.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest come first: with one of them last, the other worker would have nothing to do."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def pixels() -> np.ndarray:
    """A real color picture, (48, 64, 3) uint8, higher frequencies and colors all over."""
    return np.ascontiguousarray(data.astronaut()[60:204:3, 130:322:3])


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The tar shards of real photos and damage: `$BRINGBACK_DATA`, or shared/data beside the checkout.

    Tests that need them are skipped where there are none.
    """
    folder = Path(os.environ.get("BRINGBACK_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no real photos: set BRINGBACK_DATA")
    return folder


@pytest.fixture(scope="session")
def torchvision() -> Iterator[ModuleType]:
    """torchvision, or a skipped test.

    One that was built for another torch finds its compiled operators missing while it is imported. No network here
    uses them: they are declared, and the rest of it is as good as ever.
    """
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    library = torch.library.Library("torchvision", "FRAGMENT")
    try:
        import torchvision
    except RuntimeError:
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor boxes, Tensor scores, float threshold) -> Tensor")
        import torchvision
    yield torchvision


@pytest.fixture
def lock(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Makes folders unreadable, as one may not list them; for root, too, who may do anything."""
    locked, real = set[str](), os.scandir

    def scandir(path: str | Path = "."):
        if str(path) in locked:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    return lambda folder: locked.add(str(folder))


class Lighten:
    """A stage without weights: moves every pixel a quarter of the way to white, and counts its calls."""

    name = "tone"

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, restoration):
        self.calls += 1
        restoration.pixels = 0.75 * restoration.pixels + 0.25
        return restoration


class Mark:
    """A stage without weights: finds damage in the left half, united with what was there."""

    name = "scratches"

    def __call__(self, restoration):
        found = restoration.damage().clone()
        found[..., : found.shape[-1] // 2] = 1
        restoration.mask = found
        return restoration


class Redden:
    """A stage without weights that gives gray photos a color."""

    name = "translate"

    def __call__(self, restoration):
        restoration.pixels = restoration.pixels * torch.tensor([1.0, 0.5, 0.5]).view(1, 3, 1, 1)
        return restoration


@pytest.fixture
def lighten() -> Lighten:
    return Lighten()


@pytest.fixture
def mark() -> Mark:
    return Mark()


@pytest.fixture
def redden() -> Redden:
    return Redden()


TINY: dict[str, dict] = {
    "scale": {"hidden": 8},
    "scratches": {"widths": [4, 6, 8]},
    "tone": {"side": 16, "width": 8},
    "clean_vae": {"channels": 16, "blocks": 1, "stride": 2},
    "old_vae": {"channels": 16, "blocks": 1, "stride": 2},
    "mapping": {"widths": [16, 16, 16], "blocks": [0, 1, 1], "inner": 8},
    "faces": {"widths": [24, 16, 16], "blocks": [1, 1, 1], "hidden": 4},
    "colorize": {"widths": [16, 16, 16]},
    "relight": {"side": 16, "look": 4, "width": 8, "blocks": 1},
    "upscale": {"width": 8, "blocks": 1},
}
TINY_TRANSLATION = {"vae": TINY["old_vae"], "mapping": TINY["mapping"]}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of three photos, 300 pixels a side."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("astronaut", "coffee", "chelsea"):
        Image.fromarray(getattr(data, name)()[:300, :300]).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A folder with what the mapping is trained with: a tiny detector and tiny VAEs."""
    torch.manual_seed(0)
    folder = tmp_path / "weights"
    save_network(ScratchUNet(**TINY["scratches"]), folder / "scratches")
    for name in ("old_vae", "clean_vae"):
        save_network(VAE(**TINY[name]), folder / name)
    return folder


@pytest.fixture
def tiny(pictures: Path, weights: Path) -> Callable[..., TrainConfig]:
    """A config for a few steps of a tiny network of a stage: `tiny(stage, output folder, key=value, ...)`."""

    def config(task: str, out: Path, **changes: object) -> TrainConfig:
        values = {
            "task": task,
            "output_dir": str(out),
            "data_dir": str(pictures),
            "train_data": [Source(".")],
            "validation_data": [Source(".")],
            "network": TINY_TRANSLATION if task == "translation" else TINY[task],
            "recipe": "faces" if task == "faces" else "training",
            "resolution": 256 if task == "faces" else 64,
            "train_batch_size": 2,
            "max_train_steps": 4,
            "checkpointing_steps": 2,
            "validation_steps": 4,
            "validation_samples": 2,
            "lr_warmup_steps": 1,
            "lr_scheduler": "constant",
            "mixed_precision": "no",
            "weights": str(weights) if task in ("mapping", "translation") else "",
        }
        return TrainConfig(**{**values, **changes})  # type: ignore[arg-type]

    return config
