"""Every variant of the training ablation builds and learns; the one without attention has none, white is white."""

import importlib.util
from pathlib import Path

import pytest
import torch

from bringback.models.translation.mapping import LatentMapping
from bringback.weights.checkpoints import Checkpoints

spec = importlib.util.spec_from_file_location(
    "ablation_training", Path(__file__).parents[2] / "benchmarks" / "ablation_training.py"
)
assert spec and spec.loader
ablation = importlib.util.module_from_spec(spec)
spec.loader.exec_module(ablation)


@pytest.mark.parametrize("name", ablation.VARIANTS)
def test_each_variant_learns(name: str, pictures: Path, weights: Path, tmp_path: Path) -> None:
    settings = ["train_data=[{path: .}]", "overlays=", "resolution=64", "train_batch_size=2", "mixed_precision=no"]
    settings += [f"data_dir={pictures}", f"weights={weights}", "backbone=", "lr_warmup_steps=1", "recipe=holes"]
    settings += ["network={widths: [16, 16, 16], blocks: [1, 1, 1], inner: 8}"]
    variant = ablation.VARIANTS[name]
    folder = ablation.learn(variant, 0, 9, tmp_path / name, settings)
    mapping = Checkpoints(folder).load("mapping", LatentMapping)
    assert mapping.head.weight.abs().max() > 0
    assert bool(mapping.attention.out.weight.any()) is (name != "no-attention")


def test_white_is_what_the_mapping_sees_and_the_stage_gives(pixels) -> None:
    from bringback.stages.fill import HoleFiller

    photo = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    mask = torch.zeros_like(photo[:, :1])
    mask[..., 10:20, 10:20] = 1
    with ablation.filled_by(ablation.VARIANTS["white"]):
        painted = HoleFiller().fill(photo, mask)
    assert (painted[..., 10:20, 10:20] == 1).all()
    assert not (HoleFiller().fill(photo, mask)[..., 10:20, 10:20] == 1).all()
