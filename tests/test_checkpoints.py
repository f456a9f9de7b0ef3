"""Checkpoint folders: overlaid, missing, damaged, of another network."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bringback.checkpoints import Checkpoints, MissingWeights, file_hash, load_distance, save_network
from bringback.nets.squeezenet import PerceptualDistance
from bringback.nets.tone import ToneCurves
from bringback.nets.unet import ScratchUNet


def test_round_trip_in_half_precision(tmp_path: Path) -> None:
    net = ScratchUNet(widths=(4, 6))
    assert save_network(net, tmp_path / "scratches") == file_hash(tmp_path / "scratches" / "model.safetensors")
    loaded = Checkpoints(tmp_path).load("scratches", ScratchUNet)
    assert loaded.widths == (4, 6) and not loaded.training and loaded.head.weight.dtype == torch.float32
    for key, value in net.state_dict().items():
        assert torch.allclose(loaded.state_dict()[key].float(), value.float(), atol=1e-2)
    assert not list(tmp_path.rglob("*.part"))


def test_the_overlay_goes_before_the_shipped(tmp_path: Path) -> None:
    save_network(ToneCurves(width=8), tmp_path / "tone")
    assert Checkpoints(tmp_path).folder("tone") == tmp_path / "tone"


def test_missing_weights_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match="--weights"):
        Checkpoints().folder("no_such_network")
    with pytest.raises(MissingWeights, match="no checkpoint folder"):
        Checkpoints(tmp_path)


def test_another_network_and_damaged_files_are_refused(tmp_path: Path) -> None:
    save_network(ScratchUNet(widths=(4, 6)), tmp_path / "tone")
    with pytest.raises(MissingWeights, match="ToneCurves"):
        Checkpoints(tmp_path).load("tone", ToneCurves)
    weights = tmp_path / "tone" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(MissingWeights, match="cannot be read") as caught:
        Checkpoints(tmp_path).load("tone", ScratchUNet)
    assert "\n" not in str(caught.value)


def test_a_backbone_is_read_or_named(tmp_path: Path) -> None:
    distance, file = PerceptualDistance(), tmp_path / "features.safetensors"
    save_file({key: value.half() for key, value in distance.network.state_dict().items()}, file)
    loaded = load_distance(file)
    a, b = torch.rand(2, 3, 40, 40), torch.rand(2, 3, 40, 40)
    assert all(value.dtype == torch.float32 for value in loaded.state_dict().values())
    assert torch.allclose(loaded(a, b), distance(a, b), rtol=0.05)
    (tmp_path / "bad").write_bytes(b"not weights at all")
    for name in ("bad", "absent"):
        with pytest.raises(ValueError, match=f"{name}: not the SqueezeNet") as caught:
            load_distance(tmp_path / name)
        assert "\n" not in str(caught.value)
