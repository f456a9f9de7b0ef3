"""Checkpoint folders: overlaid, missing, damaged, of another network."""

from pathlib import Path

import pytest
import torch

from bringback.models.tone import ToneCurves
from bringback.models.unet import ScratchUNet
from bringback.runtime.files import file_hash
from bringback.weights.checkpoints import Checkpoints, MissingWeights, save_network


def test_round_trip_in_half_precision(tmp_path: Path) -> None:
    net = ScratchUNet(widths=(4, 6))
    assert save_network(net, tmp_path / "scratches") == file_hash(tmp_path / "scratches" / "model.safetensors")
    loaded = Checkpoints(tmp_path).load("scratches", ScratchUNet)
    assert loaded.widths == (4, 6) and not loaded.training and loaded.head.weight.dtype == torch.float32
    for key, value in net.state_dict().items():
        assert torch.allclose(loaded.state_dict()[key].float(), value.float(), atol=1e-2)
    assert not list(tmp_path.rglob("*.part"))


def test_a_compact_checkpoint_is_a_quarter_of_full_precision_and_within_a_step_of_it(tmp_path: Path) -> None:
    net = ScratchUNet(widths=(32, 48)).eval()
    for half, compact in ((False, False), (True, True)):
        save_network(net, tmp_path / f"{compact}" / "scratches", half=half, compact=compact)
    full, small = (
        (tmp_path / f"{compact}" / "scratches" / "model.safetensors").stat().st_size for compact in (False, True)
    )
    assert small < 0.3 * full
    loaded = Checkpoints(tmp_path / "True").load("scratches", ScratchUNet)
    for key, value in net.named_parameters():
        step = value.detach().flatten(1).abs().amax(1).max() / 127 if value.ndim > 1 else 1e-2
        assert (loaded.state_dict()[key] - value).abs().max() <= 0.51 * step
    pulled = ScratchUNet.from_pretrained(tmp_path / "True" / "scratches").eval()  # as the hub's users load it
    picture = torch.rand(1, 3, 32, 32)
    assert torch.allclose(pulled(picture), loaded(picture), atol=1e-4)


def test_variances_beyond_half_precision_survive(tmp_path: Path) -> None:
    net = ScratchUNet(widths=(4, 6))
    net.down[0][1].running_var.fill_(1e6)
    save_network(net, tmp_path / "scratches")
    assert (Checkpoints(tmp_path).load("scratches", ScratchUNet).down[0][1].running_var == 1e6).all()


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
